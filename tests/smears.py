"""Small analytic smears: discs of known area and overlap on a plain ground.

``python tests/smears.py FOLDER`` writes a folder of them to look at or to try the commands on.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from smearsynth.formats import open_writer
from smearsynth.smear import Smear

GROUND = (214, 196, 200)
# The mean colour of a cell of each class; a shade per cell is added.
CELL_COLOURS = ((182, 118, 128), (120, 80, 150), (90, 120, 90))

Disc = tuple[float, float, float]


def disc_mask(size: tuple[int, int], disc: Disc) -> npt.NDArray[np.bool_]:
    """Pixels whose centre lies within the disc (x, y, radius), for a field of (height, width)."""
    y, x = np.mgrid[: size[0], : size[1]]
    return (x - disc[0]) ** 2 + (y - disc[1]) ** 2 <= disc[2] ** 2


def analytic_smear(
    size: tuple[int, int] = (64, 80),
    discs: Iterable[Disc] = ((20, 20, 9), (34, 20, 9), (60, 44, 12)),
    *,
    classes: Sequence[int] | None = None,
    class_names: tuple[str, ...] = ("cell",),
    ground: tuple[int, int, int] = GROUND,
    noise: float = 0.0,
    seed: int = 0,
    name: str = "analytic",
    um_per_px: float | None = None,
) -> Smear:
    """A field of (height, width) with a disc (x, y, radius) per instance, later ones on top.

    By default two discs that overlap (centres 14 px apart, radii 9) and one alone.
    """
    rng = np.random.default_rng(seed)
    labels = np.zeros(size, np.int32)
    image = np.broadcast_to(np.array(ground, float), (*size, 3)).copy()
    discs = list(discs)
    ids = [0] * len(discs) if classes is None else list(classes)
    for k, (disc, kind) in enumerate(zip(discs, ids, strict=True), 1):
        inside = disc_mask(size, disc)
        labels[inside] = k
        image[inside] = np.array(CELL_COLOURS[kind % len(CELL_COLOURS)]) + rng.uniform(-15, 15)
        # The pale centre of a red cell.
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
    """A field with 5 to 12 cells of its own stain, as smears of several slides differ."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(5, 13))
    discs = [
        (float(rng.uniform(0, size[1])), float(rng.uniform(0, size[0])), float(rng.uniform(7, 11)))
        for _ in range(count)
    ]
    return analytic_smear(
        size,
        discs,
        # A cell covered by later ones has no pixel; its class is dropped with it.
        classes=[i % len(class_names) for i in range(count)],
        class_names=class_names,
        ground=tuple(int(value) for value in np.array(GROUND) + rng.integers(-25, 26)),  # type: ignore[arg-type]
        noise=3.0,
        seed=seed,
        name=f"smear-{seed:02d}",
    )


def same_instances(one: Smear, other: Smear) -> bool:
    """Whether the instances are the same but for their numbers, with the same classes."""
    if one.count != other.count:
        return False
    pairs = np.unique(np.stack([one.labels.ravel(), other.labels.ravel()]), axis=1)
    owner = dict(pairs.T.tolist())
    return (
        pairs.shape[1] == len(owner) == len(set(owner.values()))
        and owner.get(0, 0) == 0
        and all(one.classes[a - 1] == other.classes[b - 1] for a, b in owner.items() if a)
    )


def write_folder(
    folder: Path, smears: Iterable[Smear], *, format: str = "labels", splits: Sequence[str] = ()
) -> Path:
    """Write smears to a folder; with `splits`, they go to these in turn by `split.csv`."""
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
