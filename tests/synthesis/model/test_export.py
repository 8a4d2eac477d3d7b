"""ONNX export: without PyTorch the same picture, at any size and for any number of cells."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from smearsynth.errors import OptionError
from smearsynth.synthesis.model.export import Sampler, export_sampler, sampler_inputs
from smearsynth.synthesis.model.synthesizer import Synthesizer
from smearsynth.synthesis.networks.generator import Generator


@pytest.mark.slow
def test_onnxruntime_paints_what_torch_paints(tiny_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    model = Synthesizer.load(tiny_folder)
    path = tmp_path / "sampler.onnx"

    export_sampler(model, path)

    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert session.get_modelmeta().description == "sides of fields: multiples of 4 px, 8 px at least"
    for side, cells in ((64, 3), (96, 7), (8, 1)):
        inputs = sampler_inputs(model, side, cells, seed=side)
        with torch.no_grad():
            wanted = Sampler(model.generator)(*inputs.values()).numpy()
        (found,) = session.run(None, {name: value.numpy() for name, value in inputs.items()})
        assert found.shape == (1, 3, side, side)
        assert np.abs(found - wanted).max() < 1e-3
        assert wanted.std() > 0.005  # the field of 8 px shows little
    assert [file.name for file in tmp_path.iterdir()] == ["sampler.onnx"]


@pytest.mark.parametrize("side", [0, 4, 10])
def test_a_side_that_the_sampler_does_not_paint_is_refused_with_the_rule(tiny: Synthesizer, side: int) -> None:
    with pytest.raises(OptionError, match=f"a side of {side} px; .* multiples of 4 px, 8 px at least"):
        sampler_inputs(tiny, side)
    assert sampler_inputs(tiny, 8)["labels"].shape == (1, 8, 8)


def test_a_deep_sampler_is_traced_with_two_cells_of_its_grid(tiny: Synthesizer) -> None:
    network = tiny.config.network.model_copy(update={"downs": 6})
    deep = replace(tiny, config=tiny.config.model_copy(update={"network": network}), generator=Generator(network))
    inputs = sampler_inputs(deep)
    assert inputs["labels"].shape == (1, 128, 128)
    assert Sampler(deep.generator)(*inputs.values()).shape == (1, 3, 128, 128)


def test_without_the_packages_the_extra_is_named(tiny_folder: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(OptionError, match=r"onnx and onnxscript: pip install 'smearsynth\[export\]'"):
        export_sampler(Synthesizer.load(tiny_folder), tmp_path / "sampler.onnx")
    assert not list(tmp_path.iterdir())
