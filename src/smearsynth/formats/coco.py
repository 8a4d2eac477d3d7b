"""COCO instances: one JSON file with polygons or run-length encoding (RLE) for all images."""

from __future__ import annotations

import json
import math
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, get_args

import faster_coco_eval.core.mask as rle_masks
import numpy as np
import numpy.typing as npt

from smearsynth.errors import DataError, OptionError
from smearsynth.files import atomic_write, read_text
from smearsynth.formats.base import ONE_CLASS, ClassChoice, Entry, Reader
from smearsynth.formats.images import read_rgb
from smearsynth.formats.labels import label_components, pixel_size
from smearsynth.formats.listing import IMAGE_FOLDER, image_name, read_splits
from smearsynth.formats.outlines import ring_area, trace_outlines
from smearsynth.formats.tables import read_metadata
from smearsynth.formats.writing import FolderWriter
from smearsynth.smear import LabelArray, Smear

Record = dict[str, Any]
Segmentation = Literal["polygon", "rle"]

ANNOTATION_FILE = "annotations.json"


def find_coco_files(path: Path) -> list[Path]:
    """Return the COCO files of a path: the file itself, or those in the folder and its `annotations/`."""
    if path.is_file():
        return [path] if path.suffix.lower() == ".json" else []
    candidates = [*path.glob("*.json"), *path.glob("annotations/*.json")]
    return sorted(file for file in candidates if not file.name.startswith(".") and _has_coco_keys(file))


def _has_coco_keys(path: Path) -> bool:
    text = read_text(path)
    return '"images"' in text and '"annotations"' in text and '"categories"' in text


class CocoReader(Reader):
    """Reader of images with COCO instances.

    Crowd regions are skipped with a warning. Where annotations overlap, the later one is on top. The JSON content
    is kept in memory, the images are not. Several files in one folder, such as `instances_train.json` and
    `instances_test.json`, are splits of these names; otherwise the splits are those of `split.csv`.

    Parameters
    ----------
    root : Path
        COCO file, or folder with one or more COCO files (in it or in `annotations/`).
    classes : {"auto", "one", "annotated"}
        Classes of the cells, as for `smearsynth.datasets.open_smears`.
    binary : bool
        The connected components of the union of all annotations become the instances.

    Raises
    ------
    DataError
        If there is no COCO file, or one is damaged or lists no images.
    """

    format = "coco"

    def __init__(self, root: Path, *, classes: ClassChoice = "auto", binary: bool = False) -> None:
        self.root = root
        files = find_coco_files(root)
        if not files:
            raise DataError("contains no COCO file (JSON with images, annotations and categories)", root)
        folder = root if root.is_dir() else root.parent
        self._metadata = read_metadata(folder)
        self._binary = binary
        self._records: dict[str, Record] = {}
        self._shapes: dict[str, list[tuple[str, Any]]] = {}
        self._class_index: dict[str, int] = {}
        self.notes = ()
        splits = read_splits(folder)
        entries: list[Entry] = []
        for file in files:
            split = file.stem.removeprefix("instances_") if len(files) > 1 else None
            entries += self._index(file, split, splits)
        self.entries = tuple(sorted(entries, key=lambda entry: entry.name))
        if not self.entries:
            raise DataError("lists no images", files[0])
        one_class = binary or classes == "one" or (classes == "auto" and self._metadata is None)
        self._one_class = one_class or not self._class_index
        self.class_names = ONE_CLASS if self._one_class else tuple(self._class_index)

    def _index(self, file: Path, split: str | None, splits: Mapping[str, str]) -> Iterator[Entry]:
        content = _load(file)
        try:
            kinds = {kind["id"]: str(kind["name"]) for kind in content["categories"]}
            for name in kinds.values():
                self._class_index.setdefault(name, len(self._class_index))
            by_image: dict[Any, list[tuple[str, Any]]] = {image["id"]: [] for image in content["images"]}
            crowds = 0
            for annotation in content["annotations"]:
                if annotation.get("iscrowd"):
                    crowds += 1
                else:
                    shape = (kinds[annotation["category_id"]], annotation.get("segmentation"))
                    by_image[annotation["image_id"]].append(shape)
        except KeyError as error:
            raise DataError(f"lacks or does not define {error}; export it again in COCO format", file) from error
        except (TypeError, AttributeError) as error:
            raise DataError(f"is not in COCO format ({error}); export it again", file) from error
        if crowds:
            note = f"{file}: {crowds} crowd annotation{'s' if crowds > 1 else ''} skipped"
            self.notes = (*self.notes, note)
            warnings.warn(note, stacklevel=5)
        for image in content["images"]:
            name = image_name(str(image["file_name"])).replace("/", "_")
            if name in self._records:
                raise DataError(f"lists the image {name} twice; rename one of the two", file)
            self._records[name] = image
            self._shapes[name] = by_image[image["id"]]
            yield Entry(name, _find_image(file, str(image["file_name"])), file, split or splits.get(name))

    def read(self, entry: Entry) -> Smear:
        """Decode one smear at full size."""
        image = read_rgb(entry.image)
        height, width = image.shape[:2]
        record = self._records[entry.name]
        listed_size = record.get("width", width), record.get("height", height)
        if listed_size != (width, height):
            raise DataError(
                f"lists the size {listed_size[0]}×{listed_size[1]} px, but the image {entry.image} is "
                f"{width}×{height} px; correct the size or replace the image",
                entry.annotation,
            )
        labels = np.zeros((height, width), np.int32)
        classes = []
        for k, (kind, segmentation) in enumerate(self._shapes[entry.name], 1):
            try:
                _paint(labels, _encode(segmentation, height, width), k)
            except (ValueError, TypeError, KeyError, RuntimeError) as error:
                raise DataError(
                    f"annotation {k} of image {entry.name} cannot be drawn ({error}); correct or remove it",
                    entry.annotation,
                ) from error
            classes.append(0 if self._one_class else self._class_index[kind])
        if self._binary:
            labels = label_components(labels > 0)
            classes = [0] * int(labels.max(initial=0))
        return Smear.from_labels(
            image,
            labels,
            np.array(classes, np.int64),
            class_names=self.class_names,
            um_per_px=pixel_size(entry.image, self._metadata),
            name=entry.name,
        )


def _load(file: Path) -> Record:
    try:
        content = json.loads(read_text(file))
    except json.JSONDecodeError as error:
        raise DataError(f"is not valid JSON ({error}); export it again", file) from error
    if not isinstance(content, dict):
        raise DataError("is not in COCO format; export it again", file)
    return content


def _find_image(file: Path, name: str) -> Path:
    """Return the path of an image of a COCO file; if it does not exist, the first path that was tried."""
    split = file.stem.removeprefix("instances_")
    folders = [file.parent / IMAGE_FOLDER, file.parent, file.parent / split]
    folders += [file.parent.parent / IMAGE_FOLDER, file.parent.parent / split, file.parent.parent]
    return next((folder / name for folder in folders if (folder / name).is_file()), folders[0] / name)


def _encode(segmentation: Any, height: int, width: int) -> Record:
    """Return compressed RLE for polygons, uncompressed RLE or compressed RLE."""
    if not segmentation:
        raise ValueError("no segmentation, only a bounding box")
    if isinstance(segmentation, dict):
        if list(segmentation["size"]) != [height, width]:
            raise ValueError(f"RLE of size {segmentation['size']}")
        if isinstance(segmentation["counts"], list):
            return dict(rle_masks.frPyObjects(segmentation, height, width))
        return segmentation
    for polygon in segmentation:
        if len(polygon) < 6 or len(polygon) % 2 or not all(math.isfinite(value) for value in polygon):
            raise ValueError("a polygon needs at least three points x, y")
    polygons = [[float(value) for value in polygon] for polygon in segmentation]
    return dict(rle_masks.merge(rle_masks.frPyObjects(polygons, height, width)))


def _paint(labels: LabelArray, rle: Record, k: int) -> None:
    x, y, w, h = (int(value) for value in rle_masks.toBbox(rle))
    window = np.s_[y : y + h, x : x + w]
    labels[window][rle_masks.decode(rle)[window] > 0] = k


class CocoWriter(FolderWriter):
    """Writer of `images/NAME.png`, and of `annotations.json` on `finish`.

    Parameters
    ----------
    folder : Path
    class_names : sequence of str
        Names of the categories; their ids start at 1.
    segmentation : {"polygon", "rle"}
        Polygons along pixel edges, which are exact, or RLE. A cell with a hole is always written as RLE, because
        COCO polygons have no holes.
    """

    format = "coco"

    def __init__(
        self,
        folder: Path,
        class_names: Sequence[str] = ONE_CLASS,
        *,
        segmentation: Segmentation = "polygon",
    ) -> None:
        if segmentation not in get_args(Segmentation):
            raise OptionError(f"segmentation must be polygon or rle, not {segmentation!r}")
        super().__init__(folder, class_names)
        self._segmentation = segmentation
        self._composed_names = frozenset(name for name, _ in self._composed_parts())

    def _save(self, smear: Smear, files: ExitStack) -> None:
        height, width = smear.shape
        image = {"file_name": f"{smear.name}.png", "width": width, "height": height}
        part = {"image": image, "annotations": list(self._annotations(smear))}
        path = files.enter_context(atomic_write(self._part(smear.name)))
        path.write_text(json.dumps(part, separators=(",", ":"), ensure_ascii=False), encoding="utf-8")

    def _annotations(self, smear: Smear) -> Iterator[Record]:
        for k, (area, box) in enumerate(zip(smear.areas().tolist(), smear.boxes().tolist(), strict=True), 1):
            x0, y0, x1, y1 = box
            cell = smear.labels[y0:y1, x0:x1] == k
            yield {
                "category_id": int(smear.classes[k - 1]) + 1,
                "segmentation": self._encode_cell(cell, (x0, y0), smear.shape),
                "area": area,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "iscrowd": 0,
            }

    def _encode_cell(
        self, cell: npt.NDArray[np.bool_], corner: tuple[int, int], shape: tuple[int, int]
    ) -> list[list[int]] | Record:
        if self._segmentation == "polygon":
            rings = trace_outlines(cell)
            if all(ring_area(ring) > 0 for ring in rings):
                return [(ring + np.array(corner)).ravel().tolist() for ring in rings]
        x, y = corner
        mask = np.zeros(shape, np.uint8, order="F")
        mask[y : y + cell.shape[0], x : x + cell.shape[1]] = cell
        return {"size": list(shape), "counts": rle_masks.encode(mask)["counts"].decode("ascii")}

    def _part(self, name: str) -> Path:
        return self.parts / f"{name}.json"

    def is_written(self, name: str) -> bool:
        """Test whether image and annotations of this name exist."""
        return self.image_path(name).exists() and (name in self._composed_names or self._part(name).exists())

    def finish(self) -> None:
        """Compose `annotations.json`, sorted by image, from its existing content and the added smears."""
        path = self.folder / ANNOTATION_FILE
        if path.exists() and not self.parts.is_dir():
            return
        existing = dict(self._composed_parts())
        added = {part.stem for part in self.parts.glob("*.json") if not part.name.startswith(".")}
        images: list[Record] = []
        count = 0
        with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8") as file:
            file.write('{"annotations":[')
            for name in sorted(added | existing.keys()):
                part = _load(self._part(name)) if name in added else existing[name]
                images.append({"id": len(images) + 1, **part["image"]})
                for annotation in part["annotations"]:
                    record = {"id": count + 1, "image_id": len(images), **annotation}
                    file.write((",\n" if count else "\n") + json.dumps(record, separators=(",", ":")))
                    count += 1
            kinds = [{"id": i, "name": name} for i, name in enumerate(self.class_names, 1)]
            file.write('],\n"images":' + json.dumps(images, ensure_ascii=False))
            file.write(',\n"categories":' + json.dumps(kinds, ensure_ascii=False))
            file.write(',\n"info":{"description":"written by smearsynth"}}\n')
        self._composed_names = frozenset(added | existing.keys())
        shutil.rmtree(self.parts, ignore_errors=True)

    def _composed_parts(self) -> Iterator[tuple[str, Record]]:
        """Yield the name and the part of each smear in an existing `annotations.json`."""
        path = self.folder / ANNOTATION_FILE
        if not path.exists():
            return
        content = _load(path)
        shapes: dict[int, list[Record]] = {image["id"]: [] for image in content["images"]}
        for annotation in content["annotations"]:
            shape = {key: value for key, value in annotation.items() if key not in ("id", "image_id")}
            shapes[annotation["image_id"]].append(shape)
        for image in content["images"]:
            record = {key: value for key, value in image.items() if key != "id"}
            yield image_name(image["file_name"]), {"image": record, "annotations": shapes[image["id"]]}
