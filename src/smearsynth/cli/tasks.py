"""Commands of the tasks: train a model that finds cells, apply it to images, score it on annotated smears."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import typer

from smearsynth.cli.options import (
    AllowLeak,
    AsJson,
    ClassesChoice,
    Data,
    DataOptions,
    DryRun,
    ExecutionOptions,
    Ignore,
    KeepOverlays,
    Limit,
    TrainingDataOptions,
    TrainingExecutionOptions,
    command_of,
)
from smearsynth.cli.terminal import TerminalProgress, out, say
from smearsynth.datasets import SmearFolder, choose_split

if TYPE_CHECKING:  # PyTorch takes seconds to import
    from smearsynth.tasks.base import Evaluation
    from smearsynth.tasks.folder import FitReport

TaskModel = Annotated[
    Path, typer.Argument(metavar="MODEL", help="Folder written by train-task.", show_default=False)
]
ModelScale = Annotated[
    float | None,
    typer.Option(metavar="FACTOR", help="Resize images on reading. Default: the model's training scale."),
]


@dataclass(frozen=True)
class TaskTrainingOptions:
    """How a task model is trained."""

    panel: ClassVar[str] = "Training"

    preset: Annotated[
        Literal["cpu", "paper", "tiny"], typer.Option(help="Network and training settings to start from.")
    ] = "cpu"
    steps: Annotated[int | None, typer.Option(metavar="N", help="Training steps.", min=1)] = None
    batch: Annotated[int | None, typer.Option(metavar="N", help="Crops per step.", min=1)] = None
    augment: Annotated[
        Literal["none", "classic", "copy-paste", "both"],
        typer.Option(help="Augmentation of the crops; classic is that of the paper."),
    ] = "classic"
    weights: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Weight file of torchvision's resnet101; for detection only."),
    ] = None
    seed: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Random seed. On the CPU the same seed gives the same model, bit for bit.", min=0
        ),
    ] = None

    def settings(self) -> dict[str, object]:
        """Return the settings that replace those of the preset."""
        values = {"steps": self.steps, "batch": self.batch, "augment": self.augment, "seed": self.seed}
        return {name: value for name, value in values.items() if value is not None}


def train_task(
    context: typer.Context,
    task: Annotated[
        Literal["segmentation", "detection", "contours"],
        typer.Argument(
            metavar="TASK",
            help="Segmentation (FCN-8s), detection (Faster R-CNN), or detection from segmented contours (FCN-8s).",
            show_default=False,
        ),
    ],
    data: Data,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Model folder; the same command continues.")
    ],
    training: TaskTrainingOptions,
    reading: TrainingDataOptions,
    where: TrainingExecutionOptions,
    dry_run: DryRun = False,
) -> int:
    """Train a model that finds cells: segmentation, detection, or detection from segmentation."""
    from smearsynth.tasks.train_task import estimate_task_training
    from smearsynth.tasks.train_task import train_task as train_model

    smears = reading.select(data, default_split="train", cache_mb=1000)
    with TerminalProgress() as progress:
        execution = where.execution(progress, command_of(context))
        if dry_run:
            estimate = estimate_task_training(
                task,
                smears,
                preset=training.preset,
                settings=training.settings(),
                weights=training.weights,
                execution=execution,
            )
            say(out, f"{estimate.smears} smears, all readable; classes {', '.join(estimate.class_names)}")
            minutes = estimate.seconds_per_step * estimate.steps / 60
            steps = f"{estimate.steps} steps of {estimate.seconds_per_step:.2f} s"
            say(out, f"{steps}, about {minutes:.1f} min on {estimate.device}, and the validation")
            return 0
        report = train_model(
            task,
            smears,
            output,
            preset=training.preset,
            settings=training.settings(),
            weights=training.weights,
            execution=execution,
        )
    return _print_report(report, output, stopped_in_time=where.time_limit is not None)


def predict(
    model: TaskModel,
    images: Annotated[
        Path, typer.Argument(metavar="IMAGES", help="An image, or a folder of images.", show_default=False)
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Folder for the predictions.")],
    where: ExecutionOptions,
    scale: ModelScale = None,
    overlays: Annotated[bool, typer.Option(help="Also draw the predictions over the images.")] = True,
) -> int:
    """Find the cells in images: labels or boxes, counts per class, pictures."""
    from smearsynth.tasks.prediction import find_images
    from smearsynth.tasks.prediction import predict as predict_images

    with TerminalProgress() as progress:
        counts = predict_images(
            model, images, output, scale=scale, overlays=overlays, execution=where.execution(progress)
        )
    total = len(find_images(images))
    cells = sum(count.total for count in counts)
    say(out, f"{cells} cells in {len(counts)} of {total} images; counts, boxes and pictures in {output}")
    return 0 if len(counts) == total else 130


@dataclass(frozen=True)
class ScoredDataOptions:
    """How the smears are read that a model is scored on."""

    panel: ClassVar[str] = "Reading the data"

    format: Annotated[str, typer.Option(metavar="NAME", help="Annotation format; auto detects it.")] = "auto"
    scale: ModelScale = None
    binary: Annotated[
        bool,
        typer.Option("--binary", help="Read binary masks; their connected components become the cells."),
    ] = False
    split: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Use this split of split.csv. Default: test if it exists, else all."),
    ] = None
    classes: Annotated[
        ClassesChoice,
        typer.Option(help="Cell classes: one class, those of the annotation, or auto as for training."),
    ] = "auto"
    limit: Limit = None
    ignore: Ignore = None
    keep_overlays: KeepOverlays = False

    def open(self, data: Path, scale: float) -> SmearFolder:
        """Open all smears at a scale."""
        reading = DataOptions(
            self.format,
            scale,
            self.binary,
            classes=self.classes,
            ignore=self.ignore,
            keep_overlays=self.keep_overlays,
        )
        return reading.open(data, classes=self.classes)


def score(
    model: TaskModel,
    data: Data,
    reading: ScoredDataOptions,
    where: ExecutionOptions,
    allow_leak: AllowLeak = False,
    json: AsJson = False,
) -> None:
    """Score a model on annotated smears: Dice or AP, panoptic quality, true and false positives, false negatives.

    Each with its 95 % interval over the smears.
    """
    from smearsynth.runs import select_device
    from smearsynth.tasks.prediction import choose_scale
    from smearsynth.tasks.registry import load_model
    from smearsynth.tasks.scoring import check_scored_smears, score_smears

    with TerminalProgress(quiet=json) as progress:
        task = load_model(model, select_device(where.device))
        everything = reading.open(data, choose_scale(task, reading.scale, progress))
        smears, split = choose_split(everything, reading.split, default="test", limit=reading.limit)
        warnings = check_scored_smears(task, smears, everything, f"the model {model}", allow_leak=allow_leak)
        for warning in warnings:
            progress.message(warning)
        evaluation = score_smears(task, smears, progress)
    if json:
        print(
            dumps(
                _figures(evaluation)
                | {"split": split, "warnings": warnings, "images": [asdict(image) for image in evaluation.images]}
            )
        )
        return
    for line in _score_lines(evaluation, len(smears)):
        say(out, line)


def _figures(evaluation: Evaluation) -> dict[str, object]:
    from smearsynth.metrics.panoptic import cell_figures

    defined = not math.isnan(evaluation.value)  # the AP of smears without a cell is not defined
    value, ap50 = (evaluation.value, evaluation.ap50) if defined else (None, None)
    interval = _score_interval(evaluation)
    return {
        "metric": evaluation.metric,
        "value": value,
        "ap50": ap50,
        "value_interval": None if interval is None else [round(bound, 6) for bound in interval],
        **cell_figures(evaluation.images),
    }


def _score_interval(evaluation: Evaluation) -> tuple[float, float] | None:
    """Return the 95 % interval of Dice or AP over images; None for one image, or if the score is not defined."""
    from smearsynth.metrics.intervals import mean_interval

    if math.isnan(evaluation.value) or len(evaluation.images) == 1:
        return None
    interval = mean_interval([evaluation.resampled()])
    return interval.low, interval.high


def _score_lines(evaluation: Evaluation, smears: int) -> Iterator[str]:
    """Yield the scores and counts as the lines of a table, with 95 % intervals over images."""
    figures = _figures(evaluation)
    count = f"{smears} smear{'s' if smears > 1 else ''}"
    name = "Dice" if evaluation.metric == "dice" else "AP"
    if figures["value"] is None:
        yield f"{count}: {name} is not defined without annotated cells"
    else:
        yield f"{count}: {name} {evaluation.value:.4f}"
        if len(evaluation.images) == 1:
            yield "no intervals: they are bootstrapped over smears, and there is only one"
        else:
            yield f"{'':<21}{'value':>7}  95 % interval"
    rows = {name: "value", "AP50": "ap50", "PQ panoptic quality": "pq"}
    rows |= {"TP true positives": "tp", "FP false positives": "fp", "FN false negatives": "fn"}
    for title, key in rows.items():
        if (value := figures[key]) is not None:
            digits = 0 if isinstance(value, int) else 4
            bounds = figures.get(f"{key}_interval")
            interval = "{:.{n}f} to {:.{n}f}".format(*bounds, n=digits) if isinstance(bounds, list) else ""
            yield f"{title:<21}{value:>7.{digits}f}  {interval}".rstrip()


def _print_report(report: FitReport, output: Path, *, stopped_in_time: bool) -> int:
    if not report.finished:
        say(out, f"stopped at step {report.steps}; run the same command again to continue ({output})")
        return 0 if stopped_in_time else 130
    score = "none, no smear with cells was held out" if report.best_score is None else f"{report.best_score:.4f}"
    say(out, f"model: {output}\nvalidation score: {score} at step {report.best_step} of {report.steps}")
    return 0
