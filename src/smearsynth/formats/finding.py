"""Search for annotation files and for the images that they name."""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from smearsynth.errors import DataError
from smearsynth.files import describe_read_error, read_text
from smearsynth.formats.listing import IMAGE_SUFFIXES, TRAINING_SMEARS_FILE

# Folders below the one that was named: data sets are not deeper, and a home folder is not searched for minutes.
_MAX_DEPTH = 4
_MAX_FILES = 200_000
_SPLIT_NAMES = frozenset({"train", "training", "valid", "val", "validation", "dev", "test", "testing"})

# Label images have the names of their photographs.
_LABEL_FOLDERS = frozenset(
    {"label", "labels", "mask", "masks", "instance", "instances", "palette", "gt", "ground_truth", "groundtruth"}
    | {"segmentation", "segmentations", "segmentationclass", "segmentationobject", "ignore", "overlays"}
)


def normalised(name: str) -> str:
    r"""Return a file name in the form in which names are compared: Unicode NFC, without case.

    Examples
    --------
    >>> normalised("A\u0308.PNG") == normalised("\u00e4.png")
    True
    """
    return unicodedata.normalize("NFC", name).casefold()


def split_name(folder: str) -> str | None:
    """Return the split that a folder is named after, in lower case, or None.

    Examples
    --------
    >>> split_name("Valid"), split_name("images")
    ('valid', None)
    """
    return name if (name := folder.casefold()) in _SPLIT_NAMES else None


def split_of_path(path: Path, root: Path) -> str | None:
    """Return the split named by the innermost folder between `root` and `path` that names one."""
    parts = path.parent.parts[len(root.parts) :]
    return next((split for part in reversed(parts) if (split := split_name(part))), None)


def files_below(root: Path, suffixes: Iterable[str]) -> list[Path]:
    """List the files with these suffixes (in any case) in a folder and the folders below it, sorted by path.

    Hidden files and folders are skipped, and so is the record of training smears of a synthesizer. A file is
    returned itself if it has one of the suffixes.

    Raises
    ------
    DataError
        If the folder cannot be listed, or holds too many files to search.
    """
    wanted = frozenset(suffixes)
    if root.is_file():
        return [root] if root.suffix.lower() in wanted else []
    return [
        path for path in _all_files(root) if path.suffix.lower() in wanted and path.name != TRAINING_SMEARS_FILE
    ]


def _all_files(root: Path) -> Iterator[Path]:
    count = 0
    try:
        for folder, subfolders, names in os.walk(root, onerror=_raise, followlinks=True):
            depth = len(Path(folder).parts) - len(root.parts)
            visible = sorted(name for name in subfolders if not name.startswith("."))
            subfolders[:] = visible if depth < _MAX_DEPTH else []
            count += len(names)
            if count > _MAX_FILES:
                raise DataError(f"contains more than {_MAX_FILES:,} files; name a smaller folder", root)
            yield from (Path(folder, name) for name in sorted(names) if not name.startswith("."))
    except OSError as error:
        raise DataError(describe_read_error(error), root) from error


def _raise(error: OSError) -> None:
    raise error


def files_with_text(files: Sequence[Path], *words: str) -> list[Path]:
    """Return the files of a format: of each folder and suffix, all files if one of the first three has all words.

    A folder can have thousands of annotation files of one program; reading them all just to name the format would
    take too long.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.json"
    >>> _ = path.write_text('{"shapes": []}')
    >>> files_with_text([path], '"shapes"') == [path], files_with_text([path], '"images"')
    (True, [])
    """
    groups: dict[tuple[Path, str], list[Path]] = {}
    for path in files:
        groups.setdefault((path.parent, path.suffix), []).append(path)
    found: list[Path] = []
    for group in groups.values():
        if any(all(word in text_of(path) for word in words) for path in group[:3]):
            found += group
    return sorted(found)


def text_of(path: Path) -> str:
    """Return the text of a file; an empty text if it is not UTF-8 text. The last files are kept in memory."""
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(describe_read_error(error), path) from error
    return _cached_text(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4)
def _cached_text(path: Path, time: int, size: int) -> str:
    try:
        return read_text(path)
    except DataError as error:
        if isinstance(error.__cause__, UnicodeDecodeError):
            return ""
        raise


def load_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises
    ------
    DataError
        If it cannot be read or is not valid JSON.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: also of a number with thousands of digits
        raise DataError(f"is not valid JSON ({error}); export it again", path) from error


class ImageIndex:
    r"""Images below a folder, found by the names that annotation files give them.

    Parameters
    ----------
    root : Path
        Folder of the data set.

    Examples
    --------
    >>> import tempfile
    >>> root = Path(tempfile.mkdtemp())
    >>> (root / "images").mkdir()
    >>> (root / "images" / "A.PNG").touch()
    >>> index = ImageIndex(root)
    >>> index.find("C:\\data\\a.png", root / "x.json") == root / "images" / "A.PNG"
    True
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files = files_below(root, IMAGE_SUFFIXES)
        self._by_name: dict[str, list[Path]] = {}
        self._by_stem: dict[str, list[Path]] = {}
        for path in self.files:
            self._by_name.setdefault(normalised(path.name), []).append(path)
            self._by_stem.setdefault(normalised(path.stem), []).append(path)

    def find(self, name: str, source: Path, split: str | None = None) -> Path | None:
        r"""Return the image of a name or path in an annotation file, or None if there is none.

        Folders in the name are used only to choose between several images; the extension may differ.

        Parameters
        ----------
        name : str
            With "/" or "\" between folders.
        source : Path
            The annotation file; the image that is nearest to it is preferred.
        split : str, optional
            An image in a folder of this split is preferred.

        Raises
        ------
        DataError
            If several images fit equally well.
        """
        parts = [normalised(part) for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
        if not parts:
            return None
        candidates = self._by_name.get(parts[-1]) or self._by_stem.get(parts[-1])
        if not candidates:
            candidates = self._by_stem.get(normalised(Path(parts[-1]).stem), [])
        photographs = [path for path in candidates if path.parent.name.casefold() not in _LABEL_FOLDERS]
        candidates = photographs or candidates
        if len(candidates) < 2:
            return candidates[0] if candidates else None
        ranked = sorted(candidates, key=lambda path: self._rank(path, parts, source, split), reverse=True)
        best, second = (self._rank(path, parts, source, split) for path in ranked[:2])
        if best == second:
            raise DataError(
                f"names the image {name}, which is there twice ({ranked[0]}, {ranked[1]}); remove or rename one",
                source,
            )
        return ranked[0]

    def _rank(self, path: Path, parts: list[str], source: Path, split: str | None) -> tuple[int, int, int]:
        own = [normalised(part) for part in path.parts]
        # The last part is not compared: the extension may differ.
        suffix = _common_length(own[-2::-1], parts[-2::-1])
        same_split = int(split is not None and split_of_path(path, self.root) == split)
        return suffix, same_split, _common_length(path.parent.parts, source.parent.parts)


def _common_length(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the number of equal items at the start of two sequences."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(first), len(second)))
