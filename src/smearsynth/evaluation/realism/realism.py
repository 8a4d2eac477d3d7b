"""Realism: how much synthetic smears differ from real ones, and whether their labels fit their images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, model_validator
from rich.table import Table

from smearsynth.errors import DataError, error_location
from smearsynth.evaluation.comparability import (
    Data,
    check_cell_sizes,
    folder_of,
    median_diameter,
    open_data,
    scale_of,
)
from smearsynth.evaluation.label_fidelity import LabelFidelity, Segmenter, calibrate_limits, label_fidelity
from smearsynth.evaluation.realism.appearance import AppearanceComparison, appearance, compare_appearance
from smearsynth.evaluation.realism.crops import CropFeatures, FloatArray, check_field_sizes, crop_side, embed
from smearsynth.evaluation.realism.distances import Estimate, Range, density_and_coverage, fid, kid
from smearsynth.evaluation.realism.task_features import resolve_features
from smearsynth.evaluation.segmenter import load_or_train_segmenter
from smearsynth.evaluation.splits import split_for_comparison
from smearsynth.migrations import to_current
from smearsynth.runs import Execution, select_device
from smearsynth.smear import Smear
from smearsynth.synthesis.networks.features import PerceptualFeatures

_MIN_SMEARS = 4
_HALVINGS = 5
_DISTANCES = ("KID", "FID", "density", "coverage")  # names in the table
_CACHE_MB = 2000  # the segmenter reads the smears many times

Stage = Callable[[str, int, int], object]


class Realism(BaseModel):
    """Differences between synthetic and real smears, from `realism`.

    Parameters
    ----------
    features : str
        Image features behind `kid`, `fid`, `density` and `coverage`. Values on other features are not comparable.
    crop : int
        Side of the crops, px; crops are not resized.
    real_smears, synthetic_smears, real_crops, synthetic_crops : int
    kid, fid : Estimate
    density, coverage : Estimate, optional
        None if there are too few crops. The references come from five random halvings of the real smears. A half
        has fewer crops, which raises `fid` and lowers `coverage`.
    appearance : dict of str to AppearanceComparison
        Colour and texture.
    label_iou_median : float, optional
        None if labels were not checked.
    labels : LabelFidelity, optional
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    features: str
    crop: int
    real_smears: int
    synthetic_smears: int
    real_crops: int
    synthetic_crops: int
    kid: Estimate
    fid: Estimate
    density: Estimate | None
    coverage: Estimate | None
    appearance: dict[str, AppearanceComparison]
    label_iou_median: float | None = None
    labels: LabelFidelity | None = None

    @model_validator(mode="before")
    @classmethod
    def _read_format_1(cls, record: Any) -> Any:
        return to_current("realism", record)

    def table(self) -> Table:
        """Return a terminal table with one row per distance."""
        title = f"{self.synthetic_smears} synthetic smears and {self.real_smears} real smears"
        table = Table(title=title, caption=f"features: {self.features}, crops of {self.crop} px")
        for column in ("", "real to synthetic", "95 % interval", "real to real (halves)"):
            table.add_column(column, justify="right" if column else "left")
        estimates = (self.kid, self.fid, self.density, self.coverage)
        for name, estimate in zip(_DISTANCES, estimates, strict=True):
            if estimate is None:
                table.add_row(name, "", _format_range(None), _format_range(None))
            else:
                ranges = (_format_range(estimate.interval), _format_range(estimate.reference))
                table.add_row(name, f"{estimate.value:z.3g}", *ranges)
        return table

    def appearance_table(self) -> Table:
        """Return a terminal table of colour and texture."""
        caption = "grey levels: mean ± standard deviation (SD) between smears; offset in SD of real smears"
        table = Table(caption=caption)
        for column in ("", "real", "synthetic", "offset"):
            table.add_column(column, justify="right" if column else "left")
        for name, comparison in self.appearance.items():
            real = f"{comparison.real:.3g} ± {comparison.real_std:.2g}"
            synthetic = f"{comparison.synthetic:.3g} ± {comparison.synthetic_std:.2g}"
            table.add_row(name, real, synthetic, f"{comparison.offset:+z.1f}")
        return table

    def verdict(self) -> list[str]:
        """Return the result in sentences, one line per aspect."""
        lines = [
            f"KID on {self.features}: {self.kid.value:z.3g}, 95 % interval {_format_range(self.kid.interval)}; "
            f"between two halves of the real smears {_format_range(self.kid.reference)}."
        ]
        if self.density is None:
            lines.append("Density and coverage were not computed: too few crops. Give more or larger smears.")
        different = [name for name, comparison in self.appearance.items() if abs(comparison.offset) > 1]
        if different:
            lines.append(f"Means over one standard deviation from the real smears: {', '.join(different)}.")
        elif self.appearance:
            lines.append("Colour and texture: all means are within one standard deviation of the real smears.")
        else:
            lines.append("Colour and texture were not compared: too few real smears show cells and background.")
        return lines if self.labels is None else [*lines, _label_verdict(self.labels)]


def _label_verdict(labels: LabelFidelity) -> str:
    limits = labels.limits
    detected = ", ".join(f"{kind} {rate:.0%}" for kind, rate in limits.detection_rates.items())
    false_alarms = limits.false_wrong + limits.false_missing
    return (
        f"Labels: median IoU {labels.iou_median:.3f} (real smears {limits.iou_median:.3f}). Of {labels.cells} "
        f"cells, {labels.wrong} labels are wrong and {labels.missing} cells are missing; on real smears the check "
        f"reports {100 * false_alarms:.1f} false alarms per 100 cells. Detected simulated label errors: {detected}."
    )


def realism(
    real: Data,
    synthetic: Data,
    *,
    split: str | None = None,
    features: PerceptualFeatures | Path | str = "efficientnet_lite0",
    segmenter: Segmenter | Path | str | None = None,
    labels: bool = True,
    crop: int | None = None,
    limit: int | None = None,
    rng: int | np.random.Generator = 0,
    execution: Execution = Execution(),
) -> Realism:
    """Measure how much synthetic smears differ from real ones, and whether their labels fit their images.

    Parameters
    ----------
    real, synthetic : Path or str or SmearFolder
        At the same scale. Real smears that the synthesizer was not trained on are the best comparison.
    split : str, optional
        Split of the real smears to compare with. Default: "test" if the folder has the splits "train" and "test",
        else all smears.
    features : PerceptualFeatures or Path or str
        Image features: an object, "efficientnet_lite0", "vgg19", or the folder of a segmentation model.
    segmenter : Segmenter or Path or str, optional
        Segmentation model of real smears that checks the labels, or its folder. Default: train one on the real
        smears, which takes minutes. It is not trained on the smears that calibrate its limits.
    labels : bool
        Whether to check the labels.
    crop : int, optional
        Side of the crops in px. Default: see `crop_side`.
    limit : int, optional
        Use only the first `limit` real and the first `limit` synthetic smears.
    rng : int or numpy.random.Generator
    execution : Execution
        Its device and progress are used; `time_limit` applies to the training of a segmenter.

    Returns
    -------
    Realism

    Raises
    ------
    DataError
        If the smears cannot be read or compared (see `check_comparable`).
    ModelError
        If a model folder cannot be read.
    OptionError
        If an option has no valid value.

    Examples
    --------
    >>> import tempfile
    >>> from smearsynth.formats import open_writer
    >>> folder = Path(tempfile.mkdtemp())
    >>> rows, columns = np.mgrid[:96, :96]
    >>> labels = ((rows - 48) ** 2 + (columns - 48) ** 2 < 400).astype(np.int32)
    >>> with open_writer(folder) as writer:
    ...     for k in range(4):
    ...         image = np.where(labels[..., None] > 0, 120, 205 + k).repeat(3, axis=2).astype(np.uint8)
    ...         writer.write(Smear.from_labels(image, labels, name=f"smear-{k}"))
    >>> result = realism(folder, folder, labels=False, execution=Execution(device="cpu"))
    >>> result.crop, result.appearance["cell red"].offset
    (64, 0.0)
    """
    network = resolve_features(features)
    real_smears = open_data(real, cache_mb=_CACHE_MB, progress=execution.progress)
    compared, training, unseen = split_for_comparison(real_smears, split)
    compared, unseen = open_data(compared, limit=limit), open_data(unseen, limit=limit)
    synthetic_smears = open_data(synthetic, limit=limit, cache_mb=_CACHE_MB, progress=execution.progress)
    device = select_device(execution.device)
    with error_location(real_smears.root):
        check_comparable(compared, synthetic_smears, crop)  # before the training of a segmenter
        if not labels:
            segmenter = None
        elif segmenter is None or isinstance(segmenter, Path | str):
            seed = int(rng.integers(2**31)) if isinstance(rng, np.random.Generator) else rng
            segmenter = load_or_train_segmenter(training, segmenter, seed=seed, execution=execution)
        return measure_realism(
            compared,
            synthetic_smears,
            network.to(device),
            segmenter=segmenter,
            unseen=unseen,
            crop=crop,
            rng=rng,
            on_stage=execution.progress.advance,
        )


def check_comparable(
    real: Sequence[Smear], synthetic: Sequence[Smear], crop: int | None = None
) -> tuple[float, int]:
    """Check that smears can be compared. Call it before long work; it reads all of them.

    Parameters
    ----------
    real, synthetic : sequence of Smear
    crop : int, optional
        Side of the crops in px. Default: see `crop_side`.

    Returns
    -------
    diameter : float
        Of the median real cell, px.
    side : int
        Of the crops, px.

    Raises
    ------
    DataError
        If there are fewer than four smears of one kind, no whole cell, smears smaller than a crop, or cells of
        different sizes. The message names the folder.
    """
    diameters = []
    for kind, smears in (("real", real), ("synthetic", synthetic)):
        with error_location(folder_of(smears)):
            if len(smears) < _MIN_SMEARS:
                raise DataError(f"{len(smears)} {kind} smears are too few; give at least {_MIN_SMEARS}")
            diameters.append(median_diameter(smears))
    with error_location(folder_of(real)):
        check_cell_sizes(diameters[0], diameters[1], scale_of(real))
    side = crop or crop_side(diameters[0])
    for smears in (real, synthetic):
        with error_location(folder_of(smears)):
            check_field_sizes(smears, side)
    return diameters[0], side


def measure_realism(
    real: Sequence[Smear],
    synthetic: Sequence[Smear],
    features: PerceptualFeatures,
    *,
    segmenter: Segmenter | None = None,
    unseen: Sequence[Smear] | None = None,
    crop: int | None = None,
    rng: int | np.random.Generator = 0,
    on_stage: Stage | None = None,
) -> Realism:
    """Measure the realism of smears in memory, with loaded models (see `realism`).

    Parameters
    ----------
    real, synthetic : sequence of Smear
        At the same scale.
    features : PerceptualFeatures
    segmenter : Segmenter, optional
        Trained on real smears. Without it labels are not checked.
    unseen : sequence of Smear, optional
        Real smears that the segmenter was not trained on, to calibrate its limits; `real` by default.
    crop : int, optional
        Side of the crops in px. Default: see `crop_side`.
    rng : int or numpy.random.Generator
    on_stage : callable, optional
        Called with the name of a stage, the number of items done and their total.

    Returns
    -------
    Realism

    Raises
    ------
    DataError
        If the smears cannot be compared (see `check_comparable`).
    """
    diameter, side = check_comparable(real, synthetic, crop)
    # Separate streams: the draws for the real smears do not depend on the synthetic ones.
    rng_real, rng_synthetic, rng_bootstrap, rng_halves, rng_errors = np.random.default_rng(rng).spawn(5)

    def stage(name: str, total: int) -> Callable[[int], object]:
        return (lambda done: None) if on_stage is None else (lambda done: on_stage(name, done, total))

    real_crops = embed(real, side, features, rng=rng_real, on_smear=stage("real crops", len(real)))
    synthetic_crops = embed(
        synthetic, side, features, rng=rng_synthetic, on_smear=stage("synthetic crops", len(synthetic))
    )
    distances = _distances(real_crops, synthetic_crops, rng_bootstrap)
    references = _references(real_crops, rng_halves)
    comparison = compare_appearance(
        _appearances(real, diameter, stage("real colours", len(real))),
        _appearances(synthetic, diameter, stage("synthetic colours", len(synthetic))),
    )
    labels = None
    if segmenter is not None:
        unseen = real if unseen is None else unseen
        tick = stage("real labels", len(unseen))
        limits = calibrate_limits(unseen, segmenter, diameter, rng=rng_errors, on_smear=tick)
        tick = stage("synthetic labels", len(synthetic))
        with error_location(folder_of(synthetic)):
            labels = label_fidelity(synthetic, segmenter, limits, diameter, on_smear=tick)
    return Realism(
        features=features.name,
        crop=side,
        real_smears=len(real),
        synthetic_smears=len(synthetic),
        real_crops=len(real_crops.vectors),
        synthetic_crops=len(synthetic_crops.vectors),
        kid=distances[0].model_copy(update={"reference": references[0]}),
        fid=distances[1].model_copy(update={"reference": references[1]}),
        density=distances[2] and distances[2].model_copy(update={"reference": references[2]}),
        coverage=distances[3] and distances[3].model_copy(update={"reference": references[3]}),
        appearance=comparison,
        label_iou_median=None if labels is None else labels.iou_median,
        labels=labels,
    )


def _distances(
    first: CropFeatures, second: CropFeatures, rng: np.random.Generator, *, interval: bool = True
) -> tuple[Estimate, Estimate, Estimate | None, Estimate | None]:
    """Return KID, FID, density and coverage."""
    draws = {} if interval else {"draws": 0}
    # the order of the random draws: density and coverage first
    density, coverage = density_and_coverage(first, second, rng, **draws) or (None, None)
    return kid(first, second, rng, **draws), fid(first, second, rng, **draws), density, coverage


def _references(real: CropFeatures, rng: np.random.Generator) -> list[Range | None]:
    """Return the range of each distance between two random halves of the real smears; None if any lacks crops."""
    rows = []
    for _ in range(_HALVINGS):
        order = rng.permutation(real.count)
        first, second = real.subset(order[: real.count // 2]), real.subset(order[real.count // 2 :])
        rows.append(_distances(first, second, rng, interval=False))
    references: list[Range | None] = []
    for column in zip(*rows, strict=True):
        values = [estimate.value for estimate in column if estimate is not None]
        references.append((min(values), max(values)) if len(values) == _HALVINGS else None)
    return references


def _appearances(smears: Sequence[Smear], diameter: float, on_smear: Callable[[int], object]) -> list[FloatArray]:
    rows = []
    for k, smear in enumerate(smears):
        rows.append(appearance(smear, diameter))
        on_smear(k + 1)
    return rows


def _format_range(bounds: Range | None) -> str:
    return "too few crops" if bounds is None else f"{bounds[0]:z.3g} to {bounds[1]:z.3g}"
