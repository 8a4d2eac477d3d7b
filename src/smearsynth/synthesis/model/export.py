"""Export of the sampler as an ONNX model, which generates images from labels, styles and noise without PyTorch.

Inputs: ``labels`` (1, H, W) int64, ``channels_of`` (1, n + 1) int64 (0 for the background, class id + 1 for cells),
``styles`` (1, n + 1, S) float32, ``noise_0`` to ``noise_k`` (1, 1, h, w) float32 from coarse to fine, and
``debris`` (1, H, W) bool if the generator has a debris channel. Output: ``image`` (1, 3, H, W) float32, RGB in [-1,
1].

H, W and n are variable. H and W must be multiples of ``2 ** downs`` and at least twice that, because padding by
reflection needs a neighbour. Pad other labels with background and crop the image. The file contains this rule, too.
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
from smearsynth.synthesis.networks.generator import Generator
from smearsynth.synthesis.networks.noise import field_noise

_SIDE = 64  # side of the traced field, px; twice the grid if that is more


class Sampler(nn.Module):
    """Conditioning, style painting and generator as one module.

    Parameters
    ----------
    generator : Generator
    """

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, labels: Tensor, channels_of: Tensor, styles: Tensor, *rest: Tensor) -> Tensor:
        """Generate the image of (1, H, W) labels; `rest` is the noise from coarse to fine, then any debris."""
        downs, config = self.generator.downs, self.generator.config
        debris = rest[downs] if config.debris else None
        conditions = condition(labels, channels_of, len(config.class_names), debris)
        image: Tensor = self.generator(conditions, paint_styles(styles, labels), rest[:downs])
        return image


def side_rule(model: Synthesizer) -> str:
    """Return a description of the field sizes that the exported sampler supports.

    Examples
    --------
    >>> side_rule(Synthesizer.load("default"))
    'height and width: multiples of 8 px, at least 16 px'
    """
    grid = 1 << model.generator.downs
    return f"height and width: multiples of {grid} px, at least {2 * grid} px"


def sampler_inputs(model: Synthesizer, side: int | None = None, cells: int = 3, seed: int = 0) -> dict[str, Tensor]:
    """Return inputs of the sampler by name, for a square field with square cells and random styles.

    Parameters
    ----------
    model : Synthesizer
    side : int, optional
        Side of the field, px. Default: 64, or the smallest supported side if that is larger.
    cells : int
        Number of cells.
    seed : int

    Raises
    ------
    OptionError
        If the sampler does not support `side`.

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
        raise OptionError(f"side {side} px is not supported; {side_rule(model)}")
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
    """Write the sampler of a model to an ONNX file.

    Parameters
    ----------
    model : Synthesizer
        On the CPU.
    path : Path

    Raises
    ------
    OptionError
        If the packages of the extra ``export`` are not installed, or the model is not on the CPU.
    """
    missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        raise OptionError(f"ONNX export needs {' and '.join(missing)}: pip install 'smearsynth[export]'")
    if model.device.type != "cpu":
        raise OptionError("ONNX export needs a model on the CPU; load it with device='cpu'")
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
        temporary.touch()  # an unwritable path is reported before tracing, which takes a minute
        # Without StopRequest, Ctrl-C during tracing becomes an error of the exporter.
        with StopRequest() as stop, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter warns about its own internals
            program = torch.onnx.export(
                Sampler(model.generator).eval(),
                tuple(inputs.values()),
                dynamo=True,
                verbose=False,
                input_names=list(inputs),
                output_names=["image"],
                dynamic_shapes=(*shapes[:3], tuple(shapes[3:])),
            )
        if stop.requested:
            raise KeyboardInterrupt
        assert program is not None
        program.model.doc_string = side_rule(model)
        program.save(str(temporary), external_data=False)
