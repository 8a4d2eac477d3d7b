"""Settings: presets, changes to them, and errors in one line with the setting and its value."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from smearsynth.errors import OptionError
from smearsynth.synthesis.config import PRESETS, NetworkConfig, Preset, TrainingConfig, preset


def test_only_the_named_settings_change():
    changed = preset("cpu", class_names=("red", "white"), steps=7, batch=None)

    assert changed.training == PRESETS["cpu"].training.model_copy(update={"steps": 7})
    assert changed.network == PRESETS["cpu"].network.model_copy(update={"class_names": ("red", "white")})
    assert changed.network.condition_channels == 5


@pytest.mark.parametrize("name", PRESETS)
def test_json_round_trip_of_presets(name):
    assert Preset.model_validate_json(PRESETS[name].model_dump_json()) == PRESETS[name]


def test_paper_preset_has_the_settings_of_the_paper():
    network, training = PRESETS["paper"].network, PRESETS["paper"].training

    assert (network.filters, network.downs, network.blocks, network.style_channels) == (16, 4, 9, 3)
    assert (network.discriminator_layers, network.discriminator_scales) == (3, 2)
    assert (training.learning_rate, training.batch, training.decay_from) == (2e-4, 1, 0.5)
    assert (training.feature_matching, training.perceptual, training.perceptual_features) == (10, 10, "vgg19")
    assert training.colour == 0


def test_paper_preset_has_two_stages():
    preset = PRESETS["paper"]
    first, second = preset.training, preset.second

    assert (first.crop, second.crop) == ((640, 1024), (1200, 1920))
    assert first.scale * 1200 == pytest.approx(640)
    assert second.scale == 1
    assert (first.steps, second.steps, preset.steps) == (7200, 7200, 14400)  # 120 epochs of 60 fields each
    assert [stage.training for stage in preset.stages] == [first, second]
    assert len(PRESETS["cpu"].stages) == 1


def test_crops_of_both_stages_are_limited_to_the_field():
    limited = PRESETS["paper"].limit_crops((480, 640))
    assert (limited.training.crop, limited.second.crop) == ((256, 336), (480, 640))
    assert PRESETS["paper"].limit_crops((5000, 5000)) == PRESETS["paper"]


def test_settings_apply_to_both_stages():
    changed = preset("paper", steps=5, seed=3)
    assert (changed.training.steps, changed.second.steps, changed.second.seed) == (5, 5, 3)


@pytest.mark.parametrize(
    ("options", "message"),
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
def test_invalid_settings_are_errors_of_one_line(options, message):
    with pytest.raises(OptionError, match=message) as error:
        preset("cpu", **options)
    assert "\n" not in str(error.value)


def test_network_settings_change_too():
    changed = preset("gpu", class_names=("a", "b"), modulation=False, padding=None, steps=7)
    assert changed.network == PRESETS["gpu"].network.model_copy(
        update={"modulation": False, "class_names": ("a", "b")}
    )
    assert changed.training == PRESETS["gpu"].training.model_copy(update={"steps": 7})
    with pytest.raises(OptionError, match="downs: Input should be less than or equal to 6"):
        preset("gpu", downs=7)


@pytest.mark.parametrize("config", [NetworkConfig, TrainingConfig])
def test_every_setting_has_a_description(config):
    assert [name for name, field in config.model_fields.items() if not field.description] == []


def test_unknown_preset_is_an_error_that_lists_the_presets():
    with pytest.raises(OptionError, match=r"'fast'.*cpu.*paper"):
        preset("fast")


def test_crop_must_be_a_multiple_of_the_downsampling_factor():
    with pytest.raises(ValidationError, match="multiples of 64"):
        Preset(network=NetworkConfig(downs=6), training=TrainingConfig(crop=(160, 160)))
    assert Preset(network=NetworkConfig(downs=6), training=TrainingConfig(crop=(128, 192)))


def test_settings_are_immutable():
    with pytest.raises(ValidationError):
        PRESETS["cpu"].training.steps = 1


def test_initialised_from_replaces_generator_and_encoder_only():
    network = NetworkConfig(downs=2, filters=7, class_names=("other",), discriminator_filters=5)
    changed = PRESETS["tiny"].initialised_from(network).network
    assert (changed.downs, changed.filters) == (2, 7)
    assert (changed.class_names, changed.discriminator_filters) == (("cell",), 4)
    with pytest.raises(OptionError, match="multiples of 64"):
        PRESETS["cpu"].initialised_from(NetworkConfig(downs=6))


def test_features_change_in_all_stages():
    changed = PRESETS["paper"].with_features("none")
    assert [stage.training.perceptual_features for stage in changed.stages] == ["none", "none"]
