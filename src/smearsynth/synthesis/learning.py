"""From annotated smears to a model folder: statistics, shapes, networks, styles, card."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import version

import numpy as np

from smearsynth.formats.files import write_text
from smearsynth.shapes import ParametricShapes, ShapeLibrary
from smearsynth.smear import Smear
from smearsynth.statistics import measure
from smearsynth.synthesis.card import StyleFidelity, model_card
from smearsynth.synthesis.config import Preset
from smearsynth.synthesis.features import PerceptualFeatures
from smearsynth.synthesis.model import DataSource, ModelConfig, Synthesizer
from smearsynth.synthesis.sampling import encode_field
from smearsynth.synthesis.styles import StyleBank
from smearsynth.synthesis.training import TrainingRun, TrainingState, train

Say = Callable[[str], None]


def learn(
    smears: Sequence[Smear],
    preset: Preset,
    run: TrainingRun,
    *,
    source: DataSource | None = None,
    features: PerceptualFeatures | None = None,
    parametric: bool = False,
    command: str = "",
    say: Say = lambda line: None,
) -> Synthesizer | None:
    """Learn a synthesizer from annotated smears and write its model folder, ``run.folder``.

    Parameters
    ----------
    smears : sequence of Smear
        The training split.
    preset : Preset
    run : TrainingRun
    source : DataSource, optional
        For the model card.
    features : PerceptualFeatures, optional
        For the perceptual loss.
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
    say(f"measuring {len(smears)} smears")
    statistics = measure(smears)
    library = ShapeLibrary.from_smears(smears)
    say(str(library.report))
    state = train(smears, preset, run, features)
    if state.step < preset.training.steps:
        return None
    say("clustering styles")
    styles = fit_styles(state, smears, preset)
    model = Synthesizer(
        ModelConfig(
            smearsynth=version("smearsynth"),
            network=preset.network,
            training=preset.training,
            steps_done=state.step,
            data=source or DataSource(smears=len(smears)),
        ),
        state.average.generator.eval(),
        state.average.encoder.eval(),
        styles,
        statistics,
        ParametricShapes.fit(library) if parametric else library,
    )
    # what travels is small: fp16 weights, for a model that is to be passed on
    model.save(run.folder, half=parametric)
    shown = [smears[int(k)] for k in np.linspace(0, len(smears) - 1, min(len(smears), 24))]
    write_text(run.folder / "model-card.md", model_card(model, StyleFidelity.measure(model, shown), command))
    return model


def fit_styles(state: TrainingState, smears: Sequence[Smear], preset: Preset) -> StyleBank:
    """Encode every training smear with the kept encoder and fit the style bank."""
    encoder = state.average.encoder.eval()
    styles, classes = [], []
    for smear in smears:
        styles.append(encode_field(encoder, smear.image, smear.labels, smear.count))
        classes.append(smear.classes)
    return StyleBank.fit(styles, classes, preset.network.class_names, rng=preset.training.seed)
