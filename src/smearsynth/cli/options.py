"""Options that several commands share, and the parsing of their text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, TypeVar, get_args

import typer

from smearsynth.cli.terminal import TerminalProgress, err, say
from smearsynth.datasets import SmearFolder, choose_split, exclude_overlays, open_smears
from smearsynth.errors import OptionError
from smearsynth.runs import Execution, Progress

if TYPE_CHECKING:  # PyTorch takes seconds to import
    from smearsynth.synthesis.networks.features import PerceptualFeatures

_T = TypeVar("_T")

LayoutChoice = Literal["contact", "ring", "uniform"]
ClassesChoice = Literal["auto", "one", "annotated"]
StainChoice = Literal["original", "augmented"]
DeviceChoice = Literal["auto", "cpu", "cuda"]

Data = Annotated[
    Path, typer.Argument(metavar="DATA", help="Folder of annotated smears, or a COCO file.", show_default=False)
]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Output folder.")]
Model = Annotated[
    str, typer.Option("--model", "-m", metavar="FOLDER", help="Model folder, or 'default' for the shipped model.")
]
Number = Annotated[int, typer.Option("-n", metavar="N", help="Number of smears.", min=1)]
Size = Annotated[
    str | None,
    typer.Option(metavar="WxH", help="Width and height in px. Default: the size of the training smears."),
]
Layout = Annotated[
    LayoutChoice | None,
    typer.Option(
        help="Placement of cells: fitted to the training smears (contact), the paper's (ring), or uniform. "
        "Default: contact if the model has contact parameters, else ring."
    ),
]
Mix = Annotated[
    str | None,
    typer.Option(metavar="CLASS=FRACTION,...", help='Fraction of each cell class, such as "rbc=0.9,wbc=0.1".'),
]
Split = Annotated[
    str | None,
    typer.Option(
        "--split",
        metavar="NAME=FRACTION,...",
        help='Divide the smears into splits, such as "train=0.8,val=0.1,test=0.1".',
    ),
]
Seed = Annotated[int, typer.Option(metavar="N", help="Random seed. The same seed gives the same result.", min=0)]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check the data, estimate the time and stop.")]
AllowLeak = Annotated[
    bool,
    typer.Option(
        "--allow-leak", help="Continue if test smears were training smears, with a warning in every output."
    ),
]
Ignore = Annotated[
    Path | None,
    typer.Option(
        metavar="MASK", help="Ignore the non-zero pixels of this image in all smears, or a folder of such images."
    ),
]
KeepOverlays = Annotated[
    bool,
    typer.Option("--keep-overlays", help="Use also burned-in scale bars, text and frames. Default: ignore them."),
]
FigureFile = Annotated[Path | None, typer.Option(metavar="PATH", help="Also write a figure to this PNG file.")]
Limit = Annotated[int | None, typer.Option(metavar="N", help="Use only the first N smears.", min=1)]
Vgg = Annotated[
    Path | None, typer.Option(metavar="PATH", help="Weight file of torchvision's vgg19, for the features vgg19.")
]


@dataclass(frozen=True)
class ReadingOptions:
    """How annotated smears are read."""

    panel: ClassVar[str] = "Reading the data"

    format: Annotated[str, typer.Option(metavar="NAME", help="Annotation format; auto detects it.")] = "auto"
    scale: Annotated[
        float,
        typer.Option(metavar="FACTOR", help="Resize the smears on reading; 0.5 halves width and height."),
    ] = 1.0
    binary: Annotated[
        bool,
        typer.Option("--binary", help="Read binary masks; their connected components become the cells."),
    ] = False
    ignore_value: Annotated[
        int | None,
        typer.Option(metavar="ID", help="Value in label images of pixels without annotation.", min=1),
    ] = None
    ignore: Ignore = None
    keep_overlays: KeepOverlays = False

    def open(self, data: Path, *, classes: ClassesChoice = "one", cache_mb: float = 0.0) -> SmearFolder:
        """Open a folder of annotated smears; notes about the folder go to stderr."""
        smears = open_smears(
            data,
            format=self.format,
            scale=self.scale,
            binary=self.binary,
            ignore_value=self.ignore_value,
            classes=classes,
            cache_mb=cache_mb,
            ignore=self.ignore,
            keep_overlays=self.keep_overlays,
        )
        if smears.detected:
            say(err, f"found: {smears.found}")
        for note in smears.notes:
            say(err, note)
        return exclude_overlays(smears, TerminalProgress(quiet=True))


@dataclass(frozen=True)
class DataOptions(ReadingOptions):
    """How annotated smears are read and which of them are used."""

    split: Annotated[
        str | None, typer.Option(metavar="NAME", help="Use only this split of split.csv. Default: all smears.")
    ] = None
    classes: Annotated[
        ClassesChoice,
        typer.Option(
            help="Cell classes: one class (one), those of the annotation (annotated), or auto: annotated for "
            "folders written by smearsynth, else one."
        ),
    ] = "auto"
    limit: Limit = None

    def select(self, data: Path, *, default_split: str | None = None, cache_mb: float = 0.0) -> SmearFolder:
        """Open the smears of the split, else of the default split if the folder has it."""
        return self.choose(self.open(data, classes=self.classes, cache_mb=cache_mb), default_split)

    def choose(self, smears: SmearFolder, default_split: str | None = None) -> SmearFolder:
        """Return the smears of the split and up to the limit."""
        return choose_split(smears, self.split, default=default_split, limit=self.limit)[0]


@dataclass(frozen=True)
class TrainingDataOptions(DataOptions):
    """As `DataOptions`, for commands that use the split train by default."""

    split: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Use this split of split.csv. Default: train if it exists, else all."),
    ] = None


@dataclass(frozen=True)
class ExecutionOptions:
    """Where a command runs."""

    panel: ClassVar[str] = "Execution"

    device: Annotated[DeviceChoice, typer.Option(help="Device; auto is a CUDA device if there is one.")] = "auto"

    def execution(self, progress: Progress, command: str = "") -> Execution:
        """Return the settings of the execution; prepare this process for work on the CPU."""
        return _execution(self.device, progress, command=command)


@dataclass(frozen=True)
class TrainingExecutionOptions(ExecutionOptions):
    """Where and how long a training runs."""

    time_limit: Annotated[
        float | None,
        typer.Option(metavar="MINUTES", help="Stop after this time; the same command continues later.", min=0),
    ] = None

    def execution(self, progress: Progress, command: str = "") -> Execution:
        """Return the settings of the execution; prepare this process for work on the CPU."""
        return _execution(self.device, progress, time_limit=self.time_limit, command=command)


@dataclass(frozen=True)
class ParallelExecutionOptions(ExecutionOptions):
    """Where and in how many processes an experiment runs."""

    workers: Annotated[
        int | None,
        typer.Option(metavar="N", help="Number of processes. Default: one per core, one on a GPU.", min=1),
    ] = None

    def execution(self, progress: Progress, command: str = "") -> Execution:
        """Return the settings of the execution; prepare this process for work on the CPU."""
        return _execution(self.device, progress, workers=self.workers, command=command)


def _execution(
    device: str,
    progress: Progress,
    *,
    time_limit: float | None = None,
    workers: int | None = None,
    command: str = "",
) -> Execution:
    from smearsynth.runs import configure_cpu

    configure_cpu()
    return Execution(device, time_limit, workers, command, progress)


def parse_size(text: str | None) -> tuple[int, int] | None:
    """Parse "WxH" into (H, W) in px.

    Examples
    --------
    >>> parse_size("1920x1200")
    (1200, 1920)
    """
    if text is None:
        return None
    width, cross, height = text.lower().replace("×", "x").partition("x")
    if not (cross and width.isdecimal() and height.isdecimal()) or len(text) > 20:
        raise OptionError(f"size {text[:20]!r}: give width and height in px, such as 1920x1200")
    return int(height), int(width)


def parse_mix(text: str | None) -> dict[str, float] | None:
    """Parse "a=0.9,b=0.1" into a fraction per class.

    Examples
    --------
    >>> parse_mix("rbc=0.9,wbc=0.1")
    {'rbc': 0.9, 'wbc': 0.1}
    """
    if text is None:
        return None
    return _named_fractions(
        text, f"mix {text[:60]!r}: give each class once with its fraction, such as rbc=0.9,wbc=0.1"
    )


def parse_fractions(text: str | None) -> dict[str, float] | None:
    """Parse "train=0.8,val=0.2" into a fraction per split.

    Examples
    --------
    >>> parse_fractions("train=0.8,val=0.2")
    {'train': 0.8, 'val': 0.2}
    """
    if text is None:
        return None
    return _named_fractions(
        text, f"split {text[:60]!r}: give each split once with its fraction, such as train=0.8,val=0.2"
    )


def _named_fractions(text: str, problem: str) -> dict[str, float]:
    """Parse "a=0.9,b=0.1"; raise an `OptionError` with `problem` if a name is repeated or a number is missing."""
    fractions: dict[str, float] = {}
    for part in text.split(","):
        name, _, value = (word.strip() for word in part.rpartition("="))
        try:
            fraction = float(value)
        except ValueError:
            name = ""
        if not name or name in fractions:
            raise OptionError(problem)
        fractions[name] = fraction
    return fractions


def parse_names(text: str, known: tuple[_T, ...], option: str) -> tuple[_T, ...]:
    """Parse "a,b" or "all" into names.

    Examples
    --------
    >>> parse_names("RD,SD,RD", ("RD", "SD", "RD+SD"), "--arms")
    ('RD', 'SD')
    """
    by_name = {str(name): name for name in known}
    names = tuple(by_name) if text == "all" else tuple(dict.fromkeys(word.strip() for word in text.split(",")))
    for name in names:
        if name not in by_name:
            raise OptionError(f"{option} {name!r}: choose from {', '.join(by_name)}, or all")
    return tuple(by_name[name] for name in names)


def is_model(path: Path) -> bool:
    """Test whether a path is a model folder, or the name ``default`` where no such folder exists.

    It looks for the weight file, so that PyTorch, which takes seconds to import, is not needed.
    """
    return (path / "weights.safetensors").is_file() or (str(path) == "default" and not path.exists())


def perceptual_features(
    text: str | None, vgg: Path | None, *, judge: bool = False
) -> PerceptualFeatures | str | None:
    """Resolve ``--features``: a name, or the folder of a segmentation model.

    With `judge` also the features that training must not use.

    Returns
    -------
    PerceptualFeatures or str or None
        Loaded features for a folder or for vgg19 with a weight file; any other name as it is.
    """
    if text is None and vgg is not None:
        raise OptionError("--vgg is the weight file of the features vgg19; add --features vgg19")
    if text is None:
        return None
    if text == "vgg19":
        from smearsynth.synthesis.networks.features import load_features

        return load_features(text, vgg)
    if not Path(text).is_dir():
        from smearsynth.synthesis.config import FeatureName

        names = [*(["efficientnet_lite2"] if judge else []), *get_args(FeatureName)]
        if text not in names:
            raise OptionError(f"features {text!r}: choose {', '.join(names)} or the folder of a segmentation model")
        return text
    from smearsynth.evaluation.realism.task_features import perceptual_features as features_of
    from smearsynth.tasks.registry import load_segmentation

    return features_of(load_segmentation(Path(text)))


def describe_reading(smears: SmearFolder) -> dict[str, object]:
    """Print what was left out of the smears that were read, and return it for JSON.

    Returns
    -------
    dict
        `read_from`, `cells`, and `left_out` by reason.
    """
    report = smears.report
    for note in report.notes():
        say(err, note)
    return {"read_from": smears.found, "cells": report.cells, "left_out": dict(report.left_out)}


def command_of(context: typer.Context) -> str:
    """Return the command line that was entered, for reports and model cards."""
    return str(context.obj or "")


def counted(progress: Progress, stage: str, total: int) -> Callable[[int], None]:
    """Return a callback that reports the number of items done in a stage."""
    return lambda done: progress.advance(stage, done, total)
