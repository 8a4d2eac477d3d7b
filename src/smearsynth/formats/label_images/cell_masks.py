"""One mask per cell: a folder of mask images per image, or one plane of a file per cell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from smearsynth.errors import DataError
from smearsynth.formats.base import ONE_CLASS, ClassChoice, Entry, Reader
from smearsynth.formats.finding import normalised
from smearsynth.formats.label_images.binary_masks import binary_cells, cell_pixels, read_binary
from smearsynth.formats.label_images.label_checks import BINARY_PROBLEM, label_problem
from smearsynth.formats.label_images.label_summary import LabelSummary
from smearsynth.formats.label_images.orientation import check_turn, oriented_image
from smearsynth.formats.label_images.pairs import (
    LABEL_SUFFIXES,
    FileGroup,
    Parts,
    find_groups,
    find_pairs,
    label_stems,
    named_entries,
)
from smearsynth.formats.pixels.images import id_plane_count, read_id_planes
from smearsynth.geometry import Outline
from smearsynth.smear import LabelArray, Mask, Smear

_PLANE_SUFFIXES = (".tif", ".tiff", ".npy")
_EMPTY = "masks without a pixel"
_COVERED = "cells that other cells cover"


class CellMaskFiles(NamedTuple):
    """Images with the masks of their cells.

    Parameters
    ----------
    entries : tuple of Entry
        Sorted by name; the annotation is the folder of the masks, or the file with one plane per cell.
    notes : tuple of str
        Remarks on the folder, one line each.
    """

    entries: tuple[Entry, ...]
    notes: tuple[str, ...] = ()


def find_cell_masks(root: Path, groups: Sequence[FileGroup] | None = None) -> CellMaskFiles | None:
    """List images that have one mask per cell, or return None if the folder has another layout.

    Supported are ``ID/images/NAME.png`` with ``ID/masks/*.png`` (Data Science Bowl 2018), ``images/NAME.png`` with
    ``masks/NAME/*.png``, and ``images/NAME.png`` with ``masks/NAME.tif`` or ``.npy`` of several planes.

    Parameters
    ----------
    root : Path
    groups : sequence of FileGroup, optional
        Result of `find_groups`, if the folder has been listed before.

    Raises
    ------
    DataError
        If some of the images have no masks.
    """
    groups = list(find_groups(root)) if groups is None else groups
    pairs: list[tuple[Parts, Path, Path]] = []
    without_masks: list[Path] = []
    for group in groups:
        folders = _mask_folders(group, nested=len(groups) > 1 or bool(group.images and group.images[0][0]))
        if folders is None:
            return _plane_files(root, groups)
        pairs += [(parts, image, folder) for parts, image, folder in folders if folder is not None]
        without_masks += [image for _, image, folder in folders if folder is None]
    if not pairs:
        return None
    in_splits = [
        image for image in without_masks if image.parent.name in {path.parent.name for _, path, _ in pairs}
    ]
    if in_splits and not any(len(parts) for parts, _, _ in pairs):
        raise DataError(f"has no masks of its cells; add masks/{in_splits[0].stem}/ or remove it", in_splits[0])
    notes = [f"{root}: {len(without_masks)} images without masks are not read"] if without_masks else []
    found = named_entries(
        root, [(_distinct(parts, path), path.stem, path, masks) for parts, path, masks in pairs], {}, notes
    )
    return CellMaskFiles(found.entries, found.notes)


def _distinct(parts: Parts, image: Path) -> Parts:
    """Return the folders that distinguish equal names; in ID/images/ID.png the folder repeats the name."""
    return tuple(part for part in parts if normalised(part) != normalised(image.stem))


def _mask_folders(group: FileGroup, *, nested: bool) -> list[tuple[Parts, Path, Path | None]] | None:
    """Return (subfolders, image, folder of masks or None) of a group, or None if it has another layout."""
    folders: dict[Parts, list[Path]] = {}
    for parts, path in group.labels:
        folders.setdefault(tuple(map(normalised, parts)), []).append(path)
    keys = [
        (*map(normalised, parts), normalised(stem))
        for parts, path in group.images
        for stem in (path.name.removesuffix(path.suffix),)
    ]
    if any(key in folders for key in keys):
        return [
            (parts, path, folders[key][0].parent if key in folders else None)
            for key, (parts, path) in zip(keys, group.images, strict=True)
        ]
    if not group.labels:
        return [(parts, path, None) for parts, path in group.images]
    if len(group.images) != 1 or len(folders) != 1 or len(group.labels) < (1 if nested else 2):
        return None
    parts, image = group.images[0]
    same_folder = group.labels[0][1].parent == image.parent
    if same_folder or any(normalised(image.stem) in label_stems(path) for _, path in group.labels):
        return None
    return [(parts, image, group.labels[0][1].parent)]


def _plane_files(root: Path, groups: Sequence[FileGroup]) -> CellMaskFiles | None:
    files = [path for group in groups for _, path in group.labels]
    if not files or files[0].suffix.lower() not in _PLANE_SUFFIXES or not _has_cell_planes(files[0]):
        return None
    pairs = find_pairs(root, groups)
    return CellMaskFiles(pairs.entries, pairs.notes)


def _has_cell_planes(path: Path) -> bool:
    """Test whether a file has several planes, each with one cell."""
    try:
        return id_plane_count(path) > 1 and sum(1 for _ in read_id_planes(path)) > 1
    except DataError:
        return False


class CellMaskReader(Reader):
    """Reader of images with one mask per cell. Where masks overlap, the later one is on top.

    The full outlines of cells that are partly covered are kept in `Smear.full_outlines`.

    Parameters
    ----------
    root : Path
        Folder with a layout of `find_cell_masks`.
    classes : {"auto", "one", "annotated"}
        All cells are "cell"; "annotated" is an error.
    binary : bool
        The connected components of the union of all masks become the instances.

    Raises
    ------
    DataError
        If files are missing, or annotated classes are requested.
    """

    format = "cell-masks"

    def __init__(self, root: Path, *, classes: ClassChoice = "auto", binary: bool = False) -> None:
        super().__init__(root)
        files = find_cell_masks(root)
        if files is None:
            raise DataError(
                "contains no masks of single cells; expected images/NAME.png with masks/NAME/*.png", root
            )
        if classes == "annotated":
            raise DataError("contains no classes, only masks of cells; use classes 'one'", root)
        self.entries, self.notes = files
        self.found = f"masks of single cells in {len(self.entries):,} smear{'' if len(self.entries) == 1 else 's'}"
        self.class_names = ONE_CLASS
        self._binary = binary

    def read(self, entry: Entry) -> Smear:
        """Decode one smear at full size."""
        stack = draw_masks(_read_masks(entry.annotation))
        if stack.masks == 1:
            self._check_single(stack, entry)
        labels = stack.labels
        outlines: list[Outline | None] | None = stack.full_outlines
        if self._binary:
            labels, outlines = binary_cells((labels > 0).astype(np.uint8)).labels, None
        image, remark = oriented_image(entry.image, labels, entry.annotation)
        remarks = [text for text in (remark, check_turn(image, labels)) if text is not None]
        smear = Smear.from_labels(image, labels, name=entry.name, full_outlines=outlines)
        left_out = {_EMPTY: stack.empty, _COVERED: 0 if self._binary else stack.masks - smear.count}
        self.report.record(entry.name, smear.count, left_out, remarks)
        return smear

    def _check_single(self, stack: MaskStack, entry: Entry) -> None:
        """Raise an error if the only mask of an image shows all of its cells."""
        if not self._binary and label_problem(LabelSummary.of(stack.labels), list):
            raise DataError(BINARY_PROBLEM, entry.annotation)


class MaskStack(NamedTuple):
    """Masks of cells, drawn one over the other.

    Parameters
    ----------
    labels : (H, W) int32 array
        The cell on top of each pixel, 1..masks; covered cells have no pixel.
    masks : int
        Number of masks with a pixel.
    empty : int
        Number of masks without a pixel.
    full_outlines : list of Outline or None
        For each mask its outline if later masks cover a part of it.
    """

    labels: LabelArray
    masks: int
    empty: int
    full_outlines: list[Outline | None]


def draw_masks(masks: Iterable[tuple[Path, Mask]]) -> MaskStack:
    """Draw masks in their order, later ones on top.

    Parameters
    ----------
    masks : iterable of (Path, (H, W) bool array)
        With the file of each mask, for messages.

    Raises
    ------
    DataError
        If there are no masks, or their sizes differ.

    Examples
    --------
    >>> first, second = np.array([[True, True, False]]), np.array([[False, True, True]])
    >>> stack = draw_masks([(Path("1.png"), first), (Path("2.png"), second)])
    >>> stack.labels.tolist(), [outline is not None for outline in stack.full_outlines]
    ([[1, 2, 2]], [True, False])
    """
    labels: LabelArray | None = None
    kept: list[tuple[Mask, tuple[int, int]]] = []
    empty = 0
    for path, mask in masks:
        if labels is None:
            labels = np.zeros(mask.shape, np.int32)
        if mask.shape != labels.shape:
            raise DataError(
                f"is {mask.shape[1]}×{mask.shape[0]} px, but the first mask of the image is "
                f"{labels.shape[1]}×{labels.shape[0]} px; all must have the same size",
                path,
            )
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if not len(rows):
            empty += 1
            continue
        window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        kept.append((mask[window].copy(), (int(columns[0]), int(rows[0]))))
        labels[window][kept[-1][0]] = len(kept)
    if labels is None:
        raise DataError("contains no masks of cells")
    outlines: list[Outline | None] = []
    for k, (mask, (x, y)) in enumerate(kept, 1):
        visible = labels[y : y + mask.shape[0], x : x + mask.shape[1]] == k
        outlines.append(None if (visible == mask).all() else Outline.of_mask(mask, (x, y)))
    return MaskStack(labels, len(kept), empty, outlines)


def _read_masks(path: Path) -> Iterator[tuple[Path, Mask]]:
    """Yield the masks of a folder, sorted by name, or of the planes of a file."""
    if path.is_dir():
        for file in _mask_files(path):
            yield file, cell_pixels(read_binary(file))
    else:
        for plane in read_id_planes(path):
            yield path, plane


def _mask_files(folder: Path) -> Sequence[Path]:
    files = [path for path in folder.iterdir() if path.suffix.lower() in LABEL_SUFFIXES and path.name[0] != "."]
    return sorted(files)
