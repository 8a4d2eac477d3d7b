"""COCO instances: one JSON file with polygons or run-length encoding (RLE) for all images."""

from __future__ import annotations

import json
import math
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, get_args

import faster_coco_eval.core.mask as rle_masks
import numpy as np
from scipy import ndimage

from smearsynth.annotation.record import CellMark, FieldAnnotation, is_ignored_class
from smearsynth.errors import DataError, OptionError
from smearsynth.files import atomic_write
from smearsynth.formats.base import ONE_CLASS, AnnotationFiles, MarkFormat
from smearsynth.formats.finding import files_below, files_with_text, load_json, split_of_path
from smearsynth.formats.listing import image_name
from smearsynth.formats.writing import MarkWriter
from smearsynth.geometry import Box, Outline, RunLengthMask, Shape, bounds, fill

Record = dict[str, Any]
Segmentation = Literal["polygon", "rle"]

ANNOTATION_FILE = "annotations.json"
_KEYS = ('"images"', '"annotations"', '"categories"')
# A mask that is marked as a crowd is a cell if it is one piece and not much larger than the other cells: some
# programs mark every mask that was painted with a brush.
_MAX_CROWD_CELL = 4  # times the median area of the other cells


def find_coco_files(path: Path) -> list[Path]:
    """Return the COCO files of a path: the file itself, or those in the folder and the folders below it."""
    files = files_below(path, [".json"])
    # Each file is looked at: COCO files of several splits or programs may be in one folder.
    return [file for file in files if files_with_text([file], *_KEYS)]


def load_coco(root: Path, files: list[Path]) -> AnnotationFiles:
    """Read COCO files; several files are splits.

    Crowd regions are ignored regions, except masks of a single cell that a program has marked as a crowd. A
    category without an annotation that others name as supercategory is left out.

    Parameters
    ----------
    root : Path
        Folder of the data set, or the COCO file.
    files : list of Path

    Returns
    -------
    AnnotationFiles

    Raises
    ------
    DataError
        If a file is damaged, lists no images, or contradicts itself.
    """
    fields: list[FieldAnnotation] = []
    class_names: dict[str, None] = {}
    notes: list[str] = []
    for file in files:
        split = None
        if len(files) > 1:
            split = split_of_path(file, root) or file.stem.removeprefix("instances_")
        try:
            content = _CocoFile(file, _load(file))
            class_names.update(dict.fromkeys(content.class_names))
            fields += content.fields(split)
        except KeyError as error:
            raise DataError(f"lacks or does not define {error}; export it again in COCO format", file) from error
        except (TypeError, AttributeError) as error:
            raise DataError(f"is not in COCO format ({error}); export it again", file) from error
        notes += content.notes
    if not fields:
        raise DataError("lists no images", files[0])
    return AnnotationFiles(fields, tuple(class_names), tuple(notes))


COCO = MarkFormat("coco", "COCO", find_coco_files, load_coco)


class _CocoFile:
    """Content of one file. Ids may be numbers or text, and are compared as text."""

    def __init__(self, path: Path, content: Record) -> None:
        self.path = path
        self.notes: list[str] = []
        self._images = self._by_id(content["images"], "image")
        categories = self._by_id(content["categories"], "category")
        self._names = {key: str(category["name"]) for key, category in categories.items()}
        self._annotations: dict[str, list[Record]] = {key: [] for key in self._images}
        used = set()
        for annotation in content["annotations"]:
            category = str(annotation["category_id"])
            if category not in self._names:
                raise KeyError(annotation["category_id"])
            if str(annotation["image_id"]) not in self._images:
                raise KeyError(annotation["image_id"])
            used.add(category)
            self._annotations[str(annotation["image_id"])].append(annotation)
        parents = {str(category.get("supercategory")) for category in categories.values()}
        self.class_names = [
            name for key, name in self._names.items() if key in used or name not in parents - {self._only_name()}
        ]

    def _only_name(self) -> str | None:
        return next(iter(self._names.values())) if len(self._names) == 1 else None

    def _by_id(self, records: list[Record], kind: str) -> dict[str, Record]:
        by_id: dict[str, Record] = {}
        for record in records:
            if str(record["id"]) in by_id:
                raise DataError(f"lists the {kind} id {record['id']} twice; export it again", self.path)
            by_id[str(record["id"])] = record
        return by_id

    def fields(self, split: str | None) -> Iterator[FieldAnnotation]:
        """Yield one annotation per image."""
        crowd_cells = 0
        for key, image in self._images.items():
            name = str(image["file_name"])
            marks: list[tuple[CellMark, bool]] = []
            regions: list[Shape] = []
            left_out: Counter[str] = Counter()
            for number, annotation in enumerate(self._annotations[key], 1):
                try:
                    mark = self._mark(annotation, image)
                except (ValueError, TypeError, KeyError, RuntimeError) as error:
                    raise DataError(
                        f"annotation {number} of image {image_name(name)} cannot be drawn ({error}); correct or "
                        "remove it",
                        self.path,
                    ) from error
                if mark is None:
                    left_out["annotations without segmentation and box"] += 1
                elif annotation.get("ignore") or is_ignored_class(mark.class_name):
                    regions.append(mark.shape)
                else:
                    marks.append((mark, bool(annotation.get("iscrowd"))))
            cells, ignored, count = _separate_crowds(marks)
            ignored = (*ignored, *regions)
            crowd_cells += count
            yield FieldAnnotation(name, self.path, cells, ignored, _listed_size(image), split, left_out=left_out)
        if crowd_cells:
            self.notes.append(
                f"{self.path}: {crowd_cells} masks marked as a crowd (iscrowd 1) are single cells and read as cells"
            )

    def _mark(self, annotation: Record, image: Record) -> CellMark | None:
        size = _listed_size(image)
        shape = _shape(annotation.get("segmentation"), size) or _box(annotation.get("bbox"))
        if shape is None:
            return None
        key = annotation.get("id")
        name = self._names[str(annotation["category_id"])]
        amodal = _shape(annotation.get("amodal_segmentation"), size)
        visible = shape if amodal is not None and not isinstance(shape, Box) else None
        return CellMark(amodal or shape, name, None if key is None else str(key), visible=visible)


def _listed_size(image: Mapping[str, Any]) -> tuple[int, int] | None:
    height, width = image.get("height"), image.get("width")
    return None if height is None or width is None else (int(height), int(width))


def _load(file: Path) -> Record:
    content = load_json(file)
    if not isinstance(content, dict):
        raise DataError("is not in COCO format; export it again", file)
    return content


def _shape(segmentation: Any, size: tuple[int, int] | None) -> Outline | RunLengthMask | None:
    """Return polygons, uncompressed RLE or compressed RLE as a shape; None if there is no segmentation."""
    if not segmentation:
        return None
    if isinstance(segmentation, dict):
        height, width = (int(side) for side in segmentation["size"])
        if size is not None and (height, width) != size:
            raise ValueError(f"RLE of size {segmentation['size']}")
        counts = segmentation["counts"]
        if isinstance(counts, list):
            counts = rle_masks.frPyObjects(segmentation, height, width)["counts"]
        shape = RunLengthMask((height, width), counts.encode() if isinstance(counts, str) else bytes(counts))
        _ = shape.pixels  # damaged run lengths raise here
        return shape
    rings = [np.asarray(polygon, np.float64) for polygon in segmentation]
    if any(ring.ndim != 1 or len(ring) % 2 or not np.isfinite(ring).all() for ring in rings):
        raise ValueError("a polygon is not a list of finite x, y")
    return Outline(tuple(ring.reshape(-1, 2) for ring in rings if len(ring) >= 6))


def _box(values: Any) -> Box | None:
    if not values:
        return None
    x, y, w, h = (float(value) for value in values)
    if not all(math.isfinite(value) for value in (x, y, w, h)):
        raise ValueError("a box is not four finite numbers")
    return Box(x, y, x + w, y + h)


def _separate_crowds(
    marks: Sequence[tuple[CellMark, bool]],
) -> tuple[tuple[CellMark, ...], tuple[Shape, ...], int]:
    """Return cells, ignored regions, and the number of marks that are named crowd but are cells."""
    if not any(crowd for _, crowd in marks):
        return tuple(mark for mark, _ in marks), (), 0
    areas = [_box_area(mark.shape) for mark, crowd in marks if not crowd]
    median = float(np.median(areas)) if areas else math.inf
    cells, ignored, count = [], [], 0
    for mark, crowd in marks:
        if not crowd:
            cells.append(mark)
        elif _box_area(mark.shape) <= _MAX_CROWD_CELL * median and _is_one_piece(mark.shape):
            cells.append(mark)
            count += 1
        else:
            ignored.append(mark.shape)
    return tuple(cells), tuple(ignored), count


def _box_area(shape: Shape) -> float:
    x0, y0, x1, y1 = bounds(shape)
    return (x1 - x0) * (y1 - y0)


def _is_one_piece(shape: Shape) -> bool:
    if not isinstance(shape, RunLengthMask):
        return False
    window = shape.pixels
    # All pixels of a real crowd region are rarely one piece that fills its box as a cell does.
    pieces = ndimage.label(window.mask, np.ones((3, 3)))[1]
    return bool(pieces == 1 and window.mask.mean() > 0.5 and window.mask.shape != shape.size)


class CocoWriter(MarkWriter):
    """Writer of `images/NAME.png`, and of `annotations.json` on `finish`.

    A cell under other cells has the visible part as `segmentation`, `bbox` and `area`, and the whole outline as
    `amodal_segmentation` and `amodal_bbox`. Ignored regions are annotations with `iscrowd` 1.

    Parameters
    ----------
    folder : Path
    class_names : sequence of str
        Names of the categories; their ids start at 1.
    split_of : callable, optional
        Returns the split of a smear by its name; then there is a file
        `annotations/instances_SPLIT.json` per split.
    segmentation : {"polygon", "rle"}
        Polygons along pixel edges, which are exact, or RLE. A cell with a hole is always written as RLE, because
        COCO polygons have no holes.
    """

    format = "coco"

    def __init__(
        self,
        folder: Path,
        class_names: Sequence[str] = ONE_CLASS,
        split_of: Callable[[str], str | None] | None = None,
        *,
        segmentation: Segmentation = "polygon",
    ) -> None:
        if segmentation not in get_args(Segmentation):
            raise OptionError(f"segmentation must be polygon or rle, not {segmentation!r}")
        super().__init__(folder, class_names, split_of)
        self._segmentation = segmentation
        self._composed_names = frozenset(name for name, _ in self._composed_parts())

    def _save_marks(self, name: str, size: tuple[int, int], annotation: FieldAnnotation, files: ExitStack) -> None:
        image = {"file_name": f"{name}.png", "width": size[1], "height": size[0]}
        part = {"image": image, "annotations": list(self._annotations(annotation, size))}
        path = files.enter_context(atomic_write(self._part(name)))
        path.write_text(json.dumps(part, separators=(",", ":"), ensure_ascii=False), encoding="utf-8")

    def _annotations(self, annotation: FieldAnnotation, size: tuple[int, int]) -> Iterator[Record]:
        for cell in annotation.cells:
            record = {"category_id": self.class_names.index(cell.class_name) + 1}
            record |= self._geometry(cell.visible or cell.shape, size)
            if cell.visible is not None:
                full = self._geometry(cell.shape, size)
                record |= {"amodal_segmentation": full["segmentation"], "amodal_bbox": full["bbox"]}
            yield record | {"iscrowd": 0}
        for shape in annotation.ignored:
            yield {"category_id": 1} | self._geometry(shape, size, rle=True) | {"iscrowd": 1, "ignore": 1}

    def _geometry(self, shape: Shape, size: tuple[int, int], *, rle: bool = False) -> Record:
        """Return segmentation, area and box of a shape."""
        if isinstance(shape, Box) and not rle:
            x0, y0, x1, y1 = shape
            return {"segmentation": [], "area": (x1 - x0) * (y1 - y0), "bbox": [x0, y0, x1 - x0, y1 - y0]}
        pixels = fill(shape, size)
        rows, columns = pixels.mask.shape
        geometry = {"area": int(pixels.mask.sum()), "bbox": [pixels.x, pixels.y, columns, rows]}
        if not rle and self._segmentation == "polygon":
            outline = Outline.of_mask(pixels.mask, (pixels.x, pixels.y))
            if not outline.holes:
                rings = [ring.astype(np.int64).ravel().tolist() for ring in outline.rings]
                return {"segmentation": rings, **geometry}
        mask = np.zeros(size, np.uint8, order="F")
        mask[pixels.y : pixels.y + rows, pixels.x : pixels.x + columns] = pixels.mask
        counts = rle_masks.encode(mask)["counts"].decode("ascii")
        return {"segmentation": {"size": list(size), "counts": counts}, **geometry}

    def _part(self, name: str) -> Path:
        return self.parts / f"{name}.json"

    def is_written(self, name: str) -> bool:
        """Test whether image and annotations of this name exist."""
        return self.image_path(name).exists() and (name in self._composed_names or self._part(name).exists())

    def finish(self) -> None:
        """Compose the COCO file or files, sorted by image, from their existing content and the added smears."""
        if self._composed_files() and not self.parts.is_dir():
            return
        parts = dict(self._composed_parts())
        for part in self.parts.glob("*.json") if self.parts.is_dir() else ():
            if not part.name.startswith("."):
                parts[part.stem] = _load(part)
        names: dict[str | None, list[str]] = {} if parts else {None: []}
        for name in sorted(parts):
            names.setdefault(self.split_of(name), []).append(name)
        for split, subset in names.items():
            # The layout of the COCO data set, which other programs expect.
            file = ANNOTATION_FILE if split is None else f"annotations/instances_{split}.json"
            self._compose(self.folder / file, {name: parts[name] for name in subset})
        self._composed_names = frozenset(parts)
        shutil.rmtree(self.parts, ignore_errors=True)

    def _compose(self, path: Path, parts: Mapping[str, Record]) -> None:
        images: list[Record] = []
        count = 0
        with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8") as file:
            file.write('{"annotations":[')
            for part in parts.values():
                images.append({"id": len(images) + 1, **part["image"], "license": 1})
                for annotation in part["annotations"]:
                    record = {"id": count + 1, "image_id": len(images), **annotation}
                    file.write((",\n" if count else "\n") + json.dumps(record, separators=(",", ":")))
                    count += 1
            kinds = [{"id": i, "name": name, "supercategory": "cell"} for i, name in enumerate(self.class_names, 1)]
            licences = [{"id": 1, "name": self.licence or "not stated", "url": ""}]
            file.write('],\n"images":' + json.dumps(images, ensure_ascii=False))
            file.write(',\n"categories":' + json.dumps(kinds, ensure_ascii=False))
            file.write(',\n"licenses":' + json.dumps(licences, ensure_ascii=False))
            file.write(',\n"info":{"description":"written by smearsynth"}}\n')

    def _composed_files(self) -> list[Path]:
        candidates = [self.folder / ANNOTATION_FILE, *self.folder.glob("annotations/instances_*.json")]
        return [path for path in candidates if path.exists()]

    def _composed_parts(self) -> Iterator[tuple[str, Record]]:
        """Yield the name and the part of each smear in the existing COCO files."""
        for path in self._composed_files():
            content = _load(path)
            shapes: dict[int, list[Record]] = {image["id"]: [] for image in content["images"]}
            for annotation in content["annotations"]:
                shape = {key: value for key, value in annotation.items() if key not in ("id", "image_id")}
                shapes[annotation["image_id"]].append(shape)
            for image in content["images"]:
                record = {key: value for key, value in image.items() if key not in ("id", "license")}
                yield image_name(image["file_name"]), {"image": record, "annotations": shapes[image["id"]]}
