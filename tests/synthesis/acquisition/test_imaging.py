"""Acquisition: what is measured is what was put there, and what is drawn is what was measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from smearsynth.errors import DataError
from smearsynth.smear import Smear
from smearsynth.synthesis.acquisition.imaging import (
    Acquisition,
    AcquisitionModel,
    grain,
    measure_illumination,
    missing_blur,
)

SIDE = 192


def plain(seed: int = 0, noise: float = 0.0) -> Smear:
    """An evenly lit field with sharp round cells."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE]
    labels = np.zeros((SIDE, SIDE), np.int32)
    for k in range(9):
        cy, cx = 32 + 64 * (k // 3), 32 + 64 * (k % 3)
        labels[(y - cy) ** 2 + (x - cx) ** 2 < 15**2] = k + 1
    image = np.where(labels[..., None] > 0, 120.0, 180.0) + noise * rng.standard_normal((SIDE, SIDE, 3))
    return Smear(np.rint(image).astype(np.uint8), labels, np.zeros(9, np.int64))


LIGHT = (0.1, 0.0, -0.15, 0.0, -0.15, 0.05, 0.0, -0.15, 0.0, -0.15, 0.0, 0.08, -0.15, 0.0, -0.15)


def test_nothing_changes_nothing():
    image = plain(noise=3).image
    assert (Acquisition().expose(image) == image).all()


def test_a_vignette_darkens_the_corners_and_keeps_the_mean():
    image = plain().image
    taken = Acquisition(illumination=LIGHT).expose(image)
    assert taken[:8, :8].mean() < taken[60:68, 60:68].mean() - 20
    assert taken.mean() == pytest.approx(image.mean(), rel=0.02)
    assert taken[64, 180, 0] > taken[64, 10, 0] + 20  # the gradient of red runs to the right


def test_the_illumination_measured_is_the_one_given():
    given = plain(noise=2)
    taken = Acquisition(illumination=LIGHT).expose(given.image)
    np.testing.assert_allclose(measure_illumination(taken, given.labels), LIGHT, atol=0.012)
    assert not measure_illumination(given.image, np.ones_like(given.labels)).any()


@pytest.mark.parametrize("blur", [0.0, 0.8, 1.5])
def test_the_blur_missing_is_the_one_given(blur):
    given = plain()
    real = Acquisition(blur=blur).expose(given.image)
    assert missing_blur(real, given.image, given.labels) == pytest.approx(blur, abs=0.15)
    assert missing_blur(given.image, real, given.labels) == 0  # what is too soft already gets no more


def test_grain_grows_with_the_noise_and_sees_no_structure():
    given = plain()
    values = [grain(plain(1, noise).image, given.labels)[0] for noise in (0, 2, 4, 8)]
    assert values[0] == 0
    assert values == sorted(values)
    assert values[3] / values[2] == pytest.approx(2, rel=0.1)


def test_noise_is_drawn_from_the_seed_alone():
    image = plain().image
    one, same, other = (Acquisition(noise=4, seed=seed).expose(image).astype(float) for seed in (1, 1, 2))
    assert (one == same).all()
    assert (one - image).std() == pytest.approx(4, rel=0.05)
    assert abs(np.corrcoef((one - image).ravel(), (other - image).ravel())[0, 1]) < 0.02


@pytest.fixture(scope="module")
def law() -> AcquisitionModel:
    """Of smears with a gradient, a blur of 1 px and noise, against reconstructions with none of it."""
    smears = []
    for k in range(4):
        given = plain(k)
        image = Acquisition(illumination=LIGHT, blur=1.0, noise=3.0, seed=k).expose(given.image)
        smears.append(Smear(image, given.labels, given.classes))
    return AcquisitionModel.fit(smears, lambda smear: plain().image)


def test_a_law_draws_what_it_measured(law):
    drawn = [law.draw(plain().labels, k) for k in range(20)]
    assert np.mean([taken.blur for taken in drawn]) == pytest.approx(1, abs=0.25)
    found = [grain(taken.expose(plain().image), plain().labels)[0] for taken in drawn]
    assert np.mean(found) == pytest.approx(
        grain(Acquisition(noise=3).expose(plain().image), plain().labels)[0], rel=0.3
    )
    slopes = np.array([taken.illumination[0] for taken in drawn])
    np.testing.assert_allclose(np.abs(slopes), 0.1, atol=0.02)
    assert {-1.0, 1.0} == set(np.sign(slopes))  # turned over as often as not
    assert law.draw(plain().labels, 3) == drawn[3]


def test_a_law_survives_json(law):
    again = AcquisitionModel.from_json(law.to_json())
    assert [again.draw(plain().labels, k) for k in range(5)] == [law.draw(plain().labels, k) for k in range(5)]
    for damaged in ("", "{}", law.to_json().replace('"noise":[', '"noise":[1.0,')):
        with pytest.raises(DataError, match="not the law"):
            AcquisitionModel.from_json(damaged)


def test_blurring_is_that_of_scipy():
    image = plain().image
    wanted = ndimage.gaussian_filter(image[..., 1].astype(np.float32), 1.2)
    np.testing.assert_allclose(Acquisition(blur=1.2).expose(image)[..., 1], wanted, atol=0.51)


def test_a_smear_is_taken_as_the_one_it_is_like():
    # the first two are unevenly lit and sharp, the others even, blurred and noisy
    smears = []
    for k in range(4):
        given = plain(k)
        taken = Acquisition(illumination=LIGHT) if k < 2 else Acquisition(blur=1.5, noise=6.0, seed=k)
        smears.append(Smear(taken.expose(given.image), given.labels, given.classes))
    law = AcquisitionModel.fit(smears, lambda smear: plain().image)
    for seed in range(10):
        lit, blurred = law.draw(plain().labels, seed, 1), law.draw(plain().labels, seed, 3)
        assert abs(lit.illumination[0]) > 5 * abs(blurred.illumination[0])
        assert lit.noise < 0.5 * blurred.noise
    # models made before draw each by itself, whatever the style
    former = replace(law, joint=False)
    assert {former.draw(plain().labels, seed, 1).noise > 3 for seed in range(20)} == {True, False}
    assert AcquisitionModel.from_json(law.to_json()).joint
    assert "joint" not in former.to_json()
    with pytest.raises(DataError, match="not the law"):
        AcquisitionModel.from_json(replace(law, focus=law.focus[:2]).to_json())


def test_mottle_is_shared_by_channels_and_neighbours_and_noise_is_not():
    image = np.full((SIDE, SIDE, 3), 150, np.uint8)
    fields = {
        name: Acquisition(seed=3, **{name: 6.0}).expose(image).astype(float) - 150
        for name in ("correlated_noise", "noise")
    }
    for field in fields.values():
        assert field.std() == pytest.approx(6, rel=0.05)
    together = {
        name: np.corrcoef(field[..., 0].ravel(), field[..., 1].ravel())[0, 1] for name, field in fields.items()
    }
    beside = {
        name: np.corrcoef(field[:, 1:, 0].ravel(), field[:, :-1, 0].ravel())[0, 1] for name, field in fields.items()
    }
    assert together["correlated_noise"] > 0.99
    assert beside["correlated_noise"] > 0.5
    assert abs(together["noise"]) < 0.03
    assert abs(beside["noise"]) < 0.03


@pytest.mark.parametrize(("correlated_noise", "noise"), [(3.0, 0.0), (0.0, 4.0), (3.0, 2.0)])
def test_mottle_and_noise_are_told_apart(correlated_noise, noise):
    taken = [
        replace(
            plain(), image=Acquisition(correlated_noise=correlated_noise, noise=noise, seed=k).expose(plain().image)
        )
        for k in range(3)
    ]
    law = AcquisitionModel.fit(taken, lambda smear: plain().image, debris=False)
    np.testing.assert_allclose(np.median(law.focus[:, 1:], 0), (noise, correlated_noise), atol=0.6)
    again = AcquisitionModel.from_json(law.to_json())
    np.testing.assert_array_equal(again.focus, law.focus)
    drawn = again.draw(taken[0].labels, 0, 1)
    np.testing.assert_allclose((drawn.noise, drawn.correlated_noise), law.focus[1, 1:], rtol=0.4, atol=0.05)


def test_dirt_is_no_grain():
    smear = plain()
    dirty = Acquisition(correlated_noise=4.0, noise=2.0, seed=1).expose(smear.image)
    clean = grain(dirty, smear.labels)
    dirty[60:66, 60:70] = 40
    assert grain(dirty, smear.labels) == pytest.approx(clean, rel=0.05)


def test_a_law_of_before_there_was_mottle_draws_none():
    law = AcquisitionModel.fit([plain()], lambda smear: smear.image, debris=False)
    assert "correlated_noise" not in law.to_json()
    assert AcquisitionModel.from_json(law.to_json()).draw(plain().labels, 0).correlated_noise == 0


def test_light_unlike_that_of_the_smears_is_more_various_and_comes_with_haze(law):
    plain_light, unlike = (
        [law.draw(plain().labels, k, 0, unlike=other) for k in range(40)] for other in (False, True)
    )
    spread = [
        np.std([np.abs(taken.illumination) for taken in draws], axis=0).mean() for draws in (plain_light, unlike)
    ]
    assert spread[1] > 2 * spread[0] + 0.01
    assert [taken.blur for taken in unlike] == [taken.blur for taken in plain_light]
    assert all(taken.haze is None for taken in plain_light)
    assert len({taken.haze for taken in unlike if taken.haze}) == len(unlike)
    # channels darken nearly together: it is the light, not the stain
    x = np.array([taken.illumination for taken in unlike])[:, [0, 5, 10]]
    assert np.corrcoef(x.T)[0, 1] > 0.8
