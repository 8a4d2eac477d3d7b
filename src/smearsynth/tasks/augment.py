"""Classic augmentation of annotated smears: the paper's ten, and copy-paste.

Each is a function of a smear and a generator; flips turn image and labels together, the others change the image
alone. The paper names its ten (section 5.2) but no strengths: ours are those that imgaug, in use at the time, gave
as its standard example.
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
"""From a crop, other crops it may borrow cells from, and a generator, to the crop to train on."""

AugmentName = Literal["none", "classic", "copy-paste", "both"]

# Changes of colour or texture at a time. imgaug's example has 5: an FCN-8s trained for 400 steps on Chula then is
# 0.006 Dice worse than one without any, on synthetic smears 0.015; with 2 it is 0.004 and 0.003.
MAX_SEVERITY = 2
_GREY = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


def augment(smear: Smear, rng: int | np.random.Generator, *, most: int = MAX_SEVERITY) -> Smear:
    """Each flip with probability 1/2, then up to `most` of the changes in `CHANGES`, in random order.

    Parameters
    ----------
    smear : Smear
    rng : int or numpy.random.Generator
    most : int
        The number of changes is drawn from 0 to `most`.

    Returns
    -------
    Smear
        A new one of the same instances and classes.

    Raises
    ------
    OptionError
        When `most` is negative.

    Examples
    --------
    >>> labels = np.array([[1, 0, 0], [0, 0, 2]], np.int32)
    >>> smear = Smear(np.full((2, 3, 3), 90, np.uint8), labels, np.array([0, 0]))
    >>> augment(smear, 3).labels.tolist()
    [[2, 0, 0], [0, 0, 1]]
    """
    if most < 0:
        raise OptionError(f"the number of changes must not be negative, got {most}")
    generator = np.random.default_rng(rng)
    image, labels = smear.image, smear.labels
    for axis in (0, 1):
        if generator.random() < 0.5:
            image, labels = np.flip(image, axis), np.flip(labels, axis)
    chosen = generator.permutation(list(CHANGES))[: int(generator.integers(min(most, len(CHANGES)) + 1))]
    pixels = image.astype(np.float32)
    for name in chosen:
        pixels = CHANGES[name](pixels, generator)
    return replace(smear, image=as_image(pixels), labels=np.ascontiguousarray(labels))


def as_image(pixels: Pixels) -> npt.NDArray[np.uint8]:
    """Rounded and clipped to uint8."""
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def blur(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Gaussian blur of 0 to 2 px."""
    blurred: Pixels = ndimage.gaussian_filter(pixels, float(rng.uniform(0, 2)), axes=(0, 1), mode="nearest")
    return blurred


def sharpen(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Mix with an image whose differences from its neighbours are enlarged."""
    centre = 8 + rng.uniform(0.75, 1.5)
    kernel = np.full((3, 3), -1.0)
    kernel[1, 1] = centre
    return _mixed(pixels, _filtered(pixels, kernel / (centre - 8)), rng)


def emboss(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Mix with an image lit from the upper left, as a relief."""
    strength = rng.uniform(0, 2)
    kernel = np.array([[-1, -1, 0], [-1, 0, 1], [0, 1, 1]]) * strength
    kernel[1, 1] = 1
    return _mixed(pixels, _filtered(pixels, kernel), rng)


def add_noise(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Gaussian noise of up to 5 % of the range, for all channels together or for each."""
    channels = 3 if rng.random() < 0.5 else 1
    noise = rng.standard_normal((*pixels.shape[:2], channels), np.float32)
    return pixels + np.float32(rng.uniform(0, 0.05 * 255)) * noise


def invert(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Turn each channel into its negative with probability 0.05."""
    return np.where(rng.random(3) < 0.05, 255 - pixels, pixels)


def add_brightness(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Add -10 to 10 grey levels, to all channels or to each its own."""
    return pixels + _per_channel(-10, 10, rng)


def multiply_brightness(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Multiply by 0.5 to 1.5, all channels or each by its own."""
    return pixels * _per_channel(0.5, 1.5, rng)


def normalise_contrast(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Stretch the distances from medium grey by 0.5 to 2, in all channels or in each."""
    return 128 + (pixels - 128) * _per_channel(0.5, 2, rng)


def grey(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Mix with the image in grey."""
    return _mixed(pixels, np.repeat(pixels @ _GREY[:, None], 3, axis=2), rng)


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

    A random number of the donor's whole cells is turned by quarters, flipped, shifted together, and pasted. They
    lie on top: what they hide is theirs, and cells that are wholly hidden are gone.

    Parameters
    ----------
    smear, donor : Smear
        Of the same classes.
    rng : int or numpy.random.Generator

    Returns
    -------
    Smear
        Of the size of `smear`.

    Raises
    ------
    DataError
        When the classes differ.

    Examples
    --------
    >>> labels = np.zeros((8, 8), np.int32)
    >>> bare = Smear(np.full((8, 8, 3), 200, np.uint8), labels.copy(), np.array([], int))
    >>> labels[3:5, 3:5] = 1
    >>> donor = Smear(np.full((8, 8, 3), 90, np.uint8), labels, np.array([0]))
    >>> made = copy_paste(bare, donor, 5)
    >>> made.count, bool(((made.image == 90).all(2) == (made.labels == 1)).all())
    (1, True)
    """
    if smear.class_names != donor.class_names:
        raise DataError(
            f"has the classes {', '.join(donor.class_names)}, not {', '.join(smear.class_names)}; read both alike",
            donor.name or None,
        )
    generator = np.random.default_rng(rng)
    # a cell that the border cuts would show its straight edge
    whole = np.flatnonzero(~donor.cut_by_border())
    if not len(whole):
        return smear
    chosen = generator.permutation(whole)[: int(generator.integers(1, len(whole) + 1))]
    pasted = np.zeros(donor.count + 1, np.int32)
    pasted[chosen + 1] = chosen + 1
    turns, flipped = int(generator.integers(4)), bool(generator.integers(2))
    image, ids = (_turned(array, turns, flipped) for array in (donor.image, pasted[donor.labels]))
    here, there = _windows(smear.shape, (ids.shape[0], ids.shape[1]), generator)
    top: Mask = np.zeros(smear.shape, bool)
    top[here] = ids[there] > 0
    new_image, new_labels = smear.image.copy(), smear.labels.copy()
    new_image[here][top[here]] = image[there][top[here]]
    new_labels[here][top[here]] = ids[there][top[here]] + smear.count
    return replace(
        Smear.from_labels(
            new_image,
            new_labels,
            np.concatenate([smear.classes, donor.classes]),
            class_names=smear.class_names,
            name=smear.name,
        ),
        um_per_px=smear.um_per_px,
    )


def named_augment(name: AugmentName, most: int = MAX_SEVERITY) -> Augment | None:
    """What is done to each crop: "none", "classic" (`augment`), "copy-paste", or "both", the latter two.

    Examples
    --------
    >>> named_augment("none") is None
    True
    """

    def classic(crop: Smear, others: Sequence[Smear], rng: np.random.Generator) -> Smear:
        return augment(crop, rng, most=most)

    def both(crop: Smear, others: Sequence[Smear], rng: np.random.Generator) -> Smear:
        return classic(_copy_paste(crop, others, rng), others, rng)

    named: dict[AugmentName, Augment] = {"classic": classic, "copy-paste": _copy_paste, "both": both}
    return None if name == "none" else named[name]


def _copy_paste(crop: Smear, others: Sequence[Smear], rng: np.random.Generator) -> Smear:
    # half the crops stay as they are: the network sees real density too
    donor = others[int(rng.integers(len(others)))]
    return copy_paste(crop, donor, rng) if rng.random() < 0.5 else crop


def _filtered(pixels: Pixels, kernel: npt.NDArray[np.float64]) -> Pixels:
    filtered: Pixels = ndimage.correlate(pixels, kernel[:, :, None].astype(np.float32), mode="nearest")
    return filtered


def _mixed(pixels: Pixels, changed: Pixels, rng: np.random.Generator) -> Pixels:
    share = np.float32(rng.random())
    return (1 - share) * pixels + share * changed


def _per_channel(low: float, high: float, rng: np.random.Generator) -> Pixels:
    """One number for all channels or, as often, one for each."""
    return rng.uniform(low, high, 3 if rng.random() < 0.5 else 1).astype(np.float32)


def _turned(array: npt.NDArray[Any], turns: int, flipped: bool) -> npt.NDArray[Any]:
    turned = np.rot90(array, turns)
    return np.flip(turned, 1) if flipped else turned


def _windows(
    size: tuple[int, int], donor: tuple[int, int], rng: np.random.Generator
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where a field of `donor` px lies on one of `size`, shifted at random with half of the smaller left on it."""
    here, there = [], []
    for side, other in zip(size, donor, strict=True):
        reach = min(side, other) // 2
        start = int(rng.integers(reach - other, side - reach + 1))
        low, high = max(start, 0), min(start + other, side)
        here.append(slice(low, high))
        there.append(slice(low - start, high - start))
    return (here[0], here[1]), (there[0], there[1])
