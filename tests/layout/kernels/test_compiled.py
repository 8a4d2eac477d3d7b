"""Kernels are compiled once and cached."""

from __future__ import annotations

import numba

from layout_reference import ellipses
from smearsynth.layout import ring_layout, uniform_layout

MIXED = ellipses([(4, 3.5), (23, 21), (24, 22), (125, 118)], [0, 1, 1, 2], ("platelet", "red", "white"))


DISCS = ellipses([(7, 7), (8, 6)])


def test_kernels_are_compiled_once():
    from smearsynth.layout.kernels.placement import place_cells

    assert isinstance(place_cells, numba.core.dispatcher.Dispatcher)
    ring_layout((50, 60), 3, DISCS, cell_size=14, rng=1)
    uniform_layout((50, 60), 3, MIXED, rng=1)
    assert len(place_cells.signatures) == 1
