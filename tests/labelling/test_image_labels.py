from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from smears import analytic_smear
from smearsynth.annotation.record import CellMark, FieldAnnotation
from smearsynth.geometry import Box, Outline, PixelMask, Shape
from smearsynth.labelling.image_labels import ImageLabeller
from smearsynth.labelling.sources import ImageSource

DISCS = [(40, 40, 19), (110, 40, 19), (180, 40, 19), (40, 120, 19)]
FIELD = analytic_smear((170, 230), DISCS, noise=4, name="a")


def source(root: Path, *shapes: Shape, ignored: tuple[Shape, ...] = (), names: tuple[str, ...] = ()) -> ImageSource:
    path = root / "a.png"
    Image.fromarray(FIELD.image).save(path)
    kinds = names or ("rbc",) * len(shapes)
    marks = tuple(CellMark(shape, name) for shape, name in zip(shapes, kinds, strict=True))
    return ImageSource("a", path, FieldAnnotation("a.png", path, marks, ignored, um_per_px=0.2))


def box(k: int) -> Box:
    x, y, r = DISCS[k]
    return Box(x - r, y - r, x + r, y + r)


def test_visible_cells_without_a_box_are_ignored_or_labelled(tmp_path: Path) -> None:
    image = source(tmp_path, box(0), box(1), names=("rbc", "wbc"))
    smear, cells = ImageLabeller(("rbc", "wbc"), "rbc").label(image)
    assert (smear.count, smear.um_per_px) == (2, 0.2)
    assert smear.ignored is not None
    for k, hidden in ((1, False), (2, False), (3, True), (4, True)):
        assert (
            smear.ignored[FIELD.labels == k].mean() > 0.8 if hidden else not smear.ignored[FIELD.labels == k].any()
        )
    assert [cell.labels_from for cell in cells] == ["box", "box"]
    complete, cells = ImageLabeller(("rbc", "wbc"), "rbc", add_unmarked=True).label(image)
    assert complete.ignored is None
    assert sorted((cell.labels_from, cell.class_name) for cell in cells) == [
        ("box", "rbc"),
        ("box", "wbc"),
        ("image", "rbc"),
        ("image", "rbc"),
    ]


def test_outlines_beside_boxes_are_kept_and_ignored_regions_stay_ignored(tmp_path: Path) -> None:
    outline = Outline.of_mask(FIELD.labels == 2)
    region = PixelMask(FIELD.labels == 4)
    smear, cells = ImageLabeller(("rbc",), "rbc").label(source(tmp_path, box(0), outline, ignored=(region,)))
    kept = next(cell for cell in cells if cell.labels_from == "outline")
    assert ((smear.labels == kept.instance) == (FIELD.labels == 2)).all()
    assert kept.confidence == 1.0
    assert smear.ignored is not None
    assert smear.ignored[FIELD.labels == 4].all()


def test_a_second_opinion_lowers_the_confidence_where_it_disagrees(tmp_path: Path) -> None:
    def without_the_second(image: np.ndarray) -> np.ndarray:
        return np.where(FIELD.labels == 2, 0, FIELD.labels).astype(np.int32)

    image = source(tmp_path, *(box(k) for k in range(4)))
    alone = ImageLabeller(("rbc",), "rbc").label(image)[1]
    smear, cells = ImageLabeller(("rbc",), "rbc", second_opinion=without_the_second).label(image)
    doubted = int(smear.labels[40, 110])
    assert cells[doubted - 1].confidence < alone[doubted - 1].confidence
    assert min(range(4), key=lambda k: cells[k].confidence) == doubted - 1


def test_an_image_that_cannot_be_read_is_a_data_error(tmp_path: Path) -> None:
    broken = source(tmp_path, box(0))
    broken.path.write_bytes(b"no image")
    with pytest.raises(ValueError, match="is not an image"):
        ImageLabeller(("rbc",), "rbc").label(broken)
