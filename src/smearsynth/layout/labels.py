"""Masks drawn as a whole: how many cells, where, and their labels; and written to disk."""

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
from smearsynth.formats.images import save_png
from smearsynth.formats.tables import INSTANCE_FILE, instance_rows
from smearsynth.layout.contact.fitting import fit_contact
from smearsynth.layout.contact.parameters import ContactParameters
from smearsynth.layout.contact.sampler import contact_layout
from smearsynth.layout.painting import PALETTE, paint_labels
from smearsynth.layout.record import Layout
from smearsynth.layout.ring import ring_layout, uniform_layout
from smearsynth.layout.workspace import Workspace, as_workspace
from smearsynth.shapes import ShapeAugmentation, ShapeLibrary
from smearsynth.smear import LabelArray, Smear
from smearsynth.statistics import DataStatistics, measure

LayoutName = Literal["contact", "ring", "uniform"]

_PARTS = ("labels", "palette")
_RECORDS = "masks.jsonl"


class DrawnLabels(NamedTuple):
    """One synthetic annotation: labels, classes and the layout they come from."""

    labels: LabelArray  # (H, W) int32, 0 = background, 1..n the cells, each with a pixel at least
    classes: npt.NDArray[np.int64]  # (n,) class of instance k + 1
    layout: Layout


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
    """Draw one synthetic annotation: count, layout, labels (paper, section 4.1).

    Parameters
    ----------
    size : tuple of int
        Canvas (height, width) in px.
    shapes : ShapeLibrary or Workspace
    count_distribution : tuple of float
        Mean and standard deviation of the cell count on a canvas of this size: n ~ Norm(µ, σ), rounded, and 0
        where it is negative.
    layout : {'ring', 'uniform'}
    cell_size, n_init, augmentation, mix
        As in `ring_layout`; `cell_size` and `n_init` are not used by 'uniform'.
    rng : int or numpy.random.Generator

    Returns
    -------
    DrawnLabels
        `labels` (H, W) int32, `classes` (n,) int64 and the `Layout`; ``layout.placed`` of
        ``layout.requested`` cells found room, and labels 1..placed all occur.

    Raises
    ------
    OptionError
        When a parameter is out of its range.

    Examples
    --------
    >>> turn = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    >>> disc = 6.2 * np.stack([np.cos(turn), np.sin(turn)], 1)[None].astype(np.float32)
    >>> discs = ShapeLibrary(disc, np.zeros(1, np.int64))
    >>> labels, classes, layout = draw_labels((90, 120), discs, (12, 3), cell_size=12, rng=1)
    >>> int(labels.max()) == len(classes) == layout.placed
    True
    """
    mean, deviation = (float(value) for value in count_distribution)
    if not (np.isfinite(mean) and np.isfinite(deviation)) or deviation < 0 or mean < 0:
        raise OptionError(f"count law {count_distribution}; give a mean and a standard deviation, neither negative")
    generator = np.random.default_rng(rng)
    count = max(0, round(generator.normal(mean, deviation)))
    warm = as_workspace(shapes)
    if layout == "ring":
        placed = ring_layout(
            size,
            count,
            warm,
            cell_size=cell_size,
            n_init=n_init,
            augmentation=augmentation,
            mix=mix,
            rng=generator,
        )
    elif layout == "uniform":
        placed = uniform_layout(size, count, warm, augmentation=augmentation, mix=mix, rng=generator)
    else:
        raise OptionError(f"layout {layout!r} is not known; give 'ring' or 'uniform'")
    labels: LabelArray = paint_labels(placed, warm).astype(np.int32, copy=False)
    return DrawnLabels(labels, placed.classes, placed)


@dataclass(frozen=True, eq=False)
class LabelSource:
    """Shapes and statistics from which masks like those of some smears are drawn.

    Parameters
    ----------
    shapes : ShapeLibrary
    statistics : DataStatistics
        Of the same smears: number of cells and their size.
    contact : ContactParameters, optional
        Of the same smears; fitted when a contact layout is first asked for, which takes seconds.
    """

    shapes: ShapeLibrary
    statistics: DataStatistics
    contact: ContactParameters | None = None

    @property
    def default_layout(self) -> LayoutName:
        """'contact' where its law is known, else the paper's 'ring'."""
        return "ring" if self.contact is None else "contact"

    @cached_property
    def contact_parameters(self) -> ContactParameters:
        """The law of contact layouts, fitted if need be; always to the same one."""
        return self.contact or fit_contact(self.statistics, self._workspace)

    @classmethod
    def from_smears(cls, smears: Iterable[Smear]) -> LabelSource:
        """Measure smears (twice over: for statistics and for shapes)."""
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
        """Draw a mask on a canvas (H, W) with `density` times the cells that the smears have on such an area.

        A contact layout is like one of the smears, number `reference` or any: it has its density, cell size and
        adhesion, somewhat varied, and its shapes. The others draw shapes of all smears, and the count by the
        paper's normal law. `mix` is the probability of each class, as frequent as in the shapes
        when None; `layout` None is `default_layout`.
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
        """Cells placed before the ring law sets in: the paper's 20 of 46 px on 1920 × 1200, scaled to this room."""
        room = size[0] * size[1] / self.statistics.cell_size**2
        return max(1, round(20 * room / (1920 * 1200 / 46**2)))

    def reference_smear(self, index: int, seed: int, among: Sequence[int] | None = None) -> int:
        """Number of the smear that mask number `index` of a series is like.

        All of them, or all in `among`, take a turn in random order before one comes again: few masks then are as
        various as the smears.

        Examples
        --------
        >>> from smearsynth.statistics import measure
        >>> smear = Smear(np.zeros((4, 4, 3), np.uint8), np.eye(4, dtype=np.int32), np.array([0]))
        >>> circle = np.ones((1, 64, 2), np.float32)
        >>> source = LabelSource(ShapeLibrary(circle, np.array([0])), measure([smear] * 5))
        >>> sorted(source.reference_smear(index, seed=3) for index in range(5, 10))
        [0, 1, 2, 3, 4]
        """
        smears = np.arange(len(self.statistics.rows)) if among is None else np.asarray(among)
        turn, place = divmod(index, len(smears))
        return int(np.random.default_rng([seed, turn]).permutation(smears)[place])

    def _draw_contact(
        self,
        size: tuple[int, int],
        reference: int | None,
        density: float,
        mix: Sequence[float] | None,
        generator: np.random.Generator,
    ) -> DrawnLabels:
        any_one = int(generator.integers(len(self.statistics.rows)))
        reference = any_one if reference is None else reference
        # a law that leaves out smears without a cell no longer knows which is which
        numbered = len(self.contact_parameters.smears) == len(self.statistics.rows)
        smear = self.contact_parameters.draw(generator, reference if numbered else None)
        expected = smear.count_on(size, smear.diameter or self.statistics.cell_size, density)
        count = math.floor(expected + generator.random())  # of that mean on the smallest canvas, too
        own = self.shapes.of_smear(reference)
        shapes, own_mix = (self._workspace, None) if own is None else (Workspace(own[0]), own[1])
        laid = contact_layout(
            size, count, shapes, parameters=smear, mix=own_mix if mix is None else mix, rng=generator
        )
        labels: LabelArray = paint_labels(laid, shapes).astype(np.int32, copy=False)
        return DrawnLabels(labels, laid.classes, laid)

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
    """Write masks 0 to n - 1: labels (16-bit PNG), the paper's palette colours, and a line each of ``masks.jsonl``.

    Mask k depends on (source, size, layout, mix, seed, k) alone. Masks of an earlier call are taken away.

    Parameters
    ----------
    source : LabelSource
    size : tuple of int
        (H, W) in px.
    n : int
    folder : Path
        Gets ``labels/`` and ``palette/``; and ``instances.csv``, the class of each cell, where there are several.
    layout : {'contact', 'ring', 'uniform'}, optional
        ``source.default_layout`` when None.
    mix : dict of str to float, optional
        Probability of each class, those not named 0; as frequent as in the shapes when None.
    seed : int
    on_labels : callable, optional
        Called with the number of masks done.

    Returns
    -------
    list of Layout

    Raises
    ------
    OptionError
        For more cells than a 16-bit PNG can hold, and for a mix of classes that cannot be.
    """
    layouts, lines, classes = [], [], ["image,instance,class\n"]
    layout = source.default_layout if layout is None else layout
    names = source.shapes.class_names
    odds = None if mix is None else source.shapes.odds(mix)
    shared = {"layout": layout, "mix": None if mix is None else dict(mix), "seed": seed}
    _take_away(folder)
    try:
        for index in range(n):
            reference = source.reference_smear(index, seed)
            mask = source.draw(size, layout=layout, mix=odds, reference=reference, rng=np.random.default_rng([seed, index]))
            name = f"mask-{index:06d}.png"
            _write_mask(folder, name, mask)
            lines.append(_record(name, mask, names, {**shared, "index": index}))
            named = {label: names[kind] for label, kind in enumerate(mask.classes.tolist(), 1)}
            classes.append(instance_rows(Path(name).stem, named))
            layouts.append(mask.layout)
            if on_labels:
                on_labels(index + 1)
    finally:
        # what was done before an error stays usable
        if lines and len(names) > 1:
            write_text(folder / INSTANCE_FILE, "".join(classes))
        if lines:
            write_text(folder / _RECORDS, "".join(lines))
    return layouts


def _write_mask(folder: Path, name: str, mask: DrawnLabels) -> None:
    if len(mask.classes) > np.iinfo(np.uint16).max:
        raise OptionError(f"{len(mask.classes)} cells do not fit into a 16-bit PNG; ask for a smaller --size")
    palette = PALETTE[np.concatenate([[0], mask.layout.colours])][mask.labels]
    for part, pixels in zip(_PARTS, (mask.labels.astype(np.uint16), palette), strict=True):
        with atomic_write(folder / part / name) as temporary:
            save_png(temporary, pixels)


def _record(name: str, mask: DrawnLabels, names: Sequence[str], options: Mapping[str, object]) -> str:
    """The line of a mask in ``masks.jsonl``."""
    counts = np.bincount(mask.classes, minlength=len(names)).tolist()
    record = {"name": name, "requested": mask.layout.requested, "placed": mask.layout.placed}
    return json.dumps(record | {"classes": dict(zip(names, counts, strict=True)), **options}) + "\n"


def _take_away(folder: Path) -> None:
    """Remove the masks of an earlier call: the tables will not know of those that this one does not write again."""
    if not (folder / _RECORDS).is_file():
        return
    masks = [path for part in _PARTS for path in (folder / part).glob("mask-*.png")]
    for path in (*masks, folder / INSTANCE_FILE, folder / _RECORDS):
        with suppress(OSError):  # where nothing can be removed nothing can be written either, which is told then
            path.unlink()
