"""Fit of a synthesizer to annotated smears, without its networks: layout, styles, acquisition and colours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from smearsynth.datasets import SmearFolder
from smearsynth.formats.pixels.compression import JpegHistory, jpeg_history
from smearsynth.layout.labels import LabelSource
from smearsynth.shapes import ParametricShapes
from smearsynth.smear import Smear
from smearsynth.synthesis.acquisition.model import AcquisitionModel
from smearsynth.synthesis.model.colours import TissueColours
from smearsynth.synthesis.model.folder import ModelConfig
from smearsynth.synthesis.model.synthesizer import Synthesizer
from smearsynth.synthesis.networks.generator import Encoder, Generator
from smearsynth.synthesis.styles.bank import StyleBank
from smearsynth.synthesis.styles.clusters import Styles
from smearsynth.synthesis.styles.partial_cells import drop_partial_cells

MessageCallback = Callable[[str], None]


def fit_synthesizer(
    config: ModelConfig,
    networks: tuple[Generator, Encoder],
    styles: Sequence[Styles],
    labels: LabelSource,
    smears: Sequence[Smear],
    *,
    parametric: bool = False,
    on_message: MessageCallback = lambda text: None,
) -> Synthesizer:
    """Fit layout, styles, acquisition and colours, and return the synthesizer of trained networks.

    Parameters
    ----------
    config : ModelConfig
    networks : (Generator, Encoder)
    styles : sequence of (n + 1, S) float32 arrays
        Styles of the instances of each smear.
    labels : LabelSource
        Of the smears.
    smears : sequence of Smear
    parametric : bool
        Use a parametric shape model instead of contours of real cells, and round the weights to half precision.
    on_message : callable
        Called with one line of text per stage.
    """
    on_message("fitting the layout")
    labels = replace(labels, contact=labels.contact_parameters)
    on_message("clustering styles")
    whole = [drop_partial_cells(vectors, smear) for vectors, smear in zip(styles, smears, strict=True)]
    bank = StyleBank.fit(
        [vectors for vectors, _ in whole],
        [classes for _, classes in whole],
        config.network.class_names,
        rng=config.training.seed,
    )
    shapes = ParametricShapes.fit(labels.shapes) if parametric else labels.shapes
    model = Synthesizer(config, *networks, bank, labels.statistics, shapes, labels.contact)
    on_message("measuring illumination, focus, noise and the background")
    acquisition = AcquisitionModel.fit(
        smears,
        model.repaint,
        config.training.seed,
        debris=config.network.debris,
        histories=compression_histories(smears),
    )
    model = replace(model, acquisition=acquisition, colours=TissueColours.fit(smears))
    return model.rounded_to_half() if parametric else model  # models for distribution are small


def refit(
    model: Synthesizer, smears: Sequence[Smear], on_message: MessageCallback = lambda text: None
) -> Synthesizer:
    """Return a model with the same networks, with everything else fitted to smears again.

    Use it to bring a model of a former version up to date with its training smears.

    Parameters
    ----------
    model : Synthesizer
    smears : sequence of Smear
        Training smears of the model, at its scale.
    on_message : callable
        Called with one line of text per stage.
    """
    on_message(f"measuring {len(smears)} smears")
    labels = LabelSource.from_smears(smears)
    on_message("encoding the styles of all instances")
    styles = [model.encode(smear) for smear in smears]
    fitted = fit_synthesizer(
        model.config,
        (model.generator, model.encoder),
        styles,
        labels,
        smears,
        parametric=isinstance(model.shapes, ParametricShapes),
        on_message=on_message,
    )
    return replace(fitted, training_smears=model.training_smears)


def compression_histories(smears: Sequence[Smear]) -> list[JpegHistory | None]:
    """Return the JPEG compression of the image file of each smear.

    None for other files, for smears in memory and for resized smears, whose pixels no longer show it.
    """
    if not isinstance(smears, SmearFolder) or smears.scale != 1:
        return [None] * len(smears)
    return [jpeg_history(entry.image) for entry in smears.entries]
