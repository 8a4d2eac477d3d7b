"""Colours of tissue: fields with colours of no training smear are recognised."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from smears import analytic_smear, disc_mask, partly_annotated, random_smear
from smearsynth.errors import DataError
from smearsynth.smear import Smear
from smearsynth.synthesis.model.colours import TissueColours
from smearsynth.synthesis.model.synthesizer import Synthesizer

SMEARS = [random_smear(k, (128, 128)) for k in range(6)]
GREEN = (30, 230, 60)


@pytest.fixture(scope="module")
def colours() -> TissueColours:
    return TissueColours.fit(SMEARS)


def with_stain(smear: Smear, colour: tuple[int, int, int], side: int = 12) -> np.ndarray:
    image = smear.image.copy()
    image[40 : 40 + side, 40 : 40 + side] = colour
    return image


def test_training_smears_and_similar_ones_have_the_colours_of_tissue(colours: TissueColours) -> None:
    assert all(colours.is_tissue(smear.image, smear.labels) for smear in SMEARS)
    other = random_smear(20, (128, 128))
    assert colours.other_fraction(other.image, other.labels) < 0.01


def test_colours_of_no_training_smear_are_recognised_by_their_area(colours: TissueColours) -> None:
    smear = SMEARS[0]
    for colour in (GREEN, (250, 240, 20), (20, 60, 250)):
        assert not colours.is_tissue(with_stain(smear, colour), smear.labels)
    fractions = [colours.other_fraction(with_stain(smear, GREEN, side), smear.labels) for side in (0, 6, 12, 24)]
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(24**2 / 128**2, rel=0.2)


def test_a_darker_lamp_does_not_change_the_colours(colours: TissueColours) -> None:
    smear = SMEARS[0]
    dark = (0.75 * smear.image).astype(np.uint8)
    assert colours.other_fraction(dark, smear.labels) < 0.002


def test_ignored_pixels_do_not_count() -> None:
    smear = analytic_smear((96, 120), [(25, 25, 10), (25, 60, 10)], noise=2)
    image = smear.image.copy()
    image[:, 90:] = GREEN
    half = partly_annotated(replace(smear, image=image), 80)
    assert half.ignored is not None
    clean = TissueColours.fit([half])
    assert not clean.is_tissue(with_stain(smear, GREEN), smear.labels)
    assert TissueColours.fit([replace(half, ignored=None)]).is_tissue(with_stain(smear, GREEN), smear.labels)


def test_further_smears_add_their_colours(colours: TissueColours) -> None:
    smear = SMEARS[0]
    green = replace(smear, image=with_stain(smear, GREEN, 20))
    assert not colours.is_tissue(green.image, green.labels)
    wider = colours.with_smears([green])
    assert wider.is_tissue(green.image, green.labels)
    assert wider.limit == colours.limit
    assert not colours.is_tissue(green.image, green.labels)  # unchanged
    assert (colours.with_smears([]).tissue == colours.tissue).all()


def test_the_limit_allows_what_real_smears_have_alone() -> None:
    """A limit below the fractions of real smears would reject fields as unusual as they are."""
    varied = [
        replace(smear, image=with_stain(smear, (40 * k, 250 - 40 * k, 30 * k), 8)) for k, smear in enumerate(SMEARS)
    ]
    assert TissueColours.fit(varied).limit > TissueColours.fit(SMEARS * 2).limit


def test_json_round_trip_and_damage(colours: TissueColours) -> None:
    text = colours.to_json()
    loaded = TissueColours.from_json(text)
    assert (loaded.tissue == colours.tissue).all()
    assert loaded.limit == colours.limit
    assert loaded.to_json() == text
    assert len(text) < 20_000
    record = json.loads(text)
    for damaged in (
        "",
        "[]",
        "{}",
        json.dumps({**record, "limit": 2}),
        json.dumps({**record, "format": 2}),
        json.dumps({**record, "tissue": record["tissue"][:40]}),
        json.dumps({**record, "tissue": "!"}),
        json.dumps({**record, "tissue": None}),
    ):
        with pytest.raises(DataError, match="train the model again"):
            TissueColours.from_json(damaged)


def test_progress_is_reported() -> None:
    done: list[int] = []
    TissueColours.fit(iter(SMEARS[:3]), done.append)
    assert done == [1, 2, 3]


def test_fields_without_background_are_compared_with_their_median(colours: TissueColours) -> None:
    labels = np.ones((40, 40), np.int32)
    image = np.full((40, 40, 3), 130, np.uint8)
    image[disc_mask((40, 40), (20, 20, 8))] = GREEN
    assert not colours.is_tissue(image, labels)


def test_a_model_is_saved_with_its_colours(tiny: Synthesizer, tmp_path: Path) -> None:
    assert tiny.colours is not None
    tiny.save(tmp_path)
    loaded = Synthesizer.load(tmp_path)
    assert loaded.colours is not None
    assert (loaded.colours.tissue == tiny.colours.tissue).all()
    # A model of a former version has none, and another hash; the file of the former model is deleted.
    former = replace(tiny, colours=None)
    assert former.hash != tiny.hash
    former.save(tmp_path)
    assert not (tmp_path / "colours.json").exists()
    assert Synthesizer.load(tmp_path).colours is None
