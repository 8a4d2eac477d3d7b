"""Agreement of an image with its labels: EXIF orientation, and labels that are turned or mirrored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from smearsynth.errors import DataError
from smearsynth.formats.pixels.images import exif_orientation, read_rgb
from smearsynth.smear import ImageArray, LabelArray

_MAX_SIDE = 160  # px; enough for the means of cells and surroundings
_MIN_CONTRAST = 10.0  # grey levels, of 255
_MIN_RATIO = 3.0
AS_LABELLED = "as labelled"
_RING = 0.5  # width of the surroundings, of the radius of a typical cell

Contrasts = dict[str, float]


def labels_fit(image: ImageArray, labels: LabelArray) -> Contrasts:
    """Return the contrast between cells and their surroundings as labelled, and with the labels turned or mirrored.

    Parameters
    ----------
    image : (H, W, 3) uint8 array
    labels : (H, W) int32 array
        0 = background.

    Returns
    -------
    dict of str to float
        Absolute difference of the means, of the colour channel with the largest, in grey levels. The key "as
        labelled" comes first; turns by 90° are included for square images. Empty if there are no cells or no
        surroundings.

    Examples
    --------
    >>> labels = np.zeros((20, 30), np.int32)
    >>> labels[2:6, 2:8] = 1
    >>> image = np.where(labels[::-1, ::-1, None] > 0, 100, 200).astype(np.uint8) * np.ones(3, np.uint8)
    >>> fits = labels_fit(image, labels)
    >>> fits["as labelled"], fits["turned by 180°"]
    (0.0, 100.0)
    """
    step = -(-max(labels.shape) // _MAX_SIDE)
    # Trimmed to whole steps, so that the pixels of a mirrored sample are those of the sample.
    rows, columns = (side - (side - 1) % step for side in labels.shape)
    window = np.s_[:rows:step, :columns:step]
    cells = labels[window] > 0
    pixels = image[window].astype(np.float32)
    ring = _surroundings(cells, labels[window])
    if not cells.any() or not ring.any():
        return {}
    weights = (cells / cells.sum() - ring / ring.sum()).astype(np.float32)
    fits = {}
    for name, turned in _turns(weights).items():
        fits[name] = round(float(np.abs(np.tensordot(turned, pixels, 2)).max()), 3)
    return fits


def _surroundings(cells: npt.NDArray[np.bool_], labels: LabelArray) -> npt.NDArray[np.bool_]:
    count = max(1, int((np.bincount(labels.ravel())[1:] > 0).sum()))
    radius = float(np.sqrt(cells.sum() / count / np.pi))
    size = 2 * max(1, round(_RING * radius)) + 1
    grown = ndimage.maximum_filter1d(cells.astype(np.uint8), size, axis=0)
    ring: npt.NDArray[np.bool_] = (ndimage.maximum_filter1d(grown, size, axis=1) > 0) & ~cells
    return ring


def _turns(array: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float32]]:
    turns = {
        AS_LABELLED: array,
        "turned by 180°": array[::-1, ::-1],
        "mirrored left to right": array[:, ::-1],
        "mirrored top to bottom": array[::-1],
    }
    if array.shape[0] == array.shape[1]:
        transposed = array.T
        turns |= {
            "turned by 90°": transposed[::-1],
            "turned by 270°": transposed[:, ::-1],
            "mirrored along a diagonal": transposed,
            "mirrored along the other diagonal": transposed[::-1, ::-1],
        }
    return turns


def best_turn(fits: Contrasts) -> str | None:
    """Return the turn under which the labels fit the image far better than as labelled, or None.

    Examples
    --------
    >>> best_turn({"as labelled": 2.0, "turned by 180°": 40.0})
    'turned by 180°'
    """
    if not fits:
        return None
    best = max(fits, key=fits.__getitem__)
    clear = fits[best] > max(_MIN_CONTRAST, _MIN_RATIO * fits[AS_LABELLED])
    return best if clear else None


def check_turn(image: ImageArray, labels: LabelArray) -> str | None:
    """Return a remark if the labels fit the image far better turned or mirrored, or None.

    Parameters
    ----------
    image : (H, W, 3) uint8 array
    labels : (H, W) int32 array

    Examples
    --------
    >>> labels = np.zeros((20, 30), np.int32)
    >>> labels[2:6, 2:8] = 1
    >>> image = np.where(labels[:, ::-1, None] > 0, 100, 200).astype(np.uint8) * np.ones(3, np.uint8)
    >>> check_turn(image, labels)
    'labels seem rotated against the image: they fit it better mirrored left to right'
    """
    turn = best_turn(labels_fit(image, labels))
    return None if turn is None else f"labels seem rotated against the image: they fit it better {turn}"


def oriented_image(path: Path, labels: LabelArray, source: Path | None = None) -> tuple[ImageArray, str | None]:
    """Decode an image with the EXIF orientation under which its labels fit.

    Programs for annotation may ignore the EXIF orientation; then the labels belong to the stored pixels.

    Parameters
    ----------
    path : Path
        The image.
    labels : (H, W) int32 array
    source : Path, optional
        The annotation file, for messages.

    Returns
    -------
    image : (H, W, 3) uint8 array
    remark : str or None
        What was done with an EXIF orientation other than 1.

    Raises
    ------
    DataError
        If the image cannot be read, or has another size than the labels.
    """
    orientation = exif_orientation(path)
    image = read_rgb(path)
    if orientation == 1:
        _check_size(path, image, labels, source, "")
        return image, None
    stored = read_rgb(path, oriented=False)
    remark = f"EXIF orientation {orientation}"
    if labels.shape not in (image.shape[:2], stored.shape[:2]):
        _check_size(path, image, labels, source, f" ({remark})")
    if image.shape[:2] != stored.shape[:2]:
        if labels.shape == stored.shape[:2]:
            return stored, f"{remark} not applied, because the labels have the size of the stored pixels"
        return image, f"{remark} applied"
    applied, as_stored = (labels_fit(pixels, labels).get(AS_LABELLED, 0.0) for pixels in (image, stored))
    if as_stored > applied:
        clear = as_stored > max(_MIN_CONTRAST, _MIN_RATIO * applied)
        fit = "fit the stored pixels" if clear else "fit the stored pixels slightly better; check it"
        return stored, f"{remark} not applied, because the labels {fit}"
    clear = applied > max(_MIN_CONTRAST, _MIN_RATIO * as_stored)
    return image, f"{remark} applied" + ("" if clear else "; check that the labels fit")


def _check_size(path: Path, image: ImageArray, labels: LabelArray, source: Path | None, note: str) -> None:
    if labels.shape == image.shape[:2]:
        return
    size, own = (f"{array.shape[1]}×{array.shape[0]}" for array in (image, labels))
    turned = " (turned by 90°?)" if labels.shape == image.shape[1::-1] else ""
    subject = "is" if source is not None else "has labels of"
    raise DataError(
        f"{subject} {own} px, but its image {path}{note} is {size} px{turned}; both must have the same size",
        source or path,
    )
