"""Training crops, drawn from (seed, step) only, so that a resumed run uses the same crops."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import count, islice
from typing import overload

import numpy as np
from torch.utils.data import Dataset

from smearsynth.errors import DataError
from smearsynth.smear import Smear
from smearsynth.tasks.augment import Augment
from smearsynth.tasks.config import FitConfig
from smearsynth.windows import draw_window

WINDOW = 32  # number of smears of a stream that are kept


class SmearSupply:
    """The smears that a step draws from: all of a sequence, or a window that moves along a stream.

    A stream (no length) gives one new smear per step; the last `WINDOW` are kept. A stream that can be indexed,
    such as `SyntheticSmears`, resumes at any step at once; for others the earlier smears are skipped.

    Parameters
    ----------
    smears : sequence of Smear or iterable of Smear
    start : int
        First step to draw.

    Examples
    --------
    >>> empty = Smear(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), np.int32), np.array([], int))
    >>> len(SmearSupply([empty] * 5, 0).at(3)), len(SmearSupply(iter([empty] * 50), 0).at(3))
    (5, 32)
    """

    def __init__(self, smears: Sequence[Smear] | Iterable[Smear], start: int) -> None:
        self._all = smears if isinstance(smears, Sequence) else None
        if self._all is not None and not len(self._all):
            raise DataError("no smears to train on; name a folder or split that has some")
        self._window: deque[Smear] = deque(maxlen=WINDOW)
        self._next = start
        if self._all is None:
            self._upcoming = _from(smears, start)

    def at(self, step: int) -> Sequence[Smear]:
        """Return the smears for step `step`; steps must be requested in order."""
        if self._all is not None:
            return self._all
        while self._next < step + WINDOW:
            try:
                self._window.append(next(self._upcoming))
            except StopIteration:
                raise DataError(
                    f"the stream of smears ended after {self._next}; give an endless stream or a list of smears"
                ) from None
            self._next += 1
        return self._window


class Subset(Sequence[Smear]):
    """Part of a sequence, read lazily.

    Examples
    --------
    >>> list(Subset("abc", [2, 0]))  # type: ignore[arg-type]
    ['c', 'a']
    """

    def __init__(self, smears: Sequence[Smear], indices: list[int]) -> None:
        self._smears, self._indices = smears, indices

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, index: int) -> Smear: ...
    @overload
    def __getitem__(self, index: slice) -> Subset: ...
    def __getitem__(self, index: int | slice) -> Smear | Subset:
        if isinstance(index, slice):
            return Subset(self._smears, self._indices[index])
        return self._smears[self._indices[index]]


def _from(smears: Iterable[Smear], start: int) -> Iterator[Smear]:
    getter = getattr(type(smears), "__getitem__", None)
    if getter is None or getter is Dataset.__getitem__:  # the method of PyTorch's base class raises
        return islice(iter(smears), start, None)
    return (getter(smears, index) for index in count(start))


def draw_samples(
    smears: Sequence[Smear], config: FitConfig, step: int, augment: Augment | None = None
) -> list[Smear]:
    """Draw the crops of one training step: random smears, random positions, then `augment`.

    Parameters
    ----------
    smears : sequence of Smear
    config : FitConfig
        Crop, batch and seed. A smear smaller than the crop is used whole. Crops avoid ignored pixels; see
        `draw_window`.
    step : int
        The draw depends on (seed, step) only.
    augment : callable, optional
        Called with each crop, all crops of this step, and the generator.
    """
    rng = np.random.default_rng([config.seed, step])
    crops = [_crop(smears[int(rng.integers(len(smears)))], config, rng) for _ in range(config.batch)]
    return crops if augment is None else [augment(crop, crops, rng) for crop in crops]


def _crop(smear: Smear, config: FitConfig, rng: np.random.Generator) -> Smear:
    if config.crop is None:
        return smear
    height, width = (min(target, available) for target, available in zip(config.crop, smear.shape, strict=True))
    top, left = draw_window(smear.shape, (height, width), rng, smear.ignored)
    return smear.cropped(top, left, height, width)
