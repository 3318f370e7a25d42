"""The judge of the boundary cases sees planted faults; a sample of the cases is met."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import bgmm
from benchmarks.boundary_arrays import verdict_of
from benchmarks.boundary_cases import SECTIONS
from benchmarks.boundary_contenders import US
from benchmarks.boundary_inputs import BLOBS, N, Z, either, groups, refused
from benchmarks.boundary_judge import Found, judged

RIGHT = Found(
    np.array([0.5, 0.5]),
    np.stack([BLOBS[z == Z].mean(0) for z in (0, 1)]),
    np.stack([BLOBS[z == Z].std(0) for z in (0, 1)]),
    np.eye(2)[Z],
    np.zeros(N),
)


def verdict(call, expected=None):
    return judged(call, groups() if expected is None else expected, ("bgmm",))


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (RIGHT._replace(membership=np.where(np.arange(N)[:, None] == 3, np.nan, RIGHT.membership)), "membership has nan"),
        (RIGHT._replace(means=RIGHT.means * np.inf), "means has"),
        (RIGHT._replace(log_density=np.full(N, np.nan)), "log_density has nan"),
        (RIGHT._replace(membership=2 * RIGHT.membership), "do not sum to one"),
        (RIGHT._replace(membership=np.full((N, 2), 0.5)), "both groups in one component"),
        (RIGHT._replace(membership=RIGHT.membership[:5]), "5 memberships"),
        (RIGHT._replace(means=RIGHT.means + 1), "the mean of a group is off"),
        (RIGHT._replace(scales=3 * RIGHT.scales), "3 times that of its group"),
    ],
)
def test_wrong_answers_are_wrong(fault, says):
    found = verdict(lambda: fault)
    assert (found.met, found.kind) == (False, "wrong")
    assert says in found.says


def test_right_answers_are_right_and_only_where_one_is_due():
    assert verdict(lambda: RIGHT) == (True, "answer", "")
    assert verdict(lambda: RIGHT._replace(log_density=np.full(N, -np.inf))).met
    assert verdict(lambda: RIGHT, refused("x1")).says == "an answer where a refusal is due"
    assert verdict(lambda: RIGHT, groups(warned=("row 61",))).says == "no warning says 'row 61'"


def test_a_sentence_is_one_that_the_library_raises_itself():
    def from_us():
        bgmm.fit(bgmm.models.finite(2), [[1.0, np.inf], [1.0, 2.0]], "em")

    def from_jax():
        jnp.ones((2, 3)) @ jnp.ones((2, 3))

    def lines():
        raise ValueError("one\ntwo")

    assert verdict(from_us, refused("infinite")).kind == "sentence"
    assert verdict(from_us, either(groups(), "infinite")).met
    assert verdict(from_us).says.startswith("refuses: ")
    assert "lacks 'x7'" in verdict(from_us, refused("x7")).says
    for inside in (from_jax, lines, lambda: 1 / 0):
        assert not verdict(inside, refused()).met


NAMES = (
    ("offset 1e+12, standard deviation 1", "scale 1e-100", "scales 1e-12 and 1e+12", "int8", "Decimal", "sparse matrix"),
    (
        "ragged lists",
        "a structured array",
        "rows without any value",
        "K = N",
        "points on a line",
    ),
    ("all rows identical", "90 % duplicates", "a wild row at 1e+20", "weights of total 1e-300", "one flat row"),
    ("columns in another order", "a column of another name", "a new row at 1.79769e+308"),
)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for line in NAMES for name in line])
def test_a_sample_of_the_cases_is_met(name):
    (case,) = (case for cases in SECTIONS.values() for case in cases() if case.name == name)
    found = verdict_of(case, US)
    assert found is not None
    assert found.met, found.says


def test_there_are_many_cases_and_no_name_twice():
    names = [case.name for cases in SECTIONS.values() for case in cases()]
    assert len(names) == len(set(names)) > 130
