"""What a contact law says, in plain words and units: how the cells of a data set stick together."""

from __future__ import annotations

import json
import math

import numpy as np
from pydantic import BaseModel, ConfigDict
from rich.table import Table

from smearsynth.layout.contact.parameters import InteractionParameters, ContactParameters, kept_of_cut
from smearsynth.statistics import DataStatistics, Spread

_FEW_SMEARS = 5  # up to so many, a law takes half or more of the spread between smears from smears in general

# Words, unit and decimals of each number that differs from smear to smear.
_OF_SMEARS = {
    "density": ("density, border left out", "cells per Mpx", 0),
    "diameter": ("diameter, mean of a smear", "px", 1),
    "spread": ("spread of the diameters", "share of diameter", 3),
    "adhesion": ("adhesion: attached to a cell", "share of cells", 3),
    "touch": ("touch: touching that cell", "share of attached", 3),
}
# Words and unit of those that hold for all smears.
_OF_FORM = {
    "overlap": ("overlap: partly under it", "share of attached"),
    "depth": ("depth of an overlap", "cell diameters"),
    "gap": ("gap of the others", "cell diameters"),
    "growth": ("growth: may enlarge a pair", "share of cells"),
    "chain": ("chain: attached to a pair", "times a lone cell"),
    "seeds": ("seeds: free cells laid first", "share of free"),
    "unevenness": ("unevenness of the density", "std of logarithm"),
    "border": ("border: annotated, if cut", "power of part seen"),
}


class ContactSummary(BaseModel):
    """The parameters of a contact law, and how they vary from smear to smear.

    Parameters
    ----------
    smears : int
        Real smears that the law knows the parameters of.
    density : Spread
        Cells per Mpx of an endless smear, mean and standard deviation between smears; so are the next four.
    diameter : Spread
        Mean equivalent diameter of the cells, px.
    spread : Spread
        Deviation of the logarithm of the diameters within a smear.
    adhesion : Spread
        Share of the cells that are attached to another.
    touch : Spread
        Share of the attached cells that touch their partner.
    form : ContactForm
        How cells stick together, the same in all smears. Lengths in mean cell diameters.
    border_kept : float
        Share of the cells cut by the border that are annotated, as ``form.border`` gives it.
    class_adhesion : dict of str to float
        Share of the cells of each class that are attached to another, in a smear of the mean adhesion; empty where
        classes are not told apart.
    empty : float
        Share of the smears without a cell.

    Examples
    --------
    >>> law = ContactParameters(adhesion=0, smears=((5.3, 3.7, -2.3, -1.0), (5.5, 3.7, -2.3, 1.0)))
    >>> summary = ContactSummary.of(law)
    >>> round(summary.diameter.mean, 1), round(summary.touch.mean, 3), summary.smears
    (40.4, 0.5, 2)
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    smears: int
    density: Spread
    diameter: Spread
    spread: Spread
    adhesion: Spread
    touch: Spread
    form: InteractionParameters
    border_kept: float
    class_adhesion: dict[str, float] = {}
    empty: float = 0.0

    @classmethod
    def of(cls, law: ContactParameters) -> ContactSummary:
        """Sum up a law: the figures of each of its smears, not of draws from it."""
        own = [law.smear(row) for row in law.smears]
        middle = law.smear(np.mean(law.smears, axis=0))
        classes = list(law.class_adhesion)
        return cls(
            smears=len(own),
            density=Spread.of([smear.intensity for smear in own]),
            diameter=Spread.of([smear.diameter or math.nan for smear in own]),
            spread=Spread.of([smear.spread for smear in own]),
            adhesion=Spread.of([smear.adhesion for smear in own]),
            touch=Spread.of([smear.touch for smear in own]),
            form=law.form,
            border_kept=kept_of_cut(law.form.border),
            class_adhesion=dict(zip(classes, middle.adhesion_of(classes).tolist(), strict=True)),
            empty=law.empty,
        )

    def table(self) -> Table:
        """Lay it out with units, for a terminal."""
        table = Table(title=f"Contact law, fitted to {self.smears} smear{'s' * (self.smears > 1)}")
        table.add_column("parameter")
        table.add_column("mean", justify="right")
        table.add_column("std", justify="right")
        table.add_column("unit")
        for name, (words, unit, digits) in _OF_SMEARS.items():
            between: Spread = getattr(self, name)
            table.add_row(words, f"{between.mean:.{digits}f}", f"{between.std:.{digits}f}", unit)
        table.add_section()
        for name, (words, unit) in _OF_FORM.items():
            table.add_row(words, f"{getattr(self.form, name):.3f}", "", unit)
        table.add_row("kept, if cut by the border", f"{self.border_kept:.3f}", "", "share of cut cells")
        for name, share in self.class_adhesion.items():
            table.add_row(f"adhesion of {name}", f"{share:.3f}", "", "share of cells")
        if self.empty:
            table.add_row("smears without a cell", f"{self.empty:.3f}", "", "share of smears")
        if self.smears <= _FEW_SMEARS:
            table.caption = (
                "So few smears hardly show how smears differ: layouts vary as smears usually do, "
                "by 20 % in density and 5 % in cell size."
            )
        return table


def merge_contact_summary(statistics: DataStatistics, law: ContactSummary) -> str:
    """JSON text: the statistics of some smears with the contact law of the same ones under the key ``layout``."""
    return json.dumps({**json.loads(statistics.to_json()), "layout": law.model_dump()}, indent=1)
