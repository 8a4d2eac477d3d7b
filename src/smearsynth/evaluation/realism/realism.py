"""Realism: how far synthetic smears are from real ones, each figure with its interval and what real ones give."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict
from rich.table import Table

from smearsynth.errors import DataError, error_location
from smearsynth.evaluation.comparability import folder_of, median_diameter, same_scale
from smearsynth.evaluation.label_fidelity import LabelFidelity, Segmenter, label_fidelity, calibrate_limits
from smearsynth.evaluation.realism.appearance import Compared, appearance, compare_appearance
from smearsynth.evaluation.realism.crops import CropFeatures, crop_side, embed, refuse_small
from smearsynth.evaluation.realism.distances import Estimate, density_and_coverage, fid, kid
from smearsynth.smear import Smear
from smearsynth.synthesis.networks.features import PerceptualFeatures

_LEAST_SMEARS = 4
_HALVINGS = 5
_DISTANCES = ("kid", "fid", "density", "coverage")

Stage = Callable[[str, int, int], object]
Interval = tuple[float, float]


class Realism(BaseModel):
    """What `realism` found.

    Parameters
    ----------
    features : str
        The network behind kid, fid, density and coverage; figures on others cannot be compared with these.
    crop : int
        Side of the crops it saw, px, at the pixels' own size.
    real_smears, synthetic_smears, real_crops, synthetic_crops : int
    kid, fid : float
    density, coverage : float, optional
        None, as their intervals and ranges, where there are too few crops for them.
    kid_interval, fid_interval, density_interval, coverage_interval : (float, float)
        95 %, by a bootstrap over smears.
    kid_real, fid_real, density_real, coverage_real : (float, float)
        Least and largest of what two halves of the real smears give, halved five times: with fewer crops, which
        raises fid and lowers coverage.
    appearance : dict of str to Compared
        Colour and texture.
    label_iou_median : float, optional
        None where no segmenter was at hand.
    labels : LabelFidelity, optional
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    features: str
    crop: int
    real_smears: int
    synthetic_smears: int
    real_crops: int
    synthetic_crops: int
    kid: float
    kid_interval: Interval
    kid_real: Interval
    fid: float
    fid_interval: Interval
    fid_real: Interval
    density: float | None
    density_interval: Interval | None
    density_real: Interval | None
    coverage: float | None
    coverage_interval: Interval | None
    coverage_real: Interval | None
    appearance: dict[str, Compared]
    label_iou_median: float | None = None
    labels: LabelFidelity | None = None

    def table(self) -> Table:
        """A line for each figure, for a terminal."""
        title = f"{self.synthetic_smears} synthetic smears against {self.real_smears} real ones"
        table = Table(title=title, caption=f"on {self.features}, crops of {self.crop} px")
        for column in ("", "synthetic", "95 % interval", "halves of real"):
            table.add_column(column, justify="left" if not column else "right")
        for name in _DISTANCES:
            value = getattr(self, name)
            ranges = (_shown(getattr(self, f"{name}_{of}")) for of in ("interval", "real"))
            table.add_row(name, "" if value is None else f"{value:z.3g}", *ranges)
        return table

    def appearance_table(self) -> Table:
        """Colour and texture, for a terminal."""
        table = Table(caption="grey levels, mean ± deviation between smears; offset in real deviations")
        for column in ("", "real", "synthetic", "offset"):
            table.add_column(column, justify="left" if not column else "right")
        for name, one in self.appearance.items():
            real, ours = (
                f"{mean:.3g} ± {std:.2g}"
                for mean, std in ((one.real, one.real_std), (one.synthetic, one.synthetic_std))
            )
            table.add_row(name, real, ours, f"{one.offset:+z.1f}")
        return table

    def verdict(self) -> list[str]:
        """What was found, in plain sentences."""
        said = [
            f"KID on {self.features}: {self.kid:z.3g}, 95 % interval {_shown(self.kid_interval)}; two halves of "
            f"the real smears give {_shown(self.kid_real)}."
        ]
        if self.density is None:
            said.append("Density and coverage are not told: too few crops; give more smears, or larger ones.")
        far = [name for name, one in self.appearance.items() if abs(one.offset) > 1]
        if far:
            said.append(f"More than one real deviation off: {', '.join(far)}.")
        elif self.appearance:
            said.append("Colour and texture: every mean lies within one deviation of the real smears.")
        else:
            said.append("Colour and texture are not compared: too few smears show cells and background.")
        if self.labels is not None:
            of, limits = self.labels, self.labels.limits
            caught = ", ".join(f"{kind} {share:.0%}" for kind, share in limits.caught.items())
            alarms = limits.false_wrong + limits.false_missing
            said.append(
                f"Labels: median IoU {of.iou_median:.3f} (real smears {limits.iou_median:.3f}); of {of.cells} "
                f"cells {of.wrong} wrong and {of.missing} missing, where real smears raise {100 * alarms:.1f} "
                f"false alarms in 100 cells; slips made on purpose and caught: {caught}."
            )
        return said


def comparable(real: Sequence[Smear], synthetic: Sequence[Smear], crop: int | None = None) -> tuple[float, int]:
    """Diameter of the median real cell and side of the crops, both in px, of smears that can be compared.

    Reads all of them: call it before long work.

    Raises
    ------
    DataError
        When there are too few smears, none with a whole cell, smears smaller than a crop, or cells of another
        size than the real ones; it names the folder at fault.
    """
    diameters = []
    for what, smears in (("real", real), ("synthetic", synthetic)):
        with error_location(folder_of(smears)):
            if len(smears) < _LEAST_SMEARS:
                raise DataError(f"{len(smears)} {what} smears are too few; give {_LEAST_SMEARS} at least")
            diameters.append(median_diameter(smears))
    with error_location(folder_of(real)):
        same_scale(diameters[0], diameters[1], getattr(real, "scale", 1.0))
    side = crop or crop_side(diameters[0])
    for smears in (real, synthetic):
        with error_location(folder_of(smears)):
            refuse_small(smears, side)
    return diameters[0], side


def realism(
    real: Sequence[Smear],
    synthetic: Sequence[Smear],
    net: PerceptualFeatures,
    *,
    segmenter: Segmenter | None = None,
    unseen: Sequence[Smear] | None = None,
    crop: int | None = None,
    rng: int | np.random.Generator = 0,
    on_stage: Stage | None = None,
) -> Realism:
    """Measure how far synthetic smears are from real ones.

    Parameters
    ----------
    real : sequence of Smear
        Best those the synthesizer has not learned from.
    synthetic : sequence of Smear
        At the same scale.
    net : PerceptualFeatures
        Whose features tell the crops apart, see `smearsynth.synthesis.networks.features.load_features`.
    segmenter : Segmenter, optional
        Trained on real smears; judges the labels.
    unseen : sequence of Smear, optional
        Real smears it was not trained on, to set its limits; `real` when None.
    crop : int, optional
        Side of the crops in px; see `crop_side` when None.
    rng : int or numpy.random.Generator
    on_stage : callable, optional
        Called with the name of a stage, what is done of it, and what there is to do.

    Returns
    -------
    Realism

    Raises
    ------
    DataError
        When they cannot be compared, see `comparable`.
    """
    diameter, side = comparable(real, synthetic, crop)
    # streams of their own: what is drawn of the real smears alone is the same whatever the synthetic ones
    of_real, of_synthetic, between, halving, simulated_errors = np.random.default_rng(rng).spawn(5)

    def stage(name: str, total: int) -> Callable[[int], object]:
        return (lambda done: None) if on_stage is None else (lambda done: on_stage(name, done, total))

    a = embed(real, side, net, rng=of_real, on_smear=stage("real crops", len(real)))
    b = embed(synthetic, side, net, rng=of_synthetic, on_smear=stage("synthetic crops", len(synthetic)))
    figures = _distances(a, b, between) | _halves(a, halving)
    looks = compare_appearance(
        _looks(real, diameter, stage("real colours", len(real))),
        _looks(synthetic, diameter, stage("synthetic colours", len(synthetic))),
    )
    labels = None
    if segmenter is not None:
        known = real if unseen is None else unseen
        limits = calibrate_limits(
            known, segmenter, diameter, rng=simulated_errors, on_smear=stage("real labels", len(known))
        )
        tick = stage("synthetic labels", len(synthetic))
        with error_location(folder_of(synthetic)):
            labels = label_fidelity(synthetic, segmenter, limits, diameter, on_smear=tick)
    return Realism(
        features=net.name,
        crop=side,
        real_smears=len(real),
        synthetic_smears=len(synthetic),
        real_crops=len(a.vectors),
        synthetic_crops=len(b.vectors),
        **figures,
        appearance=looks,
        label_iou_median=None if labels is None else labels.iou_median,
        labels=labels,
    )


def _distances(
    real: CropFeatures, other: CropFeatures, rng: np.random.Generator
) -> dict[str, float | Interval | None]:
    found: dict[str, float | Interval | None] = {}
    for name, one in zip(_DISTANCES, _estimates(real, other, rng), strict=True):
        found[name] = None if one is None else one.value
        found[f"{name}_interval"] = None if one is None else (one.low, one.high)
    return found


def _halves(real: CropFeatures, rng: np.random.Generator) -> dict[str, Interval | None]:
    """What one half of the real smears gives against the other."""
    rows = []
    for _ in range(_HALVINGS):
        order = rng.permutation(real.count)
        one, other = real.of(order[: real.count // 2]), real.of(order[real.count // 2 :])
        rows.append(_estimates(one, other, rng, interval=False))
    found: dict[str, Interval | None] = {}
    for name, column in zip(_DISTANCES, zip(*rows, strict=True), strict=True):
        values = [one.value for one in column if one is not None]
        found[f"{name}_real"] = (min(values), max(values)) if len(values) == _HALVINGS else None
    return found


def _estimates(
    real: CropFeatures, other: CropFeatures, rng: np.random.Generator, *, interval: bool = True
) -> tuple[Estimate | None, ...]:
    """In the order of `_DISTANCES`."""
    draws = {} if interval else {"draws": 0}
    shares = density_and_coverage(real, other, rng, **draws) or (None, None)
    return kid(real, other, rng, **draws), fid(real, other, rng, **draws), *shares


def _shown(interval: Interval | None) -> str:
    return "too few crops" if interval is None else f"{interval[0]:z.3g} to {interval[1]:z.3g}"


def _looks(
    smears: Sequence[Smear], diameter: float, tick: Callable[[int], object]
) -> list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    looks = []
    for k, smear in enumerate(smears):
        looks.append(appearance(smear, diameter))
        tick(k + 1)
    return looks
