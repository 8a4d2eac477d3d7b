"""Training of a synthesizer from a folder of annotated smears, and an estimate of its duration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from smearsynth.datasets import SmearFolder, as_smear_folder, check_smears, choose_split
from smearsynth.errors import DataError, OptionError, error_location
from smearsynth.formats.listing import IMAGE_FOLDER
from smearsynth.formats.splits import every_third
from smearsynth.runs import Execution, Progress, select_device
from smearsynth.synthesis.config import DISCRIMINATOR_SETTINGS, NetworkConfig, Preset, TrainingConfig
from smearsynth.synthesis.config import preset as preset_with_settings
from smearsynth.synthesis.model.provenance import DataSource
from smearsynth.synthesis.model.synthesizer import Synthesizer
from smearsynth.synthesis.networks.features import PerceptualFeatures, load_features
from smearsynth.synthesis.training.checkpoint import completed_steps
from smearsynth.synthesis.training.loop import TrainingRun, fabric_for
from smearsynth.synthesis.training.pipeline import benchmark_steps, build_label_source, train_synthesizer

_CACHE_MB = 1000.0  # decoded smears in memory: every step reads random ones
_GPU_WORKERS = 4
_MIN_SMEARS = 12  # of data without splits: with fewer, all smears are training smears

HoldOut = Literal["auto", "third", "none"]


@dataclass(frozen=True)
class TrainingEstimate:
    """Checked training data and the measured speed of a training.

    Parameters
    ----------
    smears : int
        Number of training smears.
    class_names : tuple of str
    steps : int
        Training steps that remain, of all stages.
    precision : {"fp32", "bf16"}
        Selected precision.
    seconds_per_step : dict of str to float
        Mean duration of these steps by precision, s.
    device : {"cpu", "cuda"}
    completed : int
        Steps that an interrupted training in the output folder has completed.
    held_out : int
        Number of smears that are held out for tests.
    """

    smears: int
    class_names: tuple[str, ...]
    steps: int
    precision: str
    seconds_per_step: dict[str, float]
    device: str
    completed: int = 0
    held_out: int = 0


def train(
    data: Path | str | SmearFolder,
    output: Path | str,
    *,
    preset: str = "cpu",
    settings: Mapping[str, object] | None = None,
    pretrained: Synthesizer | Path | str | None = None,
    features: PerceptualFeatures | str | None = None,
    source: DataSource | None = None,
    parametric: bool = False,
    hold_out: HoldOut = "auto",
    execution: Execution = Execution(),
) -> Synthesizer | None:
    """Train a synthesizer on annotated smears and write its model folder.

    An interrupted training continues when it is called again with the same arguments. On the CPU the result is the
    same, bit for bit.

    Parameters
    ----------
    data : Path or str or SmearFolder
        Folder of annotated smears, or a COCO file. The split "train" is used if it exists.
    output : Path or str
        Model folder to write.
    preset : {"cpu", "gpu", "paper", "tiny"}
        Networks and training settings, see `smearsynth.synthesis.config.PRESETS`.
    settings : mapping of str to object, optional
        Fields of `NetworkConfig` and `TrainingConfig` that replace those of the preset.
    pretrained : Synthesizer or Path or str, optional
        Model, model folder or "default" (the shipped model) whose generator and encoder are trained further.
    features : PerceptualFeatures or str, optional
        Features of the perceptual loss: "efficientnet_lite0", "vgg19", "none", or loaded ones. Default: those of
        the preset.
    source : DataSource, optional
        Licence, citation and name of the data for the model card. Number of smears, split and scale are filled in,
        and so is a missing name.
    parametric : bool
        Store a parametric shape model instead of the contours of real cells, and the weights in half precision.
    hold_out : {"auto", "third", "none"}
        For data without splits: hold out every third smear for tests ("third") or train on all smears ("none").
        "auto" holds out every third of 12 or more smears. The model records them, and `benefit` tests on them.
    execution : Execution
        Default number of workers, which read crops ahead: 4 on a GPU, else 0.

    Returns
    -------
    Synthesizer or None
        None if the training was interrupted; call again to continue.

    Raises
    ------
    DataError
        If the smears are unusable, or `output` is a folder of smears.
    OptionError
        If a setting is unknown, out of range, or in conflict with `pretrained`.
    ModelError
        If `pretrained` is no model, or `output` holds a training on other smears or with other settings.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from smearsynth.formats import open_writer
    >>> from smearsynth.smear import Smear
    >>> y, x = np.mgrid[:80, :120]
    >>> cells = (y % 40 - 20) ** 2 + (x % 40 - 20) ** 2 < 120
    >>> labels = np.where(cells, 1 + y // 40 * 3 + x // 40, 0).astype(np.int32)
    >>> image = np.where(cells[..., None], (180, 120, 130), (215, 195, 200)).astype(np.uint8)
    >>> folder = Path(tempfile.mkdtemp())
    >>> with open_writer(folder / "smears") as writer:
    ...     writer.write(Smear(image, labels, np.zeros(6, np.int64), name="field"))
    >>> model = train(folder / "smears", folder / "model", preset="tiny", settings={"steps": 2})
    >>> model.config.steps_done, model.config.data.smears
    (2, 1)
    """
    folder = Path(output)
    _check_output(folder, pretrained)
    inputs = _prepare(data, preset, settings, pretrained, features, hold_out, execution)
    config, progress = inputs.preset, execution.progress
    workers = execution.workers
    if workers is None:
        workers = _GPU_WORKERS if inputs.device == "cuda" else 0
    run = TrainingRun(
        folder,
        fabric_for(inputs.device, config.training.precision),
        workers=workers,
        time_limit=execution.time_limit,
        on_step=lambda step, losses: progress.step(step, config.steps, losses),
    )
    with error_location(inputs.smears.root):
        return train_synthesizer(
            inputs.smears,
            config,
            run,
            pretrained=inputs.pretrained,
            source=_complete_source(source or DataSource(), inputs),
            features=inputs.features,
            parametric=parametric,
            held_out=inputs.held_out,
            command=execution.command,
            on_message=progress.message,
        )


def estimate_training(
    data: Path | str | SmearFolder,
    output: Path | str | None = None,
    *,
    preset: str = "cpu",
    settings: Mapping[str, object] | None = None,
    pretrained: Synthesizer | Path | str | None = None,
    features: PerceptualFeatures | str | None = None,
    hold_out: HoldOut = "auto",
    execution: Execution = Execution(),
) -> TrainingEstimate:
    """Read all training smears, check them, and time a few training steps in each precision; nothing is written.

    Parameters
    ----------
    data, preset, settings, pretrained, features, hold_out, execution
        As in `train`.
    output : Path or str, optional
        Model folder, for the steps that an interrupted training has completed.

    Returns
    -------
    TrainingEstimate

    Raises
    ------
    DataError, OptionError, ModelError
        As `train`.
    """
    inputs = _prepare(data, preset, settings, pretrained, features, hold_out, execution, read_all=True)
    smears, config = inputs.smears, inputs.preset
    with error_location(smears.root):
        field = build_label_source(smears, config).statistics.field_size
    folders = () if output is None else (Path(output) / "state", Path(output) / "stage-two" / "state")
    completed = min(sum(completed_steps(folder) for folder in folders), config.steps)
    return TrainingEstimate(
        smears=len(smears),
        class_names=smears.class_names,
        steps=config.steps - completed,
        precision=config.training.precision,
        seconds_per_step=_time_stages(inputs, config.limit_crops(field) if config.second else config, completed),
        device=inputs.device,
        completed=completed,
        held_out=len(inputs.held_out),
    )


def _time_stages(inputs: _Inputs, preset: Preset, completed: int) -> dict[str, float]:
    """Return the mean duration of the remaining steps of all stages, by precision, s."""
    seconds: dict[str, float] = {}
    remaining = []
    for stage in preset.stages:
        remaining.append((stage, stage.steps - min(completed, stage.steps)))
        completed -= min(completed, stage.steps)
    total = sum(steps for _, steps in remaining)
    for stage, steps in remaining:
        if steps or not total:
            weight = steps / total if total else 1 / len(remaining)
            for precision, time in benchmark_steps(inputs.smears, stage, inputs.device, inputs.features).items():
                seconds[precision] = seconds.get(precision, 0.0) + weight * time
    return seconds


def choose_preset(
    name: str,
    class_names: tuple[str, ...],
    settings: Mapping[str, object] | None = None,
    pretrained: Synthesizer | None = None,
) -> Preset:
    """Return a preset with settings and with the networks of a pretrained model.

    Parameters
    ----------
    name : {"cpu", "gpu", "paper", "tiny"}
    class_names : tuple of str
        Cell classes of the data.
    settings : mapping of str to object, optional
        Values that replace those of the preset, in all of its stages; None keeps the value of the preset.
    pretrained : Synthesizer, optional

    Raises
    ------
    OptionError
        If the preset or a setting is unknown, a value is out of range, or a setting conflicts with `pretrained`.

    Examples
    --------
    >>> choose_preset("tiny", ("cell",), {"steps": 5}).training.steps
    5
    """
    settings = {key: value for key, value in (settings or {}).items() if value is not None}
    for key in settings:
        if key == "class_names":
            raise OptionError("setting class_names: the classes are those of the data; remove this setting")
        if key not in NetworkConfig.model_fields and key not in TrainingConfig.model_fields:
            raise OptionError(f"setting {key}: no such setting of networks or training; check its spelling")
        if pretrained is not None and key in NetworkConfig.model_fields and key not in DISCRIMINATOR_SETTINGS:
            raise OptionError(
                f"setting {key}: generator and encoder are those of the pretrained model; remove this setting, or "
                "train without a pretrained model"
            )
    config = preset_with_settings(name, class_names=class_names, **settings)
    return config if pretrained is None else config.initialised_from(pretrained.config.network)


def crop_remark(preset: Preset, field: tuple[int, int]) -> str | None:
    """Return a warning if training crops are larger than a field of (H, W) px, else None.

    The crops of presets with two stages are reduced to the field size, so they never are.
    """
    (height, width), (field_height, field_width) = preset.training.crop, field
    if preset.second or (height <= field_height and width <= field_width):
        return None
    return (
        f"crops of {width}×{height} px are larger than the smears ({field_width}×{field_height} px), which are "
        "extended by reflection; smaller crops are faster (setting crop, --set crop=WxH)"
    )


@dataclass(frozen=True)
class _Inputs:
    """Everything that a training needs, opened, loaded and checked."""

    smears: SmearFolder
    held_out: SmearFolder | tuple[()]
    split: str | None
    preset: Preset
    pretrained: Synthesizer | None
    features: PerceptualFeatures | None
    device: str


def _check_output(output: Path, pretrained: Synthesizer | Path | str | None) -> None:
    """Raise an error if the output folder holds smears or is the folder of the pretrained model."""
    if (output / IMAGE_FOLDER).is_dir():
        raise DataError("holds smears; choose another output folder", output)
    if isinstance(pretrained, Synthesizer) or pretrained is None or not output.exists():
        return
    if output.resolve() == Path(pretrained).resolve():
        raise OptionError(f"{output} is the folder of the pretrained model; choose another output folder")


def _prepare(
    data: Path | str | SmearFolder,
    preset: str,
    settings: Mapping[str, object] | None,
    pretrained: Synthesizer | Path | str | None,
    features: PerceptualFeatures | str | None,
    hold_out: HoldOut,
    execution: Execution,
    *,
    read_all: bool = False,
) -> _Inputs:
    """Open, load and check the arguments of `train`, so that errors are reported before any long work."""
    smears, split = choose_split(
        as_smear_folder(data, cache_mb=_CACHE_MB, progress=execution.progress), None, default="train"
    )
    smears, held_out = _hold_out(smears, hold_out, execution.progress)
    names = set(smears.splits)
    if split is None and len(names) == 1 and sum(smears.splits.values()) == len(smears):
        split = names.pop()  # the caller selected one split
    if pretrained is not None and not isinstance(pretrained, Synthesizer):
        pretrained = Synthesizer.load(pretrained)
    settings = dict(settings or {})
    if features is not None:
        if settings.get("perceptual_features") is not None:
            raise OptionError("setting perceptual_features: `features` sets it, too; remove one of them")
        settings["perceptual_features"] = features if isinstance(features, str) else features.name
        features = load_features(features) if isinstance(features, str) else features
    config = choose_preset(preset, smears.class_names, settings, pretrained)
    if features is None:
        features = load_features(config.training.perceptual_features)
    device = select_device(execution.device)
    if read_all:
        check_smears(smears, execution.progress)
    if len(smears) and (remark := crop_remark(config, smears[0].shape)):
        execution.progress.message(remark)
    return _Inputs(smears, held_out, split, config, pretrained, features, device)


def _hold_out(
    smears: SmearFolder, hold_out: HoldOut, progress: Progress
) -> tuple[SmearFolder, SmearFolder | tuple[()]]:
    """Divide data without splits into training smears and held-out smears, and report the division."""
    if hold_out not in ("auto", "third", "none"):
        raise OptionError(f"hold_out {hold_out!r}: choose auto, third or none")
    if smears.splits:
        if hold_out == "third":
            raise OptionError("the data have splits, so smears are held out by them; leave out --hold-out")
        return smears, ()
    count = len(smears)
    if hold_out == "none" or (hold_out == "auto" and count < _MIN_SMEARS):
        reason = f", fewer than {_MIN_SMEARS} smears" if hold_out == "auto" else ""
        progress.message(
            f"no split.csv{reason}: all {count} smears are training smears, none is held out. This model cannot "
            "be judged on them: leave out --model in `benefit`, or train with --hold-out third"
        )
        return smears, ()
    train, test = every_third(count)
    if not test or not train:
        raise DataError(f"{count} smears are too few to hold out every third; add smears", smears.root)
    progress.message(
        f"no split.csv: {len(test)} of {count} smears, every third, are held out for tests, and `benefit` with "
        "this model tests on them. If fields of the same slide are in both sets, scores are too high. --hold-out "
        "none trains on all smears"
    )
    return smears.subset(train), smears.subset(test)


def _complete_source(source: DataSource, inputs: _Inputs) -> DataSource:
    """Fill in number, split and scale of the smears, and the folder name if no name is given."""
    smears = inputs.smears
    name = source.name if "name" in source.model_fields_set else smears.root.resolve().name
    return source.model_copy(
        update={"name": name, "smears": len(smears), "split": inputs.split or source.split, "scale": smears.scale}
    )
