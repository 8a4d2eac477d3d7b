"""State of a training run: networks, averaged weights, optimisers and step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from smearsynth.synthesis.config import Preset
from smearsynth.synthesis.networks.conditioning import paint_styles, pool_instances
from smearsynth.synthesis.networks.discriminators import Discriminators
from smearsynth.synthesis.networks.generator import Encoder, Generator, initialise


class Translator(nn.Module):
    """Encoder, instance pooling and generator as one module, from real image and labels to synthetic image."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.encoder = Encoder(preset.network)
        self.generator = Generator(preset.network)

    def forward(
        self,
        image: Tensor,
        labels: Tensor,
        conditions: Tensor,
        noise: Sequence[Tensor],
        n: int,
        styles: Tensor | None = None,
    ) -> Tensor:
        """Reconstruct an image from its labels and styles.

        Parameters
        ----------
        image : (B, 3, H, W) float tensor
            RGB in [-1, 1].
        labels : (B, H, W) int tensor
        conditions : (B, C, H, W) float tensor
            From `condition`.
        noise : sequence of tensors
            From `draw_noise`.
        n : int
            Largest number of instances of an image.
        styles : (B, n + 1, S) float tensor, optional
            Default: the styles of `image` by the encoder.
        """
        if styles is None:
            styles = pool_instances(self.encoder(image), labels, n)
        return self.generator(conditions, paint_styles(styles, labels), noise)  # type: ignore[no-any-return]


@dataclass
class TrainingState:
    """Complete state of a training run after a step.

    Parameters
    ----------
    translator, discriminators : Module
        Networks that are trained.
    average : Translator
        Exponential moving average of the translator, which becomes the model.
    optimiser_g, optimiser_d : Adam
    step : int
        Number of completed steps.
    pretrained : str, optional
        Hash of the model that initialised the translator; None for random weights.
    """

    translator: Translator
    discriminators: Discriminators
    average: Translator
    optimiser_g: torch.optim.Adam
    optimiser_d: torch.optim.Adam
    step: int = 0
    pretrained: str | None = None

    @classmethod
    def fresh(cls, preset: Preset) -> TrainingState:
        """Return the state before the first step, with random weights from the seed."""
        draw = torch.Generator().manual_seed(preset.training.seed)
        translator, discriminators = Translator(preset), Discriminators(preset.network)
        for network in (translator.generator, translator.encoder, discriminators):
            initialise(network, draw)
        # The memory format in which convolutions are fastest, on GPU and CPU.
        for module in (translator, discriminators):
            module.to(memory_format=torch.channels_last)
        average = Translator(preset).requires_grad_(False)
        average.load_state_dict(translator.state_dict())
        return cls(
            translator,
            discriminators,
            average,
            torch.optim.Adam(translator.parameters(), lr=0.0, betas=(0.5, 0.999), fused=True),
            torch.optim.Adam(discriminators.parameters(), lr=0.0, betas=(0.5, 0.999), fused=True),
        )

    def continue_from(self, earlier: TrainingState) -> None:
        """Copy the networks of an earlier stage; the encoder is the averaged one, which encoded the styles."""
        self.translator.load_state_dict(earlier.translator.state_dict())
        self.translator.encoder.load_state_dict(earlier.average.encoder.state_dict())
        self.average.load_state_dict(earlier.average.state_dict())
        self.discriminators.load_state_dict(earlier.discriminators.state_dict())
