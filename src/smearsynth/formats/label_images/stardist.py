"""Writer of folders for StarDist: `images/NAME.tif` and `masks/NAME.tif`, in a folder per split."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

from smearsynth.files import atomic_write
from smearsynth.formats.label_images.label_writing import LabelFolderWriter, labels_16_bit
from smearsynth.formats.listing import IMAGE_FOLDER, check_file_stem
from smearsynth.formats.pixels.tiff_files import save_label_tiff, save_rgb_tiff
from smearsynth.formats.writing import image_text
from smearsynth.smear import ImageArray, Smear

_MASK_FOLDER = "masks"


class StarDistWriter(LabelFolderWriter):
    """Writer of `images/NAME.tif` (RGB) and `masks/NAME.tif` (uint16)."""

    format = "stardist"
    splits_in_folders: ClassVar[bool] = True
    keeps_hidden: ClassVar[bool] = False

    def image_path(self, name: str) -> Path:
        """Return the path of the image of this name."""
        return self.split_folder(name) / IMAGE_FOLDER / f"{check_file_stem(name)}.tif"

    def _mask_path(self, name: str) -> Path:
        return self.split_folder(name) / _MASK_FOLDER / f"{name}.tif"

    def _save_image(
        self,
        name: str,
        image: ImageArray,
        um_per_px: float | None,
        tags: Mapping[str, str] | None,
        files: ExitStack,
    ) -> None:
        path = files.enter_context(atomic_write(self.image_path(name)))
        save_rgb_tiff(path, image, image_text(um_per_px, tags))

    def _save_labels(self, smear: Smear, files: ExitStack) -> Smear:
        save_label_tiff(files.enter_context(atomic_write(self._mask_path(smear.name))), labels_16_bit(smear))
        return smear

    def is_written(self, name: str) -> bool:
        """Test whether image, mask and classes of this name exist."""
        return self.image_path(name).exists() and self._mask_path(name).exists() and self._classes_written(name)
