"""Exclusion of pixels from smears: overlays, and masks that the user gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from smearsynth.errors import DataError
from smearsynth.smear import Mask, Smear

_MASK_TYPES = (".png", ".tif", ".tiff", ".bmp")


def exclude(smear: Smear, mask: Mask | None) -> Smear:
    """Return a smear whose pixels in a mask are ignored, in addition to those ignored already.

    Cells lose these pixels; a cell that the mask covers by more than half is removed.

    Parameters
    ----------
    smear : Smear
    mask : (H, W) bool array or None

    Examples
    --------
    >>> labels = np.array([[1, 1, 1, 0, 2, 2]], np.int32)
    >>> smear = Smear(np.zeros((1, 6, 3), np.uint8), labels, np.array([0, 0]))
    >>> rest = exclude(smear, np.array([[False, False, True, True, True, True]]))
    >>> rest.labels.tolist(), rest.ignored.astype(int).tolist()
    ([[1, 1, 0, 0, 0, 0]], [[0, 0, 1, 1, 1, 1]])
    """
    if mask is None or not mask.any():
        return smear
    areas = np.bincount(smear.labels.ravel(), minlength=smear.count + 1)
    covered = np.bincount(smear.labels[mask], minlength=smear.count + 1)
    removed = 2 * covered > areas
    removed[0] = False
    ignored = mask | removed[smear.labels]
    if smear.ignored is not None:
        ignored = ignored | smear.ignored
    return Smear.from_labels(
        smear.image,
        np.where(ignored, 0, smear.labels),
        smear.classes,
        class_names=smear.class_names,
        um_per_px=smear.um_per_px,
        name=smear.name,
        ignored=ignored,
        full_outlines=smear.full_outlines,
    )


@dataclass(frozen=True, eq=False)
class IgnoredPixels:
    """Masks of pixels to ignore, given by the user.

    Parameters
    ----------
    path : Path
        Image or folder of images.
    masks : mapping of str to (H, W) bool array
        Mask by name of the image; the name "" is a mask for every image.
    """

    path: Path
    masks: Mapping[str, Mask]

    @classmethod
    def read(cls, path: Path, read_mask: Callable[[Path], Mask]) -> IgnoredPixels:
        """Read a mask, or a folder of masks.

        Parameters
        ----------
        path : Path
        read_mask : callable
            Reads an image file as a (H, W) bool array.

        Raises
        ------
        DataError
            If the path does not exist, or the folder has no mask.
        """
        if not path.is_dir():
            return cls(path, {"": read_mask(path)})
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in _MASK_TYPES)
        if not files:
            raise DataError("contains no masks; give PNG files with the names of the images", path)
        return cls(path, {file.stem: read_mask(file) for file in files})

    def for_image(self, name: str, size: tuple[int, int]) -> Mask | None:
        """Return the mask of an image of size (H, W), or None if it has none.

        Raises
        ------
        DataError
            If the mask has another size than the image.
        """
        mask = self.masks.get(name, self.masks.get(""))
        if mask is not None and mask.shape != size:
            raise DataError(
                f"mask is {mask.shape[1]}×{mask.shape[0]} px, image {name} is {size[1]}×{size[0]} px; give a mask "
                "of the same size, or a folder with one mask per image",
                self.path,
            )
        return mask
