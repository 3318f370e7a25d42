import pytest

from bgmm.data.examples import galaxies, old_faithful
from bgmm.data.table import as_table


def test_old_faithful_has_the_published_means():
    eruptions = old_faithful()
    assert list(eruptions.columns) == ["eruption", "waiting"]
    assert eruptions.shape == (272, 2)
    assert eruptions["eruption"].mean() == pytest.approx(3.487783, abs=5e-7)
    assert eruptions["waiting"].mean() == pytest.approx(70.89706, abs=5e-6)


def test_old_faithful_has_the_published_range():
    eruptions = old_faithful()
    assert eruptions.min().tolist() == [1.6, 43]
    assert eruptions.max().tolist() == [5.1, 96]


def test_galaxies_are_the_82_sorted_velocities_with_the_corrected_78th():
    velocity = galaxies()["velocity"]
    assert len(velocity) == 82
    assert velocity.is_monotonic_increasing
    assert velocity.iloc[[0, 77, 81]].tolist() == [9.172, 26.96, 34.279]


@pytest.mark.parametrize("example", [old_faithful, galaxies])
def test_an_example_is_a_table_without_gaps_or_notes(example):
    table = as_table(example())
    assert table.notes == ()
    assert table.features == tuple(example().columns)
    assert (table.values > 0).all()


def test_an_example_can_be_changed_without_changing_the_next():
    changed = galaxies()
    changed["velocity"] = 0.0
    assert galaxies()["velocity"].min() > 9
