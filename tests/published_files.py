"""Annotated fields as other programs and data sets publish them, made of analytic cells.

``python tests/published_files.py FOLDER`` writes one folder per kind, to view or to try the commands with.
"""

from __future__ import annotations

import io
import json
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image
from scipy import ndimage

from smearsynth.geometry import Outline

SIZE = (180, 240)
CELLS = 18
PIECES = 11  # connected components; some cells touch
CELL_COLOUR, BACKGROUND_COLOUR = (190, 120, 140), (230, 215, 220)

Pixels = npt.NDArray[Any]


def field(radius: int = 13) -> tuple[npt.NDArray[np.int32], Pixels]:
    """Return labels and image of 18 discs, some of which touch."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    labels = np.zeros(SIZE, np.int32)
    places = [(cy, cx) for cy in (28, 74, 120) for cx in (24, 70, 116, 162)]
    centres = places + [(cy, cx + 2 * radius - 2) for cy, cx in places[::3]] + [(160, 40), (160, 216)]
    for k, (cy, cx) in enumerate(centres, 1):
        labels[((y - cy) ** 2 + (x - cx) ** 2 <= radius**2) & (labels == 0)] = k
    image = np.full((*SIZE, 3), BACKGROUND_COLOUR, np.int64)
    image[labels > 0] = CELL_COLOUR
    image += np.random.default_rng(0).integers(-6, 7, image.shape)
    return labels, np.clip(image, 0, 255).astype(np.uint8)


def save(pixels: Pixels | Image.Image, path: Path, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(path, **options)


def polygons(labels: npt.NDArray[np.int32], cells: int | None = None) -> list[list[list[float]]]:
    """Return the outline of each cell as a list of points."""
    count = int(labels.max()) if cells is None else cells
    return [Outline.of_mask(labels == k).rings[0].tolist() for k in range(1, count + 1)]


def boxes(labels: npt.NDArray[np.int32]) -> list[tuple[int, int, int, int]]:
    windows = ndimage.find_objects(labels)
    return [(w[1].start, w[0].start, w[1].stop, w[0].stop) for w in windows]


def coco(segmentations: list[Any], file_name: str = "a.png", **annotation: Any) -> dict[str, Any]:
    """Return COCO content of one image; a segmentation of None is left out."""
    annotations = [
        {"id": k, "image_id": 1, "category_id": 1, "iscrowd": 0, "segmentation": shape, **annotation}
        for k, shape in enumerate(segmentations, 1)
    ]
    image = {"id": 1, "file_name": file_name, "height": SIZE[0], "width": SIZE[1]}
    return {"images": [image], "categories": [{"id": 1, "name": "rbc"}], "annotations": annotations}


def write_json(content: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def flat(points: list[list[float]]) -> list[float]:
    return [value for point in points for value in point]


# Label images


def background_is_one(root: Path) -> None:
    """Write the label image of a watershed: background 1, cells from 2."""
    labels, image = field()
    save(image, root / "images" / "a.png")
    save((labels + 1).astype(np.uint8), root / "labels" / "a.png")


def turned_half(root: Path) -> None:
    """Write a photograph with EXIF orientation 3 and labels of the stored pixels."""
    _exif(root, 3)


def turned_quarter(root: Path) -> None:
    """Write a photograph with EXIF orientation 6 and labels of the stored pixels."""
    _exif(root, 6)


def _exif(root: Path, orientation: int) -> None:
    labels, image = field()
    exif = Image.Exif()
    exif[274] = orientation
    save(image, root / "images" / "a.jpg", exif=exif, quality=95)
    save(labels.astype(np.uint8), root / "labels" / "a.png")


def capital_names(root: Path) -> None:
    _named(root, "Images/a.png", "Masks/a.png")


def singular_names(root: Path) -> None:
    _named(root, "img/a.png", "mask/a.png")


def cellpose_names(root: Path) -> None:
    _named(root, "000_img.png", "000_masks.png")


def text_labels_beside_masks(root: Path) -> None:
    _named(root, "images/a.png", "masks/a.png")
    (root / "labels").mkdir()
    (root / "labels" / "a.txt").write_text("0 0.1 0.1 0.2 0.1 0.2 0.2\n")


def stardist_splits(root: Path) -> None:
    for split in ("train", "test"):
        labels, image = field()
        for folder, pixels in (("images", image), ("masks", labels.astype(np.uint16))):
            (root / split / folder).mkdir(parents=True)
            tifffile.imwrite(root / split / folder / f"{split}.tif", pixels)


def _named(root: Path, image_name: str, label_name: str) -> None:
    labels, image = field()
    save(image, root / image_name)
    save(labels.astype(np.uint8), root / label_name)


def indexed_on_white(root: Path) -> None:
    """Write ids in an indexed PNG whose palette shows the background white."""
    labels, image = field()
    save(image, root / "images" / "a.png")
    save(_indexed(labels.astype(np.uint8), background=(255, 255, 255)), root / "labels" / "a.png")


def _indexed(pixels: npt.NDArray[np.uint8], background: tuple[int, int, int]) -> Image.Image:
    palette = np.random.default_rng(1).integers(30, 226, (256, 3)).astype(np.uint8)
    palette[0] = background
    image = Image.frombytes("P", (pixels.shape[1], pixels.shape[0]), pixels.tobytes())
    image.putpalette(palette.tobytes())
    return image


def void_outlines(root: Path) -> None:
    """Write an indexed mask in which 255 lies around each cell, as in Pascal VOC."""
    labels, image = field()
    edge = (labels > 0) & (ndimage.minimum_filter(labels, 3) != ndimage.maximum_filter(labels, 3))
    save(image, root / "images" / "a.png")
    save(_indexed(np.where(edge, 255, labels).astype(np.uint8), background=(0, 0, 0)), root / "masks" / "a.png")


def jpeg_mask(root: Path) -> None:
    """Write a mask that was a JPEG before it became a PNG."""
    labels, image = field()
    buffer = io.BytesIO()
    Image.fromarray(((labels > 0) * 255).astype(np.uint8)).save(buffer, "JPEG", quality=88)
    save(image, root / "images" / "a.png")
    save(Image.open(buffer), root / "masks" / "a.png")


def clipped_ids(root: Path) -> None:
    """Write 320 cells with 8 bits, with the ids from 255 on clipped."""
    _many_cells(root, lambda labels: np.minimum(labels, 255))


def wrapped_ids(root: Path) -> None:
    """Write 320 cells with 8 bits, with the ids from 256 on wrapped."""
    _many_cells(root, lambda labels: labels % 256)


def _many_cells(root: Path, narrow: Callable[[npt.NDArray[np.int32]], npt.NDArray[np.int32]]) -> None:
    labels = np.zeros((16 * 26, 20 * 26), np.int32)
    y, x = np.mgrid[:26, :26]
    disc = (y - 13) ** 2 + (x - 13) ** 2 <= 81
    for k in range(320):
        row, column = divmod(k, 20)
        labels[26 * row : 26 * row + 26, 26 * column : 26 * column + 26][disc] = k + 1
    image = np.full((*labels.shape, 3), BACKGROUND_COLOUR, np.uint8)
    image[labels > 0] = CELL_COLOUR
    save(image, root / "images" / "a.png")
    save(narrow(labels).astype(np.uint8), root / "labels" / "a.png")


def nucleus_in_cytoplasm(root: Path) -> None:
    """Write white cells as grey levels: 128 for cytoplasm, 255 for the nucleus."""
    y, x = np.mgrid[:110, :100]
    for k, (cy, cx) in enumerate(((55, 52), (48, 46), (60, 50))):
        mask = np.zeros((110, 100), np.uint8)
        mask[(y - cy) ** 2 + (x - cx) ** 2 <= 31**2] = 128
        mask[(y - cy - 3) ** 2 + (x - cx + 3) ** 2 <= 18**2] = 255
        image = np.full((110, 100, 3), (245, 235, 200), np.uint8)
        image[mask == 128], image[mask == 255] = (170, 140, 170), (95, 50, 110)
        save(image, root / "images" / f"{k}.png")
        save(mask, root / "masks" / f"{k}.png")


def camera(bits: int) -> Callable[[Path], None]:
    """Return a function that writes a field of a camera of this depth as a 16-bit TIFF."""

    def write(root: Path) -> None:
        labels, image = field()
        (root / "images").mkdir(parents=True)
        largest = (2**bits - 1,) * 3
        pixels = image.astype(np.uint16) << (bits - 8)
        tags = [(281, 3, 3, largest, True)]  # MaxSampleValue
        tifffile.imwrite(root / "images" / "a.tif", pixels, photometric="rgb", extratags=tags)
        save(labels.astype(np.uint8), root / "labels" / "a.png")

    return write


# COCO


def coco_crowd_masks(root: Path) -> None:
    """Write every second cell as run lengths with iscrowd 1, as CVAT does for the brush."""
    labels, image = field()
    content = coco([[flat(points)] for points in polygons(labels)])
    for annotation in content["annotations"][::2]:
        flat_mask = (labels == annotation["id"]).ravel(order="F").astype(np.int8)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], flat_mask, [0]])))
        counts = np.diff(np.concatenate([[0], edges, [flat_mask.size]])).tolist()
        annotation |= {"iscrowd": 1, "segmentation": {"size": list(SIZE), "counts": counts}}
    save(image, root / "images" / "a.png")
    write_json(content, root / "annotations.json")


def coco_decomposed_name(root: Path) -> None:
    """Write a name with umlauts that is decomposed on disk and composed in the file."""
    labels, image = field()
    name = "pr\u00e4parat_m\u00e4rz.png"
    save(image, root / "images" / unicodedata.normalize("NFD", name))
    write_json(coco([[flat(points)] for points in polygons(labels)], name), root / "annotations.json")


def coco_shifted(root: Path) -> None:
    _coco(root, lambda x, y: (x - 150, y))


def coco_fractions(root: Path) -> None:
    _coco(root, lambda x, y: (x / SIZE[1], y / SIZE[0]))


def _coco(root: Path, move: Callable[[float, float], tuple[float, float]]) -> None:
    labels, image = field()
    save(image, root / "images" / "a.png")
    shapes = [[flat([list(move(x, y)) for x, y in points])] for points in polygons(labels)]
    write_json(coco(shapes), root / "annotations.json")


def coco_frame(root: Path) -> None:
    """Write a last annotation that covers the whole field."""
    labels, image = field()
    height, width = SIZE
    save(image, root / "images" / "a.png")
    shapes = [[flat(points)] for points in polygons(labels)] + [[[0, 0, width, 0, width, height, 0, height]]]
    write_json(coco(shapes), root / "annotations.json")


def coco_image_subset(root: Path) -> None:
    labels, image = field()
    save(image, root / "images" / "train" / "a.png")
    write_json(coco([[flat(points)] for points in polygons(labels)]), root / "annotations" / "instances_train.json")


def coco_fiftyone(root: Path) -> None:
    labels, image = field()
    save(image, root / "data" / "a.png")
    write_json(coco([[flat(points)] for points in polygons(labels)]), root / "labels.json")


def coco_roboflow(root: Path) -> None:
    """Write train/, valid/ and test/ with a category that only names the others."""
    labels, image = field()
    for split in ("train", "valid", "test"):
        save(image, root / split / f"{split}.png")
        content = coco([[flat(points)] for points in polygons(labels)], f"{split}.png")
        content["categories"] = [
            {"id": 0, "name": "blood-cells", "supercategory": "none"},
            {"id": 1, "name": "rbc", "supercategory": "blood-cells"},
            {"id": 2, "name": "wbc", "supercategory": "blood-cells"},
        ]
        content["annotations"][0]["category_id"] = 2
        write_json(content, root / split / "_annotations.coco.json")


# Boxes


def coco_boxes(root: Path) -> None:
    labels, image = field()
    content = coco([[] for _ in range(CELLS)])
    for annotation, (x0, y0, x1, y1) in zip(content["annotations"], boxes(labels), strict=True):
        annotation["bbox"] = [x0, y0, x1 - x0, y1 - y0]
    save(image, root / "a.png")
    write_json(content, root / "_annotations.coco.json")


def voc_boxes(root: Path) -> None:
    labels, image = field()
    save(image, root / "JPEGImages" / "a.jpg")
    rows = "".join(
        f"<object><name>RBC</name><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax>"
        "</bndbox></object>"
        for x0, y0, x1, y1 in boxes(labels)
    )
    (root / "Annotations").mkdir()
    (root / "Annotations" / "a.xml").write_text(f"<annotation><filename>a.jpg</filename>{rows}</annotation>")


def yolo_boxes(root: Path) -> None:
    labels, image = field()
    height, width = SIZE
    save(image, root / "images" / "train" / "a.jpg")
    (root / "labels" / "train").mkdir(parents=True)
    rows = (
        f"0 {(x0 + x1) / 2 / width} {(y0 + y1) / 2 / height} {(x1 - x0) / width} {(y1 - y0) / height}\n"
        for x0, y0, x1, y1 in boxes(labels)
    )
    (root / "labels" / "train" / "a.txt").write_text("".join(rows))
    (root / "data.yaml").write_text("names: [rbc]\n")


# Outlines of other programs


def yolo_outlines(root: Path) -> None:
    labels, image = field()
    save(image, root / "images" / "a.png")
    (root / "labels").mkdir()
    rows = (" ".join(f"{x / SIZE[1]} {y / SIZE[0]}" for x, y in points) for points in polygons(labels))
    (root / "labels" / "a.txt").write_text("".join(f"0 {row}\n" for row in rows))


def labelme_outlines(root: Path) -> None:
    labels, image = field()
    save(image, root / "a.png")
    shapes = [{"label": "rbc", "points": points, "shape_type": "polygon"} for points in polygons(labels)]
    write_json({"version": "5.5.0", "shapes": shapes, "imagePath": "a.png", "imageData": None}, root / "a.json")


def via_outlines(root: Path) -> None:
    labels, image = field()
    save(image, root / "a.png")
    regions = [
        {
            "shape_attributes": {
                "name": "polygon",
                "all_points_x": [x for x, _ in points],
                "all_points_y": [y for _, y in points],
            },
            "region_attributes": {},
        }
        for points in polygons(labels)
    ]
    write_json({"a.png1": {"filename": "a.png", "size": 1, "regions": regions}}, root / "via_region_data.json")


def cvat_outlines(root: Path) -> None:
    labels, image = field()
    save(image, root / "images" / "a.png")
    rows = "".join(
        '<polygon label="rbc" points="{}"/>'.format(";".join(f"{x},{y}" for x, y in points))
        for points in polygons(labels)
    )
    size = f'width="{SIZE[1]}" height="{SIZE[0]}"'
    (root / "annotations.xml").write_text(
        f'<annotations><image id="0" name="a.png" {size}>{rows}</image></annotations>'
    )


def qupath_outlines(root: Path) -> None:
    labels, image = field()
    save(image, root / "images" / "a.png")
    features = [
        {
            "type": "Feature",
            "properties": {"objectType": "annotation"},
            "geometry": {"type": "Polygon", "coordinates": [points + points[:1]]},
        }
        for points in polygons(labels)
    ]
    write_json({"type": "FeatureCollection", "features": features}, root / "a.geojson")


if __name__ == "__main__":
    for name, function in list(globals().items()):
        if callable(function) and getattr(function, "__annotations__", {}).get("root") == "Path" and name[0] != "_":
            function(Path(sys.argv[1]) / name)
