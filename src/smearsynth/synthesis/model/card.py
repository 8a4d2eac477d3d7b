"""The model card: what a model learned from, how, how well it keeps the stain, and where it ends."""

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
    "Its generator and encoder began with the weights of another model, and hold what that one learned from its "
    "data, too. Whoever passes this model on has the licences of all data to respect:"
)


@dataclass(frozen=True)
class StyleFidelity:
    """How well mean colours come through when smears are painted again with their own styles.

    Parameters
    ----------
    correlation : (2, 3) float array
        Of reconstructed with real mean colours over the smears; rows background and cells, columns RGB.
    spread : (2, 3) float array
        Standard deviation of the reconstructed colours over that of the real ones.
    error : (2, 3) float array
        Mean absolute difference in grey levels.
    smears : int
    """

    correlation: npt.NDArray[np.float64]
    spread: npt.NDArray[np.float64]
    error: npt.NDArray[np.float64]
    smears: int

    @classmethod
    def measure(cls, model: Synthesizer, smears: Sequence[Smear]) -> StyleFidelity:
        """Encode, paint again and compare; smears without cells or without background are left out."""
        real, painted = [], []
        for k, smear in enumerate(smears):
            cells = smear.labels > 0
            if not cells.any() or cells.all():
                continue
            again = model.repaint(smear, k)
            real.append(mean_colours(smear.image, cells))
            painted.append(mean_colours(again, cells))
        return cls.of_colours(np.array(real).reshape(-1, 2, 3), np.array(painted).reshape(-1, 2, 3))

    @classmethod
    def of_colours(cls, real: npt.NDArray[np.float64], painted: npt.NDArray[np.float64]) -> StyleFidelity:
        """Compare mean colours of (n, 2, 3): smears × (background, cells) × RGB; NaN below two smears.

        Examples
        --------
        >>> colours = np.eye(3)[:, None].repeat(2, 1)
        >>> StyleFidelity.of_colours(colours, 0.5 * colours).spread.round(3).tolist()
        [[0.5, 0.5, 0.5], [0.5, 0.5, 0.5]]
        """
        if len(real) < 2:
            unknown = np.full((2, 3), np.nan)
            return cls(unknown, unknown, np.abs(painted - real).mean(0) if len(real) else unknown, len(real))
        a, b = real - real.mean(0), painted - painted.mean(0)
        scale = np.sqrt((a**2).sum(0))
        with np.errstate(invalid="ignore", divide="ignore"):
            spread = np.sqrt((b**2).sum(0)) / scale
            correlation = (a * b).sum(0) / (scale * np.sqrt((b**2).sum(0)))
        return cls(correlation, spread, np.abs(painted - real).mean(0), len(real))


def mean_colours(image: ImageArray, cells: Mask) -> npt.NDArray[np.float64]:
    """Mean RGB of background and of cells, (2, 3)."""
    return np.stack([image[~cells].mean(0, dtype=np.float64), image[cells].mean(0, dtype=np.float64)])


def model_card(model: Synthesizer, fidelity: StyleFidelity, command: str) -> str:
    """The card as Markdown."""
    config, data = model.config, model.config.data
    parameters = sum(p.numel() for p in model.generator.parameters())
    shapes = (
        "a fitted parametric shape model; no contour of a real cell is kept"
        if isinstance(model.shapes, ParametricShapes)
        else f"{len(model.shapes)} contours of real cells"
    )
    columns = ((fidelity.correlation, 3), (fidelity.spread, 3), (fidelity.error, 1))
    rows = "\n".join(
        f"| {part} | " + " | ".join(_three(values[k], digits) for values, digits in columns) + " |"
        for k, part in enumerate(("background", "cells"))
    )
    training = config.training
    starts = "".join(
        f"\n| started with | a model trained on {_smears(pretrained.data)} (hash {pretrained.hash[:12]}); "
        f"data licence {_cell(pretrained.data.licence)}; citation {_cell(pretrained.data.citation)} |"
        for pretrained in config.starts
    )
    inherited = f"\n\n{_INHERITED} {_cell(config.licence)}." if config.starts else ""
    height, width = model.statistics.field_size
    return f"""# Model card

A smearsynth synthesizer: from instance labels to blood-smear images. Its images are synthetic.

| | |
|---|---|
| made with | smearsynth {config.smearsynth} |
| command | `{_cell(command) or "smearsynth.synthesis.training.pipeline.train_synthesizer"}` |
| data | {_smears(data)} |
| data licence | {_cell(data.licence)} |
| citation | {_cell(data.citation)} |{starts}
| classes | {_cell(", ".join(model.class_names))} |
| field | {width}×{height} px, cells about {model.statistics.cell_size:.0f} px |
| generator | {parameters / 1e6:.1f} M parameters, {config.network.downs} downs, {config.network.blocks} blocks |
| training | {config.steps_done} steps of {training.batch} crops of {training.crop[1]}×{training.crop[0]} px |
| perceptual features | {training.perceptual_features} |
| shapes | {shapes} |{inherited}

## Style fidelity

{fidelity.smears} training smears painted again with their own styles: mean colours against the real ones, R, G, B.

| | correlation | spread, share of the real | mean error, grey levels |
|---|---|---|---|
{rows}

## Limits

It paints what it has seen: this magnification, these stains, these cell classes. What the labels of the training
smears leave out (dirt, platelets, ghosts) belongs to the background here too. It is for training and testing of
image analysis, not for diagnosis; whether it helps a given task has to be measured on real smears.
"""


def _smears(data: DataSource) -> str:
    split = f", split {data.split}" if data.split else ""
    return f"{_cell(data.name)}, {data.smears} smears{split}, scale {data.scale:g}"


def _cell(text: str) -> str:
    """Text as it may stand in a cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")


def _three(values: npt.NDArray[np.float64], digits: int) -> str:
    return ", ".join(f"{value:.{digits}f}" if np.isfinite(value) else "unknown" for value in values)
