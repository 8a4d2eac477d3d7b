"""A cache of decoded smears in memory."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from smearsynth.geometry import Outline
from smearsynth.smear import ImageArray, Mask, Smear


class SmearCache:
    """Least-recently-used cache of decoded smears; stores and returns copies.

    Parameters
    ----------
    limit : int
        Size in bytes; 0 disables the cache.
    """

    def __init__(self, limit: int) -> None:
        self.limit = self._limit = limit
        self._size = 0
        self._smears: OrderedDict[str, _CachedSmear] = OrderedDict()

    def __reduce__(self) -> tuple[type[SmearCache], tuple[int]]:
        # Another process starts with an empty cache; pickling would send hundreds of megabytes.
        return SmearCache, (self._limit,)

    def get(self, name: str) -> Smear | None:
        """Return a copy of the smear, or None if it is not cached."""
        entry = self._smears.get(name)
        if entry is None:
            return None
        self._smears.move_to_end(name)
        # A copy, so that a caller who modifies a smear does not change the cache.
        return Smear(
            entry.image.copy(),
            entry.labels.astype(np.int32),
            entry.classes.copy(),
            entry.class_names,
            entry.um_per_px,
            name,
            None if entry.ignored is None else _unpack(entry.ignored, entry.labels.shape),
            entry.full_outlines,
        )

    def put(self, smear: Smear) -> None:
        """Store a copy, and drop the least recently used smears if the cache is full."""
        # Instance ids mostly fit 16 bits, which halves the memory.
        narrow = np.uint16 if smear.count <= np.iinfo(np.uint16).max else np.int32
        size = smear.image.nbytes + smear.labels.size * np.dtype(narrow).itemsize
        ignored = None if smear.ignored is None else np.packbits(smear.ignored)
        size += 0 if ignored is None else ignored.nbytes
        if size > self._limit:
            return
        while self._smears and self._size + size > self._limit:
            self._size -= self._smears.popitem(last=False)[1].size
        self._smears[smear.name] = _CachedSmear(
            smear.image.copy(),
            smear.labels.astype(narrow),
            smear.classes.copy(),
            smear.class_names,
            smear.um_per_px,
            ignored,
            smear.full_outlines,
            size,
        )
        self._size += size


class _CachedSmear(NamedTuple):
    image: ImageArray
    labels: npt.NDArray[np.integer[Any]]
    classes: npt.NDArray[np.int64]
    class_names: tuple[str, ...]
    um_per_px: float | None
    ignored: npt.NDArray[np.uint8] | None  # eight pixels per byte
    full_outlines: tuple[Outline | None, ...] | None
    size: int


def _unpack(packed: npt.NDArray[np.uint8], shape: tuple[int, ...]) -> Mask:
    """Return the mask (H, W) of the bits that `numpy.packbits` packed."""
    return np.unpackbits(packed, count=math.prod(shape)).reshape(shape).astype(bool)
