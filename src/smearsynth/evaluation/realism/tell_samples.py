"""Crops, patches and whole fields for the tell test, and their features, one smear at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from scipy import ndimage

from smearsynth.evaluation.realism.separation import FloatArray, Grouped
from smearsynth.formats.pixels.compression import JpegHistory, compress
from smearsynth.smear import ImageArray, Mask, Smear
from smearsynth.synthesis.networks.features import EfficientNetLite

CROP, WIDE_CROP = 96, 160  # px, at cells of 40 px
_BLUR = 2.0  # px
_GREY = (0.299, 0.587, 0.114)
_PATCH_SIDES = {"background": 32, "rim": 32, "interior": 20}  # px
_BACKGROUND_GAP, _INTERIOR_GAP = 4, 2  # px between a patch and an outline
_RINGS = 12  # of a radial spectrum
_MIN_FIELD = 64  # px, of a field at half size
_MAX_CROPS = {CROP: 8, WIDE_CROP: 6}  # per smear
_MAX_TOTAL = 800  # crops of one side of the comparison
_MAX_PATCHES = 8  # per smear
_MIN_COMMON = 0.05  # fraction of the smears in which a pixel is ignored

Change: TypeAlias = Literal["none", "blurred", "grey"]
Window: TypeAlias = tuple[int, int, int, int]  # top, left, height, width


class Condition(NamedTuple):
    """What is compared.

    Parameters
    ----------
    name : str
    kind : {"cells", "background", "rim", "interior", "field"}
    side : int
        Of a crop or patch, px; 0 for fields.
    change : {"none", "blurred", "grey"}
        What is done to the field before the crops are cut.
    with_last : bool
        Whether the features of the last layer are computed, too.
    """

    name: str
    kind: str
    side: int = 0
    change: Change = "none"
    with_last: bool = False


MAIN_CONDITIONS = (
    Condition("crops", "cells", CROP, with_last=True),
    Condition("blurred", "cells", CROP, "blurred"),
    *(Condition(part, part, side) for part, side in _PATCH_SIDES.items()),
)
ALL_CONDITIONS = (
    *MAIN_CONDITIONS,
    Condition("grey", "cells", CROP, "grey"),
    Condition("wide crops", "cells", WIDE_CROP, with_last=True),
    Condition("fields", "field", with_last=True),
)


class Place(NamedTuple):
    """Centre of a crop in px of the smear, and the index of the smear."""

    smear: int
    x: float
    y: float


class Samples(NamedTuple):
    """Features of one side of the comparison.

    Parameters
    ----------
    middle, last : dict of str to Grouped
        By condition. A condition without a crop is absent.
    spectra : Grouped or None
        Radial spectra of the crops of the condition "crops".
    places : list of Place
        Of these crops.
    """

    middle: dict[str, Grouped]
    last: dict[str, Grouped]
    spectra: Grouped | None
    places: list[Place]


class Geometry(NamedTuple):
    """What both sides have in common.

    Parameters
    ----------
    scale : float
        Factor by which smears are resized, so that cells have 40 px.
    excluded : (H, W) bool array, optional
        Pixels of a smear before resizing that no crop may show, in smears of this size.
    window : tuple of int, optional
        Part of every resized smear that is compared as a field.
    """

    scale: float
    excluded: Mask | None
    window: Window | None


def sample(
    smears: Sequence[Smear],
    network: EfficientNetLite,
    conditions: Sequence[Condition],
    geometry: Geometry,
    *,
    compression: JpegHistory | None = None,
    seed: int = 0,
    on_smear: Callable[[int], object] | None = None,
) -> Samples:
    """Cut crops, patches and fields from smears and compute their features.

    Crops are centred on random cells. None shows an ignored pixel, a pixel of `geometry.excluded`, or a place
    outside of the smear. All changes of a field use the same positions.

    Parameters
    ----------
    smears : sequence of Smear
    network : EfficientNetLite
    conditions : sequence of Condition
    geometry : Geometry
    compression : JpegHistory, optional
        Save every image once as JPEG with these settings.
    seed : int
        For the positions; they depend on the index of a smear and on the seed.
    on_smear : callable, optional
        Called with the number of smears done.

    Returns
    -------
    Samples
    """
    middle: dict[str, list[FloatArray]] = {condition.name: [] for condition in conditions}
    last: dict[str, list[FloatArray]] = {condition.name: [] for condition in conditions if condition.with_last}
    groups: dict[str, list[int]] = {condition.name: [] for condition in conditions}
    spectra: list[FloatArray] = []
    places: list[Place] = []
    max_crops = max(2, _MAX_TOTAL // max(len(smears), 1))
    for k, smear in enumerate(smears):
        field = _Field(smear, geometry, compression, max_crops, (seed, k))
        for condition in conditions:
            crops = field.crops(condition)
            if not len(crops):
                continue
            first, second = _layer_means(crops, network, condition.with_last)
            middle[condition.name].append(first)
            groups[condition.name] += [k] * len(crops)
            if condition.with_last:
                last[condition.name].append(second)
            if condition.name == "crops":
                spectra.append(radial_spectra(crops))
                places += [Place(k, *centre) for centre in field.centres(condition)]
        if on_smear is not None:
            on_smear(k + 1)
    return Samples(
        {name: _group(rows, groups[name]) for name, rows in middle.items() if rows},
        {name: _group(rows, groups[name]) for name, rows in last.items() if rows},
        _group(spectra, groups["crops"]) if spectra else None,
        places,
    )


def common_geometry(
    real: Sequence[Smear], others: Sequence[Sequence[Smear]], scale: float, *, with_fields: bool
) -> Geometry:
    """Find the pixels that no side may show and the part of the fields that all smears have.

    Parameters
    ----------
    real : sequence of Smear
        Pixels that at least a twentieth of them ignore, such as a scale bar, are excluded in all smears of this
        size.
    others : sequence of sequences of Smear
    scale : float
    with_fields : bool
        Whether to find a window for whole fields, which reads all smears.
    """
    masks: dict[tuple[int, int], npt.NDArray[np.int64]] = {}
    counts: dict[tuple[int, int], int] = {}
    shapes = set()
    for smear in real:
        shapes.add(smear.shape)
        counts[smear.shape] = counts.get(smear.shape, 0) + 1
        if smear.ignored is not None:
            masks[smear.shape] = masks.get(smear.shape, 0) + smear.ignored.astype(np.int64)
    shape = max(counts, key=lambda shape: counts[shape])
    excluded = masks[shape] >= max(1, _MIN_COMMON * counts[shape]) if shape in masks else None
    if excluded is not None and not excluded.any():
        excluded = None
    if not with_fields:
        return Geometry(scale, excluded, None)
    shapes |= {smear.shape for smears in others for smear in smears}
    height, width = (min(round(side * scale) for side in sides) for sides in zip(*shapes, strict=True))
    blocked = None if excluded is None else _resize_mask(excluded, scale)[:height, :width]
    return Geometry(scale, excluded, _largest_window((height, width), blocked))


def radial_spectra(crops: ImageArray) -> FloatArray:
    """Return the log power of luminance and of both chroma channels in 12 rings of spatial frequency.

    Parameters
    ----------
    crops : (n, side, side, 3) uint8 array

    Returns
    -------
    (n, 36) float array
    """
    side = crops.shape[1]
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side)))
    ring = np.digitize(frequency, np.linspace(0.04, 0.5, _RINGS))
    red, green, blue = np.moveaxis(crops.astype(np.float64), -1, 0)
    luminance = _GREY[0] * red + _GREY[1] * green + _GREY[2] * blue
    columns = []
    for channel in (luminance, blue - luminance, red - luminance):
        centred = channel - channel.mean(axis=(1, 2), keepdims=True)
        power = np.abs(np.fft.fft2(centred * np.outer(np.hanning(side), np.hanning(side)))) ** 2
        columns += [power[:, ring == k].mean(axis=1) for k in range(1, _RINGS + 1)]
    return np.log(np.stack(columns, axis=1) + 1e-3)


class _Field:
    """One smear at cells of 40 px, with its changed images and the positions of its crops."""

    def __init__(
        self,
        smear: Smear,
        geometry: Geometry,
        compression: JpegHistory | None,
        max_crops: int,
        seed: tuple[int, int],
    ) -> None:
        excluded = np.zeros(smear.shape, bool) if smear.ignored is None else smear.ignored.copy()
        if geometry.excluded is not None and geometry.excluded.shape == smear.shape:
            excluded |= geometry.excluded
        image = smear.image if compression is None else compress(smear.image, compression)
        resized = Smear(image, smear.labels, smear.classes, smear.class_names).resized(geometry.scale)
        self._labels = resized.labels
        self._excluded = excluded if geometry.scale == 1 else _resize_mask(excluded, geometry.scale)
        self._images: dict[Change, ImageArray] = {"none": resized.image}
        self._corners: dict[tuple[str, int], npt.NDArray[np.int64]] = {}
        self._geometry = geometry
        self._max_crops = max_crops
        self._seed = seed

    def crops(self, condition: Condition) -> ImageArray:
        """Return the crops of a condition, (n, H, W, 3)."""
        image = self._changed(condition.change)
        if condition.kind == "field":
            return self._whole(image)
        side = condition.side
        cut = [image[top : top + side, left : left + side] for top, left in self._positions(condition)]
        return np.stack(cut) if cut else np.zeros((0, side, side, 3), np.uint8)

    def centres(self, condition: Condition) -> Iterator[tuple[float, float]]:
        """Return the centre (x, y) of each crop in px of the smear before resizing."""
        for top, left in self._positions(condition):
            x, y = (float(corner + condition.side / 2) / self._geometry.scale for corner in (left, top))
            yield x, y

    def _changed(self, change: Change) -> ImageArray:
        if change not in self._images:
            image = self._images["none"].astype(np.float32)
            if change == "blurred":
                changed = ndimage.gaussian_filter(image, (_BLUR, _BLUR, 0))
            else:
                changed = np.repeat((image @ np.array(_GREY, np.float32))[..., None], 3, axis=2)
            self._images[change] = np.clip(np.rint(changed), 0, 255).astype(np.uint8)
        return self._images[change]

    def _whole(self, image: ImageArray) -> ImageArray:
        """Return the window of the field at half size, (1, H, W, 3), or nothing."""
        if self._geometry.window is None:
            return np.zeros((0, 1, 1, 3), np.uint8)
        top, left, height, width = self._geometry.window
        if self._excluded[top : top + height, left : left + width].any():
            return np.zeros((0, 1, 1, 3), np.uint8)
        part = Image.fromarray(np.ascontiguousarray(image[top : top + height, left : left + width]))
        return np.asarray(part.resize((width // 2, height // 2), Image.Resampling.BOX))[None]

    def _positions(self, condition: Condition) -> npt.NDArray[np.int64]:
        """Return (n, 2) corners (top, left), drawn once for a kind and a side."""
        key = (condition.kind, condition.side)
        if key not in self._corners:
            rng = np.random.default_rng([*self._seed, *condition.kind.encode(), condition.side])
            half = condition.side // 2
            if condition.kind == "cells":
                ids = np.unique(self._labels)[1:]
                middles = ndimage.center_of_mass(self._labels > 0, self._labels, ids)
                centres = np.array(middles).reshape(-1, 2).round().astype(np.int64)
                count = min(_MAX_CROPS[condition.side], self._max_crops)
            else:
                centres = np.argwhere(self._allowed_centres(condition)).astype(np.int64)
                count = min(_MAX_PATCHES, self._max_crops)
            self._corners[key] = self._draw(centres - half, condition.side, count, rng)
        return self._corners[key]

    def _draw(
        self, corners: npt.NDArray[np.int64], side: int, count: int, rng: np.random.Generator
    ) -> npt.NDArray[np.int64]:
        """Draw up to `count` corners whose crops lie in the field and show no excluded pixel."""
        height, width = self._labels.shape
        inside = (corners >= 0).all(axis=1) & (corners + side <= (height, width)).all(axis=1)
        chosen: list[npt.NDArray[np.int64]] = []
        for top, left in rng.permutation(corners[inside]):
            if len(chosen) == count:
                break
            if not self._excluded[top : top + side, left : left + side].any():
                chosen.append(np.array([top, left]))
        return np.array(chosen, np.int64).reshape(-1, 2)

    def _allowed_centres(self, condition: Condition) -> Mask:
        """Return a mask of the centres of patches of background, of rims or of cell interiors."""
        cells = self._labels > 0
        if condition.kind == "rim":
            return np.asarray(cells & ~ndimage.binary_erosion(cells))
        if condition.kind == "background":
            region = ~ndimage.binary_dilation(cells, iterations=_BACKGROUND_GAP)
        else:
            single = cells & (ndimage.grey_dilation(self._labels, 3) == self._labels)
            region = ndimage.binary_erosion(single, iterations=_INTERIOR_GAP)
        return np.asarray(ndimage.minimum_filter(region, condition.side))


def _layer_means(crops: ImageArray, network: EfficientNetLite, with_last: bool) -> tuple[FloatArray, FloatArray]:
    """Return the features of middle layers and of the last layer; the latter are empty if not wanted."""
    device = next(network.parameters()).device
    with torch.inference_mode():
        batch = torch.from_numpy(np.array(crops)).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
        if with_last:
            means = network.layer_means(batch)
            return means.middle.cpu().numpy(), means.last.cpu().numpy()
        return network.middle_means(batch).cpu().numpy(), np.zeros((0, 0), np.float32)


def _group(rows: list[FloatArray], groups: list[int]) -> Grouped:
    return Grouped(np.concatenate(rows), np.array(groups, np.int64))


def _resize_mask(mask: Mask, scale: float) -> Mask:
    height, width = (max(1, round(side * scale)) for side in mask.shape)
    resized = Image.fromarray(mask.astype(np.uint8)).resize((width, height), Image.Resampling.NEAREST)
    return np.asarray(resized) > 0


def _largest_window(shape: tuple[int, int], blocked: Mask | None) -> Window | None:
    """Return the largest part of a field above, below, left or right of all blocked pixels; None if it is small."""
    height, width = shape
    windows = [(0, 0, height, width)]
    if blocked is not None and blocked.any():
        rows, columns = np.flatnonzero(blocked.any(axis=1)), np.flatnonzero(blocked.any(axis=0))
        windows = [
            (0, 0, int(rows[0]), width),
            (int(rows[-1]) + 1, 0, height - int(rows[-1]) - 1, width),
            (0, 0, height, int(columns[0])),
            (0, int(columns[-1]) + 1, height, width - int(columns[-1]) - 1),
        ]
    best = max(windows, key=lambda window: window[2] * window[3])
    return best if min(best[2:]) >= 2 * _MIN_FIELD else None
