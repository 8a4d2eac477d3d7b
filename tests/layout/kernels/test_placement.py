"""Sequential placement: exact fallback, colours, unusual shapes."""

from __future__ import annotations

import numpy as np
import pytest

from layout_reference import ellipses
from smearsynth.layout import Workspace, ring_layout, workspace
from smearsynth.layout.painting import paint_labels
from smearsynth.shapes import ShapeLibrary

DISCS = ellipses([(7, 7), (8, 6)])


def test_scanning_all_centres_samples_the_same_distribution(monkeypatch):
    size, discs = (48, 64), Workspace(ellipses([(6, 6)]))

    def offsets():
        pairs = [ring_layout(size, 2, discs, cell_size=12, n_init=1, rng=seed) for seed in range(4000)]
        return np.array([[x[1] - x[0], y[1] - y[0]] for x, y in ((p.x, p.y) for p in pairs)])

    def histogram(centres):
        distance = np.hypot(*centres.T)
        return np.histogram(distance, [0, 13, 15, 17, 19, 22, 25, 30, 36, 100])[0]

    sampled = histogram(offsets())
    monkeypatch.setattr(workspace, "_centre_tries", lambda height, width: 0)
    scanned = histogram(offsets())
    assert ((sampled - scanned) ** 2 / (sampled + scanned).clip(1)).sum() < 30  # 8 degrees of freedom


def touching_pairs(labels):
    """Pairs of labels that touch side by side or corner to corner."""
    padded = np.pad(labels, 1)
    pairs = set()
    for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
        other = np.roll(padded, (-dy, -dx), (0, 1))
        apart = (padded != other) & (padded > 0) & (other > 0)
        pairs |= {tuple(sorted(pair)) for pair in zip(padded[apart], other[apart], strict=True)}
    return pairs


@pytest.mark.parametrize("n_colours", [1, 3, 8])
def test_touching_cells_never_share_a_colour(n_colours):
    layout = ring_layout((150, 210), 120, DISCS, cell_size=14, n_colours=n_colours, rng=n_colours)
    pairs = touching_pairs(paint_labels(layout, DISCS))
    assert layout.colours.min() >= 1
    assert layout.colours.max() <= n_colours
    assert all(layout.colours[a - 1] != layout.colours[b - 1] for a, b in pairs)
    assert bool(pairs) == (n_colours > 1)


def test_a_crescent_that_does_not_hold_its_centre_is_placed():
    outer = np.linspace(0.3, 2 * np.pi - 0.3, 32)
    arc = np.stack([np.cos(outer), np.sin(outer)], 1)
    crescent = np.concatenate([14 * arc, 9 * arc[::-1]])[None].astype(np.float32)
    shapes = ShapeLibrary(crescent, np.zeros(1, np.int64))
    assert Workspace(shapes).table.inner[0] == 0
    laid = ring_layout((120, 160), 400, shapes, cell_size=28, rng=1)
    labels = paint_labels(laid, shapes)
    assert 5 < laid.placed < 400
    assert len(np.unique(labels)) == laid.placed + 1
