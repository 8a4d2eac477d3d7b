"""The commands of the tasks: train a model on annotated smears, put it to use, score it."""

from __future__ import annotations

import math
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smearsynth.cli.options import (
    AsJson,
    Binary,
    Classes,
    Data,
    Device,
    Limit,
    Reading,
    Scale,
    check_all,
    counted,
    named_split,
    open_data,
    refuse_smears,
)
from smearsynth.cli.terminal import err, out, progress, say, training_progress
from smearsynth.datasets import SmearFolder
from smearsynth.errors import DataError, OptionError, error_location
from smearsynth.runs import select_device
from smearsynth.smear import check_scale

if TYPE_CHECKING:  # PyTorch takes seconds to import
    from smearsynth.tasks import Task


OwnScale = Annotated[
    float | None, typer.Option(help="Resize images on reading; default: as the smears the model learned from.")
]


def fit_task(
    task: Annotated[str, typer.Argument(help="segmentation, detection or contours.", show_default=False)],
    data: Data,
    output: Annotated[Path, typer.Option("--output", "-o", help="Model folder; run again to continue.")],
    preset: Annotated[str, typer.Option(help="cpu, paper or tiny.")] = "cpu",
    steps: Annotated[int | None, typer.Option(help="Training steps.", min=1)] = None,
    batch: Annotated[int | None, typer.Option(help="Crops a step.", min=1)] = None,
    augment: Annotated[str, typer.Option(help="none, classic (the paper's), copy-paste or both.")] = "classic",
    weights: Annotated[
        Path | None, typer.Option(help="Detection: local weight file of torchvision's resnet101.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Default: train, where the folder has it.")] = None,
    scale: Scale = 1.0,
    classes: Classes = "auto",
    format: Reading = "auto",
    binary: Binary = False,
    limit: Limit = None,
    device: Device = "auto",
    time_limit: Annotated[
        float | None, typer.Option(help="Stop after so long; run again to continue.", min=0)
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Same seed, same model (on the CPU, bit for bit).", min=0)
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check all data, say how long it takes, stop.")
    ] = False,
) -> int:
    """Train a model of a task on annotated smears."""
    from smearsynth.tasks import FitRun, fit
    from smearsynth.tasks.detection import Detection
    from smearsynth.tasks.registry import task_type

    kind = task_type(task)
    refuse_smears(output)
    device = select_device(device)
    smears = open_data(data, None, scale, classes=classes, format=format, binary=binary, cache_mb=1000)
    smears, _ = named_split(smears, split, limit, default="train")
    names = smears.class_names if kind is Detection else None
    settings = {"steps": steps, "batch": batch, "augment": augment, "seed": seed}
    if weights is None:
        model = kind.preset(preset, class_names=names, **settings)
    elif kind is Detection:
        model = Detection.pretrained(weights, preset, class_names=names, **settings)
    else:
        raise OptionError(f"{task} is trained from scratch; leave out --weights")
    if not any(smear.count for smear in smears):
        raise DataError("no smear to learn from has a cell; there is nothing to learn", data)
    if dry_run:
        return _dry_run(model, smears, device)
    wanted = model.config.fit.steps
    with training_progress(wanted, every=100) as on_step, error_location(data):
        report = fit(model, smears, FitRun(output, device, time_limit=time_limit, on_step=on_step))
    if not report.knows_content:
        remedy = "if images or labels have changed since, name another folder"
        say(err, f"{output} was begun by a version that noted the names of its smears, not their content; {remedy}")
    if not report.finished:
        say(out, f"stopped at step {report.steps}; run the same command again to continue ({output})")
        return 0 if time_limit is not None else 130
    score = (
        "none, for want of held-out smears with cells" if report.best_score is None else f"{report.best_score:.4f}"
    )
    say(out, f"model: {output}\nvalidation: {score} at step {report.best_step} of {report.steps}")
    return 0


def predict(
    model: Annotated[Path, typer.Argument(help="Folder that fit-task made.", show_default=False)],
    images: Annotated[Path, typer.Argument(help="An image, or a folder of images.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for what is found.")],
    scale: OwnScale = None,
    overlays: Annotated[bool, typer.Option(help="Also draw what is found over the images.")] = True,
    device: Device = "auto",
) -> int:
    """Find the cells of images: labels or boxes, counts by class, pictures."""
    from smearsynth.tasks import load_model
    from smearsynth.tasks.prediction import find_images, images_below, write_predictions

    task = load_model(model, select_device(device))
    found = find_images(images)
    if left := images_below(images, output):
        say(err, f"{left} images in folders of {images} are left out; name each folder to have them")
    scale = _scale_of(task, scale)
    with progress("finding cells", len(found)) as tick:
        counts = write_predictions(task, found, output, scale=scale, pictures=overlays, on_image=tick)
    cells = sum(row.total for row in counts)
    say(out, f"{cells} cells in {len(counts)} of {len(found)} images; counts, boxes and pictures in {output}")
    return 0 if len(counts) == len(found) else 130


def score(
    model: Annotated[Path, typer.Argument(help="Folder that fit-task made.", show_default=False)],
    data: Data,
    split: Annotated[str | None, typer.Option(help="Default: test, where the folder has it.")] = None,
    scale: OwnScale = None,
    classes: Classes = "auto",
    format: Reading = "auto",
    binary: Binary = False,
    limit: Limit = None,
    device: Device = "auto",
    json: AsJson = False,
) -> None:
    """Score a model on annotated smears: Dice or AP, with cells found, made up and missed."""
    from dataclasses import asdict

    from smearsynth.tasks import load_model

    task = load_model(model, select_device(device))
    smears = open_data(data, None, _scale_of(task, scale), classes=classes, format=format, binary=binary)
    smears, split = named_split(smears, split, limit, default="test")
    with progress("scoring", len(smears), quiet=json) as tick, error_location(data):
        found = task.evaluate(counted(smears, tick))
    tp, fp, fn = found.counts
    defined = not math.isnan(found.value)  # AP of smears without a cell is not
    value, ap50 = (found.value, found.ap50) if defined else (None, None)
    figures = {"metric": found.metric, "value": value, "ap50": ap50, "tp": tp, "fp": fp, "fn": fn}
    if json:
        print(dumps(figures | {"split": split, "images": [asdict(image) for image in found.images]}))
        return
    half = "" if ap50 is None else f", AP50 {ap50:.4f}"
    name = "Dice" if found.metric == "dice" else "AP"
    what = f"{name} {value:.4f}{half}" if defined else f"{name} is not defined, for none has a cell"
    say(
        out,
        f"{len(smears)} smear{'s' if len(smears) > 1 else ''}: {what}; {tp} cells found, {fp} made up, {fn} missed",
    )


def _scale_of(task: Task, asked: float | None) -> float:
    """At which a model looks for cells: as it learned, unless told; says so where it is not plain."""
    if asked is not None:
        check_scale(asked)
    if asked not in (None, task.scale):
        say(
            err,
            f"the model learned from smears at {task.scale:g} times their size, these are read at {asked:g} times",
        )
    elif task.scale != 1:
        say(err, f"cells are looked for at {task.scale:g} times the size of the images, as the model learned")
    return task.scale if asked is None else asked


def _dry_run(model: Task, smears: SmearFolder, device: str) -> int:
    """Read all data and time a few steps."""
    from smearsynth.tasks.fitting import benchmark_steps

    check_all(smears)
    pace = benchmark_steps(model, smears, device)
    steps = model.config.fit.steps
    say(out, f"{len(smears)} smears, all readable; classes {', '.join(model.config.class_names)}")
    say(out, f"{steps} steps at {pace:.2f} s, about {pace * steps / 60:.1f} min on {device}, and validation")
    return 0
