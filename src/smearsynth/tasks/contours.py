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

_MIN_PROBABILITY = 1e-6  # smallest probability above 0


class ContoursConfig(TaskConfig):
    """Configuration of a contour model with one cell class."""

    network: FcnConfig = FcnConfig()
    contour: int = Field(3, ge=1, le=50, description="width of a contour on either side of an outline, px")
    depth: float = Field(5.0, gt=0, le=25, description="smallest height of the ridge between two cells, log odds")
    min_area: int = Field(30, ge=1, description="smallest area of a cell, px²")


class Contours(Task):
    """FCN-8s with two outputs, cells and contours; contours separate touching cells.

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
        # a quarter of VGG16's filters, on crops: about two minutes on one CPU thread
        "cpu": ContoursConfig(network=FcnConfig(filters=16, head=256, dropout=0.1, maps=8)),
        # VGG16, on whole fields
        "paper": ContoursConfig(fit=FitConfig(steps=6000, batch=1, crop=None, learning_rate=3e-4, warm_up=200)),
        # seconds; for tests only
        "tiny": ContoursConfig(
            network=FcnConfig(filters=4, head=8, dropout=0.0, maps=8),
            fit=FitConfig(steps=20, batch=2, crop=(64, 64), validate_every=10),
        ),
    }
    config: ContoursConfig
    network: Fcn8s

    def build(self) -> Fcn8s:
        """Build the network of `config`."""
        return Fcn8s(self.config.network, 2)

    def loss(self, smears: Sequence[Smear]) -> Tensor:
        """Compute 1 − Dice of the cells plus 1 − Dice of their contours."""
        batch = collate(smears, self.device)
        logits = self.network(batch.images)
        cells = collate_masks([smear.labels > 0 for smear in smears], batch)
        contours = collate_masks([contour_mask(smear.labels, self.config.contour) for smear in smears], batch)
        return dice_loss(logits[:, 0], cells, batch.valid) + dice_loss(logits[:, 1], contours, batch.valid)

    def predict(self, image: ImageArray) -> Prediction:
        """Find the cells; the score of a cell is its mean probability."""
        cells, contours = probabilities(self.network, image)
        config = self.config
        labels = separate_cells(
            cells, contours, min_area=config.min_area, depth=config.depth, smoothing=2 / 3 * config.contour
        )
        n = int(labels.max(initial=0))
        scores = np.asarray(ndimage.mean(cells, labels, np.arange(1, n + 1))) if n else np.zeros(0)
        return Prediction.of_labels(labels, scores, self.config.class_names)

    def evaluate(self, smears: Iterable[Smear]) -> Evaluation:
        """Compute AP of the bounding boxes of the instances, with counts and PQ of the instances."""
        return Evaluation.of_boxes((smear, self.predict(smear.image)) for smear in smears)


def contour_mask(labels: LabelArray, width: int) -> Mask:
    """Return the pixels within `width` px of an outline, on either side.

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


def separate_cells(
    cells: npt.NDArray[np.floating],
    contours: npt.NDArray[np.floating],
    *,
    min_area: int = 1,
    depth: float = 5.0,
    smoothing: float = 2.0,
) -> LabelArray:
    """Compute instance labels from the probabilities of cells and contours.

    The log odds of the contours are a relief over the mask of the cells. Its basins are the cells; a ridge
    separates two basins if it rises at least `depth` above the shallower one. The mask is divided along the ridges
    by a watershed. A threshold would not do: networks trained with Dice are so confident that a weak contour
    between two touching cells stays far below 0.5, although it is a clear ridge.

    Parameters
    ----------
    cells, contours : (H, W) float array
        In [0, 1].
    min_area : int
        Smallest area of a cell, px².
    depth : float
        Smallest depth of a basin in log odds; 5 is a ridge with 150 times the odds of the inside of the cell.
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
    >>> separate_cells(cells, contours, smoothing=0).tolist()
    [[0, 1, 1, 2, 2, 2, 0]]
    """
    mask = _without_specks(cells > 0.5, min_area)
    odds = special.logit(np.clip(contours, _MIN_PROBABILITY, 1 - _MIN_PROBABILITY))
    relief = ndimage.gaussian_filter(odds, smoothing) if smoothing else odds
    # the background is higher than any ridge, so that every connected component has a basin
    relief = np.where(mask, relief, relief.max() + 2 * depth)
    # extended minima of this depth (Soille, *Morphological Image Analysis*)
    filled = reconstruction(relief + depth, relief, method="erosion")  # type: ignore[no-untyped-call]
    basins, _ = ndimage.label(local_minima(filled) & mask, np.ones((3, 3)))  # type: ignore[no-untyped-call]
    labels: LabelArray = watershed(relief, basins, mask=mask).astype(np.int32)  # type: ignore[no-untyped-call]
    return labels


def _without_specks(mask: Mask, min_area: int) -> Mask:
    labels, n = ndimage.label(mask)
    large = np.bincount(labels.ravel(), minlength=n + 1) >= min_area
    large[0] = False
    filtered: Mask = large[labels]
    return filtered
