"""Bitmaps of 64-bit words: rasterised area, overlap, dilation, connectivity, painting."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage.measure import label

from smearsynth.layout.kernels.bitmaps import (
    count_bits,
    is_connected,
    make_scratch,
    paint_words,
    rasterise,
    strip_mask,
    strips_of,
)

VERTICES = 64
TURN = np.linspace(0, 2 * np.pi, VERTICES, endpoint=False)


def disc(radius, across=None):
    """An ellipse with semi-axes in px, as the kernels read it: (2, VERTICES)."""
    return np.stack([(across or radius) * np.cos(TURN), radius * np.sin(TURN)])


def rasterised(points, angle=0.0, scale=1.0, mirrored=0):
    """The pixels of a contour as a boolean image, and its box."""
    scratch = make_scratch(VERTICES, 4096)
    left, top, rows, width = rasterise(points, angle, scale, mirrored, scratch)
    out = np.zeros((rows, width), np.uint8)
    paint_words(scratch.words, 0, 0, rows, width, np.uint8(1), out)
    return out > 0, (left, top)


@pytest.mark.parametrize("radius", [3.0, 20.5, 70.0])
def test_a_disc_covers_the_pixels_whose_centres_it_holds(radius):
    pixels, (left, top) = rasterised(disc(radius))
    y, x = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
    polygon_radius = radius * np.cos(np.pi / VERTICES)  # the contour is a polygon inside the circle
    distance = np.hypot(x + left, y + top)
    assert pixels[distance < polygon_radius - 1e-6].all()
    assert not pixels[distance > radius].any()


def test_rotation_by_a_quarter_turn_swaps_the_axes():
    wide, _ = rasterised(disc(5.5, 15.5))
    tall, _ = rasterised(disc(5.5, 15.5), angle=np.pi / 2)
    assert wide.shape == tall.shape[::-1]
    assert wide.sum() == pytest.approx(tall.sum(), abs=4)


@pytest.mark.parametrize(("x", "width", "bits"), [(0, 64, 64), (-10, 64, 54), (10, 64, 54), (64, 64, 0), (0, 5, 5)])
def test_a_strip_mask_holds_the_pixels_inside(x, width, bits):
    assert bin(int(strip_mask(x, width))).count("1") == bits


@pytest.mark.parametrize("seed", range(6))
def test_connectivity_is_that_of_scikit_image(seed):
    """4-connectivity of random blobs that span two strips."""
    rng = np.random.default_rng(seed)
    image = ndimage.gaussian_filter(rng.normal(size=(30, 90)), 3) > 0.05
    rows, width = image.shape
    padded = np.zeros((rows, 64 * strips_of(width)), bool)
    padded[:, :width] = image
    words = np.packbits(padded.reshape(rows, -1, 64), axis=2, bitorder="little").view(np.uint64)[..., 0]
    words = np.ascontiguousarray(words.T).ravel()
    assert count_bits(words) == image.sum()
    assert is_connected(words, rows, width, np.zeros_like(words)) == (label(image, connectivity=1).max() == 1)


def test_one_disc_is_connected():
    scratch = make_scratch(VERTICES, 4096)
    _, _, rows, width = rasterise(disc(40.0), 0.0, 1.0, 0, scratch)
    words = scratch.words[: rows * strips_of(width)]
    assert is_connected(words, rows, width, np.zeros_like(words))
