"""Figures of evaluation results as PNG files: layout check, nearest training cells, wrong labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from smearsynth.evaluation.audit.record import Audit
from smearsynth.evaluation.label_fidelity import LabelFidelity
from smearsynth.evaluation.layout_check import CONTROL, Curve, LayoutCheck
from smearsynth.files import atomic_write
from smearsynth.report.overlays import overlay
from smearsynth.smear import ImageArray, Smear

if TYPE_CHECKING:  # Matplotlib takes a second to import
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LAYOUT_COLOURS = {"contact": "#c0392b", "ring": "#2980b9", "uniform": "#7f8c8d", CONTROL: "#8e44ad"}
_BLACK, _RED, _ENVELOPE, _EDGE = "#222222", "#c0392b", "#d9e6d3", "#bbbbbb"
_CURVE_COLUMNS, _PANEL_COLUMNS = 4, 6
_MAX_PANELS = 24
_PADDING = 235  # grey level outside of an image


class _Panel(NamedTuple):
    image: ImageArray
    title: str
    colour: str


def layout_check_figure(check: LayoutCheck, path: Path | str | None = None) -> Figure:
    """Draw every statistic of a layout check: real smears with their envelope, and each layout.

    Parameters
    ----------
    check : LayoutCheck
    path : Path or str, optional
        PNG file to write.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    DataError
        If the file cannot be written.
    """
    figure, axes = _new_figure(len(check.curves), _CURVE_COLUMNS, (4.2, 3.3))
    for ax, (name, curve) in zip(axes, check.curves.items(), strict=False):
        ax.set_axis_on()
        _draw_curve(ax, curve, {layout: verdict.inside for layout, verdict in check.statistics[name].items()})
    figure.suptitle(
        f"{check.smears} real smears (black, with 95 % envelope) and {check.draws} fields per layout; dashed: the "
        "layout differs from the real smears",
        fontsize=10,
        color=_BLACK,
    )
    if path is not None:
        _save(figure, path)
    return figure


def pairs_figure(audit: Audit, synthetic: Sequence[Smear], training: Sequence[Smear], path: Path | str) -> Path:
    """Draw the synthetic cells with the largest margins beside their nearest training cells in the same pose.

    Parameters
    ----------
    audit : Audit
    synthetic, training : sequence of Smear
        The smears of the audit; `training` may contain others.
    path : Path or str
        PNG file to write.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    DataError
        If the file cannot be written.
    """
    synthetic_smears, training_smears = _by_name(synthetic), _by_name(training)
    panels = []
    for pair in audit.pairs[:_MAX_PANELS]:
        left = _cell_window(synthetic_smears[pair.synthetic], pair.synthetic_label)
        right = _cell_window(training_smears[pair.training], pair.training_label)
        right = right[::-1] if pair.mirrored else right
        rotated = Image.fromarray(right).rotate(
            -pair.rotation, resample=Image.Resampling.BICUBIC, fillcolor=(_PADDING, _PADDING, _PADDING)
        )
        title = f"{pair.margin:z.2f}  " + "\n".join(pair.places)
        panels.append(_Panel(_side_by_side(left, np.array(rotated)), title, _RED if pair.flagged else _BLACK))
    heading = (
        f"Synthetic cells (left) and their nearest training cells in the same pose. Red: margin over "
        f"{audit.threshold:.2f}, flagged as a copy ({audit.flagged} of {audit.cells} cells)."
    )
    return _draw_panels(panels, heading, path)


def disagreements_figure(labels: LabelFidelity, smears: Sequence[Smear], path: Path | str) -> Path:
    """Draw the worst labels and the largest cells without a label, without and with outlines of the labels.

    Parameters
    ----------
    labels : LabelFidelity
    smears : sequence of Smear
        The smears whose labels were compared.
    path : Path or str
        PNG file to write.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    DataError
        If the file cannot be written.
    """
    by_name = _by_name(smears)
    half = int(1.5 * np.sqrt(max([item.area for item in labels.disagreements] or [100]))) + 8
    panels = []
    for item in labels.worst(_MAX_PANELS // 2):
        smear = by_name[item.smear]
        centre = round(item.y), round(item.x)
        image = _side_by_side(_window(smear.image, centre, half), _window(overlay(smear), centre, half))
        panels.append(_Panel(image, f"{item.smear}\n{item.description}", _BLACK))
    heading = (
        f"Of {labels.cells} synthetic cells, {labels.wrong} labels are wrong (IoU below {labels.limits.iou:.2f}) "
        f"and {labels.missing} cells are missing. The worst, without and with labels."
    )
    return _draw_panels(panels, heading, path)


def _draw_curve(ax: Axes, curve: Curve, inside: dict[str, bool]) -> None:
    ax.set_title(curve.title, fontsize=10, loc="left", color=_BLACK)
    for spine in ax.spines.values():
        spine.set_color(_EDGE)
    ax.tick_params(labelsize=8, colors=_BLACK)
    if len(curve.x) == 1:
        _draw_values(ax, curve, inside)
        return
    ax.fill_between(curve.x, curve.low, curve.high, color=_ENVELOPE)
    ax.plot(curve.x, curve.real, color=_BLACK, lw=1.5, label="real")
    for layout, values in curve.layouts.items():
        style = "-" if inside[layout] else "--"
        ax.plot(curve.x, values, style, color=_LAYOUT_COLOURS.get(layout, _BLACK), lw=1.2, label=layout)
    ax.set_xlabel(curve.x_name, fontsize=8, color=_BLACK)
    ax.legend(fontsize=7, frameon=False)


def _draw_values(ax: Axes, curve: Curve, inside: dict[str, bool]) -> None:
    """Draw a statistic that is a single number: a circle inside the envelope, a cross outside."""
    ax.axhspan(curve.low[0], curve.high[0], color=_ENVELOPE)
    ax.axhline(curve.real[0], color=_BLACK)
    for k, (layout, values) in enumerate(curve.layouts.items()):
        colour, marker = _LAYOUT_COLOURS.get(layout, _BLACK), "o" if inside[layout] else "x"
        ax.plot([k], values, marker, color=colour)
    ax.set_xticks(range(len(curve.layouts)), list(curve.layouts), fontsize=8)
    ax.set_xlim(-0.5, len(curve.layouts) - 0.5)


def _draw_panels(panels: Sequence[_Panel], heading: str, path: Path | str) -> Path:
    figure, axes = _new_figure(len(panels), _PANEL_COLUMNS, (2.6, 1.9), heading_height=0.6)
    for ax, panel in zip(axes, panels, strict=False):
        ax.imshow(panel.image, interpolation="nearest")
        ax.set_title(panel.title, fontsize=7, color=panel.colour)
    figure.suptitle(heading, fontsize=10)
    return _save(figure, path)


def _new_figure(
    count: int, columns: int, panel_size: tuple[float, float], heading_height: float = 0.0
) -> tuple[Figure, Sequence[Axes]]:
    """Return a figure with at least `count` axes, all of them off; sizes are (width, height) in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = max(1, -(-count // columns))
    size = (panel_size[0] * columns, panel_size[1] * rows + heading_height)
    figure = Figure(figsize=size, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for ax in axes:
        ax.set_axis_off()
    return figure, axes


def _save(figure: Figure, path: Path | str) -> Path:
    with atomic_write(Path(path)) as temporary:
        figure.savefig(temporary, format="png", dpi=110, metadata={"Software": "smearsynth"})
    return Path(path)


def _by_name(smears: Iterable[Smear]) -> dict[str, Smear]:
    return {smear.name: smear for smear in smears}


def _cell_window(smear: Smear, label: int) -> ImageArray:
    x0, y0, x1, y1 = smear.boxes()[label - 1].tolist()
    return _window(smear.image, ((y0 + y1) // 2, (x0 + x1) // 2), int(0.75 * max(x1 - x0, y1 - y0)) + 2)


def _window(image: ImageArray, centre: tuple[int, int], half: int) -> ImageArray:
    """Cut a square with sides of 2 `half` px around (y, x); pixels outside of the image are grey."""
    padded = np.pad(image, ((half, half), (half, half), (0, 0)), constant_values=_PADDING)
    return padded[centre[0] : centre[0] + 2 * half, centre[1] : centre[1] + 2 * half]


def _side_by_side(left: ImageArray, right: ImageArray) -> ImageArray:
    height, gap = max(len(left), len(right)), 2
    image = np.full((height, left.shape[1] + gap + right.shape[1], 3), 255, np.uint8)
    image[: len(left), : left.shape[1]] = left
    image[: len(right), left.shape[1] + gap :] = right
    return image
