"""Styles of smears from three slides with known stains."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

STAINS = np.array([[-0.5, -0.4, 0.0], [0.0, 0.5, 0.3], [0.5, -0.2, -0.5]])


def sample_styles(
    smears: int = 60, cells: int = 20, spread: float = 0.05, seed: int = 0
) -> tuple[list[npt.NDArray[np.float32]], list[npt.NDArray[np.int64]]]:
    """Return styles and classes of smears; cells have the style of the background plus 0.2, with this spread."""
    rng = np.random.default_rng(seed)
    styles, classes = [], []
    for k in range(smears):
        background = STAINS[k % 3] + rng.normal(0, 0.02, 3)
        rows = background + 0.2 + rng.normal(0, spread, (cells, 3))
        styles.append(np.concatenate([background[None], rows]).astype(np.float32))
        classes.append(np.zeros(cells, np.int64))
    return styles, classes
