"""Writer of OME-TIFF files: `images/NAME.ome.tif` and `labels/NAME.ome.tif` with the physical size of a pixel."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

import numpy as np

from smearsynth.files import atomic_write
from smearsynth.formats.label_images.label_writing import MAX_16_BIT_ID, LabelFolderWriter
from smearsynth.formats.listing import IMAGE_FOLDER, check_file_stem
from smearsynth.formats.pixels.tiff_files import save_ome_tiff
from smearsynth.formats.writing import image_text
from smearsynth.smear import ImageArray, Smear

_LABEL_FOLDER = "labels"


class OmeTiffWriter(LabelFolderWriter):
    """Writer of `images/NAME.ome.tif` (RGB) and `labels/NAME.ome.tif` (uint16; int32 above 65,535 cells)."""

    format = "ome-tiff"
    keeps_hidden: ClassVar[bool] = False

    def image_path(self, name: str) -> Path:
        """Return the path of the image of this name."""
        return self.folder / IMAGE_FOLDER / f"{check_file_stem(name)}.ome.tif"

    def _label_path(self, name: str) -> Path:
        return self.folder / _LABEL_FOLDER / f"{name}.ome.tif"

    def _save_image(
        self,
        name: str,
        image: ImageArray,
        um_per_px: float | None,
        tags: Mapping[str, str] | None,
        files: ExitStack,
    ) -> None:
        path = files.enter_context(atomic_write(self.image_path(name)))
        save_ome_tiff(path, image, um_per_px, image_text(um_per_px, tags))

    def _save_labels(self, smear: Smear, files: ExitStack) -> Smear:
        labels = smear.labels.astype(np.uint16) if smear.count <= MAX_16_BIT_ID else smear.labels
        path = files.enter_context(atomic_write(self._label_path(smear.name)))
        save_ome_tiff(path, labels, smear.um_per_px)
        return smear

    def is_written(self, name: str) -> bool:
        """Test whether image, labels and classes of this name exist."""
        return self.image_path(name).exists() and self._label_path(name).exists() and self._classes_written(name)
