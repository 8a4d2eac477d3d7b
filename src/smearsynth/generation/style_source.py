"""Sources of the styles of new smears: the style bank of the model, or reference smears of the user."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from smearsynth.annotation.threshold import smear_from_photograph
from smearsynth.datasets import exclude_overlays, open_smears
from smearsynth.errors import DataError, OptionError
from smearsynth.formats.pixels.images import read_rgb
from smearsynth.smear import Smear, digest
from smearsynth.synthesis.model.synthesizer import Synthesizer
from smearsynth.synthesis.styles.clusters import Styles
from smearsynth.synthesis.styles.partial_cells import drop_partial_cells

_NAMES = ("joint", "independent")
_MAX_NAMES = 5  # listed in an error message


class DrawnStyles(NamedTuple):
    """Styles of a new smear.

    Parameters
    ----------
    styles : (n + 1, S) float32 array
        Row 0 is the background, row k the cell with label k.
    reference : int, optional
        Number of the training smear whose light and focus belong to these styles.
    blend : float, optional
        Position between two reference smears: 0 at the first, 1 at the second.
    """

    styles: Styles
    reference: int | None = None
    blend: float | None = None


class StyleSource:
    """Draws the styles of a stream.

    Parameters
    ----------
    model : Synthesizer
    style : str
        "joint", "independent" or the number of a joint cluster; see `StreamOptions`.
    references : sequence of Smear
        Take the style of this smear; with two, styles interpolated between them. Cells take the styles of the
        cells of the same class name. If no class of the smear is a class of the model, as in a photograph, they
        take the styles of any cells.

    Raises
    ------
    OptionError
        If the model has no such style, `style` is given beside a reference, or there are more than two references.

    Examples
    --------
    >>> source = StyleSource(Synthesizer.load("default"), "joint")
    >>> source.draw(np.zeros(5, np.int64), reference=3, rng=np.random.default_rng(0)).styles.shape
    (6, 8)
    """

    def __init__(self, model: Synthesizer, style: str, references: Sequence[Smear] = ()) -> None:
        clusters = len(model.styles.joint.weights)
        if style not in _NAMES and not (style.isdecimal() and int(style) < clusters):
            raise OptionError(f"style {style!r}: choose {', '.join(_NAMES)}, or a cluster from 0 to {clusters - 1}")
        if references and style != "joint":
            raise OptionError(f"style {style!r} and style_of exclude each other; give one of them")
        if len(references) > 2:
            raise OptionError(f"style_of: {len(references)} smears; give one, or two to interpolate between")
        self.model = model
        self.style = str(int(style)) if style.isdecimal() else style
        self.references = tuple(references)

    @property
    def name(self) -> str:
        """The style as it is written in a recipe; reference smears by name and hash."""
        if not self.references:
            return self.style
        return "of " + " to ".join(f"{smear.name} {digest(smear)}" for smear in self.references)

    @property
    def classes_without_style(self) -> dict[str, tuple[str, ...]]:
        """Classes by reference smear that the model lacks and whose styles are not used.

        A smear in which no class is known to the model is not listed: all its cells are used.
        """
        unused = {}
        for smear in self.references:
            model_classes = self._model_classes(smear)[smear.classes]
            unknown = model_classes < 0
            if unknown.any() and not unknown.all():
                unused[smear.name] = tuple(smear.class_names[kind] for kind in np.unique(smear.classes[unknown]))
        return unused

    @cached_property
    def cluster_members(self) -> list[int] | None:
        """Numbers of the training smears in the joint cluster; None if no cluster was selected."""
        return self.model.styles.members(int(self.style)) if self.style.isdecimal() else None

    def draw(self, classes: npt.NDArray[np.int64], reference: int, rng: np.random.Generator) -> DrawnStyles:
        """Draw styles for the cells of a new smear.

        Parameters
        ----------
        classes : (n,) int64 array
            Class of each cell.
        reference : int
            Number of the training smear that the layout was drawn after.
        rng : numpy.random.Generator

        Returns
        -------
        DrawnStyles
        """
        bank = self.model.styles
        if self.references:
            return self._interpolate(classes, rng)
        if self.style == "independent":
            return DrawnStyles(bank.draw_independent(classes, rng))
        return DrawnStyles(bank.draw(classes, rng, reference=reference), reference)

    def _interpolate(self, classes: npt.NDArray[np.int64], rng: np.random.Generator) -> DrawnStyles:
        draws = [
            self.model.styles.resample(styles, model_classes, classes, rng)
            for styles, model_classes in self._reference_styles
        ]
        if len(draws) == 1:
            return DrawnStyles(draws[0])
        blend = round(float(rng.random()), 3)
        return DrawnStyles(((1 - blend) * draws[0] + blend * draws[1]).astype(np.float32), blend=blend)

    def _model_classes(self, smear: Smear) -> npt.NDArray[np.int64]:
        """Return the model's number of each class of a smear, matched by name; -1 if it has no such class."""
        names = self.model.class_names
        return np.array([names.index(name) if name in names else -1 for name in smear.class_names])

    @cached_property
    def _reference_styles(self) -> list[tuple[Styles, npt.NDArray[np.int64]]]:
        """Styles of each reference smear, and the model's class of each of its cells."""
        result = []
        for smear in self.references:
            styles, classes = drop_partial_cells(self.model.encode(smear), smear)
            result.append((styles, self._model_classes(smear)[classes]))
        return result


def reduce_variation(styles: Styles, classes: npt.NDArray[np.int64], factor: float) -> Styles:
    """Return styles whose deviations from the mean of their class are multiplied by a factor.

    Blotches of colours that no tissue has come from outlying styles, so that repeated attempts at a smear vary
    less.

    Parameters
    ----------
    styles : (n + 1, S) float32 array
        Row 0 is the background; it does not change.
    classes : (n,) int64 array
    factor : float
        1 returns the styles, 0 the mean of each class.

    Examples
    --------
    >>> styles = np.array([[9.0], [1.0], [3.0]], np.float32)
    >>> reduce_variation(styles, np.array([0, 0]), 0.5).ravel().tolist()
    [9.0, 1.5, 2.5]
    """
    reduced = styles.copy()
    for class_id in np.unique(classes):
        rows = np.flatnonzero(classes == class_id) + 1
        mean = styles[rows].mean(axis=0)
        reduced[rows] = mean + np.float32(factor) * (styles[rows] - mean)
    return reduced


def load_reference(path: Path | str, scale: float = 1.0) -> Smear:
    """Read a smear whose style is to be used.

    Parameters
    ----------
    path : Path or str
        A photograph, whose cells are found by a threshold; or FOLDER:NAME, an annotated smear, where NAME is the
        file name of an image in the folder without its suffix.
    scale : float
        Resize factor: the scale of the model that is to use the style.

    Returns
    -------
    Smear

    Raises
    ------
    DataError
        If there is no such photograph, folder or smear, or it cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> from PIL import Image
    >>> photo = Path(tempfile.mkdtemp()) / "slide.png"
    >>> Image.new("RGB", (40, 30), (220, 210, 215)).save(photo)
    >>> smear = load_reference(photo, scale=0.5)
    >>> smear.name, smear.shape
    ('slide', (15, 20))
    """
    text = str(path)
    if Path(text).is_file():
        return smear_from_photograph(read_rgb(Path(text)), Path(text).stem).resized(scale)
    folder, _, name = text.rpartition(":")
    if not folder:
        problem = "is a folder" if Path(text).is_dir() else "does not exist"
        raise DataError(f"{problem}; give the path of a photograph, or FOLDER:NAME for an annotated smear", text)
    smears = exclude_overlays(open_smears(Path(folder), scale=scale))
    if name not in smears.names:
        examples = ", ".join(smears.names[:_MAX_NAMES]) + (", ..." if len(smears) > _MAX_NAMES else "")
        raise DataError(f"has no smear {name!r}; it has {examples}", folder)
    return smears[smears.names.index(name)]


def load_references(
    style_of: Smear | Path | str | Sequence[Smear | Path | str] | None, scale: float
) -> list[Smear]:
    """Return the reference smears of the option `style_of`; paths are read at the scale of a model.

    Examples
    --------
    >>> load_references(None, 1.0)
    []
    """
    if style_of is None:
        return []
    items = [style_of] if isinstance(style_of, (Smear, Path, str)) else style_of
    return [item if isinstance(item, Smear) else load_reference(item, scale) for item in items]
