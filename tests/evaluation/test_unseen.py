"""Realism compares only with smears that the synthesizer has not seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from smears import random_smear, write_folder
from smearsynth.datasets import fingerprints_of, open_smears
from smearsynth.errors import DataError
from smearsynth.evaluation.unseen import split_unseen
from smearsynth.formats.training_smears import TrainingSmears, TrainingSource
from smearsynth.generation.generate import generate
from smearsynth.synthesis.model.synthesizer import Synthesizer


def test_generated_smears_say_what_their_synthesizer_has_seen(
    smear_folder: Path, tiny: Synthesizer, tmp_path: Path
) -> None:
    for format in ("labels", "coco", "labelme"):
        generate(tmp_path / format, 1, model=tiny, format=format, sheet=False)
        synthetic = open_smears(tmp_path / format, classes="one")  # the record is not taken for an annotation
        assert len(synthetic) == 1
        real = open_smears(smear_folder)
        chosen, warnings = split_unseen(real, synthetic)
        assert (chosen.compared.names, warnings) == (real.split("test").names, ())
        with pytest.raises(DataError, match=r"6 of 6 test smears were training smears of the synthesizer of "):
            split_unseen(real, synthetic, "train")
        (warning,) = split_unseen(real, synthetic, "train", allow_leak=True).warnings
        assert "6 of 6 test smears were training smears" in warning


def test_without_splits_the_held_out_smears_are_compared(tmp_path: Path) -> None:
    data = open_smears(write_folder(tmp_path / "real", [random_smear(k) for k in range(6)]))
    synthetic = open_smears(write_folder(tmp_path / "synthetic", [random_smear(90)]))
    (note,) = split_unseen(data, synthetic).warnings
    assert "does not say which smears its synthesizer was trained on" in note
    prints = fingerprints_of(data)
    for held_out in (prints[4:], ()):
        source = TrainingSource(data="real", smears=prints[:4])
        record = TrainingSmears(sources=(source,), held_out=held_out)
        (tmp_path / "synthetic" / "training-smears.json").write_text(record.to_json())
        if held_out:
            chosen, warnings = split_unseen(data, synthetic)
            assert (chosen.compared.names, warnings) == (("smear-04", "smear-05"), ())
            assert len(chosen.training) == 4
        else:
            with pytest.raises(DataError, match="4 of 6 test smears were training smears"):
                split_unseen(data, synthetic)
