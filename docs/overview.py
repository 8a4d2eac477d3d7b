"""Draw docs/overview.png, the figure of the README: python docs/overview.py.

All panels show synthetic content of the shipped model: sampled cell shapes, the labels of a layout, and the image.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import ConnectionPatch, Polygon
from PIL import Image

from smearsynth import Synthesizer, SyntheticSmears
from smearsynth.report.overlays import overlay

SIZE = (240, 288)  # height and width of the field, px
SEED, INDEX = 11, 12
INK = "#333333"
TITLES = ("Cell shapes", "Layout: instance labels", "Synthetic image", "Image with exact labels")
NOTES = (
    "a model fitted to annotated smears",
    "density and touching as in those smears",
    "conditional GAN with one style per cell",
    "training data for your model",
)


def coloured(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return an RGB image with one colour per cell on a dark background."""
    colours = rng.uniform(0.35, 1.0, (int(labels.max()) + 1, 3))
    colours[0] = 0.13
    return colours[labels]


def main() -> None:
    """Write the figure, reduced to a palette so that it stays small."""
    model = Synthesizer.load("default")
    smear = SyntheticSmears(model, size=SIZE, seed=SEED)[INDEX]
    figure = Figure(figsize=(12, 3.25), facecolor="white")
    FigureCanvasAgg(figure)
    places = figure.subplots(
        1, 4, gridspec_kw={"wspace": 0.13, "left": 0.01, "right": 0.99, "top": 0.88, "bottom": 0.1}
    )
    contours = model.label_source.shapes.contours
    for k in range(20):
        row, column = divmod(k, 5)
        points = contours[7 * k] + np.array([30 + 57 * column, 32 + 58 * row])
        places[0].add_patch(Polygon(points, closed=True, facecolor="#f2d9de", edgecolor="#a33b52", linewidth=1.2))
    places[1].imshow(coloured(smear.labels, np.random.default_rng(1)))
    places[2].imshow(smear.image)
    places[3].imshow(overlay(smear))
    for place, title, note in zip(places, TITLES, NOTES, strict=True):
        place.set_xlim(0, SIZE[1])
        place.set_ylim(SIZE[0], 0)
        place.set_aspect("equal")
        place.set_xticks([])
        place.set_yticks([])
        place.set_title(title, fontsize=12, color=INK)
        place.set_xlabel(note, fontsize=9.5, color="#666666")
        for spine in place.spines.values():
            spine.set_color("#bbbbbb")
    for left, right in pairwise(places):
        arrow = ConnectionPatch(
            (1.01, 0.5), (-0.01, 0.5), "axes fraction", "axes fraction", axesA=left, axesB=right,
            arrowstyle="-|>", mutation_scale=16, color=INK,
        )  # fmt: skip
        figure.add_artist(arrow)
    path = Path(__file__).parent / "overview.png"
    figure.savefig(path, dpi=120, metadata={"Software": "smearsynth"})
    Image.open(path).convert("RGB").quantize(256, dither=Image.Dither.FLOYDSTEINBERG).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
