"""Beside the reference: python benchmarks/reference.py PIX2PIXHD [--json] [--rounds N] [--only step|sampling].

PIX2PIXHD is a copy of https://github.com/NVIDIA/pix2pixHD, which is imported as it stands and runs on the CPU, one
process, ours and theirs in turn; medians of processor time. Both have the same filters, halvings, residual blocks,
style channels, layers of D, and losses: adversarial (least squares) and feature matching, no perceptual features.

* a training step of G, E and D: one crop of 256×256 px with 30 cells, one Adam step of each.
* sampling with style pooling at 1920×1200 px and 669 cells: image and labels → styles of the instances → image.

The encoders differ by design where the reference allows it: ours halves the resolution once, theirs as often as
--encoder-downs says (1, as ours; its default is 4).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch

from smearsynth.synthesis.config import NetworkConfig, Preset, TrainingConfig
from smearsynth.synthesis.model.tiling import encode_field, paint_field
from smearsynth.synthesis.networks.noise import draw_noise
from smearsynth.synthesis.training.crops import CropBatch
from smearsynth.synthesis.training.loop import fabric_for
from smearsynth.synthesis.training.state import TrainingState
from smearsynth.synthesis.training.step import Step

SETTINGS = {
    "small": NetworkConfig(),
    "paper": NetworkConfig(style_channels=3, downs=4, blocks=9),
}
RATE = 2e-4


class Field(NamedTuple):
    """One crop or field: labels (H, W) int32, 1 to n all present, and an image (H, W, 3) uint8."""

    labels: np.ndarray
    image: np.ndarray

    @property
    def count(self) -> int:
        """Number of cells."""
        return int(self.labels.max())


def discs(size: tuple[int, int], cells: int, radius: int) -> Field:
    """Discs on a jittered grid, none hidden; noise for the image (its content does not matter for the speed)."""
    rng = np.random.default_rng(0)
    labels = np.zeros(size, np.int32)
    columns = round((cells * size[1] / size[0]) ** 0.5)
    rows = -(-cells // columns)
    y, x = np.ogrid[: 2 * radius, : 2 * radius]
    disc = (y - radius) ** 2 + (x - radius) ** 2 < radius**2
    for k in range(cells):
        top = min(size[0] - 2 * radius, size[0] * (k // columns) // rows + int(rng.integers(4)))
        left = min(size[1] - 2 * radius, size[1] * (k % columns) // columns + int(rng.integers(4)))
        labels[top : top + 2 * radius, left : left + 2 * radius][disc] = k + 1
    assert len(np.unique(labels)) == cells + 1
    return Field(labels, rng.integers(0, 255, (*size, 3), np.uint8))


def reference(path: Path, network: NetworkConfig, encoder_downs: int) -> Any:
    """The reference's model, built with our sizes, its calls of CUDA answered by the CPU."""
    sys.path.insert(0, str(path))
    for kind in ("FloatTensor", "ByteTensor"):
        setattr(torch.cuda, kind, getattr(torch, kind))
    torch.Tensor.cuda = lambda tensor, *_, **__: tensor  # type: ignore[assignment]
    import models.pix2pixHD_model as theirs  # type: ignore[import-not-found]

    # PyTorch has dropped `volatile`; `no_grad` is what it stood for
    theirs.Variable = lambda tensor, **_: tensor
    options = SimpleNamespace(
        **dict.fromkeys(("no_instance", "label_feat", "load_features", "no_lsgan", "no_ganFeat_loss"), False),
        **dict.fromkeys(("continue_train", "verbose"), False),
        **dict.fromkeys(("isTrain", "instance_feat", "no_vgg_loss", "use_encoded_image"), True),
        **dict.fromkeys(("n_local_enhancers", "n_blocks_local", "pool_size", "niter_fix_global"), 0),
        **dict.fromkeys(("name", "checkpoints_dir", "load_pretrain"), ""),
        gpu_ids=[],
        resize_or_crop="none",
        label_nc=len(network.class_names) + 1,
        output_nc=3,
        data_type=32,
        netG="global",
        norm="instance",
        ngf=network.filters,
        n_downsample_global=network.downs,
        n_blocks_global=network.blocks,
        feat_num=network.style_channels,
        nef=network.filters,
        n_downsample_E=encoder_downs,
        ndf=network.discriminator_filters,
        n_layers_D=network.discriminator_layers,
        num_D=network.discriminator_scales,
        lambda_feat=10.0,
        lr=RATE,
        beta1=0.5,
    )
    model = theirs.Pix2PixHDModel()
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its networks
        model.initialize(options)
    return model


def as_tensors(field: Field) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Class map, instance map and image as the reference's loader gives them."""
    labels = torch.from_numpy(field.labels)[None, None]
    image = torch.from_numpy(field.image).permute(2, 0, 1)[None].float() / 127.5 - 1
    return (labels > 0).float(), labels, image


def their_step(model: Any, field: Field) -> Callable[[], object]:
    """A step as the reference's training script does it."""
    classes, labels, image = as_tensors(field)

    def step() -> None:
        adversarial, matching, real, fake = model(classes, labels, image, None)[0]
        model.optimizer_G.zero_grad()
        (adversarial + matching).backward()
        model.optimizer_G.step()
        model.optimizer_D.zero_grad()
        (0.5 * (real + fake)).backward()
        model.optimizer_D.step()

    return step


def our_step(network: NetworkConfig, field: Field) -> Callable[[], object]:
    """A step of `smearsynth train`, noise included."""
    training = TrainingConfig(crop=field.labels.shape, perceptual_features="none", colour=0.0)  # type: ignore[arg-type]
    preset = Preset(network=network, training=training)
    state = TrainingState.fresh(preset)
    for optimiser in (state.optimiser_g, state.optimiser_d):
        optimiser.param_groups[0]["lr"] = RATE
    step = Step(state, preset, fabric_for("cpu", "fp32"), None)
    channels = torch.ones(1, field.count + 1, dtype=torch.long)
    channels[:, 0] = 0
    batch = CropBatch(torch.from_numpy(field.image)[None], torch.from_numpy(field.labels)[None], channels)
    draw = torch.Generator().manual_seed(0)
    return lambda: step(batch, draw_noise((1, *field.labels.shape), network.downs, draw))


def their_sampling(model: Any, field: Field) -> Callable[[], object]:
    """Encoder, its loop over the instances, generator."""
    classes, labels, image = as_tensors(field)

    def sample() -> None:
        with torch.no_grad():
            model.inference(classes, labels, image)

    return sample


def our_sampling(network: NetworkConfig, field: Field) -> Callable[[], object]:
    """Encoder, pooling, generator, as `Synthesizer.repaint` does it."""
    both = TrainingState.fresh(Preset(network=network)).average.eval()
    classes = np.zeros(field.count, np.int64)

    def sample() -> None:
        styles = encode_field(both.encoder, field.image, field.labels, field.count)
        paint_field(both.generator, field.labels, classes, styles, 0)

    return sample


def in_turn(ours: Callable[[], object], theirs: Callable[[], object], rounds: int) -> dict[str, float]:
    """Median seconds of either, and of their ratio round by round, after one that is not counted.

    Processor time, summed over threads: other work on the machine hardly counts.
    """
    times: list[list[float]] = []
    for _ in range(rounds + 1):
        row = []
        for call in (ours, theirs):
            started = time.process_time()
            call()
            row.append(time.process_time() - started)
        times.append(row)
    counted = times[1:]
    a, b = (statistics.median(column) for column in zip(*counted, strict=True))
    ratios = sorted(theirs / ours for ours, theirs in counted)
    return {
        "ours_s": a,
        "theirs_s": b,
        "ratio": statistics.median(ratios),
        "ratio_low": ratios[0],
        "ratio_high": ratios[-1],
    }


def main() -> None:
    """Measure all and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, metavar="PIX2PIXHD")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=15, help="of the step; a fifth as many of the sampling")
    parser.add_argument("--only", choices=("step", "sampling"))
    parser.add_argument("--encoder-downs", type=int, default=1)
    options = parser.parse_args()
    figures: dict[str, object] = {
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "versions": f"python {platform.python_version()}, torch {torch.__version__}",
        "encoder_downs": options.encoder_downs,
    }
    crop, field = discs((256, 256), 30, 19), discs((1200, 1920), 669, 23)
    for name, network in SETTINGS.items():
        theirs = reference(options.path.resolve(), network, options.encoder_downs)
        found = {}
        if options.only != "sampling":
            found["step"] = in_turn(our_step(network, crop), their_step(theirs, crop), options.rounds)
        if options.only != "step":
            pair = our_sampling(network, field), their_sampling(theirs, field)
            found["sampling"] = in_turn(*pair, max(1, options.rounds // 5))
        for what, row in found.items():
            figures |= {f"{name}_{what}_{key}": value for key, value in row.items()}
            print(
                f"{name:6} {what:9} ours {row['ours_s']:.3f} s, theirs {row['theirs_s']:.3f} s, theirs / ours "
                f"{row['ratio']:.2f} ({row['ratio_low']:.2f} to {row['ratio_high']:.2f})",
                flush=True,
            )
    if options.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
