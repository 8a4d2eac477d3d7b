"""A folder of annotated smears as a sequence that is read when asked, not before."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
import numpy.typing as npt

from smearsynth.errors import DataError, OptionError
from smearsynth.formats import ClassChoice, Entry, Reader, open_reader
from smearsynth.smear import ImageArray, Smear, check_scale

__all__ = ["SmearFolder", "open_smears"]


class SmearFolder(Sequence[Smear]):
    """Annotated smears of a folder; each is decoded when it is asked for.

    Made by `open_smears`. Slices and splits are folders again, which share reader and cache.

    Parameters
    ----------
    reader : Reader
        Lists and decodes the files.
    entries : sequence of Entry
        The smears of this view, in order.
    scale : float
        Size of the smears handed out, relative to the files.
    cache : SmearCache
        Keeps smears once decoded.
    """

    def __init__(self, reader: Reader, entries: Sequence[Entry], scale: float, cache: SmearCache) -> None:
        self._reader = reader
        self._entries = tuple(entries)
        self._scale = scale
        self._cache = cache

    def __len__(self) -> int:
        return len(self._entries)

    @overload
    def __getitem__(self, index: int) -> Smear: ...
    @overload
    def __getitem__(self, index: slice) -> SmearFolder: ...
    def __getitem__(self, index: int | slice) -> Smear | SmearFolder:
        if isinstance(index, slice):
            return self._view(self._entries[index])
        entry = self._entries[index]
        smear = self._cache.get(entry.name)
        if smear is None:
            smear = self._reader.read(entry).resized(self._scale)
            self._cache.put(smear)
        return smear

    def __repr__(self) -> str:
        return f"SmearFolder({str(self.root)!r}, {len(self)} smears, format {self.format!r})"

    def split(self, name: str) -> SmearFolder:
        """Give the smears of one split.

        Raises
        ------
        DataError
            When no smear is in it; the message names the splits there are.
        """
        subset = [entry for entry in self._entries if entry.split == name]
        if not subset:
            there = ", ".join(self.splits) or "none (split.csv with the columns image and split gives them)"
            raise DataError(f"has no split {name!r}; splits there are: {there}", self.root)
        return self._view(subset)

    def subset(self, which: Sequence[int]) -> SmearFolder:
        """Give the smears of these numbers, in this order."""
        return self._view([self._entries[k] for k in which])

    def check(self) -> list[str]:
        """Read every smear once and list the problems, one line each; empty when all is well."""
        problems = []
        for entry in self._entries:
            try:
                self._reader.read(entry)
            except DataError as error:
                problems.append(str(error))
        return problems

    @property
    def root(self) -> Path:
        """The folder (or file) that was opened."""
        return self._reader.root

    @property
    def format(self) -> str:
        """Name of the annotation format."""
        return self._reader.format

    @property
    def scale(self) -> float:
        """Size of the smears handed out, relative to the files."""
        return self._scale

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each smear, in order."""
        return tuple(entry.name for entry in self._entries)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Files of each smear, in order."""
        return self._entries

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the cell classes, the same for all smears."""
        return self._reader.class_names

    @property
    def splits(self) -> dict[str, int]:
        """Number of smears in each split; those in none are not counted."""
        counted: dict[str, int] = {}
        for entry in self._entries:
            if entry.split is not None:
                counted[entry.split] = counted.get(entry.split, 0) + 1
        return counted

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks on the folder that stop nothing, one line each."""
        return self._reader.notes

    def _view(self, entries: Sequence[Entry]) -> SmearFolder:
        return SmearFolder(self._reader, entries, self._scale, self._cache)


class SmearCache:
    """The smears last asked for, up to a number of bytes; copies go in and out.

    Parameters
    ----------
    limit : int
        Bytes; 0 keeps nothing.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def __reduce__(self) -> tuple[type[SmearCache], tuple[int]]:
        # another process fills its own: hundreds of megabytes would go through a pipe
        return SmearCache, (self._limit,)

    def get(self, name: str) -> Smear | None:
        """Give a copy of the smear, None when it is not kept."""
        kept = self._kept.get(name)
        if kept is None:
            return None
        self._kept.move_to_end(name)
        # A copy, because a caller who paints on a smear must not change what the next one gets.
        return Smear(
            kept.image.copy(),
            kept.labels.astype(np.int32),
            kept.classes.copy(),
            kept.class_names,
            kept.um_per_px,
            name,
        )

    def put(self, smear: Smear) -> None:
        """Keep a copy, and let go of what was not asked for longest."""
        # Ids of a field fit 16 bits: half the memory.
        narrow = np.uint16 if smear.count <= np.iinfo(np.uint16).max else np.int32
        size = smear.image.nbytes + smear.labels.size * np.dtype(narrow).itemsize
        if size > self._limit:
            return
        while self._kept and self._size + size > self._limit:
            self._size -= self._kept.popitem(last=False)[1].size
        self._kept[smear.name] = _Kept(
            smear.image.copy(),
            smear.labels.astype(narrow),
            smear.classes.copy(),
            smear.class_names,
            smear.um_per_px,
            size,
        )
        self._size += size


class _Kept(NamedTuple):
    image: ImageArray
    labels: npt.NDArray[np.integer[Any]]
    classes: npt.NDArray[np.int64]
    class_names: tuple[str, ...]
    um_per_px: float | None
    size: int


def open_smears(
    path: Path | str,
    *,
    format: str = "auto",
    split: str | None = None,
    scale: float = 1.0,
    classes: ClassChoice = "auto",
    binary: bool = False,
    limit: int | None = None,
    cache_mb: float = 0.0,
) -> SmearFolder:
    """Open a folder of annotated smears; nothing is decoded until a smear is asked for.

    Parameters
    ----------
    path : Path or str
        Folder of images with label images or colour-palette masks, or a COCO file or its folder.
    format : str
        One of `smearsynth.formats.FORMATS`, or "auto" to tell it from the files.
    split : str, optional
        Only the smears of this split (`split.csv`, or one COCO file per split).
    scale : float
        Resize smears on reading; 0.5 halves each side. In (0, 16].
    classes : {"auto", "one", "annotated"}
        Which classes cells get. "one": all are "cell". "annotated": as the folder says (`instances.csv`,
        `points/`, COCO categories). "auto": "annotated" for folders that smearsynth wrote and "one" for all
        others, because classes with a handful of cells cannot be trained on.
    binary : bool
        The annotation is a mask of all cells: take its connected components as instances.
    limit : int, optional
        Only the first so many smears, by name.
    cache_mb : float
        Keep up to so many megabytes of decoded smears in memory, those last asked for.

    Returns
    -------
    SmearFolder

    Raises
    ------
    DataError
        When the folder does not exist, is empty, holds an image without annotation, or is of no known format.
    OptionError
        When an argument is out of its range.

    Examples
    --------
    >>> import tempfile
    >>> from PIL import Image
    >>> folder = Path(tempfile.mkdtemp())
    >>> (folder / "images").mkdir(), (folder / "labels").mkdir()
    (None, None)
    >>> labels = np.zeros((8, 8), np.uint8)
    >>> labels[1:4, 1:4], labels[5:7, 5:7] = 1, 2
    >>> Image.fromarray(labels * 90).save(folder / "images" / "a.png")
    >>> Image.fromarray(labels).save(folder / "labels" / "a.png")
    >>> smears = open_smears(folder)
    >>> smears, smears[0].areas().tolist()  # doctest: +ELLIPSIS
    (SmearFolder('...', 1 smears, format 'labels'), [9, 4])
    """
    check_scale(scale)
    if limit is not None and limit < 1:
        raise OptionError(f"limit must be at least 1, not {limit}")
    if not cache_mb >= 0:
        raise OptionError(f"cache_mb must not be negative, got {cache_mb}")
    reader = open_reader(Path(path), format, classes=classes, binary=binary)
    folder = SmearFolder(reader, reader.entries, scale, SmearCache(int(cache_mb * 1e6)))
    if split is not None:
        folder = folder.split(split)
    return folder if limit is None else folder[:limit]
