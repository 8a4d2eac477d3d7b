"""Conversion of the samples of a label image to integer ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smearsynth.errors import DataError
from smearsynth.formats.pixels.decoding import Pixels

_MAX_ID = 2**63 - 1


def as_ids(samples: Pixels, path: Path) -> npt.NDArray[np.integer[Any]]:
    """Return ids of any integer type in native byte order.

    Bool becomes uint8, uint64 and floats become int64. Grey images saved as RGB are read from one channel.

    Parameters
    ----------
    samples : (H, W) or (H, W, S) array
    path : Path
        File, for messages.

    Returns
    -------
    (H, W) integer array

    Raises
    ------
    DataError
        If the samples have colours, fractions or negative values.

    Examples
    --------
    >>> as_ids(np.array([[0.0, 2.0]]), Path("a.tif")).tolist()
    [[0, 2]]
    >>> as_ids(np.full((1, 1, 3), 9, np.uint8), Path("a.png")).tolist()
    [[9]]
    """
    if samples.ndim == 3:
        samples = _grey(samples, path)
    elif samples.ndim != 2:
        raise DataError(f"has {samples.ndim} axes; save labels as one plane of height × width", path)
    samples = samples.astype(samples.dtype.newbyteorder("="), copy=False)
    if samples.dtype.kind == "f":
        samples = _whole_numbers(samples, path)
    if samples.dtype.kind == "b":
        return samples.astype(np.uint8)
    if samples.dtype.kind not in "iu":
        raise DataError(f"has values of type {samples.dtype}; save integer ids as uint16 or int32", path)
    if samples.dtype == np.uint64:
        if samples.max(initial=0) > _MAX_ID:
            raise DataError("contains ids above 2^63; save labels as uint16 or int32", path)
        return samples.astype(np.int64)  # NumPy cannot count or index with uint64
    if samples.dtype.kind == "i" and samples.size and samples.min() < 0:
        raise DataError(
            f"contains negative ids (down to {samples.min()}), as ids above 32767 saved with signed 16 bits; "
            "save labels as uint16 or int32",
            path,
        )
    return samples


def _grey(samples: Pixels, path: Path) -> Pixels:
    """Return the single channel of a grey image saved with several; transparent pixels become background."""
    channels = samples.shape[2]
    colours = samples[:, :, : channels - 1] if channels in (2, 4) else samples
    if channels > 4 or channels < 1 or not (colours == colours[:, :, :1]).all():
        raise DataError(
            f"is a colour image of {channels} channels, but labels are expected; "
            "save integer labels, or use format 'palette' if colours distinguish the cells",
            path,
        )
    if channels in (2, 4) and samples[:, :, -1].any():  # an alpha channel of zeros is unused
        return np.where(samples[:, :, -1] > 0, colours[:, :, 0], 0)
    return np.ascontiguousarray(colours[:, :, 0])


def _whole_numbers(samples: Pixels, path: Path) -> npt.NDArray[np.int64]:
    if not np.isfinite(samples).all() or (samples != np.rint(samples)).any() or (np.abs(samples) > 2**53).any():
        raise DataError("contains fractions, but labels are expected; save integer ids as uint16 or int32", path)
    return samples.astype(np.int64)
