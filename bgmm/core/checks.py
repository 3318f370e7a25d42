"""Checks of options: each raises a ValueError with one sentence that names the option and its value."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterable
from numbers import Integral, Real
from typing import TypeGuard

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

_LEAST_WEIGHT, _MOST_WEIGHT = 1e-9, 1e20  # total weights between which sums over the rows keep their digits
FEW = 1.5  # total weight, in rows, under which weights were probably scaled to sum to one


def check_count(name: str, value: object, *, least: int = 1) -> None:
    """Require a whole number of at least ``least``."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, not {_shown(value)}")


def check_positive(name: str, value: object) -> None:
    """Require a finite number above zero."""
    check_number(name, value)
    if not value > 0:  # type: ignore[operator]
        raise ValueError(f"{name} must be above 0, not {_shown(value)}")


def check_not_negative(name: str, value: object) -> None:
    """Require a finite number of at least zero."""
    check_number(name, value)
    if value < 0:  # type: ignore[operator]
        raise ValueError(f"{name} must be 0 or more, not {_shown(value)}")


def is_number(value: object) -> TypeGuard[float]:
    """Whether this is a finite number."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def check_number(name: str, value: object) -> None:
    """Require a finite number."""
    if not is_number(value):
        raise ValueError(f"{name} must be a finite number, not {_shown(value)}")


def check_between(name: str, value: object, low: float, high: float) -> None:
    """Require a finite number strictly between ``low`` and ``high``."""
    check_number(name, value)
    if not low < value < high:  # type: ignore[operator]
        raise ValueError(f"{name} must be between {low:g} and {high:g}, not {_shown(value)}")


def check_flag(name: str, value: object) -> None:
    """Require True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False, not {_shown(value)}")


def check_choice(name: str, value: object, choices: Iterable[str]) -> None:
    """Require one of the ``choices``."""
    if value not in (choices := list(choices)):
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {_shown(value)}")


def check_total_weight(name: str, c: Float[np.ndarray, " n"]) -> None:
    """Require weights of rows whose sums keep their digits."""
    with np.errstate(over="ignore"):
        total = c.sum()
    if not _LEAST_WEIGHT <= total <= _MOST_WEIGHT:
        raise ValueError(
            f"{name} count rows, and these sum to {total:.3g}, {'hardly a row' if total < 1 else 'too many to add up'}; "
            f"scale them to sum to the number of rows: {name} / {name}.mean()"
        )


def random_key(seed: object) -> jax.Array:
    """A JAX key from a user's seed, which is a whole number or a JAX key."""
    if isinstance(seed, jax.Array) and seed.shape == () and jnp.issubdtype(seed.dtype, jax.dtypes.prng_key):
        return seed
    if isinstance(seed, jax.Array) and seed.shape == (2,) and seed.dtype == jnp.uint32:
        return jax.random.wrap_key_data(seed)
    if not isinstance(seed, Integral) or isinstance(seed, bool) or not 0 <= int(seed) < 2**63:
        raise ValueError(f"seed must be a whole number from 0 to 2^63 - 1 or one JAX key, not {_shown(seed)}")
    return jax.random.key(int(seed))


def numpy_generator(key: jax.Array) -> np.random.Generator:
    """A NumPy random generator that is seeded with a JAX key."""
    return np.random.default_rng(np.asarray(jax.random.key_data(key)))


def _shown(value: object) -> str:
    """A short representation of a value, on one line."""
    return " ".join(reprlib.repr(value).split())
