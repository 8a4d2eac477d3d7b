"""Reader of formats that list marks of cells: it finds the images, and draws outlines and masks as labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from smearsynth.annotation.drawing import DrawnAnnotation, draw_annotation
from smearsynth.annotation.record import FieldAnnotation, kind_of
from smearsynth.errors import DataError
from smearsynth.formats.base import ONE_CLASS, ClassChoice, Entry, MarkFormat, Reader
from smearsynth.formats.finding import ImageIndex, split_of_path
from smearsynth.formats.label_images.labels import label_components, pixel_size
from smearsynth.formats.label_images.orientation import AS_LABELLED, check_turn, labels_fit
from smearsynth.formats.listing import image_name, read_splits
from smearsynth.formats.mark_files.marks import UNANNOTATED
from smearsynth.formats.pixels.images import exif_orientation, read_rgb
from smearsynth.formats.tables import read_metadata
from smearsynth.geometry import bounds
from smearsynth.smear import ImageArray, Smear

_FRACTION_NOTE = "coordinates from 0 to 1 are read as fractions of the image size"
_MAX_EXAMPLES = 3
_MAX_TESTED = 500  # marks that are looked at to recognise fractions
_KIND_NAMES = {"mask": "masks", "outline": "outlines", "box": "boxes", "point": "points"}
_ANNOTATION_FOLDERS = frozenset({"annotations", "annotation", "labels", "ann"})


class MarkReader(Reader):
    """Reader of images with outlines, masks, boxes or points in annotation files.

    The marks are kept in memory, the images are not. Where outlines overlap, the later one is on top.

    Parameters
    ----------
    root : Path
        Folder of the data set, or an annotation file.
    mark_format : MarkFormat
    files : list of Path
        Annotation files, from ``mark_format.find(root)``.
    classes : {"auto", "one", "annotated"}
        Classes of the cells, as for `smearsynth.datasets.open_smears`.
    binary : bool
        The connected components of the union of all marks become the instances.
    images : Path, optional
        Folder of the images. Default: the folder of the data set.

    Raises
    ------
    DataError
        If a file is damaged, or an image is missing or ambiguous.
    """

    def __init__(
        self,
        root: Path,
        mark_format: MarkFormat,
        files: list[Path],
        *,
        classes: ClassChoice = "auto",
        binary: bool = False,
        images: Path | None = None,
    ) -> None:
        super().__init__(root)
        self.format = mark_format.name
        folder = root if root.is_dir() else _data_folder(root)
        self._metadata = read_metadata(folder)
        self.detected = self._metadata is None
        self._binary = binary
        content = mark_format.load(root, files)
        fields, self.notes = _as_fractions(content.fields, content.notes)
        self._annotations: dict[str, FieldAnnotation] = {}
        self._subset = images is not None  # a named folder can hold some of the images of the file
        self.entries = self._index(fields, ImageIndex(images or folder), read_splits(folder))
        self.class_names = self._choose_classes(content.class_names, classes)
        self._class_index = {name: i for i, name in enumerate(self.class_names)}
        annotations = list(self._annotations.values())
        # A data set without any cell shows all there is.
        self.shows_cells = any(annotation.shows_cells for annotation in annotations) or not any(
            annotation.cells for annotation in annotations
        )
        self.found = _description(mark_format.title, annotations)

    def _choose_classes(self, names: tuple[str, ...], choice: ClassChoice) -> tuple[str, ...]:
        if self._binary or choice == "one" or (choice == "auto" and self._metadata is None):
            return ONE_CLASS
        if self._metadata is not None:
            return self._metadata.class_names
        return names or ONE_CLASS

    def _index(
        self, fields: Sequence[FieldAnnotation], images: ImageIndex, splits: dict[str, str]
    ) -> tuple[Entry, ...]:
        """Return the entries of the annotated images, sorted by name."""
        annotations = self._by_image(fields, images)
        stems = Counter(image_name(path.name) for path in annotations)
        entries = []
        for path, annotation in annotations.items():
            name = image_name(path.name)
            split = annotation.split or splits.get(name) or split_of_path(path, images.root)
            if stems[name] > 1:
                name = image_name("_".join(path.parts[len(images.root.parts) :]))
            self._annotations[name] = annotation
            entries.append(Entry(name, path, annotation.source, split))
        return tuple(sorted(entries, key=lambda entry: entry.name))

    def _by_image(self, fields: Sequence[FieldAnnotation], images: ImageIndex) -> dict[Path, FieldAnnotation]:
        annotations: dict[Path, FieldAnnotation] = {}
        missing: list[FieldAnnotation] = []
        for annotation in fields:
            path = images.find(annotation.image, annotation.source, annotation.split)
            if path is None:
                missing.append(annotation)
            elif path in annotations:
                raise DataError(
                    f"lists the image {path.name} twice (also {annotations[path].source.name}); remove one of them",
                    annotation.source,
                )
            elif self._metadata is None and annotation.left_out.get(UNANNOTATED) and not annotation.cells:
                self.report.record(image_name(path.name), 0, {UNANNOTATED: 1})
            else:
                annotations[path] = annotation
        if self._metadata is not None and not self._subset:
            # In a folder that smearsynth wrote, an image without a mark is a smear without a cell.
            for path in images.files:
                annotations.setdefault(path, FieldAnnotation(path.name, path))
        if missing and not (self._subset and annotations):
            raise _missing_images(missing, images.root)
        if missing:
            note = f"{len(missing)} of {len(fields)} images in the annotation are not in {images.root}"
            self.notes = (*self.notes, note)
        return annotations

    def annotation(self, entry: Entry) -> FieldAnnotation:
        """Return what the file says about an image."""
        return self._annotations[entry.name]

    def read(self, entry: Entry) -> Smear:
        """Decode one smear at full size.

        Raises
        ------
        DataError
            If the image cannot be read or has another size than the file says, or the file has only boxes or
            points.
        """
        if not self.shows_cells:
            raise self.no_outlines()
        annotation = self._annotations[entry.name]
        image, drawn, remarks = _drawn_on_image(annotation, entry)
        self.report.record(entry.name, len(drawn.cells), {**annotation.left_out, **drawn.left_out}, remarks)
        um_per_px = annotation.um_per_px or pixel_size(entry.image, self._metadata)
        if self._binary:
            labels = label_components(drawn.labels > 0)
            return Smear.from_labels(image, labels, um_per_px=um_per_px, name=entry.name, ignored=drawn.ignored)
        return Smear.from_labels(
            image,
            drawn.labels,
            self._classes(annotation, drawn.cells.tolist()),
            class_names=self.class_names,
            um_per_px=um_per_px,
            name=entry.name,
            ignored=drawn.ignored,
            full_outlines=drawn.full_outlines,
        )

    def _classes(self, annotation: FieldAnnotation, cells: list[int]) -> npt.NDArray[np.int64]:
        if self.class_names == ONE_CLASS:
            return np.zeros(len(cells), np.int64)
        return np.array([self._class_index[annotation.cells[k].class_name] for k in cells], np.int64)


def _data_folder(file: Path) -> Path:
    """Return the folder in which the images of an annotation file are searched."""
    folder = file.parent
    return folder.parent if folder.name.casefold() in _ANNOTATION_FOLDERS else folder


def _drawn_on_image(annotation: FieldAnnotation, entry: Entry) -> tuple[ImageArray, DrawnAnnotation, list[str]]:
    """Return the image, the labels drawn on it, and remarks.

    Raises
    ------
    DataError
        If the file lists another size than that of the image, as stored and with its EXIF orientation.
    """
    orientation = exif_orientation(entry.image)
    images = [read_rgb(entry.image)]
    if orientation != 1:  # programs for annotation may ignore it
        images.append(read_rgb(entry.image, oriented=False))
    fitting = [image for image in images if annotation.size in (None, image.shape[:2])]
    if not fitting:
        assert annotation.size is not None
        size, exif = images[0].shape, "" if orientation == 1 else f" (EXIF orientation {orientation} applied)"
        raise DataError(
            f"lists the size {annotation.size[1]}×{annotation.size[0]} px, but the image {entry.image}{exif} is "
            f"{size[1]}×{size[0]} px; correct the size or replace the image",
            entry.annotation,
        )
    drawings = [draw_annotation(annotation, (image.shape[0], image.shape[1])) for image in fitting]
    best = 0
    if len(fitting) > 1:
        pairs = zip(fitting, drawings, strict=True)
        best = int(np.argmax([labels_fit(image, drawn.labels).get(AS_LABELLED, 0.0) for image, drawn in pairs]))
    image, drawn = fitting[best], drawings[best]
    remarks = [] if (turn := check_turn(image, drawn.labels)) is None else [turn]
    if orientation != 1:
        what = "applied" if image is images[0] else "not applied, because the outlines fit the stored pixels"
        remarks.append(f"EXIF orientation {orientation} {what}")
    return image, drawn, remarks


def _missing_images(missing: Sequence[FieldAnnotation], root: Path) -> DataError:
    names = ", ".join(annotation.image for annotation in missing[:_MAX_EXAMPLES])
    more = ", …" if len(missing) > _MAX_EXAMPLES else ""
    images = "1 image that does" if len(missing) == 1 else f"{len(missing)} images that do"
    return DataError(
        f"lists {images} not exist below {root} ({names}{more}); copy them there or remove them from the file",
        missing[0].source,
    )


def _as_fractions(
    fields: Sequence[FieldAnnotation], notes: tuple[str, ...]
) -> tuple[list[FieldAnnotation], tuple[str, ...]]:
    """Mark annotations as relative if no coordinate of any of them exceeds 1, as in exports in fractions."""
    marks = [cell.shape for annotation in fields if not annotation.relative for cell in annotation.cells]
    boxes = np.array([bounds(shape) for shape in marks[:_MAX_TESTED]], np.float64).reshape(-1, 4)
    if not len(boxes) or boxes.max() > 1 or (boxes == np.rint(boxes)).all():
        return list(fields), notes
    relative = [replace(annotation, relative=True) for annotation in fields]
    return relative, (*notes, f"{fields[0].source}: {_FRACTION_NOTE}")


def _description(title: str, annotations: Sequence[FieldAnnotation]) -> str:
    """Return for example "YOLO boxes, 1,240 in 60 images"."""
    kinds = Counter(kind_of(cell.shape) for annotation in annotations for cell in annotation.cells)
    names = " and ".join(_KIND_NAMES[kind] for kind in sorted(kinds, key=lambda kind: -kinds[kind]))
    images = "1 image" if len(annotations) == 1 else f"{len(annotations):,} images"
    return f"{title} {names or 'files'}, {kinds.total():,} in {images}"
