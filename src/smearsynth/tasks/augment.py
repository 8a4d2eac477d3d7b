"""Classic augmentation of annotated smears: the paper's ten, and copy-paste.

Each is a function of a smear and a generator. Flips change image, labels and ignored pixels, all others the image
only. The paper
names its ten augmentations (section 5.2) but not their strengths; these are the ones of the standard example of
imgaug, which was in use at the time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from smearsynth.errors import DataError, OptionError
from smearsynth.smear import Mask, Smear

Pixels = npt.NDArray[np.float32]  # (H, W, 3), 0 to 255, not yet clipped

Augment = Callable[[Smear, Sequence[Smear], np.random.Generator], Smear]
"""Function of a crop, the other crops of the step, and a generator; returns the augmented crop."""

AugmentName = Literal["none", "classic", "copy-paste", "both"]

# Largest number of simultaneous changes of colour or texture. imgaug's example has 5. An FCN-8s trained for 400
# steps is then worse than without augmentation by 0.006 Dice on Chula and 0.015 on synthetic smears; with 2 by
# 0.004 and 0.003.
MAX_SEVERITY = 2
_GREY = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


def augment(smear: Smear, rng: int | np.random.Generator, *, max_changes: int = MAX_SEVERITY) -> Smear:
    """Apply each flip with probability 1/2, then up to `max_changes` of `CHANGES` in random order.

    Parameters
    ----------
    smear : Smear
    rng : int or numpy.random.Generator
    max_changes : int
        The number of changes is drawn uniformly from 0 to `max_changes`.

    Returns
    -------
    Smear
        With the same instances and classes.

    Raises
    ------
    OptionError
        If `max_changes` is negative.

    Examples
    --------
    >>> labels = np.array([[1, 0, 0], [0, 0, 2]], np.int32)
    >>> smear = Smear(np.full((2, 3, 3), 90, np.uint8), labels, np.array([0, 0]))
    >>> augment(smear, 3).labels.tolist()
    [[2, 0, 0], [0, 0, 1]]
    """
    if max_changes < 0:
        raise OptionError(f"the number of changes must not be negative, got {max_changes}")
    generator = np.random.default_rng(rng)
    image, labels, ignored = smear.image, smear.labels, smear.ignored
    for axis in (0, 1):
        if generator.random() < 0.5:
            image, labels = np.flip(image, axis), np.flip(labels, axis)
            ignored = None if ignored is None else np.flip(ignored, axis)
    selection = generator.permutation(list(CHANGES))[: int(generator.integers(min(max_changes, len(CHANGES)) + 1))]
    pixels = image.astype(np.float32)
    for name in selection:
        pixels = CHANGES[name](pixels, generator)
    return replace(smear, image=as_image(pixels), labels=np.ascontiguousarray(labels), ignored=ignored)


def as_image(pixels: Pixels) -> npt.NDArray[np.uint8]:
    """Round and clip pixels to uint8."""
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def blur(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Blur with a Gaussian of σ = 0 to 2 px."""
    blurred: Pixels = ndimage.gaussian_filter(pixels, float(rng.uniform(0, 2)), axes=(0, 1), mode="nearest")
    return blurred


def sharpen(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Blend with a sharpened image."""
    centre = 8 + rng.uniform(0.75, 1.5)
    kernel = np.full((3, 3), -1.0)
    kernel[1, 1] = centre
    return _blended(pixels, _filtered(pixels, kernel / (centre - 8)), rng)


def emboss(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Blend with an embossed image."""
    strength = rng.uniform(0, 2)
    kernel = np.array([[-1, -1, 0], [-1, 0, 1], [0, 1, 1]]) * strength
    kernel[1, 1] = 1
    return _blended(pixels, _filtered(pixels, kernel), rng)


def add_noise(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Add Gaussian noise of up to 5 % of the range, the same for all channels or independent."""
    channels = 3 if rng.random() < 0.5 else 1
    noise = rng.standard_normal((*pixels.shape[:2], channels), np.float32)
    return pixels + np.float32(rng.uniform(0, 0.05 * 255)) * noise


def invert(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Invert each channel with probability 0.05."""
    return np.where(rng.random(3) < 0.05, 255 - pixels, pixels)


def add_brightness(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Add -10 to 10 grey levels, the same to all channels or independent."""
    return pixels + _per_channel(-10, 10, rng)


def multiply_brightness(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Multiply by 0.5 to 1.5, the same for all channels or independent."""
    return pixels * _per_channel(0.5, 1.5, rng)


def normalise_contrast(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Multiply the contrast by 0.5 to 2, the same for all channels or independent."""
    return 128 + (pixels - 128) * _per_channel(0.5, 2, rng)


def grey(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Blend with the grey image."""
    return _blended(pixels, np.repeat(pixels @ _GREY[:, None], 3, axis=2), rng)


CHANGES: dict[str, Callable[[Pixels, np.random.Generator], Pixels]] = {
    "blur": blur,
    "sharpen": sharpen,
    "emboss": emboss,
    "noise": add_noise,
    "invert": invert,
    "add brightness": add_brightness,
    "multiply brightness": multiply_brightness,
    "contrast": normalise_contrast,
    "grey": grey,
}


def copy_paste(smear: Smear, donor: Smear, rng: int | np.random.Generator) -> Smear:
    """Paste some cells of another smear (Ghiasi et al. 2021, *Simple Copy-Paste*).

    A random number of whole cells of the donor is rotated by multiples of 90°, flipped, shifted together, and
    pasted on top. Cells that are completely covered disappear.

    Parameters
    ----------
    smear, donor : Smear
        With the same classes.
    rng : int or numpy.random.Generator

    Returns
    -------
    Smear
        Of the size of `smear`.

    Raises
    ------
    DataError
        If the classes differ.

    Examples
    --------
    >>> labels = np.zeros((8, 8), np.int32)
    >>> empty = Smear(np.full((8, 8, 3), 200, np.uint8), labels.copy(), np.array([], int))
    >>> labels[3:5, 3:5] = 1
    >>> donor = Smear(np.full((8, 8, 3), 90, np.uint8), labels, np.array([0]))
    >>> pasted_smear = copy_paste(empty, donor, 5)
    >>> pasted_smear.count, bool(((pasted_smear.image == 90).all(2) == (pasted_smear.labels == 1)).all())
    (1, True)
    """
    if smear.class_names != donor.class_names:
        raise DataError(
            f"has the classes {', '.join(donor.class_names)}, not {', '.join(smear.class_names)}; "
            "read both with the same --classes",
            donor.name or None,
        )
    generator = np.random.default_rng(rng)
    # a cell that is cut by the border would show its straight edge
    whole = np.flatnonzero(~donor.incomplete())
    if not len(whole):
        return smear
    selection = generator.permutation(whole)[: int(generator.integers(1, len(whole) + 1))]
    pasted = np.zeros(donor.count + 1, np.int32)
    pasted[selection + 1] = selection + 1
    quarter_turns, flipped = int(generator.integers(4)), bool(generator.integers(2))
    image, ids = (_rotated(array, quarter_turns, flipped) for array in (donor.image, pasted[donor.labels]))
    target, source = _windows(smear.shape, (ids.shape[0], ids.shape[1]), generator)
    covered: Mask = np.zeros(smear.shape, bool)
    covered[target] = ids[source] > 0
    new_image, new_labels = smear.image.copy(), smear.labels.copy()
    new_image[target][covered[target]] = image[source][covered[target]]
    new_labels[target][covered[target]] = ids[source][covered[target]] + smear.count
    return replace(
        Smear.from_labels(
            new_image,
            new_labels,
            np.concatenate([smear.classes, donor.classes]),
            class_names=smear.class_names,
            name=smear.name,
            ignored=smear.ignored,
        ),
        um_per_px=smear.um_per_px,
    )


def named_augment(name: AugmentName, max_changes: int = MAX_SEVERITY) -> Augment | None:
    """Return the augmentation "none", "classic" (`augment`), "copy-paste" or "both" (copy-paste, then classic).

    Examples
    --------
    >>> named_augment("none") is None
    True
    """

    def classic(crop: Smear, others: Sequence[Smear], rng: np.random.Generator) -> Smear:
        return augment(crop, rng, max_changes=max_changes)

    def both(crop: Smear, others: Sequence[Smear], rng: np.random.Generator) -> Smear:
        return classic(_copy_paste(crop, others, rng), others, rng)

    named: dict[AugmentName, Augment] = {"classic": classic, "copy-paste": _copy_paste, "both": both}
    return None if name == "none" else named[name]


def _copy_paste(crop: Smear, others: Sequence[Smear], rng: np.random.Generator) -> Smear:
    # half of the crops stay unchanged, so that the network sees the real density too
    donor = others[int(rng.integers(len(others)))]
    return copy_paste(crop, donor, rng) if rng.random() < 0.5 else crop


def _filtered(pixels: Pixels, kernel: npt.NDArray[np.float64]) -> Pixels:
    filtered: Pixels = ndimage.correlate(pixels, kernel[:, :, None].astype(np.float32), mode="nearest")
    return filtered


def _blended(pixels: Pixels, changed: Pixels, rng: np.random.Generator) -> Pixels:
    weight = np.float32(rng.random())
    return (1 - weight) * pixels + weight * changed


def _per_channel(low: float, high: float, rng: np.random.Generator) -> Pixels:
    """Draw one number for all channels or, with probability 1/2, one per channel."""
    return rng.uniform(low, high, 3 if rng.random() < 0.5 else 1).astype(np.float32)


def _rotated(array: npt.NDArray[Any], quarter_turns: int, flipped: bool) -> npt.NDArray[Any]:
    rotated = np.rot90(array, quarter_turns)
    return np.flip(rotated, 1) if flipped else rotated


def _windows(
    size: tuple[int, int], donor: tuple[int, int], rng: np.random.Generator
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Draw an overlap of two fields, shifted at random; at least half of the smaller one lies on the other."""
    target, source = [], []
    for side, other in zip(size, donor, strict=True):
        reach = min(side, other) // 2
        start = int(rng.integers(reach - other, side - reach + 1))
        low, high = max(start, 0), min(start + other, side)
        target.append(slice(low, high))
        source.append(slice(low - start, high - start))
    return (target[0], target[1]), (source[0], source[1])
