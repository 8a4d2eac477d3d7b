"""One microscope field with instance labels and classes, and operations on labels."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from smearsynth.errors import DataError, OptionError
from smearsynth.geometry import Outline, transform

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
        Instance labels: 0 = background, 1..n = cells. Each cell has at least one pixel.
    classes : (n,) int64 array
        ``classes[k]`` is the index into `class_names` of instance ``k + 1``.
    class_names : tuple of str
        Names of the cell classes, without the background.
    um_per_px : float, optional
        Pixel size in µm.
    name : str
        File name without extension, or the name of a synthetic smear.
    ignored : (H, W) bool array, optional
        Pixels without annotation: it is unknown whether they show cells. They are excluded from losses, statistics
        and scores, and contain no pixel of a cell. A mask without a pixel becomes None.
    full_outlines : tuple of Outline or None, optional
        For each instance its outline with the part under other cells; None for a cell that no other cell covers.

    Raises
    ------
    DataError
        If the arrays have a wrong shape or type, or contradict each other.

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
    ignored: Mask | None = None
    full_outlines: tuple[Outline | None, ...] | None = None

    def __post_init__(self) -> None:
        check_image(self.image, self.name)
        if self.labels.dtype != np.int32 or self.labels.ndim != 2:
            raise DataError(
                f"labels must be (H, W) int32, got {self.labels.shape} {self.labels.dtype}", self.name or None
            )
        if self.labels.shape != self.image.shape[:2]:
            raise DataError(
                f"image is {_size(self.image)} and labels are {_size(self.labels)}; they must have the same size",
                self.name or None,
            )
        n = len(self.classes)
        low, high = int(self.labels.min()), int(self.labels.max())
        if low < 0 or high > n:
            raise DataError(f"labels range from {low} to {high}, but {n} classes are given", self.name or None)
        if n and (empty := np.flatnonzero(self.areas() == 0)).size:
            raise DataError(
                f"instance {int(empty[0]) + 1} has no pixel; use Smear.from_labels, which renumbers the instances",
                self.name or None,
            )
        if n and (self.classes.min() < 0 or self.classes.max() >= len(self.class_names)):
            raise DataError(
                f"class ids range from {int(self.classes.min())} to {int(self.classes.max())}, "
                f"but there are {len(self.class_names)} class names",
                self.name or None,
            )
        if self.ignored is not None:
            self._check_ignored(self.ignored)
            if not self.ignored.any():
                object.__setattr__(self, "ignored", None)
        if self.full_outlines is not None:
            if len(self.full_outlines) != n:
                raise DataError(
                    f"{len(self.full_outlines)} full outlines are given for {n} cells", self.name or None
                )
            if not any(self.full_outlines):
                object.__setattr__(self, "full_outlines", None)

    def _check_ignored(self, ignored: Mask) -> None:
        _check_ignored_shape(ignored, self.labels, self.name)
        overlap = int((ignored & (self.labels > 0)).sum())
        if overlap:
            raise DataError(
                f"{overlap} ignored pixels belong to cells; use Smear.from_labels, which removes them from the "
                "ignored region",
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
        ignored: Mask | None = None,
        full_outlines: Sequence[Outline | None] | None = None,
    ) -> Smear:
        """Return a smear from integer labels with any ids, which are renumbered to 1..n in ascending order.

        Parameters
        ----------
        image : (H, W, 3) uint8 array
        labels : (H, W) integer array
            Non-negative ids; gaps are allowed.
        classes : (m,) integer array, optional
            ``classes[k]`` is the class of id ``k + 1``, for all ids up to the largest one. Default: all 0.
        class_names, um_per_px, name
            As in `Smear`.
        ignored : (H, W) bool array, optional
            As in `Smear`; pixels of cells are removed from it.
        full_outlines : sequence of Outline or None, optional
            As in `Smear`, for all ids up to the largest one, as `classes`.

        Raises
        ------
        DataError
            As for `Smear`, or if an id is negative or has no class.

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
        instances, ids = relabel_sequential(labels)
        if classes is not None and len(ids) and ids[-1] > len(classes):
            raise DataError(f"labels range up to {ids[-1]}, but {len(classes)} classes are given", name or None)
        classes = np.zeros(len(ids), np.int64) if classes is None else np.asarray(classes, np.int64)[ids - 1]
        if ignored is not None:
            _check_ignored_shape(ignored, instances, name)
            ignored = ignored & (instances == 0)
        full = None if full_outlines is None else tuple(full_outlines[i - 1] for i in ids.tolist())
        pixels = image.astype(np.uint8, copy=False)
        return cls(pixels, instances, classes, tuple(class_names), um_per_px, name, ignored, full)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in px."""
        return self.labels.shape[0], self.labels.shape[1]

    @property
    def count(self) -> int:
        """Number of cell instances."""
        return len(self.classes)

    def areas(self) -> npt.NDArray[np.int64]:
        """Return the visible area of each instance in px², (n,)."""
        areas = np.bincount(self.labels.ravel(), minlength=self.count + 1)
        return areas[1:].astype(np.int64)

    def boxes(self) -> npt.NDArray[np.int64]:
        """Return the bounding box of each instance in px, (n, 4): x0, y0, x1, y1, with x1 and y1 excluded."""
        rows = [
            (0, 0, 0, 0) if window is None else (window[1].start, window[0].start, window[1].stop, window[0].stop)
            for window in ndimage.find_objects(self.labels, max_label=self.count)
        ]
        return np.array(rows, np.int64).reshape(-1, 4)

    def cut_by_border(self) -> Mask:
        """Test for each instance whether it touches the border of the field, (n,) bool."""
        edge = np.concatenate([self.labels[0], self.labels[-1], self.labels[:, 0], self.labels[:, -1]])
        cut = np.zeros(self.count + 1, bool)
        cut[edge] = True
        return cut[1:]

    def incomplete(self) -> Mask:
        """Test for each instance whether it may lack a part, (n,) bool: it touches the border or an ignored pixel.

        Examples
        --------
        >>> labels = np.array([[0, 0, 0, 0, 0], [0, 1, 0, 2, 0], [0, 0, 0, 0, 0]], np.int32)
        >>> ignored = np.zeros((3, 5), bool)
        >>> ignored[0, 4] = True
        >>> Smear(np.zeros((3, 5, 3), np.uint8), labels, np.array([0, 0]), ignored=ignored).incomplete().tolist()
        [False, True]
        """
        incomplete = self.cut_by_border()
        if self.ignored is not None:
            near = ndimage.binary_dilation(self.ignored, np.ones((3, 3), bool))
            touching = np.unique(self.labels[near])
            incomplete[touching[touching > 0] - 1] = True
        return incomplete

    def background(self) -> Mask:
        """Return the annotated background, (H, W) bool: pixels that are neither of a cell nor ignored."""
        background: Mask = self.labels == 0
        return background if self.ignored is None else background & ~self.ignored

    def annotated_area(self) -> int:
        """Return the number of pixels that are not ignored; 0 for a smear without annotation."""
        return self.labels.size - (0 if self.ignored is None else int(self.ignored.sum()))

    def resized(self, scale: float) -> Smear:
        """Return the smear at `scale` times its size.

        The image is resampled with an antialiasing Lanczos filter, the labels and the ignored pixels with nearest
        neighbour. Instances without a pixel at the new size are removed.
        """
        if scale == 1.0:
            return self
        height, width = (max(1, round(side * scale)) for side in self.shape)
        # A copy, because the pixels of a Pillow image are read-only and PyTorch warns about such arrays.
        image = np.array(Image.fromarray(self.image).resize((width, height), Image.Resampling.LANCZOS))
        labels = np.asarray(Image.fromarray(self.labels).resize((width, height), Image.Resampling.NEAREST))
        ignored = None
        if self.ignored is not None:
            mask = Image.fromarray(self.ignored.astype(np.uint8))
            ignored = np.asarray(mask.resize((width, height), Image.Resampling.NEAREST)) > 0
        pixel = None if self.um_per_px is None else self.um_per_px / scale
        return Smear.from_labels(
            image,
            labels,
            self.classes,
            class_names=self.class_names,
            um_per_px=pixel,
            name=self.name,
            ignored=ignored,
            full_outlines=self._moved_outlines(scale=(width / self.shape[1], height / self.shape[0])),
        )

    def _moved_outlines(
        self, scale: tuple[float, float] = (1, 1), offset: tuple[float, float] = (0, 0)
    ) -> list[Outline | None] | None:
        if self.full_outlines is None:
            return None
        moved = [None if outline is None else transform(outline, scale, offset) for outline in self.full_outlines]
        return [outline if isinstance(outline, Outline) else None for outline in moved]

    def cropped(self, top: int, left: int, height: int, width: int) -> Smear:
        """Return the window of `height` × `width` px with its upper left pixel at (`top`, `left`).

        Raises
        ------
        OptionError
            If the window is not inside the field.
        """
        if (
            min(top, left) < 0
            or min(height, width) < 1
            or top + height > self.shape[0]
            or left + width > self.shape[1]
        ):
            raise OptionError(
                f"window {width}×{height} at ({left}, {top}) is not inside the field of {_size(self.labels)}"
            )
        window = np.s_[top : top + height, left : left + width]
        crop = Smear.from_labels(
            self.image[window],
            self.labels[window],
            self.classes,
            class_names=self.class_names,
            name=self.name,
            ignored=None if self.ignored is None else self.ignored[window],
            full_outlines=self._moved_outlines(offset=(-left, -top)),
        )
        return replace(crop, um_per_px=self.um_per_px)


def check_image(image: npt.NDArray[np.generic], name: str = "") -> None:
    """Raise a `DataError` unless the array is a non-empty (H, W, 3) uint8 image.

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
    """Raise an `OptionError` unless the scale is in (0, 16].

    Examples
    --------
    >>> check_scale(0)
    Traceback (most recent call last):
    smearsynth.errors.OptionError: scale must be above 0 and at most 16, not 0
    """
    if not 0 < scale <= 16:
        raise OptionError(f"scale must be above 0 and at most 16, not {scale}")


def digest(smear: Smear) -> str:
    """Return a hash of the image, labels, classes and ignored pixels of a smear.

    It does not depend on the name and the pixel size.

    Parameters
    ----------
    smear : Smear

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
    sha256 = hashlib.sha256(repr((smear.shape, smear.class_names)).encode())
    for array in (smear.image, smear.labels, smear.classes):
        sha256.update(np.ascontiguousarray(array).tobytes())
    # Smears without ignored pixels keep the hash of earlier versions, which runs and caches have stored.
    if smear.ignored is not None:
        sha256.update(b"ignored" + np.packbits(smear.ignored).tobytes())
    return sha256.hexdigest()[:16]


def relabel_sequential(labels: npt.NDArray[np.integer]) -> tuple[LabelArray, npt.NDArray[np.int64]]:
    """Renumber ids to 1..n in ascending order, without gaps.

    Parameters
    ----------
    labels : (H, W) integer array
        Non-negative ids.

    Returns
    -------
    instances : (H, W) int32 array
        Instance labels, 0 = background.
    ids : (n,) int64 array
        ``ids[k]`` is the original id of instance ``k + 1``.

    Raises
    ------
    DataError
        If an id is negative.

    Examples
    --------
    >>> instances, ids = relabel_sequential(np.array([[0, 5], [9, 5]]))
    >>> instances.tolist(), ids.tolist()
    ([[0, 1], [2, 1]], [5, 9])
    """
    if labels.size and int(labels.min()) < 0:
        raise DataError(f"labels must not be negative, but the smallest is {int(labels.min())}")
    # Small ids are the usual case: counting takes linear time, sorting all pixels does not. The table of very large
    # ids would not fit in memory.
    if labels.size and int(labels.max()) <= max(labels.size, 1 << 16):
        present = np.bincount(labels.ravel()) > 0
        present[0] = False
        ids = np.flatnonzero(present)
        table = np.zeros(len(present), np.int32)
        table[ids] = np.arange(1, len(ids) + 1)
        return table[labels], ids.astype(np.int64)
    values, inverse = np.unique(labels, return_inverse=True)
    shift = 0 if len(values) and values[0] == 0 else 1
    instances = (inverse.reshape(labels.shape) + shift).astype(np.int32)
    return instances, values[values != 0].astype(np.int64)


def touching_pairs(labels: LabelArray) -> npt.NDArray[np.int64]:
    """Return the pairs of instances with adjacent pixels (8-connectivity).

    Parameters
    ----------
    labels : (H, W) int32 array

    Returns
    -------
    (m, 2) int64 array
        Ids of each pair, the smaller one first; sorted, without duplicates.

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
        contact = (first != second) & (first != 0) & (second != 0)
        a, b = first[contact].astype(np.int64), second[contact].astype(np.int64)
        codes.append(np.unique(np.minimum(a, b) * n + np.maximum(a, b)))
    return np.stack(np.divmod(np.unique(np.concatenate(codes)), n), axis=1)


def _check_ignored_shape(ignored: Mask, labels: LabelArray, name: str) -> None:
    if ignored.dtype != np.bool_ or ignored.shape != labels.shape:
        raise DataError(
            f"ignored pixels must be {labels.shape} bool, as the labels, got {ignored.shape} {ignored.dtype}",
            name or None,
        )


def _size(array: npt.NDArray[np.generic]) -> str:
    return f"{array.shape[1]}×{array.shape[0]}"
