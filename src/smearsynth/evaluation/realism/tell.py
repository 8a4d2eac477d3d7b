"""The tell test: how well a linear classifier tells synthetic crops from real ones, and by what.

A logistic regression is trained on features of a network that no part of training uses, and tested on smears that
it was not trained on. Both sides are compared at cells of 40 px and with the same JPEG compression.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict
from rich.table import Table

from smearsynth.datasets import SmearFolder
from smearsynth.evaluation.comparability import name_of
from smearsynth.evaluation.realism.separation import Auc, Grouped, Separation, separate, separate_halves
from smearsynth.evaluation.realism.tell_samples import (
    ALL_CONDITIONS,
    CROP,
    MAIN_CONDITIONS,
    Geometry,
    Place,
    Samples,
    common_geometry,
    sample,
)
from smearsynth.formats.pixels.compression import JpegHistory, common_history, jpeg_history
from smearsynth.formats.pixels.tiff_files import read_image_text
from smearsynth.smear import Smear
from smearsynth.synthesis.networks.features import EfficientNetLite

_EXAMPLES = 24  # crops of each kind
_MAX_HISTORIES = 200  # files whose compression is read
_SAME_SCALE = 0.1  # relative change of size up to which the compression of the files still shows


class LayerAuc(BaseModel):
    """AUC on features of middle layers (texture, outlines) and of the last layer (what the crop shows)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    middle: Auc
    last: Auc


class PartAuc(BaseModel):
    """AUC of patches of 20 to 32 px that show one part; None if too few smears have such patches."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    background: Auc | None
    rim: Auc | None
    interior: Auc | None


class ControlAuc(BaseModel):
    """AUC on features of middle layers of real smears against real smears; near 0.5 if the test is fair.

    Parameters
    ----------
    halves : Auc, optional
        Two halves of the real smears, mean of three halvings.
    train : Auc, optional
        The real smears against real training smears; None unless controls were requested.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    halves: Auc | None = None
    train: Auc | None = None


class TellAuc(BaseModel):
    """AUC of the tell test: 0.5 if synthetic and real cannot be told apart, 1 if every item is recognised.

    Parameters
    ----------
    features : str
        Network of the features.
    compression : (int, int), optional
        JPEG quality and subsampling with which the synthetic images were saved once before the test.
    crop : int
        Side of the crops, px at cells of 40 px.
    real_crops, synthetic_crops : int
    middle, last : Auc
        Of crops, on features of middle layers and of the last layer.
    blurred : Auc, optional
        Of the same crops after a blur of 2 px, middle layers.
    by_part : PartAuc
        Of patches, middle layers.
    spectra : Auc
        Of the same crops, on radial spectra.
    control : ControlAuc
    grey : Auc, optional
        Of the same crops without colour, middle layers. None, as all below, unless all conditions were requested.
    crops_160 : LayerAuc, optional
        Of crops of 160 px.
    fields : LayerAuc, optional
        Of whole fields at half size.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    features: str
    compression: tuple[int, int] | None
    crop: int
    real_crops: int
    synthetic_crops: int
    middle: Auc
    last: Auc
    blurred: Auc | None
    by_part: PartAuc
    spectra: Auc
    control: ControlAuc
    grey: Auc | None = None
    crops_160: LayerAuc | None = None
    fields: LayerAuc | None = None

    def rows(self) -> list[tuple[str, Auc]]:
        """Return the conditions and their AUC, as in the table."""
        rows: list[tuple[str, Auc | None]] = [
            (f"crops of {self.crop} px, middle layers", self.middle),
            (f"crops of {self.crop} px, last layer", self.last),
            ("blurred by 2 px, middle layers", self.blurred),
            ("grey, middle layers", self.grey),
            ("patches of background", self.by_part.background),
            ("patches of rims", self.by_part.rim),
            ("patches of cell interiors", self.by_part.interior),
            ("radial spectra", self.spectra),
        ]
        for name, layers in (("crops of 160 px", self.crops_160), ("whole fields", self.fields)):
            if layers is not None:
                rows += [(f"{name}, middle layers", layers.middle), (f"{name}, last layer", layers.last)]
        rows += [
            ("control: two halves of the real smears", self.control.halves),
            ("control: real training smears", self.control.train),
        ]
        return [(name, auc) for name, auc in rows if auc is not None]

    def table(self) -> Table:
        """Return a terminal table with one row per condition."""
        compression = "none"
        if self.compression is not None:
            quality, subsampling = self.compression
            compression = f"JPEG quality {quality}, 4:{('4:4', '2:2', '2:0')[subsampling]}"
        caption = f"features: {self.features}; compression added to the synthetic images: {compression}"
        table = Table(title="Tell test: 0.5 = cannot be told apart", caption=caption)
        for column in ("", "AUC", "95 % interval"):
            table.add_column(column, justify="right" if column else "left")
        for name, auc in self.rows():
            table.add_row(name, f"{auc.value:.3f}", f"{auc.interval[0]:.3f} to {auc.interval[1]:.3f}")
        return table


class TellPlace(BaseModel):
    """One crop of the tell test.

    Parameters
    ----------
    smear : str
    x, y : float
        Centre, px of the smear.
    score : float
        Of the classifier on middle layers: positive if it takes the crop for synthetic.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    smear: str
    x: float
    y: float
    score: float


class TellCrops(BaseModel):
    """The crops that say most about the tell test, at most one per smear.

    Parameters
    ----------
    obvious, convincing : list of TellPlace
        Synthetic crops with the highest and with the lowest scores.
    misjudged : list of TellPlace
        Real crops with the highest scores.
    side : float
        Of the crops, px of the smears.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    obvious: list[TellPlace]
    convincing: list[TellPlace]
    misjudged: list[TellPlace]
    side: float


class TellTest:
    """Tell test against one set of real smears, whose features are computed once.

    Parameters
    ----------
    real : sequence of Smear
    others : sequence of sequences of Smear
        All smears that `compare` will receive; their common part is compared as whole fields.
    network : EfficientNetLite
        Not used in the training of the synthesizer.
    scale : float
        Factor by which all smears are resized, so that cells have 40 px.
    full : bool
        Whether to test all conditions.
    seed : int
    on_smear : callable, optional
        Called with the number of real smears done.
    """

    def __init__(
        self,
        real: Sequence[Smear],
        others: Sequence[Sequence[Smear]],
        network: EfficientNetLite,
        scale: float,
        *,
        full: bool = False,
        seed: int = 0,
        on_smear: Callable[[int], object] | None = None,
    ) -> None:
        self._real = real
        self._network = network
        self._conditions = ALL_CONDITIONS if full else MAIN_CONDITIONS
        self._geometry: Geometry = common_geometry(real, others, scale, with_fields=full)
        self._seed = seed
        self._real_samples = self._sample(real, None, 0, on_smear)

    def compare(
        self,
        synthetic: Sequence[Smear],
        compression: JpegHistory | None = None,
        *,
        on_smear: Callable[[int], object] | None = None,
    ) -> tuple[TellAuc, TellCrops] | None:
        """Test how well smears are told from the real ones.

        Parameters
        ----------
        synthetic : sequence of Smear
        compression : JpegHistory, optional
            Save the synthetic images once as JPEG with these settings (see `missing_compression`).
        on_smear : callable, optional
            Called with the number of smears done.

        Returns
        -------
        (TellAuc, TellCrops) or None
            None if fewer than two smears on a side have a crop.
        """
        real, other = self._real_samples, self._sample(synthetic, compression, 1, on_smear)
        crops = self._separate(real.middle, other.middle, "crops")
        last = self._separate(real.last, other.last, "crops")
        if crops is None or last is None or real.spectra is None or other.spectra is None:
            return None
        spectra = separate(real.spectra, other.spectra, self._seed)
        assert spectra is not None  # the same smears as `crops`
        parts = {name: self._auc(real, other, name) for name in ("background", "rim", "interior")}
        result = TellAuc(
            features=self._network.name,
            compression=compression,
            crop=CROP,
            real_crops=len(real.places),
            synthetic_crops=len(other.places),
            middle=crops.auc,
            last=last.auc,
            blurred=self._auc(real, other, "blurred"),
            by_part=PartAuc(**parts),
            spectra=spectra.auc,
            control=ControlAuc(halves=separate_halves(real.middle["crops"], self._seed)),
            grey=self._auc(real, other, "grey"),
            crops_160=self._layers(real, other, "wide crops"),
            fields=self._layers(real, other, "fields"),
        )
        return result, self._examples(crops, other.places, synthetic)

    def _sample(
        self,
        smears: Sequence[Smear],
        compression: JpegHistory | None,
        side: int,
        on_smear: Callable[[int], object] | None,
    ) -> Samples:
        return sample(
            smears,
            self._network,
            self._conditions,
            self._geometry,
            compression=compression,
            seed=2 * self._seed + side,
            on_smear=on_smear,
        )

    def _separate(self, real: dict[str, Grouped], other: dict[str, Grouped], name: str) -> Separation | None:
        if name not in real or name not in other:
            return None
        return separate(real[name], other[name], self._seed)

    def _auc(self, real: Samples, other: Samples, name: str) -> Auc | None:
        separation = self._separate(real.middle, other.middle, name)
        return None if separation is None else separation.auc

    def _layers(self, real: Samples, other: Samples, name: str) -> LayerAuc | None:
        middle, last = self._auc(real, other, name), self._separate(real.last, other.last, name)
        return None if middle is None or last is None else LayerAuc(middle=middle, last=last.auc)

    def _examples(self, crops: Separation, places: list[Place], synthetic: Sequence[Smear]) -> TellCrops:
        real_places = self._real_samples.places
        return TellCrops(
            obvious=_highest(crops.second_scores, places, synthetic),
            convincing=_highest(crops.second_scores, places, synthetic, sign=-1),
            misjudged=_highest(crops.first_scores, real_places, self._real),
            side=CROP / self._geometry.scale,
        )


def missing_compression(real: Sequence[Smear], synthetic: Sequence[Smear]) -> JpegHistory | None:
    """Return the JPEG compression that the files of the real smears have and those of the synthetic ones lack.

    Parameters
    ----------
    real, synthetic : sequence of Smear
        Only a `SmearFolder` has files.

    Returns
    -------
    JpegHistory or None
        None if most real files are not JPEG, if they are resized on reading, so that their compression hardly
        shows, or if the synthetic images are already compressed: as JPEG files, or according to their recipe.

    Examples
    --------
    >>> missing_compression([], []) is None
    True
    """
    if not isinstance(real, SmearFolder) or not isinstance(synthetic, SmearFolder):
        return None
    if not len(synthetic) or abs(real.scale - 1) > _SAME_SCALE:
        return None
    first = synthetic.entries[0].image
    if jpeg_history(first) is not None:
        return None
    acquisition = json.loads(read_image_text(first).get("recipe") or "{}").get("acquisition") or {}
    if acquisition.get("compression") is not None:  # the acquisition model has compressed the image
        return None
    return common_history(entry.image for entry in real.entries[:_MAX_HISTORIES])


def _highest(
    scores: npt.NDArray[np.float64], places: list[Place], smears: Sequence[Smear], sign: int = 1
) -> list[TellPlace]:
    """Return the crops with the highest scores times `sign`, at most one per smear."""
    chosen: dict[int, TellPlace] = {}
    for k in np.argsort(-sign * scores, kind="stable").tolist():
        index, x, y = places[k]
        if index not in chosen and len(chosen) < _EXAMPLES:
            chosen[index] = TellPlace(
                smear=name_of(smears, index), x=round(x, 1), y=round(y, 1), score=round(float(scores[k]), 3)
            )
    return list(chosen.values())
