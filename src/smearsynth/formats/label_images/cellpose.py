"""Writer of image pairs for Cellpose: `NAME.png` and `NAME_masks.png`, in a folder per split if there are splits.

``cellpose --train --dir FOLDER/train --test_dir FOLDER/test`` reads them with its default ``--mask_filter``.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

from smearsynth.files import atomic_write
from smearsynth.formats.label_images.label_writing import LabelFolderWriter, save_16_bit_png
from smearsynth.formats.listing import check_file_stem
from smearsynth.smear import Smear


class CellposeWriter(LabelFolderWriter):
    """Writer of `NAME.png` (RGB) and `NAME_masks.png` (uint16)."""

    format = "cellpose"
    splits_in_folders: ClassVar[bool] = True
    keeps_hidden: ClassVar[bool] = False

    def image_path(self, name: str) -> Path:
        """Return the path of the image of this name."""
        return self.split_folder(name) / f"{check_file_stem(name)}.png"

    def _mask_path(self, name: str) -> Path:
        return self.split_folder(name) / f"{name}_masks.png"

    def _save_labels(self, smear: Smear, files: ExitStack) -> Smear:
        save_16_bit_png(files.enter_context(atomic_write(self._mask_path(smear.name))), smear)
        return smear

    def is_written(self, name: str) -> bool:
        """Test whether image, mask and classes of this name exist."""
        return self.image_path(name).exists() and self._mask_path(name).exists() and self._classes_written(name)
