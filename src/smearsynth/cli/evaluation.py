"""The commands that hold synthetic smears against real ones: how real they look, and whether they are copies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smearsynth.cli.options import AsJson, Binary, Device, Limit, Reading, Scale, Seed, open_data, resolve_features
from smearsynth.cli.terminal import err, out, say, stages
from smearsynth.errors import OptionError, error_location
from smearsynth.evaluation.segmenter import segmenter_for as _segmenter
from smearsynth.evaluation.splits import divide_by_split as _divided
from smearsynth.evaluation.splits import learned_and_held_out as _learned
from smearsynth.runs import select_device
from smearsynth.smear import Smear

if TYPE_CHECKING:  # PyTorch takes seconds to import
    pass

Real = Annotated[Path, typer.Argument(help="Folder of annotated real smears.", show_default=False)]
Synthetic = Annotated[
    Path, typer.Argument(help="Folder of synthetic smears, at their own size.", show_default=False)
]
Figure = Annotated[Path | None, typer.Option(help="Also draw what was found into this PNG.")]
_LISTED = 4  # wrong labels, and as many missing cells; JSON has more


def realism(
    real: Real,
    synth: Synthetic,
    split: Annotated[str | None, typer.Option(help="Compare with this split; default: test, if any.")] = None,
    features: Annotated[
        str, typer.Option(help="efficientnet_lite0, vgg19, or the folder of a segmentation model.")
    ] = "efficientnet_lite0",
    vgg: Annotated[Path | None, typer.Option(help="Local weight file of torchvision's vgg19.")] = None,
    crop: Annotated[int | None, typer.Option(help="Side of the crops, px; default: spans a cell.", min=16)] = None,
    segmenter: Annotated[
        Path | None, typer.Option(help="Segmentation model fitted on real smears, to judge the labels.")
    ] = None,
    labels: Annotated[bool, typer.Option(help="Judge the labels; without --segmenter one is trained.")] = True,
    scale: Scale = 1.0,
    format: Reading = "auto",
    binary: Binary = False,
    limit: Limit = None,
    device: Device = "auto",
    figure: Figure = None,
    sheet: Annotated[
        Path | None,
        typer.Option(help="Also write an HTML quiz, real among synthetic; its key in a file beside it."),
    ] = None,
    seed: Seed = 0,
    json: AsJson = False,
) -> None:
    """Measure how far synthetic smears are from real ones, and whether their labels fit."""
    from smearsynth.evaluation.realism.realism import comparable
    from smearsynth.evaluation.realism.realism import realism as measure
    from smearsynth.synthesis.networks.features import load_features

    if figure is not None and not labels:
        raise OptionError("--figure shows labels that do not fit; leave out --no-labels")
    net = resolve_features(features) or load_features(features, vgg)
    if net is None:
        raise OptionError(f"features {features!r} leave nothing to compare; choose others")
    smears = open_data(real, None, scale, classes="one", format=format, binary=binary, cache_mb=2000)
    compared, taught, unseen = _divided(smears, split)
    compared, unseen = (compared[:limit], unseen[:limit]) if limit else (compared, unseen)
    ours = open_data(synth, None, 1.0, classes="one", limit=limit, cache_mb=2000)
    device = select_device(device)
    with stages(quiet=json) as on_stage, error_location(real):
        comparable(compared, ours, crop)  # before the minutes that a segmenter takes
        judge = _segmenter(taught, segmenter, seed, device, on_stage) if labels else None
        found = measure(
            compared,
            ours,
            net.to(device),
            segmenter=judge,
            unseen=unseen,
            crop=crop,
            rng=seed,
            on_stage=on_stage,
        )
    if sheet is not None:
        from smearsynth.evaluation.realism.quiz import write_quiz

        key = write_quiz(sheet, compared, ours, rng=seed)
        say(err, f"quiz: {sheet}, key: {key}")
    if figure is not None:
        assert found.labels is not None
        from smearsynth.evaluation.figures import disagreements_figure

        disagreements_figure(found.labels, ours, figure)
    if json:
        print(found.model_dump_json(indent=1))
        return
    out.print(found.table())
    out.print(found.appearance_table())
    for line in found.verdict():
        say(out, line)
    for one in found.labels.worst(_LISTED) if found.labels else ():
        say(out, f"{one.smear}: {one.what}")


def audit(
    real: Real,
    synth: Synthetic,
    train_split: Annotated[str | None, typer.Option(help="What was trained on; default: train, else all.")] = None,
    held_out: Annotated[str | None, typer.Option(help="What was not; default: test, if any.")] = None,
    cells: Annotated[int, typer.Option(help="Look at so many synthetic cells at most.", min=1)] = 10_000,
    scale: Scale = 1.0,
    format: Reading = "auto",
    binary: Binary = False,
    limit: Limit = None,
    figure: Figure = None,
    card: Annotated[Path | None, typer.Option(help="Also write the record for a model card, Markdown.")] = None,
    seed: Seed = 0,
    json: AsJson = False,
) -> None:
    """Search the training smears for the cells of synthetic ones, turned, mirrored or recoloured."""
    from smearsynth.evaluation.audit.audit import audit as search
    from smearsynth.files import write_text

    smears = open_data(real, None, scale, classes="one", format=format, binary=binary)
    trained, other = _learned(smears, train_split, held_out)
    ours = open_data(synth, None, 1.0, classes="one", limit=limit)
    with stages(quiet=json) as on_stage, error_location(real):
        found = search(trained, ours, held_out=other, most=cells, rng=seed, on_stage=on_stage)
    if figure is not None:
        from smearsynth.evaluation.figures import pairs_figure

        pairs_figure(found, ours, trained, figure)
    if card is not None:
        write_text(card, found.card())
    if json:
        print(found.model_dump_json(indent=1))
        return
    for pair in found.pairs[:8]:
        mark = "taken for a copy of" if pair.flagged else "nearest to"
        ours_is, theirs_is = pair.places
        say(out, f"{pair.margin:z.2f}  {ours_is} {mark} {theirs_is}")
    say(out, found.verdict())


def verifier(
    data: Path, segmenter: Path | None, *, scale: float, seed: int, device: str
) -> Callable[[Smear], bool]:
    """What `generate --verify` asks of each smear, its limits set on these real smears."""
    from smearsynth.evaluation.comparability import median_diameter
    from smearsynth.evaluation.label_fidelity import labels_fit, set_limits

    smears = open_data(data, None, scale, classes="one", cache_mb=2000)
    _, taught, unseen = _divided(smears, None)
    with stages() as on_stage, error_location(data):
        judge = _segmenter(taught, segmenter, seed, select_device(device), on_stage)
        diameter = median_diameter(unseen)
        limits = set_limits(
            unseen, judge, diameter, rng=seed, on_smear=lambda done: on_stage("real labels", done, len(unseen))
        )
    return lambda smear: labels_fit(smear, judge, limits, diameter)
