"""Label fidelity: are the cells of a smear where its labels say? A segmenter trained on real smears looks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict
from scipy import ndimage, stats

from smearsynth.errors import DataError
from smearsynth.smear import ImageArray, LabelArray, Mask, Smear

ALARMS = 0.01  # share of real cells that may be called wrong, and as many missing ones may be reported
_RIM = 0.12  # diameters around a label in which found pixels still belong to it
_SPECK = 0.1  # of the area of a median cell: smaller labels, slivers at the border, are not judged
_LEAST_IOU = (0.3, 0.75)  # between these the threshold lies, whatever the real smears say
_LEAST_AREA = (0.15, 0.5)  # likewise for what counts as a missing cell, in areas of a median cell
_SHOWN = 200
_SIMULATED_ERRORS = 12  # labels damaged in each smear for each kind of slip

FloatArray = npt.NDArray[np.float64]
SimulatedError = Literal["deleted", "added", "shifted", "swapped"]
SIMULATED_ERRORS: tuple[SimulatedError, ...] = ("deleted", "added", "shifted", "swapped")


class Segmenter(Protocol):
    """What tells cells from background, such as a fitted `smearsynth.tasks.Segmentation`."""

    def probability(self, image: ImageArray) -> npt.NDArray[np.float32]:
        """Probability of each pixel (H, W) to be of a cell."""
        ...


class Disagreement(BaseModel):
    """A cell on which labels and image disagree.

    Parameters
    ----------
    smear : str
    kind : {"wrong", "missing"}
        A label without the cell it claims, or a cell without a label.
    label : int
        Number of the instance in the smear as read: 1..n in the order of the numbers in its file, which may have
        gaps; `generate` leaves none. 0 for a missing one.
    x, y : float
        Its middle, px from the upper left corner of the smear as read.
    iou : float
        Of the label with what was found there; 0 for a missing one.
    area : int
        Of the label, or of what was found without one, px².
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    smear: str
    kind: Literal["wrong", "missing"]
    label: int
    x: float
    y: float
    iou: float
    area: int

    @property
    def what(self) -> str:
        """What it is and where, in a few words."""
        at = f"at x {self.x:.0f}, y {self.y:.0f} px"
        return f"label {self.label} {at}, IoU {self.iou:.2f}" if self.label else f"no label {at}, {self.area} px²"


class Limits(BaseModel):
    """What counts as wrong and as missing, set on real smears that the segmenter has not seen.

    Parameters
    ----------
    iou : float
        A label below it is wrong.
    area : float
        A found region without label of this area or more, px², is a missing cell.
    false_wrong, false_missing : float
        Real labels called wrong, and missing cells reported, for each real cell.
    caught : dict of str to float
        Share of slips made on purpose in these smears that were found, by kind.
    cells : int
        Real cells judged.
    iou_median : float
        Of the real cells with their own labels: more cannot be expected of synthetic ones.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    iou: float
    area: float
    false_wrong: float
    false_missing: float
    caught: dict[SimulatedError, float]
    cells: int
    iou_median: float


class LabelFidelity(BaseModel):
    """How well the labels of some smears fit their images.

    Parameters
    ----------
    cells : int
        Cells judged.
    iou_median, iou_low : float
        Median over the cells, and the value that one in twenty stays below.
    wrong, missing : int
        Labels without their cell, and cells without a label.
    disagreements : tuple of Disagreement
        The worst of them, at most 200.
    limits : Limits
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    cells: int
    iou_median: float
    iou_low: float
    wrong: int
    missing: int
    disagreements: tuple[Disagreement, ...]
    limits: Limits

    def worst(self, most: int) -> tuple[Disagreement, ...]:
        """The worst of the wrong labels and of the missing cells, so many of each at most."""
        kinds = ([one for one in self.disagreements if one.kind == kind] for kind in ("wrong", "missing"))
        return tuple(one for listed in kinds for one in listed[:most])


@dataclass(frozen=True)
class Judged:
    """What a segmenter says of the labels of one smear.

    Parameters
    ----------
    ious : (n,) float64 array
        Of each label with the found pixels in and around it; NaN for slivers.
    found : (H, W) int32 array
        Regions found without a label, 1..m.
    areas : (m,) int64 array
        Of these, px².
    """

    ious: FloatArray
    found: LabelArray
    areas: npt.NDArray[np.int64]


def judge_labels(labels: LabelArray, cells: Mask, diameter: float) -> Judged:
    """Hold labels against the mask of cells that a segmenter found in the image.

    A mask does not tell touching cells apart: each found pixel goes to the nearest label, if it is within 0.12
    diameters; what is farther belongs to no label.

    Parameters
    ----------
    labels : (H, W) int32 array
    cells : (H, W) bool array
    diameter : float
        Of a median cell, px.

    Returns
    -------
    Judged

    Examples
    --------
    >>> labels = np.zeros((30, 60), np.int32)
    >>> labels[10:20, 5:15], labels[10:20, 25:35] = 1, 2
    >>> cells = np.zeros((30, 60), bool)
    >>> cells[10:20, 5:15] = cells[10:20, 45:55] = True
    >>> judged = judge_labels(labels, cells, 11.3)
    >>> judged.ious.tolist(), judged.areas.tolist()
    ([1.0, 0.0], [96])
    """
    n = int(labels.max(initial=0))
    if n:
        away, nearest = ndimage.distance_transform_edt(labels == 0, return_indices=True)
        owner = np.where(away <= max(1.0, _RIM * diameter), labels[tuple(nearest)], 0)
    else:
        owner = np.zeros_like(labels)
    sizes = np.bincount(labels.ravel(), minlength=n + 1)[1:]
    claimed = np.bincount(owner[cells], minlength=n + 1)[1:]
    shared = np.bincount(labels[cells], minlength=n + 1)[1:]
    ious = shared / np.maximum(sizes + claimed - shared, 1)
    ious[sizes < _SPECK * _cell_area(diameter)] = np.nan
    # opened, so that a rim seen a little wider than the label is no region
    free = ndimage.binary_opening(cells & (owner == 0), iterations=max(1, round(0.05 * diameter)))
    found, m = ndimage.label(free)
    return Judged(ious, found.astype(np.int32), np.bincount(found.ravel(), minlength=m + 1)[1:].astype(np.int64))


def calibrate_limits(
    smears: Sequence[Smear],
    segmenter: Segmenter,
    diameter: float,
    *,
    rng: int | np.random.Generator = 0,
    on_smear: Callable[[int], object] | None = None,
) -> Limits:
    """Set the limits on real smears so that 1 % of their cells raise an alarm, and see what slips are caught.

    Slips are made in copies of the labels: cells deleted, added on empty ground, shifted by half a diameter, and
    exchanged for a cell of at least 1.5 times or at most two thirds of the area.

    Parameters
    ----------
    smears : sequence of Smear
        Real ones, not those the segmenter was trained on.
    segmenter : Segmenter
    diameter : float
        Of a median cell, px.
    rng : int or numpy.random.Generator
    on_smear : callable, optional
        Called with the number of smears done.

    Returns
    -------
    Limits

    Raises
    ------
    DataError
        When there is no cell to set them on.
    """
    generator = np.random.default_rng(rng)
    ious, areas = [], []
    trials: list[_Trial] = []
    for k, smear in enumerate(smears):
        cells = segmenter.probability(smear.image) > 0.5
        judged = judge_labels(smear.labels, cells, diameter)
        ious.append(judged.ious[np.isfinite(judged.ious)])
        areas.append(judged.areas)
        for kind in SIMULATED_ERRORS:
            trials += _trials(smear, kind, cells, diameter, generator)
        if on_smear is not None:
            on_smear(k + 1)
    all_ious, all_areas = np.concatenate([np.zeros(0), *ious]), np.concatenate([np.zeros(0), *areas])
    if not len(all_ious):
        raise DataError("no cell in the real smears to set the limits on; give annotated smears")
    unit = _cell_area(diameter)
    iou = float(np.clip(np.quantile(all_ious, ALARMS), *_LEAST_IOU))
    allowed = int(ALARMS * len(all_ious))
    least = np.sort(all_areas)[::-1][allowed] + 1 if len(all_areas) > allowed else 0.0
    area = float(np.clip(least, _LEAST_AREA[0] * unit, _LEAST_AREA[1] * unit))
    caught: dict[SimulatedError, float] = {}
    for kind in SIMULATED_ERRORS:
        found = [one.iou < iou or one.area >= area for one in trials if one.kind == kind]
        if found:
            caught[kind] = sum(found) / len(found)
    return Limits(
        iou=iou,
        area=area,
        false_wrong=float((all_ious < iou).mean()),
        false_missing=float((all_areas >= area).sum() / len(all_ious)),
        caught=caught,
        cells=len(all_ious),
        iou_median=float(np.median(all_ious)),
    )


def label_fidelity(
    smears: Sequence[Smear],
    segmenter: Segmenter,
    limits: Limits,
    diameter: float,
    *,
    on_smear: Callable[[int], object] | None = None,
) -> LabelFidelity:
    """Judge the labels of all cells of some smears.

    Raises
    ------
    DataError
        When the smears have no cell.
    """
    ious: list[FloatArray] = []
    wrong: list[Disagreement] = []
    missing: list[Disagreement] = []
    for k, smear in enumerate(smears):
        judged = judge_labels(smear.labels, segmenter.probability(smear.image) > 0.5, diameter)
        ious.append(judged.ious[np.isfinite(judged.ious)])
        for one in disagreements(smear, judged, limits):
            (wrong if one.kind == "wrong" else missing).append(one)
        if on_smear is not None:
            on_smear(k + 1)
    all_ious = np.concatenate([np.zeros(0), *ious])
    if not len(all_ious):
        raise DataError("no cell in the synthetic smears; generate some with cells")
    worst = sorted(wrong, key=lambda one: one.iou)[: _SHOWN // 2]
    worst += sorted(missing, key=lambda one: -one.area)[: _SHOWN - len(worst)]
    return LabelFidelity(
        cells=len(all_ious),
        iou_median=float(np.median(all_ious)),
        iou_low=float(np.quantile(all_ious, 0.05)),
        wrong=len(wrong),
        missing=len(missing),
        disagreements=tuple(worst),
        limits=limits,
    )


def labels_fit(smear: Smear, segmenter: Segmenter, limits: Limits, diameter: float) -> bool:
    """Whether a smear has no more wrong and missing cells than 95 of 100 real ones with as many cells have."""
    judged = judge_labels(smear.labels, segmenter.probability(smear.image) > 0.5, diameter)
    expected = (limits.false_wrong + limits.false_missing) * smear.count
    return len(disagreements(smear, judged, limits)) <= float(stats.poisson.ppf(0.95, expected))


def disagreements(smear: Smear, judged: Judged, limits: Limits) -> list[Disagreement]:
    """Wrong labels and missing cells of one smear, by these limits."""
    wrong = np.flatnonzero(judged.ious < limits.iou) + 1
    missing = np.flatnonzero(judged.areas >= limits.area) + 1
    sizes = smear.areas()
    listed = []
    for kind, labels, ids in (("wrong", smear.labels, wrong), ("missing", judged.found, missing)):
        for label, (y, x) in zip(ids.tolist(), ndimage.center_of_mass(labels > 0, labels, ids), strict=True):
            is_wrong = kind == "wrong"
            listed.append(
                Disagreement(
                    smear=smear.name,
                    kind="wrong" if is_wrong else "missing",
                    label=label if is_wrong else 0,
                    x=float(x),
                    y=float(y),
                    iou=float(judged.ious[label - 1]) if is_wrong else 0.0,
                    area=int(sizes[label - 1] if is_wrong else judged.areas[label - 1]),
                )
            )
    return listed


@dataclass(frozen=True)
class _Trial:
    """A slip: the IoU of the label concerned (1 where there is none), the area found where it has none."""

    kind: SimulatedError
    iou: float
    area: float


def _trials(
    smear: Smear, kind: SimulatedError, cells: Mask, diameter: float, rng: np.random.Generator
) -> list[_Trial]:
    """Make slips of a kind in a copy of the labels, a few at a time, and see what is found of each."""
    areas = smear.areas()
    whole = np.flatnonzero(~smear.cut_by_border() & (areas > 0.3 * _cell_area(diameter))) + 1
    if not len(whole):
        return []
    trials = []
    chosen = rng.choice(whole, min(_SIMULATED_ERRORS, max(1, len(whole) // 8)), replace=False)
    labels = smear.labels.copy()
    places: list[tuple[int, Mask]] = []
    for label in chosen.tolist():
        here = smear.labels == label
        made = _simulated_error(labels, label, here, kind, smear, whole, diameter, rng)
        if made is not None:
            places.append(made)
    judged = judge_labels(labels, cells, diameter)
    for label, place in places:
        iou = judged.ious[label - 1] if label else 1.0
        regions = np.bincount(judged.found[place])
        regions = regions[1:] if len(regions) > 1 else np.zeros(1, np.int64)
        region = int(regions.argmax()) + 1
        area = float(judged.areas[region - 1]) if regions.max() else 0.0
        trials.append(_Trial(kind, float(np.nan_to_num(iou, nan=1.0)), area))
    return trials


def _simulated_error(
    labels: LabelArray,
    label: int,
    here: Mask,
    kind: SimulatedError,
    smear: Smear,
    whole: npt.NDArray[np.int64],
    diameter: float,
    rng: np.random.Generator,
) -> tuple[int, Mask] | None:
    """Damage `labels` in place; gives the label now wrong (0: none) and where a cell went without one."""
    nothing = np.zeros_like(here)
    if kind == "deleted":
        labels[here] = 0
        return 0, here
    if kind == "shifted":
        angle = rng.uniform(0, 2 * np.pi)
        offset = np.rint(diameter / 2 * np.array([np.sin(angle), np.cos(angle)])).astype(int)
        moved = np.argwhere(here) + offset
        labels[here] = 0
        _put(labels, moved, label)
        return label, here
    centre = np.argwhere(here).mean(axis=0)
    if kind == "added":
        free = ndimage.distance_transform_edt(labels == 0) > 0.55 * diameter
        spots = np.argwhere(free)
        if not len(spots):
            return None
        new = int(labels.max()) + 1
        target = spots[rng.integers(len(spots))]
        _put(labels, np.argwhere(here) + np.rint(target - centre).astype(int), new)
        return (new, nothing) if (labels == new).any() else None
    areas = smear.areas()
    ratio = areas[whole - 1] / areas[label - 1]
    others = whole[(ratio >= 1.5) | (ratio <= 2 / 3)]
    if not len(others):
        return None
    other = np.argwhere(smear.labels == rng.choice(others))
    labels[here] = 0
    _put(labels, np.rint(other - other.mean(axis=0) + centre).astype(int), label)
    return label, nothing


def _put(labels: LabelArray, pixels: npt.NDArray[np.int64], label: int) -> None:
    """Write a label to those pixels that lie in the field and are free."""
    height, width = labels.shape
    inside = (pixels >= 0).all(axis=1) & (pixels[:, 0] < height) & (pixels[:, 1] < width)
    rows, columns = pixels[inside].T
    free = labels[rows, columns] == 0
    labels[rows[free], columns[free]] = label


def _cell_area(diameter: float) -> float:
    return float(np.pi / 4 * diameter**2)
