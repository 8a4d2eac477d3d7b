"""Commands on the folder of a synthesizer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from smearsynth.cli.terminal import out, say
from smearsynth.files import read_text

ModelArgument = Annotated[
    str, typer.Argument(metavar="MODEL", help="Model folder, or 'default' for the shipped model.")
]


def info(model: ModelArgument = "default") -> None:
    """Print the card of a model and verify the checksums of its files."""
    from rich.markdown import Markdown

    from smearsynth.layout.contact.summary import ContactSummary
    from smearsynth.synthesis.model.folder import DEFAULT, default_folder
    from smearsynth.synthesis.model.synthesizer import Synthesizer

    synthesizer = Synthesizer.load(model)
    folder = default_folder() if model == DEFAULT else Path(model)
    card = folder / "model-card.md"
    if card.exists():
        out.print(Markdown(read_text(card)))
    if synthesizer.contact is not None:
        out.print(ContactSummary.of(synthesizer.contact).table())
    say(out, f"all files are complete and unchanged; model hash {synthesizer.hash}")


def export(
    model: ModelArgument,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="PATH", help="ONNX file to write.")],
) -> None:
    """Export the generator of a model to ONNX, for use without PyTorch."""
    from smearsynth.synthesis.model.export import export_sampler, side_rule
    from smearsynth.synthesis.model.synthesizer import Synthesizer

    synthesizer = Synthesizer.load(model)
    export_sampler(synthesizer, output)
    say(out, f"sampler: {output}\n{side_rule(synthesizer)}")
