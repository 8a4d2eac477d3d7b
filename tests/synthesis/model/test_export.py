"""ONNX export: the same images as PyTorch, for any size and number of cells."""

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
def test_onnxruntime_and_torch_paint_the_same_image(tiny_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    model = Synthesizer.load(tiny_folder)
    path = tmp_path / "sampler.onnx"

    export_sampler(model, path)

    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert session.get_modelmeta().description == "height and width: multiples of 4 px, at least 8 px"
    for side, cells in ((64, 3), (96, 7), (8, 1)):
        inputs = sampler_inputs(model, side, cells, seed=side)
        with torch.no_grad():
            expected = Sampler(model.generator)(*inputs.values()).numpy()
        (image,) = session.run(None, {name: value.numpy() for name, value in inputs.items()})
        assert image.shape == (1, 3, side, side)
        assert np.abs(image - expected).max() < 1e-3
        assert expected.std() > 0.005  # a field of 8 px has little contrast
    assert [file.name for file in tmp_path.iterdir()] == ["sampler.onnx"]


@pytest.mark.parametrize("side", [0, 4, 10])
def test_unsupported_side_is_an_error(tiny: Synthesizer, side: int) -> None:
    with pytest.raises(OptionError, match=f"side {side} px is not supported; .* multiples of 4 px, at least 8 px"):
        sampler_inputs(tiny, side)
    assert sampler_inputs(tiny, 8)["labels"].shape == (1, 8, 8)


def test_deep_sampler_is_traced_with_a_larger_field(tiny: Synthesizer) -> None:
    network = tiny.config.network.model_copy(update={"downs": 6})
    deep = replace(tiny, config=tiny.config.model_copy(update={"network": network}), generator=Generator(network))
    inputs = sampler_inputs(deep)
    assert inputs["labels"].shape == (1, 128, 128)
    assert Sampler(deep.generator)(*inputs.values()).shape == (1, 3, 128, 128)


def test_missing_packages_are_an_error(tiny_folder: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(OptionError, match=r"onnx and onnxscript: pip install 'smearsynth\[export\]'"):
        export_sampler(Synthesizer.load(tiny_folder), tmp_path / "sampler.onnx")
    assert not list(tmp_path.iterdir())
