"""Tests of the configuration of task models."""

from __future__ import annotations

import pytest

from smearsynth.errors import OptionError
from smearsynth.tasks.config import FcnConfig, FitConfig, TaskConfig
from smearsynth.tasks.segmentation import Segmentation, SegmentationConfig


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps: .*greater than or equal to 1"),
        ({"crop": (16, 64)}, r"crop: sides must be at least 32 px \(got 16×64\)"),
        ({"epochs": 3}, "epochs: Extra inputs"),
        ({"augment": "mixup"}, "augment: Input should be 'none', 'classic', 'copy-paste' or 'both'"),
    ],
)
def test_unknown_settings_and_values_out_of_range_are_errors(settings: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Segmentation.preset("cpu", **settings)


def test_settings_replace_those_of_the_preset_unless_they_are_none() -> None:
    preset = Segmentation.presets["tiny"]
    changed = preset.with_fit(steps=7, crop=None, seed=None)
    assert changed.fit == preset.fit.model_copy(update={"steps": 7})
    assert isinstance(changed, SegmentationConfig)
    assert changed.network == preset.network
    assert preset.fit.steps == 20


def test_class_names_must_be_a_list_of_names() -> None:
    config = Segmentation.presets["tiny"]
    assert config.for_classes(["pale", "red"]) == config.model_copy(update={"class_names": ("pale", "red")})
    for invalid in ((), "red cell"):
        with pytest.raises(OptionError, match="class_names"):
            TaskConfig().for_classes(invalid)


@pytest.mark.parametrize(("smears", "held_out"), [(0, 0), (4, 0), (5, 1), (39, 7), (40, 8), (1000, 8)])
def test_at_most_a_fifth_of_the_smears_is_held_out(smears: int, held_out: int) -> None:
    assert FitConfig().held_out_of(smears) == held_out


def test_the_default_network_is_that_of_the_paper() -> None:
    assert FcnConfig().filters == 64
    assert FcnConfig().head == 4096
