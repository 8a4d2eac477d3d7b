"""Detection of the format of a folder of label images: ids, colours, or one mask per cell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from smearsynth.errors import DataError
from smearsynth.formats.label_images.cell_masks import find_cell_masks
from smearsynth.formats.label_images.label_checks import clean_labels
from smearsynth.formats.label_images.label_summary import LabelSummary
from smearsynth.formats.label_images.pairs import find_groups, find_pairs
from smearsynth.formats.pixels.images import is_coloured, read_ids

_SAMPLE = 8
# Labels have a few cells in two pieces; a palette has about ten colours for all cells.
_MIN_REPEATED = 0.3


def label_format(root: Path) -> str | None:
    """Return the format of the label images of a folder, or None if it has none.

    Parameters
    ----------
    root : Path

    Returns
    -------
    {"labels", "palette", "cell-masks"} or None

    Raises
    ------
    DataError
        If images have no label images, or a file cannot be read.
    """
    groups = list(find_groups(root))
    if not any(group.labels for group in groups):
        return None
    if find_cell_masks(root, groups) is not None:
        return "cell-masks"
    entries = find_pairs(root, groups).entries
    files = [entry.annotation for entry in entries[:: max(1, len(entries) // _SAMPLE)]]
    first = files[0]
    if first.suffix.lower() == ".npy" or not is_coloured(first):
        return "labels"
    return "labels" if is_indexed(first) and not index_is_colour(files) else "palette"


def is_indexed(path: Path) -> bool:
    """Test whether an image stores an index per pixel, with a palette of colours."""
    try:
        with Image.open(path) as image:
            return image.mode == "P"
    except OSError:
        return False


def index_is_colour(files: Sequence[Path]) -> bool:
    """Test whether the indices of indexed images are colours, which separate cells share, and not ids of cells.

    Parameters
    ----------
    files : sequence of Path
        Indexed images.
    """
    summaries = []
    for path in files:
        try:
            indices = read_ids(path)
        except DataError:
            continue
        # Programs that reduce colours number them in any order: black is the background whatever its index.
        most = int(np.bincount(indices.ravel()).argmax()) if indices.size else 0
        if most != 0 and _colour(path, most) == (0, 0, 0):
            return True
        summaries.append(clean_labels(LabelSummary.of(indices)).summary)
    repeated = sum(int((summary.pieces.counts > 1).sum()) for summary in summaries)
    return repeated > 0 and repeated >= _MIN_REPEATED * sum(summary.count for summary in summaries)


def _colour(path: Path, index: int) -> tuple[int, ...]:
    with Image.open(path) as image:
        palette = image.getpalette() or []
    return tuple(palette[3 * index : 3 * index + 3])
