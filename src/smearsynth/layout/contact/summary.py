"""Summary of contact parameters with names and units, as a table and as JSON."""

from __future__ import annotations

import json
import math

import numpy as np
from pydantic import BaseModel, ConfigDict
from rich.table import Table

from smearsynth.layout.contact.parameters import ContactParameters, InteractionParameters, annotated_fraction
from smearsynth.statistics import DataStatistics, Spread

# Up to this number of smears, at least half of the spread between smears is the prior's.
_FEW_SMEARS = 5

# Description, unit and decimals of each parameter that differs between smears.
_SMEAR_LINES = {
    "density": ("density, without borders", "cells per Mpx", 0),
    "diameter": ("diameter, mean of a smear", "px", 1),
    "spread": ("spread of the diameters", "fraction of diameter", 3),
    "adhesion": ("adhesion: attached to a cell", "fraction of cells", 3),
    "touch": ("touch: touching that cell", "fraction of attached", 3),
}
# Description and unit of each parameter that is the same in all smears.
_FORM_LINES = {
    "overlap": ("overlap: partly under it", "fraction of attached"),
    "depth": ("depth of an overlap", "cell diameters"),
    "gap": ("gap to it, else", "cell diameters"),
    "growth": ("growth: may extend a pair", "fraction of cells"),
    "chain": ("chain: attached to a pair", "relative to one cell"),
    "seeds": ("seeds: placed first", "fraction of free"),
    "unevenness": ("unevenness of the density", "std of logarithm"),
    "border": ("border: annotated if cut", "power of visible part"),
}


class ContactSummary(BaseModel):
    """Contact parameters of a data set in natural units, and their spread between smears.

    Parameters
    ----------
    smears : int
        Number of real smears whose parameters are known.
    density : Spread
        Cells per Mpx in a field without borders: mean and standard deviation between smears.
    diameter : Spread
        Mean equivalent diameter of the cells of a smear, px.
    spread : Spread
        Standard deviation of the logarithm of the diameters within a smear.
    adhesion : Spread
        Fraction of the cells that are attached to another.
    touch : Spread
        Fraction of the attached cells that touch their partner.
    form : InteractionParameters
        The same in all smears. Lengths are in mean cell diameters.
    border_kept : float
        Fraction of the cells cut by the border that are annotated; it follows from ``form.border``.
    class_adhesion : dict of str to float
        Fraction of the cells of each class that are attached to another, in a smear with the mean parameters. Empty
        if the adhesion does not depend on the class.
    empty : float
        Fraction of the smears without a cell.

    Examples
    --------
    >>> parameters = ContactParameters(adhesion=0, smears=((5.3, 3.7, -2.3, -1.0), (5.5, 3.7, -2.3, 1.0)))
    >>> summary = ContactSummary.of(parameters)
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
    def of(cls, parameters: ContactParameters) -> ContactSummary:
        """Summarise the parameters of the real smears; nothing is drawn."""
        smears = [parameters.smear(row) for row in parameters.smears]
        mean_smear = parameters.smear(np.mean(parameters.smears, axis=0))
        classes = list(parameters.class_adhesion)
        return cls(
            smears=len(smears),
            density=Spread.of([smear.intensity for smear in smears]),
            diameter=Spread.of([smear.diameter or math.nan for smear in smears]),
            spread=Spread.of([smear.spread for smear in smears]),
            adhesion=Spread.of([smear.adhesion for smear in smears]),
            touch=Spread.of([smear.touch for smear in smears]),
            form=parameters.form,
            border_kept=annotated_fraction(parameters.form.border),
            class_adhesion=dict(zip(classes, mean_smear.adhesion_of(classes).tolist(), strict=True)),
            empty=parameters.empty,
        )

    def table(self) -> Table:
        """Return a table with units for a terminal, at most 80 characters wide."""
        table = Table(title=f"Contact layout parameters, fitted to {self.smears} smear{'s' * (self.smears > 1)}")
        table.add_column("parameter")
        table.add_column("mean", justify="right")
        table.add_column("std", justify="right")
        table.add_column("unit")
        for name, (description, unit, digits) in _SMEAR_LINES.items():
            values: Spread = getattr(self, name)
            table.add_row(description, f"{values.mean:.{digits}f}", f"{values.std:.{digits}f}", unit)
        table.add_section()
        for name, (description, unit) in _FORM_LINES.items():
            table.add_row(description, f"{getattr(self.form, name):.3f}", "", unit)
        table.add_row("annotated at the border", f"{self.border_kept:.3f}", "", "fraction of cut cells")
        for name, fraction in self.class_adhesion.items():
            table.add_row(f"adhesion of {name}", f"{fraction:.3f}", "", "fraction of cells")
        if self.empty:
            table.add_row("smears without a cell", f"{self.empty:.3f}", "", "fraction of smears")
        if self.smears <= _FEW_SMEARS:
            table.caption = (
                "Few smears do not determine the spread between smears: layouts vary by a typical 20 % in density "
                "and 5 % in cell size."
            )
        return table


def merge_contact_summary(statistics: DataStatistics, summary: ContactSummary) -> str:
    """Return JSON text of the statistics of some smears, with their contact parameters under the key ``layout``."""
    return json.dumps({**json.loads(statistics.to_json()), "layout": summary.model_dump()}, indent=1)
