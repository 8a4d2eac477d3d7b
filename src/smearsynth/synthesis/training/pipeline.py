"""From annotated smears to a model folder: statistics, shapes, networks, styles, card."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np

from smearsynth.errors import DataError, ModelError
from smearsynth.files import read_text, write_text
from smearsynth.layout.labels import LabelSource
from smearsynth.shapes import ParametricShapes
from smearsynth.smear import Smear, digest
from smearsynth.statistics import DataStatistics
from smearsynth.synthesis.acquisition.imaging import AcquisitionModel
from smearsynth.synthesis.config import Preset
from smearsynth.synthesis.model.card import StyleFidelity, model_card
from smearsynth.synthesis.model.folder import ModelConfig
from smearsynth.synthesis.model.provenance import DataSource
from smearsynth.synthesis.model.synthesizer import Synthesizer
from smearsynth.synthesis.model.tiling import encode_field
from smearsynth.synthesis.networks.features import PerceptualFeatures
from smearsynth.synthesis.styles import StyleBank, Styles, without_slivers
from smearsynth.synthesis.training.loop import OnStep, TrainingRun, fabric_for, train
from smearsynth.synthesis.training.state import TrainingState

MessageCallback = Callable[[str], None]


def train_synthesizer(
    smears: Sequence[Smear],
    preset: Preset,
    run: TrainingRun,
    *,
    pretrained: Synthesizer | None = None,
    source: DataSource | None = None,
    features: PerceptualFeatures | None = None,
    parametric: bool = False,
    command: str = "",
    say: MessageCallback = lambda line: None,
) -> Synthesizer | None:
    """Learn a synthesizer from annotated smears and write its model folder, ``run.folder``.

    Parameters
    ----------
    smears : sequence of Smear
        The training split.
    preset : Preset
    run : TrainingRun
    pretrained : Synthesizer, optional
        Finished model whose generator and encoder are trained further, with new discriminators; the preset's
        settings of G and E give way to the model's.
    source : DataSource, optional
        For the model card.
    features : PerceptualFeatures, optional
        For the perceptual loss; their name is the one put down, whatever the preset says.
    parametric : bool
        Keep a fitted shape model instead of the contours of real cells (for models that are passed on).
    command : str
        Put on the model card.
    say : callable
        Told in a line what is being done.

    Returns
    -------
    Synthesizer or None
        None when training was stopped before its end; call again to continue.
    """
    if run.folder.exists() and not run.folder.is_dir():
        raise ModelError("is a file; name a folder for the model", run.folder)
    if pretrained is not None:
        preset = preset.initialised_from(pretrained.config.network)
    say(f"measuring {len(smears)} smears")
    measured = examine(smears, preset)
    say(str(measured.shapes.report))
    if pretrained is not None and (remark := _size_remark(measured.statistics, pretrained.statistics)):
        say(remark)
    _claim(run.folder / "state", smears, measured.statistics, say)
    preset = preset.on_features("none" if features is None else features.name)
    if preset.second:
        preset = preset.within(measured.statistics.field_size)
    found = _train_stages(smears, preset, run, features, say, pretrained)
    if found is None:
        return None
    state, encoded = found
    say("fitting the layout")
    law = measured.contact_parameters
    say("clustering styles")
    telling = [without_slivers(styles, smear) for styles, smear in zip(encoded, smears, strict=True)]
    model = Synthesizer(
        ModelConfig(
            smearsynth=version("smearsynth"),
            network=preset.network,
            training=preset.training,
            second=preset.second,
            steps_done=preset.steps,
            data=source or DataSource(smears=len(smears)),
            pretrained=None if pretrained is None else pretrained.as_pretrained,
        ),
        state.average.generator.eval(),
        state.average.encoder.eval(),
        StyleBank.fit(
            [styles for styles, _ in telling],
            [classes for _, classes in telling],
            preset.network.class_names,
            rng=preset.training.seed,
        ),
        measured.statistics,
        ParametricShapes.fit(measured.shapes) if parametric else measured.shapes,
        law,
    )
    say("measuring illumination, focus, noise and debris")
    taken = AcquisitionModel.fit(smears, model.repaint, preset.training.seed, debris=preset.network.debris)
    model = replace(model, acquisition=taken)
    # what travels is small: fp16 weights, for a model that is to be passed on
    model.save(run.folder, half=parametric)
    say("measuring style fidelity")
    shown = [smears[int(k)] for k in np.linspace(0, len(smears) - 1, min(len(smears), 24))]
    write_text(run.folder / "model-card.md", model_card(model, StyleFidelity.measure(model, shown), command))
    return model


def examine(smears: Sequence[Smear], preset: Preset) -> LabelSource:
    """Measure smears and take their shapes; what cannot be learned from is refused here, before the long work.

    Raises
    ------
    DataError
        When there is no whole cell, or none of a class that the preset names.
    """
    found = LabelSource.from_smears(smears)
    counts = found.statistics.class_counts
    bare = [name for name in preset.network.class_names if name not in counts or not counts[name].mean]
    if bare:
        raise DataError(
            f"no cell of class {', '.join(bare)} in the {len(smears)} smears to learn from; "
            "leave the class out, or take all cells for one class (--classes one)"
        )
    return found


def benchmark_steps(
    smears: Sequence[Smear], preset: Preset, device: str, features: PerceptualFeatures | None, steps: int = 8
) -> dict[str, float]:
    """Time a few training steps in either precision; nothing is kept.

    Returns
    -------
    dict of str to float
        Median seconds a step by precision; the first steps warm up and the last one saves, they do not count.
    """
    paces = {}
    for precision in ("fp32", "bf16"):
        trial = preset.training.model_copy(update={"steps": steps, "precision": precision})
        marks: list[float] = []

        def mark(step: int, losses: object, marks: list[float] = marks) -> None:
            marks.append(time.monotonic())

        with tempfile.TemporaryDirectory() as folder:
            run = TrainingRun(Path(folder), fabric_for(device, precision), on_step=mark)
            train(smears, preset.model_copy(update={"training": trial}), run, features)
        if len(marks) < steps:
            raise KeyboardInterrupt
        paces[precision] = median(later - earlier for earlier, later in pairwise(marks[1:-1]))
    return paces


def _train_stages(
    smears: Sequence[Smear],
    preset: Preset,
    run: TrainingRun,
    features: PerceptualFeatures | None,
    say: MessageCallback,
    pretrained: Synthesizer | None = None,
) -> tuple[TrainingState, list[Styles]] | None:
    """Train all stages; the last state and the styles of every smear, or None when stopped before the end."""
    stages = preset.stages
    state = train(smears, stages[0], run, features, pretrained=pretrained)
    if state.step < preset.training.steps:
        return None
    say("encoding the styles of every instance")
    scale = preset.training.scale if preset.second else 1.0
    encoded = encode_smears(state, smears, scale)
    if preset.second:
        further = replace(run, folder=run.folder / "stage-two", on_step=_counted_on(run.on_step, state.step))
        state = train(smears, stages[1], further, features, earlier=state, styles=encoded)
        if state.step < preset.second.steps:
            return None
    return state, encoded


def _size_remark(own: DataStatistics, starting: DataStatistics) -> str | None:
    """What to do where the cells are of another size than those that the model to start with paints."""
    scale = own.scale_to(starting)
    if scale is None:
        return None
    return (
        f"cells measure {own.cell_size:.0f} px here and {starting.cell_size:.0f} px in the model to start with; "
        f"at {scale:.2g} times the scale it has less to learn"
    )


def _counted_on(on_step: OnStep | None, before: int) -> OnStep | None:
    """The same callback, told of the steps of the stage before, too."""
    return None if on_step is None else lambda step, losses: on_step(before + step, losses)


def encode_smears(state: TrainingState, smears: Sequence[Smear], scale: float = 1.0) -> list[Styles]:
    """Styles of the instances of every smear, by the kept encoder, which has learned to look at this scale."""
    encoder = state.average.encoder.eval()
    return [encode_field(encoder, smear.image, smear.labels, smear.count, scale=scale) for smear in smears]


def _claim(folder: Path, smears: Sequence[Smear], statistics: DataStatistics, say: MessageCallback) -> None:
    """Refuse to go on with a run on other smears; also shows early that the folder can be written."""
    path = folder / "smears.json"
    measured = [[row.name, row.width, row.height, row.count] for row in statistics.rows]
    own = [[*row, digest(smear)] for row, smear in zip(measured, smears, strict=True)]
    if path.exists():
        try:
            earlier = json.loads(read_text(path))
        except json.JSONDecodeError:
            earlier = None
        if earlier == own:
            return
        if earlier != measured:
            before = earlier if isinstance(earlier, list) else own
            others = [row[0] for row in own if row not in before and row[:-1] not in before]
            named = f" ({others[0]} is new or has changed)" if others else ""
            raise ModelError(
                f"this run was started on other smears{named}; use the same smears, another output folder, "
                "or delete this one",
                folder,
            )
        say("started by a version that noted names and sizes of its smears; their content is noted now")
    write_text(path, json.dumps(own))
