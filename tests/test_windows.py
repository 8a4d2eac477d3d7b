from __future__ import annotations

import numpy as np

from smearsynth.windows import MAX_IGNORED, draw_window


def test_positions_without_ignored_pixels_are_those_of_one_draw() -> None:
    first, second = np.random.default_rng(3), np.random.default_rng(3)
    for _ in range(5):
        expected = int(first.integers(51)), int(first.integers(71))
        assert draw_window((60, 80), (10, 10), second) == expected


def test_crops_avoid_ignored_pixels() -> None:
    ignored = np.zeros((60, 80), bool)
    ignored[:, 40:] = True
    rng = np.random.default_rng(0)
    for _ in range(50):
        top, left = draw_window((60, 80), (16, 16), rng, ignored)
        assert ignored[top : top + 16, left : left + 16].mean() <= MAX_IGNORED


def test_the_position_with_the_fewest_ignored_pixels_is_used_if_none_is_free() -> None:
    ignored = np.ones((20, 100), bool)
    ignored[:, 0] = False
    positions = [draw_window((20, 100), (20, 16), np.random.default_rng(k), ignored)[1] for k in range(40)]
    assert positions.count(0) > 3  # one draw finds it with probability 1/85
    assert draw_window((20, 20), (20, 20), np.random.default_rng(0), np.ones((20, 20), bool)) == (0, 0)
