"""The Smear record: one microscope field with its instance labels and classes, and its invariants."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from smearsynth.errors import DataError, OptionError

ImageArray = npt.NDArray[np.uint8]  # (H, W, 3) RGB
LabelArray = npt.NDArray[np.int32]  # (H, W), 0 = background, 1..n = cell instances
Mask = npt.NDArray[np.bool_]  # (H, W)


@dataclass(frozen=True, eq=False)
class Smear:
    """One microscope field.

    Parameters
    ----------
    image : (H, W, 3) uint8 array
        RGB.
    labels : (H, W) int32 array
        Instance labels: 0 is background, 1..n the cells, each of which owns at least one pixel.
    classes : (n,) int64 array
        Index into `class_names` for instance ``k + 1``.
    class_names : tuple of str
        Names of the cell classes (background is none of them).
    um_per_px : float, optional
        Side of a pixel in µm.
    name : str
        Stem of the file it came from, or a name for a synthetic smear.

    Raises
    ------
    DataError
        When the parts do not fit together.

    Examples
    --------
    >>> labels = np.zeros((4, 6), np.int32)
    >>> labels[1:3, 1:3] = 1
    >>> smear = Smear(np.zeros((4, 6, 3), np.uint8), labels, np.array([0]))
    >>> smear.count, smear.shape, smear.areas().tolist()
    (1, (4, 6), [4])
    """

    image: ImageArray
    labels: LabelArray
    classes: npt.NDArray[np.int64]
    class_names: tuple[str, ...] = ("cell",)
    um_per_px: float | None = None
    name: str = ""

    def __post_init__(self) -> None:
        check_image(self.image, self.name)
        if self.labels.dtype != np.int32 or self.labels.ndim != 2:
            raise DataError(
                f"labels must be (H, W) int32, got {self.labels.shape} {self.labels.dtype}", self.name or None
            )
        if self.labels.shape != self.image.shape[:2]:
            raise DataError(
                f"image is {_size(self.image)} and labels are {_size(self.labels)}; they must be of one size",
                self.name or None,
            )
        n = len(self.classes)
        low, high = int(self.labels.min()), int(self.labels.max())
        if low < 0 or high > n:
            raise DataError(f"labels run from {low} to {high} for {n} classes given", self.name or None)
        if n and (missing := np.flatnonzero(self.areas() == 0)).size:
            raise DataError(
                f"instance {int(missing[0]) + 1} has no pixel; Smear.from_labels closes such gaps",
                self.name or None,
            )
        if n and (self.classes.min() < 0 or self.classes.max() >= len(self.class_names)):
            raise DataError(
                f"class ids run to {int(self.classes.max())} for {len(self.class_names)} class names",
                self.name or None,
            )

    @classmethod
    def from_labels(
        cls,
        image: npt.NDArray[np.generic],
        labels: npt.NDArray[np.integer],
        classes: npt.NDArray[np.integer] | None = None,
        *,
        class_names: Sequence[str] = ("cell",),
        um_per_px: float | None = None,
        name: str = "",
    ) -> Smear:
        """Make a smear from any integer labels; ids are closed up to 1..n in their order.

        Parameters
        ----------
        image : (H, W, 3) uint8 array
        labels : (H, W) integer array
            Any non-negative ids, with gaps or not.
        classes : (m,) integer array, optional
            Class of id ``k + 1`` for every id up to the largest one; all 0 by default.
        class_names, um_per_px, name
            As in `Smear`.

        Examples
        --------
        >>> ids = np.array([[0, 7, 7], [0, 0, 300]], np.uint16)
        >>> smear = Smear.from_labels(np.zeros((2, 3, 3), np.uint8), ids)
        >>> smear.labels.tolist(), smear.count
        ([[0, 1, 1], [0, 0, 2]], 2)
        """
        image = np.asarray(image)
        if image.dtype != np.uint8:
            raise DataError(f"image must be uint8, got {image.dtype}; map it to 0..255 first", name or None)
        closed, ids = relabel_sequential(labels)
        if classes is not None and len(ids) and ids[-1] > len(classes):
            raise DataError(f"labels run to {ids[-1]} for {len(classes)} classes given", name or None)
        kept = np.zeros(len(ids), np.int64) if classes is None else np.asarray(classes, np.int64)[ids - 1]
        return cls(image.astype(np.uint8, copy=False), closed, kept, tuple(class_names), um_per_px, name)

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) in px."""
        return self.labels.shape[0], self.labels.shape[1]

    @property
    def count(self) -> int:
        """Number of cell instances."""
        return len(self.classes)

    def areas(self) -> npt.NDArray[np.int64]:
        """Visible area of each instance, (n,) px²."""
        counted = np.bincount(self.labels.ravel(), minlength=self.count + 1)
        return counted[1:].astype(np.int64)

    def boxes(self) -> npt.NDArray[np.int64]:
        """Bounding box of each instance, (n, 4) as x0, y0, x1, y1 in px, the end excluded."""
        rows = [
            (0, 0, 0, 0) if found is None else (found[1].start, found[0].start, found[1].stop, found[0].stop)
            for found in ndimage.find_objects(self.labels, max_label=self.count)
        ]
        return np.array(rows, np.int64).reshape(-1, 4)

    def cut_by_border(self) -> Mask:
        """Whether each instance touches the edge of the field, (n,) bool."""
        edge = np.concatenate([self.labels[0], self.labels[-1], self.labels[:, 0], self.labels[:, -1]])
        cut = np.zeros(self.count + 1, bool)
        cut[edge] = True
        return cut[1:]

    def resized(self, scale: float) -> Smear:
        """Give the smear at `scale` times its size: image by an area-true filter, labels by nearest pixel.

        Instances that vanish at the new size are left out.
        """
        if scale == 1.0:
            return self
        height, width = (max(1, round(side * scale)) for side in self.shape)
        # A copy, because Pillow's pixels are read-only, which PyTorch warns of.
        image = np.array(Image.fromarray(self.image).resize((width, height), Image.Resampling.LANCZOS))
        labels = np.asarray(Image.fromarray(self.labels).resize((width, height), Image.Resampling.NEAREST))
        pixel = None if self.um_per_px is None else self.um_per_px / scale
        return Smear.from_labels(
            image, labels, self.classes, class_names=self.class_names, um_per_px=pixel, name=self.name
        )

    def cropped(self, top: int, left: int, height: int, width: int) -> Smear:
        """Cut out the window of `height` × `width` px with its first pixel at (`top`, `left`).

        It must lie in the field, else `OptionError`.
        """
        if (
            min(top, left) < 0
            or min(height, width) < 1
            or top + height > self.shape[0]
            or left + width > self.shape[1]
        ):
            raise OptionError(
                f"window {width}×{height} at ({left}, {top}) does not lie in a field of {_size(self.labels)}"
            )
        window = np.s_[top : top + height, left : left + width]
        cut = Smear.from_labels(
            self.image[window],
            self.labels[window],
            self.classes,
            class_names=self.class_names,
            name=self.name,
        )
        return replace(cut, um_per_px=self.um_per_px)


def check_image(image: npt.NDArray[np.generic], name: str = "") -> None:
    """Raise a `DataError` for what is no image (H, W, 3) uint8, or one without a pixel.

    Examples
    --------
    >>> check_image(np.zeros((4, 6), np.uint8), "field-3")
    Traceback (most recent call last):
    smearsynth.errors.DataError: field-3: image must be (H, W, 3) uint8, got (4, 6) uint8
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise DataError(f"image must be (H, W, 3) uint8, got {image.shape} {image.dtype}", name or None)
    if image.size == 0:
        raise DataError("the image has no pixels", name or None)


def check_scale(scale: float) -> None:
    """Raise an `OptionError` for a scale that smears cannot be read at.

    Examples
    --------
    >>> check_scale(0)
    Traceback (most recent call last):
    smearsynth.errors.OptionError: scale must be above 0 and at most 16, not 0
    """
    if not 0 < scale <= 16:
        raise OptionError(f"scale must be above 0 and at most 16, not {scale}")


def digest(smear: Smear) -> str:
    """Hash of image, labels and classes; two files of the same field have the same.

    Parameters
    ----------
    smear : Smear
        Its name and the size of a pixel do not count.

    Returns
    -------
    str
        16 hexadecimal digits.

    Examples
    --------
    >>> blank = Smear(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), np.int32), np.array([], int))
    >>> digest(blank) == digest(replace(blank, name="other")), digest(blank) == digest(blank.resized(2))
    (True, False)
    """
    hashed = hashlib.sha256(repr((smear.shape, smear.class_names)).encode())
    for array in (smear.image, smear.labels, smear.classes):
        hashed.update(np.ascontiguousarray(array).tobytes())
    return hashed.hexdigest()[:16]


def relabel_sequential(labels: npt.NDArray[np.integer]) -> tuple[LabelArray, npt.NDArray[np.int64]]:
    """Renumber ids to 1..n in their order, without gaps.

    Parameters
    ----------
    labels : (H, W) integer array
        Non-negative ids.

    Returns
    -------
    closed : (H, W) int32 array
    ids : (n,) int64 array
        The former id of instance ``k + 1``.

    Examples
    --------
    >>> closed, ids = relabel_sequential(np.array([[0, 5], [9, 5]]))
    >>> closed.tolist(), ids.tolist()
    ([[0, 1], [2, 1]], [5, 9])
    """
    if labels.size and int(labels.min()) < 0:
        raise DataError(f"labels must not be negative, found {int(labels.min())}")
    # Ids are mostly small: counting is linear where sorting all pixels is not. Huge ids would cost memory.
    if labels.size and int(labels.max()) <= max(labels.size, 1 << 16):
        present = np.bincount(labels.ravel()) > 0
        present[0] = False
        ids = np.flatnonzero(present)
        table = np.zeros(len(present), np.int32)
        table[ids] = np.arange(1, len(ids) + 1)
        return table[labels], ids.astype(np.int64)
    values, inverse = np.unique(labels, return_inverse=True)
    shift = 0 if len(values) and values[0] == 0 else 1
    closed = (inverse.reshape(labels.shape) + shift).astype(np.int32)
    return closed, values[values != 0].astype(np.int64)


def touching_pairs(labels: LabelArray) -> npt.NDArray[np.int64]:
    """Pairs of instances that touch along a side or at a corner.

    Parameters
    ----------
    labels : (H, W) int32 array

    Returns
    -------
    (m, 2) int64 array
        Ids, the smaller first, sorted, each pair once.

    Examples
    --------
    >>> touching_pairs(np.array([[1, 0, 0], [0, 2, 2], [0, 3, 3]], np.int32)).tolist()
    [[1, 2], [2, 3]]
    """
    n = np.int64(labels.max(initial=0)) + 1
    codes = []
    for first, second in (
        (labels[:, :-1], labels[:, 1:]),
        (labels[:-1], labels[1:]),
        (labels[:-1, :-1], labels[1:, 1:]),
        (labels[:-1, 1:], labels[1:, :-1]),
    ):
        meet = (first != second) & (first != 0) & (second != 0)
        a, b = first[meet].astype(np.int64), second[meet].astype(np.int64)
        codes.append(np.unique(np.minimum(a, b) * n + np.maximum(a, b)))
    return np.stack(np.divmod(np.unique(np.concatenate(codes)), n), axis=1)


def _size(array: npt.NDArray[np.generic]) -> str:
    return f"{array.shape[1]}×{array.shape[0]}"
