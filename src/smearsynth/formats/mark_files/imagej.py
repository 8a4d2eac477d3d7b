"""ImageJ and Fiji: regions of interest (ROI) in `NAME.zip` or `NAME.roi`, or in the overlay of a TIFF image."""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

import numpy as np
import tifffile
from roifile import ROI_OPTIONS, ROI_SUBTYPE, ROI_TYPE, ImagejRoi

from smearsynth.annotation.record import FieldAnnotation, LabelsFrom
from smearsynth.errors import DataError
from smearsynth.files import atomic_write, describe_read_error
from smearsynth.formats.base import AnnotationFiles, MarkFormat
from smearsynth.formats.finding import files_below, split_of_path
from smearsynth.formats.listing import check_file_stem, image_files
from smearsynth.formats.mark_files.figures import (
    Figure,
    Place,
    add_figures,
    annotation_of_marks,
    ellipse,
    marks_to_write,
    nested,
    outline_of,
)
from smearsynth.formats.mark_files.marks import MarkList, class_names_of
from smearsynth.formats.writing import MarkWriter
from smearsynth.geometry import Box, Outline, Point, Ring, Shape, bounds

ROI_FOLDER = "rois"
_MAX_ROI_BYTES = 1 << 26
_FIRST_FILES = 3
_AREAS = (ROI_TYPE.POLYGON, ROI_TYPE.FREEHAND, ROI_TYPE.TRACED)
# Names that the ROI manager gives to a file if the user gives none.
_NO_IMAGE_NAME = re.compile(r"roi[_ -]?set|rois?|\d{4,5}(-\d{4,5}){1,3}", re.IGNORECASE)
_ENDINGS = re.compile(r"([_ .-]?roi[_ -]?set|[_ .-]rois?)$|^roi[_ -]?set[_ .-]", re.IGNORECASE)
_DAMAGED = (
    ValueError,
    struct.error,
    IndexError,
    TypeError,
    AssertionError,
    RuntimeError,
    OverflowError,
    MemoryError,
)


def find(root: Path) -> list[Path]:
    """Return the ROI files below a folder, or the file itself; without any, TIFF images with an overlay.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.roi"
    >>> path.write_bytes(ImagejRoi.frompoints([[0, 0], [4, 0], [4, 4]]).tobytes()) > 64
    True
    >>> find(path.parent) == [path]
    True
    """
    files = [path for path in files_below(root, {".roi", ".zip"}) if _has_rois(path)]
    if files:
        return files
    groups: dict[Path, list[Path]] = {}
    for path in files_below(root, {".tif", ".tiff"}):
        groups.setdefault(path.parent, []).append(path)
    return sorted(path for group in groups.values() if any(map(_overlay, group[:_FIRST_FILES])) for path in group)


def _has_rois(path: Path) -> bool:
    if path.suffix.lower() == ".roi":
        with path.open("rb") as file:
            return file.read(4) == b"Iout"
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.lower().endswith(".roi") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile, ValueError):
        return False


def _overlay(path: Path) -> list[bytes]:
    """Return the ROIs in the ImageJ tag of a TIFF file."""
    try:
        with tifffile.TiffFile(path) as tiff:
            metadata = tiff.imagej_metadata or {}
    except (OSError, tifffile.TiffFileError, *_DAMAGED):
        return []
    contents = (metadata.get(key) for key in ("Overlays", "ROI"))
    rois = [roi for content in contents for roi in (content if isinstance(content, (list, tuple)) else [content])]
    return [roi for roi in rois if isinstance(roi, bytes)]


def load(root: Path, files: list[Path]) -> AnnotationFiles:
    """Read ROI files.

    The image is named by the file; "RoiSet.zip" and names of single ROIs, such as "0012-0034.roi", belong to the
    only image of their folder, else to the image with the name of the folder. Polygons, freehand and traced
    outlines, rectangles, ovals, composites and points are read. The class is the property "class" of an ROI, which
    `ImageJWriter` writes, else its group.

    Raises
    ------
    DataError
        If a file is damaged; the message names the ROI.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.roi"
    >>> _ = path.write_bytes(ImagejRoi.frompoints([[0, 0], [4, 0], [4, 4]], name="c1").tobytes())
    >>> field = load(path.parent, [path]).fields[0]
    >>> field.image, field.cells[0].id, field.cells[0].shape.rings[0].tolist()
    ('a', 'c1', [[0.0, 0.0], [4.0, 0.0], [4.0, 4.0]])
    """
    lists: dict[str, MarkList] = {}
    splits: dict[str, str | None] = {}
    for path in files:
        rois = list(_rois(path))
        if not rois and path.suffix.lower() not in (".roi", ".zip"):
            continue
        image = _image_of(path)
        marks = lists.setdefault(f"{path.parent}/{image}", MarkList(image, path))
        splits.setdefault(f"{path.parent}/{image}", split_of_path(path, root))
        figures: list[Figure] = []
        for number, (name, roi) in enumerate(rois, 1):
            figures += _figures(roi, name or str(number), Place(path, f"ROI {name or number}"), marks)
        add_figures(marks, figures)
    fields = [annotation_of_marks(marks, split=splits[key]) for key, marks in lists.items()]
    return AnnotationFiles(fields, class_names_of(list(lists.values())))


def _image_of(path: Path) -> str:
    if path.suffix.lower() not in (".roi", ".zip"):
        return path.name
    if not _NO_IMAGE_NAME.fullmatch(path.stem):
        return _ENDINGS.sub("", path.stem)
    images = image_files(path.parent)
    return images[0].name if len(images) == 1 else path.parent.name


def _rois(path: Path) -> Iterator[tuple[str, ImagejRoi]]:
    """Yield the name and content of the ROIs of a file, in stacking order."""
    for entry, data in _roi_bytes(path):
        place = Place(path, f"ROI {entry}" if entry else "the ROI")
        if len(data) > _MAX_ROI_BYTES:
            raise place.error("it is larger than 64 MB")
        try:
            roi = ImagejRoi.frombytes(data)
        except _DAMAGED as error:
            raise place.error(f"it is not an ImageJ ROI ({' '.join(str(error).split())[:80]})") from error
        yield roi.name or Path(entry).stem, roi


def _roi_bytes(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        if path.suffix.lower() == ".zip":
            with zipfile.ZipFile(path) as archive:
                for info in archive.infolist():
                    if info.filename.lower().endswith(".roi"):
                        with archive.open(info) as file:
                            yield info.filename, file.read(_MAX_ROI_BYTES + 1)
        elif path.suffix.lower() == ".roi":
            with path.open("rb") as file:
                yield path.name, file.read(_MAX_ROI_BYTES + 1)
        else:
            yield from (("", data) for data in _overlay(path))
    except OSError as error:
        raise DataError(describe_read_error(error), path) from error
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise DataError(f"is not a readable ZIP file ({error}); save the ROIs again", path) from error


def _figures(roi: ImagejRoi, name: str, place: Place, marks: MarkList) -> Iterator[Figure]:
    if max(roi.z_position, roi.t_position) > 1:
        marks.left_out["marks on other planes of a stack"] += 1
        return
    try:
        shapes = _shapes(roi)
    except NotImplementedError:
        marks.left_out["composite ROIs with curves"] += 1
        return
    except _DAMAGED as error:
        raise place.error(f"it is damaged ({' '.join(str(error).split())[:80]})") from error
    if shapes is None:
        kind = roi.subtype if roi.subtype in (ROI_SUBTYPE.TEXT, ROI_SUBTYPE.IMAGE) else roi.roitype
        marks.left_out[f"{kind.name.lower()} ROIs"] += 1
        return
    class_name = _class_name(roi)
    for k, shape in enumerate(shapes, 1):
        yield Figure(shape, class_name, name if len(shapes) == 1 else f"{name}-{k}")


def _class_name(roi: ImagejRoi) -> str:
    for line in roi.props.splitlines():
        key, separator, value = line.partition(":")
        if separator and key.strip().lower() == "class" and value.strip():
            return value.strip()
    return f"group {roi.group}" if roi.group else "cell"


def _shapes(roi: ImagejRoi) -> list[Shape] | None:
    """Return the shapes of a ROI, or None if it encloses no area and is no point."""
    if roi.subtype in (ROI_SUBTYPE.TEXT, ROI_SUBTYPE.IMAGE):
        return None
    if roi.composite:
        if roi.multi_coordinates is None:
            raise ValueError("no path")
        return [nested([_ring(path) for path in roi.coordinates(multi=True)])]
    if roi.roitype in (ROI_TYPE.RECT, ROI_TYPE.OVAL):
        box = Box(roi.left, roi.top, roi.right, roi.bottom)
        if roi.subpixelrect:
            box = Box(roi.xd, roi.yd, roi.xd + roi.widthd, roi.yd + roi.heightd)
        if not np.isfinite(box).all():
            raise ValueError("its corners are not finite")
        if roi.roitype == ROI_TYPE.RECT:
            return [box]
        radii = (box.x1 - box.x0) / 2, (box.y1 - box.y0) / 2
        return [ellipse((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2, *radii)]
    if roi.roitype == ROI_TYPE.POINT:
        # Whole numbers are the column and row of a pixel.
        shift = 0.5 if roi.subpixel_coordinates is None else 0.0
        return [Point(x + shift, y + shift) for x, y in _ring(roi.coordinates(), closed=False).tolist()]
    return [Outline((_ring(roi.coordinates()),))] if roi.roitype in _AREAS else None


def _ring(coordinates: object, *, closed: bool = True) -> Ring:
    # Damaged coordinates can be signalling NaN, about which NumPy would warn.
    with np.errstate(invalid="ignore"):
        ring = np.asarray(coordinates, np.float64).reshape(-1, 2)
    if not np.isfinite(ring).all():
        raise ValueError("its coordinates are not finite")
    # Paths of composites repeat their first corner.
    return ring[:-1] if closed and len(ring) > 1 and (ring[0] == ring[-1]).all() else ring


class ImageJWriter(MarkWriter):
    """Writer of `images/NAME.png` and `rois/NAME.zip`, which the ROI manager opens.

    A cell with holes or several parts becomes a composite ROI. The class is the property "class" of the ROI, and
    its number from 1 is the group, by which ImageJ colours ROIs. Ignored regions have the class "ignore".
    Confidences are counted in `lost`.

    Parameters
    ----------
    folder : Path
    class_names : sequence of str
        At most 255 of them have a group.
    split_of : callable, optional
        Not used: ImageJ has no splits.
    """

    format = "imagej"
    kinds: ClassVar[frozenset[LabelsFrom]] = frozenset({"mask", "outline", "box", "point"})

    def _save_marks(self, name: str, size: tuple[int, int], annotation: FieldAnnotation, files: ExitStack) -> None:
        path = files.enter_context(atomic_write(self._zip_path(name)))
        names: set[str] = set()
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for k, mark in enumerate(marks_to_write(annotation), 1):
                self.lost["confidences"] += mark.confidence is not None
                roi = _roi(mark.shape)
                # The ROI manager shows the name of the entry, which must be unique and no path.
                label = mark.id if mark.id and re.fullmatch(r"[\w -]{1,100}", mark.id) else f"{k:04d}"
                roi.name = label if label not in names else f"{label} ({k})"
                names.add(roi.name)
                roi.props = f"class: {' '.join(mark.class_name.split())}\n"
                if mark.class_name in self.class_names[:255]:
                    roi.group = self.class_names.index(mark.class_name) + 1
                # A fixed date: the same smear gives the same file.
                archive.writestr(zipfile.ZipInfo(f"{roi.name}.roi"), roi.tobytes())

    def _zip_path(self, name: str) -> Path:
        return self.folder / ROI_FOLDER / f"{check_file_stem(name)}.zip"

    def is_written(self, name: str) -> bool:
        """Test whether image and ROIs of this name exist."""
        return self.image_path(name).exists() and self._zip_path(name).exists()

    def finish(self) -> None:
        """Do nothing: all files are complete."""


def _roi(shape: Shape) -> ImagejRoi:
    if isinstance(shape, Point):
        roi = ImagejRoi.frompoints(np.array([[shape.x, shape.y]], np.float64))
        roi.roitype = ROI_TYPE.POINT
        return roi
    roi = ImagejRoi()
    if isinstance(shape, Box):
        roi.roitype = ROI_TYPE.RECT
        roi.options = ROI_OPTIONS.SUB_PIXEL_RESOLUTION
        roi.xd, roi.yd, roi.widthd, roi.heightd = shape.x0, shape.y0, shape.x1 - shape.x0, shape.y1 - shape.y0
    else:
        outline = outline_of(shape)
        rings = (*outline.rings, *outline.holes)
        if len(rings) == 1:
            whole = not (rings[0] % 1).any()
            roi = ImagejRoi.frompoints(rings[0].astype(np.int64) if whole else rings[0])
            roi.roitype = ROI_TYPE.TRACED if whole else ROI_TYPE.POLYGON
            return roi
        roi.roitype = ROI_TYPE.RECT
        roi.multi_coordinates = np.concatenate([_path(ring) for ring in rings] or [np.zeros(0, np.float32)])
        roi.shape_roi_size = len(roi.multi_coordinates)
    x0, y0, x1, y1 = bounds(shape)
    roi.left, roi.top = int(np.floor(x0)), int(np.floor(y0))
    roi.right, roi.bottom = int(np.ceil(x1)), int(np.ceil(y1))
    return roi


def _path(ring: Ring) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """Return a ring as path of a composite ROI: 0 moves to x, y; 1 draws a line to x, y; 4 closes."""
    commands = np.concatenate([np.arange(len(ring))[:, None] > 0, ring], axis=1)
    return np.append(commands.ravel(), 4).astype(np.float32)


IMAGEJ = MarkFormat("imagej", "ImageJ ROI", find, load)
