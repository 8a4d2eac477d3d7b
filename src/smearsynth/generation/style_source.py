"""Where the styles of new smears come from: the laws of a style bank, or smears that are given."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from smearsynth.errors import OptionError
from smearsynth.smear import Smear, digest
from smearsynth.synthesis.model.synthesizer import Synthesizer
from smearsynth.synthesis.styles import Styles, without_slivers

_NAMED = ("joint", "independent")


class DrawnStyles(NamedTuple):
    """Styles of a new smear, and what they are like."""

    styles: Styles  # (n + 1, S), row 0 the background
    like: int | None = None  # number of the training smear, whose light and focus go with them
    blend: float | None = None  # how far from the first given smear towards the second


class StyleSource:
    """What draws the styles of a stream.

    Parameters
    ----------
    model : Synthesizer
    style : str
        "joint", "independent" or the number of a joint cluster; see `SyntheticSmears`.
    given : sequence of Smear
        Take the style of this smear instead; of two, styles anywhere between theirs. Cells take the styles of
        those of the same class, by its name; where no class of the smear is one of the model's, as in a
        photograph or for a model that knows cells only, they take those of any.

    Raises
    ------
    OptionError
        For a style that the model does not have.

    Examples
    --------
    >>> source = StyleSource(Synthesizer.load("default"), "joint")
    >>> source.draw(np.zeros(5, np.int64), like=3, rng=np.random.default_rng(0)).styles.shape
    (6, 8)
    """

    def __init__(self, model: Synthesizer, style: str, given: Sequence[Smear] = ()) -> None:
        clusters = len(model.styles.joint.weights)
        if style not in _NAMED and not (style.isdecimal() and int(style) < clusters):
            raise OptionError(f"style {style!r}: choose {', '.join(_NAMED)}, or a cluster from 0 to {clusters - 1}")
        if given and style != "joint":
            raise OptionError(f"style {style!r} beside a smear to take the style of; leave one of the two out")
        if len(given) > 2:
            raise OptionError(f"{len(given)} smears to take the style of; give one, or two to go between")
        self.model = model
        self.style = str(int(style)) if style.isdecimal() else style
        self.given = tuple(given)

    @property
    def name(self) -> str:
        """As a recipe says it; given smears by name and hash."""
        if not self.given:
            return self.style
        return "of " + " to ".join(f"{smear.name} {digest(smear)}" for smear in self.given)

    @property
    def passed_over(self) -> dict[str, tuple[str, ...]]:
        """By given smear, its classes that the model lacks and whose styles are not taken, for others are there."""
        found = {}
        for smear in self.given:
            known = self._known(smear)[smear.classes]
            if (known >= 0).any() and (known < 0).any():
                unknown = np.unique(smear.classes[known < 0])
                found[smear.name] = tuple(smear.class_names[kind] for kind in unknown)
        return found

    @cached_property
    def among(self) -> list[int] | None:
        """Numbers of the training smears that new ones may be like, where one cluster is asked for."""
        return self.model.styles.members(int(self.style)) if self.style.isdecimal() else None

    def draw(self, classes: npt.NDArray[np.int64], like: int, rng: np.random.Generator) -> DrawnStyles:
        """Styles for the cells of a new smear, laid out like training smear number `like`.

        Parameters
        ----------
        classes : (n,) int64 array
        like : int
        rng : numpy.random.Generator
        """
        bank = self.model.styles
        if self.given:
            return self._between(classes, rng)
        if self.style == "independent":
            return DrawnStyles(bank.draw_independent(classes, rng))
        return DrawnStyles(bank.draw(classes, rng, smear=like), like)

    def _between(self, classes: npt.NDArray[np.int64], rng: np.random.Generator) -> DrawnStyles:
        drawn = [self.model.styles.like(styles, known, classes, rng) for styles, known in self._given_styles]
        if len(drawn) == 1:
            return DrawnStyles(drawn[0])
        share = round(float(rng.random()), 3)
        return DrawnStyles(((1 - share) * drawn[0] + share * drawn[1]).astype(np.float32), blend=share)

    def _known(self, smear: Smear) -> npt.NDArray[np.int64]:
        """The model's number of each class of a smear, by name; -1 where it has none of that name."""
        names = self.model.class_names
        return np.array([names.index(name) if name in names else -1 for name in smear.class_names])

    @cached_property
    def _given_styles(self) -> list[tuple[Styles, npt.NDArray[np.int64]]]:
        """Of each given smear, with the model's class of each cell."""
        found = [(smear, *without_slivers(self.model.encode(smear), smear)) for smear in self.given]
        return [(styles, self._known(smear)[classes]) for smear, styles, classes in found]
