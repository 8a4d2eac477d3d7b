"""Commands that compare synthetic smears with real ones: realism, memorisation and layouts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from smearsynth.cli.options import (
    AllowLeak,
    AsJson,
    Data,
    DataOptions,
    ExecutionOptions,
    FigureFile,
    Limit,
    Model,
    ReadingOptions,
    Seed,
    Vgg,
    perceptual_features,
)
from smearsynth.cli.terminal import TerminalProgress, err, out, say
from smearsynth.datasets import SmearFolder, open_smears
from smearsynth.errors import OptionError
from smearsynth.runs import Execution

if TYPE_CHECKING:  # PyTorch takes seconds to import
    from smearsynth.evaluation.audit.record import Audit
    from smearsynth.evaluation.realism.record import Realism

Real = Annotated[Path, typer.Argument(metavar="REAL", help="Folder of annotated real smears.", show_default=False)]
Synthetic = Annotated[
    Path,
    typer.Argument(metavar="SYNTH", help="Folder of synthetic smears, read at their size.", show_default=False),
]
_LISTED = 4  # wrong labels and as many missing cells; the JSON lists more


@dataclass(frozen=True)
class ComparisonOptions:
    """What the comparison uses."""

    panel: ClassVar[str] = "Comparison"

    split: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Compare with this split of REAL. Default: test if it exists, else all."),
    ] = None
    features: Annotated[
        str,
        typer.Option(
            metavar="NAME|FOLDER",
            help="Image features: efficientnet_lite2 (not used in training), efficientnet_lite0, vgg19, or the "
            "folder of a segmentation model.",
        ),
    ] = "efficientnet_lite2"
    vgg: Vgg = None
    crop: Annotated[
        int,
        typer.Option(metavar="PX", help="Side of the compared crops, at cells resized to 40 px.", min=16),
    ] = 64
    tell: Annotated[
        bool | None,
        typer.Option(
            "--tell/--no-tell",
            help="--tell: tell test under all conditions; --no-tell: skip it. Default: its main conditions.",
            show_default=False,
        ),
    ] = None
    control: Annotated[
        bool, typer.Option("--control", help="Put real training smears under the same test. Needs the split train.")
    ] = False
    labels: Annotated[
        bool, typer.Option(help="Check the labels with a segmenter, which is trained if none is given.")
    ] = True
    segmenter: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Segmentation model trained on real smears, to check the labels."),
    ] = None
    limit: Limit = None
    seed: Seed = 0


def realism(
    real: Real,
    synth: Synthetic,
    comparison: ComparisonOptions,
    reading: ReadingOptions,
    where: ExecutionOptions,
    figure: FigureFile = None,
    quiz: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", help="Also write a quiz of real and synthetic images (HTML); its key is a second file."
        ),
    ] = None,
    tell_figure: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", help="Also draw the crops that the tell test recognises best and worst (PNG)."
        ),
    ] = None,
    allow_leak: AllowLeak = False,
    json: AsJson = False,
) -> None:
    """Measure how much synthetic smears differ from real ones, and whether their labels fit their images."""
    from smearsynth.evaluation.realism.realism import realism as measure

    if figure is not None and not comparison.labels:
        raise OptionError("--figure shows labels that do not fit; leave out --no-labels")
    if tell_figure is not None and comparison.tell is False:
        raise OptionError("--tell-figure shows crops of the tell test; leave out --no-tell")
    features = perceptual_features(comparison.features, comparison.vgg, judge=True)
    smears = reading.open(real, cache_mb=2000)
    synthetic = open_smears(synth, classes="one", limit=comparison.limit, cache_mb=2000)
    with TerminalProgress(quiet=json) as progress:
        result = measure(
            smears,
            synthetic,
            split=comparison.split,
            features=features or comparison.features,
            segmenter=comparison.segmenter,
            labels=comparison.labels,
            tell=comparison.tell,
            control=comparison.control,
            crop=comparison.crop,
            limit=comparison.limit,
            allow_leak=allow_leak,
            rng=comparison.seed,
            execution=where.execution(progress),
        )
    if quiz is not None:
        from smearsynth.evaluation.realism.quiz import write_quiz
        from smearsynth.evaluation.unseen import split_unseen

        split, _ = split_unseen(smears, synthetic, comparison.split, limit=comparison.limit, allow_leak=allow_leak)
        compared = split.compared[: comparison.limit]
        key = write_quiz(quiz, compared, synthetic, rng=comparison.seed)
        say(err, f"quiz: {quiz}, key: {key}")
    if figure is not None and result.labels is not None:
        from smearsynth.evaluation.figures import disagreements_figure

        disagreements_figure(result.labels, synthetic, figure)
    if tell_figure is not None and result.tell_crops is not None:
        from smearsynth.evaluation.realism.tell_figure import tell_figure as draw

        draw(result.tell_crops, smears, synthetic, tell_figure)
    if json:
        print(result.model_dump_json(indent=1))
    else:
        _print_realism(result)


def _print_realism(result: Realism) -> None:
    """Print the tables and the verdict of a realism result."""
    out.print(result.table())
    if result.tell_auc is not None:
        out.print(result.tell_auc.table())
    out.print(result.appearance_table())
    for line in (*result.verdict(), *(f"warning: {warning}" for warning in result.warnings)):
        say(out, line)
    for mismatch in result.labels.worst(_LISTED) if result.labels else ():
        say(out, f"{mismatch.smear}: {mismatch.description}")


@dataclass(frozen=True)
class SearchOptions:
    """Which cells are searched for among which."""

    panel: ClassVar[str] = "Search"

    train_split: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Split that was trained on. Default: train if it exists, else all."),
    ] = None
    held_out: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Split that was not trained on. Default: test if it exists."),
    ] = None
    cells: Annotated[
        int, typer.Option(metavar="N", help="Largest number of synthetic cells to search for.", min=1)
    ] = 10_000
    limit: Limit = None
    seed: Seed = 0


def audit(
    real: Real,
    synth: Synthetic,
    search: SearchOptions,
    reading: ReadingOptions,
    figure: FigureFile = None,
    card: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Also write the section for a model card (Markdown).")
    ] = None,
    json: AsJson = False,
) -> None:
    """Test whether synthetic cells are copies of training cells, also rotated, mirrored or recoloured."""
    from smearsynth.evaluation.audit.audit import audit as search_copies
    from smearsynth.files import write_text

    smears = reading.open(real)
    synthetic = open_smears(synth, classes="one", limit=search.limit)
    with TerminalProgress(quiet=json) as progress:
        result = search_copies(
            smears,
            synthetic,
            train_split=search.train_split,
            held_out=search.held_out,
            max_cells=search.cells,
            limit=search.limit,
            rng=search.seed,
            execution=Execution(device="cpu", progress=progress),
        )
    if figure is not None:
        from smearsynth.evaluation.figures import pairs_figure

        pairs_figure(result, synthetic, smears, figure)
    if card is not None:
        write_text(card, result.card())
    if json:
        print(result.model_dump_json(indent=1))
        return
    for line in _pair_lines(result):
        say(out, line)
    say(out, result.verdict())


def check_layout(
    data: Data,
    reading: DataOptions,
    model: Model = "default",
    draws: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Number of synthetic fields of each layout. Default: one per real smear, at least 300.",
            min=4,
        ),
    ] = None,
    control: Annotated[
        bool,
        typer.Option(
            "--control",
            help="Put the real smears of the split train under the same test; compare with the split test.",
        ),
    ] = False,
    figure: FigureFile = None,
    seed: Seed = 0,
    json: AsJson = False,
) -> None:
    """Test whether the layouts of a model differ from those of real smears, statistic by statistic."""
    from smearsynth.evaluation.layout_check import check_layout as compare

    everything = reading.open(data, classes=reading.classes)
    smears = reading.choose(everything, "test" if control else None)
    controls = _control_smears(everything, smears) if control else None
    with TerminalProgress(quiet=json) as progress:
        execution = Execution(device="cpu", progress=progress)
        check = compare(smears, model, control=controls, draws=draws, rng=seed, execution=execution)
    if figure is not None:
        from smearsynth.evaluation.figures import layout_check_figure

        layout_check_figure(check, figure)
    if json:
        print(check.to_json())
        return
    out.print(check.table())
    for layout in check.rows:
        statistics = check.outside(layout)
        verdict = (
            f"differs from the real smears in {', '.join(statistics)}" if statistics else "no difference found"
        )
        say(out, f"{layout}: {verdict}")


def _control_smears(everything: SmearFolder, compared: SmearFolder) -> SmearFolder:
    """Return the smears of the split train."""
    if "train" not in everything.splits or "train" in compared.splits:
        raise OptionError(
            "--control compares the split train with another split; add split.csv with the splits train and test, "
            "or name another --split"
        )
    return everything.split("train")


def _pair_lines(result: Audit, count: int = 8) -> list[str]:
    """Describe the pairs of cells with the largest margins."""
    lines = []
    for pair in result.pairs[:count]:
        relation = "flagged as a copy of" if pair.flagged else "nearest to"
        synthetic, training = pair.places
        lines.append(f"{pair.margin:z.2f}  {synthetic} {relation} {training}")
    return lines
