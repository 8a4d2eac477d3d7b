"""CVAT 1.1: one XML file for all images of a task, or for the frames of a video."""

from __future__ import annotations

import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml import ElementTree as SafeXml

from smearsynth.annotation.record import CellMark, FieldAnnotation, LabelsFrom, is_ignored_class
from smearsynth.errors import DataError
from smearsynth.files import atomic_write, describe_read_error
from smearsynth.formats.base import ONE_CLASS, AnnotationFiles, MarkFormat
from smearsynth.formats.finding import files_below, files_with_text, split_name, split_of_path
from smearsynth.formats.listing import image_name
from smearsynth.formats.mark_files.figures import (
    IGNORED_CLASS,
    Figure,
    Place,
    add_figures,
    annotation_of_marks,
    check_mask_size,
    ellipse,
    marks_to_write,
    outline_of,
    rotated_box,
    trimmed,
)
from smearsynth.formats.mark_files.marks import MarkList, class_names_of
from smearsynth.formats.writing import MarkWriter
from smearsynth.geometry import Box, Mask, Outline, PixelMask, Point, Shape

ANNOTATION_FILE = "annotations.xml"
_LABEL_PATH = "meta/*/labels/label/name"


def find(root: Path) -> list[Path]:
    """Return the CVAT files below a folder, or the file itself.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "annotations.xml"
    >>> _ = path.write_text('<annotations><image id="0" name="a.png"/></annotations>')
    >>> find(path.parent) == [path]
    True
    """
    files = files_below(root, {".xml"})
    words = ("<image ", "<track ", "<meta>")
    return sorted({path for word in words for path in files_with_text(files, "<annotations>", word)})


def load(root: Path, files: list[Path]) -> AnnotationFiles:
    """Read CVAT files.

    Polygons, boxes, ellipses, points and masks are read, in the order of `z_order`. Outlines and masks of one label
    and `group_id` are the parts of one cell. The frames of a video are the images "frame_000000", ...

    Raises
    ------
    DataError
        If a file is damaged; the message names the image and shape.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "annotations.xml"
    >>> points = '<points label="red" points="3,4;5,6"/>'
    >>> _ = path.write_text(f'<annotations><image id="0" name="a.png">{points}</image></annotations>')
    >>> [cell.shape for cell in load(path.parent, [path]).fields[0].cells]
    [Point(x=3.0, y=4.0), Point(x=5.0, y=6.0)]
    """
    fields: list[FieldAnnotation] = []
    lists: list[MarkList] = []
    names: dict[str, None] = {}
    notes: list[str] = []
    joined = 0
    for path in files:
        tree = _parse(path)
        if tree.tag != "annotations":
            notes.append(f"{path}: not a CVAT file; not read")
            continue
        names.update(dict.fromkeys(label.text.strip() for label in tree.iterfind(_LABEL_PATH) if label.text))
        for image, elements in _images(tree, path):
            marks = MarkList(image.get("name", ""), path)
            place = Place(path, f"image {marks.image}")
            joined += add_figures(marks, _figures(elements, place, marks))
            lists.append(marks)
            subset = image.get("subset", "")
            split = split_name(subset) or subset or split_of_path(path, root)
            size = place.size(image.get("width"), image.get("height"))
            fields.append(annotation_of_marks(marks, size=size, split=split))
    if joined:
        notes.append(f"CVAT: {joined} cells consist of several shapes of one group")
    classes = dict.fromkeys(name for name in names if not is_ignored_class(name))
    return AnnotationFiles(fields, tuple(classes | dict.fromkeys(class_names_of(lists))), tuple(notes))


def _parse(path: Path) -> ET.Element:
    try:
        root = SafeXml.parse(path).getroot()
    except OSError as error:
        raise DataError(describe_read_error(error), path) from error
    except (ET.ParseError, DefusedXmlException, ValueError, LookupError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"is not valid XML ({reason}); export it again", path) from error
    if root is None:
        raise DataError("is an empty XML file; export it again", path)
    return root


def _images(tree: ET.Element, path: Path) -> Iterator[tuple[ET.Element, list[ET.Element]]]:
    """Yield an image element and its shapes for each image, or frame of a video."""
    for number, image in enumerate(tree.iterfind("image"), 1):
        if not image.get("name"):
            raise Place(path, f"image {number}").error("the image has no name")
        yield image, list(image)
    frames: dict[int, list[ET.Element]] = {}
    for number, track in enumerate(tree.iterfind("track"), 1):
        for element in track:
            frame = Place(path, f"track {number}").number(element.get("frame"))
            # A shape "outside" marks the end of a track, not a cell.
            if element.get("outside") != "1":
                element.set("label", track.get("label", ""))
                element.set("id", track.get("id", str(number)))
                frames.setdefault(int(frame), []).append(element)
    size = next((child for child in tree.iterfind("meta/*/original_size")), ET.Element("original_size"))
    attributes = {key: text for key in ("width", "height") if (text := size.findtext(key))}
    for frame, elements in sorted(frames.items()):
        yield ET.Element("image", {"name": f"frame_{frame:06d}", **attributes}), elements


def _figures(elements: list[ET.Element], image: Place, marks: MarkList) -> Iterator[Figure]:
    placed = [(element, Place(image.path, f"{image.name}, shape {i}")) for i, element in enumerate(elements, 1)]
    placed.sort(key=lambda item: item[1].number(item[0].get("z_order", "0")))
    for element, place in placed:
        read = _READERS.get(element.tag)
        if read is None:
            marks.left_out["tags" if element.tag == "tag" else f"{element.tag} shapes"] += 1
            continue
        shapes = read(element, place)
        name = element.get("id") or place.name.rpartition(" ")[2]
        group = element.get("group_id", "0")
        for k, shape in enumerate(shapes, 1):
            id = name if len(shapes) == 1 else f"{name}-{k}"
            label = element.get("label", "").strip() or "cell"
            yield Figure(shape, label, id, None if group in ("", "0") else group)


def _points(element: ET.Element, place: Place) -> list[list[str]]:
    return [pair.split(",") for pair in element.get("points", "").split(";") if pair.strip()]


def _polygon(element: ET.Element, place: Place) -> list[Shape]:
    return [Outline((place.ring(_points(element, place)),))]


def _point_shapes(element: ET.Element, place: Place) -> list[Shape]:
    return [Point(*place.point(point)) for point in _points(element, place)]


def _box(element: ET.Element, place: Place) -> list[Shape]:
    x0, y0, x1, y1 = (place.number(element.get(key)) for key in ("xtl", "ytl", "xbr", "ybr"))
    turn = place.number(element.get("rotation", "0"))
    if not turn:
        return [Box(x0, y0, x1, y1)]
    return [rotated_box((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0, turn)]


def _ellipse(element: ET.Element, place: Place) -> list[Shape]:
    cx, cy, rx, ry = (place.number(element.get(key)) for key in ("cx", "cy", "rx", "ry"))
    return [ellipse(cx, cy, rx, ry, place.number(element.get("rotation", "0")))]


def _mask(element: ET.Element, place: Place) -> list[Shape]:
    left, top, width, height = (place.number(element.get(key)) for key in ("left", "top", "width", "height"))
    check_mask_size(width, height, place)
    runs = [place.number(run) for run in element.get("rle", "").split(",")]
    return [PixelMask(mask_of_runs(runs, (int(height), int(width)), place), int(left), int(top))]


_READERS: dict[str, Callable[[ET.Element, Place], list[Shape]]] = {
    "polygon": _polygon,
    "points": _point_shapes,
    "box": _box,
    "ellipse": _ellipse,
    "mask": _mask,
}


def mask_of_runs(runs: Sequence[float], size: tuple[int, int], place: Place) -> Mask:
    """Return the mask of run lengths row by row, of background and cell in turn.

    Raises
    ------
    DataError
        If the runs do not fill the mask.

    Examples
    --------
    >>> mask_of_runs([1, 2, 1], (2, 2), Place(Path("a.xml"), "shape 1")).tolist()
    [[False, True], [True, False]]
    """
    lengths = np.array(runs, np.float64)
    if (lengths < 0).any() or lengths.sum() != size[0] * size[1] or (lengths % 1).any():
        raise place.error(f"the run lengths do not fill the mask of {size[1]}×{size[0]} px")
    values = np.arange(len(lengths)) % 2 == 1
    return np.repeat(values, lengths.astype(np.int64)).reshape(size)


def runs_of_mask(mask: Mask) -> list[int]:
    """Return the run lengths of a mask; the first is of background and may be 0.

    Examples
    --------
    >>> runs_of_mask(np.array([[True, True, False]]))
    [0, 2, 1]
    """
    flat = np.concatenate([[False], mask.ravel()])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    runs: list[int] = np.diff(np.concatenate([[0], changes, [mask.size]])).tolist()
    return runs


class CvatWriter(MarkWriter):
    """Writer of `images/NAME.png`, and of `annotations.xml` (CVAT for images 1.1) on `finish`.

    A cell with holes or several parts becomes a mask. Ignored regions have the label "ignore". Confidences, and the
    parts of masks outside the image, are counted in `lost`.

    Parameters
    ----------
    folder : Path
    class_names : sequence of str
        Names of the labels.
    split_of : callable, optional
        Returns the subset of an image by its name.
    """

    format = "cvat"
    kinds: ClassVar[frozenset[LabelsFrom]] = frozenset({"mask", "outline", "box", "point"})

    def __init__(
        self,
        folder: Path,
        class_names: Sequence[str] = ONE_CLASS,
        split_of: Callable[[str], str | None] | None = None,
    ) -> None:
        super().__init__(folder, class_names, split_of)
        self._composed_names = frozenset(self._composed())

    def _save_marks(self, name: str, size: tuple[int, int], annotation: FieldAnnotation, files: ExitStack) -> None:
        image = ET.Element("image", {"name": f"{name}.png", "width": str(size[1]), "height": str(size[0])})
        if subset := self.split_of(name):
            image.set("subset", subset)
        for z, mark in enumerate(marks_to_write(annotation)):
            self.lost["confidences"] += mark.confidence is not None
            element = _element(mark, size)
            if element is None:
                self.lost["cells outside the image"] += 1
                continue
            attributes = {"label": mark.class_name, "source": "manual", "occluded": "0", "z_order": str(z)}
            element.attrib = {**attributes, **element.attrib}
            image.append(element)
        path = files.enter_context(atomic_write(self._part(name)))
        path.write_bytes(ET.tostring(image, "utf-8"))

    def _part(self, name: str) -> Path:
        return self.parts / f"{name}.xml"

    def _composed(self) -> dict[str, ET.Element]:
        """Return the images of an existing `annotations.xml`, by name."""
        path = self.folder / ANNOTATION_FILE
        images = _parse(path).iterfind("image") if path.exists() else iter(())
        return {image_name(image.get("name", "")): image for image in images}

    def is_written(self, name: str) -> bool:
        """Test whether image and annotations of this name exist."""
        return self.image_path(name).exists() and (name in self._composed_names or self._part(name).exists())

    def finish(self) -> None:
        """Compose `annotations.xml`, sorted by image, from its existing content and the added smears."""
        path = self.folder / ANNOTATION_FILE
        if path.exists() and not self.parts.is_dir():
            return
        images = self._composed()
        for part in self.parts.glob("*.xml"):
            if not part.name.startswith("."):
                images[part.stem] = _parse(part)
        tree = ET.Element("annotations")
        ET.SubElement(tree, "version").text = "1.1"
        labels = ET.SubElement(ET.SubElement(ET.SubElement(tree, "meta"), "task"), "labels")
        ignored = any(shape.get("label") == IGNORED_CLASS for image in images.values() for shape in image)
        for name in dict.fromkeys([*self.class_names, *([IGNORED_CLASS] if ignored else [])]):
            ET.SubElement(ET.SubElement(labels, "label"), "name").text = name
        for number, name in enumerate(sorted(images)):
            image = images[name]
            image.attrib = {"id": str(number), **{key: image.attrib[key] for key in image.attrib if key != "id"}}
            tree.append(image)
        ET.indent(tree)
        with atomic_write(path) as temporary:
            ET.ElementTree(tree).write(temporary, encoding="utf-8", xml_declaration=True)
        self._composed_names = frozenset(images)
        shutil.rmtree(self.parts, ignore_errors=True)


def _element(mark: CellMark, size: tuple[int, int]) -> ET.Element | None:
    """Return the element of a mark; None for a mask without a pixel in the image."""
    shape = mark.shape
    if isinstance(shape, Box):
        corners = zip(("xtl", "ytl", "xbr", "ybr"), shape, strict=True)
        return ET.Element("box", {key: _text(value) for key, value in corners})
    if isinstance(shape, Point):
        return ET.Element("points", {"points": f"{_text(shape.x)},{_text(shape.y)}"})
    outline = outline_of(shape)
    if len(outline.rings) == 1 and not outline.holes:
        points = ";".join(f"{_text(x)},{_text(y)}" for x, y in outline.rings[0].tolist())
        return ET.Element("polygon", {"points": points})
    pixels = trimmed(shape, size)
    if not pixels.mask.size:
        return None
    height, width = pixels.mask.shape
    window = {"left": pixels.x, "top": pixels.y, "width": width, "height": height}
    rle = ", ".join(map(str, runs_of_mask(pixels.mask)))
    return ET.Element("mask", {"rle": rle, **{key: str(value) for key, value in window.items()}})


def _text(value: float) -> str:
    return f"{value:.2f}" if round(value, 2) == value else repr(float(value))


CVAT = MarkFormat("cvat", "CVAT", find, load)
