"""Colours of the clusters: the palette of Okabe and Ito, which colour-blind readers can distinguish. Markers of the rows."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

_PALETTE = (
    np.array([[0, 114, 178], [230, 159, 0], [0, 158, 115], [204, 121, 167], [86, 180, 233], [213, 94, 0], [110, 110, 110]])
    / 255
)
_FEW = 400  # rows up to which markers are large


def colours(n: int) -> Float[np.ndarray, "k 3"]:
    """RGB colours of ``n`` clusters: the seven of the palette, then lighter and darker versions of them in turn."""
    turn, index = np.divmod(np.arange(n), len(_PALETTE))
    grey = np.array([0.0, 1.0, 0.0])[turn % 3]  # black or white, which is mixed in
    share = np.array([0.0, 0.55, 0.45])[turn % 3]
    return _PALETTE[index] * (1 - share[:, None]) + (share * grey)[:, None]


def markers(n: int) -> tuple[float, float]:
    """Area and opacity of the markers of ``n`` rows: of many, small and transparent, so that dense places show as dark."""
    share = min(1.0, _FEW / max(n, 1))
    return 12 * share**0.45, max(0.25, 0.75 * share**0.25)
