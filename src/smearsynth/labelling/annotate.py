"""Instance labels of photographs from boxes, points or the image alone, and corrections of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from smearsynth.annotation.labelling import (
    CellLabels,
    labels_from_boxes,
    labels_from_image,
    labels_from_points,
)
from smearsynth.annotation.record import LabelsFrom
from smearsynth.datasets import open_smears
from smearsynth.errors import DataError, OptionError
from smearsynth.formats.label_images.labels import LabelWriter
from smearsynth.formats.pixels.images import read_rgb
from smearsynth.formats.registry import open_reader
from smearsynth.geometry import Outline, fill
from smearsynth.labelling.corrections import merge_corrections
from smearsynth.labelling.page import write_doubt_page
from smearsynth.labelling.record import (
    LabelledCell,
    count_by_origin,
    read_cells,
    write_cells,
    write_provenance,
)
from smearsynth.labelling.score import LabelScore, score_labels
from smearsynth.labelling.sources import ImageSource, Marks, Sources, find_sources, marks_of, typical_class
from smearsynth.runs import Execution, StopRequest
from smearsynth.smear import ImageArray, LabelArray, Smear

PAGE_FILE = "cells-by-doubt.html"
_CORRECTED: LabelsFrom = "outline"


class SecondOpinion(Protocol):
    """A segmentation model: labels (H, W) int32 of an image (H, W, 3) uint8."""

    def __call__(self, image: ImageArray) -> LabelArray: ...  # noqa: D102


@dataclass(frozen=True)
class AnnotationReport:
    """What `annotate` labelled.

    Parameters
    ----------
    read_from : str
        What the labels were made from, such as "Pascal VOC boxes, 4,888 in 364 images".
    images, total : int
        Images with labels, and all images; fewer after Ctrl-C or if some cannot be read.
    cells : int
    labels_from : dict of str to int
        Number of cells by what they were made from.
    changed : int
        Cells that a correction changed, added or removed.
    problems : tuple of str
        Images that cannot be read, one line each.
    notes : tuple of str
    score : LabelScore or None
    """

    read_from: str
    images: int
    total: int
    cells: int
    labels_from: dict[str, int]
    changed: int = 0
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    score: LabelScore | None = None

    def as_dict(self) -> dict[str, object]:
        """Return the fields as a dictionary for JSON; those of the score are on the top level."""
        fields = {name: value for name, value in asdict(self).items() if name != "score"}
        return fields | ({} if self.score is None else self.score.as_dict())


def annotate(
    images: Path | str,
    output: Path | str,
    *,
    boxes: Path | str | None = None,
    points: Path | str | None = None,
    corrections: Path | str | None = None,
    format: str = "auto",
    from_image: bool = False,
    diameter: float | None = None,
    second_opinion: SecondOpinion | None = None,
    score: Path | str | None = None,
    page: bool = True,
    execution: Execution = Execution(),
) -> AnnotationReport:
    """Make instance labels of photographs; the same call continues an interrupted one.

    Parameters
    ----------
    images : Path or str
        Image, folder of images, or folder of a data set with boxes or points.
    output : Path or str
        Receives ``images/`` and ``labels/``, ``cells.csv`` with the confidence of each cell, and
        ``cells-by-doubt.html``. It can be used for training as it is.
    boxes, points : Path or str, optional
        File or folder with boxes, or with one point per cell. Default: those in `images`; if there are none, the
        labels are made from the images alone.
    corrections : Path or str, optional
        Outlines that were corrected in another program. Only the changed cells of an earlier output are replaced.
    format : str
        Format of boxes, points or corrections; one of `smearsynth.formats.READ_FORMATS` or "auto".
    from_image : bool
        Ignore boxes and points in `images`.
    diameter : float, optional
        Mean diameter of the red cells in px. Default: estimated for each image.
    second_opinion : callable, optional
        Returns the labels of an image that a segmentation model predicts.
    score : Path or str, optional
        True annotation of the same images, to compare the labels with.
    page : bool
        Write ``cells-by-doubt.html``.
    execution : Execution
        Receiver of the progress.

    Returns
    -------
    AnnotationReport

    Raises
    ------
    DataError
        If there are no images, or marks cannot be read, or the folder holds other files.
    OptionError
        If options contradict each other, or the images are annotated with outlines already.

    Examples
    --------
    >>> import tempfile
    >>> from PIL import Image
    >>> folder = Path(tempfile.mkdtemp())
    >>> Image.new("RGB", (60, 40), "white").save(folder / "field.png")
    >>> annotate(folder / "field.png", folder / "labelled").cells
    0
    """
    if boxes is not None and points is not None:
        raise OptionError("give boxes or points, not both; call the function once for each")
    output, progress = Path(output), execution.progress
    if corrections is not None:
        if boxes is not None or points is not None or from_image:
            raise OptionError("corrections change the labels of an earlier call; leave out boxes and points")
        report = _correct(output, Path(corrections), format)
    else:
        marks = next((Path(path) for path in (boxes, points) if path is not None), None)
        kind = "box" if boxes is not None else "point" if points is not None else "any"
        sources = find_sources(Path(images), marks, kind, format, progress, from_image=from_image)
        report = _label_images(sources, output, diameter, second_opinion, execution)
    if page and report.images:
        write_doubt_page(output / PAGE_FILE, open_smears(output, classes="auto"), read_cells(output))
    if score is not None and report.images:
        result = score_labels(open_smears(output), read_cells(output), score)
        report = replace(report, score=result)
    return report


def _label_images(
    sources: Sources,
    output: Path,
    diameter: float | None,
    second_opinion: SecondOpinion | None,
    execution: Execution,
) -> AnnotationReport:
    class_names = sources.class_names
    writer = LabelWriter(output, class_names)
    cells = read_cells(output)
    typical = typical_class(_class_counts(sources), class_names)
    problems: list[str] = []
    with StopRequest() as stop:
        try:
            for done, source in enumerate(sources.images, 1):
                if stop.requested:
                    break
                if source.name not in cells or not writer.is_written(source.name):
                    try:
                        smear, rows = label_image(source, class_names, typical, diameter, second_opinion)
                        writer.write(smear)
                        cells[source.name] = rows
                    except DataError as error:
                        problems.append(str(error))
                execution.progress.advance("labelling", done, len(sources.images))
        finally:
            # An image without a cell has no row; it is labelled again, which takes the same time as to test it.
            writer.finish()
            labelled = [cell for rows in cells.values() for cell in rows]
            write_cells(output, labelled)
            write_provenance(output, labelled, sources.found)
    counts = count_by_origin(labelled)
    written = sum(writer.is_written(source.name) for source in sources.images)
    return AnnotationReport(
        sources.found,
        written,
        len(sources.images),
        len(labelled),
        counts,
        problems=tuple(problems),
        notes=sources.notes,
    )


def _class_counts(sources: Sources) -> Mapping[str, int]:
    return Counter(
        cell.class_name for source in sources.images if source.annotation for cell in source.annotation.cells
    )


def label_image(
    source: ImageSource,
    class_names: tuple[str, ...],
    typical: str,
    diameter: float | None = None,
    second_opinion: SecondOpinion | None = None,
) -> tuple[Smear, list[LabelledCell]]:
    """Label one image.

    Parameters
    ----------
    source : ImageSource
    class_names : tuple of str
        Names of the classes of all images.
    typical : str
        Class of cells that no mark names.
    diameter, second_opinion
        As in `annotate`.

    Returns
    -------
    smear : Smear
    cells : list of LabelledCell
        One per cell of the smear.
    """
    image = read_rgb(source.path)
    size = (image.shape[0], image.shape[1])
    opinion = None if second_opinion is None else second_opinion(image)
    annotation = source.annotation
    if annotation is None:
        found = labels_from_image(image, diameter=diameter, second_opinion=opinion)
        drawn = _Labelled(
            found.labels, found.confidence, [typical] * len(found.confidence), ["image"] * len(found.confidence)
        )
        ignored = None
    else:
        marks = marks_of(annotation, size)
        drawn, ignored = _from_marks(image, marks, typical, diameter, opinion), marks.ignored
    index = {name: k for k, name in enumerate(class_names)}
    smear = Smear.from_labels(
        image,
        drawn.labels,
        np.array([index[name] for name in drawn.classes], np.int64),
        class_names=class_names,
        um_per_px=None if annotation is None else annotation.um_per_px,
        name=source.name,
        ignored=ignored,
    )
    ids = np.unique(drawn.labels[drawn.labels > 0]) - 1
    rows = _rows(smear, drawn.confidence[ids], [drawn.labels_from[k] for k in ids])
    return smear, rows


@dataclass
class _Labelled:
    """Labels of an image with a confidence, class and origin per cell."""

    labels: LabelArray
    confidence: npt.NDArray[np.float64]
    classes: list[str]
    labels_from: list[LabelsFrom]


def _from_marks(
    image: ImageArray, marks: Marks, typical: str, diameter: float | None, opinion: LabelArray | None
) -> _Labelled:
    found: CellLabels
    kind: LabelsFrom
    if len(marks.boxes) or not len(marks.points):
        found, names, kind = labels_from_boxes(image, marks.boxes, second_opinion=opinion), marks.box_classes, "box"
    else:
        found = labels_from_points(image, marks.points, diameter=diameter, second_opinion=opinion)
        names, kind = marks.point_classes, "point"
    classes = [names[k] if k >= 0 else typical for k in found.source.tolist()]
    origins: list[LabelsFrom] = [kind if k >= 0 else "image" for k in found.source.tolist()]
    labels, confidence = found.labels, found.confidence
    # Cells that are outlined already are drawn over those that were found.
    for outline, name in zip(marks.outlines, marks.outline_classes, strict=True):
        labels = _draw_over(labels, outline, len(confidence) + 1)
        confidence = np.append(confidence, 1.0)
        classes.append(name)
        origins.append(_CORRECTED)
    return _Labelled(labels, confidence, classes, origins)


def _draw_over(labels: LabelArray, outline: Outline, label: int) -> LabelArray:
    pixels = fill(outline, (labels.shape[0], labels.shape[1]))
    rows, columns = pixels.mask.shape
    labels[pixels.y : pixels.y + rows, pixels.x : pixels.x + columns][pixels.mask] = label
    return labels


def _rows(smear: Smear, confidence: npt.NDArray[np.float64], labels_from: list[LabelsFrom]) -> list[LabelledCell]:
    return [
        LabelledCell(
            smear.name, k + 1, smear.class_names[smear.classes[k]], float(confidence[k]), labels_from[k], tuple(box)
        )
        for k, box in enumerate(smear.boxes().tolist())
    ]


def _correct(output: Path, corrections: Path, format: str) -> AnnotationReport:
    """Replace the cells of an earlier output that a correction changed."""
    cells = read_cells(output)
    if not cells:
        raise DataError("contains no labels of `smearsynth annotate`; make them first, then correct them", output)
    present = open_smears(output, classes="auto")
    reader = open_reader(corrections, format, classes="annotated", images=output / "images")
    if not reader.shows_cells:
        raise reader.no_outlines()
    corrected = {entry.name: entry for entry in reader.entries}
    unknown = sorted(corrected.keys() - set(present.names))
    if unknown:
        raise DataError(f"corrects {unknown[0]}, which is not among the labelled images of {output}", corrections)
    names = tuple(dict.fromkeys((*present.class_names, *reader.class_names)))
    if names != present.class_names:
        extra = ", ".join(names[len(present.class_names) :])
        raise DataError(f"has the classes {extra}, which the labels lack; name them as in {output}", corrections)
    changed = 0
    writer = LabelWriter(output, present.class_names)
    for index, name in enumerate(present.names):
        if name not in corrected:
            continue
        smear, rows, count = _corrected_smear(present[index], cells.get(name, []), reader.read(corrected[name]))
        if count:
            writer.write(smear)
            cells[name] = rows
            changed += count
    writer.finish()
    labelled = [cell for rows in cells.values() for cell in rows]
    write_cells(output, labelled)
    write_provenance(output, labelled, f"corrections: {reader.found}")
    counts = count_by_origin(labelled)
    return AnnotationReport(
        reader.found, len(present), len(present), len(labelled), counts, changed, notes=reader.notes
    )


def _corrected_smear(
    smear: Smear, rows: list[LabelledCell], correction: Smear
) -> tuple[Smear, list[LabelledCell], int]:
    """Return the smear with the corrections, its rows, and the number of cells that differ."""
    merged = merge_corrections(smear.labels, correction.labels)
    row_of = {row.instance: row for row in rows}
    removed = smear.count - int((merged.present > 0).sum())
    classes, confidence = [], []
    origins: list[LabelsFrom] = []
    changed = removed
    index = {name: k for k, name in enumerate(smear.class_names)}
    for present, corrected in zip(merged.present.tolist(), merged.corrected.tolist(), strict=True):
        name = correction.class_names[correction.classes[corrected - 1]]
        kind = index.get(name, int(smear.classes[present - 1]) if present else 0)
        same = present > 0 and (kind == smear.classes[present - 1] or len(correction.class_names) == 1)
        row = row_of.get(present) if same else None
        classes.append(int(smear.classes[present - 1]) if same else kind)
        confidence.append(1.0 if row is None else row.confidence)
        origins.append(_CORRECTED if row is None else row.labels_from)
        changed += int(not same and present > 0)
    added = int((merged.present == 0).sum())
    result = Smear.from_labels(
        smear.image,
        merged.labels,
        np.array(classes, np.int64),
        class_names=smear.class_names,
        um_per_px=smear.um_per_px,
        name=smear.name,
        ignored=correction.ignored if correction.ignored is not None else smear.ignored,
        full_outlines=None,
    )
    count = max(changed, added) if removed and added else changed + added
    return result, _rows(result, np.array(confidence, np.float64), origins), count
