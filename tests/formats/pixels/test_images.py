from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from image_folders import IMAGE, LABELS, LABELS_8, data_error, write_pair
from smearsynth.datasets import open_smears
from smearsynth.formats.pixels.images import (
    exif_orientation,
    id_plane_count,
    is_coloured,
    read_colours,
    read_id_planes,
    read_ids,
    read_png_text,
    read_rgb,
    save_png,
    save_tiff,
)


def ramp(dtype: type, top: int) -> np.ndarray:
    return np.linspace(0, top, 256).reshape(16, 16).astype(dtype)


@pytest.mark.parametrize("ending", ["png", "tif"])
@pytest.mark.parametrize("top", [255, 1023, 4095, 16383, 65535])
def test_16_bit_grey_is_scaled_by_its_bit_depth(tmp_path: Path, top: int, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    pixels = ramp(np.uint16, top)
    tifffile.imwrite(path, pixels) if ending == "tif" else Image.fromarray(pixels).save(path)
    rgb = read_rgb(path)
    assert rgb.shape == (16, 16, 3)
    assert (rgb == np.rint(pixels * (255 / top))[:, :, None]).all()


def test_an_uncertain_depth_is_the_smallest_with_a_warning(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "dark.tif", np.full((8, 8, 3), 1000, np.uint16), photometric="rgb")
    with pytest.warns(UserWarning, match=r"dark\.tif: values up to 1000 are read as 10 bits .* TIFF tag 281"):
        assert read_rgb(tmp_path / "dark.tif").max() == round(1000 / 1023 * 255)


@pytest.mark.parametrize("bits", [10, 14])
def test_the_largest_value_of_the_camera_is_read_from_the_file(
    tmp_path: Path, bits: int, recwarn: pytest.WarningsRecorder
) -> None:
    pixels = np.array([[(230, 215, 220), (190, 120, 140)]], np.uint16) << (bits - 8)
    largest = [(281, 3, 3, (2**bits - 1,) * 3, True)]
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extratags=largest)
    assert np.abs(read_rgb(tmp_path / "a.tif") - [[(230, 215, 220), (190, 120, 140)]]).max() <= 1
    tifffile.imwrite(tmp_path / "a.ome.tif", pixels, photometric="rgb", metadata={"SignificantBits": bits})
    assert (read_rgb(tmp_path / "a.ome.tif") == read_rgb(tmp_path / "a.tif")).all()
    assert not recwarn.list


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
def test_all_image_types_are_read_as_rgb(
    tmp_path: Path, file: str, write: Callable[[Path], None], tolerance: int
) -> None:
    write(tmp_path / file)
    rgb = read_rgb(tmp_path / file)
    assert rgb.dtype == np.uint8
    assert rgb.flags.writeable
    assert rgb.shape == IMAGE.shape
    assert np.abs(rgb.astype(int) - IMAGE).mean() <= tolerance


def test_transparent_pixels_become_white_and_an_unused_alpha_channel_is_ignored(tmp_path: Path) -> None:
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


@pytest.mark.parametrize("file", ["a.jpg", "a.tif", "lzw.tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_stored_pixels_are_read_without_the_orientation(tmp_path: Path, orientation: int, file: str) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    pixels = np.zeros((32, 64, 3), np.uint8)
    pixels[:16, :16] = 255
    options = {"a.jpg": {"quality": 95}, "a.tif": {}, "lzw.tif": {"compression": "tiff_lzw"}}[file]
    Image.fromarray(pixels).save(tmp_path / file, exif=exif, **options)
    assert exif_orientation(tmp_path / file) == orientation
    stored = read_rgb(tmp_path / file, oriented=False)
    assert stored.shape == pixels.shape
    assert np.abs(stored.astype(int) - pixels).max() <= 20


def test_images_without_or_with_an_invalid_orientation_have_orientation_1(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", IMAGE, photometric="rgb", extratags=[(274, 3, 1, 9, True)])
    Image.fromarray(IMAGE).save(tmp_path / "a.png")
    assert exif_orientation(tmp_path / "a.tif") == exif_orientation(tmp_path / "a.png") == 1


def test_an_animation_is_read_with_a_warning(tmp_path: Path) -> None:
    first = Image.fromarray(IMAGE)
    first.save(tmp_path / "a.webp", lossless=True, save_all=True, append_images=[first.rotate(180)])
    with pytest.warns(UserWarning, match="has 2 frames; only the first"):
        assert (read_rgb(tmp_path / "a.webp") == IMAGE).all()


def test_formats_that_start_a_program_are_not_opened(tmp_path: Path) -> None:
    Image.fromarray(IMAGE).save(tmp_path / "a.png", format="EPS")
    assert "is not an image; save it as PNG" in data_error(lambda: read_rgb(tmp_path / "a.png"))


def test_14_bit_colours_in_a_16_bit_png_are_rejected(tmp_path: Path) -> None:
    # Pillow writes no 16-bit colour PNG, and reads only the upper 8 bits.
    rows = b"".join(b"\0" + (8000).to_bytes(2, "big") * 6 for _ in range(2))
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b""),
    )  # fmt: skip
    path = tmp_path / "a.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in chunks
        )
    )
    assert "16-bit colour image with values of 14 bits or less" in data_error(lambda: read_rgb(path))


def test_the_first_of_several_pages_is_read_with_a_warning(tmp_path: Path) -> None:
    stack = np.stack([IMAGE, IMAGE // 2, IMAGE // 3])
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="rgb")
    with pytest.warns(UserWarning, match="has 3 pages; only the first"):
        assert (read_rgb(tmp_path / "a.tif") == IMAGE).all()


@pytest.mark.parametrize("file", ["a.png", "a.tif", "a.jpg"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.95])
def test_truncated_files_raise_a_data_error(tmp_path: Path, file: str, share: float) -> None:
    noisy = np.random.default_rng(0).integers(0, 256, (64, 80, 3), np.uint8)
    write_pair(tmp_path, LABELS_8, noisy, image_file=file)
    path = tmp_path / "images" / file
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert str(path) in data_error(lambda: open_smears(tmp_path)[0])


def test_text_files_and_truncated_files_are_rejected(tmp_path: Path) -> None:
    write_pair(tmp_path, LABELS_8)
    image = tmp_path / "images" / "a.png"
    whole = image.read_bytes()
    image.write_text("hello")
    message = data_error(lambda: open_smears(tmp_path)[0])
    assert message.startswith(f"{image}: is not an image")
    image.write_bytes(whole[: len(whole) // 2])
    assert "truncated or damaged" in data_error(lambda: open_smears(tmp_path)[0])


@pytest.mark.skipif(os.name != "posix", reason="POSIX access rights")
def test_unreadable_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_pair(tmp_path) / "images" / "a.png"

    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    # Root may read everything, so rights alone would test nothing where tests run as root.
    monkeypatch.setattr(Path, "open", refuse)
    assert data_error(lambda: read_rgb(path)).startswith(f"{path}: no permission to read it")


@pytest.mark.parametrize(
    ("dtype", "file"),
    [
        (np.uint8, "a.png"), (np.uint16, "a.png"), (np.uint8, "a.TIF"), (np.uint16, "a.tif"),
        (np.int16, "a.tif"), (np.int32, "a.tiff"), (np.uint32, "a.tif"), (np.int64, "a.tif"),
        (np.uint64, "a.tif"), (np.float32, "a.tif"), (np.float64, "a.tif"),
    ],
)  # fmt: skip
def test_labels_of_all_integer_and_float_types(tmp_path: Path, dtype: type, file: str) -> None:
    smear = open_smears(write_pair(tmp_path, LABELS.astype(dtype), label_file=file))[0]
    assert (smear.labels == LABELS).all()


def test_ids_above_32767_are_read_unchanged(tmp_path: Path) -> None:
    ids = (LABELS * 20000).astype(np.uint16)
    write_pair(tmp_path, ids)
    assert read_ids(tmp_path / "labels" / "a.png").max() == 60000
    assert open_smears(tmp_path)[0].count == 3


def test_lzw_tiff_labels_are_read_without_imagecodecs(tmp_path: Path) -> None:
    write_pair(tmp_path)
    Image.fromarray(LABELS).save(tmp_path / "labels" / "a.tif", compression="tiff_lzw")
    (tmp_path / "labels" / "a.png").unlink()
    assert (open_smears(tmp_path)[0].labels == LABELS).all()


def test_labels_with_fractions_or_negative_ids_are_rejected(tmp_path: Path) -> None:
    write_pair(tmp_path, LABELS.astype(np.float32) / 2, label_file="a.tif")
    assert "fractions" in data_error(lambda: open_smears(tmp_path)[0])
    write_pair(tmp_path, (LABELS * 20000).astype(np.int16), label_file="a.tif")
    assert "negative ids (down to -25536)" in data_error(lambda: open_smears(tmp_path)[0])


def test_colour_images_are_rejected_as_labels(tmp_path: Path) -> None:
    colours = np.array([(0, 0, 0), (250, 0, 0), (0, 250, 0), (0, 0, 250)], np.uint8)
    write_pair(tmp_path, colours[LABELS_8])
    message = data_error(lambda: open_smears(tmp_path, format="labels")[0])
    assert "colour image of 3 channels" in message
    assert "format 'palette'" in message


@pytest.mark.parametrize("file", ["a.png", "a.tif"])
def test_ids_saved_as_grey_rgb_are_read(tmp_path: Path, file: str) -> None:
    write_pair(tmp_path, np.repeat(LABELS_8[..., None], 3, axis=2), label_file=file)
    assert not is_coloured(tmp_path / "labels" / file)
    assert (open_smears(tmp_path)[0].labels == LABELS).all()


def test_ids_of_palettes_bits_and_big_endian_files_are_read(tmp_path: Path) -> None:
    indexed = Image.fromarray(LABELS_8)
    indexed.putpalette(list(range(255, -1, -1)) * 3)
    indexed.save(tmp_path / "p.png")
    indexed.save(tmp_path / "p.tif")
    assert (read_ids(tmp_path / "p.png") == LABELS).all()
    assert (read_ids(tmp_path / "p.tif") == LABELS).all()
    tifffile.imwrite(tmp_path / "be.tif", LABELS.astype(">u4"), byteorder=">")
    ids = read_ids(tmp_path / "be.tif")
    assert ids.dtype.isnative
    assert (ids == LABELS).all()
    Image.fromarray(LABELS > 0).save(tmp_path / "1.png")
    Image.fromarray(LABELS > 0).save(tmp_path / "1.tif")
    assert (read_ids(tmp_path / "1.png") == (LABELS > 0)).all()
    assert (read_ids(tmp_path / "1.tif") == (LABELS > 0)).all()


def test_label_arrays_are_read_as_label_images(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", LABELS)
    assert (read_ids(tmp_path / "a.npy") == LABELS).all()
    assert not is_coloured(tmp_path / "a.npy")


def masks() -> np.ndarray:
    return np.stack([k == LABELS for k in (1, 2, 3)])


@pytest.mark.parametrize("file", ["a.npy", "pages.tif", "samples.tif", "lzw.tif", "imagej.tif"])
def test_stacks_of_one_cell_per_plane(tmp_path: Path, file: str) -> None:
    stack = masks().astype(np.uint8) * 255
    path = tmp_path / file
    if file == "a.npy":
        np.save(path, stack)
    elif file == "lzw.tif":
        frames = [Image.fromarray(plane) for plane in stack]
        frames[0].save(path, compression="tiff_lzw", save_all=True, append_images=frames[1:])
    elif file == "imagej.tif":
        tifffile.imwrite(path, stack, imagej=True)
    else:
        # tifffile stores 3 planes as the samples of one page by default.
        options = {"pages.tif": {"photometric": "minisblack"}, "samples.tif": {"planarconfig": "separate"}}[file]
        tifffile.imwrite(path, stack, **{"photometric": "rgb"} | options)
    assert (np.stack(list(read_id_planes(path))) == masks()).all()
    assert id_plane_count(path) == 3


def test_planes_with_several_ids_or_of_different_sizes_are_rejected(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.stack([LABELS_8, LABELS_8]), photometric="minisblack")
    assert "plane 1 has several ids" in data_error(lambda: list(read_id_planes(tmp_path / "a.tif")))
    with tifffile.TiffWriter(tmp_path / "b.tif") as file:
        file.write(LABELS_8 * 0)
        file.write(LABELS_8[:9] * 0)
    assert "plane 2 has another size" in data_error(lambda: list(read_id_planes(tmp_path / "b.tif")))


@pytest.mark.parametrize(("file", "options"), [("a.tif", {"compression": "jpeg"}), ("a.webp", {})])
def test_labels_with_lossy_compression_are_rejected(tmp_path: Path, file: str, options: dict[str, str]) -> None:
    Image.fromarray(LABELS_8).save(tmp_path / file, **options)
    assert "compression changes ids; save it as PNG or TIFF" in data_error(lambda: read_ids(tmp_path / file))
    assert "compression changes colours" in data_error(lambda: read_colours(tmp_path / file))


def test_jpeg_labels_are_rejected(tmp_path: Path) -> None:
    write_pair(tmp_path, LABELS_8, label_file="a.jpg")
    assert "JPEG" in data_error(lambda: open_smears(tmp_path)[0])


def test_colours_of_a_mask_with_transparency(tmp_path: Path) -> None:
    pixels = np.array([[[250, 10, 20, 255], [250, 10, 20, 0]]], np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert read_colours(tmp_path / "a.png").tolist() == [[[250, 10, 20], [0, 0, 0]]]


def test_16_bit_masks_are_not_colour_palette_masks(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", LABELS.astype(np.uint16))
    assert "is not a colour-palette mask (uint16, 1 channels)" in data_error(
        lambda: read_colours(tmp_path / "a.tif")
    )


@pytest.mark.parametrize(
    ("file", "write", "coloured"),
    [
        ("rgb.png", lambda p: Image.fromarray(IMAGE).save(p), True),
        ("rgb.tif", lambda p: tifffile.imwrite(p, IMAGE, photometric="rgb"), True),
        ("indexed.png", lambda p: Image.fromarray(IMAGE).quantize(8).save(p), True),
        ("grey.png", lambda p: Image.fromarray(LABELS_8).save(p), False),
        ("16-bit.tif", lambda p: tifffile.imwrite(p, LABELS.astype(np.uint16)), False),
        ("grey-palette.png", lambda p: Image.fromarray(LABELS_8).convert("P").save(p), False),
    ],
)
def test_colours_are_told_from_ids(
    tmp_path: Path, file: str, write: Callable[[Path], None], coloured: bool
) -> None:
    write(tmp_path / file)
    assert is_coloured(tmp_path / file) is coloured


def test_png_pixels_and_tags_are_read_as_written(tmp_path: Path) -> None:
    tags = {"synthetic": "true", "note": "µ and 漢"}
    ids = LABELS.astype(np.uint16) * 20000
    save_png(tmp_path / "a.part", ids, tags)  # a temporary file has another extension
    assert read_png_text(tmp_path / "a.part") == tags
    assert (read_ids(tmp_path / "a.part") == ids).all()
    Image.fromarray(IMAGE).save(tmp_path / "a.jpg")
    assert read_png_text(tmp_path / "a.jpg") == {}


def test_int32_tiff_is_read_as_written(tmp_path: Path) -> None:
    save_tiff(tmp_path / "a.tif", LABELS * 100_000)
    assert (read_ids(tmp_path / "a.tif") == LABELS * 100_000).all()
