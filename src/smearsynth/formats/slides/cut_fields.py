"""Fields of whole-slide images: choose fields with cells in focus, and write them as PNG files."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from smearsynth.errors import DataError, OptionError
from smearsynth.files import atomic_write, make_folder, read_text, write_text
from smearsynth.formats.listing import IMAGE_FOLDER, check_file_stem, image_name
from smearsynth.formats.pixels.images import save_png
from smearsynth.formats.slides.slide_file import Slide
from smearsynth.formats.slides.tissue import FieldMeasures, field_grid, measure_field, spread_order, tissue_mask
from smearsynth.runs import SILENT, Progress, StopRequest
from smearsynth.smear import ImageArray

FIELD_FILE = "fields.csv"
SHEET_FILE = "fields.png"
_COLUMNS = ("file", "slide", "x", "y", "focus", "tissue")
_OVERVIEW_SIDE = 2048  # px
_MIN_FIELD_SIDE = 8  # px of a field in the overview, if that does not make the overview too large
_MAX_OVERVIEW_SIDE = 8192
_MIN_SIDE = 64  # px
_MAX_UPSAMPLING = 4.0
_MIN_SAMPLE = 20  # fields more than wanted among which the sharpest are found
_SHARPEST = 90  # percentile of the focus that counts as sharp
_BLURRED_SLIDE = 0.2  # focus of the sharpest fields
_THUMBNAIL, _GAP = 186, 6  # px
_SHEET_COLUMNS, _SHEET_FIELDS = 8, 96


@dataclass(frozen=True)
class SlideField:
    """A field of a slide.

    Parameters
    ----------
    file : str
        Name of the PNG file in ``images/``.
    x, y : int
        Upper left corner at full resolution of the slide, px.
    focus : float
        See `smearsynth.formats.slides.tissue.FieldMeasures`.
    tissue : float
        Fraction of the area that is darker than the background.
    """

    file: str
    x: int
    y: int
    focus: float
    tissue: float


@dataclass
class FieldReport:
    """Result of `cut_fields`.

    Parameters
    ----------
    requested : int
        Number of fields that were requested.
    width, height : int
        Size of the slide, px.
    slide_um_per_px, um_per_px : float
        Pixel size of the slide and of the fields.
    candidates : int
        Fields on tissue, without overlap.
    fields : list of SlideField
        The fields that were written.
    blank, blurred : int
        Inspected fields without cells, and without focus.
    interrupted : bool
        Whether the call ended early after Ctrl-C.
    """

    requested: int
    width: int
    height: int
    slide_um_per_px: float
    um_per_px: float
    candidates: int = 0
    fields: list[SlideField] = field(default_factory=list)
    blank: int = 0
    blurred: int = 0
    interrupted: bool = False

    def as_dict(self) -> dict[str, object]:
        """Return the report as values for JSON."""
        return {
            "requested": self.requested,
            "slide": {"width": self.width, "height": self.height, "um_per_px": self.slide_um_per_px},
            "um_per_px": self.um_per_px,
            "candidates": self.candidates,
            "fields": [vars(item) for item in self.fields],
            "blank": self.blank,
            "blurred": self.blurred,
            "interrupted": self.interrupted,
        }


@dataclass(frozen=True)
class _Candidates:
    """Places of a grid of fields, in the order in which they are inspected, and the overview of the slide."""

    places: npt.NDArray[np.int64]  # (N, 2) upper left corners x, y at full resolution
    overview: ImageArray
    overview_scale: float


def cut_fields(
    slide: Path | str,
    output: Path | str,
    *,
    um_per_px: float,
    size: tuple[int, int] = (768, 1024),
    n: int = 50,
    seed: int = 0,
    slide_um_per_px: float | None = None,
    min_tissue: float = 0.05,
    min_focus: float = 0.5,
    dry_run: bool = False,
    progress: Progress = SILENT,
) -> FieldReport:
    """Cut microscope fields from a whole-slide image: with cells, in focus, and spread over the smear.

    The output folder receives ``images/NAME_x_y.png``, ``fields.csv`` and the contact sheet ``fields.png``. Fields
    of several slides can be written to one folder. The same call gives the same fields.

    Parameters
    ----------
    slide : Path or str
        SVS, NDPI, SCN, BIF, Philips TIFF, OME-TIFF or another TIFF.
    output : Path or str
    um_per_px : float
        Pixel size of the fields.
    size : (int, int)
        Height and width of a field, px.
    n : int
        Number of fields; fewer are written if the slide does not have them.
    seed : int
        Random seed of the choice.
    slide_um_per_px : float, optional
        Pixel size of the slide. Default: read from the file.
    min_tissue : float
        Smallest fraction of a field that is darker than its background, 0 to 1.
    min_focus : float
        Smallest focus of a field as a fraction of that of the sharpest fields of the slide, 0 to 1.
    dry_run : bool
        Count the fields on tissue and stop; nothing is written.
    progress : Progress
        Receiver of messages and of the numbers of inspected and written fields.

    Returns
    -------
    FieldReport

    Raises
    ------
    DataError
        If the file is not a slide, has no field with cells, or files cannot be written.
    OptionError
        If an option has an invalid value, the pixel size of the slide is unknown, the package tiffslide is missing,
        or the folder has other fields of this slide.
    """
    slide, output = Path(slide), Path(output)
    _check_options(um_per_px, size, n, seed, min_tissue, min_focus)
    name = check_file_stem(image_name(slide.name) if image_name(slide.name) != slide.name else slide.stem)
    with Slide(slide, slide_um_per_px) as source, StopRequest() as stop:
        scale = um_per_px / source.um_per_px
        if scale * _MAX_UPSAMPLING < 1:
            raise OptionError(
                f"--um-per-px {um_per_px:g}: {slide} has {source.um_per_px:g} µm per px, which is too coarse; "
                f"choose {source.um_per_px / _MAX_UPSAMPLING:g} or more"
            )
        if scale < 0.99:
            progress.message(
                f"{slide}: has {source.um_per_px:g} µm per px; fields are enlarged {1 / scale:.2g} times"
            )
        report = FieldReport(n, *source.size, source.um_per_px, um_per_px)
        candidates = _find_candidates(source, scale, size, min_tissue, seed)
        report.candidates = len(candidates.places)
        if dry_run:
            return report
        make_folder(output)
        job = _Cutting(source, scale, size, name, candidates, min_tissue, min_focus, progress, stop)
        chosen = job.choose(n, report)
        _check_earlier_fields(output, name, [item.file for item in chosen])
        job.write(output, chosen, um_per_px, report)
    return report


def _check_options(
    um_per_px: float, size: tuple[int, int], n: int, seed: int, min_tissue: float, min_focus: float
) -> None:
    if not (math.isfinite(um_per_px) and um_per_px > 0):
        raise OptionError(f"--um-per-px {um_per_px:g}; it must be positive")
    if min(size) < _MIN_SIDE:
        raise OptionError(f"fields of {size[1]}×{size[0]} px; each side must be at least {_MIN_SIDE} px")
    if n < 1 or seed < 0:
        raise OptionError("the number of fields must be at least 1 and the seed at least 0")
    if not (0 <= min_tissue <= 1 and 0 <= min_focus <= 1):
        raise OptionError("the smallest tissue fraction and focus must be from 0 to 1")


def _find_candidates(
    source: Slide, scale: float, size: tuple[int, int], min_tissue: float, seed: int
) -> _Candidates:
    """Find the fields of a grid that have tissue, in the overview of the slide."""
    height, width = (side * scale for side in size)
    if width > source.size[0] or height > source.size[1]:
        whole = [int(side / scale) for side in source.size]
        raise OptionError(
            f"fields of {size[1]}×{size[0]} px are larger than {source.path}, which is {whole[0]}×{whole[1]} px at "
            "this --um-per-px; choose a smaller --size"
        )
    longest = max(source.size)
    overview_scale = max(
        1.0, longest / _MAX_OVERVIEW_SIDE, min(longest / _OVERVIEW_SIDE, min(height, width) / _MIN_FIELD_SIDE)
    )
    overview = source.overview(overview_scale)
    tissue = tissue_mask(overview)
    grid = field_grid(tissue, (height / overview_scale, width / overview_scale), min_tissue)
    if not len(grid):
        raise DataError("shows no stained smear; check that it is a slide with a smear", source.path)
    grid = grid[spread_order(grid, np.random.default_rng(seed))]
    places = np.stack([np.floor(grid[:, 1] * width), np.floor(grid[:, 0] * height)], axis=1)
    # The grid ends at the border, apart from rounding errors.
    limits = np.array(source.size) - np.ceil([width, height])
    return _Candidates(np.clip(places, 0, np.maximum(limits, 0)).astype(np.int64), overview, overview_scale)


@dataclass
class _Cutting:
    """The choice and the writing of the fields of one slide."""

    source: Slide
    scale: float
    size: tuple[int, int]
    name: str
    candidates: _Candidates
    min_tissue: float
    min_focus: float
    progress: Progress
    stop: StopRequest

    def choose(self, n: int, report: FieldReport) -> list[SlideField]:
        """Inspect fields until enough are in focus; at least some more than wanted, to know what is sharp."""
        places = self.candidates.places
        measures: list[FieldMeasures] = []
        sample = min(len(places), n + max(n // 2, _MIN_SAMPLE))
        while len(measures) < len(places) and not self.stop.requested:
            measures.append(measure_field(self._read(len(measures))))
            self.progress.advance("inspecting fields", len(measures), max(sample, len(measures)))
            if len(measures) >= sample and len(self._sharp(measures)) >= n:
                break
        report.interrupted = self.stop.requested
        with_cells = [item for item in measures if self._has_cells(item)]
        sharp = self._sharp(measures)
        report.blank, report.blurred = len(measures) - len(with_cells), len(with_cells) - len(sharp)
        if not sharp and not report.interrupted:
            raise DataError(
                f"has no field with cells among {len(measures)} fields; choose another --um-per-px or --min-tissue",
                self.source.path,
            )
        if sharp and self._focus_of_sharpest(measures) < _BLURRED_SLIDE:
            self.progress.message(f"{self.source.path}: no field seems to be in focus; check {SHEET_FILE}")
        return [self._field(k, measures[k]) for k in sharp[:n]]

    def _read(self, index: int) -> ImageArray:
        x, y = self.candidates.places[index].tolist()
        return self.source.read(x, y, self.scale, self.size)

    def _has_cells(self, measures: FieldMeasures) -> bool:
        # Without edges there are no cells, however dark the field is.
        return measures.tissue >= self.min_tissue and measures.focus > 0

    def _focus_of_sharpest(self, measures: Sequence[FieldMeasures]) -> float:
        return float(np.percentile([item.focus for item in measures if self._has_cells(item)] or [0.0], _SHARPEST))

    def _sharp(self, measures: Sequence[FieldMeasures]) -> list[int]:
        limit = self.min_focus * self._focus_of_sharpest(measures)
        return [k for k, item in enumerate(measures) if self._has_cells(item) and item.focus >= limit]

    def _field(self, index: int, measures: FieldMeasures) -> SlideField:
        x, y = self.candidates.places[index].tolist()
        return SlideField(f"{self.name}_{x}_{y}.png", x, y, round(measures.focus, 4), round(measures.tissue, 4))

    def write(self, output: Path, chosen: Sequence[SlideField], um_per_px: float, report: FieldReport) -> None:
        """Write the images, the table and the contact sheet; after Ctrl-C, of the fields so far."""
        tags = {"um_per_px": repr(float(um_per_px)), "slide": self.source.path.name}
        thumbnails: list[Image.Image] = []
        for item in chosen:
            if self.stop.requested:
                report.interrupted = True
                break
            image = self.source.read(item.x, item.y, self.scale, self.size)
            with atomic_write(output / IMAGE_FOLDER / item.file) as temporary:
                save_png(temporary, image, {**tags, "x": str(item.x), "y": str(item.y)})
            if len(thumbnails) < _SHEET_FIELDS:
                thumbnails.append(_reduced(image, _THUMBNAIL))
            report.fields.append(item)
            self.progress.advance("writing fields", len(report.fields), len(chosen))
        if report.fields:
            _write_table(output, self.name, report.fields)
            extent = self.size[1] * self.scale, self.size[0] * self.scale
            sheet = _draw_sheet(self.candidates, extent, report.fields, thumbnails)
            with atomic_write(output / SHEET_FILE) as temporary:
                save_png(temporary, sheet)


def _read_table(output: Path) -> list[dict[str, str]]:
    path = output / FIELD_FILE
    if not path.exists():
        return []
    rows = csv.DictReader(io.StringIO(read_text(path)))
    if set(rows.fieldnames or ()) != set(_COLUMNS):
        raise DataError("is not a table of smearsynth cut-fields; choose another output folder", path)
    return [{key: row[key] or "" for key in _COLUMNS} for row in rows]


def _check_earlier_fields(output: Path, name: str, files: Sequence[str]) -> None:
    """Raise an `OptionError` if the folder has fields of this slide that this call does not write."""
    earlier = {row["file"] for row in _read_table(output) if row["slide"] == name}
    if earlier - set(files):
        raise OptionError(
            f"{output}: has other fields of slide {name}; choose another folder, or the options of the first call"
        )


def _write_table(output: Path, name: str, fields: Sequence[SlideField]) -> None:
    others = [row for row in _read_table(output) if row["slide"] != name]
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows([*others, *({"slide": name, **vars(item)} for item in fields)])
    write_text(output / FIELD_FILE, text.getvalue())


def _reduced(image: ImageArray, width: int) -> Image.Image:
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    return Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS)


def _draw_sheet(
    candidates: _Candidates,
    extent: tuple[float, float],
    fields: Sequence[SlideField],
    thumbnails: Sequence[Image.Image],
) -> ImageArray:
    """Draw the slide with the fields marked, above the first fields."""
    column_width = _THUMBNAIL + _GAP
    width = column_width * _SHEET_COLUMNS
    overview = candidates.overview
    factor = width / overview.shape[1] / candidates.overview_scale
    top = _reduced(overview, width)
    draw = ImageDraw.Draw(top)
    for item in fields:
        corners = [item.x, item.y, item.x + extent[0], item.y + extent[1]]
        x0, y0, x1, y1 = (factor * side for side in corners)
        draw.rectangle((x0, y0, max(x1, x0 + 2), max(y1, y0 + 2)), outline=(214, 0, 28), width=2)
    row_height = thumbnails[0].height + _GAP
    rows = math.ceil(len(thumbnails) / _SHEET_COLUMNS)
    sheet = Image.new("RGB", (width, top.height + rows * row_height), (255, 255, 255))
    sheet.paste(top, (0, 0))
    for k, thumbnail in enumerate(thumbnails):
        place = k % _SHEET_COLUMNS * column_width, top.height + _GAP + k // _SHEET_COLUMNS * row_height
        sheet.paste(thumbnail, place)
    return np.array(sheet)
