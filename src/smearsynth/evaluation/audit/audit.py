"""The memorisation audit: synthetic cells that are training cells turned, mirrored or recoloured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from smearsynth.errors import DataError, OptionError, error_location
from smearsynth.evaluation.audit.descriptors import CellIndex, CellViews, FloatArray, Nearest, view_cells
from smearsynth.evaluation.audit.positive_controls import make_positive_controls
from smearsynth.evaluation.audit.record import ALARMS, Audit, CopiedSmear, Pair, beyond_chance, fraction_interval
from smearsynth.evaluation.audit.repeated_fields import SURE, FieldAgain, fields_again
from smearsynth.evaluation.comparability import folder_of, median_diameter, same_scale
from smearsynth.smear import Smear

CONTROLS = 500
_HELD_OUT = 2000  # cells
_LEAST = 50  # held-out cells
_SHOWN = 24

Stage = Callable[[str, int, int], object]


def audit(
    training: Sequence[Smear],
    synthetic: Sequence[Smear],
    *,
    held_out: Sequence[Smear] | None = None,
    most: int = 10_000,
    controls: int = CONTROLS,
    rng: int | np.random.Generator = 0,
    on_stage: Stage | None = None,
) -> Audit:
    """Search the training smears for the cells of synthetic ones.

    Every whole synthetic cell is compared with every whole training cell, turned, mirrored and whatever its
    colours. How far the nearest is ahead of the next ones is set against the same for real cells that are not
    among the training cells; the test is itself tested by planted copies. A copied smear among many hardly changes
    the share of cells: it is told by several cells that lie as they do in one training smear.

    Parameters
    ----------
    training : sequence of Smear
        The smears that the synthesizer has learned from.
    synthetic : sequence of Smear
        At the same scale.
    held_out : sequence of Smear, optional
        Real smears it has not learned from; without them each training cell is searched in the other smears.
    most : int
        So many synthetic cells are looked at, at most.
    controls : int
        Copies to test the test with.
    rng : int or numpy.random.Generator
    on_stage : callable, optional
        Called with the name of a stage, what is done of it, and what there is to do.

    Returns
    -------
    Audit

    Raises
    ------
    DataError
        When there are too few cells to tell, or the scales do not fit.
    OptionError
        When a number of cells is below 1.
    """
    if min(most, controls) < 1:
        raise OptionError(f"{min(most, controls)} cells cannot be looked at; give 1 at least")
    generator = np.random.default_rng(rng)
    stages = _Stages(on_stage)
    diameter = median_diameter(training)
    with error_location(folder_of(synthetic)):
        painted = median_diameter(synthetic)
    same_scale(diameter, painted, getattr(training, "scale", 1.0))
    index = CellIndex(view_cells(training, diameter, stages("training cells", len(training))))
    new = _held_out(index, training, held_out, diameter, generator, stages)
    copies = view_cells(
        make_positive_controls(training, controls, generator), diameter, stages("planting copies", controls)
    )
    caught = index.nearest(copies, on_cell=stages("finding copies", len(copies))).margin > new.threshold
    ours = view_cells(synthetic, diameter, stages("synthetic cells", len(synthetic)))
    ours = _sample(ours, most, generator)
    if not len(ours):
        raise DataError("no whole cell in the synthetic smears; give larger ones", folder_of(synthetic))
    nearest = index.nearest(ours, on_cell=stages("comparing", len(ours)))
    flagged = nearest.margin > new.threshold
    order = np.argsort(-nearest.margin, kind="stable")
    copied = _copied(ours, fields_again(ours, nearest, index.views, diameter), synthetic, training)
    interval = fraction_interval(int(flagged.sum()), len(ours))
    return Audit(
        memorised=bool(copied) or beyond_chance(interval, new.false_alarms),
        cells=len(ours),
        smears=len(np.unique(ours.smears)),
        flagged=int(flagged.sum()),
        flagged_fraction=float(flagged.mean()),
        interval=interval,
        margin=float(np.median(nearest.margin)),
        held_out_margin=new.median,
        threshold=new.threshold,
        false_alarms=new.false_alarms,
        controls=len(copies),
        controls_detected=float(caught.mean()) if len(caught) else 0.0,
        training_smears=len(training),
        training_cells=len(index.views),
        held_out_cells=new.cells,
        held_out="smears not trained on" if held_out is not None else "each training smear against the others",
        copied_smears=copied,
        seen_again=new.seen_again,
        pairs=tuple(
            _pair(k, ours, nearest, index.views, synthetic, training, bool(flagged[k]))
            for k in order[: max(_SHOWN, int(flagged.sum()))].tolist()
        ),
    )


@dataclass(frozen=True)
class _HeldOut:
    cells: int
    median: float
    threshold: float
    false_alarms: float
    seen_again: tuple[tuple[str, str], ...]


def _held_out(
    index: CellIndex,
    training: Sequence[Smear],
    held_out: Sequence[Smear] | None,
    diameter: float,
    rng: np.random.Generator,
    stages: _Stages,
) -> _HeldOut:
    """How real cells that are not among the training cells look to the test."""
    real = training if held_out is None else held_out
    if held_out is None:
        if len(training) < 2:
            raise DataError("one training smear and no held-out ones: nothing to tell copies from; name some")
        views = index.views
    else:
        views = view_cells(held_out, diameter, stages("held-out cells", len(held_out)))
    some = _sample(views, _HELD_OUT, rng)
    nearest = index.nearest(
        some,
        excluded=some.smears if held_out is None else None,
        on_cell=stages("comparing real cells", len(some)),
    )
    again = _overlapping(index, views, some.smears[nearest.margin > SURE], held_out is None, diameter)
    kept = ~np.isin(some.smears, [one.smear for one in again])
    margin, smears = nearest.margin[kept], some.smears[kept]
    if len(margin) < _LEAST:
        known = len({one.smear for one in again})
        why = (
            f" ({known} of {len(real)} smears show the cells of training smears and do not count)" if known else ""
        )
        raise DataError(
            f"{len(margin)} whole held-out cells{why} are too few for a threshold; give {_LEAST} at least, of smears "
            "that were not trained on"
        )
    return _HeldOut(
        len(margin),
        float(np.median(margin)),
        _threshold(margin),
        _cross_checked(margin, smears),
        tuple((_name(real, one.smear), _name(training, one.training)) for one in again),
    )


def _overlapping(
    index: CellIndex, views: CellViews, suspects: npt.NDArray[np.int64], excluded: bool, diameter: float
) -> list[FieldAgain]:
    """Which of these smears show the field of a training smear; to tell, all their cells are looked at."""
    all_of = views.of(np.isin(views.smears, suspects))
    nearest = index.nearest(all_of, excluded=all_of.smears if excluded else None)
    return fields_again(all_of, nearest, index.views, diameter)


def _threshold(margin: FloatArray) -> float:
    """Lead that at most 1 % of new cells exceed, on average over draws of so many known ones.

    Of n known cells and a new one each rank is as likely (Vovk et al. 2005, conformal prediction).
    """
    rank = min(len(margin), int(np.ceil((1 - ALARMS) * (len(margin) + 1))))
    return float(np.sort(margin)[rank - 1])


def _cross_checked(margin: FloatArray, smears: npt.NDArray[np.int64]) -> float:
    """Share above a threshold set on the other half of the smears."""
    first = np.isin(smears, np.unique(smears)[::2])
    alarms = sum(
        int((margin[there] > _threshold(margin[here])).sum())
        for here, there in ((first, ~first), (~first, first))
        if here.any()
    )
    return alarms / len(margin)


def _sample(views: CellViews, most: int, rng: np.random.Generator) -> CellViews:
    if len(views) <= most:
        return views
    return views.of(np.sort(rng.choice(len(views), most, replace=False)))


def _copied(
    ours: CellViews, again: Sequence[FieldAgain], synthetic: Sequence[Smear], training: Sequence[Smear]
) -> tuple[CopiedSmear, ...]:
    return tuple(
        CopiedSmear(
            synthetic=_name(synthetic, one.smear),
            training=_name(training, one.training),
            cells=one.cells,
            of=int((ours.smears == one.smear).sum()),
            turn=one.turn,
            mirrored=one.mirrored,
        )
        for one in again
    )


def _pair(
    k: int,
    ours: CellViews,
    nearest: Nearest,
    theirs: CellViews,
    synthetic: Sequence[Smear],
    training: Sequence[Smear],
    flagged: bool,
) -> Pair:
    there = int(nearest.index[k])
    return Pair(
        synthetic=_name(synthetic, int(ours.smears[k])),
        synthetic_label=int(ours.labels[k]),
        training=_name(training, int(theirs.smears[there])),
        training_label=int(theirs.labels[there]),
        synthetic_at=_at(ours, k),
        training_at=_at(theirs, there),
        margin=float(nearest.margin[k]),
        correlation=float(nearest.correlation[k]),
        turn=float(nearest.turn[k]),
        mirrored=bool(nearest.mirrored[k]),
        flagged=flagged,
    )


def _at(views: CellViews, k: int) -> tuple[float, float]:
    x, y = views.centres[k].tolist()
    return round(x, 1), round(y, 1)


def _name(smears: Sequence[Smear], k: int) -> str:
    names = getattr(smears, "names", None)  # a folder knows them without decoding
    return str(names[k]) if names is not None else smears[k].name


class _Stages:
    """Hands out a progress function for each stage."""

    def __init__(self, on_stage: Stage | None) -> None:
        self._on_stage = on_stage

    def __call__(self, name: str, total: int) -> Callable[[int], object]:
        tell = self._on_stage
        return (lambda done: None) if tell is None else (lambda done: tell(name, done, total))
