"""Commands that generate synthetic smears."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from smearsynth.cli.options import (
    ExecutionOptions,
    Layout,
    Mix,
    Model,
    Number,
    Seed,
    Size,
    Split,
    StainChoice,
    parse_fractions,
    parse_mix,
    parse_size,
)
from smearsynth.cli.terminal import TerminalProgress, out, say
from smearsynth.formats import WRITE_FORMATS
from smearsynth.runs import Execution

if TYPE_CHECKING:  # PyTorch takes seconds to import
    from smearsynth.generation.options import StreamOptions


@dataclass(frozen=True)
class ContentOptions:
    """What the synthetic smears show."""

    panel: ClassVar[str] = "Content"

    size: Size = None
    layout: Layout = None
    density: Annotated[
        float, typer.Option(metavar="FACTOR", help="Factor on the number of cells; 1 as in the training smears.")
    ] = 1.0
    mix: Mix = None
    style: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Styles of cells and background: drawn together (joint), drawn independently as in the paper "
            "(independent), or the number of a style cluster.",
        ),
    ] = "joint"
    style_of: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH",
            help="Take the style from this photograph, or from an annotated smear given as FOLDER:NAME. "
            "Given twice: styles between the two.",
        ),
    ] = None
    stain: Annotated[
        StainChoice, typer.Option(help="Stain: that of the style, or changed at random for training data.")
    ] = "original"
    light: Annotated[
        StainChoice | None,
        typer.Option(
            help="Illumination: as in the training smears, or changed at random with haze, for training data. "
            "Default: as --stain."
        ),
    ] = None
    seed: Seed = 0

    def stream_options(self) -> StreamOptions:
        """Return the options of `SyntheticSmears`."""
        return {
            "size": parse_size(self.size),
            "layout": self.layout,
            "density": self.density,
            "mix": parse_mix(self.mix),
            "style": self.style,
            "style_of": self.style_of or (),
            "stain": self.stain,
            "light": self.light,
            "seed": self.seed,
        }


@dataclass(frozen=True)
class VerificationOptions:
    """Whether labels are compared with a segmentation of the image."""

    panel: ClassVar[str] = "Verification"

    verify: Annotated[
        Path | None,
        typer.Option(
            metavar="DATA",
            help="Regenerate images whose labels disagree with a segmenter trained on these real smears.",
        ),
    ] = None
    segmenter: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Segmentation model for --verify. Default: train one on DATA."),
    ] = None


def generate(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Output folder; the same command continues.")
    ],
    content: ContentOptions,
    verification: VerificationOptions,
    where: ExecutionOptions,
    model: Model = "default",
    n: Number = 10,
    format: Annotated[
        str, typer.Option(metavar="NAME", help=f"Annotation format: {', '.join(WRITE_FORMATS)}.")
    ] = "labels",
    split: Split = None,
    sheet: Annotated[bool, typer.Option(help="Also write contact-sheet.html.")] = True,
) -> int:
    """Generate annotated synthetic smears: images, instance labels and a recipe for each.

    The output folder receives images/, the annotation, manifest.jsonl and contact-sheet.html.
    """
    from smearsynth.generation.generate import generate as generate_smears

    with TerminalProgress() as progress:
        recipes = generate_smears(
            output,
            n,
            model=model,
            format=format,
            split=parse_fractions(split),
            verify=verification.verify,
            segmenter=verification.segmenter,
            sheet=sheet,
            execution=where.execution(progress),
            **content.stream_options(),
        )
    count = f"{len(recipes)} of {n}" if len(recipes) < n else str(n)
    say(out, f"{count} smears in {output}")
    return 0 if len(recipes) == n else 130


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Output folder.")] = Path("demo"),
    n: Number = 8,
    seed: Seed = 0,
) -> int:
    """Generate a few annotated smears with the shipped model, and a web page that shows them."""
    from smearsynth.generation.generate import generate as generate_smears
    from smearsynth.runs import configure_cpu

    configure_cpu()
    with TerminalProgress() as progress:
        recipes = generate_smears(output, n, execution=Execution(device="cpu", progress=progress), seed=seed)
    if len(recipes) < n:
        return 130
    say(out, f"{n} smears in {output}\nopen {(output / 'contact-sheet.html').resolve().as_uri()}")
    return 0
