"""Pairing of images with their label images, in the folder layouts of other programs."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from smearsynth.errors import DataError
from smearsynth.files import describe_read_error
from smearsynth.formats.base import Entry
from smearsynth.formats.finding import normalised, split_name
from smearsynth.formats.listing import IMAGE_SUFFIXES, SPLIT_FILE, image_name, read_splits

# In order of preference. Names are compared without case and separators, after a split such as "train_" is removed.
IMAGE_FOLDERS = (
    "images", "image", "imgs", "img", "jpegimages", "raw", "original", "originals", "input", "inputs", "data", "x",
)  # fmt: skip
LABEL_FOLDERS = (
    "labels", "label", "masks", "mask", "instances", "instance", "palette", "segmentationobject", "groundtruth",
    "gt", "annotations", "annotation", "targets", "target", "segmentations", "segmentation", "y",
)  # fmt: skip
IGNORE_FOLDERS = ("ignore", "ignored")
LABEL_SUFFIXES = IMAGE_SUFFIXES | {".npy"}
_LABEL_WORDS = (
    "cp_masks", "ground_truth", "groundtruth", "label", "labels", "mask", "masks", "instance", "instances",
    "palette", "gt", "seg", "segmentation", "annotation", "target",
)  # fmt: skip
_IMAGE_WORDS = ("img", "image", "raw")
_MAX_DEPTH = 2  # folders of groups below the root, and below a folder of images

Parts = tuple[str, ...]
Key = tuple[Parts, str]


class LabelPairs(NamedTuple):
    """Images with their label images.

    Parameters
    ----------
    entries : tuple of Entry
        Sorted by name.
    notes : tuple of str
        Remarks on the folder, one line each.
    ignored : mapping of str to Path
        Image of the ignored pixels, by the name of the smear.
    """

    entries: tuple[Entry, ...]
    notes: tuple[str, ...]
    ignored: Mapping[str, Path]


@dataclass
class FileGroup:
    """Files that belong together: images, label images and images of ignored pixels, with their subfolders.

    Parameters
    ----------
    pattern : str
        Path of the label image of an image, with "{}" for its name, for messages.
    images, labels, ignored : list of (tuple of str, Path)
        Subfolders that distinguish equal names, and the file.
    """

    pattern: str
    images: list[tuple[Parts, Path]]
    labels: list[tuple[Parts, Path]]
    ignored: list[tuple[Parts, Path]] = field(default_factory=list)


def find_pairs(root: Path, groups: Sequence[FileGroup] | None = None) -> LabelPairs:
    """List images with their label images.

    A folder of images (`IMAGE_FOLDERS`) beside a folder of label images (`LABEL_FOLDERS`), or one folder in which
    ``x.png`` has the label image ``x_label.png``, ``x_masks.png``, ``x_seg.npy`` or similar. Either can be divided
    into folders of splits, such as ``train/images`` or ``images/train``. Names are compared without case. Splits
    are read from `split.csv`, else from the folders.

    Parameters
    ----------
    root : Path
    groups : sequence of FileGroup, optional
        Result of `find_groups`, if the folder has been listed before.

    Returns
    -------
    LabelPairs

    Raises
    ------
    DataError
        If there are no images, or an image has no label image, or a label image has no image.

    Examples
    --------
    >>> import tempfile
    >>> root = Path(tempfile.mkdtemp())
    >>> for name in ("a_img.png", "a_masks.png"):
    ...     (root / name).touch()
    >>> [(entry.name, entry.annotation.name) for entry in find_pairs(root).entries]
    [('a', 'a_masks.png')]
    """
    groups = list(find_groups(root)) if groups is None else groups
    images = [item for group in groups for item in group.images]
    if not images:
        raise DataError("contains no images; name a folder with PNG, JPEG or TIFF images and their labels", root)
    if not any(group.labels for group in groups) and groups[0].pattern.startswith(LABEL_FOLDERS[0]):
        folder = groups[0].images[0][1].parent.name
        raise DataError(
            f"contains {folder}/ without annotations; put label images in {root / LABEL_FOLDERS[0]}", root
        )
    labelled = [group for group in groups if group.labels] or groups
    notes = [
        f"{group.images[0][1].parent}: {len(group.images)} images without labels are not read"
        for group in groups
        if group.images and group not in labelled
    ]
    pairs: list[tuple[Parts, str, Path, Path]] = []
    ignored: dict[Path, Path] = {}
    for group in labelled:
        matched, duplicates, ignore = _match(root, group)
        pairs += matched
        notes += duplicates
        ignored.update(ignore)
    return named_entries(root, pairs, ignored, notes)


def named_entries(
    root: Path, pairs: Sequence[tuple[Parts, str, Path, Path]], ignored: Mapping[Path, Path], notes: Sequence[str]
) -> LabelPairs:
    """Return pairs with unique names and splits.

    Parameters
    ----------
    root : Path
    pairs : sequence of (tuple of str, str, Path, Path)
        Subfolders that distinguish equal names, name, image and annotation.
    ignored : mapping of Path to Path
        Image of the ignored pixels, by image.
    notes : sequence of str

    Raises
    ------
    DataError
        If two images have the same name and folder.
    """
    counts = Counter(normalised(name) for _, name, _, _ in pairs)
    splits = {normalised(name): split for name, split in read_splits(root).items()}
    entries: list[Entry] = []
    names: dict[str, Path] = {}
    ignored_by_name: dict[str, Path] = {}
    for parts, stem, image, label in pairs:
        unique = counts[normalised(stem)] == 1
        name = stem if unique else "_".join((*parts, stem))
        folder_split = next((split for part in reversed(parts) if (split := split_name(part))), None)
        split = splits.get(normalised(name)) or splits.get(normalised(stem)) or folder_split
        if normalised(name) in names:
            raise DataError(f"has the same name as {names[normalised(name)]}; rename one of the two files", image)
        names[normalised(name)] = image
        entries.append(Entry(name, image, label, split))
        if image in ignored:
            ignored_by_name[name] = ignored[image]
    listed = {normalised(name) for _, name, _, _ in pairs} | set(names)
    split_notes = _split_notes(root, listed, [entry for entry in entries if entry.split is None])
    entries.sort(key=lambda entry: entry.name)
    return LabelPairs(tuple(entries), (*notes, *split_notes), ignored_by_name)


def _split_notes(root: Path, names: set[str], unlisted: Sequence[Entry]) -> list[str]:
    splits = read_splits(root)
    if not splits:
        return []
    notes = []
    if missing := sorted(name for name in splits if normalised(name) not in names):
        notes.append(f"{root / SPLIT_FILE}: {_count(missing, 'row')} without an image")
    if others := sorted(entry.name for entry in unlisted):
        notes.append(f"{root / SPLIT_FILE}: {_count(others, 'image')} in no split")
    return notes


def find_groups(folder: Path, parts: Parts = (), depth: int = 0) -> Iterator[FileGroup]:
    """Find the groups of images and label images of a folder.

    Parameters
    ----------
    folder : Path
    parts : tuple of str
        Folders above it that distinguish equal names.
    depth : int
        Number of folders between the root and this folder.

    Yields
    ------
    FileGroup
        With at least one image or label image.
    """
    subfolders = _subfolders(folder)
    images, labels, ignored = (
        _by_split(subfolders, names) for names in (IMAGE_FOLDERS, LABEL_FOLDERS, IGNORE_FOLDERS)
    )
    pairs = [
        FileGroup(
            f"{labels[split].name}/{{}}.png",
            _tree(images[split], IMAGE_SUFFIXES, _with_split(parts, split)),
            _tree(labels[split], LABEL_SUFFIXES, _with_split(parts, split)),
            _tree(ignored.get(split), IMAGE_SUFFIXES, _with_split(parts, split)),
        )
        for split in images
        if split in labels
    ]
    here = [] if pairs else _pairs_of_one_folder(folder, parts, ignored.get(None))
    found = pairs or [group for group in here if group.labels]
    split_folders = [path for path in subfolders if split_name(path.name)]
    below = [group for path in split_folders for group in find_groups(path, (*parts, path.name), depth + 1)]
    found += [group for group in below if group.labels or not pairs]
    if not found and None in images:
        # Only a folder of images: Cellpose writes its masks beside them.
        inside = find_groups(images[None], parts, depth + 1) if depth < _MAX_DEPTH else ()
        tree = FileGroup(f"{LABEL_FOLDERS[0]}/{{}}.png", _tree(images[None], IMAGE_SUFFIXES, parts), [])
        found = [group for group in inside if group.labels] or [tree]
    found = found or here
    if not found and not split_folders and depth < _MAX_DEPTH:
        found = [group for path in subfolders for group in find_groups(path, (*parts, path.name), depth + 1)]
    yield from (group for group in found if group.images or group.labels)


def _with_split(parts: Parts, split: str | None) -> Parts:
    return parts if split is None else (*parts, split)


def _subfolders(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise DataError(describe_read_error(error), folder) from error


def _by_split(folders: Sequence[Path], names: Sequence[str]) -> dict[str | None, Path]:
    """Return the preferred folder with one of these names that holds images, for each split in its name."""
    ranked: dict[str | None, tuple[int, Path]] = {}
    for path in folders:
        words = re.split(r"[\s_.-]+", normalised(path.name))
        split = next((word for word in words if split_name(word)), None)
        name = "".join(word for word in words if word != split)
        if name not in names:
            continue
        rank = names.index(name)
        if (split not in ranked or rank < ranked[split][0]) and _holds_files(path, LABEL_SUFFIXES):
            ranked[split] = (rank, path)
    return {split: path for split, (_, path) in ranked.items()}


def _tree(folder: Path | None, suffixes: frozenset[str], parts: Parts) -> list[tuple[Parts, Path]]:
    if folder is None:
        return []
    return [(parts + path.parent.parts[len(folder.parts) :], path) for path in _walk(folder, suffixes)]


def _walk(folder: Path, suffixes: frozenset[str], depth: int = 0) -> Iterator[Path]:
    """Yield the files of a folder and its subfolders, sorted by name; hidden ones are skipped."""
    names, subfolders = _listing(folder, suffixes)
    yield from (folder / name for name in sorted(names))
    if depth < _MAX_DEPTH:
        for name in sorted(subfolders):
            yield from _walk(folder / name, suffixes, depth + 1)


def _holds_files(folder: Path, suffixes: frozenset[str], depth: int = 0) -> bool:
    names, subfolders = _listing(folder, suffixes)
    return bool(names) or (
        depth < _MAX_DEPTH and any(_holds_files(folder / name, suffixes, depth + 1) for name in subfolders)
    )


def _listing(folder: Path, suffixes: frozenset[str]) -> tuple[list[str], list[str]]:
    """Return the names of the files with these suffixes, and of the subfolders, without hidden ones."""
    names, subfolders = [], []
    try:
        with os.scandir(folder) as items:
            for item in items:
                if item.name.startswith("."):
                    continue
                if item.is_dir():
                    subfolders.append(item.name)
                elif os.path.splitext(item.name)[1].lower() in suffixes:  # noqa: PTH122  (paths are slower)
                    names.append(item.name)
    except OSError as error:
        raise DataError(describe_read_error(error), folder) from error
    return names, subfolders


def _pairs_of_one_folder(folder: Path, parts: Parts, ignored: Path | None) -> list[FileGroup]:
    """Return the images and label images of a folder without subfolders, such as x.png and x_label.png."""
    files = [path for path in _walk(folder, LABEL_SUFFIXES, _MAX_DEPTH)]
    names = {alias for path in files for alias in _aliases(_stem(path), _IMAGE_WORDS) if path.suffix != ".npy"}
    labels, images = [], []
    for path in files:
        own = normalised(_stem(path))
        is_label = any(alias in names and alias != own for alias in _aliases(_stem(path), _LABEL_WORDS))
        if is_label:
            labels.append((parts, path))
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            images.append((parts, path))
    if not images and not labels:
        return []
    return [FileGroup("{}_label.png", images, labels, _tree(ignored, IMAGE_SUFFIXES, parts))]


def _stem(path: Path) -> str:
    return path.stem if path.suffix.lower() == ".npy" else image_name(path.name)


def label_stems(path: Path) -> set[str]:
    """Return the names of the image to which a label image may belong, as compared.

    Examples
    --------
    >>> sorted(label_stems(Path("A_mask.png")))
    ['a', 'a_mask']
    """
    return set(_aliases(_stem(path), _LABEL_WORDS))


def _aliases(stem: str, words: Sequence[str]) -> Iterator[str]:
    """Yield the names by which a file may be compared: its own, and that without an ending or start in `words`."""
    name = normalised(stem)
    yield name
    if not any(separator in name for separator in "_-. "):
        return
    for pattern in _affixes(tuple(words)):
        if match := pattern.fullmatch(name):
            yield match[1]


@lru_cache(maxsize=2)
def _affixes(words: tuple[str, ...]) -> tuple[re.Pattern[str], re.Pattern[str]]:
    # The longest word first: x_cp_masks belongs to x, not to x_cp.
    choice = "|".join(sorted(words, key=len, reverse=True))
    return re.compile(rf"(.+?)[_\-. ](?:{choice})"), re.compile(rf"(?:{choice})[_\-. ](.+)")


def _match(root: Path, group: FileGroup) -> tuple[list[tuple[Parts, str, Path, Path]], list[str], dict[Path, Path]]:
    """Return (subfolders, name, image, label image) of a group, notes, and the ignored pixels by image."""
    exact: dict[Key, tuple[Parts, Path]] = {}
    for parts, path in group.images:
        key = _key(parts, normalised(_stem(path)))
        if key in exact:
            raise DataError(f"has the same name as {exact[key][1].name}; remove one of the two files", path)
        exact[key] = (parts, path)
    short = {
        _key(parts, alias): (parts, path)
        for parts, path in group.images
        for alias in _aliases(_stem(path), _IMAGE_WORDS)
    }
    by_name = {**short, **exact}
    labels, notes, unmatched = _assign(group, by_name)
    without_labels = [image_name(path.name) for _, path in group.images if path not in labels]
    _check_pairs(root, without_labels, unmatched, group)
    pairs = []
    for parts, path in group.images:
        label, alias = labels[path]
        name = _stem(path)
        # x_img.png with the label image x_masks.png is named x.
        if alias != normalised(name) and len(alias) < len(name):
            start = normalised(name).find(alias)
            name = name[start : start + len(alias)]
        pairs.append((parts, name, path, label))
    ignored = {}
    for parts, path in group.ignored:
        image = by_name.get(_key(parts, normalised(_stem(path))))
        if image is None:
            raise DataError("has no image of this name; remove it", path)
        ignored[image[1]] = path
    return pairs, notes, ignored


def _assign(
    group: FileGroup, by_name: Mapping[Key, tuple[Parts, Path]]
) -> tuple[dict[Path, tuple[Path, str]], list[str], list[str]]:
    """Return the label image of each image with the name that they share, notes, and labels without image."""
    labels: dict[Path, tuple[Path, str]] = {}
    unmatched, twice = [], []
    for parts, path in group.labels:
        keys = [_key(parts, alias) for alias in _aliases(_stem(path), _LABEL_WORDS)]
        key = next((key for key in keys if key in by_name), None)
        if key is None:
            unmatched.append(_stem(path))
            continue
        image = by_name[key][1]
        if image in labels:
            first = labels[image][0]
            if ".npy" not in (first.suffix, path.suffix):
                raise DataError(f"has the same name as {first.name}; remove one of the two files", path)
            twice.append(first.name if first.suffix == ".npy" else path.name)
            # Cellpose saves edits to x_seg.npy, and x_cp_masks.png only on request.
            path = first if first.suffix == ".npy" else path
        labels[image] = (path, key[1])
    notes = [f"{_count(twice, 'file')} read instead of the label image of the same name"] if twice else []
    return labels, notes, unmatched


def _key(parts: Parts, name: str) -> Key:
    return tuple(normalised(part) for part in parts), name


def _check_pairs(root: Path, without_labels: list[str], without_image: list[str], group: FileGroup) -> None:
    if without_labels:
        first = min(without_labels)
        raise DataError(
            f"{_count(without_labels, 'image')} without labels; add {group.pattern.format(first)} "
            "or remove the image",
            root,
        )
    if without_image:
        folder = group.images[0][1].parent.name
        raise DataError(
            f"{_count(without_image, 'label image')} without image; add {folder}/{min(without_image)}.png "
            "or remove it",
            root,
        )


def _count(names: Sequence[str], noun: str) -> str:
    """Return for example "4 images (a, b, c, …)"."""
    examples = ", ".join(sorted(names)[:3]) + (", …" if len(names) > 3 else "")
    return f"{len(names)} {noun}{'s' if len(names) > 1 else ''} ({examples})"
