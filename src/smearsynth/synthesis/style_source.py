"""Where the styles of new smears come from: the laws of a style bank, or smears that are given."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from smearsynth.errors import OptionError
from smearsynth.smear import Smear, digest
from smearsynth.synthesis.model import Synthesizer
from smearsynth.synthesis.styles import Styles

_NAMED = ("joint", "restained", "independent")


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
        "joint", "restained", "independent" or the number of a joint cluster; see `SyntheticSmears`.
    given : sequence of Smear
        Take the style of this smear instead; of two, styles anywhere between theirs.

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
        if style == "restained" and model.restained is None:
            raise OptionError("style restained: the model knows its own stains alone; train one with --restain 0.5")
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
        if self.style == "restained":
            assert self.model.restained is not None
            stains = len(self.model.restained.smears) // len(bank.smears)
            under = stains * like + int(rng.integers(stains))
            return DrawnStyles(self.model.restained.draw(classes, rng, smear=under), like)
        return DrawnStyles(bank.draw(classes, rng, smear=like), like)

    def _between(self, classes: npt.NDArray[np.int64], rng: np.random.Generator) -> DrawnStyles:
        drawn = [
            self.model.styles.like(styles, smear.classes, classes, rng)
            for smear, styles in zip(self.given, self._given_styles, strict=True)
        ]
        if len(drawn) == 1:
            return DrawnStyles(drawn[0])
        share = round(float(rng.random()), 3)
        return DrawnStyles(((1 - share) * drawn[0] + share * drawn[1]).astype(np.float32), blend=share)

    @cached_property
    def _given_styles(self) -> list[Styles]:
        return [self.model.encode(smear) for smear in self.given]
