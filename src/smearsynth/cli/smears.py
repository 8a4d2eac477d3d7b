"""Commands on annotated smears without a synthesizer: their statistics, and synthetic label images."""

from __future__ import annotations

from dataclasses import dataclass
from json import dumps, loads
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer
from rich.table import Table

from smearsynth.cli.options import (
    AsJson,
    DataOptions,
    Layout,
    Mix,
    Model,
    Number,
    Seed,
    Size,
    counted,
    describe_reading,
    is_model,
    parse_mix,
    parse_size,
)
from smearsynth.cli.terminal import TerminalProgress, err, out, say
from smearsynth.errors import DataError, OptionError, error_location
from smearsynth.formats.listing import IMAGE_FOLDER

if TYPE_CHECKING:  # Numba takes a second to import
    from collections.abc import Iterator

    from smearsynth.annotation.relative_colours import Overlay
    from smearsynth.datasets import SmearFolder
    from smearsynth.layout.labels import LabelSource
    from smearsynth.report.overlay_sheet import OverlaySummary
    from smearsynth.smear import ImageArray


def stats(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA", help="Folder of annotated smears, a COCO file, or a model folder.", show_default=False
        ),
    ],
    reading: DataOptions,
    layout: Annotated[
        bool, typer.Option("--layout", help="Also fit the contact parameters of the layout (about 30 s).")
    ] = False,
    overlays: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", help="Also list burned-in scale bars, text and frames, and draw them in this PNG file."
        ),
    ] = None,
    json: AsJson = False,
) -> None:
    """Print statistics of annotated smears: counts, sizes, colours, density, touching cells, neighbours.

    They include the paper's Table 1. For a model folder, print the statistics of its training smears and the
    contact parameters of its layouts.
    """
    from smearsynth.layout.contact.fitting import fit_contact
    from smearsynth.layout.contact.summary import ContactSummary, merge_contact_summary
    from smearsynth.shapes import ShapeLibrary
    from smearsynth.statistics import measure

    contact, reading_report, overlay_rows = None, None, None
    if is_model(data):
        if reading != DataOptions() or overlays is not None:
            raise OptionError(f"{data} is a model folder; options for reading data do not apply to it")
        from smearsynth.synthesis.model.synthesizer import Synthesizer

        source = Synthesizer.load(str(data)).label_source
        statistics, contact = source.statistics, source.contact
    else:
        smears = reading.select(data)
        with TerminalProgress(quiet=json) as progress:
            statistics = measure(smears, counted(progress, "measuring", len(smears)))
            if layout:
                with error_location(data):
                    shapes = ShapeLibrary.from_smears(smears)
                    contact = fit_contact(
                        statistics,
                        shapes,
                        on_trial=lambda done, total: progress.advance("fitting the layout", done, total),
                    )
        reading_report = describe_reading(smears)
        if overlays is not None:
            overlay_rows = _draw_overlays(smears, overlays)
            reading_report["overlays"] = [row._asdict() for row in overlay_rows]
    summary = None if contact is None else ContactSummary.of(contact)
    if json:
        text = statistics.to_json() if summary is None else merge_contact_summary(statistics, summary)
        print(text if reading_report is None else dumps(loads(text) | reading_report, indent=1))
        return
    out.print(statistics.table())
    if summary is not None:
        out.print(summary.table())
    if overlay_rows is not None:
        _print_overlays(overlay_rows, len(smears))
        say(out, f"overlays: {overlays}")


def _draw_overlays(smears: SmearFolder, path: Path) -> list[OverlaySummary]:
    """Draw the sheet of overlays and return their summary."""
    from smearsynth.report.overlay_sheet import draw_overlay_sheet, summarise_overlays

    found: list[tuple[tuple[int, int], list[Overlay]]] = []

    def fields() -> Iterator[tuple[str, ImageArray, list[Overlay]]]:
        for name, image, overlays in smears.find_overlays():
            found.append(((image.shape[0], image.shape[1]), overlays))
            yield name, image, overlays

    draw_overlay_sheet(path, fields())
    return summarise_overlays(found)


def _print_overlays(rows: list[OverlaySummary], total: int) -> None:
    if not rows:
        say(out, f"no overlays in {total} smears")
        return
    table = Table(title="Overlays (ignored pixels, unless --keep-overlays)", box=None, pad_edge=False)
    for heading in ("kind", "smears", "pixels", "place"):
        table.add_column(heading)
    for row in rows:
        table.add_row(row.kind, f"{row.smears} of {total}", f"{row.pixel_fraction:.3%}", row.place)
    out.print(table)


@dataclass(frozen=True)
class LabelOptions:
    """What is drawn on the label images."""

    panel: ClassVar[str] = "Content"

    n: Number = 8
    size: Size = None
    layout: Layout = None
    mix: Mix = None
    seed: Seed = 0


def masks(
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="Output folder; existing label images there are overwritten. With --explain: the PNG file.",
        ),
    ],
    content: LabelOptions,
    reading: DataOptions,
    data: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Take shapes and statistics from these annotated smears."),
    ] = None,
    model: Model = "default",
    explain: Annotated[
        bool, typer.Option("--explain", help="Draw how the layout grows, like the paper's Figure 4, and stop.")
    ] = False,
) -> None:
    """Write synthetic instance masks: label images and the paper's colour palette, without images."""
    from smearsynth.generation.options import checked_size
    from smearsynth.layout.labels import LabelSource, write_labels
    from smearsynth.synthesis.model.synthesizer import Synthesizer

    size, mix = parse_size(content.size), parse_mix(content.mix)
    size = checked_size(size) if size else None
    if not explain and (output / IMAGE_FOLDER).exists():
        raise DataError("contains images; choose another folder, instance masks are written without images", output)
    if data:
        with error_location(data):
            source = LabelSource.from_smears(reading.select(data))
    else:
        source = Synthesizer.load(model).label_source
    size = size or source.statistics.field_size
    if explain:
        _draw_figure4(source, size, content.seed, output)
        return
    if content.layout == "contact" and source.contact is None:
        say(err, "fitting the layout, about 30 s")
    with TerminalProgress() as progress:
        layouts = write_labels(
            source,
            size,
            content.n,
            output,
            layout=content.layout,
            mix=mix,
            seed=content.seed,
            on_labels=counted(progress, "drawing masks", content.n),
        )
    missing = sum(labels.requested - labels.placed for labels in layouts)
    say(out, f"{content.n} masks in {output}" + (f"; {missing} cells could not be placed" if missing else ""))


def _draw_figure4(source: LabelSource, size: tuple[int, int], seed: int, path: Path) -> None:
    from smearsynth.layout.figure4 import write_figure4

    write_figure4(
        size,
        None,
        source.shapes,
        cell_size=source.statistics.cell_size,
        n_init=source.n_init(size),
        rng=seed,
        path=path,
    )
    say(out, f"figure: {path}")
