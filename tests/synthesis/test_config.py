"""Settings: bounded, typed, and refused in one line that names the culprit."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from smearsynth.errors import OptionError
from smearsynth.synthesis.config import PRESETS, NetworkConfig, Preset, TrainingConfig, preset


def test_overrides_replace_what_is_given_and_nothing_else():
    given = preset("cpu", class_names=("red", "white"), steps=7, batch=None)

    assert given.training == PRESETS["cpu"].training.model_copy(update={"steps": 7})
    assert given.network == PRESETS["cpu"].network.model_copy(update={"class_names": ("red", "white")})
    assert given.network.condition_channels == 5


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_survives_json(name):
    assert Preset.model_validate_json(PRESETS[name].model_dump_json()) == PRESETS[name]


def test_the_paper_preset_is_the_paper():
    network, training = PRESETS["paper"].network, PRESETS["paper"].training

    assert (network.filters, network.downs, network.blocks, network.style_channels) == (16, 4, 9, 3)
    assert (network.discriminator_layers, network.discriminator_scales) == (3, 2)
    assert (training.learning_rate, training.batch, training.decay_from) == (2e-4, 1, 0.5)
    assert (training.feature_matching, training.perceptual, training.perceptual_features) == (10, 10, "vgg19")
    assert training.colour == 0


def test_the_two_stages_are_those_of_the_paper():
    preset = PRESETS["paper"]
    first, second = preset.training, preset.second

    assert (first.crop, second.crop) == ((640, 1024), (1200, 1920))
    assert first.scale * 1200 == pytest.approx(640)
    assert second.scale == 1
    assert (first.steps, second.steps, preset.steps) == (7200, 7200, 14400)  # 120 epochs of 60 fields each
    assert [stage.training for stage in preset.stages] == [first, second]
    assert len(PRESETS["cpu"].stages) == 1


def test_crops_of_both_stages_fit_smaller_fields():
    fitted = PRESETS["paper"].within((480, 640))
    assert (fitted.training.crop, fitted.second.crop) == ((256, 336), (480, 640))
    assert PRESETS["paper"].within((5000, 5000)) == PRESETS["paper"]


def test_overrides_hold_for_both_stages():
    given = preset("paper", steps=5, seed=3)
    assert (given.training.steps, given.second.steps, given.second.seed) == (5, 5, 3)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"steps": 0}, "steps"),
        ({"stepz": 5}, "stepz"),
        ({"batch": "many"}, "batch.*'many'"),
        ({"precision": "fp8"}, "precision.*'fp8'"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"crop": (100, 64)}, r"crop: sides must be multiples of 8 .*100×64"),
        ({"crop": (64, 100)}, r"multiples of 8 .*64×100"),
        ({"crop": (0, 64)}, "at least 16 px"),
        ({"crop": (8, 64)}, "at least 16 px"),
    ],
)
def test_absurd_settings_are_refused_in_one_line(options, said):
    with pytest.raises(OptionError, match=said) as caught:
        preset("cpu", **options)
    assert "\n" not in str(caught.value)


def test_settings_of_the_networks_can_be_given_too():
    given = preset("gpu", class_names=("a", "b"), modulation=False, padding=None, steps=7)
    assert given.network == PRESETS["gpu"].network.model_copy(
        update={"modulation": False, "class_names": ("a", "b")}
    )
    assert given.training == PRESETS["gpu"].training.model_copy(update={"steps": 7})
    with pytest.raises(OptionError, match="downs: Input should be less than or equal to 6"):
        preset("gpu", downs=7)


@pytest.mark.parametrize("config", [NetworkConfig, TrainingConfig])
def test_every_setting_says_what_it_means(config):
    assert [name for name, field in config.model_fields.items() if not field.description] == []


def test_an_unknown_preset_names_those_there_are():
    with pytest.raises(OptionError, match=r"'fast'.*cpu.*paper"):
        preset("fast")


def test_a_crop_must_fit_the_depth_of_the_generator():
    with pytest.raises(ValidationError, match="multiples of 64"):
        Preset(network=NetworkConfig(downs=6), training=TrainingConfig(crop=(160, 160)))
    assert Preset(network=NetworkConfig(downs=6), training=TrainingConfig(crop=(128, 192)))


def test_settings_cannot_be_changed_after_the_fact():
    with pytest.raises(ValidationError):
        PRESETS["cpu"].training.steps = 1
