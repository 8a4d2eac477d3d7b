"""Realism: how far synthetic smears are from real ones, each figure with its interval and what real ones give."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict
from rich.table import Table

from smearsynth.errors import DataError
from smearsynth.evaluation.appearance import Compared, appearance, compare_appearance
from smearsynth.evaluation.crops import CropFeatures, crop_side, embed
from smearsynth.evaluation.distances import density_and_coverage, fid, kid
from smearsynth.evaluation.fidelity import LabelFidelity, Segmenter, label_fidelity, set_limits
from smearsynth.evaluation.views import median_diameter
from smearsynth.smear import Smear
from smearsynth.synthesis.features import PerceptualFeatures

_LEAST_SMEARS = 4
_HALVINGS = 5

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
    kid, fid, density, coverage : float
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
    density: float
    density_interval: Interval
    density_real: Interval
    coverage: float
    coverage_interval: Interval
    coverage_real: Interval
    appearance: dict[str, Compared]
    label_iou_median: float | None = None
    labels: LabelFidelity | None = None

    def table(self) -> Table:
        """A line for each figure, for a terminal."""
        title = f"{self.synthetic_smears} synthetic smears against {self.real_smears} real ones"
        table = Table(title=title, caption=f"on {self.features}, crops of {self.crop} px")
        for column in ("", "synthetic", "95 % interval", "halves of real"):
            table.add_column(column, justify="left" if not column else "right")
        for name in ("kid", "fid", "density", "coverage"):
            low, high = getattr(self, f"{name}_interval")
            least, most = getattr(self, f"{name}_real")
            table.add_row(
                name, f"{getattr(self, name):.3g}", f"{low:.3g} to {high:.3g}", f"{least:.3g} to {most:.3g}"
            )
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
            table.add_row(name, real, ours, f"{one.offset:+.1f}")
        return table

    def verdict(self) -> list[str]:
        """What was found, in plain sentences."""
        low, high = self.kid_interval
        said = [
            f"KID on {self.features}: {self.kid:.3g}, 95 % interval {low:.3g} to {high:.3g}; two halves of the "
            f"real smears give {self.kid_real[0]:.3g} to {self.kid_real[1]:.3g}."
        ]
        far = [name for name, one in self.appearance.items() if abs(one.offset) > 1]
        said.append(
            f"More than one real deviation off: {', '.join(far)}."
            if far
            else "Colour and texture: every mean lies within one deviation of the real smears."
        )
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


def refuse_few(real: Sequence[Smear], synthetic: Sequence[Smear]) -> None:
    """Raise `DataError` where there are too few smears for an interval."""
    for what, smears in (("real", real), ("synthetic", synthetic)):
        if len(smears) < _LEAST_SMEARS:
            raise DataError(f"{len(smears)} {what} smears are too few; give {_LEAST_SMEARS} at least")


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
        Whose features tell the crops apart, see `smearsynth.synthesis.features.load_features`.
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
        When there are too few smears, or smears smaller than a crop.
    """
    refuse_few(real, synthetic)
    generator = np.random.default_rng(rng)

    def stage(name: str, total: int) -> Callable[[int], object]:
        return (lambda done: None) if on_stage is None else (lambda done: on_stage(name, done, total))

    diameter = median_diameter(real)
    side = crop or crop_side(diameter)
    a = embed(real, side, net, rng=generator, on_smear=stage("real crops", len(real)))
    b = embed(synthetic, side, net, rng=generator, on_smear=stage("synthetic crops", len(synthetic)))
    figures = _distances(a, b, generator) | _halves(a, generator)
    looks = compare_appearance(
        _looks(real, diameter, stage("real colours", len(real))),
        _looks(synthetic, diameter, stage("synthetic colours", len(synthetic))),
    )
    labels = None
    if segmenter is not None:
        known = real if unseen is None else unseen
        limits = set_limits(known, segmenter, diameter, rng=generator, on_smear=stage("real labels", len(known)))
        tick = stage("synthetic labels", len(synthetic))
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


def _distances(real: CropFeatures, other: CropFeatures, rng: np.random.Generator) -> dict[str, float | Interval]:
    density, coverage = density_and_coverage(real, other, rng)
    estimates = {"kid": kid(real, other, rng), "fid": fid(real, other, rng)}
    estimates |= {"density": density, "coverage": coverage}
    found: dict[str, float | Interval] = {name: one.value for name, one in estimates.items()}
    return found | {f"{name}_interval": (one.low, one.high) for name, one in estimates.items()}


def _halves(real: CropFeatures, rng: np.random.Generator) -> dict[str, Interval]:
    """What one half of the real smears gives against the other."""
    rows = []
    for _ in range(_HALVINGS):
        order = rng.permutation(real.count)
        one, other = real.of(order[: real.count // 2]), real.of(order[real.count // 2 :])
        density, coverage = density_and_coverage(one, other, rng, draws=0)
        distances = kid(one, other, rng, draws=0), fid(one, other, rng, draws=0)
        rows.append([figure.value for figure in (*distances, density, coverage)])
    low, high = np.min(rows, axis=0).tolist(), np.max(rows, axis=0).tolist()
    names = ("kid_real", "fid_real", "density_real", "coverage_real")
    return dict(zip(names, zip(low, high, strict=True), strict=True))


def _looks(
    smears: Sequence[Smear], diameter: float, tick: Callable[[int], object]
) -> list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    looks = []
    for k, smear in enumerate(smears):
        looks.append(appearance(smear, diameter))
        tick(k + 1)
    return looks
