"""Tests of the shape library on discs and rectangles of known area."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cell_contours import library_of, wavy_ellipses
from smears import analytic_smear, disc_mask, unannotated
from smearsynth.errors import DataError, ModelError, OptionError
from smearsynth.shapes.library import ShapeLibrary
from smearsynth.smear import Smear


def test_cut_cells_and_specks_are_excluded_and_reported():
    discs = [(25, 25, 10), (60, 25, 10), (95, 25, 10), (60, 70, 3), (0, 70, 10), (118, 60, 10)]
    smear = analytic_smear((90, 120), discs)
    library = ShapeLibrary.from_smears(iter([smear, smear]))
    report = library.report
    assert report is not None
    assert (report.total, report.kept, report.border, report.specks, report.fragments) == (12, 6, 4, 2, 0)
    assert len(library) == 6
    assert library.areas() == pytest.approx(np.tile(smear.areas()[:3], 2), rel=1e-5)
    assert report.smallest["cell"] == pytest.approx(0.2 * np.median([317, 317, 317, smear.areas()[3]]), rel=0.01)
    assert "4 cut by the border" in str(report)


def overlapping_pair(square: bool = False) -> Smear:
    """Return eight separate discs, and a ninth cell under a tenth, which cuts a piece out of its annotation."""
    separate = [(30 + 55 * (k % 4), 30 + 55 * (k // 4), 16) for k in range(8)]
    smear = analytic_smear((150, 240), [*separate, (60, 124, 16)])
    labels = smear.labels.copy()
    if square:
        labels[110:139, 46:75] = 9
    labels[disc_mask(labels.shape, (77, 124, 16))] = 10
    return Smear(smear.image, labels, np.zeros(10, int))


def test_partly_hidden_elliptic_cells_are_completed():
    smear = overlapping_pair()
    library = ShapeLibrary.from_smears([smear])
    report = library.report
    assert report is not None
    assert (report.total, report.hidden, report.cut, report.kept) == (10, 0, 0, 10)
    assert report.completed >= 1
    assert f"{report.completed} completed" in str(report)
    whole = smear.areas()[0]
    assert smear.areas()[8] < 0.8 * whole
    assert library.areas() == pytest.approx(np.full(10, whole), rel=0.03)
    # Many annotations separate cells by a line of background: cells are completed or excluded, but not used cut.
    labels = smear.labels.copy()
    beside = (labels[:, :-1] == 9) & (labels[:, 1:] == 10)
    labels[:, :-1][beside] = 0
    separated = ShapeLibrary.from_smears([replace(smear, labels=labels)])
    assert separated.report is not None
    assert separated.report.completed >= 1
    assert separated.areas() == pytest.approx(np.full(len(separated), whole), rel=0.03)


def test_partly_hidden_cells_of_another_form_are_excluded():
    smear = overlapping_pair(square=True)
    library = ShapeLibrary.from_smears([smear])
    report = library.report
    assert report is not None
    assert (report.total, report.kept, report.hidden + report.cut) == (10, 9, 1)
    assert f"{report.hidden} partly hidden, {report.cut} with a cut" in str(report)
    assert library.areas() == pytest.approx(np.full(9, smear.areas()[0]), rel=0.03)


def test_a_cut_without_a_neighbour_is_the_form_of_the_cell():
    smear = overlapping_pair()
    labels = np.where(smear.labels == 10, 0, smear.labels).astype(np.int32)
    alone = Smear(smear.image, labels, np.zeros(9, int))
    report = ShapeLibrary.from_smears([alone]).report
    assert report is not None
    assert (report.kept, report.cut, report.completed) == (9, 0, 0)


def test_half_of_the_cells_are_used_if_all_touch():
    labels = np.zeros((60, 200), np.int32)
    for k in range(8):
        labels[disc_mask(labels.shape, (20 + 20 * k, 30, 12))] = k + 1
    library = ShapeLibrary.from_smears([Smear(np.zeros((60, 200, 3), np.uint8), labels, np.zeros(8, int))])
    assert len(library) >= 4


def test_shapes_of_one_smear():
    first = analytic_smear((90, 400), [(15 + 24 * k, 30, 10) for k in range(16)])
    second = analytic_smear((90, 600), [(15 + 24 * k, 30, 8) for k in range(24)])
    library = ShapeLibrary.from_smears([first, second])
    assert library.smears is not None
    assert np.bincount(library.smears).tolist() == [16, 24]
    assert library.of_smear(0) is None  # fewer than 20 shapes
    result = library.of_smear(1)
    assert result is not None
    shapes, frequencies = result
    assert shapes.areas() == pytest.approx(np.full(24, second.areas()[0]), rel=1e-4)
    assert frequencies == (1.0,)


def test_a_rare_class_of_a_smear_uses_shapes_of_all_smears_at_its_own_frequency():
    names = ("rbc", "platelet")
    cells = [(15 + 24 * k, 30, 10) for k in range(24)] + [(15, 70, 4)]
    smear = analytic_smear((90, 620), cells, classes=[0] * 24 + [1], class_names=names)
    result = ShapeLibrary.from_smears([smear, smear]).of_smear(0)
    assert result is not None
    shapes, frequencies = result
    assert np.bincount(shapes.classes).tolist() == [24, 2]
    assert frequencies == pytest.approx((24 / 25, 1 / 25))


def test_specks_are_relative_to_the_median_area_of_the_class():
    smear = analytic_smear(
        (90, 120), [(25, 25, 14), (60, 25, 14), (95, 25, 4), (95, 60, 4)], classes=[0, 0, 1, 1],
        class_names=("rbc", "platelet"),
    )  # fmt: skip
    library = ShapeLibrary.from_smears([smear])
    assert library.classes.tolist() == [0, 0, 1, 1]
    assert len(library.of_class("platelet")) == len(library.of_class(1)) == 2
    with pytest.raises(OptionError, match=r"'wbc'.*rbc, platelet"):
        library.of_class("wbc")


def test_classes_are_matched_by_name_between_smears():
    discs = [(20, 20, 10), (60, 20, 10), (60, 60, 10)]
    first = analytic_smear((90, 120), discs, classes=[0, 0, 1], class_names=("rbc", "wbc"))
    second = analytic_smear((90, 120), discs, classes=[0, 0, 1], class_names=("wbc", "rbc"))
    library = ShapeLibrary.from_smears([first, second])
    assert library.class_names == ("rbc", "wbc")
    assert library.classes.tolist() == [0, 0, 1, 1, 1, 0]


def test_fragments_are_counted():
    labels = np.zeros((60, 60), np.int32)
    labels[disc_mask((60, 60), (25, 25, 12))] = 1
    labels[50:53, 50:53] = 1
    library = ShapeLibrary.from_smears([Smear(np.zeros((60, 60, 3), np.uint8), labels, np.array([0]))])
    assert library.report is not None
    assert library.report.fragments == 1


def test_smears_without_whole_cells_are_rejected_with_the_counts():
    with pytest.raises(DataError, match="1 cut by the border"):
        ShapeLibrary.from_smears([analytic_smear((40, 40), [(0, 0, 10)])])
    with pytest.raises(DataError, match="0 shapes of 0 cells"):
        ShapeLibrary.from_smears([])


def test_library_round_trip(tmp_path: Path):
    library = ShapeLibrary.from_smears([analytic_smear(classes=[0, 1, 1], class_names=("a", "b"))])
    path = tmp_path / "shapes.safetensors"
    library.save(path)
    loaded = ShapeLibrary.load(path)
    assert (loaded.contours == library.contours).all()
    assert (loaded.classes == library.classes).all()
    assert (loaded.class_names, loaded.report) == (library.class_names, library.report)
    assert np.array_equal(loaded.smears, library.smears)
    assert [file.name for file in tmp_path.iterdir()] == ["shapes.safetensors"]
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ModelError, match=r"shapes\.safetensors.*not a shape library"):
        ShapeLibrary.load(path)
    with pytest.raises(ModelError, match="no such"):
        ShapeLibrary.load(tmp_path / "none")


def test_invalid_arrays_are_rejected():
    valid = wavy_ellipses(2)
    for contours, classes, message in (
        (valid.astype(np.float64), np.zeros(2, np.int64), "float32"),
        (valid[:, :10], np.zeros(2, np.int64), "float32"),
        (valid * np.float32(np.nan), np.zeros(2, np.int64), "NaN"),
        (valid, np.zeros(3, np.int64), "2 contours"),
        (valid, np.ones(2, np.int64), "class ids"),
    ):
        with pytest.raises(DataError, match=message):
            ShapeLibrary(contours, classes)


def test_odds_follow_the_order_of_the_classes():
    library = library_of(wavy_ellipses(3), np.array([0, 0, 2]), ("rbc", "wbc", "platelet"))
    assert library.odds({"platelet": 0.25, "rbc": 0.75}) == (0.75, 0.0, 0.25)
    for mix, message in (
        ({"rbc": 0.5, "sickle": 0.5}, "sickle"),
        ({"rbc": 0.5}, "sum to 1"),
        ({"rbc": 0.5, "wbc": 0.5}, "wbc, which has no shape"),
    ):
        with pytest.raises(OptionError, match=message):
            library.odds(mix)


def test_cells_at_an_ignored_region_are_excluded():
    smear = analytic_smear((60, 120), [(20, 30, 10), (60, 30, 10), (100, 30, 10)])
    ignored = np.zeros(smear.shape, bool)
    ignored[:, 71:80] = True  # the second cell ends at column 70
    report = ShapeLibrary.from_smears([replace(smear, ignored=ignored)]).report
    assert report is not None
    assert (report.total, report.kept, report.border) == (3, 2, 1)
    with pytest.raises(DataError, match="no whole cell"):
        ShapeLibrary.from_smears([unannotated(smear)])
