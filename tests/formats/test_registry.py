"""What real folders hold: every kind of image, and everything that can be wrong with one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from faster_coco_eval.core import mask
from PIL import Image

from smears import analytic_smear, write_folder
from smearsynth.datasets import open_smears
from smearsynth.errors import DataError, OptionError
from smearsynth.formats.images import read_ids, read_rgb

LABELS = analytic_smear().labels
LABELS_8 = LABELS.astype(np.uint8)
IMAGE = analytic_smear().image


def folder_of(
    root: Path,
    labels: np.ndarray = LABELS_8,
    image: np.ndarray = IMAGE,
    *,
    inner: str = "labels",
    name: str = "a.png",
    labels_name: str = "a.png",
) -> Path:
    for folder, file, pixels in (("images", name, image), (inner, labels_name, labels)):
        (root / folder).mkdir(parents=True, exist_ok=True)
        if file.lower().endswith((".tif", ".tiff")):
            tifffile.imwrite(root / folder / file, pixels)
        else:
            Image.fromarray(pixels).save(root / folder / file)
    return root


def problem(act: Callable[[], object]) -> str:
    with pytest.raises(DataError) as caught:
        act()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- images


def ramp(dtype: type, top: int) -> np.ndarray:
    return np.linspace(0, top, 256).reshape(16, 16).astype(dtype)


@pytest.mark.parametrize("ending", ["png", "tif"])
@pytest.mark.parametrize("top", [255, 4095, 65535])
def test_16_bit_grey_is_mapped_from_its_bit_depth(tmp_path: Path, top: int, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    pixels = ramp(np.uint16, top)
    tifffile.imwrite(path, pixels) if ending == "tif" else Image.fromarray(pixels).save(path)
    rgb = read_rgb(path)
    assert rgb.shape == (16, 16, 3)
    assert (rgb == np.rint(pixels * (255 / top))[:, :, None]).all()


def test_16_bit_exposure_is_kept_not_stretched(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "dark.tif", np.full((8, 8, 3), 1000, np.uint16), photometric="rgb")
    assert read_rgb(tmp_path / "dark.tif").max() == round(1000 / 4095 * 255)


def save_as(mode: str) -> Callable[[Path], None]:
    return lambda path: Image.fromarray(IMAGE).convert(mode).save(path)


@pytest.mark.parametrize(
    ("file", "write", "tolerance"),
    [
        ("L.png", save_as("L"), 25),
        ("palette.png", lambda p: Image.fromarray(IMAGE).quantize(32).save(p), 3),
        ("cmyk.jpg", save_as("CMYK"), 4),
        ("cmyk.tif", save_as("CMYK"), 0),
        ("rgba.png", save_as("RGBA"), 0),
        ("jpeg.JPEG", save_as("RGB"), 4),
        ("bmp.bmp", save_as("RGB"), 0),
        ("lossless.webp", lambda p: Image.fromarray(IMAGE).save(p, lossless=True), 0),
        ("png.jpg", lambda p: Image.fromarray(IMAGE).save(p, format="PNG"), 0),
        ("tiff.png", lambda p: tifffile.imwrite(p, IMAGE, photometric="rgb"), 0),
        ("plain.tif", lambda p: tifffile.imwrite(p, IMAGE, photometric="rgb"), 0),
        ("planes.TIF", lambda p: tifffile.imwrite(p, np.moveaxis(IMAGE, -1, 0), photometric="rgb",
                                                  planarconfig="separate"), 0),
        ("lzw.tiff", lambda p: Image.fromarray(IMAGE).save(p, compression="tiff_lzw"), 0),
        ("jpeg.tiff", lambda p: Image.fromarray(IMAGE).save(p, compression="jpeg"), 4),
        ("deep.tif", lambda p: tifffile.imwrite(p, IMAGE.astype(np.uint16) * 257, photometric="rgb"), 0),
        ("float.tif", lambda p: tifffile.imwrite(p, (IMAGE / 255).astype(np.float32), photometric="rgb"), 0),
    ],
)  # fmt: skip
def test_every_kind_of_image_becomes_rgb(
    tmp_path: Path, file: str, write: Callable[[Path], None], tolerance: int
) -> None:
    write(tmp_path / file)
    rgb = read_rgb(tmp_path / file)
    assert rgb.dtype == np.uint8
    assert rgb.flags.writeable
    assert rgb.shape == IMAGE.shape
    assert np.abs(rgb.astype(int) - IMAGE).mean() <= tolerance


def test_transparency_is_laid_on_white_and_an_unused_alpha_ignored(tmp_path: Path) -> None:
    pixels = np.full((4, 4, 4), 100, np.uint8)
    pixels[..., 3] = 0
    Image.fromarray(pixels).save(tmp_path / "unused.png")
    assert (read_rgb(tmp_path / "unused.png") == 100).all()
    pixels[0, 0, 3], pixels[1, 1, 3] = 255, 51
    Image.fromarray(pixels).save(tmp_path / "used.png")
    rgb = read_rgb(tmp_path / "used.png")
    assert [rgb[0, 0, 0], rgb[1, 1, 0], rgb[2, 2, 0]] == [100, 224, 255]


@pytest.mark.parametrize("ending", ["jpg", "png", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, ending: str) -> None:
    pixels = np.zeros((32, 64, 3), np.uint8)
    pixels[:16, :16] = 255
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(pixels).save(tmp_path / f"a.{ending}", exif=exif, quality=95)
    rgb = read_rgb(tmp_path / f"a.{ending}")
    assert rgb.shape[:2] == ((32, 64) if orientation < 5 else (64, 32))
    bright = {1: (0, 0), 2: (0, 1), 3: (1, 1), 4: (1, 0), 5: (0, 0), 6: (0, 1), 7: (1, 1), 8: (1, 0)}
    corner = bright[orientation]
    quarter = np.array_split(np.array_split(rgb, 2, axis=0)[corner[0]], 2, axis=1)[corner[1]]
    assert quarter.mean() > 0.9 * rgb.mean() * 4


def test_of_several_pages_the_first_is_read_and_said_so(tmp_path: Path) -> None:
    stack = np.stack([IMAGE, IMAGE // 2, IMAGE // 3])
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="rgb")
    with pytest.warns(UserWarning, match="has 3 pages; only the first"):
        assert (read_rgb(tmp_path / "a.tif") == IMAGE).all()


# ---- label images


@pytest.mark.parametrize(
    ("dtype", "file"),
    [
        (np.uint8, "a.png"), (np.uint16, "a.png"), (np.uint8, "a.TIF"), (np.uint16, "a.tif"),
        (np.int16, "a.tif"), (np.int32, "a.tiff"), (np.uint32, "a.tif"), (np.int64, "a.tif"),
        (np.uint64, "a.tif"), (np.float32, "a.tif"), (np.float64, "a.tif"),
    ],
)  # fmt: skip
def test_labels_of_every_type(tmp_path: Path, dtype: type, file: str) -> None:
    smear = open_smears(folder_of(tmp_path, LABELS.astype(dtype), labels_name=file))[0]
    assert (smear.labels == LABELS).all()


def test_ids_above_16_bit_signed_stay_what_they_are(tmp_path: Path) -> None:
    ids = (LABELS * 20000).astype(np.uint16)
    folder_of(tmp_path, ids)
    assert read_ids(tmp_path / "labels" / "a.png").max() == 60000
    assert open_smears(tmp_path)[0].count == 3


def test_lzw_tiff_labels_are_read_without_the_codec_package(tmp_path: Path) -> None:
    folder_of(tmp_path)
    Image.fromarray(LABELS).save(tmp_path / "labels" / "a.tif", compression="tiff_lzw")
    (tmp_path / "labels" / "a.png").unlink()
    assert (open_smears(tmp_path)[0].labels == LABELS).all()


def test_flat_pairs(tmp_path: Path) -> None:
    Image.fromarray(IMAGE).save(tmp_path / "x.1.JPG")
    Image.fromarray(LABELS_8).save(tmp_path / "x.1_mask.PNG")
    Image.fromarray(IMAGE).save(tmp_path / "y.png")
    Image.fromarray(LABELS_8).save(tmp_path / "y_cp_masks.png")
    folder = open_smears(tmp_path)
    assert folder.names == ("x.1", "y")
    assert folder[0].count == folder[1].count == 3


def test_empty_annotation_and_mixed_sizes(tmp_path: Path) -> None:
    folder_of(tmp_path)
    folder_of(tmp_path, np.zeros((30, 40), np.uint8), IMAGE[:30, :40], name="b.png", labels_name="b.png")
    assert [(smear.count, smear.shape) for smear in open_smears(tmp_path)] == [(3, (64, 80)), (0, (30, 40))]


def test_classes_of_a_foreign_folder_only_on_request(tmp_path: Path) -> None:
    folder_of(tmp_path)
    (tmp_path / "instances.csv").write_text("image,instance,class\na.png,3,ring\na,1,red\na,2,red\n")
    assert open_smears(tmp_path).class_names == ("cell",)
    annotated = open_smears(tmp_path, classes="annotated")
    assert annotated.class_names == ("ring", "red")
    assert annotated[0].classes.tolist() == [1, 1, 0]
    (tmp_path / "instances.csv").write_text("image,instance,class\na,1,red\na,3,ring\n")
    assert "instance 2 of image a" in problem(lambda: open_smears(tmp_path, classes="annotated")[0])


def test_typed_points_name_the_cell_they_lie_in(tmp_path: Path) -> None:
    folder_of(tmp_path)
    (tmp_path / "points").mkdir()
    (tmp_path / "points" / "a.txt").write_text("60 44 2\n60 45 0\n20 20 1\n999 999 3\n")
    folder = open_smears(tmp_path, classes="annotated")
    assert folder.class_names == ("type 0", "type 1", "type 2", "type 3", "untyped")
    assert folder[0].classes.tolist() == [1, 4, 2]


# ---- bad input


def test_not_an_image_and_truncated_files(tmp_path: Path) -> None:
    folder_of(tmp_path, LABELS_8)
    image = tmp_path / "images" / "a.png"
    whole = image.read_bytes()
    image.write_text("hello")
    says = problem(lambda: open_smears(tmp_path)[0])
    assert says.startswith(f"{image}: is not an image")
    image.write_bytes(whole[: len(whole) // 2])
    assert "truncated or damaged" in problem(lambda: open_smears(tmp_path)[0])


@pytest.mark.parametrize("file", ["a.png", "a.tif", "a.jpg"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.95])
def test_files_cut_short_anywhere_are_data_errors(tmp_path: Path, file: str, share: float) -> None:
    noisy = np.random.default_rng(0).integers(0, 256, (64, 80, 3), np.uint8)
    folder_of(tmp_path, LABELS_8, noisy, name=file)
    path = tmp_path / "images" / file
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert str(path) in problem(lambda: open_smears(tmp_path)[0])


def test_sizes_that_differ_name_both_files(tmp_path: Path) -> None:
    folder_of(tmp_path, LABELS_8[:, :60])
    says = problem(lambda: open_smears(tmp_path)[0])
    for part in ("labels/a.png", "60×64", "images/a.png", "80×64"):
        assert part in says


def test_labels_with_fractions_or_negative_ids(tmp_path: Path) -> None:
    folder_of(tmp_path, LABELS.astype(np.float32) / 2, labels_name="a.tif")
    assert "fractions" in problem(lambda: open_smears(tmp_path)[0])
    folder_of(tmp_path, (LABELS * 20000).astype(np.int16), labels_name="a.tif")
    assert "negative ids (down to -25536)" in problem(lambda: open_smears(tmp_path)[0])


def test_colours_where_labels_are_asked_for(tmp_path: Path) -> None:
    folder_of(tmp_path, np.repeat(LABELS_8[..., None], 3, axis=2))
    says = problem(lambda: open_smears(tmp_path, format="labels")[0])
    assert "colour image of 3 channels" in says
    assert "format 'palette'" in says


def test_jpeg_labels_are_refused(tmp_path: Path) -> None:
    folder_of(tmp_path, LABELS_8, labels_name="a.jpg")
    assert "JPEG" in problem(lambda: open_smears(tmp_path)[0])


@pytest.mark.parametrize("value", [1, 255])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, bool])
def test_a_binary_mask_is_taken_apart_only_on_request(tmp_path: Path, value: int, dtype: type) -> None:
    folder_of(tmp_path, ((LABELS > 0) * value).astype(dtype))
    says = problem(lambda: open_smears(tmp_path)[0])
    assert "looks like a binary mask" in says
    assert "--binary" in says
    # The two discs that overlap are one component.
    assert open_smears(tmp_path, binary=True)[0].count == 2


def test_one_giant_component_looks_binary_and_one_cell_does_not(tmp_path: Path) -> None:
    net = np.ones((64, 80), np.uint8)
    net[10:20, 10:20] = 0
    folder_of(tmp_path, net)
    assert "--binary" in problem(lambda: open_smears(tmp_path)[0])
    folder_of(tmp_path, (LABELS == 3).astype(np.uint8))
    assert open_smears(tmp_path)[0].count == 1


def test_one_cell_in_two_pieces_among_other_smears_is_no_binary_mask(tmp_path: Path) -> None:
    split = (LABELS == 3).astype(np.uint8)
    split[44] = 0
    folder_of(tmp_path, split)
    folder_of(tmp_path, LABELS_8, name="b.png", labels_name="b.png")
    assert [smear.count for smear in open_smears(tmp_path)] == [1, 3]


def test_missing_pairs_are_named(tmp_path: Path) -> None:
    folder_of(tmp_path)
    image, labels = tmp_path / "images" / "a.png", tmp_path / "labels" / "a.png"
    image.rename(tmp_path / "images" / "b.png")
    says = problem(lambda: open_smears(tmp_path))
    assert "1 image (b) without labels; add labels/b.png" in says
    (tmp_path / "labels" / "b.png").write_bytes(labels.read_bytes())
    assert "1 label image (a) without image" in problem(lambda: open_smears(tmp_path))


def test_two_images_of_one_name(tmp_path: Path) -> None:
    folder_of(tmp_path)
    Image.fromarray(IMAGE).save(tmp_path / "images" / "a.jpg")
    assert "same name" in problem(lambda: open_smears(tmp_path))


def test_folders_that_hold_nothing_readable(tmp_path: Path) -> None:
    assert "does not exist" in problem(lambda: open_smears(tmp_path / "no"))
    assert "is empty" in problem(lambda: open_smears(tmp_path))
    (tmp_path / "readme.txt").write_text("x")
    says = problem(lambda: open_smears(tmp_path))
    assert "labels/" in says
    assert "COCO" in says
    assert "is a file" in problem(lambda: open_smears(tmp_path / "readme.txt"))
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    assert "holds no images" in problem(lambda: open_smears(tmp_path))


@pytest.mark.skipif(os.name != "posix", reason="POSIX access rights")
def test_unreadable_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = open_smears(folder_of(tmp_path))

    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    # Root may read everything, so rights alone would test nothing where tests run as root.
    monkeypatch.setattr(Path, "open", refuse)
    says = problem(lambda: folder[0])
    assert "no permission to read it" in says
    assert str(tmp_path / "images" / "a.png") in says


def test_unknown_options(tmp_path: Path) -> None:
    folder_of(tmp_path)
    for options in ({"format": "yolo"}, {"classes": "some"}, {"classes": "annotated", "binary": True}):
        with pytest.raises(OptionError):
            open_smears(tmp_path, **options)  # type: ignore[arg-type]


# ---- COCO


def coco_folder(root: Path, annotations: list[dict[str, object]], **image: object) -> Path:
    (root / "images").mkdir(parents=True)
    Image.new("RGB", (30, 20)).save(root / "images" / "a.png")
    record = {"id": 7, "file_name": "a.png", "width": 30, "height": 20, **image}
    kinds = [{"id": 3, "name": "red"}, {"id": 9, "name": "white"}]
    shapes = [{"image_id": 7, "category_id": 3, "iscrowd": 0, **shape} for shape in annotations]
    content = {"images": [record], "annotations": shapes, "categories": kinds}
    (root / "anything.json").write_text(json.dumps(content))
    return root


SQUARE = [2, 2, 10, 2, 10, 10, 2, 10]


def test_coco_polygons_and_both_kinds_of_run_lengths(tmp_path: Path) -> None:
    # Columns first: 20 px of column 20, then 5 of column 21.
    plain = {"size": [20, 30], "counts": [400, 25, 175]}
    low = np.zeros((20, 30), np.uint8, order="F")
    low[15:, 5:9] = 1
    packed = {"size": [20, 30], "counts": mask.encode(low)["counts"].decode()}
    root = coco_folder(
        tmp_path,
        [{"segmentation": [SQUARE]}, {"segmentation": plain, "category_id": 9}, {"segmentation": packed}],
    )
    for path in (root, root / "anything.json"):
        folder = open_smears(path, classes="annotated")
        smear = folder[0]
        assert folder.class_names == ("red", "white")
        assert smear.classes.tolist() == [0, 1, 0]
        assert smear.areas().tolist() == [64, 25, 20]
        assert (smear.labels[low > 0] == 3).all()
        assert smear.labels[:, 20].tolist() == [2] * 20
        assert smear.labels[:6, 21].tolist() == [2] * 5 + [0]
    assert open_smears(root).class_names == ("cell",)


def test_later_coco_annotations_lie_on_top_and_crowds_are_left_out(tmp_path: Path) -> None:
    crowd = {"segmentation": {"size": [20, 30], "counts": [0, 600]}, "iscrowd": 1}
    over = [6, 6, 14, 6, 14, 14, 6, 14]
    root = coco_folder(tmp_path, [{"segmentation": [SQUARE]}, crowd, {"segmentation": [over]}])
    with pytest.warns(UserWarning, match="1 crowd annotation left out"):
        folder = open_smears(root)
    assert "1 crowd annotation" in folder.notes[0]
    assert folder[0].areas().tolist() == [48, 64]


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ({"segmentation": []}, "only a box"),
        ({"segmentation": [[1, 2, 3, 4]]}, "three points"),
        ({"segmentation": [[1, 2, 3, 4, 5, float("nan")]]}, "three points"),
        ({"segmentation": {"size": [9, 9], "counts": [81]}}, "size"),
        ({"segmentation": {"size": [20, 30], "counts": [0, 60000]}}, "annotation 1 of image a"),
        ({"segmentation": {"size": [20, 30], "counts": "0"}}, "annotation 1 of image a"),
        ({"segmentation": 5}, "annotation 1 of image a"),
        ({"segmentation": [SQUARE], "category_id": 4}, "does not define 4"),
        ({"segmentation": [SQUARE], "image_id": 8}, "does not define 8"),
    ],
)
def test_coco_that_cannot_be_drawn(tmp_path: Path, shape: dict[str, object], says: str) -> None:
    root = coco_folder(tmp_path, [shape])
    message = problem(lambda: open_smears(root)[0])
    assert says in message
    assert "anything.json" in message


def test_coco_of_another_size_or_without_its_image(tmp_path: Path) -> None:
    root = coco_folder(tmp_path, [], width=31)
    assert "says 31×20" in problem(lambda: open_smears(root)[0])
    (root / "images" / "a.png").unlink()
    assert "does not exist" in problem(lambda: open_smears(root)[0])
    (root / "anything.json").write_text('{"images": [], "annotations": [], "categories": []}')
    assert "lists no images" in problem(lambda: open_smears(root))
    (root / "anything.json").write_text('{"images": [')
    assert "not valid JSON" in problem(lambda: open_smears(root / "anything.json"))


def test_several_coco_files_are_splits(tmp_path: Path) -> None:
    for split in ("train", "test"):
        written = write_folder(tmp_path / split, [analytic_smear(name=f"{split}-1")], format="coco")
        (tmp_path / "annotations").mkdir(exist_ok=True)
        (written / "annotations.json").rename(tmp_path / "annotations" / f"instances_{split}.json")
        for image in (written / "images").iterdir():
            image.rename(written / image.name)
    folder = open_smears(tmp_path)
    assert folder.splits == {"test": 1, "train": 1}
    assert open_smears(tmp_path, split="train").names == ("train-1",)
    assert (folder[0].labels == LABELS).all()
