from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from smears import analytic_smear
from smearsynth.annotation.labelling import (
    CellLabels,
    labels_from_boxes,
    labels_from_image,
    labels_from_points,
    unlabelled_cells,
)
from smearsynth.errors import DataError, OptionError
from smearsynth.metrics.matching import label_ious, match
from smearsynth.smear import Smear

# Two separate cells, an overlapping pair, a touching triple, and two that the border cuts.
DISCS = [
    (40, 40, 17), (100, 42, 18), (150, 45, 17), (172, 58, 17), (50, 110, 17), (83, 112, 17), (66, 140, 17),
    (150, 120, 18), (205, 110, 17), (0, 170, 17), (120, 187, 18),
]  # fmt: skip
INSIDE = 9


@pytest.fixture(scope="module")
def field() -> Smear:
    return analytic_smear((190, 240), DISCS, noise=3.0)


def check(cells: CellLabels, shape: tuple[int, int]) -> None:
    n = len(cells.confidence)
    assert cells.labels.shape == shape
    assert cells.labels.dtype == np.int32
    assert np.unique(cells.labels[cells.labels > 0]).tolist() == list(range(1, n + 1))
    assert cells.source.shape == (n,)
    assert ((cells.confidence >= 0) & (cells.confidence <= 1)).all()


def matches(cells: CellLabels, field: Smear, iou: float = 0.7) -> int:
    return match(label_ious(cells.labels, field.labels), iou).tp


def loose_boxes(field: Smear) -> np.ndarray:
    return field.boxes()[:INSIDE] + np.array([-3.0, -2, 4, 2])


def test_boxes_give_outlines_at_the_visible_edge(field: Smear) -> None:
    cells = labels_from_boxes(field.image, loose_boxes(field), add_border_cells=False)
    check(cells, field.shape)
    assert cells.source.tolist() == list(range(INSIDE))
    assert matches(cells, field, 0.8) == INSIDE


@pytest.mark.parametrize(("scale", "iou"), [(0.75, 0.7), (1.25, 0.8)])
def test_the_outline_follows_the_cell_if_the_box_has_another_size(scale: float, iou: float) -> None:
    field = analytic_smear((90, 90), [(45, 45, 20)])
    half = 20 * scale
    cells = labels_from_boxes(field.image, [[45 - half, 45 - half, 45 + half, 45 + half]])
    assert matches(cells, field, iou) == 1


def test_border_cells_are_added_where_the_boxes_leave_them_out(field: Smear) -> None:
    by_rule = labels_from_boxes(field.image, loose_boxes(field))
    assert by_rule.source.tolist() == [*range(INSIDE), -1, -1]
    assert matches(by_rule, field) == len(DISCS)
    assert labels_from_boxes(field.image, []).labels.max() == 0
    boxes = field.boxes()[: INSIDE + 1]
    assert -1 not in labels_from_boxes(field.image, boxes).source
    assert (labels_from_boxes(field.image, boxes, add_border_cells=True).source == -1).sum() == 1


def test_an_empty_box_gives_an_ellipse_with_low_confidence(field: Smear) -> None:
    boxes = np.concatenate([loose_boxes(field), [[200, 20, 232, 52]]])
    cells = labels_from_boxes(field.image, boxes, add_border_cells=False)
    k = int(np.flatnonzero(cells.source == INSIDE)[0])
    assert cells.confidence[k] == cells.confidence.min()
    assert cells.confidence[k] < 0.5 * np.sort(cells.confidence)[1]
    assert (cells.labels == k + 1).sum() == pytest.approx(np.pi * 16**2, rel=0.2)
    assert cells.labels[36, 216] == k + 1


def test_a_pale_cell_is_found_by_a_threshold_of_its_own() -> None:
    field = analytic_smear((100, 160), [(40, 50, 18), (110, 50, 18)], noise=1.0)
    image = field.image.astype(float)
    pale = field.labels == 2
    image[pale] = 0.88 * image[5, 5] + 0.12 * image[pale]
    cells = labels_from_boxes(np.rint(image).astype(np.uint8), field.boxes() + np.array([-3, -3, 3, 3]))
    assert matches(cells, field) == 2


def test_unusable_boxes_give_no_cell(field: Smear) -> None:
    box = loose_boxes(field)[0]
    boxes = [box, box + 0.5, [500, 500, 540, 540], [9, 9, 3, 3], [np.nan, 0, 5, 5]]
    cells = labels_from_boxes(field.image, boxes, add_border_cells=False)
    assert cells.source.tolist() == [0]


def test_a_box_partly_outside_the_field_gives_the_visible_part(field: Smear) -> None:
    cells = labels_from_boxes(field.image, [[-17, 153, 17, 187]], add_border_cells=False)
    assert matches(cells, field, 0.8) == 1


def test_points_anywhere_in_the_cells_give_the_cells(field: Smear) -> None:
    rng = np.random.default_rng(1)
    points = np.array(DISCS[:INSIDE])[:, :2] + rng.uniform(-5, 5, (INSIDE, 2))
    for diameter in (None, 34.0):
        cells = labels_from_points(field.image, points, diameter=diameter)
        check(cells, field.shape)
        assert cells.source.tolist() == [*range(INSIDE), -1, -1]
        assert matches(cells, field) == len(DISCS)


def test_points_divide_what_looks_like_one_cell() -> None:
    field = analytic_smear((80, 100), [(40, 40, 18), (50, 40, 18)])
    first, second = labels_from_image(field.image, diameter=36).labels[40, [30, 60]]
    assert first == second > 0
    cells = labels_from_points(field.image, [[36, 38], [55, 42]], diameter=36, add_border_cells=False)
    assert cells.labels[40, [30, 60]].tolist() == [1, 2]


def test_points_in_one_place_and_outside_give_no_further_cell(field: Smear) -> None:
    points = [[40, 40], [40, 40], [41, 40], [-5, 3], [240, 3], [np.nan, 2]]
    assert labels_from_points(field.image, points, add_border_cells=False).source.tolist() == [0]


def test_a_point_on_background_gives_a_disc_with_low_confidence(field: Smear) -> None:
    cells = labels_from_points(field.image, [[40, 40], [216, 36]], add_border_cells=False)
    assert cells.source.tolist() == [0, 1]
    assert cells.confidence[1] < 0.5 < cells.confidence[0]


def test_cells_without_a_point_are_added_on_request(field: Smear) -> None:
    points = [[40, 40], [100, 42]]
    assert labels_from_points(field.image, points, add_border_cells=False).source.tolist() == [0, 1]
    everything = labels_from_points(field.image, points, add_unmarked_cells=True)
    assert everything.source[:2].tolist() == [0, 1]
    assert matches(everything, field) == len(DISCS)


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.5])
def test_cells_are_found_in_the_image_alone(field: Smear, scale: float) -> None:
    scaled = field.resized(scale)
    cells = labels_from_image(scaled.image)
    check(cells, scaled.shape)
    assert (cells.source == -1).all()
    assert matches(cells, scaled) == len(DISCS)


def test_the_least_certain_cell_is_the_wrong_one(field: Smear) -> None:
    # Two cells in one box: neither is outlined by the result.
    x0, y0, x1, y1 = field.boxes()[[2, 3], :][:, [0, 1, 2, 3]].T
    boxes = np.concatenate([loose_boxes(field)[[0, 1, 7, 8]], [[x0.min(), y0.min(), x1.max(), y1.max()]]])
    cells = labels_from_boxes(field.image, boxes, add_border_cells=False)
    assert int(cells.confidence.argmin()) == 4


Task = Callable[..., CellLabels]
TASKS: list[Task] = [
    lambda image, **options: labels_from_boxes(image, [[2, 2, 12, 14], [-5, -5, 4, 4], [4, 4, 10, 30]], **options),
    lambda image, **options: labels_from_points(image, [[5, 5], [19, 19], [5.2, 5]], **options),
    lambda image, **options: labels_from_boxes(image, [], **options),
    lambda image, **options: labels_from_points(image, [], **options),
    lambda image, **options: labels_from_image(image, **options),
]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("shape", [(20, 20), (1, 1), (3, 50), (90, 120)])
def test_images_without_cells(task: Task, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    ramp = np.broadcast_to(np.linspace(120, 230, shape[1])[None, :, None], (*shape, 3))
    for image in (np.full((*shape, 3), 200.0), rng.normal(200, 8, (*shape, 3)), ramp, np.zeros((*shape, 3))):
        check(task(np.clip(image, 0, 255).astype(np.uint8)), shape)


@pytest.mark.parametrize("noise", [0.0, 5.0])
def test_no_cells_are_found_where_there_are_none(noise: float) -> None:
    assert labels_from_image(analytic_smear((120, 160), [], noise=noise).image).labels.max() == 0
    y, x = np.mgrid[-1:1:120j, -1:1:160j]
    light = np.clip(200 - 30 * x + 20 * y * x + np.random.default_rng(0).normal(0, noise, (120, 160)), 0, 255)
    assert labels_from_image(np.stack([light.astype(np.uint8)] * 3, 2)).labels.max() == 0


def test_a_second_opinion_changes_the_confidence(field: Smear) -> None:
    boxes = loose_boxes(field)
    alone = labels_from_boxes(field.image, boxes, add_border_cells=False)
    agreeing = labels_from_boxes(field.image, boxes, add_border_cells=False, second_opinion=field.labels)
    without_first = np.where(field.labels == 1, 0, field.labels).astype(np.int32)
    doubting = labels_from_boxes(field.image, boxes, add_border_cells=False, second_opinion=without_first)
    assert (agreeing.confidence > alone.confidence).all()
    assert doubting.confidence.argmin() == 0
    assert doubting.confidence[0] < alone.confidence[0]


def test_a_second_opinion_adds_cells_to_those_of_the_image_alone(field: Smear) -> None:
    opinion = field.labels.copy()
    opinion[20:50, 195:225] = 99
    cells = labels_from_image(field.image, second_opinion=opinion)
    check(cells, field.shape)
    k = cells.labels[35, 210]
    assert k > 0
    assert cells.confidence[k - 1] < 0.5
    boxed = labels_from_boxes(field.image, loose_boxes(field), second_opinion=opinion)
    assert boxed.labels[35, 210] == 0


def test_visible_cells_without_a_label_are_reported(field: Smear) -> None:
    labels = np.where(field.labels == 2, 0, field.labels).astype(np.int32)
    mask = unlabelled_cells(field.image, labels)
    assert not (mask & (labels > 0)).any()
    assert (mask & (field.labels == 2)).sum() > 0.9 * (field.labels == 2).sum()
    assert mask[field.labels == 0].sum() < 0.05 * (field.labels == 0).sum()


def test_wrong_arguments_are_reported(field: Smear) -> None:
    with pytest.raises(DataError, match=r"boxes must be \(m, 4\), got \(1, 3\)"):
        labels_from_boxes(field.image, [[1, 2, 3]])
    with pytest.raises(DataError, match="points must be"):
        labels_from_points(field.image, [[1, 2, 3]])
    with pytest.raises(DataError, match="image must be"):
        labels_from_image(field.image[..., 0])
    with pytest.raises(DataError, match="do not fit"):
        labels_from_image(field.image, second_opinion=np.zeros((3, 3), np.int32))
    with pytest.raises(OptionError, match="diameter"):
        labels_from_image(field.image, diameter=0.0)
