from __future__ import annotations

import numpy as np
import pytest

from smearsynth.formats.pixels.channels import ChannelInfo, merge_channels

RED, GREEN, BLUE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0)


@pytest.mark.parametrize(
    ("info", "count", "expected"),
    [
        (ChannelInfo(), 2, [RED, GREEN]),
        (ChannelInfo(), 4, [RED, GREEN, BLUE, BLACK]),
        (ChannelInfo(names=["b", "g", "r"]), 3, [BLUE, GREEN, RED]),
        (ChannelInfo(names=["c:1/3 - green", "c:2/3 - Red", "c:3/3 - BLUE"]), 3, [GREEN, RED, BLUE]),
        (ChannelInfo(names=["Brightfield", "Green", "Red"]), 3, [RED, GREEN, BLUE]),  # incomplete
        (ChannelInfo(names=["infrared", "orange", "bluish"]), 3, [RED, GREEN, BLUE]),  # parts of words
        (ChannelInfo(colours=[BLUE, RED, GREEN]), 3, [BLUE, RED, GREEN]),
        (ChannelInfo(names=["r", "g", "b"], colours=[BLUE, RED, GREEN]), 3, [RED, GREEN, BLUE]),
        (ChannelInfo(colours=[RED, RED, RED]), 3, [RED, GREEN, BLUE]),
        (ChannelInfo(colours=[(0, 255, 255), (255, 0, 255)]), 2, [(0, 255, 255), (255, 0, 255)]),
    ],
)
def test_colours_of_channels(info: ChannelInfo, count: int, expected: list[tuple[int, int, int]]) -> None:
    assert info.rgb(count) == expected


def test_overlapping_colours_are_added_and_clipped() -> None:
    planes = [np.full((1, 1), 200, np.uint8)] * 2
    assert merge_channels(planes, [(0, 255, 255), (255, 0, 255)]).tolist() == [[[200, 200, 255]]]
