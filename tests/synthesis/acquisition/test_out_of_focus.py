"""Haze: how much light it takes, and from where."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from pydantic import ValidationError

from smearsynth.errors import OptionError
from smearsynth.smear import ImageArray, LabelArray
from smearsynth.synthesis.acquisition.imaging import Acquisition
from smearsynth.synthesis.acquisition.out_of_focus import Haze, Spot

GROUND, CELL = (200, 180, 160), (100, 90, 160)
DISC = Spot(x=60, y=40, along=12, across=12, angle=0, softness=3, strength=0.5)


def field() -> tuple[ImageArray, LabelArray]:
    """A square cell on bare ground; it takes half of R and G and nothing of B."""
    labels = np.zeros((100, 140), np.int32)
    labels[60:90, 20:50] = 1
    return np.where(labels[..., None] > 0, CELL, GROUND).astype(np.uint8), labels


def lost(haze: Haze) -> npt.NDArray[np.float64]:
    image, labels = field()
    return image.astype(float) - Acquisition(haze=haze).expose(image, labels)


def test_no_haze_changes_nothing() -> None:
    assert not lost(Haze()).any()


def test_a_spot_takes_its_share_of_the_contrast_and_has_the_colour_of_cells() -> None:
    image, labels = field()
    taken = Acquisition(haze=Haze(spots=(DISC,))).expose(image, labels)
    assert taken[40, 60].tolist() == [round(200 * 0.5**0.5), round(180 * 0.5**0.5), 160]
    strong = Acquisition(haze=Haze(spots=(DISC._replace(strength=0.9),))).expose(image, labels)
    assert strong[40, 60, 0] < taken[40, 60, 0]
    assert (taken[5, 5] == image[5, 5]).all()


def test_the_rim_of_a_spot_is_soft_where_it_should_be() -> None:
    profile = [lost(Haze(spots=(DISC._replace(softness=soft),)))[40, 60:, 0] for soft in (3, 6)]
    for fall in profile:
        assert fall[12] == pytest.approx(0.27 * 200 / 2, abs=5)  # half of what the middle loses
        assert (np.diff(fall) <= 1).all()
    steepest = [-np.diff(fall).min() for fall in profile]
    assert steepest[0] > 1.5 * steepest[1]


def test_an_ellipse_lies_along_its_angle() -> None:
    rod = DISC._replace(along=24, across=6)
    flat, upright = (lost(Haze(spots=(rod._replace(angle=angle),)))[..., 0] for angle in (0, np.pi / 2))
    assert flat[40, 78] > 30 > 3 > flat[58, 60]
    assert upright[58, 60] > 30 > 3 > upright[40, 78]


def test_a_halo_lies_about_cells_and_fades() -> None:
    dark = lost(Haze(halo=0.3, reach=5))[75, :, 0]
    assert dark[52] > dark[56] > dark[62] >= dark[120] == 0
    assert dark[52] > 5


def test_spots_over_the_border_are_cut_off() -> None:
    for x, y in ((-5, -5), (139, 99), (-500, 40), (60, 900)):
        found = lost(Haze(spots=(DISC._replace(x=x, y=y),)))
        assert found.max() > 20 if abs(x) < 200 and y < 200 else not found.any()


def test_fields_without_cells_or_without_ground_and_bright_cells_are_exposed_too() -> None:
    image, labels = field()
    haze = Haze(halo=0.3, spots=(DISC,))
    for other in (np.zeros_like(labels), np.ones_like(labels)):
        assert (Acquisition(haze=haze).expose(image, other)[40, 60] < image[40, 60]).all()
    assert (Acquisition(haze=haze).expose(255 - image, labels)[40, 60] <= 255 - image[40, 60]).all()


def test_drawn_haze_follows_the_size_of_cells_and_differs_from_field_to_field() -> None:
    small, large = np.zeros((400, 400), np.int32), np.zeros((400, 400), np.int32)
    small[:10, :10], large[:60, :60] = 1, 1
    spans = []
    for labels in (small, large):
        drawn = [Haze.draw(labels, np.random.default_rng(k)) for k in range(60)]
        assert 15 < sum(haze.halo > 0 for haze in drawn) < 45
        assert 15 < sum(bool(haze.spots) for haze in drawn) < 45
        assert len({haze.model_dump_json() for haze in drawn}) == 60
        spots = [spot for haze in drawn for spot in haze.spots]
        assert all(0 <= spot.x <= 400 and spot.softness >= 3 and spot.strength <= 0.5 for spot in spots)
        spans.append(np.median([spot.along for spot in spots]))
    assert spans[1] == pytest.approx(6 * spans[0], rel=0.5)


def test_haze_comes_back_from_json_and_nothing_unknown_does() -> None:
    taken = Acquisition(haze=Haze(halo=0.2, spots=(DISC,)))
    assert Acquisition.model_validate_json(taken.model_dump_json()) == taken
    with pytest.raises(ValidationError):
        Haze.model_validate({"fog": 1})
    with pytest.raises(OptionError, match="give their labels"):
        taken.expose(field()[0])
