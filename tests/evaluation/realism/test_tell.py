"""Tell test: worse images are recognised better, equal ones are not; crops avoid ignored pixels."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from evaluation_smears import blurred, noisy
from smears import random_smear, write_folder
from smearsynth.datasets import open_smears
from smearsynth.evaluation.realism.separation import separate
from smearsynth.evaluation.realism.tell import TellAuc, TellTest, missing_compression
from smearsynth.evaluation.realism.tell_figure import tell_figure
from smearsynth.evaluation.realism.tell_samples import (
    ALL_CONDITIONS,
    Condition,
    _Field,
    _largest_window,
    common_geometry,
    radial_spectra,
    sample,
)
from smearsynth.smear import Smear
from smearsynth.synthesis.networks.features import EfficientNetLite, load_judge

CROPS = Condition("crops", "cells", 96, with_last=True)


def marked(smear: Smear, rows: int = 24) -> Smear:
    """The smear with ignored last rows, which are white."""
    ignored = np.zeros(smear.shape, bool)
    ignored[-rows:] = True
    image = np.where(ignored[..., None], 255, smear.image).astype(np.uint8)
    return Smear.from_labels(image, np.where(ignored, 0, smear.labels), name=smear.name, ignored=ignored)


@pytest.fixture(scope="module")
def judge() -> EfficientNetLite:
    return load_judge()


@pytest.fixture(scope="module")
def large() -> list[Smear]:
    """Smears with cells of about 36 px, so that they are not resized."""
    return [random_smear(k).resized(2.0) for k in range(16)]


def test_worse_images_are_recognised_better(judge: EfficientNetLite, large: list[Smear]) -> None:
    geometry = common_geometry(large, [], 1.0, with_fields=False)
    real = sample(large[:6], judge, [CROPS], geometry)
    values = []
    for smears in (large[6:12], [noisy(smear, 30) for smear in large[6:12]]):
        other = sample(smears, judge, [CROPS], geometry, seed=1)
        results = [separate(real.middle["crops"], other.middle["crops"]), separate(real.spectra, other.spectra)]
        values.append([result.auc.value for result in results])
    assert max(values[0]) < 0.85
    assert min(values[1]) > 0.95


def test_all_conditions_are_reported(judge: EfficientNetLite) -> None:
    fields = [random_smear(k, (110, 110)).resized(2.0) for k in range(8)]
    noise = [noisy(smear, 30) for smear in fields[4:]]
    result = TellTest(fields[:4], [noise], judge, 1.0, full=True).compare(noise)
    assert result is not None
    tell = result[0]
    assert tell.middle.value > 0.95
    assert tell.by_part.background.value > 0.9
    assert tell.control.halves.value < 0.9
    assert tell.crops_160 is not None
    assert tell.fields is not None
    assert tell.table().row_count == len(tell.rows()) == 13  # no control with training smears
    assert TellAuc.model_validate_json(tell.model_dump_json()) == tell


def test_the_picture_shows_crops_of_both_sides(judge: EfficientNetLite, large: list[Smear], tmp_path) -> None:
    synthetic = [*large[8:11], blurred(large[11], 3)]
    result = TellTest(large[:4], [synthetic], judge, 1.0).compare(synthetic)
    assert result is not None
    crops = result[1]
    assert crops.side == 96
    assert {place.smear for place in crops.obvious} == {smear.name for smear in synthetic}
    assert crops.obvious[0].score >= crops.obvious[-1].score
    assert crops.convincing[0].score <= crops.convincing[-1].score
    assert {place.smear for place in crops.misjudged} <= {smear.name for smear in large[:4]}
    tell_figure(crops, large, large, tmp_path / "tell.png")
    picture = np.asarray(Image.open(tmp_path / "tell.png"))
    assert picture.shape == (3 * (28 + 164), 8 * 164, 3)


def test_no_crop_shows_what_a_twentieth_of_the_real_smears_ignore(large: list[Smear]) -> None:
    real = [marked(smear) for smear in large[:4]] + large[4:8]
    geometry = common_geometry(real, [large[8:]], 1.0, with_fields=True)
    assert geometry.excluded is not None
    assert geometry.window == (0, 0, 192 - 24, 192)
    for smear in (real[0], large[9]):
        field = _Field(smear, geometry, None, 8, (0, 0))
        for condition in ALL_CONDITIONS:
            if condition.kind != "field":
                assert all(top + condition.side <= 192 - 24 for top, _ in field._positions(condition))
    assert common_geometry(large, [], 1.0, with_fields=False) == (1.0, None, None)


def test_patches_show_one_part(large: list[Smear]) -> None:
    labels = np.zeros((192, 192), np.int32)
    y, x = np.mgrid[:192, :192]
    labels[(y - 96) ** 2 + (x - 96) ** 2 < 30**2] = 1
    image = np.where(labels[..., None] > 0, 100, 200).repeat(3, axis=2).astype(np.uint8)
    field = _Field(
        Smear.from_labels(image, labels), common_geometry(large, [], 1.0, with_fields=False), None, 8, (0, 0)
    )
    background, rim, interior = (
        field.crops(Condition(kind, kind, side))
        for kind, side in (("background", 32), ("rim", 32), ("interior", 20))
    )
    assert (background == 200).all()
    assert (interior == 100).all()
    assert all(len(np.unique(patch)) == 2 for patch in rim)


def test_positions_of_changed_images_are_the_same(judge: EfficientNetLite, large: list[Smear]) -> None:
    geometry = common_geometry(large, [], 1.0, with_fields=False)
    field = _Field(large[0], geometry, None, 8, (0, 0))
    plain, grey = field.crops(CROPS), field.crops(CROPS._replace(change="grey"))
    assert np.abs(plain @ np.array([0.299, 0.587, 0.114]) - grey[..., 0]).max() <= 0.51
    small = [smear.resized(0.5) for smear in large[:2]]
    places = sample(small, judge, [CROPS], geometry._replace(scale=2.0)).places
    assert places
    assert all(24 <= centre <= 96 - 24 for place in places for centre in (place.x, place.y))


def test_spectra_show_noise_in_high_frequencies(large: list[Smear]) -> None:
    crops = np.stack([smear.image[:96, :96] for smear in large[:4]])
    noise = np.stack([noisy(smear, 20).image[:96, :96] for smear in large[:4]])
    difference = (radial_spectra(noise) - radial_spectra(crops)).mean(axis=0)
    assert difference[8] > 1
    assert difference[8] > difference[0]


def test_compression_is_added_where_the_real_files_have_it(large: list[Smear], tmp_path) -> None:
    real, synthetic = (write_folder(tmp_path / name, large[:4]) for name in ("real", "synthetic"))
    assert missing_compression(open_smears(real), open_smears(synthetic)) is None  # PNG on both sides
    for file in sorted((real / "images").iterdir()):
        Image.open(file).convert("RGB").save(file.with_suffix(".jpg"), quality=90, subsampling=0)
        file.unlink()
    assert missing_compression(open_smears(real), open_smears(synthetic)) == (90, 0)
    assert missing_compression(open_smears(real, scale=0.4), open_smears(synthetic)) is None
    assert missing_compression(open_smears(real), open_smears(real)) is None
    assert missing_compression(large[:4], large[4:]) is None


def test_blocked_parts_of_fields_are_left_out() -> None:
    blocked = np.zeros((200, 300), bool)
    assert _largest_window((200, 300), blocked) == (0, 0, 200, 300)
    blocked[10:20, 280:290] = True
    assert _largest_window((200, 300), blocked) == (0, 0, 200, 280)
    blocked[:] = True
    assert _largest_window((200, 300), blocked) is None
