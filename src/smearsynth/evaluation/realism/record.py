"""Result of `realism` as a record, as tables and in sentences."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator
from rich.table import Table

from smearsynth.evaluation.label_fidelity import LabelFidelity
from smearsynth.evaluation.realism.appearance import AppearanceComparison
from smearsynth.evaluation.realism.crops import CELL
from smearsynth.evaluation.realism.distances import Estimate, Range
from smearsynth.evaluation.realism.tell import TellAuc, TellCrops
from smearsynth.migrations import to_current

_MIN_TELL_SMEARS = 24  # with fewer, the AUC of equal sets often lies outside of its interval around 0.5


class FeatureDistances(BaseModel):
    """Distances on one kind of image features.

    Parameters
    ----------
    features : str
    kid : Estimate
    density, coverage : Estimate, optional
        None if there are too few crops.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    features: str
    kid: Estimate
    density: Estimate | None
    coverage: Estimate | None


class Control(BaseModel):
    """Real training smears under the same test as the synthetic smears.

    Parameters
    ----------
    smears : int
        Number of training smears: at most that of the synthetic smears.
    kid : Estimate
    density, coverage : Estimate, optional
        None if there are too few crops.
    tell_auc : TellAuc, optional
        None without the tell test.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    smears: int
    kid: Estimate
    density: Estimate | None
    coverage: Estimate | None
    tell_auc: TellAuc | None = None


class Realism(BaseModel):
    """Differences between synthetic and real smears, from `realism`.

    Parameters
    ----------
    features : str
        Image features behind `kid`, `fid`, `density` and `coverage`. Values on other features are not comparable.
    crop : int
        Side of the crops, px of the resized smears.
    scale : float
        Factor by which real and synthetic smears were resized, so that real cells have a diameter of 40 px.
    real_smears, synthetic_smears, real_crops, synthetic_crops : int
    kid, fid : Estimate
    density, coverage : Estimate, optional
        None if there are too few crops. The references come from five random halvings of the real smears. A half
        has fewer crops, which raises `fid` and lowers `coverage`.
    trained_features : FeatureDistances, optional
        The same on EfficientNet-Lite0, which the perceptual loss of training uses by default: optimistically
        biased. None if `features` are these.
    tell_auc : TellAuc, optional
        Tell test; None if it was left out or the smears have too few cells.
    tell_crops : TellCrops, optional
        Crops that give most away, of the tell test.
    control : Control, optional
        None unless requested.
    appearance : dict of str to AppearanceComparison
        Colour and texture (`MEASURES`), and structure (`STRUCTURE_MEASURES`), by measure.
    label_iou_median : float, optional
        None if labels were not checked.
    labels : LabelFidelity, optional
    warnings : tuple of str
        Reasons why the result may be optimistically biased, such as compared smears that trained the synthesizer.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    features: str
    crop: int
    scale: float = 1.0
    real_smears: int
    synthetic_smears: int
    real_crops: int
    synthetic_crops: int
    kid: Estimate
    fid: Estimate
    density: Estimate | None
    coverage: Estimate | None
    trained_features: FeatureDistances | None = None
    tell_auc: TellAuc | None = None
    tell_crops: TellCrops | None = None
    control: Control | None = None
    appearance: dict[str, AppearanceComparison]
    label_iou_median: float | None = None
    labels: LabelFidelity | None = None
    warnings: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _read_format_1(cls, record: Any) -> Any:
        return to_current("realism", record)

    def table(self) -> Table:
        """Return a terminal table with one row per distance."""
        title = f"{self.synthetic_smears} synthetic smears and {self.real_smears} real smears"
        caption = f"features: {self.features}, crops of {self.crop} px"
        if self.scale != 1:
            caption += f" of smears at {self.scale:.2g} times their size (cells of {CELL:.0f} px)"
        table = Table(title=title, caption=caption)
        columns = ["", "real to synthetic", "95 % interval", "real to real (halves)"]
        if self.control is not None:
            columns += ["real to training smears", "95 % interval"]
        for column in columns:
            table.add_column(column, justify="right" if column else "left")
        for name, estimate, control in self._rows():
            cells = [_format_value(estimate), _format_range(None if estimate is None else estimate.interval)]
            cells.append(_format_range(None if estimate is None else estimate.reference))
            if self.control is not None:
                cells += [_format_value(control), "" if control is None else _format_range(control.interval)]
            table.add_row(name, *cells)
        return table

    def _rows(self) -> list[tuple[str, Estimate | None, Estimate | None]]:
        """Return name, distance and control of each row of the table."""
        control = self.control
        return [
            ("KID", self.kid, None if control is None else control.kid),
            ("FID", self.fid, None),
            ("density", self.density, None if control is None else control.density),
            ("coverage", self.coverage, None if control is None else control.coverage),
        ]

    def appearance_table(self) -> Table:
        """Return a terminal table of colour, texture and structure."""
        caption = (
            "mean ± standard deviation (SD) between smears, grey levels or fractions; offset in SD of real smears; "
            "* the mean lies outside the 95 % range of means of as many real smears"
        )
        table = Table(caption=caption)
        for column in ("", "real", "synthetic", "offset"):
            table.add_column(column, justify="right" if column else "left")
        for name, comparison in self.appearance.items():
            real = f"{comparison.real:.3g} ± {comparison.real_std:.2g}"
            synthetic = f"{comparison.synthetic:.3g} ± {comparison.synthetic_std:.2g}"
            mark = "" if comparison.is_inside else " *"
            table.add_row(name, real, synthetic, f"{comparison.offset:+z.1f}{mark}")
        return table

    def verdict(self) -> list[str]:
        """Return the result in sentences, one line per aspect."""
        lines = [
            f"KID on {self.features}: {self.kid.value:z.3g}, 95 % interval {_format_range(self.kid.interval)}; "
            f"between two halves of the real smears {_format_range(self.kid.reference)}."
        ]
        if (trained := self.trained_features) is not None:
            coverage = "" if trained.coverage is None else f", coverage {trained.coverage.value:.3g}"
            lines.append(
                f"KID on {trained.features}, which training uses: {trained.kid.value:z.3g}, 95 % interval "
                f"{_format_range(trained.kid.interval)}{coverage}."
            )
        if self.tell_auc is not None:
            control = self.tell_auc.control.halves
            halves = "" if control is None else f"; two halves of the real smears {control}"
            lines.append(
                f"Tell test: AUC {self.tell_auc.middle} on middle layers, {self.tell_auc.last} on the last layer "
                f"(0.5 = cannot be told apart{halves})."
            )
            if min(self.real_smears, self.synthetic_smears) < _MIN_TELL_SMEARS:
                lines.append(
                    f"Tell test: fewer than {_MIN_TELL_SMEARS} smears on a side: its intervals are too narrow."
                )
        if self.control is not None:
            tell = "" if self.control.tell_auc is None else f", AUC of the tell test {self.control.tell_auc.middle}"
            lines.append(
                f"Control: {self.control.smears} real training smears have KID {self.control.kid.value:z.3g}{tell}."
            )
        if self.density is None:
            lines.append("Density and coverage were not computed: too few crops. Give more or larger smears.")
        different = [name for name, comparison in self.appearance.items() if abs(comparison.offset) > 1]
        if different:
            lines.append(f"Means over one standard deviation from the real smears: {', '.join(different)}.")
        elif self.appearance:
            lines.append("Colour and texture: all means are within one standard deviation of the real smears.")
        else:
            lines.append("Colour and texture were not compared: too few real smears show cells and background.")
        return lines if self.labels is None else [*lines, _label_verdict(self.labels)]


def _label_verdict(labels: LabelFidelity) -> str:
    limits = labels.limits
    detected = ", ".join(f"{kind} {rate:.0%}" for kind, rate in limits.detection_rates.items())
    false_alarms = limits.false_wrong + limits.false_missing
    return (
        f"Labels: median IoU {labels.iou_median:.3f} (real smears {limits.iou_median:.3f}). Of {labels.cells} "
        f"cells, {labels.wrong} labels are wrong and {labels.missing} cells are missing; on real smears the check "
        f"reports {100 * false_alarms:.1f} false alarms per 100 cells. Detected simulated label errors: {detected}."
    )


def _format_value(estimate: Estimate | None) -> str:
    return "" if estimate is None else f"{estimate.value:z.3g}"


def _format_range(bounds: Range | None) -> str:
    return "too few crops" if bounds is None else f"{bounds[0]:z.3g} to {bounds[1]:z.3g}"
