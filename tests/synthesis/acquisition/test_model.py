"""The acquisition model: its fit, draws for new smears, and JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

import smearsynth.synthesis.acquisition as acquisition_package
from acquisition_fields import LIGHT, flat_smear
from smearsynth.errors import DataError
from smearsynth.smear import Smear
from smearsynth.synthesis.acquisition.imaging import Acquisition
from smearsynth.synthesis.acquisition.model import AcquisitionModel
from smearsynth.synthesis.acquisition.texture import Texture, band_powers

LABELS = flat_smear().labels


def noise_power(image: np.ndarray) -> float:
    """Return the power of the fine luma noise of the background."""
    powers = band_powers(image, ndimage.binary_dilation(LABELS > 0, iterations=6) == 0)
    assert powers is not None
    return float(powers[:2, 0].sum())


@pytest.fixture(scope="module")
def model() -> AcquisitionModel:
    """Fitted to smears with a gradient, a blur of 1 px and noise, whose reconstructions have none of them."""
    smears = []
    for k in range(4):
        smear = flat_smear(k)
        image = Acquisition(illumination=LIGHT, blur=1.0, noise=3.0, seed=k).apply(smear.image)
        smears.append(Smear(image, smear.labels, smear.classes))
    return AcquisitionModel.fit(smears, lambda smear: flat_smear().image)


def test_draws_have_the_measured_parameters(model):
    draws = [model.draw(LABELS, k) for k in range(20)]
    image = flat_smear().image
    assert np.mean([acquisition.blur for acquisition in draws]) == pytest.approx(1, abs=0.25)
    noise = [noise_power(acquisition.apply(image, LABELS)) for acquisition in draws]
    assert np.mean(noise) == pytest.approx(noise_power(Acquisition(noise=3).apply(image)), rel=0.3)
    slopes = np.array([acquisition.illumination[0] for acquisition in draws])
    np.testing.assert_allclose(np.abs(slopes), 0.1, atol=0.02)
    assert {-1.0, 1.0} == set(np.sign(slopes))  # flipped at random
    assert model.draw(LABELS, 3) == draws[3]


def test_json_round_trip(model):
    loaded = AcquisitionModel.from_json(model.to_json())
    assert [loaded.draw(LABELS, k) for k in range(5)] == [model.draw(LABELS, k) for k in range(5)]
    for damaged in ("", "{}", model.to_json().replace('"noise":[', '"noise":[1.0,')):
        with pytest.raises(DataError, match="not a valid acquisition model"):
            AcquisitionModel.from_json(damaged)


@pytest.fixture(scope="module")
def mixed_model() -> AcquisitionModel:
    """Two smears with uneven illumination and no noise, two with even illumination, blur and noise."""
    smears = []
    for k in range(4):
        smear = flat_smear(k)
        acquisition = Acquisition(illumination=LIGHT) if k < 2 else Acquisition(blur=1.5, noise=6.0, seed=k)
        smears.append(Smear(acquisition.apply(smear.image), smear.labels, smear.classes))
    return AcquisitionModel.fit(smears, lambda smear: flat_smear().image)


def deviation(texture: Texture | None) -> float:
    """Return the standard deviation of the background noise of a texture."""
    assert texture is not None
    return float(np.sqrt(np.square(texture.background).sum()))


def test_draws_follow_the_reference_smear(mixed_model):
    for seed in range(10):
        uneven, noisy = mixed_model.draw(LABELS, seed, 1), mixed_model.draw(LABELS, seed, 3)
        assert abs(uneven.illumination[0]) > 5 * abs(noisy.illumination[0])
        assert deviation(uneven.texture) < 0.2 * deviation(noisy.texture)


def test_models_that_are_not_joint_ignore_the_reference_smear(mixed_model):
    separate = replace(mixed_model, joint=False)
    assert {separate.draw(LABELS, seed, 1).blur > 1 for seed in range(20)} == {True, False}
    assert AcquisitionModel.from_json(mixed_model.to_json()).joint
    assert "joint" not in separate.to_json()


def test_joint_models_need_one_row_per_smear(mixed_model):
    with pytest.raises(DataError, match="not a valid acquisition model"):
        AcquisitionModel.from_json(replace(mixed_model, focus=mixed_model.focus[:2]).to_json())


@pytest.mark.parametrize("correlated", [False, True])
def test_the_correlation_of_the_noise_is_measured_and_drawn(correlated):
    smears = []
    for k in range(3):
        acquisition = Acquisition(seed=k, **{"correlated_noise" if correlated else "noise": 4.0})
        smears.append(replace(flat_smear(), image=acquisition.apply(flat_smear().image)))
    model = AcquisitionModel.fit(smears, lambda smear: flat_smear().image, debris=False)
    assert not model.focus[:, 1:].any()  # the texture replaces the noise of earlier versions
    image = np.full((192, 192, 3), 150, np.uint8)
    residual = model.draw(LABELS, 0, 1).apply(image).astype(float) - 150
    # The mean over the channels of independent noise has a third of its power.
    neighbours = np.corrcoef(residual[:, 1:, 1].ravel(), residual[:, :-1, 1].ravel())[0, 1]
    channels = np.corrcoef(residual[..., 0].ravel(), residual[..., 1].ravel())[0, 1]
    assert (neighbours > 0.4) == correlated
    assert (channels > 0.7) == correlated
    assert residual[..., 1].std() == pytest.approx(4, rel=0.35)


def test_models_without_correlated_noise_draw_none():
    model = AcquisitionModel.fit([flat_smear()], lambda smear: smear.image, debris=False)
    assert "correlated_noise" not in model.to_json()
    assert AcquisitionModel.from_json(model.to_json()).draw(LABELS, 0).correlated_noise == 0


def test_field_name_of_format_1_is_read(model):
    text = replace(model, focus=np.tile([0.0, 0.0, 2.0], (4, 1))).to_json()
    former = AcquisitionModel.from_json(text.replace("correlated_noise", "mottle"))
    np.testing.assert_array_equal(former.focus[:, 2], 2)


def test_models_of_earlier_versions_have_no_optics():
    tests = Path(__file__).parents[2]
    default = Path(acquisition_package.__file__).parents[2] / "default_model"
    for folder in (tests / "format_1" / "model", tests / "format_1" / "child", default):
        text = (folder / "acquisition.json").read_text()
        model = AcquisitionModel.from_json(text)
        if '"shift"' not in text:
            assert model.optics is None
            draw = model.draw(LABELS, 0)
            assert draw.unused_later_fields() == {"visibility", "particles", "shift", "texture", "compression"}
        again = AcquisitionModel.from_json(model.to_json())
        assert [again.draw(LABELS, k) for k in range(3)] == [model.draw(LABELS, k) for k in range(3)]


def test_optics_survive_the_round_trip_and_need_one_row_per_smear(model):
    assert model.optics is not None
    loaded = AcquisitionModel.from_json(model.to_json())
    assert loaded.optics is not None
    np.testing.assert_array_equal(loaded.optics.texture, model.optics.texture)
    np.testing.assert_array_equal(loaded.optics.shift, model.optics.shift)
    record = json.loads(model.to_json())
    for name in ("shift", "texture", "particle_densities"):
        with pytest.raises(DataError, match="not a valid acquisition model"):
            AcquisitionModel.from_json(json.dumps({**record, name: record[name][:-1]}))


def test_histories_are_those_of_the_reference_smear():
    smears = [flat_smear(k) for k in range(3)]
    histories = [(90, 2), None, (75, 0)]
    model = AcquisitionModel.fit(smears, lambda smear: smear.image, histories=histories)
    for text in (model.to_json(), AcquisitionModel.from_json(model.to_json()).to_json()):
        loaded = AcquisitionModel.from_json(text)
        assert [loaded.draw(LABELS, 0, k).compression for k in range(3)] == histories


def test_augmented_draws_have_a_wider_range_of_illumination_and_haze(model):
    plain, augmented = (
        [model.draw(LABELS, k, 0, augmented=augmented) for k in range(40)] for augmented in (False, True)
    )
    spreads = [
        np.std([np.abs(acquisition.illumination) for acquisition in draws], axis=0).mean()
        for draws in (plain, augmented)
    ]
    assert spreads[1] > 2 * spreads[0] + 0.01
    assert [acquisition.blur for acquisition in augmented] == [acquisition.blur for acquisition in plain]
    assert all(acquisition.haze is None for acquisition in plain)
    assert len({acquisition.haze for acquisition in augmented if acquisition.haze}) == len(augmented)
    # The channels darken nearly together: the illumination changes, not the stain.
    slopes = np.array([acquisition.illumination for acquisition in augmented])[:, [0, 5, 10]]
    assert np.corrcoef(slopes.T)[0, 1] > 0.8
