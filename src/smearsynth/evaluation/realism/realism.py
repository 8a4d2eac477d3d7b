"""Realism: how much synthetic smears differ from real ones, and whether their labels fit their images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from smearsynth.datasets import SmearFolder
from smearsynth.errors import DataError, OptionError, error_location
from smearsynth.evaluation.comparability import (
    Data,
    check_cell_sizes,
    folder_of,
    median_diameter,
    open_data,
    scale_of,
)
from smearsynth.evaluation.label_fidelity import LabelFidelity, Segmenter, calibrate_limits, label_fidelity
from smearsynth.evaluation.realism.appearance import MEASURES, appearance, compare_appearance
from smearsynth.evaluation.realism.crops import (
    CROP,
    CropFeatures,
    FloatArray,
    check_field_sizes,
    embed,
    scale_to_cells,
)
from smearsynth.evaluation.realism.distances import Estimate, Range, density_and_coverage, fid, kid
from smearsynth.evaluation.realism.record import Control, FeatureDistances, Realism
from smearsynth.evaluation.realism.structure import STRUCTURE_MEASURES, structure
from smearsynth.evaluation.realism.task_features import resolve_features
from smearsynth.evaluation.realism.tell import TellAuc, TellCrops, TellTest, missing_compression
from smearsynth.evaluation.segmenter import load_or_train_segmenter
from smearsynth.evaluation.splits import ComparisonSplit
from smearsynth.evaluation.unseen import split_unseen
from smearsynth.runs import Execution, select_device
from smearsynth.smear import Smear
from smearsynth.synthesis.networks.features import JUDGE, EfficientNetLite, PerceptualFeatures, load_judge

_TRAINED_FEATURES = "efficientnet_lite0"  # of the perceptual loss, by default
_MIN_SMEARS = 4
_HALVINGS = 5
_CACHE_MB = 2000  # the segmenter reads the smears many times

Stage = Callable[[str, int, int], object]


class Comparable(NamedTuple):
    """What two sets of smears have in common.

    Parameters
    ----------
    diameter : float
        Of the median real cell, px.
    scale : float
        Factor by which both are resized, so that cells have a diameter of 40 px.
    side : int
        Of the crops, px of the resized smears.
    """

    diameter: float
    scale: float
    side: int


def realism(
    real: Data,
    synthetic: Data,
    *,
    split: str | None = None,
    features: PerceptualFeatures | Path | str = JUDGE,
    segmenter: Segmenter | Path | str | None = None,
    labels: bool = True,
    tell: bool | None = None,
    control: bool = False,
    crop: int = CROP,
    limit: int | None = None,
    allow_leak: bool = False,
    rng: int | np.random.Generator = 0,
    execution: Execution = Execution(),
) -> Realism:
    """Measure how much synthetic smears differ from real ones, and whether their labels fit their images.

    Parameters
    ----------
    real, synthetic : Path or str or SmearFolder
        At the same scale. Real smears that the synthesizer was not trained on are the best comparison.
    split : str, optional
        Split of the real smears to compare with. Default: "test" if the folder has the splits "train" and "test";
        without splits the smears that the synthesizer held out, else all smears.
    features : PerceptualFeatures or Path or str
        Image features: an object, "efficientnet_lite2", which no part of training uses, "efficientnet_lite0",
        "vgg19", or the folder of a segmentation model.
    segmenter : Segmenter or Path or str, optional
        Segmentation model of real smears that checks the labels, or its folder. Default: train one on the real
        smears, which takes minutes. It is not trained on the smears that calibrate its limits.
    labels : bool
        Whether to check the labels.
    tell : bool, optional
        True: the tell test under all conditions. False: no tell test. Default: under its main conditions, which
        takes about 90 s on one core.
    control : bool
        Whether to put real training smears under the same test. The folder needs the split "train" beside the
        compared one.
    crop : int
        Side of the crops in px of smears that are resized to cells of 40 px (see `scale_to_cells`).
    limit : int, optional
        Use only the first `limit` real and the first `limit` synthetic smears.
    allow_leak : bool
        Continue with a warning in the result if the synthesizer was trained on compared smears.
    rng : int or numpy.random.Generator
    execution : Execution
        Its device and progress are used; `time_limit` applies to the training of a segmenter.

    Returns
    -------
    Realism

    Raises
    ------
    DataError
        If the smears cannot be read or compared (see `check_comparable`), or the synthesizer was trained on
        compared smears.
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
    >>> result = realism(folder, folder, labels=False, tell=False, execution=Execution(device="cpu"))
    >>> result.crop, result.appearance["cell red"].offset
    (64, 0.0)
    """
    network = resolve_features(features)
    real_smears = open_data(real, cache_mb=_CACHE_MB, progress=execution.progress)
    synthetic_smears = open_data(synthetic, limit=limit, cache_mb=_CACHE_MB, progress=execution.progress)
    chosen, warnings = split_unseen(real_smears, synthetic_smears, split, limit=limit, allow_leak=allow_leak)
    for warning in warnings:
        execution.progress.message(warning)
    compared, unseen = open_data(chosen.compared, limit=limit), open_data(chosen.unseen, limit=limit)
    device = select_device(execution.device)
    with error_location(real_smears.root):
        controls = _control_smears(chosen, len(synthetic_smears)) if control else None
        check_comparable(compared, synthetic_smears, crop)  # before the training of a segmenter
        if not labels:
            segmenter = None
        elif segmenter is None or isinstance(segmenter, Path | str):
            seed = int(rng.integers(2**31)) if isinstance(rng, np.random.Generator) else rng
            segmenter = load_or_train_segmenter(chosen.training, segmenter, seed=seed, execution=execution)
        trained = None if network.name == _TRAINED_FEATURES else resolve_features(_TRAINED_FEATURES)
        result = measure_realism(
            compared,
            synthetic_smears,
            network.to(device),
            trained=None if trained is None else trained.to(device),
            judge=None if tell is False else load_judge().to(device),
            full_tell=bool(tell),
            control=controls,
            segmenter=segmenter,
            unseen=unseen,
            crop=crop,
            rng=rng,
            on_stage=execution.progress.advance,
        )
    return result.model_copy(update={"warnings": warnings})


def _control_smears(chosen: ComparisonSplit, count: int) -> SmearFolder:
    """Return up to `count` training smears, evenly spaced in the order of their names."""
    training = chosen.training
    if set(training.names) & set(chosen.compared.names):
        raise OptionError(
            "the control compares real training smears with the compared smears, but there is no split 'train' "
            "beside the compared one; add split.csv with the columns image and split, or leave out --control"
        )
    if len(training) > count:
        training = training.subset(np.linspace(0, len(training) - 1, count).round().astype(int).tolist())
    return training


def check_comparable(real: Sequence[Smear], synthetic: Sequence[Smear], crop: int = CROP) -> Comparable:
    """Check that smears can be compared. Call it before long work; it reads all of them.

    Parameters
    ----------
    real, synthetic : sequence of Smear
    crop : int
        Side of the crops, px of the resized smears.

    Returns
    -------
    Comparable

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
    scale = scale_to_cells(diameters[0])
    for smears in (real, synthetic):
        with error_location(folder_of(smears)):
            check_field_sizes(smears, crop, scale)
    return Comparable(diameters[0], scale, crop)


def measure_realism(
    real: Sequence[Smear],
    synthetic: Sequence[Smear],
    features: PerceptualFeatures,
    *,
    trained: PerceptualFeatures | None = None,
    judge: EfficientNetLite | None = None,
    full_tell: bool = False,
    control: Sequence[Smear] | None = None,
    segmenter: Segmenter | None = None,
    unseen: Sequence[Smear] | None = None,
    crop: int = CROP,
    rng: int | np.random.Generator = 0,
    on_stage: Stage | None = None,
) -> Realism:
    """Measure the realism of smears in memory, with loaded models (see `realism`).

    Parameters
    ----------
    real, synthetic : sequence of Smear
        At the same scale.
    features : PerceptualFeatures
    trained : PerceptualFeatures, optional
        Features that training used, for the field `trained_features`.
    judge : EfficientNetLite, optional
        Network of the tell test. Without it there is no tell test.
    full_tell : bool
        Whether the tell test has all conditions.
    control : sequence of Smear, optional
        Real training smears for the field `control`.
    segmenter : Segmenter, optional
        Trained on real smears. Without it labels are not checked.
    unseen : sequence of Smear, optional
        Real smears that the segmenter was not trained on, to calibrate its limits; `real` by default.
    crop : int
        Side of the crops, px of the resized smears.
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
    common = check_comparable(real, synthetic, crop)
    # Separate streams: the draws for the real smears do not depend on the synthetic ones.
    rng_crops, rng_errors, rng_tell = np.random.default_rng(rng).spawn(3)
    crop_seed, tell_seed = (int(stream.integers(2**31)) for stream in (rng_crops, rng_tell))
    run = _Comparison(real, synthetic, common, crop_seed, on_stage)
    distances = run.distances(features)
    trained_distances = None if trained is None else run.distances(trained)
    tell = None if judge is None else run.tell(judge, control, tell_seed, full=full_tell)
    real_rows, synthetic_rows = (run.appearances(kind) for kind in ("real", "synthetic"))
    labels = None if segmenter is None else run.labels(segmenter, real if unseen is None else unseen, rng_errors)
    return Realism(
        features=features.name,
        crop=crop,
        scale=common.scale,
        real_smears=len(real),
        synthetic_smears=len(synthetic),
        real_crops=distances.real_crops,
        synthetic_crops=distances.synthetic_crops,
        kid=distances.kid,
        fid=distances.fid,
        density=distances.density,
        coverage=distances.coverage,
        trained_features=None
        if trained is None or trained_distances is None
        else FeatureDistances(
            features=trained.name,
            kid=trained_distances.kid,
            density=trained_distances.density,
            coverage=trained_distances.coverage,
        ),
        tell_auc=None if tell is None else tell.auc,
        tell_crops=None if tell is None else tell.crops,
        control=None if control is None else run.control(control, features, None if tell is None else tell.control),
        appearance=compare_appearance(real_rows, synthetic_rows, (*MEASURES, *STRUCTURE_MEASURES)),
        label_iou_median=None if labels is None else labels.iou_median,
        labels=labels,
    )


class _Distances(NamedTuple):
    kid: Estimate
    fid: Estimate
    density: Estimate | None
    coverage: Estimate | None
    real_crops: int
    synthetic_crops: int


class _Tell(NamedTuple):
    auc: TellAuc
    crops: TellCrops
    control: TellAuc | None


class _Comparison:
    """Stages of the comparison of two sets of smears; each reports its progress."""

    def __init__(
        self,
        real: Sequence[Smear],
        synthetic: Sequence[Smear],
        common: Comparable,
        seed: int,
        on_stage: Stage | None,
    ) -> None:
        self._smears = {"real": real, "synthetic": synthetic}
        self._common = common
        self._seed = seed
        self._on_stage = on_stage
        self._real_crops: dict[str, CropFeatures] = {}  # by the name of the features

    def distances(self, features: PerceptualFeatures) -> _Distances:
        """Return the distances with their references; the crops are the same for all features."""
        rng_real, rng_synthetic, rng_bootstrap, rng_halves = np.random.default_rng(self._seed).spawn(4)
        real = self._embed(self._smears["real"], features, rng_real, "real crops")
        self._real_crops[features.name] = real
        synthetic = self._embed(self._smears["synthetic"], features, rng_synthetic, "synthetic crops")
        estimates = _distances(real, synthetic, rng_bootstrap)
        referenced = [
            estimate and estimate.model_copy(update={"reference": reference})
            for estimate, reference in zip(estimates, _references(real, rng_halves), strict=True)
        ]
        kid_estimate, fid_estimate, density, coverage = referenced
        assert kid_estimate is not None
        assert fid_estimate is not None
        return _Distances(kid_estimate, fid_estimate, density, coverage, len(real.vectors), len(synthetic.vectors))

    def control(self, control: Sequence[Smear], features: PerceptualFeatures, tell: TellAuc | None) -> Control:
        """Return the distances of real training smears, after those of the synthetic ones (`distances`)."""
        rng_control, rng_bootstrap = np.random.default_rng(self._seed).spawn(6)[4:]
        real = self._real_crops[features.name]
        others = self._embed(control, features, rng_control, "training crops")
        kid_estimate, _, density, coverage = _distances(real, others, rng_bootstrap)
        return Control(smears=len(control), kid=kid_estimate, density=density, coverage=coverage, tell_auc=tell)

    def tell(
        self, judge: EfficientNetLite, control: Sequence[Smear] | None, seed: int, *, full: bool
    ) -> _Tell | None:
        """Return the tell test of the synthetic smears and of real training smears."""
        real, synthetic = self._smears["real"], self._smears["synthetic"]
        others = [synthetic] if control is None else [synthetic, control]
        tick = self._stage("tell test, real smears", len(real))
        test = TellTest(real, others, judge, self._common.scale, full=full, seed=seed, on_smear=tick)
        tick = self._stage("tell test, synthetic smears", len(synthetic))
        result = test.compare(synthetic, missing_compression(real, synthetic), on_smear=tick)
        if result is None:
            return None
        auc, crops = result
        if control is None:
            return _Tell(auc, crops, None)
        controlled = test.compare(control, on_smear=self._stage("tell test, training smears", len(control)))
        if controlled is not None:
            controls = auc.control.model_copy(update={"train": controlled[0].middle})
            auc = auc.model_copy(update={"control": controls})
        return _Tell(auc, crops, controlled and controlled[0])

    def appearances(self, kind: str) -> list[FloatArray]:
        """Return colour, texture and structure of the real or the synthetic smears."""
        tick = self._stage(f"{kind} colours", len(self._smears[kind]))
        rows = []
        for k, smear in enumerate(self._smears[kind]):
            diameter = self._common.diameter
            rows.append(np.concatenate([appearance(smear, diameter), structure(smear, diameter)]))
            tick(k + 1)
        return rows

    def labels(self, segmenter: Segmenter, unseen: Sequence[Smear], rng: np.random.Generator) -> LabelFidelity:
        """Check the labels of the synthetic smears, with limits from real smears."""
        synthetic, diameter = self._smears["synthetic"], self._common.diameter
        tick = self._stage("real labels", len(unseen))
        limits = calibrate_limits(unseen, segmenter, diameter, rng=rng, on_smear=tick)
        tick = self._stage("synthetic labels", len(synthetic))
        with error_location(folder_of(synthetic)):
            return label_fidelity(synthetic, segmenter, limits, diameter, on_smear=tick)

    def _embed(
        self, smears: Sequence[Smear], features: PerceptualFeatures, rng: np.random.Generator, name: str
    ) -> CropFeatures:
        tick = self._stage(name, len(smears))
        return embed(smears, self._common.side, features, scale=self._common.scale, rng=rng, on_smear=tick)

    def _stage(self, name: str, total: int) -> Callable[[int], object]:
        on_stage = self._on_stage
        return (lambda done: None) if on_stage is None else (lambda done: on_stage(name, done, total))


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
