"""What a memorisation audit found: shares, pairs of cells, copied smears, and the verdict in plain sentences."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from scipy import stats

ALARMS = 0.01  # share of new real cells that may be taken for copies
_NAMED = 8


class Pair(BaseModel):
    """A synthetic cell and the training cell nearest to it.

    Parameters
    ----------
    synthetic, training : str
        Names of the two smears.
    synthetic_label, training_label : int
        Labels of the cells there: k for the k-th smallest number of the label image as read.
    synthetic_at, training_at : (float, float)
        x and y of the centres of their labels, px of the smears as read: at the scale given.
    margin : float
        By how much this training cell is nearer than the third nearest, in Fisher's z, for a cell as odd as most.
    correlation : float
    turn : float
        Degrees, clockwise, by which the training cell must be turned.
    mirrored : bool
        Whether it must be mirrored top to bottom before.
    flagged : bool
        Whether the test takes the one for a copy of the other.

    Examples
    --------
    >>> at = {"synthetic_at": (9.6, 30.0), "training_at": (120.2, 7.0)}
    >>> Pair(synthetic="s", synthetic_label=1, training="t", training_label=5, margin=0.1, correlation=0.7, turn=90,
    ...      mirrored=False, flagged=False, **at).places
    ('s (10, 30)', 't (120, 7)')
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    synthetic: str
    synthetic_label: int
    training: str
    training_label: int
    synthetic_at: tuple[float, float]
    training_at: tuple[float, float]
    margin: float
    correlation: float
    turn: float
    mirrored: bool
    flagged: bool

    @property
    def places(self) -> tuple[str, str]:
        """Where to find the synthetic cell and the training cell: smear (x, y)."""
        return _place(self.synthetic, self.synthetic_at), _place(self.training, self.training_at)


class CopiedSmear(BaseModel):
    """A synthetic smear that shows cells of a training smear in their places, all of it or a part.

    Parameters
    ----------
    synthetic, training : str
        Names of the two smears.
    cells, of : int
        Cells that lie as they do in the training smear, of those of the synthetic one that were looked at.
    turn : float
        Degrees, clockwise, by which the training smear must be turned.
    mirrored : bool
        Whether it must be mirrored top to bottom before.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    synthetic: str
    training: str
    cells: int
    of: int
    turn: float
    mirrored: bool


class Audit(BaseModel):
    """What `audit` found.

    Parameters
    ----------
    memorised : bool
        Whether a smear is copied, or more cells are than chance explains, be it for texture or outline alone.
    cells, smears : int
        Synthetic cells looked at, and the smears they are from.
    flagged : int
        Cells taken for copies of training cells.
    flagged_fraction : float
    interval : (float, float)
        95 % interval of the share (Clopper and Pearson 1934), as of independent cells.
    margin, held_out_margin : float
        Median lead of the nearest training cell, of synthetic and of held-out real cells.
    threshold : float
        Lead above which a cell is taken for a copy: that of 1 % of the held-out real cells.
    false_alarms : float
        Share of held-out cells above a threshold set on the other half of the held-out smears.
    controls : int
        Disguised copies of training cells put to the test.
    controls_detected : float
        Share of them that it flagged.
    training_smears, training_cells, held_out_cells : int
    held_out : str
        Where the held-out cells are from.
    copied_smears : tuple of CopiedSmear
        Synthetic smears that show several cells of one training smear in their places. One is proof.
    seen_again : tuple of (str, str)
        Held-out smears that show the same cells as a training smear, with that smear; they were left out.
    pairs : tuple of Pair
        The nearest ones, nearest first.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    memorised: bool
    cells: int
    smears: int
    flagged: int
    flagged_fraction: float
    interval: tuple[float, float]
    margin: float
    held_out_margin: float
    threshold: float
    false_alarms: float
    controls: int
    controls_detected: float
    training_smears: int
    training_cells: int
    held_out_cells: int
    held_out: str
    copied_smears: tuple[CopiedSmear, ...]
    seen_again: tuple[tuple[str, str], ...]
    pairs: tuple[Pair, ...]

    @property
    def reliable(self) -> bool:
        """Whether the test caught nearly all planted copies."""
        return self.controls_detected >= 0.99

    def verdict(self) -> str:
        """What was found, in plain sentences."""
        share = (
            f"{self.flagged} of {self.cells} synthetic cells ({_percent(self.flagged_fraction)}, 95 % interval "
            f"{_percent(self.interval[0])} to {_percent(self.interval[1])}) are taken for copies of training "
            f"cells, of new real cells {_percent(self.false_alarms)}"
        )
        said = ["Signs of copying." if self.memorised else "No sign of memorisation.", *self._copied()]
        if beyond_chance(self.interval, self.false_alarms):
            said += [
                f"{share}: more than chance explains.",
                "Look at the pairs: a model that keeps real contours (trained without --parametric) copies "
                "outlines.",
            ]
        else:
            more = self.flagged_fraction > max(ALARMS, self.false_alarms)
            said.append(f"{share}{': the difference is within chance' if more else ''}.")
        weak = "" if self.reliable else ", so copies may have been missed"
        said.append(
            f"The test caught {_percent(self.controls_detected)} of {self.controls} planted copies (turned, mirrored, "
            f"recoloured, slightly blurred or compressed){weak}."
        )
        return " ".join(said)

    def _copied(self) -> list[str]:
        if not self.copied_smears:
            return []
        count, named = len(self.copied_smears), self.copied_smears[:_NAMED]
        listed = "; ".join(
            f"{one.synthetic} ({one.cells} of {one.of} cells as in {one.training}"
            f"{', mirrored top to bottom' if one.mirrored else ''}, turned by {one.turn:.0f}°)"
            for one in named
        )
        rest = f"; and {count - len(named)} more" if count > len(named) else ""
        what = "A synthetic smear shows" if count == 1 else f"{count} synthetic smears show"
        return [f"{what} cells of a training smear in their places: {listed}{rest}."]

    def card(self) -> str:
        """The record for a model card, as Markdown."""
        again = ", ".join(f"{held} ({training})" for held, training in self.seen_again)
        note = (
            f"\n\nHeld-out smears that show the same cells as a training smear, left out: {again}." if again else ""
        )
        return (
            f"## Memorisation\n\n{self.verdict()} Searched were {self.training_cells} cells of "
            f"{self.training_smears} training smears; held-out cells ({self.held_out_cells}) are from "
            f"{self.held_out}.{note}\n"
        )


def fraction_interval(count: int, n: int) -> tuple[float, float]:
    """Exact 95 % interval of a share (Clopper and Pearson 1934).

    Examples
    --------
    >>> fraction_interval(0, 100)[1] < 0.04, fraction_interval(50, 100)[0] > 0.39
    (True, True)
    """
    low = stats.beta.ppf(0.025, count, n - count + 1) if count else 0.0
    high = stats.beta.ppf(0.975, count + 1, n - count) if count < n else 1.0
    return float(low), float(high)


def beyond_chance(interval: tuple[float, float], false_alarms: float) -> bool:
    """Whether a share of flagged cells with this interval is more than new real cells have.

    Examples
    --------
    >>> beyond_chance(fraction_interval(30, 1000), 0.01), beyond_chance(fraction_interval(12, 1000), 0.01)
    (True, False)
    """
    return interval[0] > max(ALARMS, false_alarms)


def _place(name: str, at: tuple[float, float]) -> str:
    return f"{name} ({at[0]:.0f}, {at[1]:.0f})"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
