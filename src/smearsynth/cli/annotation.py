"""Commands that make and convert annotations: labels for photographs, and other formats."""

from __future__ import annotations

from dataclasses import dataclass
from json import dumps
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from smearsynth.cli.options import AsJson, Split, parse_fractions
from smearsynth.cli.terminal import TerminalProgress, err, out, say
from smearsynth.formats import WRITE_FORMATS
from smearsynth.runs import Execution


@dataclass(frozen=True)
class MarkOptions:
    """What the labels are made from."""

    panel: ClassVar[str] = "What the labels are made from"

    boxes: Annotated[
        Path | None, typer.Option(metavar="PATH", help="File or folder with a box per cell, in any format.")
    ] = None
    points: Annotated[
        Path | None, typer.Option(metavar="PATH", help="File or folder with a point per cell, in any format.")
    ] = None
    from_image: Annotated[
        bool, typer.Option("--from-image", help="Use the images alone, even if the folder has boxes or points.")
    ] = False
    complete: Annotated[
        bool | None,
        typer.Option(
            "--complete/--no-complete",
            help="Label visible cells without a mark, or ignore their pixels. Default: label them if marks are in "
            "25 to 85 % of the visible cells.",
        ),
    ] = None
    corrections: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Outlines that were corrected in QuPath, LabelMe, CVAT, napari or ImageJ; only the changed cells "
            "of an earlier output are replaced.",
        ),
    ] = None
    format: Annotated[
        str, typer.Option(metavar="NAME", help="Format of boxes, points or corrections; auto detects it.")
    ] = "auto"
    diameter: Annotated[
        float | None,
        typer.Option(
            metavar="PX", help="Mean diameter of the red cells in px. Default: estimated per image.", min=4
        ),
    ] = None
    segmenter: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Task model (segmentation or contours) as a second opinion."),
    ] = None


def annotate(
    images: Annotated[
        Path,
        typer.Argument(
            metavar="IMAGES", help="Image, folder of images, or data set with boxes or points.", show_default=False
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Output folder; the same command continues.")
    ],
    marks: MarkOptions,
    score: Annotated[
        Path | None,
        typer.Option(metavar="DATA", help="Compare the labels with this true annotation of the same images."),
    ] = None,
    page: Annotated[bool, typer.Option(help="Also write cells-by-doubt.html.")] = True,
    json: AsJson = False,
) -> int:
    """Make instance labels of photographs from boxes, from points, or from the images alone.

    The output folder receives images/, labels/, cells.csv with the confidence of each cell, and a page that shows
    the cells sorted by doubt. It can be used for training as it is.
    """
    from smearsynth.labelling.annotate import PAGE_FILE
    from smearsynth.labelling.annotate import annotate as label_images
    from smearsynth.labelling.opinion import load_second_opinion

    opinion = None if marks.segmenter is None else load_second_opinion(marks.segmenter)
    with TerminalProgress(quiet=json) as progress:
        report = label_images(
            images,
            output,
            boxes=marks.boxes,
            points=marks.points,
            corrections=marks.corrections,
            format=marks.format,
            from_image=marks.from_image,
            complete=marks.complete,
            diameter=marks.diameter,
            second_opinion=opinion,
            score=score,
            page=page,
            execution=Execution(progress=progress),
        )
    for line in (*report.notes, *report.problems):
        say(err, line)
    if json:
        print(dumps(report.as_dict(), indent=1))
    else:
        count = f"{report.images} of {report.total}" if report.images < report.total else str(report.total)
        corrected = f", {report.changed} changed" if marks.corrections is not None else ""
        say(out, f"{report.cells:,} cells in {count} images{corrected}; labels in {output}")
        if report.score is not None:
            result = report.score
            say(out, f"F1 at IoU 0.5: {result.f1_50:.3f}, mean IoU of matched cells {result.matched_iou:.3f}")
            say(out, f"true positives {result.tp}, false positives {result.fp}, false negatives {result.fn}")
        if page:
            say(out, f"check the least certain cells: {(output / PAGE_FILE).resolve().as_uri()}")
    if report.problems:
        return 2
    return 0 if report.images == report.total else 130


def convert(
    data: Annotated[Path, typer.Argument(metavar="IN", help="Annotated smears in any format.", show_default=False)],
    output: Annotated[
        Path,
        typer.Argument(metavar="OUT", help="Output folder.", show_default=False),
    ],
    to: Annotated[str, typer.Option(metavar="FORMAT", help=f"Format to write: {', '.join(WRITE_FORMATS)}.")],
    format: Annotated[str, typer.Option(metavar="NAME", help="Format of the input; auto detects it.")] = "auto",
    images: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Images of an annotation file. Default: beside the file.")
    ] = None,
    binary: Annotated[
        bool, typer.Option("--binary", help="Read binary masks; their connected components become the cells.")
    ] = False,
    split: Split = None,
    licence: Annotated[str, typer.Option(metavar="NAME", help="Licence of the images, such as MIT.")] = "",
    json: AsJson = False,
) -> int:
    """Write annotated smears in the format of another program.

    What the format cannot hold is counted and reported.
    """
    from smearsynth.conversion import convert as convert_smears

    with TerminalProgress(quiet=json) as progress:
        report = convert_smears(
            data,
            output,
            to=to,
            format=format,
            images=images,
            binary=binary,
            split=parse_fractions(split),
            licence=licence,
            execution=Execution(progress=progress),
        )
    for line in report.notes:
        say(err, line)
    if json:
        print(dumps(report.as_dict(), indent=1))
    else:
        say(out, f"found: {report.read_from}")
        for reason, count in report.left_out.items():
            say(out, f"left out: {count:,} {reason}")
        for what, count in report.lost.items():
            say(out, f"lost in {report.format}: {what} ({count:,})")
        splits = "".join(f", {count} {name}" for name, count in report.splits.items())
        say(out, f"{report.cells:,} cells in {report.smears} smears{splits} in {output}")
    return 0 if report.smears == report.total else 130
