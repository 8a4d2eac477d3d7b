"""Whether an annotator marked all cells, some of them, or only cells of a rare kind."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from smearsynth.annotation.labelling import labels_from_image
from smearsynth.formats.pixels.images import read_rgb
from smearsynth.labelling.sources import ImageSource, Marks, marks_of
from smearsynth.smear import ImageArray

_SAMPLE = 8  # images that are looked at
# Below, the annotation is of a rare kind of cell, such as white cells; above, it is complete up to artefacts.
_MIN_FRACTION, _MAX_FRACTION = 0.25, 0.85


def leaves_cells_out(sources: Sequence[ImageSource], diameter: float | None = None) -> bool:
    """Test whether an annotation marks a part of the cells, so that the others should be labelled too.

    Parameters
    ----------
    sources : sequence of ImageSource
    diameter : float, optional
        Mean diameter of the red cells in px. Default: estimated for each image.

    Returns
    -------
    bool
        Whether marks are in 25 to 85 % of the visible cells of a sample of the images.
    """
    marked = visible = 0
    for source in sources[:: max(1, len(sources) // _SAMPLE)][:_SAMPLE]:
        if source.annotation is None:
            continue
        image = read_rgb(source.path)
        counts = marked_cells(image, marks_of(source.annotation, (image.shape[0], image.shape[1])), diameter)
        marked, visible = marked + counts[0], visible + counts[1]
    return visible > 0 and _MIN_FRACTION <= marked / visible <= _MAX_FRACTION


def marked_cells(image: ImageArray, marks: Marks, diameter: float | None = None) -> tuple[int, int]:
    """Return the number of visible whole cells with a mark in them, and of all visible whole cells."""
    labels = labels_from_image(image, diameter=diameter).labels
    cut = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    whole = np.setdiff1d(np.unique(labels), [0, *cut])
    centres = np.concatenate([marks.points, (marks.boxes[:, :2] + marks.boxes[:, 2:]) / 2])
    columns, rows = np.floor(centres).astype(np.int64).T
    inside = (columns >= 0) & (columns < labels.shape[1]) & (rows >= 0) & (rows < labels.shape[0])
    hit = np.unique(labels[rows[inside], columns[inside]])
    return len(np.intersect1d(whole, hit)), len(whole)
