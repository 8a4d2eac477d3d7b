"""The exemplar library of the paper: contours of the whole cells of annotated smears (section 4.1.1)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from smearsynth.errors import DataError, ModelError, OptionError
from smearsynth.formats.files import replacing
from smearsynth.shapes.contours import VERTICES, ContourArray, FloatArray, contour_of, polygon_areas
from smearsynth.smear import Smear

SPECK_PX = 20  # below this a contour is made of the pixels' corners, whatever the class
SPECK_FRACTION = 0.2  # of the median area of the class


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
    fragments: int
    smallest: dict[str, float]

    def __str__(self) -> str:
        return (
            f"{self.kept} shapes of {self.total} cells; left out: {self.border} cut by the border, "
            f"{self.specks} specks; {self.fragments} in several pieces, the largest taken"
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

    @classmethod
    def from_smears(cls, smears: Iterable[Smear]) -> ShapeLibrary:
        """Take the contours of all whole cells of smears, read once; no image is kept.

        Cells cut by the border and specks are left out and counted in `report`.

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
        >>> print(ShapeLibrary.from_smears([smear]).report)
        1 shapes of 2 cells; left out: 1 cut by the border, 0 specks; 0 in several pieces, the largest taken
        """
        names: dict[str, int] = {}
        traced = _Traced([], [], [], [])
        total = border = 0
        for smear in smears:
            ids = np.array([names.setdefault(name, len(names)) for name in smear.class_names], np.int64)
            total += smear.count
            border += _trace_whole(smear, ids, traced)
        classes, areas = np.array(traced.classes, np.int64), np.array(traced.areas)
        smallest = {
            name: max(float(SPECK_PX), SPECK_FRACTION * float(np.median(areas[classes == index])))
            for name, index in names.items()
            if (classes == index).any()
        }
        limits = np.array([smallest.get(name, 0.0) for name in names])
        kept = areas >= limits[classes] if len(areas) else np.zeros(0, bool)
        report = LibraryReport(
            total=total,
            kept=int(kept.sum()),
            border=border,
            specks=int((~kept).sum()),
            fragments=int((np.array(traced.pieces, np.int64)[kept] > 1).sum()),
            smallest=smallest,
        )
        if not kept.any():
            raise DataError(f"no whole cell to take a shape from ({report}); add smears with whole cells")
        return cls(np.stack(traced.contours)[kept], classes[kept], tuple(names), report)

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
        with replacing(Path(path)) as temporary:
            temporary.write_bytes(self.to_bytes())

    def to_bytes(self) -> bytes:
        """A safetensors file: contours, classes; names and report in its header. Same library, same bytes."""
        metadata = {
            "format": "smearsynth shape library 1",
            "class_names": json.dumps(self.class_names),
            "report": "null" if self.report is None else self.report.model_dump_json(),
        }
        return _ordered(save({"contours": np.ascontiguousarray(self.contours), "classes": self.classes}, metadata))

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
            report = json.loads(metadata["report"])
            return cls(
                contours,
                classes,
                tuple(json.loads(metadata["class_names"])),
                None if report is None else LibraryReport.model_validate(report),
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


@dataclass
class _Traced:
    contours: list[ContourArray]
    classes: list[int]
    areas: list[float]
    pieces: list[int]


def _trace_whole(smear: Smear, ids: npt.NDArray[np.int64], traced: _Traced) -> int:
    """Append the cells of a smear that the border does not cut; return how many it cuts."""
    cut = smear.cut_by_border()
    for index, (x0, y0, x1, y1) in enumerate(smear.boxes().tolist()):
        if cut[index] or x1 == x0:
            continue
        contour, area, pieces = contour_of(smear.labels[y0:y1, x0:x1] == index + 1)
        traced.contours.append(contour)
        traced.classes.append(int(ids[smear.classes[index]]))
        traced.areas.append(area)
        traced.pieces.append(pieces)
    return int(cut.sum())
