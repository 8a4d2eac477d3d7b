"""Command on whole-slide images: cut microscope fields from a slide."""

from __future__ import annotations

from dataclasses import dataclass
from json import dumps
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from smearsynth.cli.options import AsJson, Seed, parse_size
from smearsynth.cli.terminal import TerminalProgress, out, say


@dataclass(frozen=True)
class FieldOptions:
    """Which fields are cut."""

    panel: ClassVar[str] = "Fields"

    um_per_px: Annotated[float, typer.Option(metavar="UM", help="Pixel size of the fields in µm.")]
    size: Annotated[str, typer.Option(metavar="WxH", help="Width and height of a field in px.")] = "1024x768"
    n: Annotated[int, typer.Option("-n", metavar="N", help="Number of fields.", min=1)] = 50
    seed: Seed = 0
    slide_um_per_px: Annotated[
        float | None,
        typer.Option(metavar="UM", help="Pixel size of the slide in µm. Default: read from the file."),
    ] = None
    min_tissue: Annotated[
        float,
        typer.Option(metavar="FRACTION", help="Skip fields with a smaller fraction of stained area.", min=0, max=1),
    ] = 0.05
    min_focus: Annotated[
        float,
        typer.Option(
            metavar="FRACTION",
            help="Skip fields with a smaller focus, as a fraction of that of the sharpest fields.",
            min=0,
            max=1,
        ),
    ] = 0.5


def cut_fields(
    slide: Annotated[
        Path,
        typer.Argument(
            metavar="SLIDE", help="Whole-slide image: SVS, NDPI, SCN or another TIFF.", show_default=False
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Output folder; the same command continues.")
    ],
    fields: FieldOptions,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count the fields on stained area and stop.")] = False,
    json: AsJson = False,
) -> int:
    """Cut microscope fields from a whole-slide image: with cells, in focus, and spread over the smear.

    The output folder receives images/ with one PNG file per field, fields.csv with the place and focus of each
    field, and the contact sheet fields.png.
    """
    from smearsynth.formats.slides.cut_fields import SHEET_FILE
    from smearsynth.formats.slides.cut_fields import cut_fields as cut

    with TerminalProgress(quiet=json) as progress:
        report = cut(
            slide,
            output,
            um_per_px=fields.um_per_px,
            size=parse_size(fields.size) or (0, 0),
            n=fields.n,
            seed=fields.seed,
            slide_um_per_px=fields.slide_um_per_px,
            min_tissue=fields.min_tissue,
            min_focus=fields.min_focus,
            dry_run=dry_run,
            progress=progress,
        )
    if json:
        print(dumps(report.as_dict(), indent=1))
    elif dry_run:
        say(out, f"slide: {report.width}×{report.height} px of {report.slide_um_per_px:g} µm")
        count = min(report.candidates, fields.n)
        say(out, f"{report.candidates:,} fields on stained area; up to {count} would be written")
    else:
        skipped = f"skipped {report.blank} without cells and {report.blurred} blurred"
        say(out, f"{len(report.fields)} of {fields.n} fields in {output}; {skipped}")
        if report.fields:
            say(out, f"check the fields: {(output / SHEET_FILE).resolve().as_uri()}")
    return 130 if report.interrupted else 0
