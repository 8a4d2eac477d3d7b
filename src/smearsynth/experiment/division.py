"""Training smears and test smears of an experiment, and the check that no synthesizer has seen the test smears."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from smearsynth.datasets import SmearFolder, fingerprints_of
from smearsynth.errors import DataError, OptionError, error_location
from smearsynth.experiment.facts import counted
from smearsynth.formats.fingerprints import find_same_fields
from smearsynth.formats.splits import every_third
from smearsynth.formats.training_smears import check_unseen, describe_repeated
from smearsynth.runs import SILENT, Progress
from smearsynth.synthesis.model.folder import load_training_smears

_MIN_SMEARS = 3  # of data without splits


def divide(
    smears: SmearFolder,
    splits: tuple[str, str] = ("train", "test"),
    models: Iterable[Path | str] = (),
    progress: Progress = SILENT,
) -> tuple[SmearFolder, SmearFolder]:
    """Divide smears into training smears and test smears.

    Parameters
    ----------
    smears : SmearFolder
    splits : (str, str)
        Names of the training split and the test split.
    models : iterable of Path or str
        Model folders of synthesizers. Of data without splits, the test smears are those that the first of these
        models held out that held out any, else every third smear.
    progress : Progress, optional
        Receives a message if there are no splits.

    Returns
    -------
    train, test : SmearFolder

    Raises
    ------
    DataError
        If there is no such split, or there are fewer than three smears without splits.
    OptionError
        If both splits are the same.
    ModelError
        If a model folder cannot be read.
    """
    train, test = splits
    if smears.splits:
        if train == test:
            raise OptionError(f"split {train!r} cannot be both training and test split; choose two splits")
        return smears.split(train), smears.split(test)
    if len(smears) < _MIN_SMEARS:
        raise DataError(
            f"{counted(len(smears), 'smear')}; training and testing need at least {_MIN_SMEARS}", smears.root
        )
    remark = "If fields of the same slide are in both sets, the scores of all arms are too high"
    for model in models:
        record = load_training_smears(model)
        held_out = [] if record is None else record.held_out_indices(fingerprints_of(smears))
        if held_out:
            progress.message(
                f"no split.csv: the {len(held_out)} smears that {model} held out are the test smears. {remark}"
            )
            return smears.subset([k for k in range(len(smears)) if k not in held_out]), smears.subset(held_out)
    progress.message(f"no split.csv: every third smear becomes a test smear. {remark}")
    training, testing = every_third(len(smears))
    return smears.subset(training), smears.subset(testing)


def check_synthesizers(
    train: SmearFolder,
    test: SmearFolder,
    models: Mapping[str, Path | str],
    *,
    allow_leak: bool = False,
) -> tuple[str, ...]:
    """Check that no synthesizer was trained on a test smear.

    Parameters
    ----------
    train, test : SmearFolder
    models : mapping of str to Path or str
        Model folders by what they are in messages, such as "the synthesizer my-model".
    allow_leak : bool
        Return warnings in place of an error.

    Returns
    -------
    tuple of str
        Warnings for the report.

    Raises
    ------
    DataError
        If a test smear was a training smear of a model, or an image is in both splits.
    ModelError
        If a model folder cannot be read.
    """
    with error_location(test.root):
        train_prints, test_prints = fingerprints_of(train), fingerprints_of(test)
        repeated = find_same_fields(test_prints, train_prints)
        if duplicates := sum(match.exact for match in repeated):
            raise DataError(
                f"{counted(duplicates, 'smear')} in both the training and the test split; keep each in one split"
            )
        remedy = (
            "train a synthesizer on the training split alone (leave out --model and --pretrained), "
            if train.splits
            else "train it again with held-out smears (train --hold-out third), "
        )
        warnings = dict.fromkeys(
            warning
            for model, folder in models.items()
            for warning in check_unseen(
                load_training_smears(folder),
                test_prints,
                model,
                others=train_prints,
                remedy=remedy,
                allow_leak=allow_leak,
            )
        )
    return tuple(dict.fromkeys([*warnings, *describe_repeated(repeated, len(test))]))
