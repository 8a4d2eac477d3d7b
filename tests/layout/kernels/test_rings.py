"""Centres are drawn from the paper's distribution P(i)."""

from __future__ import annotations

import numpy as np
import pytest

from layout_reference import probability_map
from smearsynth.layout.kernels.bitmaps import CELL
from smearsynth.layout.kernels.compiled import kernel, seed_state
from smearsynth.layout.kernels.rings import draw_centre, make_ring


@kernel
def _count_draws(draws, state, i, n_init, cells, ring, counts):
    for _ in range(draws):
        x, y = draw_centre(state, i, n_init, cells, ring, counts.shape[1], counts.shape[0])
        counts[y, x] += 1


def drawn_counts(size, i, n_init, centres, cell_size, draws, seed=3):
    cells = np.zeros(len(centres), CELL)
    cells["x"], cells["y"] = np.transpose(centres)
    counts = np.zeros(size, np.int64)
    state = seed_state(np.random.default_rng(seed))
    _count_draws(draws, state, i, n_init, cells, make_ring(float(cell_size)), counts)
    return counts


def chi_square_score(counts, expected_map, min_count=25.0):
    """Chi-square of counts against a distribution, in standard deviations from its mean; rare pixels are pooled."""
    expected = expected_map.ravel() * counts.sum()
    order = np.argsort(expected, kind="stable")
    group = np.floor(np.cumsum(expected[order]) / min_count).astype(int)
    expected_counts = np.bincount(group, expected[order])
    observed = np.bincount(group, counts.ravel()[order])
    frequent = expected_counts > min_count / 2
    expected_counts, observed = expected_counts[frequent], observed[frequent]
    freedom = len(expected_counts) - 1
    return (((observed - expected_counts) ** 2 / expected_counts).sum() - freedom) / np.sqrt(2 * freedom)


@pytest.mark.parametrize("i", [6, 8, 40])
def test_a_draw_follows_the_papers_map(i):
    size, n_init, cell_size = (60, 90), 5, 9
    rng = np.random.default_rng(i)
    centres = np.stack([rng.integers(0, 90, i - 1), rng.integers(0, 60, i - 1)], 1)
    centres[-1] = (0, 0)  # a corner, where the canvas cuts the ring most
    counts = drawn_counts(size, i, n_init, centres, cell_size, 3_000_000)
    assert abs(chi_square_score(counts, probability_map(size, i, n_init, centres, cell_size))) < 5
    # The control: rings normalised over the whole plane are another law, and the test must see it.
    control = probability_map(size, i, n_init, centres, cell_size, over_plane=True)
    assert chi_square_score(counts, control) > 20


def test_a_draw_on_a_canvas_far_smaller_than_the_ring():
    size, centres = (9, 12), [(3, 4), (11, 8), (0, 0)]
    counts = drawn_counts(size, 4, 1, centres, 60, 200_000)
    assert abs(chi_square_score(counts, probability_map(size, 4, 1, centres, 60))) < 5


def test_the_first_cells_are_uniform_and_the_next_one_is_not():
    counts = drawn_counts((30, 40), 5, 5, [(3, 3)] * 4, 8, 500_000)
    assert abs(chi_square_score(counts, np.full((30, 40), 1 / 1200))) < 5
    counts = drawn_counts((30, 40), 6, 5, [(3, 3)] * 5, 8, 500_000)
    assert chi_square_score(counts, np.full((30, 40), 1 / 1200)) > 20
