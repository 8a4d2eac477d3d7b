"""TODO."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smearsynth.datasets import SmearFolder
from smearsynth.errors import OptionError

if TYPE_CHECKING:  # PyTorch takes seconds to import
    pass

_TRAIN, _TEST = "train", "test"


def divide_by_split(smears: SmearFolder, split: str | None) -> tuple[SmearFolder, SmearFolder, SmearFolder]:
    """The real smears to compare with, those a segmenter may learn from, and those it must not have seen."""
    there = smears.splits
    chosen = split or (_TEST if _TEST in there and _TRAIN in there else None)
    compared = smears if chosen is None else smears.split(chosen)
    if _TRAIN in there and chosen not in (None, _TRAIN):
        return compared, smears.split(_TRAIN), compared
    return compared, compared[::2], compared[1::2]


def learned_and_held_out(
    smears: SmearFolder, train_split: str | None, held_out: str | None
) -> tuple[SmearFolder, SmearFolder | None]:
    """The smears that a model has learned from, as `train` chooses them, and those it has not."""
    there = smears.splits
    learned = train_split or (_TRAIN if _TRAIN in there else None)
    other = held_out or (_TEST if _TEST in there and learned not in (None, _TEST) else None)
    if learned is not None and learned == other:
        raise OptionError(
            f"split {learned!r} cannot be both what was trained on and what was not; name another with --held-out "
            "or leave that out"
        )
    kept = None if other is None else smears.split(other)
    if learned is not None:
        return smears.split(learned), kept
    if kept is None:
        return smears, None
    rest = [k for k, entry in enumerate(smears.entries) if entry.split != other]
    if not rest:
        raise OptionError(f"all smears are in split {other!r}: none is left that could have been trained on")
    return smears.subset(rest), kept
