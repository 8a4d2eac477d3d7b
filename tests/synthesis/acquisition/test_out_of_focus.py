"""Haze: its strength, shape and colour, and random draws."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from pydantic import ValidationError

from smearsynth.errors import OptionError
from smearsynth.smear import ImageArray, LabelArray
from smearsynth.synthesis.acquisition.imaging import Acquisition
from smearsynth.synthesis.acquisition.out_of_focus import Haze, Spot

BACKGROUND, CELL = (200, 180, 160), (100, 90, 160)
DISC = Spot(x=60, y=40, semi_major=12, semi_minor=12, angle=0, softness=3, strength=0.5)


def field() -> tuple[ImageArray, LabelArray]:
    """A square cell on uniform background; it absorbs half of R and G and nothing of B."""
    labels = np.zeros((100, 140), np.int32)
    labels[60:90, 20:50] = 1
    return np.where(labels[..., None] > 0, CELL, BACKGROUND).astype(np.uint8), labels


def darkening(haze: Haze) -> npt.NDArray[np.float64]:
    """Grey levels that the haze takes from the field, (H, W, 3)."""
    image, labels = field()
    return image.astype(float) - Acquisition(haze=haze).apply(image, labels)


def test_default_haze_changes_nothing() -> None:
    assert not darkening(Haze()).any()


def test_attenuation_map_and_absorbances() -> None:
    image, labels = field()
    attenuation, absorbances = Haze(spots=(DISC,), tint=(1.0, 2.0, 1.0)).attenuation(image, labels)
    assert attenuation[40, 60] == pytest.approx(0.5, abs=1e-3)
    assert attenuation[5, 5] == 0
    assert absorbances == pytest.approx((np.log(2), 2 * np.log(2), 0))


def test_spot_has_the_colour_of_cells() -> None:
    image, labels = field()
    result = Acquisition(haze=Haze(spots=(DISC,))).apply(image, labels)
    assert result[40, 60].tolist() == [round(200 * 0.5**0.5), round(180 * 0.5**0.5), 160]
    stronger = Acquisition(haze=Haze(spots=(DISC._replace(strength=0.9),))).apply(image, labels)
    assert stronger[40, 60, 0] < result[40, 60, 0]
    assert (result[5, 5] == image[5, 5]).all()


def test_softness_sets_the_slope_of_the_rim() -> None:
    profiles = [darkening(Haze(spots=(DISC._replace(softness=softness),)))[40, 60:, 0] for softness in (3, 6)]
    for profile in profiles:
        assert profile[12] == pytest.approx(0.27 * 200 / 2, abs=5)  # half of the darkening at the centre
        assert (np.diff(profile) <= 1).all()
    max_slopes = [-np.diff(profile).min() for profile in profiles]
    assert max_slopes[0] > 1.5 * max_slopes[1]


def test_angle_rotates_the_ellipse() -> None:
    rod = DISC._replace(semi_major=24, semi_minor=6)
    horizontal, vertical = (darkening(Haze(spots=(rod._replace(angle=angle),)))[..., 0] for angle in (0, np.pi / 2))
    assert horizontal[40, 78] > 30 > 3 > horizontal[58, 60]
    assert vertical[58, 60] > 30 > 3 > vertical[40, 78]


def test_halo_fades_with_the_distance_from_cells() -> None:
    row = darkening(Haze(halo=0.3, reach=5))[75, :, 0]
    assert row[52] > row[56] > row[62] >= row[120] == 0
    assert row[52] > 5


def test_spots_are_cropped_at_the_border() -> None:
    for x, y in ((-5, -5), (139, 99), (-500, 40), (60, 900)):
        change = darkening(Haze(spots=(DISC._replace(x=x, y=y),)))
        assert change.max() > 20 if abs(x) < 200 and y < 200 else not change.any()


def test_fields_without_cells_without_background_and_with_bright_cells() -> None:
    image, labels = field()
    haze = Haze(halo=0.3, spots=(DISC,))
    for uniform in (np.zeros_like(labels), np.ones_like(labels)):
        assert (Acquisition(haze=haze).apply(image, uniform)[40, 60] < image[40, 60]).all()
    assert (Acquisition(haze=haze).apply(255 - image, labels)[40, 60] <= 255 - image[40, 60]).all()


def test_draws_differ_and_scale_with_the_cell_size() -> None:
    small, large = np.zeros((400, 400), np.int32), np.zeros((400, 400), np.int32)
    small[:10, :10], large[:60, :60] = 1, 1
    sizes = []
    for labels in (small, large):
        draws = [Haze.draw(labels, np.random.default_rng(k)) for k in range(60)]
        assert 15 < sum(haze.halo > 0 for haze in draws) < 45
        assert 15 < sum(bool(haze.spots) for haze in draws) < 45
        assert len({haze.model_dump_json() for haze in draws}) == 60
        spots = [spot for haze in draws for spot in haze.spots]
        assert all(0 <= spot.x <= 400 and spot.softness >= 3 and spot.strength <= 0.5 for spot in spots)
        sizes.append(np.median([spot.semi_major for spot in spots]))
    assert sizes[1] == pytest.approx(6 * sizes[0], rel=0.5)


def test_json_round_trip_and_unknown_fields() -> None:
    acquisition = Acquisition(haze=Haze(halo=0.2, spots=(DISC,)))
    assert Acquisition.model_validate_json(acquisition.model_dump_json()) == acquisition
    assert '"spots":[[60.0,40.0,12.0,12.0,0.0,3.0,0.5]]' in acquisition.model_dump_json()
    with pytest.raises(ValidationError):
        Haze.model_validate({"fog": 1})


def test_haze_without_labels_is_an_error() -> None:
    with pytest.raises(OptionError, match="pass labels"):
        Acquisition(haze=Haze(halo=0.2)).apply(field()[0])
