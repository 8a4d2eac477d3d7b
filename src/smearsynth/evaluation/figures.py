"""The figure of a layout certificate."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from smearsynth.evaluation.audit.record import Audit
from smearsynth.evaluation.label_fidelity import LabelFidelity
from smearsynth.files import atomic_write
from smearsynth.report.overlays import overlay
from smearsynth.smear import ImageArray, Smear

if TYPE_CHECKING:
    from smearsynth.evaluation.layout_check import Curve, LayoutCheck

_COLOURS = {"contact": "#c0392b", "ring": "#2980b9", "uniform": "#7f8c8d"}
_INK, _BAND, _EDGE = "#222222", "#d9e6d3", "#bbbbbb"
_ACROSS = 4


def layout_check_figure(certificate: LayoutCheck) -> Any:
    """Draw the real statistics, their envelopes and those of the layouts, as a matplotlib Figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    curves = certificate.curves
    down = -(-len(curves) // _ACROSS)
    figure = Figure(figsize=(4.2 * _ACROSS, 3.3 * down), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(down, _ACROSS, squeeze=False).ravel()
    for place, (name, curve) in zip(axes, curves.items(), strict=False):
        _draw(place, curve, {layout: one.inside for layout, one in certificate.statistics[name].items()})
    for place in axes[len(curves) :]:
        place.set_axis_off()
    figure.suptitle(
        f"{certificate.smears} real smears (black, with their 95 % envelope) and {certificate.draws} fields of "
        "each layout; dashed where the layout can be told from them",
        fontsize=10,
        color=_INK,
    )
    return figure


def _draw(axes: Any, curve: Curve, inside: dict[str, bool]) -> None:
    axes.set_title(curve.title, fontsize=10, loc="left", color=_INK)
    for spine in axes.spines.values():
        spine.set_color(_EDGE)
    axes.tick_params(labelsize=8, colors=_INK)
    if len(curve.x) == 1:
        axes.axhspan(curve.low[0], curve.high[0], color=_BAND)
        axes.axhline(curve.real[0], color=_INK)
        for k, (layout, values) in enumerate(curve.layouts.items()):
            colour, mark = _COLOURS.get(layout, _INK), "o" if inside[layout] else "x"
            axes.plot([k], values, mark, color=colour)
        axes.set_xticks(range(len(curve.layouts)), list(curve.layouts), fontsize=8)
        axes.set_xlim(-0.5, len(curve.layouts) - 0.5)
        return
    axes.fill_between(curve.x, curve.low, curve.high, color=_BAND)
    axes.plot(curve.x, curve.real, color=_INK, lw=1.5, label="real")
    for layout, values in curve.layouts.items():
        style = "-" if inside[layout] else "--"
        axes.plot(curve.x, values, style, color=_COLOURS.get(layout, _INK), lw=1.2, label=layout)
    axes.set_xlabel(curve.x_name, fontsize=8, color=_INK)
    axes.legend(fontsize=7, frameon=False)


def pairs_figure(found: Audit, synthetic: Sequence[Smear], training: Sequence[Smear], path: Path | str) -> Path:
    """Draw the synthetic cells nearest to a training cell, each beside it, turned to lie alike.

    Parameters
    ----------
    found : Audit
    synthetic, training : sequence of Smear
        As they were audited.
    path : Path or str
        The PNG to write.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    DataError
        When the file cannot be written.
    """
    ours, theirs = _by_name(synthetic), _by_name(training)
    panels = []
    for pair in found.pairs[:_PAIRS]:
        left = _around(ours[pair.synthetic], pair.synthetic_label)
        right = _around(theirs[pair.training], pair.training_label)
        right = right[::-1] if pair.mirrored else right
        turned = Image.fromarray(right).rotate(
            -pair.turn, resample=Image.Resampling.BICUBIC, fillcolor=(_GREY, _GREY, _GREY)
        )
        title = f"{pair.margin:z.2f}  " + "\n".join(pair.places)
        panels.append((_beside(left, np.array(turned)), title, _FLAGGED if pair.flagged else _PLAIN))
    heading = (
        f"Synthetic cells (left) and the training cell nearest to each, turned to lie alike; red: lead above "
        f"{found.threshold:.2f}, taken for a copy. {found.flagged} of {found.cells} cells are."
    )
    return _draw_panels(panels, heading, path)


def disagreements_figure(found: LabelFidelity, smears: Sequence[Smear], path: Path | str) -> Path:
    """Draw the labels that fit worst and the largest cells without a label, outlines over the image.

    Parameters
    ----------
    found : LabelFidelity
    smears : sequence of Smear
        As they were judged.
    path : Path or str
        The PNG to write.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    DataError
        When the file cannot be written.
    """
    known = _by_name(smears)
    half = int(1.5 * np.sqrt(max([one.area for one in found.disagreements] or [100]))) + 8
    panels = []
    for one in found.worst(_PAIRS // 2):
        smear = known[one.smear]
        middle = round(one.y), round(one.x)
        shown = _beside(_window(smear.image, middle, half), _window(overlay(smear), middle, half))
        panels.append((shown, f"{one.smear}\n{one.what}", _PLAIN))
    heading = (
        f"Of {found.cells} synthetic cells {found.wrong} labels are wrong (IoU below {found.limits.iou:.2f}) and "
        f"{found.missing} cells are missing; the worst, plain and with the labels."
    )
    return _draw_panels(panels, heading, path)


_FLAGGED, _PLAIN = "#c0392b", "#222222"
_PAIRS = 24

_PANELS_ACROSS = 6

_GREY = 235


def _by_name(smears: Iterable[Smear]) -> dict[str, Smear]:
    return {smear.name: smear for smear in smears}


def _around(smear: Smear, label: int) -> ImageArray:
    x0, y0, x1, y1 = smear.boxes()[label - 1].tolist()
    return _window(smear.image, ((y0 + y1) // 2, (x0 + x1) // 2), int(0.75 * max(x1 - x0, y1 - y0)) + 2)


def _window(image: ImageArray, middle: tuple[int, int], half: int) -> ImageArray:
    padded = np.pad(image, ((half, half), (half, half), (0, 0)), constant_values=_GREY)
    return padded[middle[0] : middle[0] + 2 * half, middle[1] : middle[1] + 2 * half]


def _beside(left: ImageArray, right: ImageArray) -> ImageArray:
    height, gap = max(len(left), len(right)), 2
    shown = np.full((height, left.shape[1] + gap + right.shape[1], 3), 255, np.uint8)
    shown[: len(left), : left.shape[1]] = left
    shown[: len(right), left.shape[1] + gap :] = right
    return shown


def _draw_panels(panels: Sequence[tuple[ImageArray, str, str]], heading: str, path: Path | str) -> Path:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    down = max(1, -(-len(panels) // _PANELS_ACROSS))
    figure = Figure(figsize=(2.6 * _PANELS_ACROSS, 1.9 * down + 0.6), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    places: Any = figure.subplots(down, _PANELS_ACROSS, squeeze=False).ravel()
    for place in places:
        place.set_axis_off()
    for place, (shown, title, colour) in zip(places, panels, strict=False):
        place.imshow(shown, interpolation="nearest")
        place.set_title(title, fontsize=7, color=colour)
    figure.suptitle(heading, fontsize=10)
    with atomic_write(Path(path)) as temporary:
        figure.savefig(temporary, format="png", dpi=110, metadata={"Software": "smearsynth"})
    return Path(path)
