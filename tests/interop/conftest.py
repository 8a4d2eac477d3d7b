from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from smears import random_smear
from smearsynth.formats import open_writer
from smearsynth.smear import Smear

CLASS_NAMES = ("red", "white")


@pytest.fixture(scope="session")
def smears() -> dict[str, Smear]:
    """Five fields of 96 × 128 px with two classes and overlapping cells; the last two are for validation."""
    fields = [random_smear(seed, (96, 128), class_names=CLASS_NAMES) for seed in range(5)]
    return {smear.name: smear for smear in fields}


def split_of(name: str) -> str:
    return "val" if name in ("smear-03", "smear-04") else "train"


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory, smears: dict[str, Smear]) -> Callable[..., Path]:
    """Return a function that writes the smears in a format and returns the folder, which was moved once."""

    def write(format: str, *, splits: bool = True) -> Path:
        parent = tmp_path_factory.mktemp(format)
        with open_writer(
            parent / "first",
            format=format,
            class_names=CLASS_NAMES,
            split_of=split_of if splits else None,
        ) as writer:
            for smear in smears.values():
                writer.write(smear)
        return (parent / "first").rename(parent / "moved")

    return write


@pytest.fixture(scope="session")
def same_cells() -> Callable[[list[np.ndarray], Smear], bool]:
    """Return a function that compares masks of cells, in any order, with the labels of a smear."""

    def compare(masks: list[np.ndarray], smear: Smear) -> bool:
        expected = {(smear.labels == k).tobytes() for k in range(1, smear.count + 1)}
        return expected == {np.ascontiguousarray(mask > 0).tobytes() for mask in masks}

    return compare
