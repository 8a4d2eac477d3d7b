"""The command that learns a synthesizer, and the settings it takes."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smearsynth.cli.options import (
    Binary,
    Classes,
    Data,
    Device,
    Limit,
    Reading,
    Scale,
    check_all,
    load_model,
    named_split,
    open_data,
    parse_size,
    refuse_smears,
    resolve_features,
)
from smearsynth.cli.terminal import err, out, say, training_progress
from smearsynth.datasets import SmearFolder
from smearsynth.errors import OptionError, error_location
from smearsynth.runs import select_device

if TYPE_CHECKING:  # PyTorch takes seconds to import
    from smearsynth.synthesis.config import Preset
    from smearsynth.synthesis.model.synthesizer import Synthesizer
    from smearsynth.synthesis.networks.features import PerceptualFeatures

_NOT_SET = ("class_names", "scale")  # the classes are those of the data, and the scale belongs to a stage


def _show_settings(given: list[str] | None) -> list[str] | None:
    if given and "help" in given:
        out.print(_settings_table())
        raise typer.Exit
    return given


def train(
    context: typer.Context,
    data: Data,
    output: Annotated[Path, typer.Option("--output", "-o", help="Model folder; run again to continue.")],
    preset: Annotated[str, typer.Option(help="cpu, gpu, paper or tiny.")] = "cpu",
    pretrained: Annotated[
        str | None,
        typer.Option(help="Begin with the weights of this model (folder, or 'default') instead of random ones."),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Training steps.", min=1)] = None,
    batch: Annotated[int | None, typer.Option(help="Crops a step.", min=1)] = None,
    split: Annotated[str | None, typer.Option(help="Default: train, where the folder has it.")] = None,
    scale: Scale = 1.0,
    classes: Classes = "auto",
    format: Reading = "auto",
    binary: Binary = False,
    limit: Limit = None,
    device: Device = "auto",
    precision: Annotated[str | None, typer.Option(help="fp32 or bf16.")] = None,
    adversarial: Annotated[str | None, typer.Option(help="lsgan, or log as equation 5 stands.")] = None,
    features: Annotated[
        str | None,
        typer.Option(help="Perceptual: efficientnet_lite0, vgg19, none, or the folder of a segmentation model."),
    ] = None,
    vgg: Annotated[Path | None, typer.Option(help="Local weight file of torchvision's vgg19.")] = None,
    stain_augmentation: Annotated[
        float | None, typer.Option(help="Share of crops under another stain, drawn anew.", min=0, max=1)
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Any other setting of networks or training, such as modulation=true; may be repeated. "
            "'--set help' lists them.",
            callback=_show_settings,
            is_eager=True,
        ),
    ] = None,
    time_limit: Annotated[
        float | None, typer.Option(help="Stop after so long; run again to continue.", min=0)
    ] = None,
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
    from smearsynth.synthesis.model.provenance import DataSource
    from smearsynth.synthesis.networks.features import load_features
    from smearsynth.synthesis.training.loop import TrainingRun, fabric_for
    from smearsynth.synthesis.training.pipeline import train_synthesizer

    refuse_smears(output)
    smears = open_data(data, None, scale, classes=classes, format=format, binary=binary, cache_mb=1000)
    smears, split = named_split(smears, split, limit, default="train")
    starting = None if pretrained is None else load_pretrained(pretrained, output)
    own = resolve_features(features)
    options: dict[str, object] = {
        "steps": steps,
        "batch": batch,
        "precision": precision,
        "adversarial": adversarial,
        "perceptual_features": own.name if own else features,
        "stain_augmentation": stain_augmentation,
        "seed": seed,
    }
    chosen = choose_preset(preset, smears.class_names, options, parse_settings(settings or []), starting)
    net = own or load_features(chosen.training.perceptual_features, vgg)
    device = select_device(device)
    workers = 4 if device == "cuda" else 0
    if dry_run:
        return _dry_run(smears, chosen, device, net)
    source = DataSource(
        name=name or data.resolve().name,
        smears=len(smears),
        split=split,
        scale=scale,
        licence=licence,
        citation=citation,
    )
    if remark := crop_remark(chosen, smears[0].shape):
        say(err, remark)
    with training_progress(chosen.steps) as on_step, error_location(data):
        run = TrainingRun(
            output,
            fabric_for(device, chosen.training.precision),
            workers=workers,
            time_limit=time_limit,
            on_step=on_step,
        )
        made = train_synthesizer(
            smears,
            chosen,
            run,
            pretrained=starting,
            source=source,
            features=net,
            parametric=parametric,
            command=context.obj or "",
            say=lambda line: say(err, line),
        )
    if made is None:
        say(out, f"stopped; run the same command again to continue ({output})")
        return 0 if time_limit is not None else 130
    say(out, f"model: {output}\ncard: {output / 'model-card.md'}")
    return 0


def load_pretrained(model: str, output: Path) -> Synthesizer:
    """The model to start with; not the one that is to be written."""
    if output.exists() and output.resolve() == Path(model).resolve():
        raise OptionError(f"--start {model} is the output folder; name another folder for the new model")
    loaded: Synthesizer = load_model(model, "cpu")
    return loaded


def parse_settings(given: list[str]) -> dict[str, object]:
    """Settings of networks and training by name, from "name=value" each.

    Examples
    --------
    >>> parse_settings(["modulation=true", "crop=256x192"])
    {'modulation': 'true', 'crop': (192, 256)}
    """
    known = _settings()
    found: dict[str, object] = {}
    for text in given:
        name, _, value = (part.strip() for part in text.partition("="))
        if not name or not value:
            raise OptionError(
                f"--set {text[:60]!r}: give KEY=VALUE, such as modulation=true; '--set help' lists the keys"
            )
        if name not in known:
            near = get_close_matches(name, known, 1)
            remedy = f"did you mean {near[0]}? " if near else ""
            raise OptionError(f"--set {name[:60]!r}: no such setting; {remedy}'--set help' lists them all")
        if name in found:
            raise OptionError(f"--set {name}: given twice; give it once")
        found[name] = parse_size(value) if name == "crop" else value
    return found


def choose_preset(
    name: str,
    class_names: tuple[str, ...],
    options: Mapping[str, object],
    settings: Mapping[str, object],
    pretrained: Synthesizer | None,
) -> Preset:
    """The preset of this name with the options, the settings and the networks of the model to start with.

    Raises
    ------
    OptionError
        Where a setting says the same as an option, or as the model to start with.
    """
    from smearsynth.synthesis.config import DISCRIMINATOR_SETTINGS, NetworkConfig, preset

    for key in settings:
        if options.get(key) is not None:
            raise OptionError(f"--set {key}: has an option of its own, which is given too; leave one out")
        if pretrained is not None and key in NetworkConfig.model_fields and key not in DISCRIMINATOR_SETTINGS:
            raise OptionError(f"--set {key}: --start brings the generator and the encoder; leave one out")
    given = {key: value for key, value in options.items() if value is not None}
    chosen = preset(name, class_names=class_names, **settings, **given)
    return chosen if pretrained is None else chosen.initialised_from(pretrained.config.network)


def crop_remark(chosen: Preset, field: tuple[int, int]) -> str | None:
    """What to know where crops are larger than a field of (H, W) px; the paper's two stages fit theirs to it."""
    (height, width), (high, wide) = chosen.training.crop, field
    if chosen.second or (height <= high and width <= wide):
        return None
    return (
        f"crops of {width}×{height} px are larger than the smears ({wide}×{high} px), whose mirror images fill "
        "them; smaller ones take less time (--set crop=WxH)"
    )


def _settings() -> dict[str, dict[str, Any]]:
    """What --set takes: the JSON schema of every setting by its name."""
    from smearsynth.synthesis.config import NetworkConfig, TrainingConfig

    found = {**NetworkConfig.model_json_schema()["properties"], **TrainingConfig.model_json_schema()["properties"]}
    return {name: schema for name, schema in found.items() if name not in _NOT_SET}


def _settings_table() -> Any:
    from rich.table import Table

    from smearsynth.synthesis.config import PRESETS

    usual = PRESETS["cpu"].network.model_dump() | PRESETS["cpu"].training.model_dump()
    table = Table(title="Settings for --set KEY=VALUE", box=None, pad_edge=False)
    table.add_column("key", no_wrap=True)
    table.add_column("default", no_wrap=True)
    table.add_column("meaning")
    for name, schema in _settings().items():
        default = usual[name]
        shown = f"{default[1]}x{default[0]}" if name == "crop" else str(default).lower()
        table.add_row(name, shown, f"{schema['description']} ({_values(schema)})")
    table.caption = "Defaults are those of the preset cpu. With --start, generator and encoder are the model's."
    return table


def _values(schema: Mapping[str, Any]) -> str:
    """The values a setting may have, from its JSON schema.

    Examples
    --------
    >>> _values({"type": "number", "exclusiveMinimum": 0, "maximum": 1})
    'above 0, at most 1'
    """
    schema = schema.get("anyOf", [schema])[0]  # of several kinds the first: names, before those of own features
    if "enum" in schema:
        return ", ".join(schema["enum"])
    if schema["type"] in ("boolean", "array"):
        return "true, false" if schema["type"] == "boolean" else "WxH"
    words = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    return ", ".join(f"{word} {schema[bound]}" for bound, word in words.items() if bound in schema)


def _dry_run(smears: SmearFolder, chosen: Preset, device: str, net: PerceptualFeatures | None) -> int:
    """Read all data and time a few steps in either precision."""
    from smearsynth.synthesis.training.pipeline import benchmark_steps, examine

    check_all(smears)
    if remark := crop_remark(chosen, smears[0].shape):
        say(err, remark)
    with error_location(smears.root):
        examine(smears, chosen)
    say(out, f"{len(smears)} smears, all readable; classes {', '.join(smears.class_names)}")
    steps = chosen.steps
    for precision, pace in benchmark_steps(smears, chosen, device, net).items():
        mark = " (chosen)" if precision == chosen.training.precision else f", --precision {precision}"
        say(out, f"{precision}: {steps} steps at {pace:.2f} s, about {pace * steps / 3600:.1f} h on {device}{mark}")
    return 0
