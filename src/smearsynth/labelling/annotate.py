"""Instance labels of photographs from boxes, points or the image alone, and corrections of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from smearsynth.datasets import open_smears
from smearsynth.errors import DataError, OptionError
from smearsynth.formats.label_images.labels import LabelWriter
from smearsynth.labelling.completeness import leaves_cells_out
from smearsynth.labelling.corrections import correct_labels
from smearsynth.labelling.image_labels import ImageLabeller, SecondOpinion
from smearsynth.labelling.page import write_doubt_page
from smearsynth.labelling.record import count_by_origin, read_cells, write_cells, write_provenance
from smearsynth.labelling.score import LabelScore, score_labels
from smearsynth.labelling.sources import Sources, find_sources, typical_class
from smearsynth.runs import Execution, StopRequest

PAGE_FILE = "cells-by-doubt.html"


@dataclass(frozen=True)
class AnnotationReport:
    """What `annotate` labelled.

    Parameters
    ----------
    read_from : str
        What the labels were made from, such as "Pascal VOC boxes, 4,888 in 364 images".
    images, total : int
        Images with labels, and all images; fewer after Ctrl-C or if some cannot be read.
    cells : int
    labels_from : dict of str to int
        Number of cells by what they were made from.
    changed : int
        Cells that a correction changed, added or removed.
    problems : tuple of str
        Images that cannot be read, one line each.
    notes : tuple of str
    score : LabelScore or None
    """

    read_from: str
    images: int
    total: int
    cells: int
    labels_from: dict[str, int]
    changed: int = 0
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    score: LabelScore | None = None

    def as_dict(self) -> dict[str, object]:
        """Return the fields as a dictionary for JSON; those of the score are on the top level."""
        fields = {name: value for name, value in asdict(self).items() if name != "score"}
        return fields | ({} if self.score is None else self.score.as_dict())


def annotate(
    images: Path | str,
    output: Path | str,
    *,
    boxes: Path | str | None = None,
    points: Path | str | None = None,
    corrections: Path | str | None = None,
    format: str = "auto",
    from_image: bool = False,
    complete: bool | None = None,
    diameter: float | None = None,
    second_opinion: SecondOpinion | None = None,
    score: Path | str | None = None,
    page: bool = True,
    execution: Execution = Execution(),
) -> AnnotationReport:
    """Make instance labels of photographs; the same call continues an interrupted one.

    Parameters
    ----------
    images : Path or str
        Image, folder of images, or folder of a data set with boxes or points.
    output : Path or str
        Receives ``images/`` and ``labels/``, ``cells.csv`` with the confidence of each cell, and
        ``cells-by-doubt.html``. It can be used for training as it is.
    boxes, points : Path or str, optional
        File or folder with boxes, or with one point per cell. Default: those in `images`; if there are none, the
        labels are made from the images alone.
    corrections : Path or str, optional
        Outlines that were corrected in another program. Only the changed cells of an earlier output are replaced.
    format : str
        Format of boxes, points or corrections; one of `smearsynth.formats.READ_FORMATS` or "auto".
    from_image : bool
        Ignore boxes and points in `images`.
    complete : bool, optional
        Also label visible cells without a box or point; otherwise their pixels are ignored. Default: whether marks
        are in 25 to 85 % of the visible cells. With fewer marks, the annotation is of a rare kind of cell.
    diameter : float, optional
        Mean diameter of the red cells in px. Default: estimated for each image.
    second_opinion : callable, optional
        Returns the labels of an image that a segmentation model predicts.
    score : Path or str, optional
        True annotation of the same images, to compare the labels with.
    page : bool
        Write ``cells-by-doubt.html``.
    execution : Execution
        Receiver of the progress.

    Returns
    -------
    AnnotationReport

    Raises
    ------
    DataError
        If there are no images, or marks cannot be read, or the folder holds other files.
    OptionError
        If options contradict each other, or the images are annotated with outlines already.

    Examples
    --------
    >>> import tempfile
    >>> from PIL import Image
    >>> folder = Path(tempfile.mkdtemp())
    >>> Image.new("RGB", (60, 40), "white").save(folder / "field.png")
    >>> annotate(folder / "field.png", folder / "labelled").cells
    0
    """
    if boxes is not None and points is not None:
        raise OptionError("give boxes or points, not both; call the function once for each")
    output, progress = Path(output), execution.progress
    if corrections is not None:
        if boxes is not None or points is not None or from_image:
            raise OptionError("corrections change the labels of an earlier call; leave out boxes and points")
        report = _correct(output, Path(corrections), format)
    else:
        marks = next((Path(path) for path in (boxes, points) if path is not None), None)
        kind = "box" if boxes is not None else "point" if points is not None else "any"
        sources = find_sources(Path(images), marks, kind, format, progress, from_image=from_image)
        if complete is None:
            complete = leaves_cells_out(sources.images, diameter)
            if complete:
                progress.message(
                    "some visible cells have no mark; they are labelled too (--no-complete ignores them)"
                )
        typical = typical_class(_class_counts(sources), sources.class_names)
        labeller = ImageLabeller(sources.class_names, typical, diameter, second_opinion, complete)
        report = _label_images(sources, output, labeller, execution)
    if page and report.images:
        write_doubt_page(output / PAGE_FILE, open_smears(output, classes="auto"), read_cells(output))
    if score is not None and report.images:
        result = score_labels(open_smears(output), read_cells(output), score)
        report = replace(report, score=result)
    return report


def _label_images(
    sources: Sources, output: Path, labeller: ImageLabeller, execution: Execution
) -> AnnotationReport:
    splits = {source.name: source.split for source in sources.images}
    writer = LabelWriter(output, sources.class_names, splits.get)
    cells = read_cells(output)
    problems: list[str] = []
    with StopRequest() as stop:
        try:
            for done, source in enumerate(sources.images, 1):
                if stop.requested:
                    break
                if source.name not in cells or not writer.is_written(source.name):
                    try:
                        smear, rows = labeller.label(source)
                        writer.write(smear)
                        cells[source.name] = rows
                    except DataError as error:
                        problems.append(str(error))
                execution.progress.advance("labelling", done, len(sources.images))
        finally:
            # An image without a cell has no row; it is labelled again, which takes the same time as to test it.
            writer.finish()
            labelled = [cell for rows in cells.values() for cell in rows]
            write_cells(output, labelled)
            write_provenance(output, labelled, sources.found)
    counts = count_by_origin(labelled)
    written = sum(writer.is_written(source.name) for source in sources.images)
    return AnnotationReport(
        sources.found,
        written,
        len(sources.images),
        len(labelled),
        counts,
        problems=tuple(problems),
        notes=sources.notes,
    )


def _class_counts(sources: Sources) -> Mapping[str, int]:
    return Counter(
        cell.class_name for source in sources.images if source.annotation for cell in source.annotation.cells
    )


def _correct(output: Path, corrections: Path, format: str) -> AnnotationReport:
    result = correct_labels(output, corrections, format)
    labelled = [cell for rows in result.cells.values() for cell in rows]
    write_provenance(output, labelled, f"corrections: {result.found}")
    counts = count_by_origin(labelled)
    smears = len(result.cells)
    return AnnotationReport(result.found, smears, smears, len(labelled), counts, result.changed, notes=result.notes)
