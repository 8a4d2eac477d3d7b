"""Channels, stacks and palettes of TIFF files, as other programs write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from image_folders import IMAGE, LABELS, LABELS_8, data_error
from smearsynth.formats.pixels.images import read_id_planes, read_ids, read_rgb
from smearsynth.formats.pixels.tiff import read_tiff

PLANES = np.moveaxis(IMAGE, -1, 0)  # R, G, B


def lut(*colour: int) -> np.ndarray:
    return (np.arange(256)[None] * np.array(colour)[:, None] / 255).astype(np.uint8)


LAYOUTS: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
    "imagej composite": (PLANES, {"imagej": True, "metadata": {"axes": "CYX", "mode": "composite"}}),
    "imagej TCYX": (PLANES[None], {"imagej": True, "metadata": {"axes": "TCYX", "mode": "composite"}}),
    "imagej LUTs": (
        PLANES[::-1],
        {"imagej": True, "metadata": {"axes": "CYX", "mode": "composite",
                                      "LUTs": [lut(0, 0, 255), lut(0, 255, 0), lut(255, 0, 0)]}},
    ),
    "imagej grey LUTs": (
        PLANES, {"imagej": True, "metadata": {"axes": "CYX", "mode": "composite", "LUTs": [lut(255, 255, 255)] * 3}}
    ),
    "ome channels": (PLANES, {"ome": True, "photometric": "minisblack", "metadata": {"axes": "CYX"}}),
    "ome ZCYX": (PLANES[None], {"ome": True, "photometric": "minisblack", "metadata": {"axes": "ZCYX"}}),
    "ome names": (
        PLANES[[2, 0, 1]],
        {"ome": True, "photometric": "minisblack",
         "metadata": {"axes": "CYX", "Channel": {"Name": ["Blue", "Red", "Green"]}}},
    ),
    "planar samples": (PLANES, {"photometric": "rgb", "planarconfig": "separate"}),
    "planar grey samples": (PLANES, {"photometric": "minisblack", "planarconfig": "separate"}),
    "shaped": (PLANES, {"photometric": "minisblack", "metadata": {"axes": "CYX"}}),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_channels_are_merged_to_colours(tmp_path: Path, layout: str, recwarn: pytest.WarningsRecorder) -> None:
    pixels, options = LAYOUTS[layout]
    tifffile.imwrite(tmp_path / "a.tif", pixels, **options)
    assert (read_rgb(tmp_path / "a.tif") == IMAGE).all()
    assert not recwarn.list


def test_channels_of_12_bits_share_one_white(tmp_path: Path) -> None:
    deep = PLANES.astype(np.uint16) * 16
    metadata = {"axes": "CYX", "SignificantBits": 12}
    tifffile.imwrite(tmp_path / "a.tif", deep, ome=True, photometric="minisblack", metadata=metadata)
    assert np.abs(read_rgb(tmp_path / "a.tif").astype(int) - IMAGE).max() <= 1


def test_three_unnamed_grey_pages_are_colours_with_a_warning(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", PLANES, photometric="minisblack", metadata=None)
    with pytest.warns(UserWarning, match="3 grey pages, which are read as red, green and blue"):
        assert (read_rgb(tmp_path / "a.tif") == IMAGE).all()


@pytest.mark.parametrize(
    ("kind", "axes", "text"),
    [
        ("imagej", "ZCYX", "2 Z planes"),
        ("imagej", "TCYX", "2 time points"),
        ("ome", "ZCYX", "2 Z planes"),
        ("ome", "TCYX", "2 time points"),
        ("ome", "CZYX", "2 Z planes"),
    ],
)
def test_the_first_plane_of_a_stack_is_read_with_a_warning(tmp_path: Path, kind: str, axes: str, text: str) -> None:
    pixels = np.stack([PLANES, PLANES // 2], axis=1 if axes == "CZYX" else 0)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack", metadata={"axes": axes}, **{kind: True})
    with pytest.warns(UserWarning, match=f"has {text}; only the first is read"):
        assert (read_rgb(tmp_path / "a.tif") == IMAGE).all()


@pytest.mark.parametrize("axes", ["ZYX", "TYX"])
def test_a_stack_of_grey_planes_is_no_colour_image(tmp_path: Path, axes: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", PLANES, imagej=True, metadata={"axes": axes})
    with pytest.warns(UserWarning, match="has 3 pages; only the first"):
        assert (read_rgb(tmp_path / "a.tif") == IMAGE[..., :1]).all()


def test_planes_that_imagej_writes_without_pages(tmp_path: Path) -> None:
    # ImageJ writes a large stack as one page that is followed by the pixels of all planes.
    path = tmp_path / "a.tif"
    description = "ImageJ=1.54f\nimages=6\nchannels=3\nslices=2\nhyperstack=true\nmode=composite\n"
    pixels = np.concatenate([PLANES, PLANES // 2])
    with tifffile.TiffWriter(path) as file:
        file.write(PLANES[0], description=description, metadata=None)
    with tifffile.TiffFile(path) as file:
        assert file.pages.first.dataoffsets[0] + PLANES[0].nbytes == path.stat().st_size
    with path.open("ab") as stream:
        stream.write(pixels[1:].tobytes())
    with pytest.warns(UserWarning, match="has 2 Z planes; only the first"):
        assert (read_rgb(path) == IMAGE).all()


def test_more_than_four_channels_are_rejected(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((7, 8, 9), np.uint8), imagej=True, metadata={"axes": "CYX"})
    assert "has 7 channels; save it as RGB" in data_error(lambda: read_rgb(tmp_path / "a.tif"))


def test_a_fourth_channel_is_left_out_with_a_warning(tmp_path: Path) -> None:
    four = np.concatenate([PLANES, PLANES[:1]])
    tifffile.imwrite(tmp_path / "a.tif", four, imagej=True, metadata={"axes": "CYX"})
    with pytest.warns(UserWarning, match="has 4 channels"):
        assert (read_rgb(tmp_path / "a.tif") == IMAGE).all()


def test_pages_of_lower_resolution_do_not_count(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(IMAGE, photometric="rgb", subfiletype=0)
        file.write(IMAGE[::2, ::2], photometric="rgb", subfiletype=1)
    assert (read_rgb(tmp_path / "a.tif") == IMAGE).all()
    assert not recwarn.list


def test_white_is_zero_is_inverted_at_the_depth_of_the_camera(tmp_path: Path) -> None:
    grey = IMAGE[..., 0]
    largest = [(281, 3, 1, 1023, True)]
    tifffile.imwrite(
        tmp_path / "a.tif", 1023 - grey.astype(np.uint16) * 4, photometric="miniswhite", extratags=largest
    )
    assert np.abs(read_rgb(tmp_path / "a.tif")[..., 0].astype(int) - grey).max() <= 1


def test_palettes_of_8_and_16_bits(tmp_path: Path) -> None:
    Image.fromarray(IMAGE).quantize(16).save(tmp_path / "a.tif")
    whole = read_rgb(tmp_path / "a.tif")
    assert np.abs(whole.astype(int) - IMAGE).mean() < 10
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        table, index = file.pages.first.colormap, file.pages.first.asarray()
    tifffile.imwrite(tmp_path / "b.tif", index, photometric="palette", colormap=(table >> 8).astype(np.uint16))
    assert (read_rgb(tmp_path / "b.tif") == whole).all()


def test_ids_are_not_merged(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.arange(72, dtype=np.uint16).reshape(2, 6, 6), imagej=True,
                     metadata={"axes": "CYX"})  # fmt: skip
    with pytest.warns(UserWarning, match="has 2 pages; only the first"):
        assert read_ids(tmp_path / "a.tif").max() == 35


def test_whole_slides_are_rejected_before_they_are_decoded(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((16, 16), np.uint8), tile=(16, 16))
    raw = bytearray((tmp_path / "a.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        for tag in (256, 257):  # width and height
            at = file.pages.first.tags[tag].valueoffset
            raw[at : at + 2] = (16000).to_bytes(2, "little")
    (tmp_path / "a.tif").write_bytes(raw)
    assert "too large for one microscope field; cut fields" in data_error(lambda: read_rgb(tmp_path / "a.tif"))


def test_pillow_decodes_compressions_for_which_tifffile_needs_a_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise ValueError("<COMPRESSION.LZW: 5> requires the 'imagecodecs' package")

    monkeypatch.setattr(tifffile.TiffPage, "asarray", refuse)
    path = tmp_path / "a.tif"
    Image.fromarray(IMAGE).save(path, compression="tiff_lzw")
    assert read_tiff(path) is None
    assert (read_rgb(path) == IMAGE).all()
    frames = [Image.fromarray(k == LABELS) for k in (1, 2)]
    frames[0].save(path, compression="tiff_lzw", save_all=True, append_images=frames[1:])
    assert [int(mask.sum()) for mask in read_id_planes(path)] == [(k == LABELS).sum() for k in (1, 2)]
    Image.fromarray(LABELS_8).save(path, compression="jpeg")
    assert "is a JPEG-compressed TIFF, whose compression changes ids" in data_error(lambda: read_ids(path))
