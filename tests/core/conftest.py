"""Inside the kernel no array may be broadcast to another rank by accident."""

import jax
import pytest


@pytest.fixture(autouse=True)
def _ranks_match():
    with jax.numpy_rank_promotion("raise"):
        yield
