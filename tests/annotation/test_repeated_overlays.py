"""What many smears show at the same place is found in each of them, and tissue is not flagged."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from smearsynth.annotation.burned_in import find_overlays
from smearsynth.annotation.relative_colours import overlay_mask
from smearsynth.annotation.repeated_overlays import OverlayEvidence

DATA = Path(os.environ.get("SMEARSYNTH_DATA", Path(__file__).parents[3] / "shared" / "data"))
SIZE = (320, 240)


def smear(seed: int) -> Image.Image:
    """Return a field of red cells with noise."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", SIZE, (214, 206, 210))
    draw = ImageDraw.Draw(image)
    for x, y in rng.uniform((0, 0), SIZE, (30, 2)):
        draw.ellipse((x - 16, y - 16, x + 16, y + 16), fill=(176, 110, 128), outline=(150, 86, 108))
    blurred = np.asarray(image.filter(ImageFilter.GaussianBlur(1.2))).astype(float)
    return Image.fromarray(np.clip(blurred + rng.normal(0, 3, blurred.shape), 0, 255).astype(np.uint8))


def multiplied(image: Image.Image, mask: np.ndarray, factor: float) -> np.ndarray:
    """Return an image that is darker (or brighter) within a mask, as behind dust or a watermark."""
    pixels = np.asarray(image).astype(float)
    pixels[mask] *= factor
    return np.clip(pixels, 0, 255).astype(np.uint8)


def drawn(draw) -> np.ndarray:
    mask = Image.new("L", SIZE)
    draw(ImageDraw.Draw(mask))
    return np.asarray(mask) > 0


def logo(draw) -> None:
    draw.ellipse((20, 190, 60, 230), fill=255)
    draw.rectangle((34, 196, 40, 224), fill=0)
    draw.rectangle((46, 200, 52, 220), fill=0)


STRUCTURES = {
    "faint scale bar": lambda d: (
        d.rectangle((230, 220, 290, 221), fill=255),
        d.text((246, 204), "20 um", fill=255),
    ),
    "text": lambda d: d.text((20, 20), "Laboratory 7, patient 12", fill=255),
    "crosshair": lambda d: (d.line((80, 120, 240, 120), fill=255), d.line((160, 50, 160, 190), fill=255)),
    "dust": lambda d: d.ellipse((200, 60, 208, 68), fill=255),
    "logo": logo,
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_faint_structure_is_found_by_its_place(name):
    mask = drawn(STRUCTURES[name])
    images = [multiplied(smear(k), mask, 0.82) for k in range(8)]
    evidence = OverlayEvidence.of(images)
    recalls, errors = [], []
    for image in images:
        found = overlay_mask(evidence.overlays(image), mask.shape)
        recalls.append((found & mask).sum() / mask.sum())
        near = np.asarray(Image.fromarray(mask).convert("L").filter(ImageFilter.MaxFilter(9))) > 0
        errors.append((found & ~near).mean())
    assert np.mean(recalls) > 0.7
    assert np.mean(errors) < 0.002


@pytest.mark.parametrize("name", ["dust", "logo"])
def test_the_image_alone_does_not_show_it(name):
    mask = drawn(STRUCTURES[name])
    assert find_overlays(multiplied(smear(0), mask, 0.82)) == []


def test_tissue_is_not_flagged():
    images = [np.asarray(smear(k)) for k in range(20)]
    evidence = OverlayEvidence.of(images)
    assert not any(evidence.templates.values())
    assert [evidence.overlays(image) for image in images] == [[]] * 20


def test_four_smears_with_a_structure_are_not_enough():
    mask = drawn(STRUCTURES["dust"])
    images = [multiplied(smear(k), mask, 0.7) for k in range(4)] + [np.asarray(smear(k)) for k in range(4, 12)]
    assert not any(OverlayEvidence.of(images).templates.values())


def test_only_smears_that_show_the_structure_are_masked():
    mask = drawn(STRUCTURES["logo"])
    with_logo = [multiplied(smear(k), mask, 0.7) for k in range(8)]
    evidence = OverlayEvidence.of([*with_logo, *(np.asarray(smear(k)) for k in range(8, 16))])
    assert all(evidence.overlays(image) for image in with_logo)
    assert not any(evidence.overlays(np.asarray(smear(k))) for k in range(20, 32))


def test_copies_of_one_field_are_no_evidence():
    rng = np.random.default_rng(0)
    field = np.asarray(smear(0)).astype(float)
    copies = [np.clip(field + rng.normal(0, 2, field.shape), 0, 255).astype(np.uint8) for _ in range(8)]
    assert not any(OverlayEvidence.of(copies).templates.values())


def test_structures_of_another_size_are_kept_apart():
    mask = drawn(STRUCTURES["logo"])
    evidence = OverlayEvidence.of([multiplied(smear(k), mask, 0.7) for k in range(8)])
    assert evidence.overlays(np.asarray(smear(9))[:200, :300]) == []


def test_pale_marks_need_colours_that_no_tissue_has():
    tissue = [smear(k) for k in range(12)]
    marked = tissue[0].copy()
    ImageDraw.Draw(marked).rectangle((100, 100, 110, 130), fill=(150, 214, 150))
    image = np.asarray(marked)
    assert find_overlays(image) == []
    evidence = OverlayEvidence.of(np.asarray(item) for item in tissue)
    assert [overlay.kind for overlay in evidence.overlays(image)] == ["marker"]
    # Tissue in the same colour in other smears: the mark is no longer unusual.
    for item in tissue[3:8]:
        ImageDraw.Draw(item).ellipse((200, 30, 220, 50), fill=(150, 214, 150))
    assert OverlayEvidence.of(np.asarray(item) for item in tissue).overlays(image) == []


def test_another_text_at_the_place_of_the_bar_is_found():
    images = []
    for k in range(8):
        image = smear(k)
        draw = ImageDraw.Draw(image)
        draw.rectangle((230, 220, 290, 221), fill=(0, 0, 0))
        draw.text((246, 204), "20 um", fill=(0, 0, 0))
        images.append(np.asarray(image))
    evidence = OverlayEvidence.of(images)
    other = smear(20)
    ImageDraw.Draw(other).text((238, 206), "x 400", fill=(0, 0, 0))
    assert find_overlays(np.asarray(other)) == []
    assert {overlay.kind for overlay in evidence.overlays(np.asarray(other))} == {"scale bar or text"}
    assert evidence.overlays(np.asarray(smear(21))) == []


def test_evidence_is_pickled_for_the_processes_of_a_data_loader():
    mask = drawn(STRUCTURES["dust"])
    images = [multiplied(smear(k), mask, 0.7) for k in range(8)]
    evidence = OverlayEvidence.of(images)
    copy = pickle.loads(pickle.dumps(evidence))
    boxes = [overlay.box for overlay in evidence.overlays(images[0])]
    assert boxes
    assert [overlay.box for overlay in copy.overlays(images[0])] == boxes


def test_a_round_frame_and_a_dead_column_are_found_in_every_smear():
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    outside = np.hypot(x - 160, y - 120) > 150
    images = []
    for k in range(6):
        image = np.asarray(smear(k)).copy()
        image[:, 77] = np.clip(image[:, 77].astype(int) - 40, 0, 255)
        image[outside] = 4
        images.append(image)
    evidence = OverlayEvidence.of(images)
    outside[:, 77] = True
    for image in images:
        found = overlay_mask(evidence.overlays(image), outside.shape)
        assert (found & outside).sum() > 0.9 * outside.sum()
        assert (found & ~outside).mean() < 0.07  # the soft edge of the frame


def fields(name: str, step: int) -> list[np.ndarray]:
    folder = DATA / name / "images"
    if not folder.is_dir():
        pytest.skip(f"no real smears in {folder}")
    return [np.asarray(Image.open(path).convert("RGB")) for path in sorted(folder.iterdir())[::step]]


@pytest.mark.realdata
@pytest.mark.slow
def test_dust_on_the_sensor_of_chula_is_found():
    evidence = OverlayEvidence.of(fields("chula", 4))
    places = {(round(t.x + t.mask.shape[1] / 2), round(t.y + t.mask.shape[0] / 2))
              for t in evidence.templates[480, 640] if t.kind == "dust"}  # fmt: skip
    for x, y in ((350, 97), (303, 172), (323, 280), (515, 294), (94, 364), (254, 376), (615, 121)):
        assert any(abs(x - a) < 12 and abs(y - b) < 12 for a, b in places), (x, y)


@pytest.mark.realdata
@pytest.mark.slow
def test_smears_of_bbbc041seg_repeat_nothing():
    assert not any(OverlayEvidence.of(fields("bbbc041seg", 2)).templates.values())
