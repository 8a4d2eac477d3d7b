"""The command line: one command per stage; each parses, calls the public function of that stage, and prints."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer
from typer.exceptions import Abort, TyperException

from smearsynth.cli.benefit import benefit
from smearsynth.cli.evaluation import audit, realism, verifier
from smearsynth.cli.options import (
    AsJson,
    Binary,
    Classes,
    Data,
    Device,
    Layout,
    Limit,
    Mix,
    Model,
    Number,
    Reading,
    Scale,
    Seed,
    Size,
    Split,
    is_model,
    layout_of,
    load_model,
    named_smear,
    open_data,
    parse_mix,
    parse_size,
)
from smearsynth.cli.tasks import fit_task, predict, score
from smearsynth.cli.terminal import err, fail, out, plain_warnings, progress, say
from smearsynth.cli.training import train
from smearsynth.datasets import open_smears
from smearsynth.errors import DataError, OptionError, SmearsynthError, error_location
from smearsynth.files import atomic_write, read_text
from smearsynth.formats.listing import IMAGE_FOLDER

if TYPE_CHECKING:  # PyTorch takes seconds to import
    from smearsynth.generation.recipe import LightName
    from smearsynth.synthesis.acquisition.stain import StainName

app = typer.Typer(
    name="smearsynth",
    help="Annotated synthetic blood smears, learned from a few annotated real ones.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


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
        with plain_warnings():
            result = app(args=given, prog_name="smearsynth", standalone_mode=False, obj=command)
        return int(result or 0)
    except SmearsynthError as error:
        fail(str(error))
        return 2
    except TyperException as error:
        if message := error.format_message():  # empty when the help was printed, for want of a command
            fail(f"{message.rstrip('.')}; see --help")
        return 2
    except (KeyboardInterrupt, Abort):  # before the RuntimeError that Abort is
        say(err, "interrupted")
        return 130
    except (MemoryError, RuntimeError) as error:
        if not _is_memory(error):
            raise
        fail(f"not enough memory ({error}); ask for a smaller --size or --batch, or use --device cpu")
        return 2


@app.command()
def stats(
    data: Annotated[
        Path,
        typer.Argument(help="Folder of annotated smears (or a COCO file), or a model folder.", show_default=False),
    ],
    split: Split = None,
    scale: Scale = 1.0,
    classes: Classes = "auto",
    format: Reading = "auto",
    binary: Binary = False,
    limit: Limit = None,
    layout: Annotated[
        bool, typer.Option("--layout", help="Also fit the contact law of the layouts (about half a minute).")
    ] = False,
    json: AsJson = False,
) -> None:
    """Measure annotated smears: the paper's Table 1, density, touching, neighbours, pair correlation.

    Of a model folder, those of its training smears, with the contact law that its layouts follow.
    """
    from smearsynth.layout.contact.fitting import fit_contact
    from smearsynth.layout.contact.summary import ContactSummary, with_contact_summary
    from smearsynth.shapes import ShapeLibrary
    from smearsynth.statistics import measure

    law = None
    if is_model(data):
        if (split, scale, classes, format, binary, limit) != (None, 1.0, "auto", "auto", False, None):
            raise OptionError(f"{data} is a model, with its smears measured; of the options only --json is for it")
        source = load_model(str(data), "cpu").label_source
        statistics, law = source.statistics, source.contact
    else:
        smears = open_data(data, split, scale, classes=classes, format=format, binary=binary, limit=limit)
        with progress("measuring", len(smears), quiet=json) as tick:
            statistics = measure(smears, tick)
        if layout:
            with progress("fitting the layout", quiet=json) as tick, error_location(data):
                law = fit_contact(statistics, ShapeLibrary.from_smears(smears), on_trial=tick)
    summary = None if law is None else ContactSummary.of(law)
    if json:
        print(statistics.to_json() if summary is None else with_contact_summary(statistics, summary))
        return
    out.print(statistics.table())
    if summary is not None:
        out.print(summary.table())


@app.command()
def masks(
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="Folder; masks of an earlier call in it go away. With --explain: the PNG."
        ),
    ],
    data: Annotated[
        Path | None, typer.Option(help="Take shapes and statistics of these smears, not a model's.")
    ] = None,
    model: Model = "default",
    n: Number = 8,
    size: Size = None,
    layout: Layout = None,
    mix: Mix = None,
    seed: Seed = 0,
    split: Split = None,
    scale: Scale = 1.0,
    classes: Classes = "auto",
    format: Reading = "auto",
    binary: Binary = False,
    explain: Annotated[bool, typer.Option("--explain", help="Draw a figure like the paper's Figure 4.")] = False,
) -> None:
    """Draw synthetic instance masks: label images and the paper's colour palette."""
    from smearsynth.generation.stream import checked_size
    from smearsynth.layout.figure4 import explain_figure
    from smearsynth.layout.labels import LabelSource, write_labels

    laid_out, canvas, shares = layout_of(layout), parse_size(size), parse_mix(mix)
    canvas = checked_size(canvas) if canvas else None
    if not explain and (output / IMAGE_FOLDER).exists():
        raise DataError("holds images; choose another folder for masks, which have none", output)
    if data:
        with error_location(data):
            source = LabelSource.from_smears(
                open_data(data, split, scale, classes=classes, format=format, binary=binary)
            )
    else:
        source = load_model(model).label_source
    canvas = canvas or source.statistics.field_size
    if explain:
        with atomic_write(output) as figure:
            explain_figure(
                canvas,
                None,
                source.shapes,
                cell_size=source.statistics.cell_size,
                n_init=source.n_init(canvas),
                rng=seed,
                path=figure,
            )
        say(out, f"figure: {output}")
        return
    if laid_out == "contact" and source.contact is None:
        say(err, "fitting the layout, about half a minute")
    with progress("drawing masks", n) as tick:
        layouts = write_labels(source, canvas, n, output, layout=laid_out, mix=shares, seed=seed, on_mask=tick)
    short = sum(drawn.requested - drawn.placed for drawn in layouts)
    say(out, f"{n} masks in {output}" + (f"; {short} cells found no room" if short else ""))


app.command()(train)


@app.command()
def generate(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder; run again to continue.")],
    model: Model = "default",
    n: Number = 10,
    size: Size = None,
    layout: Layout = None,
    style: Annotated[
        str, typer.Option(help="joint, independent (as in the paper), or the number of a style cluster.")
    ] = "joint",
    style_of: Annotated[
        list[str] | None,
        typer.Option(
            help="FOLDER:NAME or a photograph: take its style, class by class where the names of classes agree; "
            "given twice, styles between the two."
        ),
    ] = None,
    stain: Annotated[
        str, typer.Option(help="own (that of the style) or varied (one that none of the model's smears has).")
    ] = "original",
    light: Annotated[
        str | None,
        typer.Option(help="own (as in the model's smears) or varied (unseen light, haze); default: as the stain."),
    ] = None,
    density: Annotated[float, typer.Option(help="Factor on the number of cells.")] = 1.0,
    mix: Mix = None,
    seed: Seed = 0,
    format: Annotated[str, typer.Option(help="labels, palette or coco.")] = "labels",
    device: Device = "auto",
    sheet: Annotated[bool, typer.Option(help="Also write contact-sheet.html.")] = True,
    verify: Annotated[
        Path | None, typer.Option(help="Real smears: draw anew what a segmenter of these finds wrong labels in.")
    ] = None,
    segmenter: Annotated[
        Path | None, typer.Option(help="With --verify: the segmentation model; one is trained without it.")
    ] = None,
) -> int:
    """Generate annotated smears: images, labels, and a manifest with the recipe of each."""
    from smearsynth.generation.stream import SyntheticSmears

    if segmenter is not None and verify is None:
        raise OptionError("--segmenter judges the labels for --verify; name real smears with --verify too")
    loaded = load_model(model, device)
    scale = loaded.config.data.scale
    stream = SyntheticSmears(
        loaded,
        size=parse_size(size),
        layout=layout_of(layout),
        style=style,
        style_of=[named_smear(text, scale) for text in style_of or ()],
        stain=cast("StainName", stain),  # which the stream checks, and the light
        light=cast("LightName | None", light),
        density=density,
        mix=parse_mix(mix),
        seed=seed,
    )
    for name, unknown in stream.styles.passed_over.items():
        say(err, f"{name}: no style is taken of its {', '.join(unknown)}; the model has no such class")
    if verify is not None:  # after all that can be refused at once: a segmenter is minutes of training
        stream.accept = verifier(verify, segmenter, scale=scale, seed=seed, device=device)
    with progress("generating", n) as tick:
        recipes = stream.write(output, n, format=format, on_smear=tick)
    if verify is not None:
        say(err, f"{sum(recipe.attempt for recipe in recipes)} drawings refused and drawn anew")
    short = sum(recipe.requested - recipe.placed for recipe in recipes)
    if short:
        asked = sum(recipe.requested for recipe in recipes)
        say(err, f"{short} of {asked} cells found no room; the manifest says where")
    if sheet and recipes:
        from smearsynth.report import write_contact_sheet

        shown = open_smears(output, format=format)[: min(8, len(recipes))]
        facts = {"model": f"{model} ({stream.model.hash[:12]})", "seed": str(seed), "layout": stream.layout}
        facts |= {"style": recipes[0].style, "stain": stream.stain, "light": stream.light}
        facts["licence of the training data"] = stream.model.config.licence
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
    say(out, done)
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
        say(out, f"open {(output / 'contact-sheet.html').resolve().as_uri()}")
    return code


@app.command()
def check_layout(
    data: Data,
    model: Model = "default",
    split: Split = None,
    scale: Scale = 1.0,
    format: Reading = "auto",
    binary: Binary = False,
    limit: Limit = None,
    draws: Annotated[int | None, typer.Option(help="Synthetic fields of each layout.", min=4)] = None,
    figure: Annotated[Path | None, typer.Option(help="Also draw the statistics into this PNG.")] = None,
    seed: Seed = 0,
    json: AsJson = False,
) -> None:
    """Test whether the layouts of a model can be told from those of real smears."""
    from smearsynth.evaluation.layout_check import LAYOUTS, MIN_DRAWS, check_layout

    smears = open_data(data, split, scale, classes="one", format=format, binary=binary, limit=limit)
    source = load_model(model, "cpu").label_source
    total = len(smears) + len(LAYOUTS) * (draws or max(len(smears), MIN_DRAWS))
    with progress("measuring", total, quiet=json) as tick, error_location(data):
        found = check_layout(smears, source, draws=draws, rng=seed, on_field=tick)
    if figure is not None:
        found.figure(figure)
    if json:
        print(found.to_json())
        return
    out.print(found.table())
    for layout in LAYOUTS:
        where = found.outside(layout)
        verdict = f"can be told from the real smears by {', '.join(where)}" if where else "cannot be told apart"
        say(out, f"{layout}: {verdict}")


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="Model folder, or 'default'.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The ONNX file.")],
) -> None:
    """Write the sampler of a model as ONNX, to paint without PyTorch."""
    from smearsynth.synthesis.model.export import export_sampler, side_rule

    loaded = load_model(model, "cpu")
    export_sampler(loaded, output)
    say(out, f"sampler: {output}\n{side_rule(loaded)}")


@app.command()
def info(model: Annotated[str, typer.Argument(help="Model folder, or 'default'.")] = "default") -> None:
    """Show the card of a model and check that its files are whole."""
    from rich.markdown import Markdown

    from smearsynth.layout.contact.summary import ContactSummary
    from smearsynth.synthesis.model.folder import DEFAULT, default_folder

    loaded = load_model(model, "cpu")
    folder = default_folder() if model == DEFAULT else Path(model)
    card = folder / "model-card.md"
    if card.exists():
        out.print(Markdown(read_text(card)))
    if loaded.contact is not None:
        out.print(ContactSummary.of(loaded.contact).table())
    say(out, f"whole; hash {loaded.hash}")


app.command()(benefit)
app.command("fit-task")(fit_task)
app.command()(predict)
app.command()(score)
app.command()(realism)
app.command()(audit)


def _is_memory(error: Exception) -> bool:
    # torch raises RuntimeError for the CPU and OutOfMemoryError, which is one, for a GPU
    said = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in said or "can't allocate memory" in said
