"""Random positions of training crops in fields that are annotated in part."""

from __future__ import annotations

import numpy as np

from smearsynth.smear import Mask

MAX_IGNORED = 0.25  # fraction of a crop; with more, another position is drawn
_TRIES = 20  # positions drawn for one crop


def draw_window(
    shape: tuple[int, int], size: tuple[int, int], rng: np.random.Generator, ignored: Mask | None = None
) -> tuple[int, int]:
    """Draw the position of a crop, uniform over the field.

    With ignored pixels, up to 20 positions are drawn until at most a quarter of the crop is ignored; if none is
    found, the position with the fewest ignored pixels is used.

    Parameters
    ----------
    shape, size : tuple of int
        (H, W) of the field and of the crop, px.
    rng : numpy.random.Generator
    ignored : (H, W) bool array, optional
        Pixels without annotation.

    Returns
    -------
    top, left : int
        px.

    Examples
    --------
    >>> ignored = np.ones((8, 8), bool)
    >>> ignored[:, :5] = False
    >>> draw_window((8, 8), (4, 4), np.random.default_rng(0), ignored)[1] <= 2
    True
    """
    best, fewest = (0, 0), 2.0
    for _ in range(1 if ignored is None else _TRIES):
        top, left = (int(rng.integers(length - side + 1)) for length, side in zip(shape, size, strict=True))
        fraction = 0.0 if ignored is None else float(ignored[top : top + size[0], left : left + size[1]].mean())
        if fraction < fewest:
            best, fewest = (top, left), fraction
        if fewest <= MAX_IGNORED:
            break
    return best
