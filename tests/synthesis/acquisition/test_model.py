"""The acquisition model: its fit, draws for new smears, and JSON."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from acquisition_fields import LIGHT, flat_smear
from smearsynth.errors import DataError
from smearsynth.smear import Smear
from smearsynth.synthesis.acquisition.estimation import measure_noise
from smearsynth.synthesis.acquisition.imaging import Acquisition
from smearsynth.synthesis.acquisition.model import AcquisitionModel

LABELS = flat_smear().labels


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
    noise = [measure_noise(acquisition.apply(image), LABELS)[0] for acquisition in draws]
    expected = measure_noise(Acquisition(noise=3).apply(image), LABELS)[0]
    assert np.mean(noise) == pytest.approx(expected, rel=0.3)
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


def test_draws_follow_the_reference_smear(mixed_model):
    for seed in range(10):
        uneven, noisy = mixed_model.draw(LABELS, seed, 1), mixed_model.draw(LABELS, seed, 3)
        assert abs(uneven.illumination[0]) > 5 * abs(noisy.illumination[0])
        assert uneven.noise < 0.5 * noisy.noise


def test_models_that_are_not_joint_ignore_the_reference_smear(mixed_model):
    separate = replace(mixed_model, joint=False)
    assert {separate.draw(LABELS, seed, 1).noise > 3 for seed in range(20)} == {True, False}
    assert AcquisitionModel.from_json(mixed_model.to_json()).joint
    assert "joint" not in separate.to_json()


def test_joint_models_need_one_row_per_smear(mixed_model):
    with pytest.raises(DataError, match="not a valid acquisition model"):
        AcquisitionModel.from_json(replace(mixed_model, focus=mixed_model.focus[:2]).to_json())


@pytest.mark.parametrize(("correlated_noise", "noise"), [(3.0, 0.0), (0.0, 4.0), (3.0, 2.0)])
def test_correlated_and_independent_noise_are_separated(correlated_noise, noise):
    smears = []
    for k in range(3):
        acquisition = Acquisition(correlated_noise=correlated_noise, noise=noise, seed=k)
        smears.append(replace(flat_smear(), image=acquisition.apply(flat_smear().image)))
    model = AcquisitionModel.fit(smears, lambda smear: flat_smear().image, debris=False)
    np.testing.assert_allclose(np.median(model.focus[:, 1:], 0), (noise, correlated_noise), atol=0.6)
    loaded = AcquisitionModel.from_json(model.to_json())
    np.testing.assert_array_equal(loaded.focus, model.focus)
    draw = loaded.draw(smears[0].labels, 0, 1)
    np.testing.assert_allclose((draw.noise, draw.correlated_noise), model.focus[1, 1:], rtol=0.4, atol=0.05)


def test_models_without_correlated_noise_draw_none():
    model = AcquisitionModel.fit([flat_smear()], lambda smear: smear.image, debris=False)
    assert "correlated_noise" not in model.to_json()
    assert AcquisitionModel.from_json(model.to_json()).draw(LABELS, 0).correlated_noise == 0


def test_field_name_of_format_1_is_read(model):
    text = replace(model, focus=np.tile([0.0, 0.0, 2.0], (4, 1))).to_json()
    former = AcquisitionModel.from_json(text.replace("correlated_noise", "mottle"))
    np.testing.assert_array_equal(former.focus[:, 2], 2)


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
