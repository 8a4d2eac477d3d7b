"""Fit of a synthesizer to smears: networks stay, everything else is measured again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from smears import random_smear, write_folder
from smearsynth.datasets import open_smears
from smearsynth.shapes import ParametricShapes, ShapeLibrary
from smearsynth.synthesis.model.synthesizer import Synthesizer
from smearsynth.synthesis.training.fitting import compression_histories, refit


def test_a_model_of_a_former_version_is_brought_up_to_date(tiny: Synthesizer, smear_folder: Path) -> None:
    smears = open_smears(smear_folder, split="train")
    assert tiny.acquisition is not None
    former = replace(tiny, acquisition=replace(tiny.acquisition, optics=None), colours=None)
    messages: list[str] = []
    model = refit(former, smears, messages.append)
    assert model.colours is not None
    assert model.acquisition is not None
    assert model.acquisition.optics is not None
    assert len(model.acquisition.optics.shift) == len(smears) == 6
    assert messages[0] == "measuring 6 smears"
    weights = zip(model.generator.parameters(), tiny.generator.parameters(), strict=True)
    assert all((a == b).all() for a, b in weights)
    assert model.training_smears is tiny.training_smears
    assert isinstance(model.shapes, ShapeLibrary)
    # A fit to the same smears gives the model that training returned.
    assert model.hash == tiny.hash


def test_refit_keeps_parametric_shapes(tiny: Synthesizer, smear_folder: Path) -> None:
    assert isinstance(tiny.shapes, ShapeLibrary)
    parametric = replace(tiny, shapes=ParametricShapes.fit(tiny.shapes))
    model = refit(parametric, open_smears(smear_folder, split="train"))
    assert isinstance(model.shapes, ParametricShapes)


def test_histories_are_read_from_image_files_at_their_own_scale(tmp_path: Path) -> None:
    smears = [random_smear(k) for k in range(3)]
    write_folder(tmp_path, smears)
    for k, (quality, subsampling) in enumerate(((90, 2), (70, 0))):
        path = tmp_path / "images" / f"smear-{k:02d}.png"
        Image.open(path).save(path.with_suffix(".jpg"), quality=quality, subsampling=subsampling)
        path.unlink()
    histories = compression_histories(open_smears(tmp_path))
    assert histories == [(90, 2), (70, 0), None]
    assert compression_histories(open_smears(tmp_path, scale=0.5)) == [None] * 3  # resized pixels show no blocks
    assert compression_histories(smears) == [None] * 3
    assert np.asarray(Image.open(tmp_path / "images" / "smear-00.jpg")).shape == (96, 96, 3)
