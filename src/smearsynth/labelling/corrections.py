"""Corrections that were made by hand in another program: only the changed cells replace the present ones."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from smearsynth.annotation.record import LabelsFrom
from smearsynth.datasets import open_smears
from smearsynth.errors import DataError
from smearsynth.formats.label_images.labels import LabelWriter
from smearsynth.formats.registry import open_reader_with_classes
from smearsynth.labelling.image_labels import cell_rows
from smearsynth.labelling.record import LabelledCell, read_cells, write_cells
from smearsynth.metrics.matching import label_ious, match
from smearsynth.smear import LabelArray, Smear

# Programs that store outlines with two decimals, or smooth them, change single pixels at the outline.
_SAME_IOU = 0.98
_MAX_CHANGED = 4  # px of a small cell


class CorrectionResult(NamedTuple):
    """What `correct_labels` changed.

    Parameters
    ----------
    found : str
        What was read, such as "QuPath GeoJSON outlines, 1,240 in 6 images".
    cells : dict of str to list of LabelledCell
        The cells of each smear after the correction.
    changed : int
        Cells that were changed, added or removed.
    notes : tuple of str
    """

    found: str
    cells: dict[str, list[LabelledCell]]
    changed: int
    notes: tuple[str, ...]


class CorrectedLabels(NamedTuple):
    """Labels after a correction.

    Parameters
    ----------
    labels : (H, W) int32 array
        Ids 1..n.
    present : (n,) int64 array
        Present label of each cell that was not changed; 0 for a changed or a new cell.
    corrected : (n,) int64 array
        Label in the correction of each cell; 0 for none.
    """

    labels: LabelArray
    present: npt.NDArray[np.int64]
    corrected: npt.NDArray[np.int64]


def merge_corrections(present: LabelArray, correction: LabelArray) -> CorrectedLabels:
    """Merge the labels of a correction into the present labels.

    A cell of the correction that has the same outline as a present one, up to the rounding of coordinates, keeps
    its present pixels. All other cells of the correction are taken as they are; present cells that the correction
    lacks are removed.

    Parameters
    ----------
    present, correction : (H, W) int32 array
        Labels of the same image, ids 1..n and 1..m.

    Returns
    -------
    CorrectedLabels

    Raises
    ------
    DataError
        If the shapes differ.

    Examples
    --------
    >>> present = np.array([[1, 1, 0, 2, 2, 0, 3]], np.int32)
    >>> correction = np.array([[1, 1, 0, 0, 2, 2, 2]], np.int32)
    >>> merge_corrections(present, correction).present.tolist()
    [1, 0]
    """
    matches = match(label_ious(correction, present), 0.5)
    areas = np.bincount(present.ravel())
    kept = {}
    for (row, column), iou in zip(matches.pairs.tolist(), matches.ious.tolist(), strict=True):
        if iou >= _SAME_IOU or (1 - iou) * areas[column + 1] <= _MAX_CHANGED:
            kept[row + 1] = column + 1
    n = int(correction.max(initial=0))
    labels = np.where(np.isin(correction, [*kept, 0]), 0, correction).astype(np.int32)
    # Unchanged cells take their present pixels, but none that a changed cell has now.
    for corrected, old in kept.items():
        labels[(present == old) & (labels == 0)] = corrected
    ids = np.unique(labels[labels > 0])
    table = np.zeros(n + 1, np.int32)
    table[ids] = np.arange(1, len(ids) + 1)
    old_labels = np.array([kept.get(int(k), 0) for k in ids], np.int64)
    return CorrectedLabels(table[labels], old_labels, ids.astype(np.int64))


def correct_labels(output: Path, corrections: Path, format: str = "auto") -> CorrectionResult:
    """Replace the cells of a folder written by `annotate` that a correction changed.

    Parameters
    ----------
    output : Path
        Labelled smears; changed in place.
    corrections : Path
        Outlines of some or all of the images.
    format : str
        Format of the corrections, or "auto".

    Raises
    ------
    DataError
        If the folder holds no labels, or the corrections cannot be read, are of other images or have other classes.
    """
    cells = read_cells(output)
    if not cells:
        raise DataError("contains no labels of `smearsynth annotate`; make them first, then correct them", output)
    present = open_smears(output, classes="auto")
    reader = open_reader_with_classes(corrections, format, images=output / "images")
    if not reader.shows_cells:
        raise reader.no_outlines()
    corrected = {entry.name: entry for entry in reader.entries}
    _check_names(
        corrected.keys() - set(present.names), reader.class_names, present.class_names, output, corrections
    )
    changed = 0
    writer = LabelWriter(output, present.class_names, {e.name: e.split for e in present.entries}.get)
    for index, name in enumerate(present.names):
        if name in corrected:
            smear, rows, count = _corrected_smear(present[index], cells.get(name, []), reader.read(corrected[name]))
            if count:
                writer.write(smear)
                cells[name] = rows
                changed += count
    writer.finish()
    write_cells(output, (cell for rows in cells.values() for cell in rows))
    return CorrectionResult(reader.found, cells, changed, reader.notes)


def _check_names(
    unknown: set[str], names: tuple[str, ...], present: tuple[str, ...], output: Path, corrections: Path
) -> None:
    if unknown:
        raise DataError(f"corrects {min(unknown)}, which is not among the labelled images of {output}", corrections)
    extra = [name for name in names if name not in present]
    if extra and len(names) > 1:
        raise DataError(
            f"has the classes {', '.join(extra)}, which the labels lack; name them as in {output}", corrections
        )


def _corrected_smear(
    smear: Smear, rows: list[LabelledCell], correction: Smear
) -> tuple[Smear, list[LabelledCell], int]:
    """Return the smear with the corrections, its rows, and the number of cells that differ."""
    merged = merge_corrections(smear.labels, correction.labels)
    row_of = {row.instance: row for row in rows}
    index = {name: k for k, name in enumerate(smear.class_names)}
    classes, confidence = [], []
    origins: list[LabelsFrom] = []
    for present, corrected in zip(merged.present.tolist(), merged.corrected.tolist(), strict=True):
        before = int(smear.classes[present - 1]) if present else 0
        after = index.get(correction.class_names[correction.classes[corrected - 1]], before)
        row = row_of.get(present) if present and after == before else None
        classes.append(after)
        confidence.append(1.0 if row is None else row.confidence)
        origins.append("outline" if row is None else row.labels_from)
    result = Smear.from_labels(
        smear.image,
        merged.labels,
        np.array(classes, np.int64),
        class_names=smear.class_names,
        um_per_px=smear.um_per_px,
        name=smear.name,
        ignored=correction.ignored if correction.ignored is not None else smear.ignored,
    )
    unchanged = int((merged.present > 0).sum())
    renamed = sum(
        int(smear.classes[old - 1]) != kind
        for old, kind in zip(merged.present.tolist(), classes, strict=True)
        if old
    )
    # A cell that was drawn again counts once, not as one removed and one added.
    changed = max(smear.count, result.count) - unchanged + renamed
    return result, cell_rows(result, np.array(confidence, np.float64), origins), changed
