"""Pascal VOC: one XML file per image with boxes, and the extensions with polygons.

Boxes are read as x0 = xmin, x1 = xmax. The convention of VOC counts pixels from 1 and includes the last one, but
nearly all programs of today (LabelImg, Roboflow, CVAT) write corners that are counted from 0; the difference is at
most one pixel.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from math import degrees
from pathlib import Path
from typing import Any

import defusedxml.ElementTree
from defusedxml import DefusedXmlException

from smearsynth.annotation.record import FieldAnnotation
from smearsynth.errors import DataError
from smearsynth.files import atomic_write, describe_read_error, read_text, write_text
from smearsynth.formats.base import AnnotationFiles, MarkFormat
from smearsynth.formats.finding import files_below, normalised, split_name, split_of_path, text_of
from smearsynth.formats.listing import check_file_stem, image_files
from smearsynth.formats.mark_files.box_writing import OUTSIDE, box_inside, check_class_names, count_lost
from smearsynth.formats.mark_files.figures import rotated_box
from smearsynth.formats.mark_files.marks import MarkList, class_names_of, class_text, finite_number, polygon
from smearsynth.formats.writing import MarkWriter
from smearsynth.geometry import Outline

_ROOT = re.compile(r"<annotation[\s>]")
_ROTATED = ("cx", "cy", "w", "h", "angle")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_IMAGE_FOLDER = "JPEGImages"
_CLASS_FILE = "labelmap.txt"
_NO_SPLIT = "trainval"
_SPLIT_FOLDER = "ImageSets/Main"


def find(root: Path) -> list[Path]:
    """Return the XML files of a Pascal VOC data set, sorted by path.

    Of the files of a folder, the first three are opened.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "a.xml").write_text("<annotation><filename>a.png</filename></annotation>")
    >>> [path.name for path in find(folder)]
    ['a.xml']
    """
    groups: dict[Path, list[Path]] = {}
    for path in files_below(root, {".xml"}):
        groups.setdefault(path.parent, []).append(path)
    found: list[Path] = []
    for group in groups.values():
        if any(_is_voc(text_of(path)) for path in group[:3]):
            found += group
    return sorted(found)


def _is_voc(text: str) -> bool:
    return _ROOT.search(text) is not None and any(tag in text for tag in ("<filename>", "<object>", "<size>"))


def load(root: Path, files: list[Path]) -> AnnotationFiles:
    """Read the XML files of a Pascal VOC data set.

    An object with polygons becomes an outline, any other a box. The image is that of `filename`, or has the name of
    the XML file if there is no file name or several files have the same. `folder` and `path` are often wrong and
    not used; a size of 0 is not used. Splits are those of `ImageSets/Main`, else the names of folders.

    Raises
    ------
    DataError
        If a file is not XML, or an object has no box or a coordinate is not a number.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> box = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>9</xmax><ymax>8</ymax></bndbox>"
    >>> _ = (folder / "a.xml").write_text(f"<annotation><object><name>red</name>{box}</object></annotation>")
    >>> load(folder, find(folder)).fields[0].cells[0].shape
    Box(x0=1.0, y0=2.0, x1=9.0, y1=8.0)
    """
    folder = root if root.is_dir() else root.parent
    split_by_name = _listed_images(folder)
    trees: dict[Path, ElementTree.Element] = {}
    notes = []
    for path in files:
        tree = _parse(path)
        if tree.tag == "annotation":
            trees[path] = tree
        else:
            notes.append(f"{path}: not Pascal VOC; not read")
    name_counts = Counter((path.parent, normalised(_file_name(tree))) for path, tree in trees.items())
    lists, fields, difficult = [], [], 0
    for path, tree in trees.items():
        name = _file_name(tree)
        if not name or name_counts[path.parent, normalised(name)] > 1:
            name = path.stem
        marks = MarkList(name, path)
        for number, item in enumerate(tree.findall("object"), 1):
            _add(marks, item, f"object {number}")
            difficult += (item.findtext("difficult") or "").strip() == "1"
        split = split_by_name.get(normalised(path.stem)) or split_of_path(path, folder)
        lists.append(marks)
        fields.append(marks.annotation(size=_size(tree, path), split=split))
    if difficult:
        notes.append(f"{difficult:,} objects marked as difficult are read as cells")
    return AnnotationFiles(fields, class_names_of(lists), tuple(notes))


def _parse(path: Path) -> ElementTree.Element:
    try:
        # Bytes, because the file may declare another encoding than UTF-8.
        tree = defusedxml.ElementTree.fromstring(path.read_bytes())
    except OSError as error:
        raise DataError(describe_read_error(error), path) from error
    except (ElementTree.ParseError, DefusedXmlException, ValueError, LookupError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"is not valid XML ({reason}); export it again", path) from error
    if not isinstance(tree, ElementTree.Element):
        raise DataError("is empty; export it again", path)
    return tree


def _file_name(tree: ElementTree.Element) -> str:
    """Return the file name of the image without folders; empty if there is none."""
    return (tree.findtext("filename") or "").strip().replace("\\", "/").rpartition("/")[2]


def _add(marks: MarkList, item: ElementTree.Element, place: str) -> None:
    if (item.findtext("deleted") or "").strip() == "1":
        marks.left_out["deleted objects"] += 1
        return
    name = class_text(item.findtext("name"), marks.source, place)
    rings = [ring for element in item.findall("polygon") if (ring := _ring(element, marks.source, place))]
    if parts := len(item.findall("part")):
        marks.left_out["parts of objects"] += parts
    if rings:
        marks.add(Outline(tuple(polygon(ring).rings[0] for ring in rings)), name)
        return
    box, rotated = item.find("bndbox"), item.find("robndbox")
    if box is not None:
        marks.add_box(_numbers(box, _CORNERS, marks.source, place), name)
    elif rotated is not None:
        cx, cy, width, height, angle = _numbers(rotated, _ROTATED, marks.source, place)
        marks.add_box(rotated_box(cx, cy, width, height, degrees(angle)), name)
    else:
        raise DataError(f"{place} has no box (bndbox); add it or remove the object", marks.source)


def _numbers(element: ElementTree.Element, tags: Sequence[str], path: Path, place: str) -> list[float]:
    return [finite_number(element.findtext(tag), path, f"{place}, {tag}") for tag in tags]


def _ring(element: ElementTree.Element, path: Path, place: str) -> list[float]:
    """Return x1, y1, x2, y2, ... of a polygon with tags x1, y1, ... or with pt/x, pt/y."""
    points = [(point.findtext("x"), point.findtext("y")) for point in element.findall("pt")]
    if not points:
        count = sum(re.fullmatch(r"x\d+", child.tag) is not None for child in element)
        points = [(element.findtext(f"x{i}"), element.findtext(f"y{i}")) for i in range(1, count + 1)]
    return [finite_number(value, path, f"{place}, polygon") for point in points for value in point]


def _size(tree: ElementTree.Element, path: Path) -> tuple[int, int] | None:
    values = [tree.findtext(f"size/{tag}") for tag in ("height", "width")]
    if None in values:
        return None
    height, width = (int(finite_number(value, path, "size")) for value in values)
    # Some programs write 0 × 0.
    return (height, width) if height > 0 and width > 0 else None


def _listed_images(folder: Path) -> dict[str, str]:
    """Return the split of each image in `ImageSets/Main`, by its normalised name."""
    split_by_name: dict[str, str] = {}
    for path in sorted((folder / _SPLIT_FOLDER).glob("*.txt")):
        if split_name(path.stem):
            for line in read_text(path).splitlines():
                # The list of a class has "1" or "-1" after each name; a name can contain spaces.
                for name in {line.strip(), *line.split()[:1]}:
                    split_by_name.setdefault(normalised(name), path.stem.lower())
    return split_by_name


class VocWriter(MarkWriter):
    """Writer of `JPEGImages/NAME.png`, `Annotations/NAME.xml`, and `ImageSets/Main/SPLIT.txt` on `finish`.

    Boxes are those of the full outlines, cut at the border of the image. Corners are counted from 0, and the
    maximum is not included. Outlines are lost. Without splits, all images are in `trainval.txt`. `labelmap.txt`
    declares the classes, for CVAT and Datumaro. Images are PNG files, as the XML files say; ``VOCDetection`` of
    torchvision opens only files with the extension .jpg.

    Parameters
    ----------
    folder : Path
    class_names : sequence of str
    split_of : callable, optional
        Returns the split of a smear by its name.
    """

    format = "voc"

    def __init__(
        self, folder: Path, class_names: Sequence[str], split_of: Callable[[str], str | None] | None = None
    ) -> None:
        check_class_names(class_names)
        super().__init__(folder, class_names, split_of)

    def image_path(self, name: str) -> Path:
        """Return the path of the image of this name."""
        return self.folder / _IMAGE_FOLDER / f"{check_file_stem(name)}.png"

    def _xml_path(self, name: str) -> Path:
        return self.folder / "Annotations" / f"{check_file_stem(name)}.xml"

    def _save_marks(self, name: str, size: tuple[int, int], annotation: FieldAnnotation, files: ExitStack) -> None:
        root = ElementTree.Element("annotation")
        height, width = size
        _append(root, {"folder": _IMAGE_FOLDER, "filename": f"{name}.png"})
        _append(root, {"size": {"width": width, "height": height, "depth": 3}, "segmented": 0})
        for cell in annotation.cells:
            box = box_inside(cell.shape, size)
            if box is None:
                self.lost[OUTSIDE] += 1
                continue
            cut = box.x0 == 0 or box.y0 == 0 or box.x1 == width or box.y1 == height
            corners = dict(zip(_CORNERS, (f"{value:.3f}".rstrip("0").rstrip(".") for value in box), strict=True))
            flags = {"pose": "Unspecified", "truncated": int(cut), "difficult": 0}
            _append(root, {"object": {"name": cell.class_name, **flags, "bndbox": corners}})
        count_lost(self.lost, annotation, outlines=False)
        ElementTree.indent(root, "\t")
        path = files.enter_context(atomic_write(self._xml_path(name)))
        path.write_text(ElementTree.tostring(root, encoding="unicode") + "\n", encoding="utf-8", newline="\n")

    def is_written(self, name: str) -> bool:
        """Test whether image and boxes of this name exist."""
        return self.image_path(name).exists() and self._xml_path(name).exists()

    def finish(self) -> None:
        """Write the list of the images of each split, and the list of classes."""
        names: dict[str, list[str]] = {}
        folder = self.folder / _IMAGE_FOLDER
        for path in image_files(folder) if folder.is_dir() else []:
            names.setdefault(self.split_of(path.stem) or _NO_SPLIT, []).append(path.stem)
        for split, of_split in names.items():
            text = "".join(f"{name}\n" for name in of_split)
            write_text(self.folder / _SPLIT_FOLDER / f"{check_file_stem(split)}.txt", text)
        # The file separates its columns by colons and has no way to quote them.
        if not any(":" in name for name in self.class_names):
            lines = [f"{name}:::\n" for name in ("background", *self.class_names)]
            write_text(self.folder / _CLASS_FILE, "".join(["# label:color_rgb:parts:actions\n", *lines]))


def _append(parent: ElementTree.Element, content: Mapping[str, Any]) -> None:
    for tag, value in content.items():
        element = ElementTree.SubElement(parent, tag)
        if isinstance(value, Mapping):
            _append(element, value)
        else:
            element.text = str(value)


VOC = MarkFormat("voc", "Pascal VOC XML", find, load)
