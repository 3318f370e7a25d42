"""The colours of the clusters: Okabe and Ito's palette, told apart by colour-blind readers too."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

_PALETTE = (
    np.array([[0, 114, 178], [230, 159, 0], [0, 158, 115], [204, 121, 167], [86, 180, 233], [213, 94, 0], [110, 110, 110]])
    / 255
)


def colours(n: int) -> Float[np.ndarray, "k 3"]:
    """A colour for each of ``n`` clusters; after the first seven the same ones lighter, then darker."""
    turn, place = np.divmod(np.arange(n), len(_PALETTE))
    towards = np.array([0.0, 1.0, 0.0])[turn % 3]  # of black and white, what it is mixed with
    share = np.array([0.0, 0.55, 0.45])[turn % 3]
    return _PALETTE[place] * (1 - share[:, None]) + (share * towards)[:, None]
