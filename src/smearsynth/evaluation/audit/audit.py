"""Memorisation audit: a search for training cells, rotated, mirrored or recoloured, among synthetic cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from smearsynth.errors import DataError, OptionError, error_location
from smearsynth.evaluation.audit.descriptors import (
    CellDescriptors,
    CellIndex,
    FloatArray,
    NearestCells,
    describe_cells,
)
from smearsynth.evaluation.audit.positive_controls import make_positive_controls
from smearsynth.evaluation.audit.record import (
    FALSE_ALARM_RATE,
    Audit,
    CopiedSmear,
    Pair,
    beyond_chance,
    fraction_interval,
)
from smearsynth.evaluation.audit.repeated_fields import CLEAR_MARGIN, RepeatedField, find_repeated_fields
from smearsynth.evaluation.comparability import (
    Data,
    check_cell_sizes,
    folder_of,
    median_diameter,
    name_of,
    open_data,
    scale_of,
)
from smearsynth.evaluation.splits import split_for_audit
from smearsynth.runs import Execution
from smearsynth.smear import Smear

CONTROLS = 500
_MAX_HELD_OUT = 2000  # cells
_MIN_HELD_OUT = 50  # cells
_MIN_PAIRS = 24  # listed in the result

Stage = Callable[[str, int, int], object]


def audit(
    real: Data,
    synthetic: Data,
    *,
    train_split: str | None = None,
    held_out: str | None = None,
    max_cells: int = 10_000,
    limit: int | None = None,
    rng: int | np.random.Generator = 0,
    execution: Execution = Execution(),
) -> Audit:
    """Test whether synthetic cells are copies of training cells, also rotated, mirrored or recoloured.

    Parameters
    ----------
    real, synthetic : Path or str or SmearFolder
        At the same scale. The real smears include those that the synthesizer was trained on.
    train_split : str, optional
        Split of the real smears that was trained on. Default: "train" if it exists, else all smears outside the
        held-out split.
    held_out : str, optional
        Split of the real smears that was not trained on. Default: "test" if it exists. Without held-out smears,
        each training cell is searched in the other training smears.
    max_cells : int
        Largest number of synthetic cells to search for.
    limit : int, optional
        Use only the first `limit` synthetic smears.
    rng : int or numpy.random.Generator
    execution : Execution
        Only its progress is used.

    Returns
    -------
    Audit

    Raises
    ------
    DataError
        If the smears cannot be read, have too few cells, or are at different scales.
    OptionError
        If an option has no valid value.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from scipy import ndimage
    >>> from smearsynth.formats import open_writer
    >>> rng, folder = np.random.default_rng(0), Path(tempfile.mkdtemp())
    >>> labels = np.pad(np.kron(np.arange(1, 26).reshape(5, 5), np.pad(np.ones((20, 20)), 10)), 5).astype(np.int32)
    >>> with open_writer(folder) as writer:
    ...     for k in range(3):
    ...         texture = 900 * ndimage.gaussian_filter(rng.normal(0, 1, labels.shape), 3)
    ...         image = (150 + np.clip(texture, -90, 90)).astype(np.uint8)[..., None].repeat(3, axis=2)
    ...         writer.write(Smear.from_labels(image, labels, name=f"smear-{k}"))
    >>> result = audit(folder, folder, limit=1)
    >>> result.memorised, result.copied_smears[0].training
    (True, 'smear-0')
    """
    smears = open_data(real, progress=execution.progress)
    training, held_out_smears = split_for_audit(smears, train_split, held_out)
    with error_location(smears.root):
        return search_copies(
            training,
            open_data(synthetic, limit=limit, progress=execution.progress),
            held_out=held_out_smears,
            max_cells=max_cells,
            rng=rng,
            on_stage=execution.progress.advance,
        )


def search_copies(
    training: Sequence[Smear],
    synthetic: Sequence[Smear],
    *,
    held_out: Sequence[Smear] | None = None,
    max_cells: int = 10_000,
    controls: int = CONTROLS,
    rng: int | np.random.Generator = 0,
    on_stage: Stage | None = None,
) -> Audit:
    """Search for the cells of synthetic smears in training smears.

    Every whole synthetic cell is compared with every whole training cell in every pose, independent of colour. Its
    margin says how much nearer the nearest training cell is than the next ones. A cell is flagged if its margin
    exceeds that of 99 % of real cells that are not among the training cells. Positive controls, altered copies of
    training cells, measure the detection rate. One copied smear among many hardly changes the fraction of flagged
    cells; it is found by several cells with the arrangement of one training smear.

    Parameters
    ----------
    training : sequence of Smear
        Smears that the synthesizer was trained on.
    synthetic : sequence of Smear
        At the same scale.
    held_out : sequence of Smear, optional
        Real smears that it was not trained on. Without them each training cell is searched in the other smears.
    max_cells : int
        Largest number of synthetic cells to search for.
    controls : int
        Number of positive controls.
    rng : int or numpy.random.Generator
    on_stage : callable, optional
        Called with the name of a stage, the number of items done and their total.

    Returns
    -------
    Audit

    Raises
    ------
    DataError
        If there are too few cells, or the smears are at different scales.
    OptionError
        If a number of cells is less than 1.
    """
    for name, number in (("max_cells", max_cells), ("controls", controls)):
        if number < 1:
            raise OptionError(f"{name} must be at least 1, not {number}")
    generator = np.random.default_rng(rng)
    stage = _Stages(on_stage)
    diameter = _common_diameter(training, synthetic)
    index = CellIndex(describe_cells(training, diameter, stage("training cells", len(training))))
    reference = _measure_held_out(index, training, held_out, diameter, generator, stage)
    copies = describe_cells(
        make_positive_controls(training, controls, generator), diameter, stage("making controls", controls)
    )
    detected = index.nearest(copies, on_cell=stage("finding controls", len(copies))).margin > reference.threshold
    cells = describe_cells(synthetic, diameter, stage("synthetic cells", len(synthetic)))
    cells = _sample(cells, max_cells, generator)
    if not len(cells):
        raise DataError("no whole cell in the synthetic smears; give larger ones", folder_of(synthetic))
    nearest = index.nearest(cells, on_cell=stage("comparing", len(cells)))
    flagged = nearest.margin > reference.threshold
    copied = _copied_smears(cells, find_repeated_fields(cells, nearest, index.cells, diameter), synthetic, training)
    interval = fraction_interval(int(flagged.sum()), len(cells))
    order = np.argsort(-nearest.margin, kind="stable")[: max(_MIN_PAIRS, int(flagged.sum()))]
    return Audit(
        memorised=bool(copied) or beyond_chance(interval, reference.false_alarms),
        cells=len(cells),
        smears=len(np.unique(cells.smears)),
        flagged=int(flagged.sum()),
        flagged_fraction=float(flagged.mean()),
        interval=interval,
        margin=float(np.median(nearest.margin)),
        held_out_margin=reference.median,
        threshold=reference.threshold,
        false_alarms=reference.false_alarms,
        controls=len(copies),
        controls_detected=float(detected.mean()) if len(detected) else 0.0,
        training_smears=len(training),
        training_cells=len(index.cells),
        held_out_cells=reference.cells,
        held_out="smears not trained on" if held_out is not None else "each training smear against the others",
        copied_smears=copied,
        overlapping_smears=reference.overlapping_smears,
        pairs=tuple(
            _pair(k, cells, nearest, index.cells, (synthetic, training), bool(flagged[k])) for k in order.tolist()
        ),
    )


def _common_diameter(training: Sequence[Smear], synthetic: Sequence[Smear]) -> float:
    """Return the median diameter of the training cells in px, if the synthetic cells are of a similar size."""
    diameter = median_diameter(training)
    with error_location(folder_of(synthetic)):
        synthetic_diameter = median_diameter(synthetic)
    check_cell_sizes(diameter, synthetic_diameter, scale_of(training))
    return diameter


@dataclass(frozen=True)
class _HeldOut:
    """Margins of real cells that are not among the training cells."""

    cells: int
    median: float
    threshold: float
    false_alarms: float
    overlapping_smears: tuple[tuple[str, str], ...]


def _measure_held_out(
    index: CellIndex,
    training: Sequence[Smear],
    held_out: Sequence[Smear] | None,
    diameter: float,
    rng: np.random.Generator,
    stage: _Stages,
) -> _HeldOut:
    """Set the threshold on held-out cells, and measure the false alarms."""
    smears = training if held_out is None else held_out
    if held_out is None:
        if len(training) < 2:
            raise DataError(
                "one training smear and no held-out smears; give held-out smears, or more training smears"
            )
        cells = index.cells
    else:
        cells = describe_cells(held_out, diameter, stage("held-out cells", len(held_out)))
    sample = _sample(cells, _MAX_HELD_OUT, rng)
    nearest = index.nearest(
        sample,
        excluded=sample.smears if held_out is None else None,
        on_cell=stage("comparing held-out cells", len(sample)),
    )
    suspects = sample.smears[nearest.margin > CLEAR_MARGIN]
    overlaps = _find_overlaps(index, cells, suspects, diameter, exclude_same=held_out is None)
    valid = ~np.isin(sample.smears, [field.smear for field in overlaps])
    margins, indices = nearest.margin[valid], sample.smears[valid]
    if len(margins) < _MIN_HELD_OUT:
        count = len({field.smear for field in overlaps})
        note = f" ({count} of {len(smears)} smears show cells of training smears and are left out)" if count else ""
        raise DataError(
            f"{len(margins)} whole held-out cells{note} are too few for a threshold; give at least {_MIN_HELD_OUT} "
            "from smears that were not trained on"
        )
    return _HeldOut(
        len(margins),
        float(np.median(margins)),
        _threshold(margins),
        _cross_validated_false_alarms(margins, indices),
        tuple((name_of(smears, field.smear), name_of(training, field.training)) for field in overlaps),
    )


def _find_overlaps(
    index: CellIndex,
    cells: CellDescriptors,
    suspects: npt.NDArray[np.int64],
    diameter: float,
    *,
    exclude_same: bool,
) -> list[RepeatedField]:
    """Find those of the suspect smears that show the field of a training smear, from all of their cells."""
    suspect_cells = cells.subset(np.isin(cells.smears, suspects))
    nearest = index.nearest(suspect_cells, excluded=suspect_cells.smears if exclude_same else None)
    return find_repeated_fields(suspect_cells, nearest, index.cells, diameter)


def _threshold(margins: FloatArray) -> float:
    """Return the margin that at most 1 % of new cells exceed, on average over samples of this size.

    Among n cells and a new one, every rank of the new one is equally likely (Vovk et al. 2005, conformal
    prediction).
    """
    rank = min(len(margins), int(np.ceil((1 - FALSE_ALARM_RATE) * (len(margins) + 1))))
    return float(np.sort(margins)[rank - 1])


def _cross_validated_false_alarms(margins: FloatArray, smears: npt.NDArray[np.int64]) -> float:
    """Return the fraction of cells above a threshold set on the other half of the smears."""
    first = np.isin(smears, np.unique(smears)[::2])
    false_alarms = sum(
        int((margins[tested] > _threshold(margins[calibrated])).sum())
        for calibrated, tested in ((first, ~first), (~first, first))
        if calibrated.any()
    )
    return false_alarms / len(margins)


def _sample(cells: CellDescriptors, max_cells: int, rng: np.random.Generator) -> CellDescriptors:
    if len(cells) <= max_cells:
        return cells
    return cells.subset(np.sort(rng.choice(len(cells), max_cells, replace=False)))


def _copied_smears(
    cells: CellDescriptors,
    fields: Sequence[RepeatedField],
    synthetic: Sequence[Smear],
    training: Sequence[Smear],
) -> tuple[CopiedSmear, ...]:
    return tuple(
        CopiedSmear(
            synthetic=name_of(synthetic, field.smear),
            training=name_of(training, field.training),
            cells=field.cells,
            compared_cells=int((cells.smears == field.smear).sum()),
            rotation=field.rotation,
            mirrored=field.mirrored,
        )
        for field in fields
    )


def _pair(
    k: int,
    cells: CellDescriptors,
    nearest: NearestCells,
    training_cells: CellDescriptors,
    smears: tuple[Sequence[Smear], Sequence[Smear]],
    flagged: bool,
) -> Pair:
    """Return cell k and its nearest training cell; `smears` are the synthetic and the training smears."""
    match = int(nearest.index[k])
    return Pair(
        synthetic=name_of(smears[0], int(cells.smears[k])),
        synthetic_label=int(cells.labels[k]),
        training=name_of(smears[1], int(training_cells.smears[match])),
        training_label=int(training_cells.labels[match]),
        synthetic_at=_position(cells, k),
        training_at=_position(training_cells, match),
        margin=float(nearest.margin[k]),
        correlation=float(nearest.correlation[k]),
        rotation=float(nearest.rotation[k]),
        mirrored=bool(nearest.mirrored[k]),
        flagged=flagged,
    )


def _position(cells: CellDescriptors, k: int) -> tuple[float, float]:
    x, y = cells.centres[k].tolist()
    return round(x, 1), round(y, 1)


class _Stages:
    """Returns a progress callback for each stage."""

    def __init__(self, on_stage: Stage | None) -> None:
        self._on_stage = on_stage

    def __call__(self, name: str, total: int) -> Callable[[int], object]:
        on_stage = self._on_stage
        return (lambda done: None) if on_stage is None else (lambda done: on_stage(name, done, total))
