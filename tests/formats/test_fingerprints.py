"""Fingerprints: equal pixels, the same field in another form, and different fields."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from smears import random_smear
from smearsynth.datasets import fingerprints_of, open_smears
from smearsynth.formats.fingerprints import Fingerprint, find_same_fields
from smearsynth.smear import ImageArray

SMEARS = [random_smear(k, (192, 256)) for k in range(12)]
PRINTS = [Fingerprint.of_image(smear.image, smear.name) for smear in SMEARS]


def jpeg(image: ImageArray, quality: int) -> ImageArray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.array(Image.open(buffer))


def resized(image: ImageArray, factor: float) -> ImageArray:
    size = round(image.shape[1] * factor), round(image.shape[0] * factor)
    return np.array(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


@pytest.mark.parametrize(
    "change",
    [
        lambda image: jpeg(image, 60),
        lambda image: resized(image, 0.5),
        lambda image: jpeg(resized(image, 0.4), 75),
        lambda image: resized(image, 2),
        lambda image: np.rot90(image),
        lambda image: image[:, ::-1],
        lambda image: np.clip(image * 1.1 + 4, 0, 255).astype(np.uint8),
        lambda image: image.mean(axis=2, keepdims=True).repeat(3, axis=2).astype(np.uint8),
    ],
    ids=["jpeg", "half", "small jpeg", "double", "rotated", "mirrored", "brighter", "grey"],
)
def test_the_same_field_in_another_form_is_recognised(change) -> None:  # type: ignore[no-untyped-def]
    for k, smear in enumerate(SMEARS):
        copy = Fingerprint.of_image(np.ascontiguousarray(change(smear.image)), "copy")
        (match,) = find_same_fields([copy], PRINTS)
        assert (match.other, match.exact) == (SMEARS[k].name, False)


def test_different_fields_do_not_match_and_equal_pixels_do() -> None:
    assert find_same_fields(PRINTS[:6], PRINTS[6:]) == []
    matches = find_same_fields(PRINTS[:3], PRINTS)
    assert [(match.smear, match.other, match.exact) for match in matches] == [
        (smear.name, smear.name, True) for smear in SMEARS[:3]
    ]


def test_blank_images_match_by_their_pixels_only() -> None:
    blank = Fingerprint.of_image(np.full((64, 64, 3), 200, np.uint8), "blank")
    paler = Fingerprint.of_image(np.full((64, 64, 3), 201, np.uint8), "paler")
    assert blank.thumbnail is None
    assert find_same_fields([blank], [paler, *PRINTS]) == []
    assert [match.exact for match in find_same_fields([blank], [paler, blank])] == [True]


def test_the_hash_does_not_depend_on_file_format_or_scale(tmp_path: Path) -> None:
    smear = SMEARS[0]
    digests = set()
    for suffix in ("png", "bmp", "tiff"):
        folder = tmp_path / suffix
        for name, pixels in (("images", smear.image), ("labels", smear.labels.astype(np.uint16))):
            (folder / name).mkdir(parents=True)
            Image.fromarray(pixels).save(folder / name / f"a.{suffix if name == 'images' else 'png'}")
        digests |= {fingerprints_of(open_smears(folder, scale=scale))[0].digest for scale in (1, 0.5)}
    assert digests == {PRINTS[0].digest}
    changed = smear.image.copy()
    changed[5, 7, 1] ^= 1
    assert Fingerprint.of_image(changed, "a").digest not in digests


@pytest.mark.realdata
def test_real_fields_match_only_where_the_field_is_there_twice(real_data: Path) -> None:
    prints = {name: fingerprints_of(open_smears(real_data / name)[::3]) for name in ("chula", "bbbc041seg")}
    assert find_same_fields(prints["bbbc041seg"], prints["chula"]) == []
    for images in prints.values():
        for k, image in enumerate(images):
            matches = find_same_fields([image], images[:k] + images[k + 1 :])
            assert all({match.smear, match.other} in KNOWN for match in matches)


KNOWN = [{"271", "277"}, {"267", "273"}, {"262", "263"}, {"251", "252"}]
