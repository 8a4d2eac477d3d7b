"""Model card: training data, training, style fidelity and limits of a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from smearsynth.shapes import ParametricShapes
from smearsynth.smear import ImageArray, Mask, Smear
from smearsynth.synthesis.model.provenance import DataSource
from smearsynth.synthesis.model.synthesizer import Synthesizer

_INHERITED = (
    "Generator and encoder were initialised with the weights of another model, so this model also contains what "
    "that model learned from its data. When you distribute this model, respect the licences of all data:"
)


@dataclass(frozen=True)
class StyleFidelity:
    """Agreement of mean colours between smears and their reconstructions from their own styles.

    Parameters
    ----------
    correlation : (2, 3) float array
        Correlation of reconstructed and real mean colours over the smears; rows background and cells, columns RGB.
    spread : (2, 3) float array
        Standard deviation of the reconstructed colours divided by that of the real ones.
    error : (2, 3) float array
        Mean absolute difference, grey levels.
    smears : int
        Number of smears.
    """

    correlation: npt.NDArray[np.float64]
    spread: npt.NDArray[np.float64]
    error: npt.NDArray[np.float64]
    smears: int

    @classmethod
    def measure(cls, model: Synthesizer, smears: Sequence[Smear]) -> StyleFidelity:
        """Reconstruct smears and compare; smears without cells or without background are skipped."""
        real, reconstructed = [], []
        for k, smear in enumerate(smears):
            cells, background = smear.labels > 0, smear.background()
            if not cells.any() or not background.any():
                continue
            real.append(mean_colours(smear.image, cells, background))
            reconstructed.append(mean_colours(model.repaint(smear, k), cells, background))
        return cls.of_colours(np.array(real).reshape(-1, 2, 3), np.array(reconstructed).reshape(-1, 2, 3))

    @classmethod
    def of_colours(cls, real: npt.NDArray[np.float64], reconstructed: npt.NDArray[np.float64]) -> StyleFidelity:
        """Compare mean colours, (n, 2, 3): smears × (background, cells) × RGB.

        Correlation and spread of fewer than two smears are NaN.

        Examples
        --------
        >>> colours = np.eye(3)[:, None].repeat(2, 1)
        >>> StyleFidelity.of_colours(colours, 0.5 * colours).spread.round(3).tolist()
        [[0.5, 0.5, 0.5], [0.5, 0.5, 0.5]]
        """
        if len(real) < 2:
            unknown = np.full((2, 3), np.nan)
            error = np.abs(reconstructed - real).mean(0) if len(real) else unknown
            return cls(unknown, unknown, error, len(real))
        a, b = real - real.mean(0), reconstructed - reconstructed.mean(0)
        scale = np.sqrt((a**2).sum(0))
        with np.errstate(invalid="ignore", divide="ignore"):
            spread = np.sqrt((b**2).sum(0)) / scale
            correlation = (a * b).sum(0) / (scale * np.sqrt((b**2).sum(0)))
        return cls(correlation, spread, np.abs(reconstructed - real).mean(0), len(real))


def mean_colours(image: ImageArray, cells: Mask, background: Mask | None = None) -> npt.NDArray[np.float64]:
    """Return the mean RGB of background (by default all pixels outside of cells) and cells, (2, 3)."""
    background = ~cells if background is None else background
    return np.stack([image[background].mean(0, dtype=np.float64), image[cells].mean(0, dtype=np.float64)])


def model_card(model: Synthesizer, fidelity: StyleFidelity, command: str) -> str:
    """Return the model card in Markdown.

    Parameters
    ----------
    model : Synthesizer
    fidelity : StyleFidelity
    command : str
        Command line of the training; empty if it was called from Python.
    """
    config, data = model.config, model.config.data
    parameters = sum(p.numel() for p in model.generator.parameters())
    shapes = (
        "parametric shape model; contours of real cells are not stored"
        if isinstance(model.shapes, ParametricShapes)
        else f"{len(model.shapes)} contours of real cells"
    )
    columns = ((fidelity.correlation, 3), (fidelity.spread, 3), (fidelity.error, 1))
    rows = "\n".join(
        f"| {part} | " + " | ".join(_rgb(values[k], digits) for values, digits in columns) + " |"
        for k, part in enumerate(("background", "cells"))
    )
    training = config.training
    ancestors = "".join(
        f"\n| pretrained model | trained on {_smears(pretrained.data)} (hash {pretrained.hash[:12]}); "
        f"data licence {_cell(pretrained.data.licence)}; citation {_cell(pretrained.data.citation)} |"
        for pretrained in config.ancestors
    )
    inherited = f"\n\n{_INHERITED} {_cell(config.licence)}." if config.ancestors else ""
    height, width = model.statistics.field_size
    network = config.network
    layers = f"{network.downs} downsampling layers, {network.blocks} residual blocks"
    return f"""# Model card

A smearsynth synthesizer: it generates blood-smear images from instance labels. Its images are synthetic.

| | |
|---|---|
| version | smearsynth {config.smearsynth} |
| command | `{_cell(command) or "smearsynth.train"}` |
| data | {_smears(data)} |
| data licence | {_cell(data.licence)} |
| citation | {_cell(data.citation)} |{ancestors}
| classes | {_cell(", ".join(model.class_names))} |
| field | {width}×{height} px; mean cell size {model.statistics.cell_size:.0f} px |
| generator | {parameters / 1e6:.1f} M parameters, {layers} |
| training | {config.steps_done} steps of {training.batch} crops of {training.crop[1]}×{training.crop[0]} px |
| perceptual features | {training.perceptual_features} |
| shapes | {shapes} |{inherited}

## Style fidelity

Mean colours (R, G, B) of {fidelity.smears} training smears and of their reconstructions from their own styles.
Spread is the standard deviation over the reconstructions divided by that over the real smears.

| | correlation | spread | mean error, grey levels |
|---|---|---|---|
{rows}

## Limits

The model generates only the magnification, stains and cell classes of its training smears. Objects without label in
the training smears (dirt, platelets, ghosts) are part of the background. Use it to train and test image analysis,
not for diagnosis. Measure on real smears whether it helps a given task.
"""


def _smears(data: DataSource) -> str:
    split = f", split {data.split}" if data.split else ""
    return f"{_cell(data.name)}, {data.smears} smears{split}, scale {data.scale:g}"


def _cell(text: str) -> str:
    """Return text that is valid in a cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")


def _rgb(values: npt.NDArray[np.float64], digits: int) -> str:
    return ", ".join(f"{value:.{digits}f}" if np.isfinite(value) else "unknown" for value in values)
