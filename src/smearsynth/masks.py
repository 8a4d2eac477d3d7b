"""Layouts painted: labels, palette colours, and a whole mask drawn by the paper's law of counts."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from smearsynth.errors import DataError, OptionError
from smearsynth.formats.files import replacing, write_text
from smearsynth.formats.tables import INSTANCE_FILE, instance_rows
from smearsynth.formats.writing import save_png
from smearsynth.layout import ContactLaw, Layout, Workspace, contact_layout, ring_layout, uniform_layout
from smearsynth.layout.bitmaps import paint_words, rasterise, strip_mask, strips_of
from smearsynth.layout.compiled import ONE, ZERO, Words, bits_of, kernel, lowest_bit
from smearsynth.layout.workspace import ready
from smearsynth.shapes import ShapeAugmentation, ShapeLibrary
from smearsynth.smear import ImageArray, LabelArray, Smear
from smearsynth.statistics import DataStatistics, measure

LayoutName = Literal["contact", "ring", "uniform"]

# Black, then twelve colours far apart from one another and from black; eight are used by default.
PALETTE: ImageArray = np.array(
    [
        (0, 0, 0),
        (230, 60, 60),
        (70, 190, 80),
        (70, 110, 240),
        (250, 220, 50),
        (235, 80, 215),
        (70, 220, 235),
        (250, 145, 45),
        (150, 75, 215),
        (245, 245, 245),
        (160, 110, 60),
        (185, 240, 140),
        (140, 140, 140),
    ],
    np.uint8,
)


class DrawnMask(NamedTuple):
    """One synthetic annotation: labels, classes and the layout they come from."""

    labels: LabelArray  # (H, W) int32, 0 = background, 1..n the cells, each with a pixel at least
    classes: npt.NDArray[np.int64]  # (n,) class of instance k + 1
    layout: Layout


def paint_labels(
    layout: Layout,
    shapes: ShapeLibrary | Workspace,
    out: npt.NDArray[np.integer[Any]] | None = None,
    *,
    dtype: npt.DTypeLike = np.int32,
) -> npt.NDArray[np.integer[Any]]:
    """Paint the instance labels of a layout.

    Cell k of the layout gets the label k + 1; where cells overlap the later one owns the pixel. The pixels are
    those that the layout tested, bit for bit.

    Parameters
    ----------
    layout : Layout
    shapes : ShapeLibrary or Workspace
        That the layout was drawn from.
    out : (H, W) uint16 or int32 array, optional
        Painted over and returned, instead of a new array.
    dtype : dtype
        Of the new array: int32, or uint16 for at most 65535 cells.

    Returns
    -------
    labels : (H, W) array of `dtype`

    Raises
    ------
    OptionError
        When `out` or `dtype` does not suit the layout.
    DataError
        When the layout names shapes that the library does not hold.

    Examples
    --------
    >>> turn = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    >>> disc = 6.2 * np.stack([np.cos(turn), np.sin(turn)], 1)[None].astype(np.float32)
    >>> discs = ShapeLibrary(disc, np.zeros(1, np.int64))
    >>> labels = paint_labels(uniform_layout((90, 120), 9, discs, rng=1), discs)
    >>> labels.shape, labels.dtype.name, int(labels.max())
    ((90, 120), 'int32', 9)
    """
    if out is None:
        out = np.empty(layout.size, dtype)
    if out.dtype not in (np.dtype(np.int32), np.dtype(np.uint16)):
        raise OptionError(f"labels of dtype {out.dtype}; give int32 or uint16")
    if out.shape != layout.size:
        raise OptionError(f"out has shape {out.shape} for a layout of {layout.size}; give one of that shape")
    if layout.placed > np.iinfo(out.dtype).max:
        raise OptionError(f"{layout.placed} cells do not fit into {out.dtype} labels; give int32")
    warm = ready(shapes)
    if not out.flags.c_contiguous:
        out[:] = paint_labels(layout, warm, dtype=out.dtype)
        return out
    rasters = warm.rasters(layout)
    if rasters is not None:
        cells, arena = rasters
        _paint_rasters(cells, arena, np.argsort(cells["y"] + cells["top"]), out)
        return out
    out[:] = 0
    if layout.placed:
        known = len(warm.table.points)
        if int(layout.shape.min()) < 0 or int(layout.shape.max()) >= known:
            raise DataError(f"the layout names shapes that this library of {known} lacks; give the right library")
        scratch = warm.scratch(float(np.abs(layout.scale).max()))
        columns = layout.shape, layout.angle, layout.scale, layout.mirrored, layout.x, layout.y
        if layout.lines is None:
            _paint_cells(warm.table.points, columns, scratch, out)
        else:
            _paint_from_top(warm.table.points, columns, layout.lines, scratch, out)
    return out


@kernel
def _paint_rasters(cells: Any, arena: Words, order: Any, out: npt.NDArray[np.integer[Any]]) -> None:
    """Paint cells of which no two share a pixel, from the top down, clearing the canvas just ahead of them.

    What is cleared is then still in the cache.
    """
    height, across = out.shape
    flat = out.reshape(-1)
    cleared = 0
    for k in order:
        cell = cells[k]
        left, top = cell.x + cell.left, cell.y + cell.top
        need = min(top + cell.rows, height)
        if need > cleared:
            flat[cleared * across : need * across] = 0
            cleared = need
        words = arena[cell.offset : cell.offset + strips_of(cell.width) * cell.rows]
        paint_words(words, left, top, cell.rows, cell.width, k + 1, out)
    flat[cleared * across :] = 0


@kernel
def _paint_cells(points: npt.NDArray[np.float64], columns: Any, scratch: Any, out: npt.NDArray[Any]) -> None:
    shape, angle, scale, mirrored, x, y = columns
    for k in range(x.size):
        turned = 1 if mirrored[k] else 0
        left, top, rows, width = rasterise(points[shape[k]], angle[k], scale[k], turned, scratch)
        paint_words(scratch.words, x[k] + left, y[k] + top, rows, width, k + 1, out)


@kernel
def _paint_from_top(
    points: npt.NDArray[np.float64], columns: Any, lines: Any, scratch: Any, out: npt.NDArray[Any]
) -> None:
    """As `_paint_cells`, where lines part cells from those above: from the last cell on, as they were placed."""
    shape, angle, scale, mirrored, x, y = columns
    height, across = out.shape
    for k in range(x.size - 1, -1, -1):
        turned = 1 if mirrored[k] else 0
        left, top, rows, width = rasterise(points[shape[k]], angle[k], scale[k], turned, scratch)
        reach = 1 if lines[k] else 0
        for strip in range(strips_of(width)):
            for row in range(max(0, -y[k] - top), min(rows, height - y[k] - top)):
                first = x[k] + left + 64 * strip
                word = scratch.words[strip * rows + row] & strip_mask(first, across)
                while word != ZERO:
                    at = first + lowest_bit(word)
                    word &= word - ONE
                    if _alone(out, at, y[k] + top + row, reach, k + 1):
                        out[y[k] + top + row, at] = k + 1


@kernel
def _alone(out: npt.NDArray[Any], x: int, y: int, reach: int, own: int) -> bool:
    """Whether no other cell has a pixel within `reach` px of (x, y)."""
    height, across = out.shape
    for row in range(max(y - reach, 0), min(y + reach + 1, height)):
        for column in range(max(x - reach, 0), min(x + reach + 1, across)):
            if out[row, column] != 0 and out[row, column] != own:
                return False
    return True


def overlap_share(layout: Layout, shapes: ShapeLibrary | Workspace, labels: npt.NDArray[np.integer[Any]]) -> float:
    """Pixels of a layout's canvas hidden under other cells, relative to those of all cells in `labels`, painted.

    A pixel under two cells counts twice.
    """
    if not layout.placed:
        return 0.0
    warm = ready(shapes)
    scratch = warm.scratch(float(np.abs(layout.scale).max()))
    columns = layout.shape, layout.angle, layout.scale, layout.mirrored, layout.x, layout.y
    seen = int(np.count_nonzero(labels))
    extent = int(_extent_pixels(warm.table.points, columns, scratch, layout.height, layout.width))
    return (extent - seen) / max(seen, 1)


@kernel
def _extent_pixels(points: npt.NDArray[np.float64], columns: Any, scratch: Any, height: int, across: int) -> int:
    """Pixels on the canvas of all cells, hidden ones included."""
    shape, angle, scale, mirrored, x, y = columns
    count = 0
    for k in range(x.size):
        turned = 1 if mirrored[k] else 0
        left, top, rows, width = rasterise(points[shape[k]], angle[k], scale[k], turned, scratch)
        for strip in range(strips_of(width)):
            mask = strip_mask(x[k] + left + 64 * strip, across)
            for row in range(max(0, -y[k] - top), min(rows, height - y[k] - top)):
                count += bits_of(scratch.words[strip * rows + row] & mask)
    return count


def paint_colours(layout: Layout, shapes: ShapeLibrary | Workspace, palette: npt.ArrayLike = PALETTE) -> ImageArray:
    """Paint a layout as the paper annotates: a palette colour per cell, no two touching cells alike.

    Parameters
    ----------
    layout : Layout
    shapes : ShapeLibrary or Workspace
        That the layout was drawn from.
    palette : (m, 3) uint8 array
        Row 0 is the background, row c the colour c of the layout.

    Returns
    -------
    image : (H, W, 3) uint8 array
        RGB.

    Raises
    ------
    OptionError
        When the palette has fewer colours than the layout.

    Examples
    --------
    >>> turn = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    >>> disc = 6.2 * np.stack([np.cos(turn), np.sin(turn)], 1)[None].astype(np.float32)
    >>> discs = ShapeLibrary(disc, np.zeros(1, np.int64))
    >>> paint_colours(uniform_layout((90, 120), 9, discs, rng=1), discs).shape
    (90, 120, 3)
    """
    colours = np.asarray(palette, np.uint8)
    needed = int(layout.colours.max(initial=0)) + 1
    if colours.ndim != 2 or colours.shape[1] != 3 or len(colours) < needed:
        raise OptionError(f"palette of shape {colours.shape} for {needed - 1} colours; give ({needed}, 3)")
    by_label = colours[np.concatenate([[0], layout.colours])]
    painted: ImageArray = by_label[paint_labels(layout, shapes)]
    return painted


def draw_mask(
    size: tuple[int, int],
    shapes: ShapeLibrary | Workspace,
    count_law: tuple[float, float],
    *,
    layout: Literal["ring", "uniform"] = "ring",
    cell_size: float,
    n_init: int = 20,
    augmentation: ShapeAugmentation | None = None,
    mix: Sequence[float] | None = None,
    rng: int | np.random.Generator,
) -> DrawnMask:
    """Draw one synthetic annotation: count, layout, labels (paper, section 4.1).

    Parameters
    ----------
    size : tuple of int
        Canvas (height, width) in px.
    shapes : ShapeLibrary or Workspace
    count_law : tuple of float
        Mean and standard deviation of the cell count on a canvas of this size: n ~ Norm(µ, σ), rounded, and 0
        where it is negative.
    layout : {'ring', 'uniform'}
    cell_size, n_init, augmentation, mix
        As in `ring_layout`; `cell_size` and `n_init` are not used by 'uniform'.
    rng : int or numpy.random.Generator

    Returns
    -------
    DrawnMask
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
    >>> labels, classes, layout = draw_mask((90, 120), discs, (12, 3), cell_size=12, rng=1)
    >>> int(labels.max()) == len(classes) == layout.placed
    True
    """
    mean, deviation = (float(value) for value in count_law)
    if not (np.isfinite(mean) and np.isfinite(deviation)) or deviation < 0 or mean < 0:
        raise OptionError(f"count law {count_law}; give a mean and a standard deviation, neither negative")
    generator = np.random.default_rng(rng)
    count = max(0, round(generator.normal(mean, deviation)))
    warm = ready(shapes)
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
    return DrawnMask(labels, placed.classes, placed)


@dataclass(frozen=True, eq=False)
class MaskSource:
    """Shapes and statistics from which masks like those of some smears are drawn.

    Parameters
    ----------
    shapes : ShapeLibrary
    statistics : DataStatistics
        Of the same smears: number of cells and their size.
    law : ContactLaw, optional
        Of the same smears; fitted when a contact layout is first asked for, which takes seconds.
    """

    shapes: ShapeLibrary
    statistics: DataStatistics
    law: ContactLaw | None = None

    @property
    def default_layout(self) -> LayoutName:
        """'contact' where its law is known, else the paper's 'ring'."""
        return "ring" if self.law is None else "contact"

    @cached_property
    def contact_law(self) -> ContactLaw:
        """The law of contact layouts, fitted if need be; always to the same one."""
        from smearsynth.layout.fitting import fit_contact  # it paints, so it stands above this module

        return self.law or fit_contact(self.statistics, self._workspace)

    @classmethod
    def from_smears(cls, smears: Iterable[Smear]) -> MaskSource:
        """Measure smears (twice over: for statistics and for shapes)."""
        return cls(ShapeLibrary.from_smears(smears), measure(smears))

    def draw(
        self,
        size: tuple[int, int],
        *,
        layout: LayoutName | None = None,
        density: float = 1.0,
        mix: Sequence[float] | None = None,
        rng: int | np.random.Generator,
    ) -> DrawnMask:
        """Draw a mask on a canvas (H, W) with `density` times the cells that the smears have on such an area.

        A contact layout draws density, cell size and adhesion together, as one smear has them; the others draw
        the count by the paper's normal law. `mix` is the probability of each class, as frequent as in the
        shapes when None; `layout` None is `default_layout`.
        """
        layout = self.default_layout if layout is None else layout
        if layout == "contact":
            generator = np.random.default_rng(rng)
            smear = self.contact_law.draw(generator)
            expected = smear.count_on(size, smear.diameter or self.statistics.cell_size, density)
            count = math.floor(expected + generator.random())  # of that mean on the smallest canvas, too
            laid = contact_layout(size, count, self._workspace, law=smear, mix=mix, rng=generator)
            labels: LabelArray = paint_labels(laid, self._workspace).astype(np.int32, copy=False)
            return DrawnMask(labels, laid.classes, laid)
        mean, deviation = self.statistics.counts_for(size)
        return draw_mask(
            size,
            self._workspace,
            (mean * density, deviation * density),
            layout=layout,
            cell_size=self.statistics.cell_size,
            n_init=self.n_init(size),
            mix=mix,
            rng=rng,
        )

    def n_init(self, size: tuple[int, int]) -> int:
        """Cells placed before the ring law sets in: the paper's 20 of 46 px on 1920 × 1200, scaled to this room."""
        room = size[0] * size[1] / self.statistics.cell_size**2
        return max(1, round(20 * room / (1920 * 1200 / 46**2)))

    @cached_property
    def _workspace(self) -> Workspace:
        return Workspace(self.shapes)


def write_masks(
    source: MaskSource,
    size: tuple[int, int],
    n: int,
    folder: Path,
    *,
    layout: LayoutName | None = None,
    mix: Mapping[str, float] | None = None,
    seed: int = 0,
    on_mask: Callable[[int], object] | None = None,
) -> list[Layout]:
    """Write masks 0 to n - 1: labels (16-bit PNG), the paper's palette colours, and a line each of ``masks.jsonl``.

    Mask k depends on (source, size, layout, mix, seed, k) alone.

    Parameters
    ----------
    source : MaskSource
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
    on_mask : callable, optional
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
    for index in range(n):
        mask = source.draw(size, layout=layout, mix=odds, rng=np.random.default_rng([seed, index]))
        if len(mask.classes) > np.iinfo(np.uint16).max:
            raise OptionError(f"{len(mask.classes)} cells do not fit into a 16-bit PNG; ask for a smaller --size")
        name = f"mask-{index:06d}.png"
        palette = PALETTE[np.concatenate([[0], mask.layout.colours])][mask.labels]
        for part, pixels in (("labels", mask.labels.astype(np.uint16)), ("palette", palette)):
            with replacing(folder / part / name) as temporary:
                save_png(temporary, pixels)
        counts = np.bincount(mask.classes, minlength=len(names)).tolist()
        record = {
            "name": name,
            "requested": mask.layout.requested,
            "placed": mask.layout.placed,
            "classes": dict(zip(names, counts, strict=True)),
            "layout": layout,
            "mix": None if mix is None else dict(mix),
            "seed": seed,
            "index": index,
        }
        lines.append(json.dumps(record) + "\n")
        named = {label: names[kind] for label, kind in enumerate(mask.classes.tolist(), 1)}
        classes.append(instance_rows(Path(name).stem, named))
        layouts.append(mask.layout)
        if on_mask:
            on_mask(index + 1)
    if len(names) > 1:
        write_text(folder / INSTANCE_FILE, "".join(classes))
    write_text(folder / "masks.jsonl", "".join(lines))
    return layouts
