"""Example data sets of the package: two published sets of measurements that are standard tests of mixture models."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def old_faithful() -> pd.DataFrame:
    """Eruptions of the Old Faithful geyser, Yellowstone: 272 rows.

    :return: ``eruption``, the duration of an eruption in minutes, and ``waiting``, the minutes until the next one.

    Source: Azzalini and Bowman 1990, "A look at some data on the Old Faithful geyser", Applied Statistics 39, 357-365.
    """
    return _read("old_faithful.csv")


def galaxies() -> pd.DataFrame:
    """Velocities of galaxies in the Corona Borealis region: 82 rows. Clusters of velocities are evidence for voids in space.

    :return: ``velocity`` of recession from our galaxy, in 1000 km/s.

    Source: Roeder 1990, "Density estimation with confidence sets exemplified by superclusters and voids in the
    galaxies", Journal of the American Statistical Association 85, 617-624, in the version used by Richardson and Green
    1997.
    """
    return _read("galaxies.csv")


def _read(name: str) -> pd.DataFrame:
    import pandas as pd

    with (files("bgmm.data") / name).open("rb") as file:
        return pd.read_csv(file)
