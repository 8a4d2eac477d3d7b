"""The memorisation audit: synthetic cells that are training cells turned, mirrored or recoloured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict
from scipy import stats

from smearsynth.errors import DataError, OptionError
from smearsynth.evaluation.copies import plant_copies
from smearsynth.evaluation.crops import same_scale
from smearsynth.evaluation.views import CellIndex, CellViews, FloatArray, Nearest, median_diameter, view_cells
from smearsynth.smear import Smear

ALARMS = 0.01  # share of new real cells that may be taken for copies
PLANTED = 500
_HELD_OUT = 2000  # cells
_SAME = 0.5  # lead of a cell that is very likely seen again; two of them in a smear are proof
_LEAST = 50  # held-out cells
_SHOWN = 24

Stage = Callable[[str, int, int], object]


class Pair(BaseModel):
    """A synthetic cell and the training cell nearest to it.

    Parameters
    ----------
    synthetic, training : str
        Names of the two smears.
    synthetic_label, training_label : int
        Labels of the cells there.
    lead : float
        By how much this training cell is nearer than the third nearest, in Fisher's z.
    correlation : float
    turn : float
        Degrees, clockwise, by which the training cell must be turned.
    mirrored : bool
        Whether it must be mirrored top to bottom before.
    flagged : bool
        Whether the test takes the one for a copy of the other.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    synthetic: str
    synthetic_label: int
    training: str
    training_label: int
    lead: float
    correlation: float
    turn: float
    mirrored: bool
    flagged: bool


class Audit(BaseModel):
    """What `audit` found.

    Parameters
    ----------
    cells, smears : int
        Synthetic cells looked at, and the smears they are from.
    flagged : int
        Cells taken for copies of training cells.
    flagged_share : float
    interval : (float, float)
        95 % interval of the share (Clopper and Pearson 1934), as of independent cells.
    lead, held_out_lead : float
        Median lead of the nearest training cell, of synthetic and of held-out real cells.
    threshold : float
        Lead above which a cell is taken for a copy: that of 1 % of the held-out real cells.
    false_alarms : float
        Share of held-out cells above a threshold set on the other half of the held-out smears.
    planted : int
        Disguised copies of training cells put to the test.
    planted_caught : float
        Share of them that it flagged.
    training_smears, training_cells, held_out_cells : int
    held_out : str
        Where the held-out cells are from.
    seen_again : tuple of (str, str)
        Held-out smears that show the same cells as a training smear, with that smear; they were left out.
    pairs : tuple of Pair
        The nearest ones, nearest first.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    cells: int
    smears: int
    flagged: int
    flagged_share: float
    interval: tuple[float, float]
    lead: float
    held_out_lead: float
    threshold: float
    false_alarms: float
    planted: int
    planted_caught: float
    training_smears: int
    training_cells: int
    held_out_cells: int
    held_out: str
    seen_again: tuple[tuple[str, str], ...]
    pairs: tuple[Pair, ...]

    @property
    def memorised(self) -> bool:
        """Whether more cells are flagged than chance explains, be it for their texture or their outlines alone."""
        return self.interval[0] > max(ALARMS, self.false_alarms)

    @property
    def reliable(self) -> bool:
        """Whether the test caught nearly all planted copies."""
        return self.planted_caught >= 0.99

    def verdict(self) -> str:
        """What was found, in plain sentences."""
        share = f"{self.flagged} of {self.cells} synthetic cells ({_percent(self.flagged_share)}, 95 % interval "
        share += (
            f"{_percent(self.interval[0])} to {_percent(self.interval[1])}) are taken for copies of training cells"
        )
        if self.memorised:
            said = (
                f"Signs of copying: {share}; of new real cells it would be {_percent(self.false_alarms)}. Look at "
                "the pairs: a model that keeps real contours (trained without --parametric) copies outlines."
            )
        else:
            said = (
                f"No sign of memorisation: {share}, no more than of new real cells ({_percent(self.false_alarms)})."
            )
        caught = f"The test caught {_percent(self.planted_caught)} of {self.planted} planted copies"
        weak = "" if self.reliable else ", so copies may have been missed"
        return f"{said} {caught} (turned, mirrored, recoloured, slightly blurred or compressed){weak}."

    def card(self) -> str:
        """The record for a model card, as Markdown."""
        again = ", ".join(f"{held} ({training})" for held, training in self.seen_again)
        note = (
            f"\n\nHeld-out smears that show the same cells as a training smear, left out: {again}." if again else ""
        )
        return (
            f"## Memorisation\n\n{self.verdict()} Searched were {self.training_cells} cells of "
            f"{self.training_smears} training smears; held-out cells ({self.held_out_cells}) are from "
            f"{self.held_out}.{note}\n"
        )


def audit(
    training: Sequence[Smear],
    synthetic: Sequence[Smear],
    *,
    held_out: Sequence[Smear] | None = None,
    most: int = 10_000,
    planted: int = PLANTED,
    rng: int | np.random.Generator = 0,
    on_stage: Stage | None = None,
) -> Audit:
    """Search the training smears for the cells of synthetic ones.

    Every whole synthetic cell is compared with every whole training cell, turned, mirrored and whatever its
    colours. How far the nearest is ahead of the next ones is set against the same for real cells that are not
    among the training cells; the test is itself tested by planted copies.

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
    planted : int
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
    if min(most, planted) < 1:
        raise OptionError(f"{min(most, planted)} cells cannot be looked at; give 1 at least")
    generator = np.random.default_rng(rng)
    stages = _Stages(on_stage)
    diameter = median_diameter(training)
    same_scale(diameter, median_diameter(synthetic), getattr(training, "scale", 1.0))
    index = CellIndex(view_cells(training, diameter, stages("training cells", len(training))))
    new = _held_out(index, training, held_out, diameter, generator, stages)
    copies = view_cells(plant_copies(training, planted, generator), diameter, stages("planting copies", planted))
    caught = index.nearest(copies, on_cell=stages("finding copies", len(copies))).lead > new.threshold
    ours = view_cells(synthetic, diameter, stages("synthetic cells", len(synthetic)))
    ours = _sample(ours, most, generator)
    if not len(ours):
        raise DataError("no whole cell in the synthetic smears; give larger ones")
    nearest = index.nearest(ours, on_cell=stages("comparing", len(ours)))
    flagged = nearest.lead > new.threshold
    order = np.argsort(-nearest.lead, kind="stable")
    return Audit(
        cells=len(ours),
        smears=len(np.unique(ours.smears)),
        flagged=int(flagged.sum()),
        flagged_share=float(flagged.mean()),
        interval=share_interval(int(flagged.sum()), len(ours)),
        lead=float(np.median(nearest.lead)),
        held_out_lead=new.median,
        threshold=new.threshold,
        false_alarms=new.false_alarms,
        planted=len(copies),
        planted_caught=float(caught.mean()) if len(caught) else 0.0,
        training_smears=len(training),
        training_cells=len(index.views),
        held_out_cells=new.cells,
        held_out="smears not trained on" if held_out is not None else "each training smear against the others",
        seen_again=new.seen_again,
        pairs=tuple(
            _pair(k, ours, nearest, index.views, synthetic, training, bool(flagged[k]))
            for k in order[: max(_SHOWN, int(flagged.sum()))].tolist()
        ),
    )


def share_interval(count: int, n: int) -> tuple[float, float]:
    """Exact 95 % interval of a share (Clopper and Pearson 1934).

    Examples
    --------
    >>> share_interval(0, 100)[1] < 0.04, share_interval(50, 100)[0] > 0.39
    (True, True)
    """
    low = stats.beta.ppf(0.025, count, n - count + 1) if count else 0.0
    high = stats.beta.ppf(0.975, count + 1, n - count) if count < n else 1.0
    return float(low), float(high)


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
    if held_out is None:
        if len(training) < 2:
            raise DataError("one training smear and no held-out ones: nothing to tell copies from; name some")
        views = _sample(index.views, _HELD_OUT, rng)
        excluded: npt.NDArray[np.int64] | None = views.smears
    else:
        views = view_cells(held_out, diameter, stages("held-out cells", len(held_out)))
        views, excluded = _sample(views, _HELD_OUT, rng), None
    nearest = index.nearest(views, excluded=excluded, on_cell=stages("comparing real cells", len(views)))
    again = _seen_again(views, nearest, index.views)
    kept = ~np.isin(views.smears, list(again))
    lead, smears = nearest.lead[kept], views.smears[kept]
    if len(lead) < _LEAST:
        raise DataError(f"{len(lead)} whole held-out cells are too few for a threshold; give {_LEAST} at least")
    return _HeldOut(
        len(lead),
        float(np.median(lead)),
        _threshold(lead),
        _cross_checked(lead, smears),
        tuple((_name(held_out or training, k), _name(training, seen)) for k, seen in sorted(again.items())),
    )


def _seen_again(views: CellViews, nearest: Nearest, training: CellViews) -> dict[int, int]:
    """Smears of which several cells are found in one training smear, turned alike: fields that overlap."""
    alike = Counter(
        (int(smear), int(training.smears[index]), bool(mirrored), round(turn / 15) % 24)
        for smear, index, lead, turn, mirrored in zip(
            views.smears, nearest.index, nearest.lead, nearest.turn, nearest.mirrored, strict=True
        )
        if lead > _SAME
    )
    return {held: seen for (held, seen, _, _), count in alike.items() if count > 1}


def _threshold(lead: FloatArray) -> float:
    return float(np.quantile(lead, 1 - ALARMS, method="higher"))


def _cross_checked(lead: FloatArray, smears: npt.NDArray[np.int64]) -> float:
    """Share above a threshold set on the other half of the smears."""
    first = np.isin(smears, np.unique(smears)[::2])
    alarms = sum(
        int((lead[there] > _threshold(lead[here])).sum())
        for here, there in ((first, ~first), (~first, first))
        if here.any()
    )
    return alarms / len(lead)


def _sample(views: CellViews, most: int, rng: np.random.Generator) -> CellViews:
    if len(views) <= most:
        return views
    return views.of(np.sort(rng.choice(len(views), most, replace=False)))


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
        lead=float(nearest.lead[k]),
        correlation=float(nearest.correlation[k]),
        turn=float(nearest.turn[k]),
        mirrored=bool(nearest.mirrored[k]),
        flagged=flagged,
    )


def _name(smears: Sequence[Smear], k: int) -> str:
    names = getattr(smears, "names", None)  # a folder knows them without decoding
    return str(names[k]) if names is not None else smears[k].name


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


class _Stages:
    """Hands out a progress function for each stage."""

    def __init__(self, on_stage: Stage | None) -> None:
        self._on_stage = on_stage

    def __call__(self, name: str, total: int) -> Callable[[int], object]:
        tell = self._on_stage
        return (lambda done: None) if tell is None else (lambda done: tell(name, done, total))
