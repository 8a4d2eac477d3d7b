"""Compare the speed of smearsynth with that of pix2pixHD.

    python benchmarks/reference.py PIX2PIXHD [--json] [--rounds N] [--only step|sampling]

PIX2PIXHD is a copy of https://github.com/NVIDIA/pix2pixHD. It is imported unchanged and runs on the CPU in the same
process, alternating with smearsynth; times are medians of processor time. Both have the same filters, downsampling
layers, residual blocks, style channels, layers of D and losses: adversarial (least squares) and feature matching,
no perceptual loss.

* step: a training step of G, E and D on one crop of 256×256 px with 30 cells, one Adam step of each.
* sampling: styles of all instances from image and labels, then the image, at 1920×1200 px with 669 cells.

Our encoder downsamples once. That of pix2pixHD downsamples --encoder-downs times (1 as ours; its default is 4).
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
    """A crop or field: labels (H, W) int32 with all values from 0 to n, and an image (H, W, 3) uint8."""

    labels: np.ndarray
    image: np.ndarray

    @property
    def count(self) -> int:
        """Number of cells."""
        return int(self.labels.max())


def disc_field(size: tuple[int, int], cells: int, radius: int) -> Field:
    """Return a field with discs on a jittered grid, none hidden, and noise as the image."""
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


def load_pix2pixhd(path: Path, network: NetworkConfig, encoder_downs: int) -> Any:
    """Return the model of pix2pixHD with our layer sizes; its CUDA calls are replaced by CPU calls."""
    sys.path.insert(0, str(path))
    for kind in ("FloatTensor", "ByteTensor"):
        setattr(torch.cuda, kind, getattr(torch, kind))
    torch.Tensor.cuda = lambda tensor, *_, **__: tensor  # type: ignore[assignment]
    import models.pix2pixHD_model as pix2pixhd  # type: ignore[import-not-found]

    # PyTorch no longer has `volatile`; `no_grad` replaces it
    pix2pixhd.Variable = lambda tensor, **_: tensor
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
    model = pix2pixhd.Pix2PixHDModel()
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its layers
        model.initialize(options)
    return model


def as_tensors(field: Field) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return class map, instance map and image as the data loader of pix2pixHD does."""
    labels = torch.from_numpy(field.labels)[None, None]
    image = torch.from_numpy(field.image).permute(2, 0, 1)[None].float() / 127.5 - 1
    return (labels > 0).float(), labels, image


def pix2pixhd_step(model: Any, field: Field) -> Callable[[], object]:
    """Return a training step as in the training script of pix2pixHD."""
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


def smearsynth_step(network: NetworkConfig, field: Field) -> Callable[[], object]:
    """Return a training step as in `smearsynth train`, including the noise."""
    training = TrainingConfig(crop=field.labels.shape, perceptual_features="none", colour=0.0)  # type: ignore[arg-type]
    preset = Preset(network=network, training=training)
    state = TrainingState.fresh(preset)
    for optimiser in (state.optimiser_g, state.optimiser_d):
        optimiser.param_groups[0]["lr"] = RATE
    step = Step(state, preset, fabric_for("cpu", "fp32"), None)
    channels = torch.ones(1, field.count + 1, dtype=torch.long)
    channels[:, 0] = 0
    batch = CropBatch(torch.from_numpy(field.image)[None], torch.from_numpy(field.labels)[None], channels)
    generator = torch.Generator().manual_seed(0)
    return lambda: step(batch, draw_noise((1, *field.labels.shape), network.downs, generator))


def pix2pixhd_sampling(model: Any, field: Field) -> Callable[[], object]:
    """Return encoder, pooling by a loop over the instances, and generator of pix2pixHD."""
    classes, labels, image = as_tensors(field)

    def sample() -> None:
        with torch.no_grad():
            model.inference(classes, labels, image)

    return sample


def smearsynth_sampling(network: NetworkConfig, field: Field) -> Callable[[], object]:
    """Return encoder, pooling and generator as in `Synthesizer.repaint`."""
    networks = TrainingState.fresh(Preset(network=network)).average.eval()
    classes = np.zeros(field.count, np.int64)

    def sample() -> None:
        styles = encode_field(networks.encoder, field.image, field.labels, field.count)
        paint_field(networks.generator, field.labels, classes, styles, 0)

    return sample


def compare(ours: Callable[[], object], theirs: Callable[[], object], rounds: int) -> dict[str, float]:
    """Call both alternately and return their median times in seconds and the ratio per round, after a warm-up.

    Processor time summed over threads depends little on other work on the machine.
    """
    times: list[list[float]] = []
    for _ in range(rounds + 1):
        pair = []
        for call in (ours, theirs):
            started = time.process_time()
            call()
            pair.append(time.process_time() - started)
        times.append(pair)
    rounds_after_warmup = times[1:]
    our_median, their_median = (statistics.median(column) for column in zip(*rounds_after_warmup, strict=True))
    ratios = sorted(theirs_s / ours_s for ours_s, theirs_s in rounds_after_warmup)
    return {
        "ours_s": our_median,
        "theirs_s": their_median,
        "ratio": statistics.median(ratios),
        "ratio_low": ratios[0],
        "ratio_high": ratios[-1],
    }


def main() -> None:
    """Run the comparison and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, metavar="PIX2PIXHD")
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--rounds", type=int, default=15, help="rounds of the step (default 15); sampling has a fifth of them"
    )
    parser.add_argument("--only", choices=("step", "sampling"), help="part to measure (default both)")
    parser.add_argument("--encoder-downs", type=int, default=1, help="downsampling layers of their encoder")
    options = parser.parse_args()
    figures: dict[str, object] = {
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "versions": f"python {platform.python_version()}, torch {torch.__version__}",
        "encoder_downs": options.encoder_downs,
    }
    crop, field = disc_field((256, 256), 30, 19), disc_field((1200, 1920), 669, 23)
    for name, network in SETTINGS.items():
        pix2pixhd = load_pix2pixhd(options.path.resolve(), network, options.encoder_downs)
        results = {}
        if options.only != "sampling":
            results["step"] = compare(
                smearsynth_step(network, crop), pix2pixhd_step(pix2pixhd, crop), options.rounds
            )
        if options.only != "step":
            pair = smearsynth_sampling(network, field), pix2pixhd_sampling(pix2pixhd, field)
            results["sampling"] = compare(*pair, max(1, options.rounds // 5))
        for part, row in results.items():
            figures |= {f"{name}_{part}_{key}": value for key, value in row.items()}
            print(
                f"{name:6} {part:9} smearsynth {row['ours_s']:.3f} s, pix2pixHD {row['theirs_s']:.3f} s, ratio "
                f"{row['ratio']:.2f} ({row['ratio_low']:.2f} to {row['ratio_high']:.2f})",
                flush=True,
            )
    if options.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
