"""What a training step sees: crops of smears, drawn by (seed, step) alone, so that a resumed run sees the same."""

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

WINDOW = 32  # smears of a stream that are at hand at a time


class SmearSupply:
    """The smears a step may draw from: all of a sequence, or a window that moves along a stream.

    A stream (no length) gives one new smear a step; `WINDOW` of them are kept. One that can be indexed, as
    `SyntheticSmears`, goes on from any step at once; of another the smears before that are passed over.

    Parameters
    ----------
    smears : sequence of Smear or iterable of Smear
    start : int
        First step that will be asked for.

    Examples
    --------
    >>> empty = Smear(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), np.int32), np.array([], int))
    >>> len(SmearSupply([empty] * 5, 0).at(3)), len(SmearSupply(iter([empty] * 50), 0).at(3))
    (5, 32)
    """

    def __init__(self, smears: Sequence[Smear] | Iterable[Smear], start: int) -> None:
        self._all = smears if isinstance(smears, Sequence) else None
        if self._all is not None and not len(self._all):
            raise DataError("no smears to train on; name a folder or a split that holds some")
        self._window: deque[Smear] = deque(maxlen=WINDOW)
        self._next = start
        if self._all is None:
            self._coming = _from(smears, start)

    def at(self, step: int) -> Sequence[Smear]:
        """Smears to draw step `step` from; steps are asked for in order."""
        if self._all is not None:
            return self._all
        while self._next < step + WINDOW:
            try:
                self._window.append(next(self._coming))
            except StopIteration:
                raise DataError(
                    f"the stream of smears ended after {self._next}; give an endless one, or a list of smears"
                ) from None
            self._next += 1
        return self._window


class Chosen(Sequence[Smear]):
    """Some of a sequence, read when asked.

    Examples
    --------
    >>> list(Chosen("abc", [2, 0]))  # type: ignore[arg-type]
    ['c', 'a']
    """

    def __init__(self, smears: Sequence[Smear], which: list[int]) -> None:
        self._smears, self._which = smears, which

    def __len__(self) -> int:
        return len(self._which)

    @overload
    def __getitem__(self, index: int) -> Smear: ...
    @overload
    def __getitem__(self, index: slice) -> Chosen: ...
    def __getitem__(self, index: int | slice) -> Smear | Chosen:
        if isinstance(index, slice):
            return Chosen(self._smears, self._which[index])
        return self._smears[self._which[index]]


def _from(smears: Iterable[Smear], start: int) -> Iterator[Smear]:
    take = getattr(type(smears), "__getitem__", None)
    if take is None or take is Dataset.__getitem__:  # PyTorch's streams inherit one that raises
        return islice(iter(smears), start, None)
    return (take(smears, index) for index in count(start))


def draw_samples(
    smears: Sequence[Smear], config: FitConfig, step: int, augment: Augment | None = None
) -> list[Smear]:
    """Crops of one training step: random smears, random places, then `augment`.

    Parameters
    ----------
    smears : sequence of Smear
    config : FitConfig
        Crop, batch and seed. A smear smaller than the crop is taken whole.
    step : int
        The draw depends on (seed, step) alone.
    augment : callable, optional
        Gets each crop, the whole list of crops of this step, and the generator.
    """
    rng = np.random.default_rng([config.seed, step])
    crops = [_crop(smears[int(rng.integers(len(smears)))], config, rng) for _ in range(config.batch)]
    return crops if augment is None else [augment(crop, crops, rng) for crop in crops]


def _crop(smear: Smear, config: FitConfig, rng: np.random.Generator) -> Smear:
    if config.crop is None:
        return smear
    height, width = (min(want, have) for want, have in zip(config.crop, smear.shape, strict=True))
    top, left = (
        int(rng.integers(have - want + 1)) for have, want in zip(smear.shape, (height, width), strict=True)
    )
    return smear.cropped(top, left, height, width)
