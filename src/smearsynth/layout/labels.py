"""Draw the labels of synthetic smears: number of cells, layout and instance labels; and write them to disk."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from smearsynth.errors import OptionError
from smearsynth.files import atomic_write, write_text
from smearsynth.formats.pixels.images import save_png
from smearsynth.formats.tables import INSTANCE_FILE, instance_rows
from smearsynth.geometry import Outline
from smearsynth.layout.contact.fitting import fit_contact
from smearsynth.layout.contact.parameters import ContactParameters
from smearsynth.layout.contact.sampler import contact_layout
from smearsynth.layout.overlaps import Layers, Overlaps, find_overlaps, full_outlines, join_fragments, paint_layers
from smearsynth.layout.painting import PALETTE, paint_labels
from smearsynth.layout.record import Layout
from smearsynth.layout.ring import ring_layout, uniform_layout
from smearsynth.layout.workspace import Workspace, as_workspace
from smearsynth.shapes import ShapeAugmentation, ShapeLibrary
from smearsynth.smear import LabelArray, Smear, relabel_sequential
from smearsynth.statistics import DataStatistics, measure

LayoutName = Literal["contact", "ring", "uniform"]

_FOLDERS = ("labels", "palette")
_RECORD_FILE = "masks.jsonl"
# The paper's n_init, for cells of 46 px on a canvas of 1920 × 1200 px.
_PAPER_N_INIT = 20
_PAPER_ROOM = 1920 * 1200 / 46**2


class DrawnLabels(NamedTuple):
    """The labels of one synthetic smear.

    Parameters
    ----------
    labels : (H, W) int32 array
        0 is background, 1..n are the cells; every cell has a pixel.
    classes : (n,) int64 array
        Class of each cell.
    layout : Layout
        The layout that the labels show.
    overlaps : Overlaps
        The overlapping cells of the layout.
    """

    labels: LabelArray
    classes: npt.NDArray[np.int64]
    layout: Layout
    overlaps: Overlaps

    @property
    def full_outlines(self) -> tuple[Outline | None, ...]:
        """Whole outline of each cell that overlaps another one; None for the others."""
        return full_outlines(self.layout, self.overlaps)

    @property
    def layers(self) -> Layers:
        """The cells in layers without overlap, to paint translucent cells."""
        return paint_layers(self.overlaps, self.labels)


def draw_labels(
    size: tuple[int, int],
    shapes: ShapeLibrary | Workspace,
    count_distribution: tuple[float, float],
    *,
    layout: Literal["ring", "uniform"] = "ring",
    cell_size: float,
    n_init: int = 20,
    augmentation: ShapeAugmentation | None = None,
    mix: Sequence[float] | None = None,
    rng: int | np.random.Generator,
) -> DrawnLabels:
    """Draw the number of cells, a layout and its labels (paper, section 4.1).

    Parameters
    ----------
    size : tuple of int
        Canvas (height, width) in px.
    shapes : ShapeLibrary or Workspace
    count_distribution : tuple of float
        Mean and standard deviation of the number of cells on a canvas of this size. The number is drawn from the
        normal distribution and rounded; negative numbers become 0.
    layout : {'ring', 'uniform'}
    cell_size, n_init, augmentation, mix
        As in `ring_layout`. The layout 'uniform' does not use `cell_size` and `n_init`.
    rng : int or numpy.random.Generator

    Returns
    -------
    DrawnLabels
        ``layout.placed`` of ``layout.requested`` cells could be placed.

    Raises
    ------
    OptionError
        If a parameter is out of its range.

    Examples
    --------
    >>> angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    >>> disc = 6.2 * np.stack([np.cos(angle), np.sin(angle)], 1)[None].astype(np.float32)
    >>> discs = ShapeLibrary(disc, np.zeros(1, np.int64))
    >>> labels, classes, layout, _ = draw_labels((90, 120), discs, (12, 3), cell_size=12, rng=1)
    >>> int(labels.max()) == len(classes) == layout.placed
    True
    """
    mean, deviation = (float(value) for value in count_distribution)
    if not (np.isfinite(mean) and np.isfinite(deviation)) or deviation < 0 or mean < 0:
        raise OptionError(
            f"count_distribution {count_distribution}; give a mean and a standard deviation, neither negative"
        )
    rng = np.random.default_rng(rng)
    count = max(0, round(rng.normal(mean, deviation)))
    workspace = as_workspace(shapes)
    if layout == "ring":
        cells = ring_layout(
            size, count, workspace, cell_size=cell_size, n_init=n_init, augmentation=augmentation, mix=mix, rng=rng
        )
    elif layout == "uniform":
        cells = uniform_layout(size, count, workspace, augmentation=augmentation, mix=mix, rng=rng)
    else:
        raise OptionError(f"unknown layout {layout!r}; give 'ring' or 'uniform'")
    return _paint(cells, workspace)


def _paint(layout: Layout, shapes: ShapeLibrary | Workspace) -> DrawnLabels:
    labels: LabelArray = paint_labels(layout, shapes).astype(np.int32, copy=False)
    workspace = as_workspace(shapes)
    overlaps = find_overlaps(layout, workspace, labels)
    join_fragments(overlaps, labels)
    visible = np.bincount(labels.ravel(), minlength=layout.placed + 1)[1:] > 0
    if not visible.all():  # cells with few pixels on the field, all of which belong to cells that they overlap
        layout = layout.cut((0, 0, *layout.size), visible, requested=layout.requested)
        labels = relabel_sequential(labels)[0]
        overlaps = find_overlaps(layout, workspace, labels)
    return DrawnLabels(labels, layout.classes, layout, overlaps)


@dataclass(frozen=True, eq=False)
class LabelSource:
    """Draws labels like those of some smears.

    Parameters
    ----------
    shapes : ShapeLibrary
    statistics : DataStatistics
        Of the same smears: number and size of the cells.
    contact : ContactParameters, optional
        Of the same smears. By default they are fitted when a contact layout is first drawn, which takes seconds.
    """

    shapes: ShapeLibrary
    statistics: DataStatistics
    contact: ContactParameters | None = None

    @property
    def default_layout(self) -> LayoutName:
        """'contact' if `contact` is given, else the paper's 'ring'."""
        return "ring" if self.contact is None else "contact"

    @cached_property
    def contact_parameters(self) -> ContactParameters:
        """`contact`, or the result of a fit; the fit always gives the same result."""
        return self.contact or fit_contact(self.statistics, self._workspace)

    @classmethod
    def from_smears(cls, smears: Iterable[Smear]) -> LabelSource:
        """Measure the statistics and the shapes of smears; they are read twice."""
        return cls(ShapeLibrary.from_smears(smears), measure(smears))

    def draw(
        self,
        size: tuple[int, int],
        *,
        layout: LayoutName | None = None,
        density: float = 1.0,
        mix: Sequence[float] | None = None,
        reference: int | None = None,
        rng: int | np.random.Generator,
    ) -> DrawnLabels:
        """Draw labels.

        A contact layout has the density, cell size, adhesion and shapes of one reference smear, with some
        variation. The other layouts draw from the shapes of all smears, and the number of cells from the paper's
        normal distribution.

        Parameters
        ----------
        size : tuple of int
            Canvas (height, width) in px.
        layout : {'contact', 'ring', 'uniform'}, optional
            By default `default_layout`.
        density : float
            Factor on the number of cells that the smears have on an area of this size.
        mix : sequence of float, optional
            Probability of each class; by default the frequencies of the shapes.
        reference : int, optional
            Number of the reference smear; by default a random one.
        rng : int or numpy.random.Generator
        """
        layout = self.default_layout if layout is None else layout
        generator = np.random.default_rng(rng)
        if layout == "contact":
            return self._draw_contact(size, reference, density, mix, generator)
        mean, deviation = self.statistics.counts_for(size)
        return draw_labels(
            size,
            self._workspace,
            (mean * density, deviation * density),
            layout=layout,
            cell_size=self.statistics.cell_size,
            n_init=self.n_init(size),
            mix=mix,
            rng=generator,
        )

    def n_init(self, size: tuple[int, int]) -> int:
        """Return the number of cells that are placed uniformly before the rings.

        It is the paper's 20 for cells of 46 px on 1920 × 1200 px, scaled to the room for cells on this canvas.
        """
        room = size[0] * size[1] / self.statistics.cell_size**2
        return max(1, round(_PAPER_N_INIT * room / _PAPER_ROOM))

    def reference_smear(self, index: int, seed: int, subset: Sequence[int] | None = None) -> int:
        """Return the number of the reference smear for number `index` of a series.

        Each smear (of the subset) is used once, in shuffled order, before any repeats. A short series is then as
        diverse as the smears.

        Examples
        --------
        >>> from smearsynth.statistics import measure
        >>> smear = Smear(np.zeros((4, 4, 3), np.uint8), np.eye(4, dtype=np.int32), np.array([0]))
        >>> circle = np.ones((1, 64, 2), np.float32)
        >>> source = LabelSource(ShapeLibrary(circle, np.array([0])), measure([smear] * 5))
        >>> sorted(source.reference_smear(index, seed=3) for index in range(5, 10))
        [0, 1, 2, 3, 4]
        """
        smears = np.arange(len(self.statistics.rows)) if subset is None else np.asarray(subset)
        cycle, position = divmod(index, len(smears))
        return int(np.random.default_rng([seed, cycle]).permutation(smears)[position])

    def _draw_contact(
        self,
        size: tuple[int, int],
        reference: int | None,
        density: float,
        mix: Sequence[float] | None,
        generator: np.random.Generator,
    ) -> DrawnLabels:
        random_smear = int(generator.integers(len(self.statistics.rows)))  # always drawn: later draws stay the same
        number = random_smear if reference is None else reference
        parameters = self.contact_parameters
        # The fit leaves out smears without a cell; the numbers of the smears then no longer agree.
        same_numbers = len(parameters.smears) == len(self.statistics.rows)
        smear = parameters.draw(generator, number if same_numbers else None)
        expected = smear.count_on(size, smear.diameter or self.statistics.cell_size, density)
        count = math.floor(expected + generator.random())  # has this mean on the smallest canvas, too
        subset = self.shapes.of_smear(number)
        shapes, frequencies = (self._workspace, None) if subset is None else (Workspace(subset[0]), subset[1])
        layout = contact_layout(
            size, count, shapes, parameters=smear, mix=frequencies if mix is None else mix, rng=generator
        )
        return _paint(layout, shapes)

    @cached_property
    def _workspace(self) -> Workspace:
        return Workspace(self.shapes)


def write_labels(
    source: LabelSource,
    size: tuple[int, int],
    n: int,
    folder: Path,
    *,
    layout: LayoutName | None = None,
    mix: Mapping[str, float] | None = None,
    seed: int = 0,
    on_labels: Callable[[int], object] | None = None,
) -> list[Layout]:
    """Draw labels 0 to n - 1 and write them as 16-bit PNG and in the paper's palette colours.

    Number k depends only on (source, size, layout, mix, seed, k). Files of an earlier call are removed.

    Parameters
    ----------
    source : LabelSource
    size : tuple of int
        (H, W) in px.
    n : int
    folder : Path
        Receives ``labels/``, ``palette/`` and ``masks.jsonl`` with one line per image; with several classes also
        ``instances.csv`` with the class of each cell.
    layout : {'contact', 'ring', 'uniform'}, optional
        By default ``source.default_layout``.
    mix : dict of str to float, optional
        Probability of each class; a class that is not named has 0. By default the frequencies of the shapes.
    seed : int
    on_labels : callable, optional
        Called with the number of images done.

    Returns
    -------
    list of Layout

    Raises
    ------
    OptionError
        If a 16-bit PNG cannot hold the number of cells, or the mix is invalid.
    """
    layouts, lines, classes = [], [], ["image,instance,class\n"]
    layout = source.default_layout if layout is None else layout
    names = source.shapes.class_names
    odds = None if mix is None else source.shapes.odds(mix)
    options = {"layout": layout, "mix": None if mix is None else dict(mix), "seed": seed}
    _remove_earlier_files(folder)
    try:
        for index in range(n):
            reference = source.reference_smear(index, seed)
            rng = np.random.default_rng([seed, index])
            drawn = source.draw(size, layout=layout, mix=odds, reference=reference, rng=rng)
            stem = f"mask-{index:06d}"
            _write_images(folder, f"{stem}.png", drawn)
            lines.append(_record(f"{stem}.png", drawn, names, {**options, "index": index}))
            class_of = {label: names[kind] for label, kind in enumerate(drawn.classes.tolist(), 1)}
            classes.append(instance_rows(stem, class_of))
            layouts.append(drawn.layout)
            if on_labels:
                on_labels(index + 1)
    finally:  # images that were written before an error stay usable
        if lines and len(names) > 1:
            write_text(folder / INSTANCE_FILE, "".join(classes))
        if lines:
            write_text(folder / _RECORD_FILE, "".join(lines))
    return layouts


def _write_images(folder: Path, name: str, drawn: DrawnLabels) -> None:
    if len(drawn.classes) > np.iinfo(np.uint16).max:
        raise OptionError(f"{len(drawn.classes)} cells do not fit into a 16-bit PNG; use a smaller --size")
    palette = PALETTE[np.concatenate([[0], drawn.layout.colours])][drawn.labels]
    for part, pixels in zip(_FOLDERS, (drawn.labels.astype(np.uint16), palette), strict=True):
        with atomic_write(folder / part / name) as temporary:
            save_png(temporary, pixels)


def _record(name: str, drawn: DrawnLabels, class_names: Sequence[str], options: Mapping[str, object]) -> str:
    """Return the line of an image in ``masks.jsonl``."""
    counts = np.bincount(drawn.classes, minlength=len(class_names)).tolist()
    record = {"name": name, "requested": drawn.layout.requested, "placed": drawn.layout.placed}
    return json.dumps(record | {"classes": dict(zip(class_names, counts, strict=True)), **options}) + "\n"


def _remove_earlier_files(folder: Path) -> None:
    """Remove the files of an earlier call, which the new tables would not list."""
    if not (folder / _RECORD_FILE).is_file():
        return
    images = [path for part in _FOLDERS for path in (folder / part).glob("mask-*.png")]
    for path in (*images, folder / INSTANCE_FILE, folder / _RECORD_FILE):
        with suppress(OSError):  # writing then fails as well, and reports it
            path.unlink()
