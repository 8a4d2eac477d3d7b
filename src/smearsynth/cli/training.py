"""The command that trains a synthesizer, and the text of its settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import typer

from smearsynth.cli.options import (
    Data,
    DryRun,
    TrainingDataOptions,
    TrainingExecutionOptions,
    Vgg,
    command_of,
    parse_size,
    perceptual_features,
)
from smearsynth.cli.terminal import TerminalProgress, out, say
from smearsynth.errors import OptionError

if TYPE_CHECKING:  # PyTorch takes seconds to import
    from smearsynth.synthesis.training.train import TrainingEstimate

_NOT_SETTABLE = ("class_names", "scale")  # the classes are those of the data, and the scale belongs to a stage


def _show_settings(texts: list[str] | None) -> list[str] | None:
    if texts and "help" in texts:
        out.print(_settings_table())
        raise typer.Exit
    return texts


@dataclass(frozen=True)
class TrainingOptions:
    """How the networks are trained."""

    panel: ClassVar[str] = "Training"

    preset: Annotated[
        Literal["cpu", "gpu", "paper", "tiny"], typer.Option(help="Networks and training settings to start from.")
    ] = "cpu"
    pretrained: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER", help="Start from the weights of this model ('default' for the shipped one)."
        ),
    ] = None
    steps: Annotated[int | None, typer.Option(metavar="N", help="Training steps.", min=1)] = None
    batch: Annotated[int | None, typer.Option(metavar="N", help="Crops per step.", min=1)] = None
    precision: Annotated[Literal["fp32", "bf16"] | None, typer.Option(help="Floating-point precision.")] = None
    adversarial: Annotated[
        Literal["lsgan", "log"] | None,
        typer.Option(help="Adversarial loss: least squares, or the logarithmic form of the paper's equation 5."),
    ] = None
    features: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FOLDER",
            help="Features of the perceptual loss: efficientnet_lite0, vgg19, none, or the folder of a "
            "segmentation model.",
        ),
    ] = None
    vgg: Vgg = None
    stain_augmentation: Annotated[
        float | None,
        typer.Option(metavar="FRACTION", help="Fraction of the crops with a randomly changed stain.", min=0, max=1),
    ] = None
    hold_out: Annotated[
        Literal["auto", "third", "none"],
        typer.Option(
            help="Smears of data without split.csv that are held out for tests: every third, or none. auto: every "
            "third of 12 or more smears."
        ),
    ] = "auto"
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Any other setting of networks or training, such as modulation=true; may be repeated. "
            "'--set help' lists all.",
            callback=_show_settings,
            is_eager=True,
        ),
    ] = None
    seed: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Random seed. On the CPU the same seed gives the same model, bit for bit.", min=0
        ),
    ] = None

    def chosen_settings(self) -> dict[str, object]:
        """Return all settings by name; each may be given once.

        Raises
        ------
        OptionError
            If --set repeats another option.
        """
        settings = parse_settings(self.settings or [])
        options = {
            "steps": self.steps,
            "batch": self.batch,
            "precision": self.precision,
            "adversarial": self.adversarial,
            "stain_augmentation": self.stain_augmentation,
            "seed": self.seed,
            "perceptual_features": self.features,
        }
        for name in settings:
            if options.get(name) is not None:
                raise OptionError(f"--set {name}: also given as an option; leave one of them out")
        del options["perceptual_features"]  # an argument of its own
        return settings | {name: value for name, value in options.items() if value is not None}


@dataclass(frozen=True)
class CardOptions:
    """What the model card says about the data."""

    panel: ClassVar[str] = "Model card"

    name: Annotated[str | None, typer.Option(metavar="TEXT", help="Name of the data.")] = None
    licence: Annotated[str, typer.Option(metavar="TEXT", help="Licence of the data.")] = "not stated"
    citation: Annotated[str, typer.Option(metavar="TEXT", help="Citation of the data.")] = "not stated"
    parametric: Annotated[
        bool,
        typer.Option("--parametric", help="Store a parametric shape model instead of contours of real cells."),
    ] = False


def train(
    context: typer.Context,
    data: Data,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Model folder; the same command continues.")
    ],
    training: TrainingOptions,
    reading: TrainingDataOptions,
    card: CardOptions,
    where: TrainingExecutionOptions,
    dry_run: DryRun = False,
) -> int:
    """Train a synthesizer on annotated smears."""
    from smearsynth.synthesis.model.provenance import DataSource
    from smearsynth.synthesis.training.train import estimate_training
    from smearsynth.synthesis.training.train import train as train_synthesizer

    settings = training.chosen_settings()
    smears = reading.select(data, default_split="train", cache_mb=1000)
    features = perceptual_features(training.features, training.vgg)
    with TerminalProgress() as progress:
        execution = where.execution(progress, command_of(context))
        if dry_run:
            estimate = estimate_training(
                smears,
                output,
                preset=training.preset,
                settings=settings,
                pretrained=training.pretrained,
                features=features,
                hold_out=training.hold_out,
                execution=execution,
            )
            return _print_estimate(estimate)
        model = train_synthesizer(
            smears,
            output,
            preset=training.preset,
            settings=settings,
            pretrained=training.pretrained,
            features=features,
            source=DataSource(name=card.name or data.resolve().name, licence=card.licence, citation=card.citation),
            parametric=card.parametric,
            hold_out=training.hold_out,
            execution=execution,
        )
    if model is None:
        say(out, f"stopped; run the same command again to continue ({output})")
        return 0 if where.time_limit is not None else 130
    say(out, f"model: {output}\ncard: {output / 'model-card.md'}")
    return 0


def parse_settings(texts: list[str]) -> dict[str, object]:
    """Parse settings of networks and training, each given as "name=value".

    Examples
    --------
    >>> parse_settings(["modulation=true", "crop=256x192"])
    {'modulation': 'true', 'crop': (192, 256)}
    """
    schemas = _settings()
    settings: dict[str, object] = {}
    for text in texts:
        name, _, value = (part.strip() for part in text.partition("="))
        if not name or not value:
            raise OptionError(
                f"--set {text[:60]!r}: give KEY=VALUE, such as modulation=true; '--set help' lists the keys"
            )
        if name not in schemas:
            similar = get_close_matches(name, schemas, 1)
            remedy = f"did you mean {similar[0]}? " if similar else ""
            raise OptionError(f"--set {name[:60]!r}: no such setting; {remedy}'--set help' lists all settings")
        if name in settings:
            raise OptionError(f"--set {name}: given twice; give it once")
        settings[name] = parse_size(value) if name == "crop" else value
    return settings


def _print_estimate(estimate: TrainingEstimate) -> int:
    held_out = f"; {estimate.held_out} smears held out for tests" if estimate.held_out else ""
    say(out, f"{estimate.smears} smears, all readable; classes {', '.join(estimate.class_names)}{held_out}")
    if estimate.completed:
        say(out, f"an interrupted training has completed {estimate.completed} steps; the times are for the others")
    for precision, seconds in estimate.seconds_per_step.items():
        hours = seconds * estimate.steps / 3600
        mark = " (selected)" if precision == estimate.precision else f" (--precision {precision})"
        steps = f"{estimate.steps} steps of {seconds:.2f} s"
        say(out, f"{precision}: {steps}, about {hours:.1f} h on {estimate.device}{mark}")
    return 0


def _settings() -> dict[str, dict[str, Any]]:
    """Return what --set accepts: the JSON schema of every setting by its name."""
    from smearsynth.synthesis.config import NetworkConfig, TrainingConfig

    schemas = {
        **NetworkConfig.model_json_schema()["properties"],
        **TrainingConfig.model_json_schema()["properties"],
    }
    return {name: schema for name, schema in schemas.items() if name not in _NOT_SETTABLE}


def _settings_table() -> Any:
    from rich.table import Table

    from smearsynth.synthesis.config import PRESETS

    defaults = PRESETS["cpu"].network.model_dump() | PRESETS["cpu"].training.model_dump()
    table = Table(title="Settings for --set KEY=VALUE", box=None, pad_edge=False)
    table.add_column("key", no_wrap=True)
    table.add_column("default", no_wrap=True)
    table.add_column("meaning")
    for name, schema in _settings().items():
        default = defaults[name]
        text = f"{default[1]}x{default[0]}" if name == "crop" else str(default).lower()
        table.add_row(name, text, f"{schema['description']} ({_values(schema)})")
    table.caption = "Defaults of the preset cpu. With --pretrained, generator and encoder are those of the model."
    return table


def _values(schema: Mapping[str, Any]) -> str:
    """Describe the values that a JSON schema allows.

    Examples
    --------
    >>> _values({"type": "number", "exclusiveMinimum": 0, "maximum": 1})
    'above 0, at most 1'
    """
    schema = schema.get("anyOf", [schema])[0]  # of several types the first: names before those of loaded features
    if "enum" in schema:
        return ", ".join(schema["enum"])
    if schema["type"] in ("boolean", "array"):
        return "true, false" if schema["type"] == "boolean" else "WxH"
    words = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    return ", ".join(f"{word} {schema[bound]}" for bound, word in words.items() if bound in schema)
