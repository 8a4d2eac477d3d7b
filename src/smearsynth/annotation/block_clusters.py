"""Blocks of pixels that look the same in many images at the same place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_BLOCK, _STEP = 16, 8  # px
# Blocks of tissue at the same place of unrelated smears correlate by more than this in at most 3 of 60 smears
# (Chula, BBBC041Seg).
_MIN_CORRELATION = 0.8
_MIN_DEVIATION = 0.015  # of the background level; blocks below it have nothing but noise
_MAX_COMMON = 0.35  # of the blocks of two images; pairs with more show the same field


@dataclass(frozen=True)
class BlockCluster:
    """Images that look the same in one block.

    Parameters
    ----------
    row, column : int
        Position of the block in steps of 8 px.
    members : frozenset of int
        Indices of the images.
    """

    row: int
    column: int
    members: frozenset[int]

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the block in px."""
        y, x = self.row * _STEP, self.column * _STEP
        return slice(y, y + _BLOCK), slice(x, x + _BLOCK)


def block_clusters(fields: npt.NDArray[np.floating], need: int) -> list[BlockCluster]:
    """Find blocks that correlate by more than 0.8 between one image and others at the same place.

    Parameters
    ----------
    fields : (n, H, W) float array
        Images minus their local mean, relative to the level of the background. Two images that agree in more than
        a third of their blocks show the same field; they are no evidence.
    need : int
        Smallest number of images of a cluster.

    Examples
    --------
    >>> fields = np.random.default_rng(0).normal(0, 0.02, (6, 40, 64))
    >>> fields[:, 10:14, 20:30] += 0.3
    >>> sorted(block_clusters(fields, 5)[0].members)
    [0, 1, 2, 3, 4, 5]
    >>> block_clusters(fields[:4], 5)
    []
    """
    count, height, _ = fields.shape
    if count < need:
        return []
    rows = []
    for y in range(0, height - _BLOCK + 1, _STEP):
        views = np.lib.stride_tricks.sliding_window_view(fields[:, y : y + _BLOCK], _BLOCK, axis=2)[:, :, ::_STEP]
        blocks = views.transpose(2, 0, 1, 3).reshape(views.shape[2], count, -1).astype(np.float32)
        blocks -= blocks.mean(2, keepdims=True)
        norm = np.linalg.norm(blocks, axis=2, keepdims=True)
        blocks *= (norm > _MIN_DEVIATION * _BLOCK) / np.maximum(norm, 1e-6)
        rows.append(blocks @ blocks.transpose(0, 2, 1) > _MIN_CORRELATION)
    similar = np.stack(rows)
    structured = np.einsum("yxkk->k", similar.astype(np.int32))
    common = similar.sum((0, 1), dtype=np.int32)
    same_field = common > np.maximum(_MAX_COMMON * np.minimum(structured[:, None], structured[None]), 20)
    np.fill_diagonal(same_field, False)
    similar &= ~same_field
    found = []
    for row, column in np.argwhere(similar.sum(3, dtype=np.int32).max(2) >= need).tolist():
        pairs = similar[row, column].copy()
        while (sizes := pairs.sum(1)).max() >= need:
            members = np.flatnonzero(pairs[int(sizes.argmax())])
            found.append(BlockCluster(row, column, frozenset(members.tolist())))
            pairs[members] = False
            pairs[:, members] = False
    return found


def adjacent_groups(clusters: Sequence[BlockCluster]) -> list[list[BlockCluster]]:
    """Join clusters of blocks that overlap or touch and have most of their images in common.

    Examples
    --------
    >>> members = frozenset(range(5))
    >>> near = [BlockCluster(0, 0, members), BlockCluster(1, 2, members), BlockCluster(9, 9, members)]
    >>> [len(group) for group in adjacent_groups(near)]
    [2, 1]
    """
    at: dict[tuple[int, int], list[int]] = {}
    for k, cluster in enumerate(clusters):
        at.setdefault((cluster.row, cluster.column), []).append(k)
    offsets = [(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3)]
    groups, seen = [], set[int]()
    for start in range(len(clusters)):
        if start in seen:
            continue
        seen.add(start)
        group, waiting = [], [start]
        while waiting:
            k = waiting.pop()
            group.append(clusters[k])
            here = clusters[k]
            for dy, dx in offsets:
                for other in at.get((here.row + dy, here.column + dx), ()):
                    common = len(here.members & clusters[other].members)
                    if other not in seen and 2 * common >= len(here.members | clusters[other].members):
                        seen.add(other)
                        waiting.append(other)
        groups.append(group)
    return groups
