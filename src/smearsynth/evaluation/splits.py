"""Which real smears a comparison, a segmenter and an audit use."""

from __future__ import annotations

from typing import NamedTuple

from smearsynth.datasets import SmearFolder
from smearsynth.errors import OptionError

_TRAIN, _TEST = "train", "test"


class ComparisonSplit(NamedTuple):
    """Real smears for a comparison with synthetic ones.

    Parameters
    ----------
    compared : SmearFolder
        Smears that the synthetic ones are compared with.
    training : SmearFolder
        Smears that a segmenter may be trained on.
    unseen : SmearFolder
        Smears that the segmenter must not be trained on, to calibrate its limits.
    """

    compared: SmearFolder
    training: SmearFolder
    unseen: SmearFolder


def split_for_comparison(smears: SmearFolder, split: str | None = None) -> ComparisonSplit:
    """Divide real smears for a comparison.

    The split "train" trains the segmenter if the comparison uses another split. Otherwise every second smear trains
    it and the others calibrate its limits.

    Parameters
    ----------
    smears : SmearFolder
    split : str, optional
        Split to compare with. Default: "test" if the folder has the splits "train" and "test", else all smears.

    Raises
    ------
    DataError
        If the split does not exist.
    """
    names = smears.splits
    name = split or (_TEST if _TEST in names and _TRAIN in names else None)
    compared = smears if name is None else smears.split(name)
    if _TRAIN in names and name not in (None, _TRAIN):
        return ComparisonSplit(compared, smears.split(_TRAIN), compared)
    return ComparisonSplit(compared, compared[::2], compared[1::2])


def split_for_audit(
    smears: SmearFolder, train_split: str | None = None, held_out: str | None = None
) -> tuple[SmearFolder, SmearFolder | None]:
    """Divide real smears into those that a synthesizer was trained on and held-out ones.

    Parameters
    ----------
    smears : SmearFolder
    train_split : str, optional
        Training split. Default: "train" if it exists, else all smears outside the held-out split; `train` uses the
        same smears by default.
    held_out : str, optional
        Held-out split. Default: "test" if it exists and a training split is given or exists.

    Returns
    -------
    training : SmearFolder
    held_out : SmearFolder or None

    Raises
    ------
    DataError
        If a split does not exist.
    OptionError
        If both splits are the same, or all smears are in the held-out split.
    """
    names = smears.splits
    training_name = train_split or (_TRAIN if _TRAIN in names else None)
    held_out_name = held_out or (_TEST if _TEST in names and training_name not in (None, _TEST) else None)
    if training_name is not None and training_name == held_out_name:
        raise OptionError(
            f"split {training_name!r} cannot be both the training split and the held-out split; name another "
            "held-out split (--held-out) or none"
        )
    held_out_smears = None if held_out_name is None else smears.split(held_out_name)
    if training_name is not None:
        return smears.split(training_name), held_out_smears
    if held_out_smears is None:
        return smears, None
    rest = [k for k, entry in enumerate(smears.entries) if entry.split != held_out_name]
    if not rest:
        raise OptionError(
            f"all smears are in split {held_out_name!r}, so no training smears remain; name another held-out split "
            "(--held-out)"
        )
    return smears.subset(rest), held_out_smears
