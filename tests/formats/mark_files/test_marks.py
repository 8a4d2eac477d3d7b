from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from image_folders import data_error
from smearsynth.formats.mark_files.marks import (
    MarkList,
    class_names_of,
    class_text,
    confidence_of,
    finite_number,
    short_text,
)
from smearsynth.geometry import Box, Point

FILE = Path("a.json")


@pytest.mark.parametrize(
    "value", [None, True, "", "x", "nan", "-inf", float("nan"), float("inf"), [1], {}, 10**400]
)
def test_values_that_are_no_finite_number(value: Any) -> None:
    message = data_error(lambda: finite_number(value, FILE, "item 3"))
    assert message.startswith("a.json: item 3: ")
    assert len(message) < 120


def test_numbers_and_numbers_as_text() -> None:
    assert [finite_number(value, FILE, "item 3") for value in (3, 2.5, " 4 ", "1e2")] == [3, 2.5, 4, 100]


def test_classes() -> None:
    assert [class_text(value, FILE, "item 3") for value in (" red ", 4, None, " ")] == ["red", "4", "cell", "cell"]
    for value in (["red"], True):
        assert "the class is " in data_error(lambda value=value: class_text(value, FILE, "item 3"))


def test_confidences() -> None:
    assert [confidence_of(value, FILE, "item 3") for value in ("", None, "0", 1)] == [None, None, 0, 1]
    assert "not a fraction of 0 to 1" in data_error(lambda: confidence_of("99", FILE, "item 3"))


def test_text_in_messages_is_short_and_in_one_line() -> None:
    assert short_text("a\nb") == r"'a\nb'"
    assert len(short_text("a" * 1000)) < 40


def test_ignored_classes_are_regions_and_nothing_is_dropped_silently() -> None:
    marks = MarkList("a.png", FILE)
    marks.add_box((4, 5, 1, 2), "Ignore")
    marks.add(Point(1, 2), "ignore")
    marks.add_box((4, 5, 4, 9), "red")
    marks.add_box((4, 5, 1, 2), "red", confidence=0.5)
    field = marks.annotation(split="train", relative=True, size=(3, 4))
    assert field.ignored == (Box(1, 2, 4, 5),)
    assert [(cell.shape, cell.confidence) for cell in field.cells] == [(Box(1, 2, 4, 5), 0.5)]
    assert field.left_out == {"points of an ignored class": 1, "boxes without area": 1}
    assert (field.split, field.relative, field.size) == ("train", True, (3, 4))
    assert class_names_of([marks]) == ("red",)
