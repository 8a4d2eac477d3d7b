"""Options of a stream: defaults that depend on the model, and values that are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from smearsynth.errors import OptionError
from smearsynth.generation.options import (
    MAX_PIXELS,
    MAX_SIDE,
    StreamOptions,
    check_names,
    checked_density,
    checked_layout,
    checked_light,
    checked_seed,
    checked_size,
    whole_number,
)
from smearsynth.generation.stream import SyntheticSmears
from smearsynth.synthesis.model.synthesizer import Synthesizer


@pytest.mark.parametrize(
    "options",
    [
        {"size": (0, 10)}, {"size": (10, -1)}, {"size": (10, MAX_SIDE + 1)}, {"size": (MAX_SIDE, MAX_SIDE)},
        {"size": (10.5, 20)}, {"layout": "spiral"}, {"style": "pretty"}, {"style": "-1"}, {"style": 10_000},
        {"stain": "blue"}, {"light": "dim"}, {"density": -0.1}, {"density": float("nan")},
        {"density": float("inf")}, {"density": 101}, {"seed": -1}, {"seed": 1.5},
    ],
)  # fmt: skip
def test_invalid_values_are_refused_with_the_name_of_the_option(tiny: Synthesizer, options: dict[str, Any]) -> None:
    assert MAX_SIDE * MAX_SIDE > MAX_PIXELS
    name = next(iter(options))
    pattern = {"size": "size|height|width"}.get(name, name)
    with pytest.raises(OptionError, match=pattern):
        SyntheticSmears(tiny, **options)


def test_unknown_options_are_refused(tiny: Synthesizer) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'hue'"):
        SyntheticSmears(tiny, hue=3)  # type: ignore[call-arg]
    options: StreamOptions = {
        "size": (32, 48), "layout": "ring", "style": 0, "style_of": None, "stain": "original", "light": None,
        "density": 2.0, "mix": None, "seed": 3,
    }  # fmt: skip
    assert options.keys() == StreamOptions.__annotations__.keys()
    check_names(options)
    stream = SyntheticSmears(tiny, **options)
    assert (stream.size, stream.layout, stream.density, stream.seed) == ((32, 48), "ring", 2.0, 3)


def test_defaults_depend_on_the_model(tiny: Synthesizer) -> None:
    assert checked_layout(None, tiny) == "contact"
    assert checked_layout(None, replace(tiny, contact=None)) == "ring"
    assert checked_light(None, "augmented", tiny) == "augmented"
    assert checked_light("original", "augmented", tiny) == "original"
    assert checked_light(None, "augmented", replace(tiny, acquisition=None)) == "original"
    assert SyntheticSmears(tiny).size == tiny.statistics.field_size


def test_light_cannot_be_augmented_without_an_acquisition_model(tiny: Synthesizer) -> None:
    older = replace(tiny, acquisition=None)
    assert SyntheticSmears(older, size=(32, 32)).make(0)[1].acquisition is None
    with pytest.raises(OptionError, match="light augmented: this model has no acquisition model"):
        SyntheticSmears(older, light="augmented")


def test_integers_of_any_type_become_int() -> None:
    size = checked_size((np.int64(48), np.uint8(64)))  # type: ignore[arg-type]
    assert (size, type(size[0])) == ((48, 64), int)
    assert type(checked_seed(np.int32(4))) is int  # type: ignore[arg-type]
    assert checked_density(2) == 2.0
    with pytest.raises(OptionError, match="seed: give a whole number, not '3'"):
        whole_number("seed", "3")  # type: ignore[arg-type]


def test_an_invalid_mix_is_refused_before_the_first_smear(two_class_folder: Path) -> None:
    for mix in ({"blue": 1.0}, {"red cell": 0.5}, {"red cell": 1.5, "white cell": -0.5}, {}):
        with pytest.raises(OptionError, match="mix"):
            SyntheticSmears(two_class_folder, mix=mix)
