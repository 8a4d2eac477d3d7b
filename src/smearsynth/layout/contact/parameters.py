"""The law of contact layouts: how cells stick together, and what the smears of a data set are like one by one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from smearsynth.errors import DataError, OptionError

FloatArray = npt.NDArray[np.float64]

# What one smear is like, in the order of the columns of `ContactParameters.smears`.
PARAMETERS = ("log intensity", "log diameter", "log spread", "logit touch")
# As good as this many smears of the usual spread are added to the data's: so few smears do not repeat themselves.
_PRIOR_SMEARS = 4.0
# Usual deviations between smears: 20 % in density, 5 % in cell size, 20 % in its spread, 1 in the logit.
_PRIOR_STD = np.array([0.2, 0.05, 0.2, 1.0])
_MIN_SPREAD, _MAX_SPREAD = 0.005, 0.5
_FAR_OUT = 2.5  # standard deviations: a draw farther off is drawn back to there


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ContactForm(_Record):
    """How cells stick together, the same in all smears of a data set. Lengths in mean cell diameters.

    Parameters
    ----------
    overlap : float
        Share of the attached cells that lie partly under the cells they are attached to.
    depth : float
        Mean depth of the overlap, exponentially distributed.
    gap : float
        Mean gap of the rest: triangular, from none to twice the mean. Real pair correlations fall off as steeply.
    growth : float
        Share of the cells that may join a cluster of two, and of those that may join one of three, and so on.
    chain : float
        How readily a cell is attached to one that has a partner already, relative to one that has none.
    seeds : float
        Share of the free cells that are placed before any is attached: the rest come in between.
    unevenness : float
        Deviation of the logarithm of the density within a smear: empty areas and gradients.
    border : float
        A cell of which the share s lies on the field is annotated with the probability s**border.
    """

    overlap: float = Field(0.0, ge=0, le=1)
    depth: float = Field(0.1, gt=0, le=1)
    gap: float = Field(0.1, gt=0, le=2)
    growth: float = Field(1.0, ge=0, le=1)
    chain: float = Field(1.0, ge=0, le=1)
    seeds: float = Field(0.0, ge=0, le=1)
    unevenness: float = Field(0.0, ge=0, le=3)
    border: float = Field(0.0, ge=0, le=20)


class SmearParameters(_Record):
    """The law of one smear: what `ContactParameters.draw` gives, and `contact_layout` takes.

    Parameters
    ----------
    adhesion : float
        Probability that a cell is attached to another instead of lying free.
    touch : float
        Share of the attached cells that touch their partner, no pixel between them; where cells overlap, the
        annotation parts the others by a line of background. A place where a cell touches others by chance is
        taken with this probability.
    diameter : float or None
        Mean equivalent diameter √(4·area/π) in px, all classes taken in proportion; None leaves the shapes of the
        library as large as they are.
    spread : float
        Deviation of the logarithm of the diameters within a class.
    intensity : float
        Cells per Mpx of an endless smear.
    class_adhesion : dict of str to float
        Added to the logit of `adhesion` for the cells of a class, by its name; also how readily others are attached
        to them.
    form : ContactForm

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
    form: ContactForm = ContactForm()

    def adhesion_of(self, class_names: Sequence[str]) -> FloatArray:
        """Probability of being attached of each class, (n_classes,).

        Examples
        --------
        >>> law = SmearParameters(adhesion=0.5, class_adhesion={"platelet": -2.0})
        >>> law.adhesion_of(["rbc", "platelet"]).round(2).tolist()
        [0.5, 0.12]
        """
        if not self.class_adhesion or not 0 < self.adhesion < 1:
            return np.full(len(class_names), self.adhesion)
        logit = math.log(self.adhesion / (1 - self.adhesion))
        return np.array([_share(logit + self.class_adhesion.get(name, 0.0)) for name in class_names])

    def count_on(self, size: tuple[int, int], diameter: float, density: float = 1.0) -> float:
        """Cells to expect on a canvas (H, W) px, those cut by its border as often as they are annotated."""
        whole, cut = field_areas(size, diameter)
        return density * self.intensity * (whole + cut * kept_of_cut(self.form.border)) / 1e6


class ContactParameters(_Record):
    """Where the cells of a data set lie: one form of contact, and the parameters of its smears, drawn together.

    Parameters
    ----------
    form : ContactForm
    adhesion : float
        Logit of the probability that a cell is attached, in a smear of the mean touch.
    adhesion_slope : float
        Its change with the logit of touch.
    class_adhesion : dict of str to float
        As in `SmearParameters`.
    empty : float
        Share of the smears without a cell.
    smears : tuple of (float, float, float, float)
        Of each real smear: the logarithms of its intensity (cells per Mpx), of its mean diameter (px) and of the
        deviation of its cells' log diameter; and the logit of `SmearParameters.touch`.

    Examples
    --------
    >>> law = ContactParameters(adhesion=0, smears=((5.3, 3.7, -2.3, -1.0),) * 9)
    >>> smear = law.draw(rng=1)
    >>> 0 < smear.adhesion < 1, 20 < smear.diameter < 80
    (True, True)
    >>> ContactParameters.from_json(law.to_json()) == law
    True
    """

    version: int = Field(1, ge=1, le=1)
    form: ContactForm = ContactForm()
    adhesion: float
    adhesion_slope: float = 0.0
    class_adhesion: dict[str, float] = {}
    empty: float = Field(0.0, ge=0, lt=1)
    smears: tuple[tuple[float, float, float, float], ...] = Field(min_length=1)

    def draw(self, rng: int | np.random.Generator, like: int | None = None) -> SmearParameters:
        """Draw the parameters of one smear together: those of a real one, number `like` or any, smoothed."""
        generator = np.random.default_rng(rng)
        smear = self.smear(self._draw_row(generator, like))
        if self.empty and generator.random() < self.empty:
            smear = smear.model_copy(update={"intensity": 0.0})
        return smear

    def smear(self, row: npt.ArrayLike) -> SmearParameters:
        """The law of a smear with these four parameters, ordered as in `smears`."""
        intensity, diameter, spread, touch = np.asarray(row, np.float64).tolist()
        middling = sum(own[3] for own in self.smears) / len(self.smears)
        return SmearParameters(
            adhesion=_share(self.adhesion + self.adhesion_slope * (touch - middling)),
            touch=_share(touch),
            diameter=math.exp(diameter),
            spread=min(max(math.exp(spread), _MIN_SPREAD), _MAX_SPREAD),
            intensity=math.exp(intensity),
            class_adhesion=self.class_adhesion,
            form=self.form,
        )

    def _draw_row(self, generator: np.random.Generator, like: int | None) -> FloatArray:
        """One draw from the smoothed rows: a row moved towards the mean, plus noise that restores the spread."""
        rows, root, width = self._kernel
        mean = rows.mean(axis=0)
        any_one = int(generator.integers(len(rows)))
        row = rows[any_one if like is None else like]
        noise = np.clip(generator.standard_normal(rows.shape[1]), -_FAR_OUT, _FAR_OUT)
        return np.asarray(mean + math.sqrt(1 - width**2) * (row - mean) + width * (root @ noise))

    @cached_property
    def _kernel(self) -> tuple[FloatArray, FloatArray, float]:
        """The rows, (n, 4); the root of their shrunk covariance, (4, 4); and the width of the kernel, 0 to 1."""
        rows = np.array(self.smears, np.float64)
        n = len(rows)
        off = rows - rows.mean(axis=0)
        prior = _PRIOR_SMEARS / (_PRIOR_SMEARS + n - 1)
        covariance = (1 - prior) * (off.T @ off) / max(n - 1, 1) + prior * np.diag(_PRIOR_STD**2)
        # Silverman's rule in four dimensions, that is a width of (4 / 6n)^(1/8) standard deviations.
        width = min(0.9, (4 / (6 * n)) ** (1 / 8) / 2 + prior / 2)
        return rows, np.linalg.cholesky(covariance + 1e-12 * np.eye(4)), width

    def to_json(self) -> str:
        """JSON text."""
        return self.model_dump_json(indent=1)

    @classmethod
    def from_json(cls, text: str) -> ContactParameters:
        """Read what `to_json` wrote.

        Raises
        ------
        DataError
            When the text is not that of a contact law.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the text"
            raise DataError(f"not a contact law ({where}: {first['msg']}); fit it anew") from error


def _share(logit: float) -> float:
    return 1 / (1 + math.exp(-min(max(logit, -30.0), 30.0)))


def field_areas(size: tuple[int, int], diameter: float) -> tuple[float, float]:
    """Area in px² where a cell centre makes a whole cell on a field (H, W), and where a cut one (Steiner).

    Examples
    --------
    >>> field_areas((100, 200), 20.0)[0]
    14400.0
    """
    height, width = size
    whole = max(height - diameter, 0.0) * max(width - diameter, 0.0)
    return whole, height * width + (height + width) * diameter + math.pi * diameter**2 / 4 - whole


def kept_of_cut(border: float) -> float:
    """Share of the cells cut by a border that are annotated, when one is with the probability (share seen)**border.

    Discs cut at every offset alike.

    Examples
    --------
    >>> kept_of_cut(0.0), round(kept_of_cut(1.0), 3), kept_of_cut(20.0) < 0.1
    (1.0, 0.5, True)
    """
    return float((_SEEN**border).mean())


def border_for(kept: float) -> float:
    """The exponent `border` for which this share of the cut cells is annotated, 0 to 20."""
    if not kept >= 0:
        raise OptionError(f"a share of {kept} cut cells cannot be; give one from 0 to 1")
    low, high = 0.0, 20.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if kept_of_cut(middle) > kept else (low, middle)
    return round((low + high) / 2, 4)


_OFFSETS = np.linspace(-1, 1, 402)[1:-1]
# Share of a disc on one side of a chord at each offset from its centre, in radii.
_SEEN = (np.arccos(-_OFFSETS) + _OFFSETS * np.sqrt(1 - _OFFSETS**2)) / math.pi
