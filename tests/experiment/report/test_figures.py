from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image

from benefit_results import TASKS, make_result
from smearsynth.experiment.records import BenefitResult
from smearsynth.experiment.report.figures import (
    DARK,
    LIGHT,
    curves_figure,
    differences_figure,
    images_figure,
    render_png,
)


@pytest.fixture(scope="module")
def result() -> BenefitResult:
    return make_result()


def titles(figure: Any) -> list[str]:
    return [panel.get_title(loc="left") for panel in figure.axes]


def test_every_figure_has_a_panel_per_task(result: BenefitResult) -> None:
    for draw in (differences_figure, curves_figure, images_figure):
        assert titles(draw(result, LIGHT)) == ["Segmentation", "Detection", "Detection from segmentation"]


def test_markers_are_filled_if_the_interval_excludes_0() -> None:
    result = make_result(("segmentation",), ("RD", "RD+SD"), (60,))
    (difference,) = result.differences
    for low, is_filled in ((0.01, True), (-0.01, False)):
        change = {"mean": 0.02, "low": low, "high": 0.03}
        changed = result.model_copy(update={"differences": (difference.model_copy(update=change),)})
        (panel,) = differences_figure(changed, DARK).axes
        (marker,) = [line for line in panel.lines if line.get_marker() == "o"]
        assert marker.get_markerfacecolor() == (DARK.better if is_filled else DARK.background)
        assert marker.get_xdata() == [0.02]
        assert marker.get_color() == (DARK.better if is_filled else DARK.muted)


def test_a_curve_shows_the_mean_over_seeds(result: BenefitResult) -> None:
    panel = curves_figure(result, LIGHT).axes[0]
    curve = panel.lines[0]  # RD
    assert len(curve.get_xdata()) == 3
    for y, size in zip(curve.get_ydata(), (3, 10, 60), strict=True):
        values = [run.value for run in result.runs_of("segmentation", "RD", size)]
        assert y == pytest.approx(sum(values) / 3)


@pytest.mark.parametrize("tasks", [TASKS[:1], TASKS[:2], TASKS])
def test_the_legend_fits_into_the_figure(tasks: Any) -> None:
    figure = curves_figure(make_result(tasks), LIGHT)
    render_png(figure)
    box, (width, height) = figure.legends[0].get_window_extent(), figure.canvas.get_width_height()
    assert box.x0 >= 0
    assert box.x1 <= width
    assert 0 <= box.y0 < box.y1 < height


def test_a_point_per_test_image(result: BenefitResult) -> None:
    figure = images_figure(result, LIGHT)
    assert len(figure.axes) == len(TASKS)
    assert [len(panel.collections[0].get_offsets()) for panel in figure.axes] == [12, 12, 12]
    assert [text.get_text() for text in figure.axes[0].texts] == ["1", "2", "3"]


def test_a_figure_is_rendered_in_its_background_colour(result: BenefitResult) -> None:
    image = Image.open(io.BytesIO(render_png(curves_figure(result, DARK)))).convert("RGB")
    assert image.getpixel((0, 0)) == tuple(bytes.fromhex(DARK.background[1:]))
