"""What the words of a command line mean: sizes, mixes, smears, models, devices."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer

from smearsynth.cli.terminal import err, say
from smearsynth.datasets import SmearFolder, open_smears
from smearsynth.errors import DataError, OptionError
from smearsynth.formats.images import read_rgb
from smearsynth.formats.listing import IMAGE_FOLDER
from smearsynth.layout.labels import LayoutName
from smearsynth.runs import select_device
from smearsynth.smear import Smear
from smearsynth.tasks.registry import load_segmentation

if TYPE_CHECKING:  # PyTorch takes seconds to import
    from smearsynth.synthesis.networks.features import PerceptualFeatures

Data = Annotated[Path, typer.Argument(help="Folder of annotated smears (or a COCO file).", show_default=False)]
Split = Annotated[str | None, typer.Option(help="Only this split of the folder's split.csv.")]
Scale = Annotated[float, typer.Option(help="Resize smears on reading; 0.5 halves each side.")]
Classes = Annotated[str, typer.Option(help="auto, one (all are cells), or annotated (as the folder says).")]
Reading = Annotated[str, typer.Option("--format", help="auto, labels, palette or coco.")]
Binary = Annotated[bool, typer.Option("--binary", help="Labels are one mask: take its connected components.")]
Limit = Annotated[int | None, typer.Option(help="Only the first so many smears.", min=1)]
Model = Annotated[str, typer.Option("--model", "-m", help="Model folder, or 'default' for the shipped model.")]
Number = Annotated[int, typer.Option("-n", help="How many.", min=1)]
Size = Annotated[str | None, typer.Option(help="WxH in px; that of the training smears when not given.")]
Layout = Annotated[
    str | None, typer.Option(help="contact (as in the model's smears), ring (the paper's) or uniform.")
]
Mix = Annotated[str | None, typer.Option(help='Share of each class, such as "rbc=0.9,wbc=0.1".')]
Seed = Annotated[int, typer.Option(help="Same seed, same result.", min=0)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]


def parse_size(text: str | None) -> tuple[int, int] | None:
    """(H, W) from "WxH".

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
    """Shares by class from "a=0.9,b=0.1".

    Examples
    --------
    >>> parse_mix("rbc=0.9,wbc=0.1")
    {'rbc': 0.9, 'wbc': 0.1}
    """
    if text is None:
        return None
    mix: dict[str, float] = {}
    for part in text.split(","):
        name, _, share = (word.strip() for word in part.rpartition("="))
        try:
            number = float(share)
        except ValueError:
            name = ""
        if not name or name in mix:
            raise OptionError(f"mix {text[:60]!r}: give a share for each class once, such as rbc=0.9,wbc=0.1")
        mix[name] = number
    return mix


def open_data(
    data: Path,
    split: str | None,
    scale: float,
    *,
    classes: str = "auto",
    format: str = "auto",
    binary: bool = False,
    limit: int | None = None,
    cache_mb: float = 0.0,
) -> SmearFolder:
    """Open the smears a command names; remarks on them go to stderr."""
    if classes not in ("auto", "one", "annotated"):
        raise OptionError(f"classes {classes!r}: choose auto, one or annotated")
    smears = open_smears(
        data,
        format=format,
        split=split,
        scale=scale,
        classes=classes,  # type: ignore[arg-type]
        binary=binary,
        limit=limit,
        cache_mb=cache_mb,
    )
    for note in smears.notes:
        warnings.warn(note, stacklevel=2)  # some readers warn of the same at once; it is said but once
    return smears


def is_model(path: Path) -> bool:
    """Whether this is a model folder, or the name ``default`` where no folder is so called.

    By its weights: PyTorch, which takes seconds to import, is not needed to tell.
    """
    return (path / "weights.safetensors").is_file() or (str(path) == "default" and not path.exists())


def refuse_smears(output: Path) -> None:
    """Refuse a folder of smears as the place of a model or of results: it would be taken for one of these then."""
    if (output / IMAGE_FOLDER).is_dir():
        raise DataError("holds smears; name another folder to write to", output)


def named_split(
    smears: SmearFolder, split: str | None, limit: int | None, *, default: str
) -> tuple[SmearFolder, str | None]:
    """The smears of the split named, else of the `default` one where there is such; with its name."""
    split = split or (default if default in smears.splits else None)
    smears = smears.split(split) if split else smears
    return (smears[:limit] if limit else smears), split


def counted(smears: SmearFolder, tick: Callable[[int], object]) -> Iterator[Smear]:
    """The smears, one by one; `tick` is told how many are done."""
    for done, smear in enumerate(smears, 1):
        yield smear
        tick(done)


def check_all(smears: SmearFolder) -> None:
    """Read every smear; those that cannot be used are listed on stderr, and a `DataError` ends the command."""
    problems = smears.check()
    for problem in problems:
        say(err, problem)
    if problems:
        raise DataError(f"{len(problems)} of {len(smears)} smears cannot be used; see the lines above", smears.root)


def load_model(model: str, device: str = "cpu") -> Any:
    """Load a model by its folder or the name ``default``."""
    from smearsynth.synthesis.model.synthesizer import Synthesizer

    return Synthesizer.load(model, select_device(device))


def resolve_features(text: str | None) -> PerceptualFeatures | None:
    """The features of the segmentation model whose folder is named; None for features known by name."""
    from smearsynth.evaluation.realism.task_features import perceptual_features
    from smearsynth.synthesis.config import FeatureName

    known = get_args(FeatureName)
    if text is None or text in known:
        return None
    if not Path(text).is_dir():
        raise OptionError(f"features {text!r}: choose {', '.join(known)} or the folder of a segmentation model")
    return perceptual_features(load_segmentation(Path(text)))


def layout_of(name: str | None) -> LayoutName | None:
    """The layout of this name; None for the model's own choice."""
    if name is None:
        return None
    if name not in get_args(LayoutName):
        raise OptionError(f"layout {name!r}: choose {', '.join(get_args(LayoutName))}")
    return cast(LayoutName, name)


def named_smear(text: str, scale: float = 1.0) -> Smear:
    """The smear meant by FOLDER:NAME, or a photograph that is not annotated, at the scale of a model."""
    if Path(text).is_file():
        from smearsynth.annotation.threshold import photograph

        return photograph(read_rgb(Path(text)), Path(text).stem).resized(scale)
    folder, _, name = text.rpartition(":")
    if not folder:
        what = "is a folder" if Path(text).is_dir() else "does not exist"
        raise DataError(
            f"{what}; give --style-of the file of a photograph, or FOLDER:NAME, NAME the stem of an image in it",
            text,
        )
    smears = open_smears(Path(folder), scale=scale)
    if name not in smears.names:
        raise DataError(f"has no smear {name!r}; it has {', '.join(smears.names[:5])} ...", folder)
    return smears[smears.names.index(name)]
