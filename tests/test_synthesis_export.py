"""ONNX export: without PyTorch the same picture, at any size and for any number of cells."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from smearsynth.errors import OptionError
from smearsynth.synthesis.export import Sampler, export_sampler, sampler_inputs
from smearsynth.synthesis.model import Synthesizer


@pytest.mark.slow
def test_onnxruntime_paints_what_torch_paints(tiny_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    model = Synthesizer.load(tiny_folder)
    path = tmp_path / "sampler.onnx"

    export_sampler(model, path)

    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for side, cells in ((64, 3), (96, 7)):
        inputs = sampler_inputs(model, side, cells, seed=side)
        with torch.no_grad():
            wanted = Sampler(model.generator)(*inputs.values()).numpy()
        (found,) = session.run(None, {name: value.numpy() for name, value in inputs.items()})
        assert found.shape == (1, 3, side, side)
        assert np.abs(found - wanted).max() < 1e-3
        assert wanted.std() > 0.01
    assert [file.name for file in tmp_path.iterdir()] == ["sampler.onnx"]


def test_without_the_packages_the_extra_is_named(tiny_folder: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(OptionError, match=r"onnx and onnxscript: pip install 'smearsynth\[export\]'"):
        export_sampler(Synthesizer.load(tiny_folder), tmp_path / "sampler.onnx")
    assert not list(tmp_path.iterdir())
