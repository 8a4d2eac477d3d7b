"""The command line: one command per stage; each parses, calls the public function of that stage, and prints."""

from __future__ import annotations

import math
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, cast, get_args

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text
from typer.exceptions import Abort, TyperException

from smearsynth.datasets import SmearFolder, open_smears
from smearsynth.errors import DataError, OptionError, SmearsynthError
from smearsynth.formats.files import read_text, replacing
from smearsynth.formats.pairs import IMAGE_FOLDER
from smearsynth.masks import LayoutName

app = typer.Typer(
    name="smearsynth",
    help="Annotated synthetic blood smears, learned from a few annotated real ones.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
out = Console()
err = Console(stderr=True)

Data = Annotated[Path, typer.Argument(help="Folder of annotated smears (or a COCO file).", show_default=False)]
Split = Annotated[str | None, typer.Option(help="Only this split of the folder's split.csv.")]
Scale = Annotated[float, typer.Option(help="Resize smears on reading; 0.5 halves each side.")]
Classes = Annotated[str, typer.Option(help="auto, one (all are cells), or annotated (as the folder says).")]
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns
    -------
    int
        0 when all went well, 2 for what the user can mend (one line on stderr), 130 after Ctrl-C.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    command = shlex.join(["smearsynth", *given])
    try:
        result = app(args=given, prog_name="smearsynth", standalone_mode=False, obj=command)
        return int(result or 0)
    except SmearsynthError as error:
        _fail(str(error))
        return 2
    except TyperException as error:
        if message := error.format_message():  # empty when the help was printed, for want of a command
            _fail(f"{message.rstrip('.')}; see --help")
        return 2
    except (MemoryError, RuntimeError) as error:
        if not _is_memory(error):
            raise
        _fail(f"not enough memory ({error}); ask for a smaller --size or --batch, or use --device cpu")
        return 2
    except (KeyboardInterrupt, Abort):
        _say(err, "interrupted")
        return 130


@app.command()
def stats(
    data: Data,
    split: Split = None,
    scale: Scale = 1.0,
    classes: Classes = "auto",
    binary: Binary = False,
    limit: Limit = None,
    json: AsJson = False,
) -> None:
    """Measure annotated smears: the paper's Table 1, density, touching, neighbours, pair correlation."""
    from smearsynth.statistics import measure

    smears = _open(data, split, scale, classes, binary, limit)
    with progress("measuring", len(smears), quiet=json) as tick:
        statistics = measure(smears, lambda done: tick(done))
    if json:
        print(statistics.to_json())
    else:
        out.print(statistics.table())


@app.command()
def masks(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the masks (with --explain: the PNG).")],
    data: Annotated[
        Path | None, typer.Option(help="Take shapes and statistics of these smears, not a model's.")
    ] = None,
    model: Model = "default",
    n: Number = 8,
    size: Size = None,
    layout: Layout = None,
    seed: Seed = 0,
    split: Split = None,
    scale: Scale = 1.0,
    binary: Binary = False,
    explain: Annotated[bool, typer.Option("--explain", help="Draw a figure like the paper's Figure 4.")] = False,
) -> None:
    """Draw synthetic instance masks: label images and the paper's colour palette."""
    from smearsynth.layout.explain import explain_figure
    from smearsynth.masks import MaskSource, write_masks
    from smearsynth.stream import checked_size

    laid_out, canvas = _layout(layout), parse_size(size)
    canvas = checked_size(canvas) if canvas else None
    if not explain and (output / IMAGE_FOLDER).exists():
        raise DataError("holds images; choose another folder for masks, which have none", output)
    if data:
        with _naming(data):
            source = MaskSource.from_smears(_open(data, split, scale, binary=binary))
    else:
        source = _load(model).masks
    canvas = canvas or source.statistics.field_size
    if explain:
        with replacing(output) as figure:
            explain_figure(
                canvas,
                None,
                source.shapes,
                cell_size=source.statistics.cell_size,
                n_init=source.n_init(canvas),
                rng=seed,
                path=figure,
            )
        _say(out, f"figure: {output}")
        return
    with progress("drawing masks", n) as tick:
        layouts = write_masks(source, canvas, n, output, layout=laid_out, seed=seed, on_mask=tick)
    short = sum(drawn.requested - drawn.placed for drawn in layouts)
    _say(out, f"{n} masks in {output}" + (f"; {short} cells found no room" if short else ""))


@app.command()
def train(
    context: typer.Context,
    data: Data,
    output: Annotated[Path, typer.Option("--output", "-o", help="Model folder; run again to continue.")],
    preset: Annotated[str, typer.Option(help="cpu, gpu, paper or tiny.")] = "cpu",
    steps: Annotated[int | None, typer.Option(help="Training steps.", min=1)] = None,
    batch: Annotated[int | None, typer.Option(help="Crops a step.", min=1)] = None,
    split: Annotated[str | None, typer.Option(help="Default: train, where the folder has it.")] = None,
    scale: Scale = 1.0,
    classes: Classes = "auto",
    binary: Binary = False,
    limit: Limit = None,
    device: Device = "auto",
    precision: Annotated[str | None, typer.Option(help="fp32 or bf16.")] = None,
    features: Annotated[str | None, typer.Option(help="Perceptual: efficientnet_lite0, vgg19 or none.")] = None,
    vgg: Annotated[Path | None, typer.Option(help="Local weight file of torchvision's vgg19.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop after so long; run again to continue.", min=0)] = None,
    parametric: Annotated[bool, typer.Option("--parametric", help="Keep no real contour in the model.")] = False,
    name: Annotated[str | None, typer.Option(help="Name of the data, for the model card.")] = None,
    licence: Annotated[str, typer.Option(help="Licence of the data, for the model card.")] = "not stated",
    citation: Annotated[str, typer.Option(help="Citation of the data, for the model card.")] = "not stated",
    seed: Annotated[
        int | None, typer.Option(help="Same seed, same model (on the CPU, bit for bit).", min=0)
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check all data, say how long it takes, stop.")
    ] = False,
) -> int:
    """Learn a synthesizer from annotated smears."""
    from smearsynth.synthesis.config import preset as choose
    from smearsynth.synthesis.features import load_features
    from smearsynth.synthesis.learning import learn
    from smearsynth.synthesis.model import DataSource
    from smearsynth.synthesis.training import TrainingRun

    smears = _open(data, None, scale, classes, binary, None, cache_mb=1000)
    split = split or ("train" if "train" in smears.splits else None)
    smears = smears.split(split) if split else smears
    smears = smears[:limit] if limit else smears
    chosen = choose(
        preset,
        class_names=smears.class_names,
        steps=steps,
        batch=batch,
        precision=precision,
        perceptual_features=features,
        seed=seed,
    )
    net = load_features(chosen.training.perceptual_features, vgg)
    fabric = _fabric(device, chosen.training.precision)
    workers = 4 if fabric.device.type == "cuda" else 0
    if minutes is not None and math.isnan(minutes):
        raise OptionError("minutes must be a number")
    if dry_run:
        return _rehearse(smears, chosen, fabric, net)
    source = DataSource(
        name=name or data.resolve().name,
        smears=len(smears),
        split=split,
        scale=scale,
        licence=licence,
        citation=citation,
    )
    with training_progress(chosen.training.steps) as on_step, _naming(data):
        run = TrainingRun(output, fabric, workers=workers, minutes=minutes, on_step=on_step)
        made = learn(
            smears,
            chosen,
            run,
            source=source,
            features=net,
            parametric=parametric,
            command=context.obj or "",
            say=lambda line: _say(err, line),
        )
    if made is None:
        _say(out, f"stopped; run the same command again to continue ({output})")
        return 0 if minutes is not None else 130
    _say(out, f"model: {output}\ncard: {output / 'model-card.md'}")
    return 0


@app.command()
def generate(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder; run again to continue.")],
    model: Model = "default",
    n: Number = 10,
    size: Size = None,
    layout: Layout = None,
    style: Annotated[str, typer.Option(help="joint, independent, or the number of a style cluster.")] = "joint",
    style_of: Annotated[
        str | None, typer.Option(help="FOLDER:NAME, take the style of this annotated smear.")
    ] = None,
    density: Annotated[float, typer.Option(help="Factor on the number of cells.")] = 1.0,
    mix: Mix = None,
    seed: Seed = 0,
    format: Annotated[str, typer.Option(help="labels, palette or coco.")] = "labels",
    device: Device = "auto",
    sheet: Annotated[bool, typer.Option(help="Also write contact-sheet.html.")] = True,
) -> int:
    """Generate annotated smears: images, labels, and a manifest with the recipe of each."""
    from smearsynth.stream import SyntheticSmears

    stream = SyntheticSmears(
        _load(model, device),
        size=parse_size(size),
        layout=_layout(layout),
        style=style,
        style_of=_named_smear(style_of) if style_of else None,
        density=density,
        mix=parse_mix(mix),
        seed=seed,
    )
    with progress("generating", n) as tick:
        recipes = stream.write(output, n, format=format, on_smear=tick)
    short = sum(recipe.requested - recipe.placed for recipe in recipes)
    if short:
        asked = sum(recipe.requested for recipe in recipes)
        _say(err, f"{short} of {asked} cells found no room; the manifest says where")
    if sheet and recipes:
        from smearsynth.report import write_contact_sheet

        shown = open_smears(output, format=format)[: min(8, len(recipes))]
        facts = {"model": f"{model} ({stream.model.hash[:12]})", "seed": str(seed), "layout": stream.layout}
        facts |= {"style": recipes[0].style, "licence of the training data": stream.model.config.data.licence}
        title = f"{len(recipes)} synthetic smears"
        write_contact_sheet(
            output / "contact-sheet.html",
            list(shown),
            real=stream.model.statistics,
            title=title,
            facts=facts,
            recipes=[recipe.model_dump() for recipe in recipes[: len(shown)]],
        )
    done = f"{len(recipes)} of {n} smears in {output}" if len(recipes) < n else f"{n} smears in {output}"
    _say(out, done)
    return 0 if len(recipes) == n else 130


@app.command()
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the smears and the sheet.")] = Path(
        "demo"
    ),
    n: Number = 8,
    seed: Seed = 0,
) -> int:
    """Generate a few annotated smears with the shipped model and lay them out as a web page."""
    code = generate(output, n=n, seed=seed, device="cpu")
    if code == 0:
        _say(out, f"open {(output / 'contact-sheet.html').resolve().as_uri()}")
    return code


@app.command()
def certify(
    data: Data,
    model: Model = "default",
    split: Split = None,
    scale: Scale = 1.0,
    binary: Binary = False,
    limit: Limit = None,
    draws: Annotated[int | None, typer.Option(help="Synthetic fields of each layout.", min=4)] = None,
    figure: Annotated[Path | None, typer.Option(help="Also draw the statistics into this PNG.")] = None,
    seed: Seed = 0,
    json: AsJson = False,
) -> None:
    """Test whether the layouts of a model can be told from those of real smears."""
    from smearsynth.evaluation.certificate import LAYOUTS, certify

    smears = _open(data, split, scale, "one", binary, limit)
    source = _load(model, "cpu").masks
    total = len(smears) + len(LAYOUTS) * (draws or max(len(smears), 60))
    with progress("measuring", total, quiet=json) as tick, _naming(data):
        found = certify(smears, source, draws=draws, rng=seed, on_field=tick)
    if figure is not None:
        found.figure(figure)
    if json:
        print(found.to_json())
        return
    out.print(found.table())
    for layout in LAYOUTS:
        where = found.outside(layout)
        verdict = f"can be told from the real smears by {', '.join(where)}" if where else "cannot be told apart"
        _say(out, f"{layout}: {verdict}")


@app.command()
def info(model: Annotated[str, typer.Argument(help="Model folder, or 'default'.")] = "default") -> None:
    """Show the card of a model and check that its files are whole."""
    from rich.markdown import Markdown

    from smearsynth.synthesis.model import DEFAULT, default_folder

    loaded = _load(model, "cpu")
    folder = default_folder() if model == DEFAULT else Path(model)
    card = folder / "model-card.md"
    if card.exists():
        out.print(Markdown(read_text(card)))
    _say(out, f"whole; hash {loaded.hash}")


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
    mix = {}
    for part in text.split(","):
        name, equals, share = part.rpartition("=")
        try:
            mix[name.strip()] = float(share)
        except ValueError:
            equals = ""
        if not equals:
            raise OptionError(f"mix {text[:60]!r}: give a share for each class, such as rbc=0.9,wbc=0.1")
    return mix


@contextmanager
def progress(label: str, total: int, *, quiet: bool = False) -> Iterator[Callable[[int], object]]:
    """A bar on a terminal's stderr with speed and time left; gives the function to call with the number done."""
    with Progress(*_bar_columns(), console=err, disable=quiet or not err.is_terminal) as bar:
        task = bar.add_task(label, total=total)
        yield lambda done: bar.update(task, completed=done)


@contextmanager
def training_progress(steps: int) -> Iterator[Callable[[int, dict[str, float] | None], None]]:
    """As `progress`, with seconds a step and the losses; on a pipe, a line now and then."""
    started: list[tuple[float, int]] = []
    losses_column = TextColumn("[dim]{task.fields[losses]}")
    with Progress(*_bar_columns(), losses_column, console=err, disable=not err.is_terminal) as bar:
        task = bar.add_task("training", total=steps, losses="")

        def on_step(step: int, losses: dict[str, float] | None) -> None:
            now = time.monotonic()
            started.append((now, step)) if not started else None
            bar.update(task, completed=step)
            if losses:
                pace = (now - started[0][0]) / max(step - started[0][1], 1)
                shown = " ".join(f"{name} {value:.2f}" for name, value in losses.items())
                bar.update(task, losses=f"{pace:.2f} s/step  {shown}")
                if not err.is_terminal and step % 500 == 0:
                    left = pace * (steps - step) / 60
                    _say(err, f"step {step}/{steps} {pace:.3f} s/step, {left:.0f} min left, {shown}")

        yield on_step


def _bar_columns() -> list[Any]:
    return [
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    ]


def _open(
    data: Path,
    split: str | None,
    scale: float,
    classes: str = "auto",
    binary: bool = False,
    limit: int | None = None,
    cache_mb: float = 0.0,
) -> SmearFolder:
    if classes not in ("auto", "one", "annotated"):
        raise OptionError(f"classes {classes!r}: choose auto, one or annotated")
    smears = open_smears(
        data,
        split=split,
        scale=scale,
        classes=classes,  # type: ignore[arg-type]
        binary=binary,
        limit=limit,
        cache_mb=cache_mb,
    )
    for note in smears.notes:
        _say(err, note)
    return smears


def _load(model: str, device: str = "cpu") -> Any:
    from smearsynth.synthesis.model import Synthesizer

    return Synthesizer.load(model, _device(device))


def _device(name: str) -> str:
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name not in ("cpu", "cuda"):
        raise OptionError(f"device {name!r}: choose auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise OptionError("no CUDA device here; use --device cpu")
    return name


def _fabric(device: str, precision: str) -> Any:
    from lightning_fabric import Fabric

    mixed = "bf16-mixed" if precision == "bf16" else "32-true"
    return Fabric(accelerator=_device(device), devices=1, precision=mixed)  # type: ignore[arg-type]


def _layout(name: str | None) -> LayoutName | None:
    if name is None:
        return None
    if name not in get_args(LayoutName):
        raise OptionError(f"layout {name!r}: choose {' or '.join(get_args(LayoutName))}")
    return cast(LayoutName, name)


def _named_smear(text: str) -> Any:
    folder, _, name = text.rpartition(":")
    if not folder:
        raise OptionError(f"--style-of {text!r}: give FOLDER:NAME, NAME the stem of an image in it")
    smears = open_smears(Path(folder))
    if name not in smears.names:
        raise DataError(f"has no smear {name!r}; it has {', '.join(smears.names[:5])} ...", folder)
    return smears[smears.names.index(name)]


def _rehearse(smears: SmearFolder, chosen: Any, fabric: Any, net: Any) -> int:
    """Read all data and time a few steps."""
    from smearsynth.synthesis.learning import examine
    from smearsynth.synthesis.training import TrainingRun
    from smearsynth.synthesis.training import train as run_training

    problems = smears.check()
    for problem in problems:
        _say(err, problem)
    if problems:
        raise DataError(f"{len(problems)} of {len(smears)} smears cannot be used; see the lines above", smears.root)
    with _naming(smears.root):
        examine(smears, chosen)
    trial = chosen.model_copy(update={"training": chosen.training.model_copy(update={"steps": 6})})
    marks: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        run = TrainingRun(Path(folder), fabric, on_step=lambda step, losses: marks.append(time.monotonic()))
        run_training(smears, trial, run, net)
    pace = (marks[4] - marks[0]) / 4
    hours = pace * chosen.training.steps / 3600
    _say(
        out,
        f"{len(smears)} smears, all readable; classes {', '.join(smears.class_names)}\n"
        f"{chosen.training.steps} steps at {pace:.2f} s: about {hours:.1f} h on {fabric.device}",
    )
    return 0


@contextmanager
def _naming(data: Path) -> Iterator[None]:
    """Put the folder of smears before a message that names none, because it is about all of them."""
    try:
        yield
    except DataError as error:
        if error.path is not None:
            raise
        raise DataError(str(error), data) from error


def _say(console: Console, text: str) -> None:
    """Print as it stands: nothing wrapped, no bracket in a path taken for markup."""
    console.print(Text(text), soft_wrap=True)


def _fail(problem: str) -> None:
    """One line on stderr."""
    err.print(Text.assemble(("error:", "red"), " ", " ".join(problem.split())), soft_wrap=True)


def _is_memory(error: Exception) -> bool:
    # torch raises RuntimeError for the CPU and OutOfMemoryError, which is one, for a GPU
    said = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in said or "can't allocate memory" in said
