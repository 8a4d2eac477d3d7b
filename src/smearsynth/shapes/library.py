"""The exemplar library of the paper: contours of the whole cells of annotated smears (section 4.1.1)."""

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
from smearsynth.shapes.contours import VERTICES, ContourArray, FloatArray, contour_of, polygon_areas
from smearsynth.smear import LabelArray, Smear

SPECK_PX = 20  # below this a contour is made of the pixels' corners, whatever the class
SPECK_FRACTION = 0.2  # of the median area of the class
HIDDEN_FRACTION = 0.1  # of its outline along another cell, from which a cell counts as partly hidden
_ALONG = 0.05  # diameters to the other cell: annotations part cells by a line of background
_ENOUGH = 20  # shapes of a class from which cells of one smear can be drawn


class LibraryReport(BaseModel):
    """What went into a shape library and what was left out.

    Parameters
    ----------
    total : int
        Cells in the smears.
    kept : int
        Shapes in the library.
    border : int
        Left out because the border of the field cuts them.
    specks : int
        Left out because their area is below `SPECK_PX` or below `SPECK_FRACTION` of the median area of the
        whole cells of their class.
    hidden : int
        Left out because another cell may lie on them: `HIDDEN_FRACTION` of their outline, and more than that of
        half of the cells of their class, runs along other cells. Their annotation is cut straight there.
    fragments : int
        Kept cells whose annotation was in several pieces; the largest piece was taken.
    smallest : dict of str to float
        The area below which a cell of the class counted as a speck, px².
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    total: int
    kept: int
    border: int
    specks: int
    hidden: int = 0
    fragments: int
    smallest: dict[str, float]

    def __str__(self) -> str:
        return (
            f"{self.kept} shapes of {self.total} cells; left out: {self.border} cut by the border, "
            f"{self.specks} specks, {self.hidden} partly hidden; "
            f"{self.fragments} in several pieces, the largest taken"
        )


@dataclass(frozen=True, eq=False)
class ShapeLibrary:
    """Contours of whole cells, per class.

    Parameters
    ----------
    contours : (n, VERTICES, 2) float32 array
        x, y in px about the centroid of the filled shape, equally spaced along the outline.
    classes : (n,) int64 array
        Index into `class_names`.
    class_names : tuple of str
    report : LibraryReport, optional
        What was left out when the library was taken from smears.
    smears : (n,) int64 array, optional
        Number of the smear that each shape is from, in the order in which they were read.

    Raises
    ------
    DataError
        When the parts do not fit together.

    Examples
    --------
    >>> turn = np.linspace(0, 2 * np.pi, VERTICES, endpoint=False)
    >>> circle = np.stack([10 * np.cos(turn), 10 * np.sin(turn)], -1).astype(np.float32)
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
            got = f"{self.contours.shape} {self.contours.dtype}"
            raise DataError(f"contours must be (n, {VERTICES}, 2) float32, got {got}")
        if not np.isfinite(self.contours).all():
            raise DataError("contours hold NaN or infinite points; take the library from the smears anew")
        if self.classes.shape != (len(self.contours),):
            raise DataError(f"{len(self.contours)} contours but classes of shape {self.classes.shape}")
        if len(self.classes) and (self.classes.min() < 0 or self.classes.max() >= len(self.class_names)):
            raise DataError(f"class ids run to {int(self.classes.max())} for {len(self.class_names)} class names")
        if self.smears is not None and self.smears.shape != self.classes.shape:
            raise DataError(f"{len(self.contours)} contours but numbers of smears of shape {self.smears.shape}")

    @classmethod
    def from_smears(cls, smears: Iterable[Smear]) -> ShapeLibrary:
        """Take the contours of all whole cells of smears, read once; no image is kept.

        Cells cut by the border, specks and cells that others hide in part are left out and counted in `report`.

        Parameters
        ----------
        smears : iterable of Smear
            Classes are matched by name, in the order of their first appearance.

        Returns
        -------
        ShapeLibrary

        Raises
        ------
        DataError
            When no whole cell is left.

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
        traced: list[_Traced] = []
        total = border = 0
        for number, smear in enumerate(smears):
            ids = [names.setdefault(name, len(names)) for name in smear.class_names]
            total += smear.count
            border += int(smear.cut_by_border().sum())
            traced += _trace_whole(smear, number, ids)
        return cls._of_traced(traced, tuple(names), total, border)

    @classmethod
    def _of_traced(cls, traced: list[_Traced], names: tuple[str, ...], total: int, border: int) -> ShapeLibrary:
        classes = np.array([cell.class_id for cell in traced], np.int64)
        areas, beside = (np.array([getattr(cell, name) for cell in traced]) for name in ("area", "beside"))
        smallest, specks, hidden = {}, np.zeros(len(traced), bool), np.zeros(len(traced), bool)
        for index, name in enumerate(names):
            of_class = classes == index
            if of_class.any():
                smallest[name] = max(float(SPECK_PX), SPECK_FRACTION * float(np.median(areas[of_class])))
                specks |= of_class & (areas < smallest[name])
            if (sound := of_class & ~specks).any():
                # where most cells touch others, those that do so least have to serve
                hidden |= sound & (beside > max(HIDDEN_FRACTION, float(np.median(beside[sound]))))
        kept = np.flatnonzero(~specks & ~hidden)
        report = LibraryReport(
            total=total,
            kept=len(kept),
            border=border,
            specks=int(specks.sum()),
            hidden=int(hidden.sum()),
            fragments=sum(traced[k].pieces > 1 for k in kept),
            smallest=smallest,
        )
        if not len(kept):
            raise DataError(f"no whole cell to take a shape from ({report}); add smears with whole cells")
        contours = np.stack([traced[k].contour for k in kept])
        return cls(contours, classes[kept], names, report, np.array([traced[k].smear for k in kept], np.int64))

    def __len__(self) -> int:
        return len(self.contours)

    def areas(self) -> FloatArray:
        """Area of each shape, (n,) px²."""
        return polygon_areas(self.contours)

    def of_class(self, name: str | int) -> ShapeLibrary:
        """Keep the shapes of one class, by its name or index; class ids and names stay as they are.

        Raises
        ------
        OptionError
            For a class that is unknown or has no shape.
        """
        index = self.class_names.index(name) if name in self.class_names else name
        chosen = self.classes == index
        if not chosen.any():
            present = ", ".join(self.class_names[k] for k in np.unique(self.classes))
            raise OptionError(f"no shape of class {name!r}; there are shapes of: {present or 'no class'}")
        return ShapeLibrary(self.contours[chosen], self.classes[chosen], self.class_names)

    def of_smear(self, number: int) -> tuple[ShapeLibrary, tuple[float, ...]] | None:
        """Shapes for a smear like one of those that the library is from, and how frequent each class is there.

        Classes of which it has fewer than 20 shapes take them from all smears. None where that holds for all its
        cells together, or the library does not know which smear a shape is from.

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
        own = self.smears == number
        held = np.bincount(self.classes[own], minlength=len(self.class_names))
        if held.sum() < _ENOUGH:
            return None
        chosen = np.where((held >= _ENOUGH)[self.classes], own, True)
        shapes = ShapeLibrary(self.contours[chosen], self.classes[chosen], self.class_names)
        return shapes, tuple((held / held.sum()).tolist())

    def odds(self, mix: Mapping[str, float]) -> tuple[float, ...]:
        """Probability of each class, in the order of `class_names`, from shares by name; a class not named has 0.

        Raises
        ------
        OptionError
            For a class that is unknown or has no shape, and for shares that do not sum to 1.

        Examples
        --------
        >>> circle = np.ones((2, VERTICES, 2), np.float32)
        >>> ShapeLibrary(circle, np.array([0, 1]), ("rbc", "wbc")).odds({"wbc": 1})
        (0.0, 1.0)
        """
        unknown = [name for name in mix if name not in self.class_names]
        if unknown:
            raise OptionError(f"mix names {', '.join(unknown)}; the classes are {', '.join(self.class_names)}")
        if not all(share >= 0 for share in mix.values()) or not abs(sum(mix.values()) - 1) <= 1e-6:
            raise OptionError(f"mix must be probabilities that sum to 1, not {dict(mix)}")
        held = np.bincount(self.classes, minlength=len(self.class_names))
        bare = [name for name, share in mix.items() if share > 0 and not held[self.class_names.index(name)]]
        if bare:
            there = ", ".join(name for name, n in zip(self.class_names, held, strict=True) if n)
            raise OptionError(f"mix asks for {', '.join(bare)}, which has no shape; there are shapes of: {there}")
        return tuple(float(mix.get(name, 0.0)) for name in self.class_names)

    def save(self, path: Path | str) -> None:
        """Write `to_bytes`, all or nothing."""
        with atomic_write(Path(path)) as temporary:
            temporary.write_bytes(self.to_bytes())

    def to_bytes(self) -> bytes:
        """A safetensors file: the arrays; names and report in its header. Same library, same bytes."""
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
        """Read what `save` wrote.

        Raises
        ------
        ModelError
            When the file is missing, damaged or something else.
        """
        try:
            with safe_open(str(path), framework="numpy") as file:
                metadata = file.metadata() or {}
                contours, classes = file.get_tensor("contours"), file.get_tensor("classes")
                smears = file.get_tensor("smears") if "smears" in file.offset_keys() else None  # older: none
            report = json.loads(metadata["report"])
            return cls(
                contours,
                classes,
                tuple(json.loads(metadata["class_names"])),
                None if report is None else LibraryReport.model_validate(report),
                smears,
            )
        except FileNotFoundError as error:
            raise ModelError("no such shape library; name the file that was saved", path) from error
        except (OSError, SafetensorError, KeyError, ValueError, ValidationError) as error:
            raise ModelError(f"not a shape library ({error}); take it from the smears anew", path) from error


def _ordered(content: bytes) -> bytes:
    """Put the metadata of a safetensors file in order, which the library leaves to chance."""
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[start:]


class _Traced(NamedTuple):
    """A whole cell: its contour, filled area in px², pieces, class, smear, and share of its rim along others."""

    contour: ContourArray
    area: float
    pieces: int
    class_id: int
    smear: int
    beside: float


def _trace_whole(smear: Smear, number: int, ids: Sequence[int]) -> list[_Traced]:
    """The cells of a smear that the border does not cut."""
    cut = smear.cut_by_border()
    traced = []
    for index, (x0, y0, x1, y1) in enumerate(smear.boxes().tolist()):
        if cut[index] or x1 == x0:
            continue
        contour, area, pieces = contour_of(smear.labels[y0:y1, x0:x1] == index + 1)
        reach = max(1, round(_ALONG * 2 * math.sqrt(area / math.pi)))
        around = smear.labels[max(y0 - reach, 0) : y1 + reach, max(x0 - reach, 0) : x1 + reach]
        class_id = ids[smear.classes[index]]
        traced.append(_Traced(contour, area, pieces, class_id, number, _beside(around, index + 1, reach)))
    return traced


def _beside(labels: LabelArray, instance: int, reach: int) -> float:
    """Share of the rim of an instance that has another one within `reach` px."""
    own = labels == instance
    others = (labels > 0) & ~own
    if not others.any():
        return 0.0
    rim = own & ~ndimage.binary_erosion(own)
    near = ndimage.binary_dilation(others, np.ones((3, 3), bool), iterations=reach)
    return float((rim & near).sum() / rim.sum())
