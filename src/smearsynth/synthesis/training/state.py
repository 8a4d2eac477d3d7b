"""The state of a training run: networks, average, optimisers, step."""

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
    """Encoder, instance pooling and generator as one module: real image and labels → synthesised image."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.encoder = Encoder(preset.network)
        self.generator = Generator(preset.network)

    def forward(
        self,
        image: Tensor,
        labels: Tensor,
        given: Tensor,
        noise: Sequence[Tensor],
        n: int,
        styles: Tensor | None = None,
    ) -> Tensor:
        """Reconstruct `image` from its labels (condition `given`, at most `n` instances) and its styles.

        The styles are encoded where none are given.
        """
        if styles is None:
            styles = pool_instances(self.encoder(image), labels, n)
        return self.generator(given, paint_styles(styles, labels), noise)  # type: ignore[no-any-return]


@dataclass
class TrainingState:
    """All that a training run is at one moment.

    Parameters
    ----------
    translator, discriminators : Module
        The networks that are trained.
    average : Translator
        Exponential moving average of the translator: what is kept.
    optimiser_g, optimiser_d : Adam
    step : int
        Steps done.
    pretrained : str, optional
        Hash of the model that the translator was at step 0; None where it was drawn at random.
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
        """The state before the first step; weights drawn from the seed."""
        draw = torch.Generator().manual_seed(preset.training.seed)
        translator, discriminators = Translator(preset), Discriminators(preset.network)
        for network in (translator.generator, translator.encoder, discriminators):
            initialise(network, draw)
        # as convolutions like their weights in memory, on a GPU and on a CPU
        for whole in (translator, discriminators):
            whole.to(memory_format=torch.channels_last)
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
        """Take the networks of an earlier stage; its kept encoder is the one whose styles go on."""
        self.translator.load_state_dict(earlier.translator.state_dict())
        self.translator.encoder.load_state_dict(earlier.average.encoder.state_dict())
        self.average.load_state_dict(earlier.average.state_dict())
        self.discriminators.load_state_dict(earlier.discriminators.state_dict())
