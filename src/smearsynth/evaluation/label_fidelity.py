"""Label fidelity: comparison of the labels of smears with the cells that a segmenter finds in the images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict
from scipy import ndimage, stats

from smearsynth.errors import DataError
from smearsynth.evaluation.simulated_errors import SIMULATED_ERRORS, SimulatedError, simulate_errors
from smearsynth.metrics.matching import MAX_IGNORED, ignored_label_fractions
from smearsynth.smear import ImageArray, LabelArray, Mask, Smear, relabel_sequential

FALSE_ALARM_RATE = 0.01  # wrong labels per real cell, and missing cells per real cell
_RIM = 0.12  # diameters around a label in which segmented pixels still belong to it
_MIN_LABEL_AREA = 0.1  # areas of a median cell; smaller labels, slivers at the border, are not compared
_IOU_RANGE = (0.3, 0.75)  # bounds of the IoU limit
_AREA_RANGE = (0.15, 0.5)  # bounds of the area limit, in areas of a median cell
_MAX_LISTED = 200

FloatArray = npt.NDArray[np.float64]


class Segmenter(Protocol):
    """A model that separates cells from background, such as `smearsynth.tasks.segmentation.Segmentation`."""

    def probability(self, image: ImageArray) -> npt.NDArray[np.float32]:
        """Return the probability (H, W) that each pixel belongs to a cell."""
        ...


class Disagreement(BaseModel):
    """A cell for which labels and image disagree.

    Parameters
    ----------
    smear : str
        Name of the smear.
    kind : {"wrong", "missing"}
        A label without the cell that it marks, or a cell without a label.
    label : int
        Number of the instance in the smear as read: 1..n in the order of the ids in its file, which may have gaps;
        those of `generate` have none. 0 for a missing cell.
    x, y : float
        Centre, px from the upper left corner of the smear as read.
    iou : float
        Of the label with the segmented cell; 0 for a missing cell.
    area : int
        Of the label, or of the segmented cell without a label, px².
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
    def description(self) -> str:
        """The disagreement and its position in one line."""
        position = f"at x {self.x:.0f}, y {self.y:.0f} px"
        if self.label:
            return f"label {self.label} {position}, IoU {self.iou:.2f}"
        return f"no label {position}, {self.area} px²"


class Limits(BaseModel):
    """Limits for wrong labels and missing cells, calibrated on real smears that the segmenter was not trained on.

    Parameters
    ----------
    iou : float
        Labels with a lower IoU are wrong.
    area : float
        Segmented regions without a label of at least this area, px², are missing cells.
    false_wrong, false_missing : float
        Wrong labels and missing cells per real cell: false alarms.
    detection_rates : dict of str to float
        Fraction of the simulated label errors that the limits detect, by kind.
    cells : int
        Number of real cells compared.
    iou_median : float
        Of the real cells with their labels: an upper bound for synthetic cells.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    iou: float
    area: float
    false_wrong: float
    false_missing: float
    detection_rates: dict[SimulatedError, float]
    cells: int
    iou_median: float


class LabelFidelity(BaseModel):
    """How well the labels of smears fit their images.

    Parameters
    ----------
    cells : int
        Number of cells compared.
    iou_median, iou_low : float
        Median and 5 % quantile over the cells.
    wrong, missing : int
        Number of labels without their cell, and of cells without a label.
    disagreements : tuple of Disagreement
        The worst, at most 200.
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

    def worst(self, max_count: int) -> tuple[Disagreement, ...]:
        """Return the worst wrong labels and the largest missing cells, at most `max_count` of each."""
        wrong = [item for item in self.disagreements if item.kind == "wrong"]
        missing = [item for item in self.disagreements if item.kind == "missing"]
        return (*wrong[:max_count], *missing[:max_count])


@dataclass(frozen=True)
class LabelAgreement:
    """Agreement of the labels of one smear with a segmentation of its image.

    Parameters
    ----------
    ious : (n,) float64 array
        Of each label with the segmented pixels in and around it; NaN for slivers.
    regions : (H, W) int32 array
        Segmented regions without a label, 1..m.
    areas : (m,) int64 array
        Of these regions, px².
    """

    ious: FloatArray
    regions: LabelArray
    areas: npt.NDArray[np.int64]


def compare_labels(labels: LabelArray, cells: Mask, diameter: float, ignored: Mask | None = None) -> LabelAgreement:
    """Compare labels with a segmentation of the image.

    A segmentation does not separate touching cells. Each segmented pixel is assigned to the nearest label within
    0.12 diameters; pixels farther away belong to no label.

    Parameters
    ----------
    labels : (H, W) int32 array
    cells : (H, W) bool array
        Segmented pixels.
    diameter : float
        Of a median cell, px.
    ignored : (H, W) bool array, optional
        Pixels without annotation. They do not count, and neither do segmented regions with more than half of their
        area in them.

    Returns
    -------
    LabelAgreement

    Examples
    --------
    >>> labels = np.zeros((30, 60), np.int32)
    >>> labels[10:20, 5:15], labels[10:20, 25:35] = 1, 2
    >>> cells = np.zeros((30, 60), bool)
    >>> cells[10:20, 5:15] = cells[10:20, 45:55] = True
    >>> agreement = compare_labels(labels, cells, 11.3)
    >>> agreement.ious.tolist(), agreement.areas.tolist()
    ([1.0, 0.0], [96])
    """
    n = int(labels.max(initial=0))
    if n:
        distance, nearest = ndimage.distance_transform_edt(labels == 0, return_indices=True)
        owner = np.where(distance <= max(1.0, _RIM * diameter), labels[tuple(nearest)], 0)
    else:
        owner = np.zeros_like(labels)
    label_areas = np.bincount(labels.ravel(), minlength=n + 1)[1:]
    known = cells if ignored is None else cells & ~ignored
    segmented = np.bincount(owner[known], minlength=n + 1)[1:]
    intersection = np.bincount(labels[cells], minlength=n + 1)[1:]
    ious = intersection / np.maximum(label_areas + segmented - intersection, 1)
    ious[label_areas < _MIN_LABEL_AREA * _disc_area(diameter)] = np.nan
    # The opening removes thin rims where a cell is segmented slightly larger than its label.
    free = ndimage.binary_opening(cells & (owner == 0), iterations=max(1, round(0.05 * diameter)))
    regions, m = ndimage.label(free)
    if ignored is not None:
        unknown = ignored_label_fractions(regions, ignored, m) > MAX_IGNORED
        regions, ids = relabel_sequential(np.where(ignored | np.append(False, unknown)[regions], 0, regions))
        m = len(ids)
    areas = np.bincount(regions.ravel(), minlength=m + 1)[1:].astype(np.int64)
    return LabelAgreement(ious, regions.astype(np.int32), areas)


def calibrate_limits(
    smears: Sequence[Smear],
    segmenter: Segmenter,
    diameter: float,
    *,
    rng: int | np.random.Generator = 0,
    on_smear: Callable[[int], object] | None = None,
) -> Limits:
    """Set limits so that real smears give one false alarm of each kind per 100 cells, and test their sensitivity.

    The sensitivity is measured with simulated label errors (see `simulate_errors`).

    Parameters
    ----------
    smears : sequence of Smear
        Real smears that the segmenter was not trained on.
    segmenter : Segmenter
    diameter : float
        Of a median cell, px.
    rng : int or numpy.random.Generator
        For the simulated errors.
    on_smear : callable, optional
        Called with the number of smears done.

    Returns
    -------
    Limits

    Raises
    ------
    DataError
        If the smears have no cell.
    """
    generator = np.random.default_rng(rng)
    smear_ious, smear_areas = [], []
    trials: list[_Trial] = []
    for k, smear in enumerate(smears):
        cells = segmenter.probability(smear.image) > 0.5
        agreement = compare_labels(smear.labels, cells, diameter, smear.ignored)
        smear_ious.append(agreement.ious[np.isfinite(agreement.ious)])
        smear_areas.append(agreement.areas)
        for kind in SIMULATED_ERRORS:
            trials += _test_errors(smear, kind, cells, diameter, generator)
        if on_smear is not None:
            on_smear(k + 1)
    ious, areas = np.concatenate([np.zeros(0), *smear_ious]), np.concatenate([np.zeros(0), *smear_areas])
    if not len(ious):
        raise DataError("no cell in the real smears to calibrate the limits on; give annotated smears")
    iou = float(np.clip(np.quantile(ious, FALSE_ALARM_RATE), *_IOU_RANGE))
    area = _area_limit(areas, len(ious), diameter)
    detection_rates: dict[SimulatedError, float] = {}
    for kind in SIMULATED_ERRORS:
        detected = [trial.iou < iou or trial.area >= area for trial in trials if trial.kind == kind]
        if detected:
            detection_rates[kind] = sum(detected) / len(detected)
    return Limits(
        iou=iou,
        area=area,
        false_wrong=float((ious < iou).mean()),
        false_missing=float((areas >= area).sum() / len(ious)),
        detection_rates=detection_rates,
        cells=len(ious),
        iou_median=float(np.median(ious)),
    )


def _area_limit(areas: FloatArray, cells: int, diameter: float) -> float:
    """Return the limit in px² that at most 1 region per 100 cells reaches, within the bounds."""
    allowed = int(FALSE_ALARM_RATE * cells)
    limit = np.sort(areas)[::-1][allowed] + 1 if len(areas) > allowed else 0.0
    unit = _disc_area(diameter)
    return float(np.clip(limit, _AREA_RANGE[0] * unit, _AREA_RANGE[1] * unit))


def label_fidelity(
    smears: Sequence[Smear],
    segmenter: Segmenter,
    limits: Limits,
    diameter: float,
    *,
    on_smear: Callable[[int], object] | None = None,
) -> LabelFidelity:
    """Compare the labels of smears with a segmentation of their images.

    Parameters
    ----------
    smears : sequence of Smear
    segmenter : Segmenter
    limits : Limits
        From `calibrate_limits`, with the same segmenter and diameter.
    diameter : float
        Of a median cell, px.
    on_smear : callable, optional
        Called with the number of smears done.

    Returns
    -------
    LabelFidelity

    Raises
    ------
    DataError
        If the smears have no cell.
    """
    smear_ious: list[FloatArray] = []
    wrong: list[Disagreement] = []
    missing: list[Disagreement] = []
    for k, smear in enumerate(smears):
        cells = segmenter.probability(smear.image) > 0.5
        agreement = compare_labels(smear.labels, cells, diameter, smear.ignored)
        smear_ious.append(agreement.ious[np.isfinite(agreement.ious)])
        for item in find_disagreements(smear, agreement, limits):
            (wrong if item.kind == "wrong" else missing).append(item)
        if on_smear is not None:
            on_smear(k + 1)
    ious = np.concatenate([np.zeros(0), *smear_ious])
    if not len(ious):
        raise DataError("no cell in the synthetic smears; give smears with cells")
    worst = sorted(wrong, key=lambda item: item.iou)[: _MAX_LISTED // 2]
    worst += sorted(missing, key=lambda item: -item.area)[: _MAX_LISTED - len(worst)]
    return LabelFidelity(
        cells=len(ious),
        iou_median=float(np.median(ious)),
        iou_low=float(np.quantile(ious, 0.05)),
        wrong=len(wrong),
        missing=len(missing),
        disagreements=tuple(worst),
        limits=limits,
    )


def labels_fit(smear: Smear, segmenter: Segmenter, limits: Limits, diameter: float) -> bool:
    """Test whether a smear has at most as many disagreements as 95 % of real smears with its number of cells.

    Parameters
    ----------
    smear : Smear
    segmenter : Segmenter
    limits : Limits
        From `calibrate_limits`, with the same segmenter and diameter.
    diameter : float
        Of a median cell, px.
    """
    agreement = compare_labels(smear.labels, segmenter.probability(smear.image) > 0.5, diameter, smear.ignored)
    expected = (limits.false_wrong + limits.false_missing) * smear.count
    return len(find_disagreements(smear, agreement, limits)) <= float(stats.poisson.ppf(0.95, expected))


def find_disagreements(smear: Smear, agreement: LabelAgreement, limits: Limits) -> list[Disagreement]:
    """List wrong labels, then missing cells, of one smear."""
    wrong = np.flatnonzero(agreement.ious < limits.iou) + 1
    missing = np.flatnonzero(agreement.areas >= limits.area) + 1
    label_areas = smear.areas()
    items = []
    for label, (y, x) in zip(wrong.tolist(), _centres(smear.labels, wrong), strict=True):
        iou, area = float(agreement.ious[label - 1]), int(label_areas[label - 1])
        items.append(Disagreement(smear=smear.name, kind="wrong", label=label, x=x, y=y, iou=iou, area=area))
    for region, (y, x) in zip(missing.tolist(), _centres(agreement.regions, missing), strict=True):
        area = int(agreement.areas[region - 1])
        items.append(Disagreement(smear=smear.name, kind="missing", label=0, x=x, y=y, iou=0.0, area=area))
    return items


def _centres(labels: LabelArray, ids: npt.NDArray[np.int64]) -> list[tuple[float, float]]:
    """Return the centre (y, x) of each of these labels, px."""
    return [(float(y), float(x)) for y, x in ndimage.center_of_mass(labels > 0, labels, ids)]


@dataclass(frozen=True)
class _Trial:
    """What a segmentation shows of a simulated error: IoU of the wrong label, area of the cell without a label."""

    kind: SimulatedError
    iou: float
    area: float


def _test_errors(
    smear: Smear, kind: SimulatedError, cells: Mask, diameter: float, rng: np.random.Generator
) -> list[_Trial]:
    """Simulate label errors of one kind, and compare the damaged labels with the segmentation `cells`."""
    labels, errors = simulate_errors(smear, kind, diameter, rng)
    if not errors:
        return []
    agreement = compare_labels(labels, cells, diameter, smear.ignored)
    trials = []
    for error in errors:
        iou = float(agreement.ious[error.label - 1]) if error.label else 1.0
        overlaps = np.bincount(agreement.regions[error.unlabelled], minlength=2)[1:]
        area = float(agreement.areas[overlaps.argmax()]) if overlaps.max() else 0.0
        trials.append(_Trial(kind, float(np.nan_to_num(iou, nan=1.0)), area))
    return trials


def _disc_area(diameter: float) -> float:
    return float(np.pi / 4 * diameter**2)
