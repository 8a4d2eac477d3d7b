"""Overlays that many smears of a data set show at the same place, and colours that its tissue does not have.

A tissue never repeats at the same pixels; a scale bar, a logo, a reticle, a scratch and dust on the sensor do.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from smearsynth.annotation.block_clusters import BlockCluster, adjacent_groups, block_clusters
from smearsynth.annotation.burned_in import overlays_of, text_at, vivid_overlays
from smearsynth.annotation.relative_colours import (
    KINDS,
    Floats,
    Overlay,
    OverlayKind,
    RelativeColours,
    bounding_window,
    grown,
    parts,
    union,
)
from smearsynth.smear import ImageArray, Mask

_MIN_SMEARS, _MIN_FRACTION = 5, 0.1  # smears that show a repeated structure, and of those of the sample
_MIN_DETECTIONS = 3  # smears in which an overlay was found by itself at the same place
_FINE, _COARSE = 15, 61  # px; sides of the squares whose mean is subtracted
_MIN_CONTRAST = 0.02  # of the background level
_SPARSE_SQUARE = np.kron(np.ones((6, 6), bool), np.eye(1, 16, dtype=bool).reshape(4, 4))[:21, :21]
_PRINTED_CONTRAST = 0.25  # dust is fainter
_MIN_CORRELATION = 0.5
_GAINS = (0.3, 3.0)
_COLOUR_BIN, _COLOUR_BINS = 0.1, 16
_MIN_COLOUR_SMEARS = 10  # smears that are enough to say which colours tissue has
_NOVEL_CHROMA = 0.25


@dataclass(frozen=True, eq=False)
class Template:
    """A structure that smears of one size show at the same place, in px of the working size.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    mask : (h, w) bool array
        Its pixels.
    pattern : (h, w) float32 array
        Brightness minus its local mean, the mean of the smears that show it.
    side : int
        Side of the square of the local mean.
    x, y : int
        Upper left pixel of the window.
    """

    kind: OverlayKind
    mask: Mask
    pattern: Floats
    side: int
    x: int
    y: int

    def shown_by(self, brightness: Floats) -> bool:
        """Test whether an image (H, W) has the structure at its place."""
        height, width = self.mask.shape
        pad = self.side // 2 + 1
        y0, x0 = max(0, self.y - pad), max(0, self.x - pad)
        crop = brightness[y0 : self.y + height + pad, x0 : self.x + width + pad]
        local = crop - ndimage.uniform_filter(crop, self.side)
        near = grown(self.mask, 3)
        values = local[self.y - y0 :, self.x - x0 :][:height, :width][near]
        expected = self.pattern[near]
        expected = expected - expected.mean()
        values = values - values.mean()
        product = float(expected @ values)
        gain = product / max(float(expected @ expected), 1e-9)
        correlation = product / max(float(np.linalg.norm(expected) * np.linalg.norm(values)), 1e-9)
        return correlation > _MIN_CORRELATION and _GAINS[0] < gain < _GAINS[1]


@dataclass(frozen=True, eq=False)
class OverlayEvidence:
    """What a sample of smears says about the overlays of its data set.

    Parameters
    ----------
    templates : mapping of (int, int) to sequence of Template
        Repeated structures of the images of each size (H, W).
    tissue_colours : (16, 16, 16) bool array or None
        Relative colours that occur outside overlays, in steps of 0.1; None if the sample has fewer than 10 smears.
    places : mapping of (int, int) to sequence of (slice, slice)
        Windows at the working size in which images of each size have a scale bar or text.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> images = rng.normal(200, 4, (8, 96, 128, 3)).clip(0, 255).astype(np.uint8)
    >>> images[:, 40:48, 60:68] -= 16
    >>> evidence = OverlayEvidence.of(images)
    >>> [(overlay.kind, overlay.box) for overlay in evidence.overlays(images[0])]
    [('dust', (58, 38, 70, 50))]
    >>> OverlayEvidence().overlays(images[0])
    []
    """

    templates: Mapping[tuple[int, int], Sequence[Template]] | None = None
    tissue_colours: Mask | None = None
    places: Mapping[tuple[int, int], Sequence[tuple[slice, slice]]] | None = None

    @classmethod
    def of(cls, images: Iterable[ImageArray]) -> OverlayEvidence:
        """Collect the evidence of a sample of images; images of different sizes are compared with their like."""
        groups: dict[tuple[int, int], _Fields] = defaultdict(_Fields.empty)
        colours = np.zeros(_COLOUR_BINS**3, np.int32)
        count = 0
        for image in images:
            if min(image.shape[:2]) < 32:
                continue
            relative = RelativeColours.of(image)
            overlays = overlays_of(relative)
            groups[relative.shape].add(relative, overlays)
            outside = ~grown(union(overlays, relative), 4)
            occurring = np.bincount(_colour_codes(relative.colours)[outside], minlength=len(colours))
            colours += occurring >= 3
            count += 1
        templates = {size: fields.templates() for size, fields in groups.items()}
        tissue = None
        if count >= _MIN_COLOUR_SMEARS:
            common = (colours >= 2).reshape((_COLOUR_BINS,) * 3)
            tissue = ndimage.binary_dilation(common, np.ones((3, 3, 3), bool))
        places = {size: fields.places() for size, fields in groups.items()}
        return cls(templates, tissue, places)

    def overlays(self, image: ImageArray) -> list[Overlay]:
        """Find the overlays of an image of the data set: those of `find_overlays`, and those of this evidence.

        Parameters
        ----------
        image : (H, W, 3) uint8 array
        """
        if min(image.shape[:2]) < 16:
            return []
        relative = RelativeColours.of(image)
        overlays = overlays_of(relative)
        additions: list[Overlay | None] = []
        covered = union(overlays, relative)
        if self.tissue_colours is not None:
            novel = ~self.tissue_colours.ravel()[_colour_codes(relative.colours)] & ~covered
            additions += vivid_overlays(relative, novel, _NOVEL_CHROMA)
        for template in (self.templates or {}).get(relative.shape, ()):
            window = _window(template)
            if covered[window][template.mask].mean() < 0.85 and template.shown_by(relative.brightest):
                mask = np.zeros(covered.shape, bool)
                mask[window] = template.mask
                additions.append(relative.overlay(template.kind, mask))
        for place in (self.places or {}).get(relative.shape, ()):
            if not covered[place].any():
                additions.append(text_at(relative, place))
        found = overlays + [item for item in additions if item is not None]
        return sorted(found, key=lambda item: (KINDS.index(item.kind), item.y, item.x))


@dataclass(frozen=True, eq=False)
class _Fields:
    """Brightness at the working size of images of one size, in steps of 1/150, with their overlays."""

    brightness: list[npt.NDArray[np.uint8]]
    overlays: list[list[tuple[OverlayKind, Mask]]]

    @classmethod
    def empty(cls) -> _Fields:
        return cls([], [])

    def add(self, relative: RelativeColours, overlays: Sequence[Overlay]) -> None:
        self.brightness.append(np.clip(relative.brightest * 150, 0, 255).astype(np.uint8))
        self.overlays.append([(item.kind, union([item], relative)) for item in overlays])

    def templates(self) -> tuple[Template, ...]:
        found = self._detected_templates()
        count = len(self.brightness)
        need = max(_MIN_SMEARS, math.ceil(_MIN_FRACTION * count))
        if count < need:
            return tuple(found)
        local = np.stack(
            [self._local(k, _FINE, (slice(None), slice(None))).astype(np.float16) for k in range(count)]
        )
        repeated = [self._repeated_template(group, need) for group in adjacent_groups(block_clusters(local, need))]
        for template in sorted((item for item in repeated if item is not None), key=lambda item: -item.mask.sum()):
            if not any(_contains(other, template) for other in found):
                found.append(template)
        return tuple(found)

    def places(self) -> tuple[tuple[slice, slice], ...]:
        """Return the windows in which a tenth of the images have a scale bar or text."""
        count = len(self.brightness)
        if not count:
            return ()
        times = np.zeros(self.brightness[0].shape, np.int32)
        for items in self.overlays:
            drawn = [mask for kind, mask in items if kind == "scale bar or text"]
            times += np.any(drawn, axis=0) if drawn else False
        often = grown(times >= max(_MIN_SMEARS, math.ceil(_MIN_FRACTION * count)), 4)
        return tuple(bounding_window(part, 2) or (slice(0), slice(0)) for part in parts(often))

    def _local(self, k: int, side: int, window: tuple[slice, slice]) -> Floats:
        brightness = self.brightness[k].astype(np.float32) / np.float32(150)
        local: Floats = brightness - ndimage.uniform_filter(brightness, side)
        return local[window]

    def _repeated_template(self, group: Sequence[BlockCluster], need: int) -> Template | None:
        times: dict[int, int] = defaultdict(int)
        for cluster in group:
            for k in cluster.members:
                times[k] += 1
        members = sorted(times, key=lambda k: -times[k])
        members = [k for k in members if times[k] >= 0.4 * len(group)] or members[:need]
        shape = self.brightness[0].shape
        blocks = np.zeros(shape, bool)
        for cluster in group:
            blocks[cluster.window] = True
        window = bounding_window(blocks, 4)
        assert window is not None  # a group has a block
        local = np.stack([self._local(k, _FINE, window) for k in members])
        mean, error = local.mean(0), local.std(0) / np.sqrt(len(members))
        outer = bounding_window(blocks, 4 + 12) or window
        average = np.mean([self.brightness[k][outer] for k in members], axis=0, dtype=np.float32) / np.float32(150)
        contrast = np.abs(average - ndimage.median_filter(average, footprint=_SPARSE_SQUARE))
        contrast = contrast[window[0].start - outer[0].start :, window[1].start - outer[1].start :]
        contrast = contrast[: mean.shape[0], : mean.shape[1]]
        limit = max(_MIN_CONTRAST, 0.2 * float(np.percentile(contrast, 99)))
        core = (contrast > limit) & (np.abs(mean) > 3 * error) & blocks[window]
        core = _without_specks(core)
        if not core.any():
            return None
        full = np.zeros(shape, bool)
        full[window] = core
        return Template(
            self._kind(full, float(contrast[core].max()), members),
            grown(core, 2),
            mean,
            _FINE,
            window[1].start,
            window[0].start,
        )

    def _kind(self, mask: Mask, contrast: float, members: Sequence[int]) -> OverlayKind:
        """Return the kind that the overlays of the members have at this place, else the kind of this form."""
        kinds = [
            kind for k in members for kind, drawn in self.overlays[k] if (drawn & mask).sum() > 0.3 * mask.sum()
        ]
        if len(kinds) > 0.3 * len(members):
            return max(dict.fromkeys(kinds), key=kinds.count)
        window = bounding_window(mask, 0)
        assert window is not None  # the mask has a pixel
        if max(part.stop - part.start for part in window) > 0.4 * min(mask.shape):
            return "line"
        height, width = (part.stop - part.start for part in window)
        return "scale bar or text" if contrast > _PRINTED_CONTRAST or width > max(24, 1.8 * height) else "dust"

    def _detected_templates(self) -> list[Template]:
        """Return templates of pointers that were found by themselves in several images at the same place."""
        found = [(k, mask) for k, items in enumerate(self.overlays) for kind, mask in items if kind == "pointer"]
        templates = []
        while len({k for k, _ in found}) >= _MIN_DETECTIONS:
            overlap = [[_iou(a, b) >= 0.3 for _, b in found] for _, a in found]
            row = max(overlap, key=sum)
            members = [item for item, near in zip(found, row, strict=True) if near]
            found = [item for item, near in zip(found, row, strict=True) if not near]
            smears = sorted({k for k, _ in members})
            if len(smears) < _MIN_DETECTIONS:
                break
            mask = np.mean([drawn for _, drawn in members], axis=0) >= 0.5
            window = bounding_window(mask, 8)
            if window is None:
                continue
            mean = np.stack([self._local(k, _COARSE, window) for k in smears]).mean(0)
            templates.append(Template("pointer", mask[window], mean, _COARSE, window[1].start, window[0].start))
        return templates


def _window(template: Template) -> tuple[slice, slice]:
    height, width = template.mask.shape
    return slice(template.y, template.y + height), slice(template.x, template.x + width)


def _contains(larger: Template, smaller: Template) -> bool:
    """Test whether a template covers more than half of a smaller one."""
    dy, dx = smaller.y - larger.y, smaller.x - larger.x
    y, x = np.nonzero(smaller.mask)
    y, x = y + dy, x + dx
    height, width = larger.mask.shape
    inside = (y >= 0) & (x >= 0) & (y < height) & (x < width)
    return bool(larger.mask[y[inside], x[inside]].sum() > 0.5 * len(y))


def _iou(a: Mask, b: Mask) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))


def _without_specks(mask: Mask) -> Mask:
    """Remove parts of fewer than 6 px; strokes of a text that are close together are one part."""
    labels, count = ndimage.label(grown(mask, 1))
    areas = np.bincount(labels[mask], minlength=count + 1)
    kept: Mask = mask & (areas >= 6)[labels]
    return kept


def _colour_codes(colours: Floats) -> npt.NDArray[np.int32]:
    """Return the bin of each pixel (h, w) in the table of colours."""
    bins = np.minimum((colours * np.float32(1 / _COLOUR_BIN)).astype(np.int32), _COLOUR_BINS - 1)
    codes: npt.NDArray[np.int32] = (bins[0] * _COLOUR_BINS + bins[1]) * _COLOUR_BINS + bins[2]
    return codes
