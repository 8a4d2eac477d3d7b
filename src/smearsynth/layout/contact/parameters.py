"""Parameters of contact layouts: how cells stick together in a data set, and how its smears differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from smearsynth.errors import DataError, OptionError

FloatArray = npt.NDArray[np.float64]

# Weight of the prior spread between smears, in smears: a few smears are then not repeated exactly.
_PRIOR_SMEARS = 4.0
# Prior standard deviations between smears: 20 % in density, 5 % in cell size, 20 % in its spread, 1 in the logit.
_PRIOR_STD = np.array([0.2, 0.05, 0.2, 1.0])
_MIN_SPREAD, _MAX_SPREAD = 0.005, 0.5
_MAX_DEVIATION = 2.5  # standard deviations; draws beyond it are clipped
_MAX_BORDER = 20.0

_OFFSETS = np.linspace(-1, 1, 402)[1:-1]
# Fraction of a disc on one side of a chord, for each offset of the chord from the centre in radii.
_VISIBLE_FRACTIONS = (np.arccos(-_OFFSETS) + _OFFSETS * np.sqrt(1 - _OFFSETS**2)) / math.pi


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class InteractionParameters(_Record):
    """How cells stick together; the same in all smears of a data set. Lengths are in mean cell diameters.

    Parameters
    ----------
    overlap : float
        Fraction of the attached cells that lie partly under the cells they are attached to.
    depth : float
        Mean depth of the overlap. Its distribution is a gamma distribution of shape 3.
    gap : float
        Mean gap between the other attached cells and their partners. Its distribution is triangular, from zero to
        twice the mean: real pair correlations fall off as steeply.
    growth : float
        Fraction of the cells that may join a cluster of two; of these, the fraction that may join one of three, and
        so on.
    chain : float
        Probability of attachment to a cell that has a partner, relative to a cell that has none.
    seeds : float
        Fraction of the free cells that are placed before any attached cell. The others are placed in between.
    unevenness : float
        Standard deviation of the logarithm of the density within a smear: empty areas and gradients.
    border : float
        A cell with the visible fraction s is annotated with the probability s**border.
    """

    overlap: float = Field(0.0, ge=0, le=1)
    depth: float = Field(0.1, gt=0, le=1)
    gap: float = Field(0.1, gt=0, le=2)
    growth: float = Field(1.0, ge=0, le=1)
    chain: float = Field(1.0, ge=0, le=1)
    seeds: float = Field(0.0, ge=0, le=1)
    unevenness: float = Field(0.0, ge=0, le=3)
    border: float = Field(0.0, ge=0, le=_MAX_BORDER)


class SmearParameters(_Record):
    """Parameters of one smear: drawn by `ContactParameters.draw`, used by `contact_layout`.

    Parameters
    ----------
    adhesion : float
        Probability that a cell is attached to another cell.
    touch : float
        Fraction of the attached cells that touch their partner without a pixel between them. A line of background
        separates the other cells that overlap, as in annotations. A position where a cell touches others by chance
        is accepted with this probability.
    diameter : float or None
        Mean equivalent diameter √(4·area/π) in px, over all classes by frequency. None: the shapes of the library
        keep their size.
    spread : float
        Standard deviation of the logarithm of the diameters within a class.
    intensity : float
        Cells per Mpx in a field without borders.
    class_adhesion : dict of str to float
        Added to the logit of `adhesion` for the cells of a class, by class name; it also changes the probability
        that other cells are attached to them.
    form : InteractionParameters

    Examples
    --------
    >>> round(SmearParameters(adhesion=0.3, intensity=200).count_on((1000, 1000), 40.0), 2)
    216.25
    """

    adhesion: float = Field(ge=0, le=1)
    touch: float = Field(0.5, ge=0, le=1)
    diameter: float | None = Field(None, gt=0, le=1 << 14)
    spread: float = Field(0.1, ge=0, le=1)
    intensity: float = Field(0.0, ge=0)
    class_adhesion: dict[str, float] = {}
    form: InteractionParameters = InteractionParameters()

    def adhesion_of(self, class_names: Sequence[str]) -> FloatArray:
        """Return the probability of attachment of each class, (n_classes,).

        Examples
        --------
        >>> parameters = SmearParameters(adhesion=0.5, class_adhesion={"platelet": -2.0})
        >>> parameters.adhesion_of(["rbc", "platelet"]).round(2).tolist()
        [0.5, 0.12]
        """
        if not self.class_adhesion or not 0 < self.adhesion < 1:
            return np.full(len(class_names), self.adhesion)
        logit = math.log(self.adhesion / (1 - self.adhesion))
        return np.array([_expit(logit + self.class_adhesion.get(name, 0.0)) for name in class_names])

    def count_on(self, size: tuple[int, int], diameter: float, density: float = 1.0) -> float:
        """Return the expected number of annotated cells on a canvas (H, W) px, with those cut by its border."""
        whole_area, cut_area = field_areas(size, diameter)
        return density * self.intensity * (whole_area + cut_area * annotated_fraction(self.form.border)) / 1e6


class ContactParameters(_Record):
    """Parameters of the contact layouts of a data set: the interaction of its cells, and the parameters per smear.

    Parameters
    ----------
    form : InteractionParameters
    adhesion : float
        Logit of the probability of attachment, in a smear with the mean `touch`.
    adhesion_slope : float
        Change of this logit per unit of the logit of `touch`.
    class_adhesion : dict of str to float
        As in `SmearParameters`.
    empty : float
        Fraction of the smears without a cell.
    smears : tuple of (float, float, float, float)
        For each real smear the logarithms of its intensity (cells per Mpx), of its mean diameter (px) and of its
        `SmearParameters.spread`, and the logit of its `SmearParameters.touch`.

    Examples
    --------
    >>> parameters = ContactParameters(adhesion=0, smears=((5.3, 3.7, -2.3, -1.0),) * 9)
    >>> smear = parameters.draw(rng=1)
    >>> 0 < smear.adhesion < 1, 20 < smear.diameter < 80
    (True, True)
    >>> ContactParameters.from_json(parameters.to_json()) == parameters
    True
    """

    version: int = Field(1, ge=1, le=1)
    form: InteractionParameters = InteractionParameters()
    adhesion: float
    adhesion_slope: float = 0.0
    class_adhesion: dict[str, float] = {}
    empty: float = Field(0.0, ge=0, lt=1)
    smears: tuple[tuple[float, float, float, float], ...] = Field(min_length=1)

    def draw(self, rng: int | np.random.Generator, reference: int | None = None) -> SmearParameters:
        """Draw the parameters of a new smear jointly, by a smoothed bootstrap of the real smears.

        Parameters
        ----------
        rng : int or numpy.random.Generator
        reference : int, optional
            Number of the real smear to draw after; a random one by default.
        """
        generator = np.random.default_rng(rng)
        smear = self.smear(self._draw_row(generator, reference))
        if self.empty and generator.random() < self.empty:
            smear = smear.model_copy(update={"intensity": 0.0})
        return smear

    def smear(self, row: npt.ArrayLike) -> SmearParameters:
        """Return the parameters of a smear with these four values, in the order of `smears`."""
        intensity, diameter, spread, touch = np.asarray(row, np.float64).tolist()
        mean_touch = sum(values[3] for values in self.smears) / len(self.smears)
        return SmearParameters(
            adhesion=_expit(self.adhesion + self.adhesion_slope * (touch - mean_touch)),
            touch=_expit(touch),
            diameter=math.exp(diameter),
            spread=min(max(math.exp(spread), _MIN_SPREAD), _MAX_SPREAD),
            intensity=math.exp(intensity),
            class_adhesion=self.class_adhesion,
            form=self.form,
        )

    def _draw_row(self, generator: np.random.Generator, reference: int | None) -> FloatArray:
        """Draw from the smoothed rows: a row moved towards the mean, plus noise that restores the covariance."""
        rows, root, width = self._kernel
        mean = rows.mean(axis=0)
        random_row = int(generator.integers(len(rows)))  # drawn in any case, so that later draws do not change
        row = rows[random_row if reference is None else reference]
        noise = np.clip(generator.standard_normal(rows.shape[1]), -_MAX_DEVIATION, _MAX_DEVIATION)
        return np.asarray(mean + math.sqrt(1 - width**2) * (row - mean) + width * (root @ noise))

    @cached_property
    def _kernel(self) -> tuple[FloatArray, FloatArray, float]:
        """The rows, (n, 4); the root of their shrunk covariance, (4, 4); and the kernel width, 0 to 1."""
        rows = np.array(self.smears, np.float64)
        n = len(rows)
        deviations = rows - rows.mean(axis=0)
        prior = _PRIOR_SMEARS / (_PRIOR_SMEARS + n - 1)
        covariance = (1 - prior) * (deviations.T @ deviations) / max(n - 1, 1) + prior * np.diag(_PRIOR_STD**2)
        # Silverman's rule in four dimensions: a width of (4 / 6n)^(1/8) standard deviations.
        width = min(0.9, (4 / (6 * n)) ** (1 / 8) / 2 + prior / 2)
        return rows, np.linalg.cholesky(covariance + 1e-12 * np.eye(4)), width

    def to_json(self) -> str:
        """Return JSON text."""
        return self.model_dump_json(indent=1)

    @classmethod
    def from_json(cls, text: str) -> ContactParameters:
        """Read the text that `to_json` returned.

        Raises
        ------
        DataError
            If the text does not contain contact parameters.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"]) or "the text"
            raise DataError(f"not contact parameters ({field}: {first['msg']}); fit them again") from error


def _expit(logit: float) -> float:
    return 1 / (1 + math.exp(-min(max(logit, -30.0), 30.0)))


def field_areas(size: tuple[int, int], diameter: float) -> tuple[float, float]:
    """Return the area of the cell centres for which a disc lies inside a field, and for which the border cuts it.

    Both follow from Steiner's formula.

    Parameters
    ----------
    size : tuple of int
        Field (height, width) in px.
    diameter : float
        Of the discs, px.

    Returns
    -------
    whole_area, cut_area : float
        In px².

    Examples
    --------
    >>> field_areas((100, 200), 20.0)[0]
    14400.0
    """
    height, width = size
    whole = max(height - diameter, 0.0) * max(width - diameter, 0.0)
    return whole, height * width + (height + width) * diameter + math.pi * diameter**2 / 4 - whole


def annotated_fraction(border: float) -> float:
    """Return the fraction of the cells cut by the border that are annotated.

    Cells are discs, cut at every offset with equal probability, and annotated with the probability
    (visible fraction)**border.

    Examples
    --------
    >>> annotated_fraction(0.0), round(annotated_fraction(1.0), 3), annotated_fraction(20.0) < 0.1
    (1.0, 0.5, True)
    """
    return float((_VISIBLE_FRACTIONS**border).mean())


def border_exponent(fraction: float) -> float:
    """Return the exponent `border`, 0 to 20, for which this fraction of the cut cells is annotated.

    Examples
    --------
    >>> round(annotated_fraction(border_exponent(0.3)), 3)
    0.3
    """
    if not fraction >= 0:
        raise OptionError(f"annotated fraction {fraction} of the cut cells: give a number from 0 to 1")
    low, high = 0.0, _MAX_BORDER
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if annotated_fraction(middle) > fraction else (low, middle)
    return round((low + high) / 2, 4)
