"""Labels of one image, from its marks or from the image alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from smearsynth.annotation.labelling import (
    CellLabels,
    labels_from_boxes,
    labels_from_image,
    labels_from_points,
    unlabelled_cells,
)
from smearsynth.annotation.record import LabelsFrom
from smearsynth.formats.pixels.images import read_rgb
from smearsynth.geometry import Outline, fill
from smearsynth.labelling.record import LabelledCell
from smearsynth.labelling.sources import ImageSource, Marks, marks_of
from smearsynth.smear import ImageArray, LabelArray, Mask, Smear


class SecondOpinion(Protocol):
    """A segmentation model: labels (H, W) int32 of an image (H, W, 3) uint8."""

    def __call__(self, image: ImageArray) -> LabelArray: ...  # noqa: D102


@dataclass
class _Labelled:
    """Labels of an image with a confidence, class and origin per cell."""

    labels: LabelArray
    confidence: npt.NDArray[np.float64]
    classes: list[str]
    origins: list[LabelsFrom]


@dataclass(frozen=True)
class ImageLabeller:
    """Makes the labels of one image after the other.

    Parameters
    ----------
    class_names : tuple of str
        Names of the classes of all images.
    typical_class : str
        Class of the cells that no mark names.
    diameter : float, optional
        Mean diameter of the red cells in px. Default: estimated for each image.
    second_opinion : SecondOpinion, optional
    add_unmarked : bool
        Also label visible cells without a mark. Otherwise their pixels are ignored.
    """

    class_names: tuple[str, ...]
    typical_class: str
    diameter: float | None = None
    second_opinion: SecondOpinion | None = None
    add_unmarked: bool = False

    def label(self, source: ImageSource) -> tuple[Smear, list[LabelledCell]]:
        """Label an image.

        Returns
        -------
        smear : Smear
        cells : list of LabelledCell
            One per cell of the smear.

        Raises
        ------
        DataError
            If the image cannot be read.
        """
        image = read_rgb(source.path)
        opinion = None if self.second_opinion is None else self.second_opinion(image)
        annotation, ignored = source.annotation, None
        if annotation is None:
            found = labels_from_image(image, diameter=self.diameter, second_opinion=opinion)
            labelled = self._with_classes(found, [], "image")
        else:
            marks = marks_of(annotation, (image.shape[0], image.shape[1]))
            labelled = self._from_marks(image, marks, opinion)
            ignored = self._ignored(image, labelled.labels, marks)
        index = {name: k for k, name in enumerate(self.class_names)}
        smear = Smear.from_labels(
            image,
            labelled.labels,
            np.array([index[name] for name in labelled.classes], np.int64),
            class_names=self.class_names,
            um_per_px=None if annotation is None else annotation.um_per_px,
            name=source.name,
            ignored=ignored,
        )
        present = np.unique(labelled.labels[labelled.labels > 0]) - 1  # outlines can hide other cells
        origins = [labelled.origins[k] for k in present]
        return smear, cell_rows(smear, labelled.confidence[present], origins)

    def _from_marks(self, image: ImageArray, marks: Marks, opinion: LabelArray | None) -> _Labelled:
        if len(marks.boxes) or not len(marks.points):
            found = labels_from_boxes(
                image, marks.boxes, second_opinion=opinion, add_unmarked_cells=self.add_unmarked
            )
            labelled = self._with_classes(found, marks.box_classes, "box")
        else:
            found = labels_from_points(
                image,
                marks.points,
                diameter=self.diameter,
                second_opinion=opinion,
                add_unmarked_cells=self.add_unmarked,
            )
            labelled = self._with_classes(found, marks.point_classes, "point")
        # Cells that are outlined already are drawn over those that were found.
        for outline, name in zip(marks.outlines, marks.outline_classes, strict=True):
            labelled.confidence = np.append(labelled.confidence, 1.0)
            _draw_over(labelled.labels, outline, len(labelled.confidence))
            labelled.classes.append(name)
            labelled.origins.append("outline")
        return labelled

    def _with_classes(self, found: CellLabels, names: list[str], kind: LabelsFrom) -> _Labelled:
        sources = found.source.tolist()
        classes = [names[k] if k >= 0 else self.typical_class for k in sources]
        origins: list[LabelsFrom] = [kind if k >= 0 else "image" for k in sources]
        return _Labelled(found.labels, found.confidence, classes, origins)

    def _ignored(self, image: ImageArray, labels: LabelArray, marks: Marks) -> Mask | None:
        """Return the regions that the annotator ignored, and visible cells without a mark."""
        if self.add_unmarked:
            return marks.ignored
        unmarked = unlabelled_cells(image, labels, diameter=self.diameter)
        return unmarked if marks.ignored is None else unmarked | marks.ignored


def _draw_over(labels: LabelArray, outline: Outline, label: int) -> None:
    pixels = fill(outline, (labels.shape[0], labels.shape[1]))
    rows, columns = pixels.mask.shape
    labels[pixels.y : pixels.y + rows, pixels.x : pixels.x + columns][pixels.mask] = label


def cell_rows(smear: Smear, confidence: npt.NDArray[np.float64], origins: list[LabelsFrom]) -> list[LabelledCell]:
    """Return the rows of ``cells.csv`` of a smear."""
    return [
        LabelledCell(
            smear.name, k + 1, smear.class_names[smear.classes[k]], float(confidence[k]), origins[k], tuple(box)
        )
        for k, box in enumerate(smear.boxes().tolist())
    ]
