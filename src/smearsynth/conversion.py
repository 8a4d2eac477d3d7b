"""Conversion of annotated smears from one format to another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from smearsynth.annotation.drawing import scaled
from smearsynth.errors import DataError, OptionError
from smearsynth.formats.base import ClassChoice, Entry, Reader
from smearsynth.formats.pixels.images import read_rgb
from smearsynth.formats.pixels.tiff_files import read_image_text
from smearsynth.formats.registry import open_reader, open_reader_with_classes, open_writer
from smearsynth.formats.splits import checked_fractions, split_by_order
from smearsynth.formats.writing import FolderWriter, MarkWriter
from smearsynth.runs import Execution, StopRequest


@dataclass(frozen=True)
class ConversionReport:
    """What `convert` read and wrote.

    Parameters
    ----------
    read_from : str
        What was found, such as "COCO outlines, 1,240 in 60 images".
    format : str
        Format that was written.
    smears, total : int
        Smears written, and in the data; smaller after Ctrl-C.
    cells : int
        Cells written.
    left_out : dict of str to int
        Marks of the input that are not in the output, by reason.
    lost : dict of str to int
        Cells or regions of which the output format cannot hold something, by what is lost.
    splits : dict of str to int
        Smears per split.
    notes : tuple of str
        Remarks on the input.
    """

    read_from: str
    format: str
    smears: int
    total: int
    cells: int
    left_out: dict[str, int]
    lost: dict[str, int]
    splits: dict[str, int]
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, object]:
        """Return the fields as a dictionary for JSON."""
        return asdict(self)


def convert(
    data: Path | str,
    output: Path | str,
    *,
    to: str,
    format: str = "auto",
    classes: ClassChoice | None = None,
    binary: bool = False,
    images: Path | str | None = None,
    split: Mapping[str, float] | None = None,
    licence: str = "",
    execution: Execution = Execution(),
) -> ConversionReport:
    """Write annotated smears in another format; after an interruption, the same call writes all smears again.

    Parameters
    ----------
    data : Path or str
        Annotated smears in any format that can be read. Boxes and points can be converted to formats of boxes and
        points.
    output : Path or str
        New folder.
    to : str
        One of `smearsynth.formats.WRITE_FORMATS`.
    format : str
        Format of the input; one of `smearsynth.formats.READ_FORMATS` or "auto".
    classes : {"one", "annotated"}, optional
        Default: the annotated classes if there are any.
    binary : bool
        The annotation is a binary mask, as for `open_smears`.
    images : Path or str, optional
        Folder of the images of an annotation file.
    split : mapping of str to float, optional
        Fraction of each split, such as ``{"train": 0.8, "val": 0.2}``. Default: the splits of the input.
    licence : str
        Licence of the images, for formats that name one.
    execution : Execution
        Receiver of the progress.

    Returns
    -------
    ConversionReport

    Raises
    ------
    DataError
        If the input cannot be read, or the format cannot hold it at all.
    OptionError
        If a format or a fraction is not valid.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from smearsynth.smear import Smear
    >>> labels = np.zeros((20, 30), np.int32)
    >>> labels[5:9, 5:9] = 1
    >>> source, target = tempfile.mkdtemp(), tempfile.mkdtemp()
    >>> with open_writer(source) as writer:
    ...     writer.write(Smear(np.full((20, 30, 3), 200, np.uint8), labels, np.array([0]), name="a"))
    >>> report = convert(source, target, to="coco")
    >>> report.cells, report.lost
    (1, {})
    """
    if classes is None and not binary:
        reader = open_reader_with_classes(data, format, images=images)
    else:
        reader = open_reader(data, format, classes=classes or "one", binary=binary, images=images)
    if not reader.entries:
        raise DataError("contains no annotated image", reader.root)
    split_of: Callable[[str], str | None] = {entry.name: entry.split for entry in reader.entries}.get
    if split is not None:
        split_of = split_by_order([entry.name for entry in reader.entries], checked_fractions(split))
    if Path(output).resolve() == reader.root.resolve():
        raise OptionError(f"{output} is the input; name another folder")
    writer = open_writer(output, format=to, class_names=reader.class_names, split_of=split_of)
    assert isinstance(writer, FolderWriter)
    if not reader.shows_cells and not isinstance(writer, MarkWriter):
        raise reader.no_outlines()
    writer.licence = licence
    progress, total = execution.progress, len(reader.entries)
    cells = done = 0
    splits: dict[str, int] = {}
    with StopRequest() as stop:
        for entry in reader.entries:
            if stop.requested:
                break
            cells += _convert_one(reader, entry, writer)
            name = split_of(entry.name)
            splits |= {} if name is None else {name: splits.get(name, 0) + 1}
            done += 1
            progress.advance("converting", done, total)
        writer.finish()
    notes = (*reader.notes, *reader.report.remarks())
    left_out, lost = dict(reader.report.left_out), dict(+writer.lost)
    return ConversionReport(reader.found, to, done, total, cells, left_out, lost, splits, notes)


def _convert_one(reader: Reader, entry: Entry, writer: FolderWriter) -> int:
    """Write one smear and return its number of cells."""
    tags = read_image_text(entry.image)
    tags.pop("um_per_px", None)  # written from the smear
    if reader.shows_cells:
        smear = reader.read(entry)
        writer.write(smear, tags)
        return smear.count
    assert isinstance(writer, MarkWriter)
    image = read_rgb(entry.image)
    annotation = reader.annotation(entry)
    size = (image.shape[0], image.shape[1])
    cells = tuple(replace(cell, shape=scaled(cell.shape, annotation, size)) for cell in annotation.cells)
    ignored = tuple(scaled(shape, annotation, size) for shape in annotation.ignored)
    reader.report.record(entry.name, len(cells), annotation.left_out)
    writer.write_marks(
        entry.name, image, replace(annotation, cells=cells, ignored=ignored, relative=False, size=size), tags
    )
    return len(cells)
