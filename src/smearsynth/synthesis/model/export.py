"""The sampler as an ONNX model: labels, styles and noise in, an image out, without PyTorch.

Inputs: ``labels`` (1, H, W) int64, ``channels_of`` (1, n + 1) int64 (0 for the background, class id + 1 for cells),
``styles`` (1, n + 1, S) float32, ``noise_0`` to ``noise_k`` (1, 1, h, w) float32 from coarse to fine,
and ``debris`` (1, H, W) bool for generators that are told of it. Output: ``image`` (1, 3, H, W) float32, RGB in
[-1, 1]. H, W and n are free; sides must be multiples of the grid, ``2 ** downs``, and at least twice the grid, for
reflection needs a neighbour. Pad labels of other sides with background and cut the image. The file says so itself.
"""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from smearsynth.errors import OptionError
from smearsynth.files import atomic_write
from smearsynth.runs import StopRequest
from smearsynth.synthesis.model.synthesizer import Synthesizer
from smearsynth.synthesis.networks.conditioning import condition, paint_styles
from smearsynth.synthesis.networks.generator import Generator, field_noise

_SIDE = 64  # px, of the field the sampler is traced with; twice the grid where that is more


class Sampler(nn.Module):
    """Condition, styles and generator as one module with tensors in and out.

    Parameters
    ----------
    generator : Generator
    """

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, labels: Tensor, channels_of: Tensor, styles: Tensor, *rest: Tensor) -> Tensor:
        """Paint (1, H, W) labels; `rest` is the noise, coarse to fine, then the debris where there is any."""
        downs, config = self.generator.downs, self.generator.config
        debris = rest[downs] if config.debris else None
        given = condition(labels, channels_of, len(config.class_names), debris)
        painted: Tensor = self.generator(given, paint_styles(styles, labels), rest[:downs])
        return painted


def side_rule(model: Synthesizer) -> str:
    """Which sides a field may have that the exported sampler paints.

    Examples
    --------
    >>> side_rule(Synthesizer.load("default"))
    'sides of fields: multiples of 8 px, 16 px at least'
    """
    grid = 1 << model.generator.downs
    return f"sides of fields: multiples of {grid} px, {2 * grid} px at least"


def sampler_inputs(model: Synthesizer, side: int | None = None, cells: int = 3, seed: int = 0) -> dict[str, Tensor]:
    """Inputs of the sampler by name, for a small square field with a few square cells.

    Raises
    ------
    OptionError
        When `side`, in px, is not one that the sampler paints.

    Examples
    --------
    >>> list(sampler_inputs(Synthesizer.load("default")))[:4]
    ['labels', 'channels_of', 'styles', 'noise_0']
    """
    draw = torch.Generator().manual_seed(seed)
    config = model.config.network
    grid = 1 << config.downs
    side = max(_SIDE, 2 * grid) if side is None else side
    if side % grid or side < 2 * grid:
        raise OptionError(f"a side of {side} px; {side_rule(model)}")
    labels = torch.zeros(1, side, side, dtype=torch.int64)
    for k in range(1, cells + 1):
        top, left = torch.randint(0, side * 3 // 4, (2,), generator=draw).tolist()
        labels[0, top : top + side // 4, left : left + side // 4] = k
    inputs = {
        "labels": labels,
        "channels_of": torch.tensor([[0] + [1 + k % len(config.class_names) for k in range(cells)]]),
        "styles": torch.rand(1, cells + 1, config.style_channels, generator=draw) * 2 - 1,
    }
    noise = field_noise(seed, config.downs, slice(0, side), slice(0, side), torch.device("cpu"))
    inputs |= {f"noise_{k}": level for k, level in enumerate(noise)}
    if config.debris:
        inputs["debris"] = torch.rand(labels.shape, generator=draw) < 0.02
    return inputs


def export_sampler(model: Synthesizer, path: Path) -> None:
    """Write the sampler of a model as one ONNX file.

    Parameters
    ----------
    model : Synthesizer
        On the CPU.
    path : Path

    Raises
    ------
    OptionError
        When the packages of the extra ``export`` are missing, or the model is not on the CPU.
    """
    missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        raise OptionError(f"ONNX export needs {' and '.join(missing)}: pip install 'smearsynth[export]'")
    if model.device.type != "cpu":
        raise OptionError("export from a model on the CPU: load it with device='cpu'")
    inputs = sampler_inputs(model)
    grid = 1 << model.generator.downs
    height, width = (torch.export.Dim(name, min=2, max=1 << 12) for name in ("rows", "columns"))
    cells = torch.export.Dim("cells", min=2, max=1 << 20)
    shapes: list[dict[int, object]] = []
    for name in inputs:
        if name.startswith("noise_"):
            finer = 1 << (1 + int(name.removeprefix("noise_")))
            shapes.append({2: finer * height, 3: finer * width})
        elif name in ("channels_of", "styles"):
            shapes.append({1: cells})
        else:
            shapes.append({1: grid * height, 2: grid * width})
    with atomic_write(path) as temporary:
        temporary.touch()  # told now that it cannot be written, not after the tracing
        # Ctrl-C amid the tracing ends as an error of the exporter
        with StopRequest() as stop, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter about its own parts
            program = torch.onnx.export(
                Sampler(model.generator).eval(),
                tuple(inputs.values()),
                dynamo=True,
                verbose=False,
                input_names=list(inputs),
                output_names=["image"],
                dynamic_shapes=(*shapes[:3], tuple(shapes[3:])),
            )
        if stop.asked:
            raise KeyboardInterrupt
        assert program is not None
        program.model.doc_string = side_rule(model)
        program.save(str(temporary), external_data=False)
