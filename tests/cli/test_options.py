"""Parsing of the text of options."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from smearsynth.cli.options import (
    ClassesChoice,
    LayoutChoice,
    StainChoice,
    is_model,
    parse_mix,
    parse_names,
    parse_size,
)
from smearsynth.errors import OptionError
from smearsynth.formats import ClassChoice
from smearsynth.layout.labels import LayoutName
from smearsynth.synthesis.acquisition.stain import StainName


def test_choices_are_those_of_the_library() -> None:
    """Options list them literally, because importing the library takes seconds."""
    assert get_args(LayoutChoice) == get_args(LayoutName)
    assert get_args(StainChoice) == get_args(StainName)
    assert get_args(ClassesChoice) == get_args(ClassChoice)


def test_names_are_kept_in_order_and_once() -> None:
    known = ("RD", "SD", "RD+SD")
    assert parse_names("all", known, "--arms") == known
    assert parse_names(" SD , RD,SD", known, "--arms") == ("SD", "RD")
    with pytest.raises(OptionError, match="--arms 'XD': choose from RD, SD"):
        parse_names("RD,XD", known, "--arms")


def test_a_mix_has_each_class_once() -> None:
    assert parse_mix("a=0.25, b = 0.75") == {"a": 0.25, "b": 0.75}
    assert parse_mix(None) is None
    for text in ("a", "a=x", "a=1,a=0", "=1"):
        with pytest.raises(OptionError, match="give each class once"):
            parse_mix(text)


def test_a_model_folder_is_told_by_its_weights(tmp_path: Path, tiny_folder: Path, smear_folder: Path) -> None:
    assert is_model(tiny_folder)
    assert is_model(Path("default"))
    assert not is_model(smear_folder)
    assert not is_model(tmp_path / "nowhere")


@pytest.mark.parametrize("text", ["", "x", "5", "axb", "5x5x5", "5.5x7", "-1x3", " x "])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(OptionError, match="such as 1920x1200"):
        parse_size(text)


def test_sizes() -> None:
    assert parse_size("640x480") == parse_size("640X480") == parse_size("640×480") == (480, 640)
    assert parse_size(None) is None
