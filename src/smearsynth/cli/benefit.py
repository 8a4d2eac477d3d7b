"""The command of the benefit experiment, which measures whether synthetic smears help a model."""

from __future__ import annotations

from dataclasses import dataclass
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import typer

from smearsynth.cli.options import (
    AllowLeak,
    AsJson,
    Data,
    DryRun,
    ParallelExecutionOptions,
    ReadingOptions,
    StainChoice,
    command_of,
    parse_names,
)
from smearsynth.cli.terminal import TerminalProgress, out, say
from smearsynth.errors import OptionError

if TYPE_CHECKING:  # PyTorch takes seconds to import
    from smearsynth.experiment.plan import Settings


@dataclass(frozen=True)
class ExperimentOptions:
    """Which models are trained, and how often."""

    panel: ClassVar[str] = "Experiment"

    tasks: Annotated[
        str, typer.Option(metavar="NAME,...", help="Tasks: segmentation, detection, contours, or all.")
    ] = "all"
    arms: Annotated[
        str,
        typer.Option(
            metavar="NAME,...", help="Arms: RD, SD, RD+aug, SD+aug, RD+copy-paste, RD+SD, RD+SD+aug, or all."
        ),
    ] = "all"
    preset: Annotated[
        Literal["cpu", "paper", "tiny"], typer.Option(help="Network and training settings of the tasks.")
    ] = "cpu"
    seeds: Annotated[int, typer.Option(metavar="N", help="Random seeds per arm.", min=1, max=1000)] = 3
    sizes: Annotated[
        str, typer.Option(metavar="N,...", help="Numbers of real training smears, such as 3,10,30,all.")
    ] = "all"
    draws: Annotated[
        int,
        typer.Option(
            metavar="K",
            help="Random choices of the real training smears, for the --sizes below all. Each has its own "
            "synthesizer.",
            min=1,
            max=100,
        ),
    ] = 1
    synthetic: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Number of synthetic smears beside the real ones. Default: 15 per real smear.", min=1
        ),
    ] = None
    synthetic_fraction: Annotated[
        float,
        typer.Option(metavar="FRACTION", help="Fraction of synthetic crops in RD+SD.", min=0.01, max=0.99),
    ] = 0.5
    stain: Annotated[
        StainChoice, typer.Option(help="Stain of the synthetic smears in RD+SD: changed at random, or as learned.")
    ] = "augmented"
    steps: Annotated[int | None, typer.Option(metavar="N", help="Training steps of every run.", min=1)] = None
    select_by: Annotated[
        Literal["validation", "test"],
        typer.Option(
            help="Select checkpoints on held-out training smears, or on the test set, as in the paper "
            "(optimistically biased)."
        ),
    ] = "validation"

    def settings(self, train: int) -> Settings:
        """Return the settings of the experiment; `train` is the number of training smears."""
        from smearsynth.experiment.arms import ARMS
        from smearsynth.experiment.plan import Settings
        from smearsynth.tasks.registry import TASKS

        return Settings(
            tasks=parse_names(self.tasks, tuple(TASKS), "--tasks"),
            arms=parse_names(self.arms, tuple(ARMS), "--arms"),
            preset=self.preset,
            seeds=self.seeds,
            sizes=parse_sizes(self.sizes, train),
            synthetic=self.synthetic,
            synthetic_fraction=self.synthetic_fraction,
            stain=self.stain,
            steps=self.steps,
            select_by=self.select_by,
            draws=self.draws,
        )


@dataclass(frozen=True)
class SynthesizerOptions:
    """Where the synthesizers come from."""

    panel: ClassVar[str] = "Synthesizer"

    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            metavar="FOLDER",
            help="Synthesizer that was trained without the test smears: a model folder or 'default'. N=FOLDER for "
            "one trained on N real smears. Default: train one on the training smears (one to two hours).",
        ),
    ] = None
    pretrained: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="Start the training of synthesizers from this model, trained without the test smears.",
        ),
    ] = None
    allow_leak: AllowLeak = False


@dataclass(frozen=True)
class SplitOptions(ReadingOptions):
    """How the smears are read and divided."""

    train_split: Annotated[str, typer.Option(metavar="NAME", help="Split to train on.")] = "train"
    test_split: Annotated[str, typer.Option(metavar="NAME", help="Split to test on.")] = "test"
    name: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Name of the data in the report. Default: the folder's.")
    ] = None


def benefit(
    context: typer.Context,
    data: Data,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FOLDER", help="Folder of results; the same command continues."),
    ],
    options: ExperimentOptions,
    synthesizers: SynthesizerOptions,
    reading: SplitOptions,
    where: ParallelExecutionOptions,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> int:
    """Measure whether synthetic smears help: the paper's Table 2 on your smears, with 95 % intervals.

    Every task is trained on real smears (RD), synthetic smears (SD) and both, with and without the paper's
    augmentations (aug), at equal step counts and seeds.
    """
    from smearsynth.experiment.benefit import benefit as run_experiment
    from smearsynth.experiment.benefit import estimate_benefit
    from smearsynth.experiment.division import divide

    smears = reading.open(data, cache_mb=800)
    splits = reading.train_split, reading.test_split
    texts = synthesizers.model or []
    train = len(divide(smears, splits, [parse_model(text)[1] for text in texts])[0])
    settings = options.settings(train)
    models = parse_models(texts, train)
    with TerminalProgress(quiet=json) as progress:
        execution = where.execution(progress, command_of(context))
        if dry_run:
            estimate = estimate_benefit(
                smears, output, settings, models=models, pretrained=synthesizers.pretrained, splits=splits,
                allow_leak=synthesizers.allow_leak, execution=execution,
            )  # fmt: skip
            if json:
                print(dumps(estimate.to_dict()))
            return 0
        result = run_experiment(
            smears, output, settings, models=models, pretrained=synthesizers.pretrained, splits=splits,
            name=reading.name or data.resolve().name, allow_leak=synthesizers.allow_leak, execution=execution,
        )  # fmt: skip
    if result is None:
        say(out, f"stopped; run the same command again to continue ({output})")
        return 130
    if json:
        print(result.to_json(), end="")
        return 0
    for line in (*result.verdict, *(f"warning: {leak}" for leak in result.facts.leaks)):
        say(out, line)
    say(out, f"report: {output / 'report.html'}")
    return 0


def parse_sizes(text: str, train: int) -> tuple[int, ...]:
    """Parse "3,10,all" into numbers of real training smears; all is `train`.

    Examples
    --------
    >>> parse_sizes("3,10,all", 54)
    (3, 10, 54)
    """
    words = [word.strip() for word in text.split(",")]
    if not all(word == "all" or word.isdecimal() for word in words):
        raise OptionError(f"--sizes {text!r}: give numbers of smears, or all, such as 3,10,all")
    return tuple(dict.fromkeys(train if word == "all" else int(word) for word in words))


def parse_models(texts: list[str], train: int) -> dict[int, str]:
    """Parse "FOLDER" and "N=FOLDER" into model folders by the number of real smears they were trained on.

    Examples
    --------
    >>> parse_models(["my-model", "10=small"], 54)
    {54: 'my-model', 10: 'small'}
    """
    folders: dict[int, str] = {}
    for text in texts:
        number, folder = parse_model(text)
        size = train if number is None else number
        if size in folders:
            raise OptionError(f"--model: two synthesizers for {size} real smears: {folders[size]} and {folder}")
        folders[size] = folder
    return folders


def parse_model(text: str) -> tuple[int | None, str]:
    """Parse "FOLDER" or "N=FOLDER" into the number of real smears and the folder.

    Examples
    --------
    >>> parse_model("my-model"), parse_model("10=small")
    ((None, 'my-model'), (10, 'small'))
    """
    number, equals, folder = text.partition("=")
    return (int(number), folder) if equals and number.isdecimal() else (None, text)
