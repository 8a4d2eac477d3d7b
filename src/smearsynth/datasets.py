"""Folders of annotated smears as sequences, decoded lazily."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple, overload

from smearsynth.annotation.exclusion import IgnoredPixels, exclude
from smearsynth.annotation.relative_colours import KINDS, Overlay, OverlayKind, overlay_mask
from smearsynth.annotation.repeated_overlays import OverlayEvidence
from smearsynth.errors import DataError, OptionError
from smearsynth.formats.base import ClassChoice, Entry, Reader
from smearsynth.formats.fingerprints import Fingerprint, fingerprints_of_files
from smearsynth.formats.pixels.images import read_ids, read_rgb
from smearsynth.formats.reading import ReadingReport
from smearsynth.formats.registry import open_reader
from smearsynth.runs import SILENT, Progress
from smearsynth.smear import ImageArray, Smear, check_scale
from smearsynth.smear_cache import SmearCache

__all__ = [
    "SmearFolder",
    "as_smear_folder",
    "check_smears",
    "choose_split",
    "exclude_overlays",
    "fingerprints_of",
    "open_smears",
]


OverlayState = Literal["undecided", "kept", "excluded"]
_OVERLAY_SAMPLE = 60  # smears that are compared; all are searched when they are decoded


class SmearFolder(Sequence[Smear]):
    """Annotated smears of a folder, each decoded on access.

    Created by `open_smears`. Slices and splits are `SmearFolder` objects with the same reader and cache.

    Parameters
    ----------
    reader : Reader
        Lists and decodes the files.
    entries : sequence of Entry
        Smears of this view, in order.
    scale : float
        Factor by which smears are resized on reading.
    cache : SmearCache
        Cache of decoded smears.
    overlays : {"undecided", "kept", "excluded"}
        Whether overlays, such as scale bars, are ignored pixels; `exclude_overlays` decides it.
    ignored : IgnoredPixels, optional
        Pixels that are ignored in every smear.
    evidence : OverlayEvidence, optional
        What other smears of the folder say about overlays.
    """

    def __init__(
        self,
        reader: Reader,
        entries: Sequence[Entry],
        scale: float,
        cache: SmearCache,
        overlays: OverlayState = "undecided",
        ignored: IgnoredPixels | None = None,
        evidence: OverlayEvidence | None = None,
    ) -> None:
        self._reader = reader
        self._entries = tuple(entries)
        self._scale = scale
        self._cache = cache
        self._overlays: OverlayState = overlays
        self._ignored = ignored
        self._evidence = evidence

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
            smear = self._read(entry).resized(self._scale)
            self._cache.put(smear)
        return smear

    def __repr__(self) -> str:
        return f"SmearFolder({str(self.root)!r}, {len(self)} smears, format {self.format!r})"

    def split(self, name: str) -> SmearFolder:
        """Return the smears of one split.

        Raises
        ------
        DataError
            If it has no smear; the message names the existing splits.
        """
        subset = [entry for entry in self._entries if entry.split == name]
        if not subset:
            names = ", ".join(self.splits) or "none (add split.csv with the columns image and split)"
            raise DataError(f"has no split {name!r}; existing splits: {names}", self.root)
        return self._view(subset)

    def subset(self, which: Sequence[int]) -> SmearFolder:
        """Return the smears with these indices, in this order."""
        return self._view([self._entries[k] for k in which])

    def check(self) -> list[str]:
        """Read every smear once and return the problems, one line each."""
        problems = []
        for entry in self._entries:
            try:
                self._read(entry)
            except DataError as error:
                problems.append(str(error))
        return problems

    @property
    def root(self) -> Path:
        """Folder or file that was opened."""
        return self._reader.root

    @property
    def format(self) -> str:
        """Name of the annotation format."""
        return self._reader.format

    @property
    def scale(self) -> float:
        """Factor by which smears are resized on reading."""
        return self._scale

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each smear, in order."""
        return tuple(entry.name for entry in self._entries)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """File entry of each smear, in order."""
        return self._entries

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the cell classes, the same for all smears."""
        return self._reader.class_names

    @property
    def splits(self) -> dict[str, int]:
        """Number of smears in each split; smears without a split are not counted."""
        counts: dict[str, int] = {}
        for entry in self._entries:
            if entry.split is not None:
                counts[entry.split] = counts.get(entry.split, 0) + 1
        return counts

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on the folder that are no errors, one line each."""
        return self._reader.notes

    @property
    def detected(self) -> bool:
        """Whether the format was detected; False for a folder that smearsynth wrote."""
        return self._reader.detected

    @property
    def found(self) -> str:
        """What was found in the folder, such as "COCO outlines, 1,240 in 60 images"."""
        return self._reader.found

    @property
    def report(self) -> ReadingReport:
        """Number of cells of the smears that were read so far, and what was left out and why."""
        return self._reader.report

    @property
    def overlays(self) -> OverlayState:
        """Whether overlays, such as scale bars, are ignored pixels ("excluded"), not ("kept"), or "undecided"."""
        return self._overlays

    def without_overlays(self) -> SmearFolder:
        """Return the same smears with overlays as ignored pixels, and an empty cache."""
        cache = SmearCache(self._cache.limit)
        evidence = self.overlay_sample().evidence
        return SmearFolder(self._reader, self._entries, self._scale, cache, "excluded", self._ignored, evidence)

    def overlay_sample(self) -> OverlaySample:
        """Return the evidence on overlays of at most 60 smears of the whole folder, evenly spaced by name."""
        entries = self._reader.entries
        step = max(1, math.ceil(len(entries) / _OVERLAY_SAMPLE))
        return _overlay_sample(tuple((entry.image, _stamp(entry.image)) for entry in entries[::step]))

    def find_overlays(self) -> Iterator[tuple[str, ImageArray, list[Overlay]]]:
        """Yield name, image at full size and overlays of each smear, whether or not they are excluded."""
        evidence = self._evidence or self.overlay_sample().evidence
        for entry in self._entries:
            image = self._reader.read(entry).image
            yield entry.name, image, evidence.overlays(image)

    def _read(self, entry: Entry) -> Smear:
        smear = self._reader.read(entry)
        if self._ignored is not None:
            smear = exclude(smear, self._ignored.for_image(entry.image.stem, smear.shape))
        if self._overlays == "excluded":
            overlays = (self._evidence or OverlayEvidence()).overlays(smear.image)
            smear = exclude(smear, overlay_mask(overlays, smear.shape)) if overlays else smear
        return smear

    def _view(self, entries: Sequence[Entry]) -> SmearFolder:
        return SmearFolder(
            self._reader, entries, self._scale, self._cache, self._overlays, self._ignored, self._evidence
        )


class OverlaySample(NamedTuple):
    """Overlays of a sample of the smears of a folder.

    Parameters
    ----------
    evidence : OverlayEvidence
    smears : int
        Number of smears of the sample.
    counts : Counter of str
        Number of smears with an overlay of each kind.
    """

    evidence: OverlayEvidence
    smears: int
    counts: Counter[OverlayKind]


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size


@lru_cache(maxsize=8)
def _overlay_sample(files: tuple[tuple[Path, tuple[int, int]], ...]) -> OverlaySample:
    """Return the overlays of image files with the time and size of each; files that changed are read again.

    Files that are no images are left out: reading their smears reports them.
    """
    paths = [path for path, _ in files]
    evidence = OverlayEvidence.of(_readable_images(paths))
    counts = Counter[OverlayKind]()
    for image in _readable_images(paths):
        counts.update({overlay.kind for overlay in evidence.overlays(image)})
    return OverlaySample(evidence, len(files), counts)


def _readable_images(paths: Sequence[Path]) -> Iterator[ImageArray]:
    for path in paths:
        with suppress(DataError):
            yield read_rgb(path)


def open_smears(
    path: Path | str,
    *,
    format: str = "auto",
    split: str | None = None,
    scale: float = 1.0,
    classes: ClassChoice = "auto",
    binary: bool = False,
    ignore_value: int | None = None,
    limit: int | None = None,
    cache_mb: float = 0.0,
    ignore: Path | str | None = None,
    keep_overlays: bool = False,
) -> SmearFolder:
    """Open a folder of annotated smears; smears are decoded on access.

    Parameters
    ----------
    path : Path or str
        Folder of images with label images, or with files of annotation in any format of `READ_FORMATS`, or such a
        file.
    format : str
        One of `smearsynth.formats.READ_FORMATS`, or "auto" to detect it.
    split : str, optional
        Use only this split (of `split.csv`, or of one COCO file per split).
    scale : float
        Resize smears on reading; 0.5 halves width and height. In (0, 16].
    classes : {"auto", "one", "annotated"}
        Classes of the cells. "one": all are "cell". "annotated": those of the folder (`instances.csv`, `points/`,
        COCO categories). "auto": "annotated" for folders written by smearsynth, else "one", because classes with
        few cells cannot be trained on.
    binary : bool
        The annotation is a binary mask; its connected components become the instances.
    ignore_value : int, optional
        Value of the pixels without annotation in label images.
    limit : int, optional
        Use only the first smears, by name.
    cache_mb : float
        Size of the cache of decoded smears in MB.
    ignore : Path or str, optional
        Image whose non-zero pixels are ignored in every smear, or a folder of such images, each with the name of
        its smear.
    keep_overlays : bool
        Treat burned-in scale bars, text and frames as part of the smear. By default the functions that use the
        smears, such as `smearsynth.train`, ignore these pixels (`exclude_overlays`).

    Returns
    -------
    SmearFolder

    Raises
    ------
    DataError
        If the folder does not exist, is empty, has an image without annotation, or an unknown format.
    OptionError
        If an argument is out of range.

    Examples
    --------
    >>> import tempfile
    >>> from PIL import Image
    >>> folder = Path(tempfile.mkdtemp())
    >>> (folder / "images").mkdir(), (folder / "labels").mkdir()
    (None, None)
    >>> import numpy as np
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
    reader = open_reader(Path(path), format, classes=classes, binary=binary, ignore_value=ignore_value)
    if not reader.shows_cells:
        raise reader.no_outlines()
    ignored = None if ignore is None else IgnoredPixels.read(Path(ignore), lambda file: read_ids(file) > 0)
    state: OverlayState = "kept" if keep_overlays or not reader.detected else "undecided"
    folder = SmearFolder(reader, reader.entries, scale, SmearCache(int(cache_mb * 1e6)), state, ignored)
    if split is not None:
        folder = folder.split(split)
    return folder if limit is None else folder[:limit]


def exclude_overlays(smears: SmearFolder, progress: Progress = SILENT) -> SmearFolder:
    """Return the smears with burned-in overlays as ignored pixels.

    Scale bars, text, markers, lines, frames and dead sensor lines (see `find_overlays`), and what a sample of at
    most 60 smears of the folder repeats at the same place (see `OverlayEvidence`), become ignored pixels when a
    smear is decoded; a cell that is mostly covered by them is removed. Folders that smearsynth
    wrote, and those opened with ``keep_overlays=True``, are returned unchanged.

    Parameters
    ----------
    smears : SmearFolder
    progress : Progress
        Receives a message if the sample contains overlays.

    Returns
    -------
    SmearFolder

    Examples
    --------
    >>> import tempfile
    >>> from PIL import Image
    >>> folder = Path(tempfile.mkdtemp())
    >>> (folder / "images").mkdir(), (folder / "labels").mkdir()
    (None, None)
    >>> import numpy as np
    >>> image = np.full((64, 96, 3), 200, np.uint8)
    >>> image[50:52, 40:80] = 0, 255, 0
    >>> Image.fromarray(image).save(folder / "images" / "a.png")
    >>> Image.fromarray(np.eye(64, 96, dtype=np.uint8)).save(folder / "labels" / "a.png")
    >>> smears = exclude_overlays(open_smears(folder))
    >>> bool(smears[0].ignored[50, 60])
    True
    """
    if smears.overlays != "undecided":
        return smears
    sample = smears.overlay_sample()
    if sample.counts:
        kinds = ", ".join(f"{kind} in {sample.counts[kind]}" for kind in KINDS if sample.counts[kind])
        of = f"{sample.smears} smears" if sample.smears == len(smears) else f"{sample.smears} examined smears"
        progress.message(
            f"overlays: {kinds} of {of}, excluded (stats --overlays shows them; --keep-overlays keeps them)"
        )
    return smears.without_overlays()


def as_smear_folder(
    data: Path | str | SmearFolder, *, cache_mb: float = 0.0, progress: Progress = SILENT
) -> SmearFolder:
    """Return an opened folder of smears whose overlays are ignored pixels.

    Parameters
    ----------
    data : Path or str or SmearFolder
        A path is opened by `open_smears` with its defaults.
    cache_mb : float
        Size of the cache of a folder that is opened here, MB.
    progress : Progress
        Receives the message of `exclude_overlays`.
    """
    smears = data if isinstance(data, SmearFolder) else open_smears(data, cache_mb=cache_mb)
    return exclude_overlays(smears, progress)


def choose_split(
    smears: SmearFolder, split: str | None, *, default: str | None, limit: int | None = None
) -> tuple[SmearFolder, str | None]:
    """Return the smears of a split and its name.

    Parameters
    ----------
    smears : SmearFolder
    split : str or None
        None selects the split `default` if it exists, else all smears.
    default : str or None
    limit : int, optional
        Return only the first smears.

    Raises
    ------
    DataError
        If no smear is in the requested split.
    """
    name = split or (default if default in smears.splits else None)
    subset = smears if name is None else smears.split(name)
    return (subset[:limit] if limit else subset), name


def check_smears(smears: SmearFolder, progress: Progress = SILENT) -> None:
    """Read every smear; report the number of cells, what was left out, and the smears that cannot be read.

    Raises
    ------
    DataError
        If a smear cannot be read; each problem is a message to `progress`.
    """
    problems = smears.check()
    report = smears.report
    for line in (*report.notes(), *problems):
        progress.message(line)
    if not problems:
        progress.message(f"{report.cells:,} cells in {report.smears:,} smears")
    if problems:
        raise DataError(
            f"{len(problems)} of {len(smears)} smears cannot be read, see the messages above", smears.root
        )


def fingerprints_of(smears: Sequence[Smear]) -> tuple[Fingerprint, ...]:
    """Return the fingerprint of the image of each smear; of a `SmearFolder` those of its image files at full size.

    Raises
    ------
    DataError
        If an image cannot be read.
    """
    if isinstance(smears, SmearFolder):
        return fingerprints_of_files(smears.entries)
    return tuple(Fingerprint.of_image(smear.image, smear.name) for smear in smears)
