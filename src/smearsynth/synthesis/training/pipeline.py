"""Training pipeline: measure the smears, train the networks, fit styles and acquisition, write the model folder."""

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

from smearsynth.datasets import SmearFolder, fingerprints_of
from smearsynth.errors import DataError, ModelError
from smearsynth.files import read_text, write_text
from smearsynth.formats.training_smears import TrainingSmears, TrainingSource
from smearsynth.layout.labels import LabelSource
from smearsynth.smear import Smear, digest
from smearsynth.statistics import DataStatistics
from smearsynth.synthesis.config import Preset
from smearsynth.synthesis.model.card import StyleFidelity, model_card
from smearsynth.synthesis.model.folder import ModelConfig
from smearsynth.synthesis.model.provenance import DataSource
from smearsynth.synthesis.model.synthesizer import Synthesizer
from smearsynth.synthesis.model.tiling import encode_smear
from smearsynth.synthesis.networks.features import PerceptualFeatures
from smearsynth.synthesis.styles.clusters import Styles
from smearsynth.synthesis.training.fitting import fit_synthesizer
from smearsynth.synthesis.training.loop import StepCallback, TrainingRun, fabric_for, train_networks
from smearsynth.synthesis.training.state import TrainingState

MessageCallback = Callable[[str], None]

_FIDELITY_SMEARS = 24  # number of smears on which the model card reports style fidelity


def train_synthesizer(
    smears: Sequence[Smear],
    preset: Preset,
    run: TrainingRun,
    *,
    pretrained: Synthesizer | None = None,
    source: DataSource | None = None,
    features: PerceptualFeatures | None = None,
    parametric: bool = False,
    held_out: Sequence[Smear] = (),
    command: str = "",
    on_message: MessageCallback = lambda text: None,
) -> Synthesizer | None:
    """Train a synthesizer on annotated smears and write its model folder, ``run.folder``.

    Parameters
    ----------
    smears : sequence of Smear
        Training split.
    preset : Preset
    run : TrainingRun
    pretrained : Synthesizer, optional
        Model whose generator and encoder are trained further, with new discriminators. Its network settings of G
        and E replace those of the preset.
    source : DataSource, optional
        Origin of the data, for the model card.
    features : PerceptualFeatures, optional
        Features of the perceptual loss. Their name is recorded in place of the one in the preset.
    parametric : bool
        Store a parametric shape model instead of contours of real cells, and the weights in half precision.
    held_out : sequence of Smear
        Smears of the same data that are kept for tests; their fingerprints are recorded.
    command : str
        Command line for the model card.
    on_message : callable
        Called with one line of text per stage.

    Returns
    -------
    Synthesizer or None
        None if the training was interrupted; call again to continue.
    """
    if run.folder.exists() and not run.folder.is_dir():
        raise ModelError("is a file; choose a folder for the model", run.folder)
    if pretrained is not None:
        preset = preset.initialised_from(pretrained.config.network)
    on_message(f"measuring {len(smears)} smears")
    smears, labels = _annotated_smears(smears, preset, on_message)
    _report(labels, pretrained, on_message)
    _register_smears(run.folder / "state", smears, labels.statistics, on_message)
    preset = preset.with_features("none" if features is None else features.name)
    if preset.second:
        preset = preset.limit_crops(labels.statistics.field_size)
    trained = _train_stages(smears, preset, run, features, on_message, pretrained)
    if trained is None:
        return None
    state, styles = trained
    config = ModelConfig(
        smearsynth=version("smearsynth"),
        network=preset.network,
        training=preset.training,
        second=preset.second,
        steps_done=preset.steps,
        data=source or DataSource(smears=len(smears)),
        pretrained=None if pretrained is None else pretrained.as_pretrained,
    )
    networks = state.average.generator.eval(), state.average.encoder.eval()
    model = fit_synthesizer(config, networks, styles, labels, smears, parametric=parametric, on_message=on_message)
    model = replace(model, training_smears=_record_smears(config, smears, held_out, pretrained))
    model.save(run.folder, half=parametric)
    on_message("measuring style fidelity")
    indices = np.linspace(0, len(smears) - 1, min(len(smears), _FIDELITY_SMEARS))
    fidelity = StyleFidelity.measure(model, [smears[int(k)] for k in indices])
    write_text(run.folder / "model-card.md", model_card(model, fidelity, command))
    return model


def build_label_source(smears: Sequence[Smear], preset: Preset) -> LabelSource:
    """Measure smears and extract their shapes; raise an error if they cannot be trained on.

    Raises
    ------
    DataError
        If there is no whole cell, or no cell of a class of the preset.
    """
    source = LabelSource.from_smears(smears)
    counts = source.statistics.class_counts
    missing = [name for name in preset.network.class_names if name not in counts or not counts[name].mean]
    if missing:
        raise DataError(
            f"no cell of class {', '.join(missing)} in the {len(smears)} training smears; remove the class, or "
            "treat all cells as one class (--classes one)"
        )
    return source


def _annotated_smears(
    smears: Sequence[Smear], preset: Preset, on_message: MessageCallback
) -> tuple[Sequence[Smear], LabelSource]:
    """Return the smears with an annotated pixel, and their label source; the others have no known background."""
    source = build_label_source(smears, preset)
    annotated = [k for k, row in enumerate(source.statistics.rows) if row.annotated]
    if len(annotated) == len(smears):
        return smears, source
    on_message(f"{len(smears) - len(annotated)} smears without an annotated pixel are not used")
    subset = smears.subset(annotated) if isinstance(smears, SmearFolder) else [smears[k] for k in annotated]
    return subset, build_label_source(subset, preset)


def benchmark_steps(
    smears: Sequence[Smear], preset: Preset, device: str, features: PerceptualFeatures | None, steps: int = 8
) -> dict[str, float]:
    """Time a few training steps in each precision; no result is kept.

    Parameters
    ----------
    smears : sequence of Smear
    preset : Preset
    device : {"cpu", "cuda", "auto"}
    features : PerceptualFeatures or None
    steps : int
        Number of steps per precision, at least 4. The first two warm up and the last one saves the state; they are
        not timed.

    Returns
    -------
    dict of str to float
        Median duration of a step by precision, s.

    Raises
    ------
    KeyboardInterrupt
        If a stop was requested.
    """
    seconds = {}
    for precision in ("fp32", "bf16"):
        config = preset.training.model_copy(update={"steps": steps, "precision": precision})
        times: list[float] = []

        def record_time(step: int, losses: object, times: list[float] = times) -> None:
            times.append(time.monotonic())

        with tempfile.TemporaryDirectory() as folder:
            run = TrainingRun(Path(folder), fabric_for(device, precision), on_step=record_time)
            train_networks(smears, preset.model_copy(update={"training": config}), run, features)
        if len(times) < steps:
            raise KeyboardInterrupt
        seconds[precision] = median(later - earlier for earlier, later in pairwise(times[1:-1]))
    return seconds


def encode_smears(state: TrainingState, smears: Sequence[Smear], scale: float = 1.0) -> list[Styles]:
    """Return the styles of all instances of each smear, by the averaged encoder.

    Parameters
    ----------
    state : TrainingState
    smears : sequence of Smear
    scale : float
        Scale at which the encoder was trained.

    Returns
    -------
    list of (n + 1, S) float32 arrays
        Row 0 is the background.
    """
    encoder = state.average.encoder.eval()
    return [encode_smear(encoder, smear, scale) for smear in smears]


def _train_stages(
    smears: Sequence[Smear],
    preset: Preset,
    run: TrainingRun,
    features: PerceptualFeatures | None,
    on_message: MessageCallback,
    pretrained: Synthesizer | None = None,
) -> tuple[TrainingState, list[Styles]] | None:
    """Train all stages; return the last state and the styles of each smear, or None if interrupted."""
    stages = preset.stages
    state = train_networks(smears, stages[0], run, features, pretrained=pretrained)
    if state.step < preset.training.steps:
        return None
    on_message("encoding the styles of all instances")
    scale = preset.training.scale if preset.second else 1.0
    styles = encode_smears(state, smears, scale)
    if preset.second:
        second_run = replace(run, folder=run.folder / "stage-two", on_step=_offset(run.on_step, state.step))
        state = train_networks(smears, stages[1], second_run, features, first_stage=state, styles=styles)
        if state.step < preset.second.steps:
            return None
    return state, styles


def _record_smears(
    config: ModelConfig, smears: Sequence[Smear], held_out: Sequence[Smear], pretrained: Synthesizer | None
) -> TrainingSmears:
    """Return the fingerprints of the training smears, also of the pretrained models, and of the held-out smears."""
    sources = [TrainingSource(data=config.data.name, smears=fingerprints_of(smears))]
    if pretrained is not None and pretrained.training_smears is not None:
        sources += pretrained.training_smears.inherited("pretrained", pretrained.hash)
    elif pretrained is not None:
        sources += [
            TrainingSource(role="pretrained", data=ancestor.data.name, hash=ancestor.hash)
            for ancestor in config.ancestors
        ]
    return TrainingSmears(sources=tuple(sources), held_out=fingerprints_of(held_out))


def _report(labels: LabelSource, pretrained: Synthesizer | None, on_message: MessageCallback) -> None:
    """Report the extracted shapes, and cells of another size than those of the pretrained model."""
    on_message(str(labels.shapes.report))
    if pretrained is None:
        return
    statistics = labels.statistics
    scale = statistics.scale_to(pretrained.statistics)
    if scale is not None:
        on_message(
            f"cells measure {statistics.cell_size:.0f} px, those of the pretrained model "
            f"{pretrained.statistics.cell_size:.0f} px; reading the smears at {scale:.2g} times the present scale "
            "makes fine-tuning easier"
        )


def _offset(on_step: StepCallback | None, first: int) -> StepCallback | None:
    """Return a callback that adds the steps of the first stage to the step number."""
    return None if on_step is None else lambda step, losses: on_step(first + step, losses)


def _register_smears(
    folder: Path, smears: Sequence[Smear], statistics: DataStatistics, on_message: MessageCallback
) -> None:
    """Record the smears of a run; raise an error if the run was started on other smears.

    Writing the record also shows early whether the folder is writable.
    """
    path = folder / "smears.json"
    sizes = [[row.name, row.width, row.height, row.count] for row in statistics.rows]
    rows = [[*size, digest(smear)] for size, smear in zip(sizes, smears, strict=True)]
    if path.exists():
        try:
            stored = json.loads(read_text(path))
        except json.JSONDecodeError:
            stored = None
        if stored == rows:
            return
        if stored != sizes:  # early versions stored no digests
            earlier = stored if isinstance(stored, list) else rows
            changed = [row[0] for row in rows if row not in earlier and row[:-1] not in earlier]
            example = f" ({changed[0]} is new or has changed)" if changed else ""
            raise ModelError(
                f"this run was started on other smears{example}; use the same smears, another output folder, "
                "or delete this one",
                folder,
            )
        on_message(
            "this run was started by a version that stored only names and sizes of its smears; their content is "
            "stored now"
        )
    write_text(path, json.dumps(rows))
