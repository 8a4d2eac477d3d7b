"""Detection from segmentation: FCN-8s that sees cells and their contours (DCAN; paper, section 5.4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy import ndimage, special
from skimage.morphology import local_minima, reconstruction
from skimage.segmentation import watershed
from torch import Tensor

from smearsynth.smear import ImageArray, LabelArray, Mask, Smear
from smearsynth.tasks.base import Evaluation, Prediction, Task
from smearsynth.tasks.config import FcnConfig, FitConfig, TaskConfig
from smearsynth.tasks.fcn import Fcn8s, collate, collate_masks, dice_loss, probabilities

_LEAST = 1e-6  # probability told apart from 0


class ContoursConfig(TaskConfig):
    """A contour model; all cells are of one class."""

    network: FcnConfig = FcnConfig()
    contour: int = Field(3, ge=1, le=50, description="px on either side of an outline that are its contour")
    depth: float = Field(5.0, gt=0, le=25, description="log odds by which a contour between two cells stands out")
    min_area: int = Field(30, ge=1, description="px²; what is smaller is no cell")


class Contours(Task):
    """FCN-8s with two outputs, objectness and contours; what contours cut apart are the cells.

    Parameters
    ----------
    config : ContoursConfig

    Examples
    --------
    >>> model = Contours.preset("tiny", seed=1)
    >>> model.predict(np.zeros((40, 50, 3), np.uint8)).labels.shape
    (40, 50)
    """

    name = "contours"
    config_type = ContoursConfig
    presets: ClassVar[Mapping[str, TaskConfig]] = {
        # a quarter of VGG16's filters, crops: about two minutes on one CPU thread
        "cpu": ContoursConfig(network=FcnConfig(filters=16, head=256, dropout=0.1, maps=8)),
        # all of VGG16, whole fields
        "paper": ContoursConfig(fit=FitConfig(steps=6000, batch=1, crop=None, learning_rate=3e-4, warm_up=200)),
        # seconds: to see that all works, not to use
        "tiny": ContoursConfig(
            network=FcnConfig(filters=4, head=8, dropout=0.0, maps=8),
            fit=FitConfig(steps=20, batch=2, crop=(64, 64), validate_every=10),
        ),
    }
    config: ContoursConfig
    network: Fcn8s

    def build(self) -> Fcn8s:
        """The network of `config`."""
        return Fcn8s(self.config.network, 2)

    def loss(self, smears: Sequence[Smear]) -> Tensor:
        """1 − Dice of the cells plus 1 − Dice of their contours."""
        batch = collate(smears, self.device)
        logits = self.network(batch.images)
        cells = collate_masks([smear.labels > 0 for smear in smears], batch)
        contours = collate_masks([contour_mask(smear.labels, self.config.contour) for smear in smears], batch)
        return dice_loss(logits[:, 0], cells, batch.valid) + dice_loss(logits[:, 1], contours, batch.valid)

    def predict(self, image: ImageArray) -> Prediction:
        """Cells, isolated from each other; the score of one is its mean objectness."""
        cells, contours = probabilities(self.network, image)
        config = self.config
        labels = isolate(
            cells, contours, min_area=config.min_area, depth=config.depth, smoothing=2 / 3 * config.contour
        )
        n = int(labels.max(initial=0))
        scores = np.asarray(ndimage.mean(cells, labels, np.arange(1, n + 1))) if n else np.zeros(0)
        return Prediction.of_labels(labels, scores, self.config.class_names)

    def evaluate(self, smears: Iterable[Smear]) -> Evaluation:
        """AP of the boxes of the blobs, with counts."""
        return Evaluation.of_boxes((smear, self.predict(smear.image)) for smear in smears)


def contour_mask(labels: LabelArray, width: int) -> Mask:
    """Pixels within `width` px of another instance or of the background, on either side of an outline.

    Parameters
    ----------
    labels : (H, W) int32 array
    width : int

    Examples
    --------
    >>> contour_mask(np.array([[0, 0, 0, 1, 1, 1, 1, 2, 2]], np.int32), 1).astype(int).tolist()
    [[0, 0, 1, 1, 0, 0, 1, 1, 0]]
    """
    size = 2 * width + 1
    differs: Mask = ndimage.maximum_filter(labels, size) != ndimage.minimum_filter(labels, size)
    return differs


def isolate(
    cells: npt.NDArray[np.floating],
    contours: npt.NDArray[np.floating],
    *,
    min_area: int = 1,
    depth: float = 5.0,
    smoothing: float = 2.0,
) -> LabelArray:
    """Instance labels from the probabilities of cells and of their contours.

    The log odds of the contours are a relief over the mask of the cells. Its basins, told apart by ridges that rise
    at least `depth` above the shallower one, are the cells, and the mask is divided along the ridges. The relief
    tells what a threshold cannot: networks trained on Dice are so sure that a weak contour across the neck of two
    cells stays far below 0.5, but it stands out.

    Parameters
    ----------
    cells, contours : (H, W) float array
        In [0, 1].
    min_area : int
        px²; smaller blobs of the mask are no cells.
    depth : float
        Of a basin, in log odds; 5 is a ridge 150 times as likely a contour as the inside of the cell.
    smoothing : float
        Standard deviation in px.

    Returns
    -------
    (H, W) int32 array
        0 and 1..n.

    Examples
    --------
    >>> cells = np.array([[0, 1, 1, 1, 1, 1, 0]], float)
    >>> contours = np.array([[0.9, 0, 0, 0.2, 0, 0, 0.9]])
    >>> isolate(cells, contours, smoothing=0).tolist()
    [[0, 1, 1, 2, 2, 2, 0]]
    """
    mask = _without_specks(cells > 0.5, min_area)
    odds = special.logit(np.clip(contours, _LEAST, 1 - _LEAST))
    relief = ndimage.gaussian_filter(odds, smoothing) if smoothing else odds
    # outside lies higher than any ridge, so that every blob holds a basin, be it all contour
    relief = np.where(mask, relief, relief.max() + 2 * depth)
    # extended minima: those that lie `depth` below every way out of them (Soille, *Morphological Image Analysis*)
    filled = reconstruction(relief + depth, relief, method="erosion")  # type: ignore[no-untyped-call]
    basins, _ = ndimage.label(local_minima(filled) & mask, np.ones((3, 3)))  # type: ignore[no-untyped-call]
    labels: LabelArray = watershed(relief, basins, mask=mask).astype(np.int32)  # type: ignore[no-untyped-call]
    return labels


def _without_specks(mask: Mask, min_area: int) -> Mask:
    labels, n = ndimage.label(mask)
    large = np.bincount(labels.ravel(), minlength=n + 1) >= min_area
    large[0] = False
    kept: Mask = large[labels]
    return kept
