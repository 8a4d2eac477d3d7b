"""Shape library of the paper: contours of the whole cells of annotated smears (section 4.1.1)."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from scipy import ndimage

from smearsynth.errors import DataError, ModelError, OptionError
from smearsynth.files import atomic_write
from smearsynth.shapes.completion import complete, longest_cut
from smearsynth.shapes.contours import (
    VERTICES,
    ContourArray,
    FloatArray,
    contour_of_outline,
    polygon_areas,
    trace,
)
from smearsynth.smear import Smear

SPECK_PX = 20  # px²; smaller contours consist of pixel corners only
SPECK_FRACTION = 0.2  # fraction of the median area of the class
HIDDEN_FRACTION = 0.1  # fraction of the outline along other cells above which a cell counts as partly hidden
# Distance between neighbouring cells in diameters; annotations often separate touching cells by a background line.
_NEIGHBOUR_DISTANCE = 0.05
_CUT_DISTANCE = 0.3  # diameters between a cut and the cell that causes it
_MIN_SHAPES = 20  # smallest number of shapes of a class in one smear from which its cells are drawn


class LibraryReport(BaseModel):
    """Numbers of cells that a shape library contains and excludes.

    Parameters
    ----------
    total : int
        Number of cells in the smears.
    kept : int
        Number of shapes in the library.
    border : int
        Excluded: cut by the border of the field, or touching an ignored pixel.
    specks : int
        Excluded: area below `SPECK_PX`, or below `SPECK_FRACTION` of the median area of the whole cells of the
        class.
    hidden : int
        Excluded: possibly covered by another cell. The fraction of their outline along other cells is above
        `HIDDEN_FRACTION` and above the median of the class. Annotations are cut straight there.
    cut : int
        Excluded: a straight or concave cut faces another cell, and the hidden part could not be completed.
    completed : int
        Included cells whose hidden part was completed, see `smearsynth.shapes.completion`.
    fragments : int
        Included cells whose annotation has several components; the largest one is used.
    smallest : dict of str to float
        Area below which a cell of the class counts as a speck, px².
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    total: int
    kept: int
    border: int
    specks: int
    hidden: int = 0
    cut: int = 0
    completed: int = 0
    fragments: int
    smallest: dict[str, float]

    def __str__(self) -> str:
        return (
            f"{self.kept} shapes of {self.total} cells; excluded: {self.border} cut by the border, "
            f"{self.specks} specks, {self.hidden} partly hidden, {self.cut} with a cut; "
            f"{self.completed} completed, {self.fragments} with several components, of which the largest is used"
        )


@dataclass(frozen=True, eq=False)
class ShapeLibrary:
    """Contours of whole cells, per class.

    Parameters
    ----------
    contours : (n, VERTICES, 2) float32 array
        x, y in px relative to the centroid of the filled shape, equally spaced along the outline.
    classes : (n,) int64 array
        Index into `class_names`.
    class_names : tuple of str
    report : LibraryReport, optional
        Numbers of included and excluded cells.
    smears : (n,) int64 array, optional
        Index of the smear of each shape, in reading order.

    Raises
    ------
    DataError
        If the arrays do not match.

    Examples
    --------
    >>> angle = np.linspace(0, 2 * np.pi, VERTICES, endpoint=False)
    >>> circle = np.stack([10 * np.cos(angle), 10 * np.sin(angle)], -1).astype(np.float32)
    >>> library = ShapeLibrary(circle[None], np.array([0]))
    >>> len(library), library.areas().round().tolist()
    (1, [314.0])
    """

    contours: ContourArray
    classes: npt.NDArray[np.int64]
    class_names: tuple[str, ...] = ("cell",)
    report: LibraryReport | None = None
    smears: npt.NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        if self.contours.dtype != np.float32 or self.contours.shape[1:] != (VERTICES, 2):
            actual = f"{self.contours.shape} {self.contours.dtype}"
            raise DataError(f"contours must be (n, {VERTICES}, 2) float32, not {actual}")
        if not np.isfinite(self.contours).all():
            raise DataError("contours contain NaN or infinite points; extract the library from the smears again")
        if self.classes.shape != (len(self.contours),):
            raise DataError(f"{len(self.contours)} contours but classes of shape {self.classes.shape}")
        if len(self.classes) and (self.classes.min() < 0 or self.classes.max() >= len(self.class_names)):
            raise DataError(f"class ids run to {int(self.classes.max())} for {len(self.class_names)} class names")
        if self.smears is not None and self.smears.shape != self.classes.shape:
            raise DataError(f"{len(self.contours)} contours but smear indices of shape {self.smears.shape}")

    @classmethod
    def from_smears(cls, smears: Iterable[Smear]) -> ShapeLibrary:
        """Extract the contours of all whole cells of smears, read once; images are not stored.

        Partly hidden cells are completed where their visible outline is elliptic. The other ones, cells cut by the
        border or touching an ignored pixel, and specks are excluded. `report` counts them.

        Parameters
        ----------
        smears : iterable of Smear
            Classes are matched by name, in order of first appearance.

        Returns
        -------
        ShapeLibrary

        Raises
        ------
        DataError
            If no whole cell remains.

        Examples
        --------
        >>> labels = np.zeros((40, 40), np.int32)
        >>> labels[10:30, 10:30] = 1
        >>> labels[0:8, 0:8] = 2
        >>> smear = Smear(np.zeros((40, 40, 3), np.uint8), labels, np.array([0, 0]))
        >>> report = ShapeLibrary.from_smears([smear]).report
        >>> report.total, report.kept, report.border
        (2, 1, 1)
        """
        names: dict[str, int] = {}
        cells: list[_Cell] = []
        total = border = 0
        for number, smear in enumerate(smears):
            ids = [names.setdefault(name, len(names)) for name in smear.class_names]
            total += smear.count
            border += int(smear.incomplete().sum())
            cells += _trace_cells(smear, number, ids)
        return cls._from_cells(cells, tuple(names), total, border)

    @classmethod
    def _from_cells(cls, cells: list[_Cell], names: tuple[str, ...], total: int, border: int) -> ShapeLibrary:
        classes = np.array([cell.class_id for cell in cells], np.int64)
        areas = np.array([cell.area for cell in cells])
        rim_fractions = np.array([cell.rim_fraction for cell in cells])
        smallest, specks, hidden = {}, np.zeros(len(cells), bool), np.zeros(len(cells), bool)
        for index, name in enumerate(names):
            in_class = classes == index
            if in_class.any():
                smallest[name] = max(float(SPECK_PX), SPECK_FRACTION * float(np.median(areas[in_class])))
                specks |= in_class & (areas < smallest[name])
            if (candidates := in_class & ~specks).any():
                # The median keeps half of the cells where almost all of them touch others.
                limit = max(HIDDEN_FRACTION, float(np.median(rim_fractions[candidates])))
                hidden |= candidates & (rim_fractions > limit)
        cut = ~specks & ~hidden & np.array([cell.cut for cell in cells], bool)
        subset = np.flatnonzero(~specks & ~hidden & ~cut)
        report = LibraryReport(
            total=total,
            kept=len(subset),
            border=border,
            specks=int(specks.sum()),
            hidden=int(hidden.sum()),
            cut=int(cut.sum()),
            completed=sum(cells[k].completed for k in subset),
            fragments=sum(cells[k].pieces > 1 for k in subset),
            smallest=smallest,
        )
        if not len(subset):
            raise DataError(f"no whole cell to extract a shape from ({report}); add smears with whole cells")
        contours = np.stack([cells[k].contour for k in subset])
        return cls(contours, classes[subset], names, report, np.array([cells[k].smear for k in subset], np.int64))

    def __len__(self) -> int:
        return len(self.contours)

    def areas(self) -> FloatArray:
        """Compute the area of each shape, (n,) px²."""
        return polygon_areas(self.contours)

    def of_class(self, name: str | int) -> ShapeLibrary:
        """Return the shapes of one class, by name or index; class ids and names do not change.

        Raises
        ------
        OptionError
            If the class is unknown or has no shape.
        """
        index = self.class_names.index(name) if name in self.class_names else name
        selected = self.classes == index
        if not selected.any():
            present = ", ".join(self.class_names[k] for k in np.unique(self.classes))
            raise OptionError(f"no shape of class {name!r}; classes with shapes: {present or 'none'}")
        return ShapeLibrary(self.contours[selected], self.classes[selected], self.class_names)

    def of_smear(self, number: int) -> tuple[ShapeLibrary, tuple[float, ...]] | None:
        """Return the shapes and class frequencies of one of the smears of the library.

        Classes with fewer than 20 shapes in that smear use the shapes of all smears. The result is None if the
        smear has fewer than 20 shapes in total, or if the library has no smear indices.

        Examples
        --------
        >>> circle = np.ones((30, VERTICES, 2), np.float32)
        >>> smears = np.repeat([0, 1], [25, 5])
        >>> library = ShapeLibrary(circle, np.zeros(30, np.int64), smears=smears)
        >>> len(library.of_smear(0)[0]), library.of_smear(1)
        (25, None)
        """
        if self.smears is None:
            return None
        in_smear = self.smears == number
        class_counts = np.bincount(self.classes[in_smear], minlength=len(self.class_names))
        if class_counts.sum() < _MIN_SHAPES:
            return None
        selected = np.where((class_counts >= _MIN_SHAPES)[self.classes], in_smear, True)
        shapes = ShapeLibrary(self.contours[selected], self.classes[selected], self.class_names)
        return shapes, tuple((class_counts / class_counts.sum()).tolist())

    def odds(self, mix: Mapping[str, float]) -> tuple[float, ...]:
        """Return the probability of each class, in the order of `class_names`; classes that are not named have 0.

        Raises
        ------
        OptionError
            If a class is unknown or has no shape, or the probabilities do not sum to 1.

        Examples
        --------
        >>> circle = np.ones((2, VERTICES, 2), np.float32)
        >>> ShapeLibrary(circle, np.array([0, 1]), ("rbc", "wbc")).odds({"wbc": 1})
        (0.0, 1.0)
        """
        unknown = [name for name in mix if name not in self.class_names]
        if unknown:
            raise OptionError(f"mix names {', '.join(unknown)}; the classes are {', '.join(self.class_names)}")
        if not all(probability >= 0 for probability in mix.values()) or not abs(sum(mix.values()) - 1) <= 1e-6:
            raise OptionError(f"mix must be probabilities that sum to 1, not {dict(mix)}")
        class_counts = np.bincount(self.classes, minlength=len(self.class_names))
        empty = [
            name
            for name, probability in mix.items()
            if probability > 0 and not class_counts[self.class_names.index(name)]
        ]
        if empty:
            names = ", ".join(name for name, n in zip(self.class_names, class_counts, strict=True) if n)
            raise OptionError(f"mix includes {', '.join(empty)}, which has no shape; classes with shapes: {names}")
        return tuple(float(mix.get(name, 0.0)) for name in self.class_names)

    def save(self, path: Path | str) -> None:
        """Write `to_bytes` to a file, atomically."""
        with atomic_write(Path(path)) as temporary:
            temporary.write_bytes(self.to_bytes())

    def to_bytes(self) -> bytes:
        """Return the library as a safetensors file, names and report in its header; bytes are reproducible."""
        metadata = {
            "format": "smearsynth shape library 1",
            "class_names": json.dumps(self.class_names),
            "report": "null" if self.report is None else self.report.model_dump_json(exclude_defaults=True),
        }
        arrays: dict[str, npt.NDArray[np.generic]] = {
            "contours": np.ascontiguousarray(self.contours),
            "classes": self.classes,
        }
        if self.smears is not None:
            arrays["smears"] = self.smears
        return _ordered(save(arrays, metadata))

    @classmethod
    def load(cls, path: Path | str) -> ShapeLibrary:
        """Read a file written by `save`.

        Raises
        ------
        ModelError
            If the file is missing, damaged or of another kind.
        """
        try:
            with safe_open(str(path), framework="numpy") as file:
                metadata = file.metadata() or {}
                contours, classes = file.get_tensor("contours"), file.get_tensor("classes")
                # Files of earlier versions have no smear indices.
                smears = file.get_tensor("smears") if "smears" in file.offset_keys() else None
            report = json.loads(metadata["report"])
            return cls(
                contours,
                classes,
                tuple(json.loads(metadata["class_names"])),
                None if report is None else LibraryReport.model_validate(report),
                smears,
            )
        except FileNotFoundError as error:
            raise ModelError("no such shape library; check the path", path) from error
        except (OSError, SafetensorError, KeyError, ValueError, ValidationError) as error:
            raise ModelError(f"not a shape library ({error}); extract it from the smears again", path) from error


def _ordered(content: bytes) -> bytes:
    """Sort the metadata of a safetensors file, whose order is not defined."""
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[start:]


class _Cell(NamedTuple):
    """A whole cell: contour, filled area (px²), components, class, smear, fraction of its rim along other cells.

    `cut` tells whether a cut faces another cell, `completed` whether the contour is a completed one.
    """

    contour: ContourArray
    area: float
    pieces: int
    class_id: int
    smear: int
    rim_fraction: float
    cut: bool
    completed: bool


def _trace_cells(smear: Smear, number: int, ids: Sequence[int]) -> list[_Cell]:
    """Trace the cells of a smear that touch neither the border nor an ignored pixel."""
    incomplete = smear.incomplete()
    return [
        _trace_cell(smear, index, box, number, ids[smear.classes[index]])
        for index, box in enumerate(smear.boxes().tolist())
        if not incomplete[index]
    ]


def _trace_cell(smear: Smear, index: int, box: Sequence[int], number: int, class_id: int) -> _Cell:
    x0, y0, x1, y1 = box
    mask = smear.labels[y0:y1, x0:x1] == index + 1
    outline, pieces = trace(mask)
    contour, area = contour_of_outline(outline)
    diameter = 2 * math.sqrt(area / math.pi)
    margin = max(1, round(_CUT_DISTANCE * diameter))
    top, left = max(y0 - margin, 0), max(x0 - margin, 0)
    window = smear.labels[top : y1 + margin, left : x1 + margin]
    others = (window > 0) & (window != index + 1)
    if not others.any():
        return _Cell(contour, area, pieces, class_id, number, 0.0, cut=False, completed=False)
    reach = max(1, round(_NEIGHBOUR_DISTANCE * diameter))
    near = ndimage.binary_dilation(others, np.ones((3, 3), bool), iterations=reach)
    cell = window == index + 1
    rim = cell & ~ndimage.binary_erosion(cell)
    rim_fraction = float((rim & near).sum() / rim.sum())
    length, middle = longest_cut(contour)
    x, y = np.rint(middle + outline.mean(axis=0) + (x0 - left, y0 - top)).astype(int)
    around = others[max(y - margin, 0) : y + margin + 1, max(x - margin, 0) : x + margin + 1]
    cut = length > 0 and bool(around.any())
    if cut or rim_fraction > HIDDEN_FRACTION:
        rows, columns = np.rint(outline[:, ::-1] + (y0 - top, x0 - left)).astype(int).T
        whole = complete(outline, ~near[rows.clip(0, len(near) - 1), columns.clip(0, near.shape[1] - 1)])
        if whole is not None:
            contour, area = contour_of_outline(whole)
            return _Cell(contour, area, pieces, class_id, number, 0.0, cut=False, completed=True)
    return _Cell(contour, area, pieces, class_id, number, rim_fraction, cut=cut, completed=False)
