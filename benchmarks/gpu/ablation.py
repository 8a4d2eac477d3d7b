"""Compute one row of the ablation table: train a synthesizer and a segmenter on its smears.

    python benchmarks/gpu/ablation.py modulation gpu-data/chula /tmp/rows --network '{"modulation": true}'

Needs a folder with the splits train and test. Writes the model folder OUT/NAME and the results OUT/NAME.json: style
fidelity on test smears, and the Dice on test smears of a small U-Net trained on synthetic smears only (train on
synthetic, test on real), with the acquisition model (`acq`) and without it (`plain`). With `--real` the U-Net is
trained on the real train split.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smearsynth.datasets import open_smears
from smearsynth.generation.stream import SyntheticSmears
from smearsynth.smear import Smear
from smearsynth.synthesis.config import PRESETS, NetworkConfig, Preset, TrainingConfig
from smearsynth.synthesis.model.card import StyleFidelity
from smearsynth.synthesis.networks.features import load_features
from smearsynth.synthesis.training.loop import TrainingRun, fabric_for
from smearsynth.synthesis.training.pipeline import train_synthesizer

CROP, BATCH = 160, 6  # of the U-Net


class UNet(nn.Module):
    """A U-Net with three downsampling layers, group normalisation and one logit per pixel."""

    def __init__(self, n: int = 16) -> None:
        super().__init__()

        def block(inputs: int, outputs: int) -> nn.Module:
            convs = (nn.Conv2d(inputs, outputs, 3, padding=1), nn.Conv2d(outputs, outputs, 3, padding=1))
            return nn.Sequential(*(m for conv in convs for m in (conv, nn.GroupNorm(4, outputs), nn.ReLU())))

        widths = [3, n, 2 * n, 4 * n, 8 * n]
        self.down = nn.ModuleList(block(widths[k], widths[k + 1]) for k in range(4))
        self.up = nn.ModuleList(block(widths[k + 1] + widths[k], widths[k]) for k in (3, 2, 1))
        self.last = nn.Conv2d(n, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 3, H, W), with sides that are multiples of 8, to (B, 1, H, W) logits."""
        skips: list[Tensor] = []
        for k, layer in enumerate(self.down):
            x = layer(F.max_pool2d(x, 2) if k else x)
            skips.append(x)
        skips.pop()
        for layer in self.up:
            x = layer(torch.cat([F.interpolate(x, scale_factor=2.0), skips.pop()], 1))
        return self.last(x)


def as_tensor(image: np.ndarray, device: str) -> Tensor:
    """Return a uint8 image as a float tensor in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(image)).to(device).float() / 127.5 - 1


def fit(smears: Sequence[Smear], seed: int, steps: int, colour: bool, device: str) -> UNet:
    """Train a U-Net with the Dice loss; `colour` augments every crop by random gain, shift and noise."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = UNet().to(device)
    optimiser = torch.optim.Adam(network.parameters(), 2e-3)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = 2e-3 * min(1.0, 2 * (1 - step / steps))
        crops = []
        for _ in range(BATCH):
            smear = smears[int(rng.integers(len(smears)))]
            top, left = (int(rng.integers(side - CROP + 1)) for side in smear.shape)
            flip_y, flip_x = rng.choice([-1, 1], 2)
            window = np.s_[top : top + CROP, left : left + CROP]
            crops.append((smear.image[window][::flip_y, ::flip_x], (smear.labels[window] > 0)[::flip_y, ::flip_x]))
        x = as_tensor(np.stack([image for image, _ in crops]), device).permute(0, 3, 1, 2)
        target = torch.from_numpy(np.stack([mask for _, mask in crops])).to(device)[:, None].float()
        if colour:
            shape = (BATCH, 3, 1, 1)
            gain, shift, noise = (
                torch.from_numpy(rng.uniform(low, high, size).astype(np.float32)).to(device)
                for low, high, size in ((0.7, 1.3, shape), (-0.3, 0.3, shape), (0, 0.08, (BATCH, 1, 1, 1)))
            )
            x = x * gain + shift + noise * torch.randn_like(x)
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            prediction = torch.sigmoid(network(x).float())
        loss = 1 - (2 * (prediction * target).sum() + 1) / (prediction.sum() + target.sum() + 1)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network


@torch.inference_mode()
def dice(network: UNet, smears: Sequence[Smear], device: str) -> list[float]:
    """Return the Dice of the cell mask of each smear."""
    scores = []
    for smear in smears:
        height, width = smear.shape
        x = as_tensor(smear.image, device).permute(2, 0, 1)[None]
        x = F.pad(x, (0, -width % 8, 0, -height % 8), mode="reflect")
        prediction = (network(x)[0, 0, :height, :width] > 0).cpu().numpy()
        target = smear.labels > 0
        scores.append(2 * int((prediction & target).sum()) / max(int(prediction.sum() + target.sum()), 1))
    return scores


def evaluate(smears: Sequence[Smear], test: Sequence[Smear], arm: str, options: argparse.Namespace) -> list[dict]:
    """Return the Dice of U-Nets trained on smears, with and without colour augmentation, for each seed."""
    rows = []
    for seed in range(options.seeds):
        for colour in (False, True):
            scores = dice(fit(smears, seed, options.fit, colour, options.device), test, options.device)
            rows.append({"arm": arm, "seed": seed, "colour": colour, "dice": float(np.mean(scores))})
            print(json.dumps(rows[-1]), flush=True)
    return rows


def train(options: argparse.Namespace, smears: Sequence[Smear], test: Sequence[Smear]) -> dict:
    """Train a synthesizer and return its style fidelity and the Dice of U-Nets trained on its smears."""
    base = PRESETS["gpu"]
    settings = {
        "steps": options.steps,
        "batch": 8,
        "crop": (192, 192),
        "discriminator_rate": 2.0,
        "discriminator_augmentation": 0.0,
        "stain_augmentation": 0.0,
    }
    plain_network = {"padding": "reflect", "debris": False, "modulation": False, "label_discriminator": False}
    precision = "bf16" if options.device == "cuda" else "fp32"
    training = {**base.training.model_dump(), **settings, "precision": precision, **json.loads(options.training)}
    network = {**base.network.model_dump(), **plain_network, **json.loads(options.network)}
    row_preset = Preset(network=NetworkConfig(**network), training=TrainingConfig(**training))
    fabric = fabric_for(options.device, precision)
    run = TrainingRun(options.out / options.name, fabric, workers=2 if options.device == "cuda" else 0)
    subset = smears[: options.limit]
    model = train_synthesizer(
        subset, row_preset, run, features=load_features(row_preset.training.perceptual_features)
    )
    assert model is not None
    fidelity = StyleFidelity.measure(model.to(options.device), test[:36])
    figures: dict = {"correlation": float(fidelity.correlation.min()), "error": float(fidelity.error.mean())}
    print(json.dumps(figures), flush=True)
    figures["tstr"] = []
    for arm, arm_model in (("acq", model), ("plain", replace(model, acquisition=None))):
        stream = SyntheticSmears(arm_model, seed=77)
        figures["tstr"] += evaluate([stream[k] for k in range(len(smears))], test, arm, options)
    return figures


def main() -> None:
    """Train and evaluate one row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--network", default="{}", help="network settings as JSON")
    parser.add_argument("--training", default="{}", help="training settings as JSON")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--limit", type=int, help="number of smears to train the synthesizer on (default all)")
    parser.add_argument("--steps", type=int, default=1300)
    parser.add_argument("--fit", type=int, default=300, help="training steps of each U-Net (default 300)")
    parser.add_argument("--seeds", type=int, default=2, help="number of U-Nets per arm (default 2)")
    parser.add_argument("--test", type=int, default=48)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--real", action="store_true", help="train the U-Nets on the real train split")
    options = parser.parse_args()
    smears, test = (
        open_smears(options.data, split=split, classes="one", scale=options.scale, cache_mb=2000)
        for split in ("train", "test")
    )
    test = list(test[: options.test])
    figures = {"tstr": evaluate(smears, test, "real", options)} if options.real else train(options, smears, test)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"{options.name}.json").write_text(json.dumps({"name": options.name, **figures}, indent=1))


if __name__ == "__main__":
    main()
