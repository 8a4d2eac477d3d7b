"""YOLO: one text file per image, with a line "class cx cy w h" or "class x1 y1 x2 y2 ..." per cell."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar, NamedTuple

import yaml

from smearsynth.annotation.record import FieldAnnotation, LabelsFrom
from smearsynth.errors import DataError
from smearsynth.files import atomic_write, read_text, write_text
from smearsynth.formats.base import AnnotationFiles, MarkFormat
from smearsynth.formats.finding import files_below, normalised, split_of_path, text_of
from smearsynth.formats.listing import check_file_stem, image_files, remove_temporary_files
from smearsynth.formats.mark_files.box_writing import (
    HOLES,
    OUTSIDE,
    box_inside,
    check_class_names,
    count_lost,
    joined_polygon,
    outline_inside,
)
from smearsynth.formats.mark_files.marks import (
    UNANNOTATED,
    MarkList,
    confidence_of,
    finite_number,
    polygon,
    short_text,
)
from smearsynth.formats.mark_files.yolo_data import (
    SPLIT_KEYS,
    YAML_SUFFIXES,
    DataFile,
    read_data_file,
    yaml_content,
)
from smearsynth.formats.writing import MarkWriter
from smearsynth.geometry import Shape

# Fractions of cells at the border exceed 1 by rounding.
_MAX_FRACTION = 1.01
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?(?:nan|inf)", re.IGNORECASE)
# Some programs write all numbers with a decimal point.
_CLASS_ID = re.compile(r"\d{1,9}(?:\.0*)?", re.ASCII)
_OTHER_TEXT = re.compile(
    r"(readme|license|licence|requirements|notes?)\b.*|classes|predefined_classes|labels|names|"
    r"((train|val|valid|validation|test|trainval|autosplit_\w+)(list)?)",
    re.IGNORECASE,
)
_DATA_FILE = "data.yaml"
_KEY_OF_SPLIT = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_FIRST_FILES = 10


class _Line(NamedTuple):
    """One line of a label file."""

    number: int
    class_id: int
    values: list[float]
    confidence: float | None


def find(root: Path) -> list[Path]:
    """Return the label files of a YOLO data set, sorted by path.

    Parameters
    ----------
    root : Path
        Folder of the data set, its `data.yaml`, or one label file.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "a.txt").write_text("0 0.5 0.5 0.1 0.2")
    >>> [path.name for path in find(folder)]
    ['a.txt']
    """
    if root.is_file() and root.suffix.lower() in YAML_SUFFIXES:
        return find(root.parent) if yaml_content(root) is not None else []
    groups: dict[Path, list[Path]] = {}
    for path in files_below(root, {".txt"}):
        if not _OTHER_TEXT.fullmatch(path.stem) or _is_label_line(_first_line(path), path.parent):
            groups.setdefault(path.parent, []).append(path)
    found: list[Path] = []
    for folder, group in groups.items():
        # Images without cells have empty files, so that more than the first file is looked at.
        line = next((line for path in group[:_FIRST_FILES] if (line := _first_line(path))), "")
        if _is_label_line(line, folder):
            found += group
    return sorted(found)


def _first_line(path: Path) -> str:
    return text_of(path).strip().split("\n", 1)[0]


def _is_label_line(line: str, folder: Path) -> bool:
    tokens = line.split()
    if len(tokens) < 5 or not _CLASS_ID.fullmatch(tokens[0]) or not all(map(_NUMBER.fullmatch, tokens)):
        return False
    # Other tables of numbers are px; YOLO labels in px are accepted only where labels are expected.
    return all(abs(float(token)) <= _MAX_FRACTION for token in tokens[1:]) or "labels" in (
        folder.name.lower(),
        folder.parent.name.lower(),
    )


def load(root: Path, files: list[Path]) -> AnnotationFiles:
    """Read the label files of a YOLO data set.

    Class names are those of `data.yaml` (or another YAML file with `names`), else of `classes.txt` or `obj.names`,
    else "class 0", ... Splits are the names of folders, or those of the list files and folders that `data.yaml`
    names. A line with 9 numbers is a polygon of four points; an oriented box is written in the same way. An image
    with an empty label file is counted as unannotated.

    Raises
    ------
    DataError
        If a line is not a label, or some coordinates are fractions and some px.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "a.txt").write_text("0 0.5 0.5 0.5 0.25")
    >>> load(folder, find(folder)).fields[0].cells[0].shape
    Box(x0=0.25, y0=0.375, x1=0.75, y1=0.625)
    """
    folder = root if root.is_dir() else root.parent
    # The data set can be in a folder of the one that was named.
    folders = sorted({parent for path in files for parent in path.parents if parent.is_relative_to(folder)})
    data = read_data_file(folders, [root] if root.suffix.lower() in YAML_SUFFIXES else None)
    notes = list(data.notes)
    labels: dict[Path, list[_Line]] = {}
    for path in files:
        text = read_text(path)
        if text.strip() and not any(
            _CLASS_ID.fullmatch(line.split()[0]) for line in text.splitlines() if line.strip()
        ):
            notes.append(f"{path}: not a YOLO label file; not read")
        else:
            labels[path] = list(_lines(path, text))
    relative = _is_relative(labels)
    if not relative:
        notes.append("YOLO coordinates above 1: read as px")
    ids = sorted({line.class_id for lines in labels.values() for line in lines})
    names = {**{i: f"class {i}" for i in ids}, **data.names}
    if data.names and (unnamed := [i for i in ids if i not in data.names]):
        notes.append(f"class ids without a name: {', '.join(map(str, unnamed))}")
    fields = []
    for path, lines in labels.items():
        image = _image_of(path, folder)
        marks = MarkList(image, path)
        if not lines:
            marks.left_out[UNANNOTATED] += 1
        for line in lines:
            _add(marks, line, names[line.class_id])
        fields.append(marks.annotation(split=_split_of(path, image, folder, data), relative=relative))
    # Two ids may have one name.
    return AnnotationFiles(fields, tuple(dict.fromkeys(names[i] for i in sorted(names))), tuple(notes))


def _lines(path: Path, text: str) -> Iterator[_Line]:
    for number, line in enumerate(text.splitlines(), 1):
        tokens = line.split()
        if not tokens:
            continue
        place = f"line {number}"
        if not _CLASS_ID.fullmatch(tokens[0]) or len(tokens) < 5:
            raise DataError(
                f"{place}: {short_text(line)} is neither 'class cx cy w h' nor 'class x1 y1 x2 y2 x3 y3 ...'; "
                "correct it or move the file",
                path,
            )
        values = [finite_number(token, path, place) for token in tokens[1:]]
        confidence = None
        if len(values) == 5 or (len(values) % 2 and len(values) > 6):
            confidence = confidence_of(values.pop(), path, place)
        yield _Line(number, int(float(tokens[0])), values, confidence)


def _add(marks: MarkList, line: _Line, name: str) -> None:
    if len(line.values) == 4:
        cx, cy, width, height = line.values
        if width < 0 or height < 0:
            place = f"line {line.number}"
            raise DataError(f"{place}: the box has a negative size; correct it or remove the line", marks.source)
        corners = (cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2)
        marks.add_box(corners, name, confidence=line.confidence)
    else:
        marks.add(polygon(line.values), name, confidence=line.confidence)


def _is_relative(labels: Mapping[Path, list[_Line]]) -> bool:
    """Whether the coordinates are fractions of the image size, and not px; a mixture is an error."""
    in_px: tuple[Path, _Line] | None = None
    fraction = False
    for path, lines in labels.items():
        for line in lines:
            if max(map(abs, line.values)) > _MAX_FRACTION:
                in_px = in_px or (path, line)
            else:
                fraction = True
    if in_px is None or not fraction:
        return in_px is None
    path, line = in_px
    value = next(value for value in line.values if abs(value) > _MAX_FRACTION)
    raise DataError(
        f"line {line.number}: {value:g} is not a fraction of the image size, as other coordinates are; "
        "export the labels again",
        path,
    )


def _image_of(path: Path, folder: Path) -> str:
    """Return the path of the image of a label file, relative to the folder, without its extension."""
    parts = list(path.relative_to(folder).parent.parts)
    for i in reversed(range(len(parts))):
        if parts[i].lower() == "labels":
            parts[i] = "images"
            break
    return "/".join([*parts, path.stem])


def _split_of(path: Path, image: str, folder: Path, data: DataFile) -> str | None:
    if split := split_of_path(path, folder):
        return split
    name = normalised(image.rpartition("/")[2])
    if split := data.split_by_name.get(name):
        return split
    # The folders in the data file can be relative to another folder than this one.
    parents = f"/{normalised(image.rpartition('/')[0])}/"
    return next((split for split, listed in data.folders.items() if f"/{normalised(listed)}/" in parents), None)


class _YoloWriter(MarkWriter):
    """Base class of the two writers: images, label files, and `data.yaml` on `finish`."""

    def __init__(
        self, folder: Path, class_names: Sequence[str], split_of: Callable[[str], str | None] | None = None
    ) -> None:
        check_class_names(class_names)
        super().__init__(folder, class_names, split_of)
        self._class_ids = {name: i for i, name in enumerate(self.class_names)}
        for kind in ("images", "labels"):
            for path in folder.glob(f"{kind}/*/"):
                remove_temporary_files(path)

    def image_path(self, name: str) -> Path:
        """Return the path of the image of this name."""
        return self._path("images", name, ".png")

    def _path(self, kind: str, name: str, suffix: str) -> Path:
        split = self.split_of(check_file_stem(name))
        folder = self.folder / kind
        return (folder if split is None else folder / check_file_stem(split)) / f"{name}{suffix}"

    def _save_marks(self, name: str, size: tuple[int, int], annotation: FieldAnnotation, files: ExitStack) -> None:
        lines = []
        for cell in annotation.cells:
            if cell.class_name not in self._class_ids:
                raise DataError(f"has the unknown class {cell.class_name!r}; add it to the class names", name)
            values = self._values(cell.shape, size)
            if values is None:
                self.lost[OUTSIDE] += 1
            else:
                lines.append(" ".join([str(self._class_ids[cell.class_name]), *(f"{v:.9g}" for v in values)]))
        # An empty file also stands for an image that nobody annotated.
        self.lost["annotations of images without cells"] += not lines
        path = files.enter_context(atomic_write(self._path("labels", name, ".txt")))
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")

    @abstractmethod
    def _values(self, shape: Shape, size: tuple[int, int]) -> list[float] | None:
        """Return the fractions of the image size after the class id; None for a shape outside the image."""

    def is_written(self, name: str) -> bool:
        """Test whether image and labels of this name exist."""
        return self.image_path(name).exists() and self._path("labels", name, ".txt").exists()

    def finish(self) -> None:
        """Write `data.yaml`, which can be moved with the folder: its paths are relative to it."""
        images = self.folder / "images"
        splits = sorted(path.name for path in images.glob("*/") if image_files(path))
        places: dict[str, str | list[str]] = {}
        for key in SPLIT_KEYS:
            of_key = [f"images/{split}" for split in splits if _KEY_OF_SPLIT.get(split.casefold()) == key]
            if of_key:
                places[key] = of_key[0] if len(of_key) == 1 else of_key
        # Ultralytics requires both keys.
        places.setdefault("train", f"images/{splits[0]}" if splits else "images")
        places.setdefault("val", places["train"])
        content = {key: places[key] for key in SPLIT_KEYS if key in places}
        names = {i: name for name, i in self._class_ids.items()}
        text = yaml.safe_dump({**content, "names": names}, sort_keys=False, allow_unicode=True)
        write_text(self.folder / _DATA_FILE, text)


class YoloDetectWriter(_YoloWriter):
    """Writer of YOLO boxes: `images/SPLIT/NAME.png`, `labels/SPLIT/NAME.txt`, and `data.yaml` on `finish`.

    Without splits, images and labels are in `images` and `labels`, and `data.yaml` names them for both training and
    validation. Boxes are those of the full outlines, cut at the border of the image.

    Parameters
    ----------
    folder : Path
    class_names : sequence of str
    split_of : callable, optional
        Returns the split of a smear by its name; `data.yaml` names the splits train, val and test.
    """

    format = "yolo-detect"

    def _save_marks(self, name: str, size: tuple[int, int], annotation: FieldAnnotation, files: ExitStack) -> None:
        super()._save_marks(name, size, annotation, files)
        count_lost(self.lost, annotation, outlines=False)

    def _values(self, shape: Shape, size: tuple[int, int]) -> list[float] | None:
        box = box_inside(shape, size)
        if box is None:
            return None
        height, width = size
        x, y = (box.x0 + box.x1) / 2 / width, (box.y0 + box.y1) / 2 / height
        return [x, y, (box.x1 - box.x0) / width, (box.y1 - box.y0) / height]


class YoloSegmentWriter(_YoloWriter):
    """Writer of YOLO polygons; files and parameters are those of `YoloDetectWriter`.

    A line holds one polygon: several parts of a cell are joined by bridges without width, and holes are filled and
    counted in `lost`.
    """

    format = "yolo-segment"
    kinds: ClassVar[frozenset[LabelsFrom]] = frozenset({"mask", "outline"})

    def _save_marks(self, name: str, size: tuple[int, int], annotation: FieldAnnotation, files: ExitStack) -> None:
        super()._save_marks(name, size, annotation, files)
        count_lost(self.lost, annotation, outlines=True)

    def _values(self, shape: Shape, size: tuple[int, int]) -> list[float] | None:
        outline = outline_inside(shape, size)
        if outline is None:
            return None
        self.lost[HOLES] += len(outline.holes)
        height, width = size
        fractions: list[float] = (joined_polygon(outline.rings) / (width, height)).ravel().tolist()
        return fractions


YOLO = MarkFormat("yolo", "YOLO", find, load)
