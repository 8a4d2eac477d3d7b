"""The check that a synthesizer has not seen the real smears that its synthetic smears are compared with."""

from __future__ import annotations

from typing import NamedTuple

from smearsynth.datasets import SmearFolder, fingerprints_of
from smearsynth.errors import error_location
from smearsynth.evaluation.splits import ComparisonSplit, split_for_comparison
from smearsynth.formats.training_smears import TrainingSmears, check_unseen, read_training_smears


class CheckedComparison(NamedTuple):
    """Real smears for a comparison, and warnings about those that the synthesizer has seen.

    Parameters
    ----------
    split : ComparisonSplit
    warnings : tuple of str
    """

    split: ComparisonSplit
    warnings: tuple[str, ...]


def split_unseen(
    real: SmearFolder,
    synthetic: SmearFolder,
    split: str | None = None,
    *,
    limit: int | None = None,
    allow_leak: bool = False,
) -> CheckedComparison:
    """Divide real smears for a comparison, and check that the synthesizer was not trained on the compared ones.

    The folder of the synthetic smears says what their synthesizer has seen (``training-smears.json``). Of real
    smears without splits, those that the synthesizer held out are compared, if there are any.

    Parameters
    ----------
    real, synthetic : SmearFolder
    split : str, optional
        Split of the real smears to compare with, as for `split_for_comparison`.
    limit : int, optional
        Only the first compared smears are used.
    allow_leak : bool
        Return a warning in place of an error.

    Returns
    -------
    CheckedComparison

    Raises
    ------
    DataError
        If a compared smear was a training smear of the synthesizer, or the split does not exist.
    """
    folder = synthetic.root if synthetic.root.is_dir() else synthetic.root.parent
    record = read_training_smears(folder)
    comparison = split_for_comparison(real, split)
    if record is None:
        note = (
            f"{folder} does not say which smears its synthesizer was trained on (training-smears.json); it may "
            "have seen the real smears."
        )
        return CheckedComparison(comparison, (note,))
    if not real.splits and record.held_out:
        comparison = _held_out_comparison(real, record) or comparison
    compared = comparison.compared[:limit]
    names = set(compared.names)
    others = real.subset([k for k, name in enumerate(real.names) if name not in names]) if real.splits else ()
    with error_location(real.root):
        warnings = check_unseen(
            record,
            fingerprints_of(compared),
            f"the synthesizer of {folder}",
            others=fingerprints_of(others),
            remedy="name another split (--split), or train with held-out smears (train --hold-out third), ",
            allow_leak=allow_leak,
        )
    return CheckedComparison(comparison, warnings)


def _held_out_comparison(real: SmearFolder, record: TrainingSmears) -> ComparisonSplit | None:
    """Return the comparison with the smears that the synthesizer held out; None if none of them is in the data."""
    indices = record.held_out_indices(fingerprints_of(real))
    if not indices:
        return None
    compared = real.subset(indices)
    return ComparisonSplit(compared, real.subset([k for k in range(len(real)) if k not in indices]), compared)
