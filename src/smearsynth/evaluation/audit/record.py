"""The result of a memorisation audit: flagged cells, pairs of cells, copied smears, and a summary in sentences."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator
from scipy import stats

from smearsynth.migrations import to_current

FALSE_ALARM_RATE = 0.01  # of the test: fraction of real cells, not among the training cells, that it flags
_MAX_LISTED = 8  # copied smears in the summary
_MIN_DETECTION_RATE = 0.99


class Pair(BaseModel):
    """A synthetic cell and its nearest training cell.

    Parameters
    ----------
    synthetic, training : str
        Names of the two smears.
    synthetic_label, training_label : int
        Numbers of the cells in these smears: k for the k-th smallest id of the label image.
    synthetic_at, training_at : (float, float)
        Centres (x, y) of the labels, px of the smears as read, at the scale of the audit.
    margin : float
        How much nearer this training cell is than the third nearest, in Fisher's z, normalised for unusual cells
        (see `NearestCells`).
    correlation : float
        Between the two cells, in the best pose.
    rotation : float
        Clockwise rotation of the training cell, degrees.
    mirrored : bool
        Whether the training cell is mirrored top to bottom before the rotation.
    flagged : bool
        Whether the synthetic cell is flagged as a copy.

    Examples
    --------
    >>> centres = {"synthetic_at": (9.6, 30.0), "training_at": (120.2, 7.0)}
    >>> pair = Pair(synthetic="s", synthetic_label=1, training="t", training_label=5, margin=0.1, correlation=0.7,
    ...             rotation=90, mirrored=False, flagged=False, **centres)
    >>> pair.places
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
    rotation: float
    mirrored: bool
    flagged: bool

    @property
    def places(self) -> tuple[str, str]:
        """Name and position, "smear (x, y)", of the synthetic cell and of the training cell."""
        return _format_place(self.synthetic, self.synthetic_at), _format_place(self.training, self.training_at)


class CopiedSmear(BaseModel):
    """A synthetic smear that repeats several cells of one training smear in their places.

    Parameters
    ----------
    synthetic, training : str
        Names of the two smears.
    cells : int
        Number of repeated cells.
    compared_cells : int
        Number of cells of the synthetic smear that were compared.
    rotation : float
        Clockwise rotation of the training smear, degrees.
    mirrored : bool
        Whether the training smear is mirrored top to bottom before the rotation.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    synthetic: str
    training: str
    cells: int
    compared_cells: int
    rotation: float
    mirrored: bool


class Audit(BaseModel):
    """Result of a memorisation audit, from `audit`.

    Parameters
    ----------
    memorised : bool
        Whether a smear is copied, or more cells are flagged than expected by chance, be it for texture or outline.
    cells, smears : int
        Number of synthetic cells compared, and of their smears.
    flagged : int
        Number of cells flagged as copies of training cells.
    flagged_fraction : float
    interval : (float, float)
        95 % interval of the fraction (Clopper and Pearson 1934); it treats cells as independent.
    margin, held_out_margin : float
        Median margin of synthetic cells, and of held-out real cells.
    threshold : float
        Cells with a larger margin are flagged. 1 % of the held-out real cells exceed it.
    false_alarms : float
        Fraction of held-out cells above a threshold set on the other half of the held-out smears.
    controls : int
        Number of positive controls.
    controls_detected : float
        Fraction of the positive controls that are flagged.
    training_smears, training_cells, held_out_cells : int
    held_out : str
        Source of the held-out cells.
    copied_smears : tuple of CopiedSmear
        Synthetic smears that repeat several cells of one training smear. A single one proves memorisation.
    overlapping_smears : tuple of (str, str)
        Held-out smears that show cells of a training smear, with that smear. They are left out.
    pairs : tuple of Pair
        Pairs with the largest margins, all flagged ones included, by margin.
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
    overlapping_smears: tuple[tuple[str, str], ...]
    pairs: tuple[Pair, ...]

    @model_validator(mode="before")
    @classmethod
    def _read_format_1(cls, record: Any) -> Any:
        return to_current("audit", record)

    @property
    def reliable(self) -> bool:
        """Whether the test detects at least 99 % of the positive controls."""
        return self.controls_detected >= _MIN_DETECTION_RATE

    def verdict(self) -> str:
        """Return the result in sentences."""
        flagged = (
            f"{self.flagged} of {self.cells} synthetic cells ({_percent(self.flagged_fraction)}, 95 % interval "
            f"{_percent(self.interval[0])} to {_percent(self.interval[1])}) are flagged as copies of training "
            f"cells; the fraction of held-out real cells is {_percent(self.false_alarms)}"
        )
        sentences = ["Signs of memorisation." if self.memorised else "No sign of memorisation."]
        sentences += self._describe_copied_smears()
        if beyond_chance(self.interval, self.false_alarms):
            sentences += [
                f"{flagged}: more than expected by chance.",
                "Look at the pairs: a model with the contours of real cells (trained without --parametric) copies "
                "outlines.",
            ]
        elif self.flagged_fraction > max(FALSE_ALARM_RATE, self.false_alarms):
            sentences.append(f"{flagged}: the difference is within chance.")
        else:
            sentences.append(f"{flagged}.")
        warning = "" if self.reliable else " The audit may miss copies."
        sentences.append(
            f"The test detects {_percent(self.controls_detected)} of {self.controls} positive controls (training "
            f"cells rotated, mirrored, recoloured, slightly blurred or compressed).{warning}"
        )
        return " ".join(sentences)

    def _describe_copied_smears(self) -> list[str]:
        if not self.copied_smears:
            return []
        count = len(self.copied_smears)
        items = "; ".join(
            f"{copy.synthetic} ({copy.cells} of {copy.compared_cells} cells as in {copy.training}"
            f"{', mirrored top to bottom' if copy.mirrored else ''}, rotated by {copy.rotation:.0f}°)"
            for copy in self.copied_smears[:_MAX_LISTED]
        )
        rest = f"; and {count - _MAX_LISTED} more" if count > _MAX_LISTED else ""
        subject = "A synthetic smear repeats" if count == 1 else f"{count} synthetic smears repeat"
        return [
            f"{subject} cells of a training smear in their places, which alone proves memorisation: {items}{rest}."
        ]

    def card(self) -> str:
        """Return the section for a model card, as Markdown."""
        overlaps = ", ".join(f"{held_out} ({training})" for held_out, training in self.overlapping_smears)
        note = (
            f"\n\nHeld-out smears left out because they show cells of a training smear: {overlaps}."
            if overlaps
            else ""
        )
        return (
            f"## Memorisation\n\n{self.verdict()} The search covered {self.training_cells} cells of "
            f"{self.training_smears} training smears. Held-out cells ({self.held_out_cells}): {self.held_out}."
            f"{note}\n"
        )


def fraction_interval(count: int, n: int) -> tuple[float, float]:
    """Return the exact 95 % interval of a fraction (Clopper and Pearson 1934).

    Parameters
    ----------
    count, n : int
        `count` of `n` independent cells.

    Examples
    --------
    >>> fraction_interval(0, 100)[1] < 0.04, fraction_interval(50, 100)[0] > 0.39
    (True, True)
    """
    low = stats.beta.ppf(0.025, count, n - count + 1) if count else 0.0
    high = stats.beta.ppf(0.975, count + 1, n - count) if count < n else 1.0
    return float(low), float(high)


def beyond_chance(interval: tuple[float, float], false_alarms: float) -> bool:
    """Test whether a fraction of flagged cells with this interval exceeds the false alarm rate on real cells.

    Parameters
    ----------
    interval : (float, float)
        From `fraction_interval`.
    false_alarms : float
        Fraction of held-out real cells that are flagged; at least 1 % is assumed.

    Examples
    --------
    >>> beyond_chance(fraction_interval(30, 1000), 0.01), beyond_chance(fraction_interval(12, 1000), 0.01)
    (True, False)
    """
    return interval[0] > max(FALSE_ALARM_RATE, false_alarms)


def _format_place(name: str, position: tuple[float, float]) -> str:
    return f"{name} ({position[0]:.0f}, {position[1]:.0f})"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"
