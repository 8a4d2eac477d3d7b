"""Small analytic smears: discs of known area and overlap on a uniform background.

``python tests/smears.py FOLDER`` writes a folder of smears to view or to try the commands with.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from smearsynth.formats import open_writer
from smearsynth.smear import Smear

BACKGROUND = (214, 196, 200)
# Mean colour of the cells of each class; each cell gets a random shade.
CELL_COLOURS = ((182, 118, 128), (120, 80, 150), (90, 120, 90))

Disc = tuple[float, float, float]


def disc_mask(size: tuple[int, int], disc: Disc) -> npt.NDArray[np.bool_]:
    """Return the pixels with their centre in the disc (x, y, radius), for a field of (height, width)."""
    y, x = np.mgrid[: size[0], : size[1]]
    return (x - disc[0]) ** 2 + (y - disc[1]) ** 2 <= disc[2] ** 2


def analytic_smear(
    size: tuple[int, int] = (64, 80),
    discs: Iterable[Disc] = ((20, 20, 9), (34, 20, 9), (60, 44, 12)),
    *,
    classes: Sequence[int] | None = None,
    class_names: tuple[str, ...] = ("cell",),
    background: tuple[int, int, int] = BACKGROUND,
    noise: float = 0.0,
    seed: int = 0,
    name: str = "analytic",
    um_per_px: float | None = None,
) -> Smear:
    """Return a field of (height, width) with a disc (x, y, radius) per instance, later ones on top.

    By default two discs overlap (distance 14 px, radii 9) and one is separate.
    """
    rng = np.random.default_rng(seed)
    labels = np.zeros(size, np.int32)
    image = np.broadcast_to(np.array(background, float), (*size, 3)).copy()
    discs = list(discs)
    ids = [0] * len(discs) if classes is None else list(classes)
    for k, (disc, kind) in enumerate(zip(discs, ids, strict=True), 1):
        inside = disc_mask(size, disc)
        labels[inside] = k
        image[inside] = np.array(CELL_COLOURS[kind % len(CELL_COLOURS)]) + rng.uniform(-15, 15)
        # The pallor of a red cell.
        image[disc_mask(size, (disc[0], disc[1], disc[2] / 3))] += 25
    image += rng.normal(0, noise, image.shape) if noise else 0
    return Smear.from_labels(
        np.clip(np.rint(image), 0, 255).astype(np.uint8),
        labels,
        np.array(ids, np.int64),
        class_names=class_names,
        um_per_px=um_per_px,
        name=name,
    )


def random_smear(seed: int, size: tuple[int, int] = (96, 96), *, class_names: tuple[str, ...] = ("cell",)) -> Smear:
    """Return a field with 5 to 12 cells and a random stain, as from different slides."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(5, 13))
    discs = [
        (float(rng.uniform(0, size[1])), float(rng.uniform(0, size[0])), float(rng.uniform(7, 11)))
        for _ in range(count)
    ]
    return analytic_smear(
        size,
        discs,
        # A cell that later cells cover has no pixel; Smear.from_labels removes it with its class.
        classes=[i % len(class_names) for i in range(count)],
        class_names=class_names,
        background=tuple(int(value) for value in np.array(BACKGROUND) + rng.integers(-25, 26)),  # type: ignore[arg-type]
        noise=3.0,
        seed=seed,
        name=f"smear-{seed:02d}",
    )


def empty_smear(size: tuple[int, int] = (30, 40), name: str = "empty") -> Smear:
    """Return a uniform field of (height, width) without cells."""
    image = np.full((*size, 3), 210, np.uint8)
    return Smear(image, np.zeros(size, np.int32), np.zeros(0, np.int64), name=name)


def partly_annotated(smear: Smear, left: int) -> Smear:
    """Return the smear with annotation only left of column `left`: cells beyond it are there but have no label."""
    unlabelled = np.zeros(smear.count + 1, bool)
    unlabelled[np.unique(smear.labels[:, left:])] = True
    unlabelled[0] = False
    hidden = unlabelled[smear.labels]
    ignored = hidden.copy()
    ignored[:, left:] = True
    return Smear.from_labels(
        smear.image,
        np.where(hidden, 0, smear.labels),
        smear.classes,
        class_names=smear.class_names,
        um_per_px=smear.um_per_px,
        name=smear.name,
        ignored=ignored,
    )


def unannotated(smear: Smear) -> Smear:
    """Return the smear with every pixel ignored and without labels."""
    return partly_annotated(smear, 0)


def crowded_smear(size: tuple[int, int], count: int, radius: int = 22, seed: int = 0) -> Smear:
    """Return a field of (height, width) with many equal discs at random positions, quick to make in any size."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(size, np.int32)
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disc = x**2 + y**2 <= radius**2
    for k in range(1, count + 1):
        top, left = (int(rng.integers(0, side - 2 * radius - 1)) for side in size)
        window = labels[top : top + 2 * radius + 1, left : left + 2 * radius + 1]
        window[disc & (window == 0)] = k
    image = np.full((*size, 3), 200, np.uint8)
    image[labels > 0] = (180, 110, 130)
    return Smear.from_labels(image, labels, name="crowded")


def same_instances(first: Smear, second: Smear) -> bool:
    """Test whether the instances and their classes are the same, whatever their numbers."""
    if first.count != second.count:
        return False
    pairs = np.unique(np.stack([first.labels.ravel(), second.labels.ravel()]), axis=1)
    label_of = dict(pairs.T.tolist())
    return (
        pairs.shape[1] == len(label_of) == len(set(label_of.values()))
        and label_of.get(0, 0) == 0
        and all(first.classes[a - 1] == second.classes[b - 1] for a, b in label_of.items() if a)
    )


def write_folder(
    folder: Path, smears: Iterable[Smear], *, format: str = "labels", splits: Sequence[str] = ()
) -> Path:
    """Write smears to a folder; with `splits`, `split.csv` assigns them to these in turn."""
    smears = list(smears)
    with open_writer(folder, format=format, class_names=smears[0].class_names) as writer:
        for smear in smears:
            writer.write(smear)
    if splits:
        rows = [f"{smear.name},{splits[i % len(splits)]}" for i, smear in enumerate(smears)]
        (folder / "split.csv").write_text("image,split\n" + "\n".join(rows) + "\n")
    return folder


if __name__ == "__main__":
    write_folder(Path(sys.argv[1]), (random_smear(i) for i in range(10)), splits=("train", "train", "test"))
