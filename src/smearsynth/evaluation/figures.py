"""The figure of a layout certificate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smearsynth.evaluation.certificate import Certificate, Curve

_COLOURS = {"contact": "#c0392b", "ring": "#2980b9", "uniform": "#7f8c8d"}
_INK, _BAND, _EDGE = "#222222", "#d9e6d3", "#bbbbbb"
_ACROSS = 4


def certificate_figure(certificate: Certificate) -> Any:
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
