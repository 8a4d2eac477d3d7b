from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from label_images import discs, jpeg, outlines
from smearsynth.formats.label_images.label_checks import (
    BINARY_PROBLEM,
    background_index,
    class_problem,
    clean_labels,
    label_problem,
    level_problem,
    looks_lossy,
    nested,
    overflow_problem,
    overflow_remark,
    void_index,
)
from smearsynth.formats.label_images.label_summary import LabelSummary

DISCS = discs()


def summary_of(ids: np.ndarray) -> LabelSummary:
    return LabelSummary.of(ids)


def no_others() -> list[LabelSummary]:
    return []


@pytest.mark.parametrize("ids", [DISCS, discs(1, 3), discs(12, 12, 4, 12), np.kron(DISCS, np.ones((4, 4), int))])
def test_instance_labels_pass_all_checks(ids: np.ndarray) -> None:
    clean = clean_labels(summary_of(ids))
    assert clean.remarks == ()
    assert (clean.summary.labels == ids).all()
    assert label_problem(clean.summary, no_others) is None


def test_a_few_cells_in_two_pieces_and_lobes_of_a_nucleus_pass() -> None:
    ids = DISCS.copy()
    ids[:, 6:8] = 0  # cuts four cells
    ids[ids == 30] = 9  # far from cell 9
    assert label_problem(summary_of(ids), no_others) is None
    near = np.zeros((60, 60), int)
    for k in range(4):
        near[10 + 8 * k : 15 + 8 * k, 10:15] = 1
    assert label_problem(summary_of(near), no_others) is None


@pytest.mark.parametrize("value", [1, 8, 255])
def test_a_background_that_is_not_zero(value: int) -> None:
    ids = np.where(DISCS == 0, value, DISCS + (value <= DISCS))
    clean = clean_labels(summary_of(ids))
    assert (clean.summary.labels == DISCS).all()
    assert clean.remarks == (f"id {value} is read as the background: it surrounds the cells, and no pixel is 0",)


def test_a_watershed_with_lines_of_zero() -> None:
    ids = DISCS + 1
    ids[ndimage.maximum_filter(ids, 3) != ids] = 0
    clean = clean_labels(summary_of(ids))
    assert clean.summary.count == DISCS.max()
    assert "no more than a line is 0" in clean.remarks[0]


def test_a_large_cell_and_a_field_full_of_cells_are_no_background() -> None:
    y, x = np.mgrid[:40, :40]
    large = ((y - 20) ** 2 + (x - 20) ** 2 <= 400).astype(int)
    large[20, 20] = 2
    assert background_index(summary_of(large)) is None
    tiles = 1 + (y // 8) * 5 + x // 8
    assert background_index(summary_of(tiles)) is None
    assert background_index(summary_of(np.full((4, 4), 3))) == 0


@pytest.mark.parametrize("value", [99, 255, 9999])
def test_a_void_border_is_given_to_the_cell_inside(value: int) -> None:
    clean = clean_labels(summary_of(np.where(outlines(DISCS), value, DISCS)))
    assert clean.summary.count == DISCS.max()
    assert ((clean.summary.labels > 0) == (DISCS > 0)).all()
    assert f"id {value} is a thin border" in clean.remarks[0]


def test_void_far_from_a_cell_is_ignored() -> None:
    ids = np.where(outlines(DISCS), 255, DISCS)
    ids[:14] = 0
    ids[:6] = 255
    clean = clean_labels(summary_of(ids))
    assert clean.ignored is not None
    assert clean.ignored[0].all()
    assert not clean.ignored[12:].any()


def test_cytoplasm_and_a_touching_cell_are_no_void() -> None:
    cell = np.zeros((60, 60), int)
    cell[10:50, 10:50] = 1
    cell[20:40, 20:40] = 2
    assert void_index(summary_of(cell)) is None
    assert void_index(summary_of(DISCS)) is None


def test_pixels_of_the_ignore_value() -> None:
    ids = DISCS.copy()
    ids[:, :20] = 200
    clean = clean_labels(summary_of(ids), 200)
    assert clean.ignored is not None
    assert (clean.ignored == (ids == 200)).all()
    assert 200 not in clean.summary.ids
    assert clean_labels(summary_of(DISCS), 200).ignored is None


@pytest.mark.parametrize("count", [257, 300, 340, 400])
def test_more_than_255_cells_in_8_bits(count: int) -> None:
    ids = discs(20, 20, 4, 12, touching=False)
    ids[ids > count] = 0
    wrapped, clipped = ids.astype(np.uint8), np.minimum(ids, 255)
    assert "as if more than 255 cells" in str(overflow_problem(summary_of(wrapped)))
    assert f"id 255 lies in {count - 254} pieces" in str(overflow_problem(summary_of(clipped)))
    assert overflow_problem(summary_of(ids)) is None


def test_255_cells_with_some_in_two_pieces_are_no_overflow() -> None:
    ids = discs(20, 20, 4, 12, touching=False)
    ids[ids > 258] = 0
    for first, second in ((256, 17), (257, 120), (258, 201)):
        ids[ids == first] = second
    assert label_problem(summary_of(ids), no_others) is None
    assert overflow_remark(summary_of(ids)) is not None
    ids[ids == 255] = 0
    assert overflow_remark(summary_of(ids)) is None


@pytest.mark.parametrize("values", [(1, 2, 3), (64, 128, 255)])
def test_class_codes(values: tuple[int, ...]) -> None:
    codes = np.array([0, *(values[k % 3] for k in range(DISCS.max()))])[DISCS]
    message = str(class_problem(summary_of(codes), no_others))
    assert f"the values {', '.join(map(str, values))} lie in separate pieces" in message
    assert "--binary" in message
    assert class_problem(summary_of((DISCS > 0) * 7), no_others) == BINARY_PROBLEM


def test_class_codes_of_few_cells_are_recognised_by_the_other_files() -> None:
    codes = np.zeros((40, 200), int)
    codes[10:20, 10:20] = codes[10:20, 180:190] = 1
    codes[10:20, 90:100] = 2
    summary = summary_of(codes)
    assert class_problem(summary, no_others) is None
    assert class_problem(summary, lambda: [summary, summary]) is not None
    assert class_problem(summary, lambda: [summary_of(DISCS)]) is None


def test_one_id_of_many_cells_among_instance_ids() -> None:
    ids = np.where(DISCS > 20, 99, DISCS)
    assert "id 99 lies in" in str(class_problem(summary_of(ids), no_others))


@pytest.mark.parametrize("quality", [30, 75, 95])
def test_a_lossy_mask_and_a_photograph(quality: int) -> None:
    lossy = summary_of(jpeg(DISCS > 0, quality))
    assert looks_lossy(lossy)
    assert "lossy compression" in str(label_problem(lossy, no_others))
    grey = 60 + np.random.default_rng(0).integers(0, 40, DISCS.shape)
    assert "grey values" in str(label_problem(summary_of(grey), no_others))
    assert not looks_lossy(summary_of(DISCS))


def cell_with_nucleus(shift: int, outer: int = 128, inner: int = 255) -> LabelSummary:
    y, x = np.mgrid[:80, :80]
    ids = np.where((y - 40) ** 2 + (x - 40) ** 2 <= 900, outer, 0)
    ids[(y - 40 - shift) ** 2 + (x - 40) ** 2 <= 100] = inner
    return summary_of(ids)


def test_levels_of_one_cell() -> None:
    cells = [cell_with_nucleus(shift) for shift in (0, 5, 10)]
    assert "the values 128, 255 lie inside one another" in str(level_problem(cells[0], lambda: cells[1:]))
    assert "the values 1, 2 lie" in str(
        level_problem(cell_with_nucleus(0, 1, 2), lambda: [cell_with_nucleus(3, 1, 2)] * 2)
    )
    # A platelet on a cell is no level, if other files have more cells or cells side by side.
    assert level_problem(cell_with_nucleus(0, 1, 2), no_others) is None
    assert level_problem(cell_with_nucleus(0, 1, 2), lambda: [summary_of(DISCS)] * 3) is None
    assert not nested(summary_of(np.where(DISCS < 3, DISCS, 0)))
