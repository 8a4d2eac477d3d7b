"""One training step: the update of D and of G and E, and its replay as a CUDA graph."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from lightning_fabric import Fabric
from torch import Tensor

from smearsynth.synthesis.config import Preset
from smearsynth.synthesis.networks.conditioning import condition
from smearsynth.synthesis.networks.features import PerceptualFeatures
from smearsynth.synthesis.training.crops import CropBatch
from smearsynth.synthesis.training.discriminator_augment import augment_for_discriminator
from smearsynth.synthesis.training.losses import discriminator_loss, generator_objective, label_loss, slope_penalty
from smearsynth.synthesis.training.state import TrainingState

Losses = dict[str, Tensor]

_ROOM = 32  # instances to which batches are filled up for a graph: few graphs, little work in vain
_WARM_UP = 3  # steps of every shape before its graph is recorded


class Step:
    """The update of all networks by one batch of crops.

    Parameters
    ----------
    state : TrainingState
    preset : Preset
    fabric : Fabric
        Device and precision.
    features : PerceptualFeatures or None
        For the perceptual loss.
    """

    def __init__(
        self, state: TrainingState, preset: Preset, fabric: Fabric, features: PerceptualFeatures | None
    ) -> None:
        self.state, self.config, self.fabric, self.features = state, preset.training, fabric, features
        self.n_classes = len(preset.network.class_names)
        fabric.to_device(state.translator)
        fabric.to_device(state.discriminators)

    def __call__(self, batch: CropBatch, noise: list[Tensor]) -> Losses:
        """Update the networks.

        Parameters
        ----------
        batch : CropBatch
        noise : list of tensors
            As `draw_noise` gives it.

        Returns
        -------
        dict of str to scalar tensor
            The losses by name, that of D first.
        """
        state, config, n = self.state, self.config, batch.channels_of.shape[1] - 1
        real = batch.image
        given = condition(batch.labels, batch.channels_of, self.n_classes, batch.debris)

        # x → G(x, E(x)) of equations 4 to 7
        with self.fabric.autocast():
            fake = state.translator(real, batch.labels, given, noise, n, batch.styles).float()
        seen, seen_real, seen_fake = given, real, fake
        if batch.changes is not None:
            seen, seen_real = augment_for_discriminator(given, real, batch.changes)
            seen_fake = augment_for_discriminator(given, fake, batch.changes)[1]

        # max over D of equation 5
        with self.fabric.autocast():
            both = state.discriminators(torch.cat([seen, seen]), torch.cat([seen_real, seen_fake.detach()]))
            of_real, of_fake = both.split()
            loss_d = discriminator_loss(of_real.scales, of_fake.scales, config.adversarial)
            if of_real.pixels is not None and of_fake.pixels is not None:
                loss_d = loss_d + label_loss(of_real.pixels, seen, real=True)
                loss_d = loss_d + label_loss(of_fake.pixels, seen, real=False)
            if config.r1:
                loss_d = loss_d + config.r1 * self._slope(seen, seen_real)
        state.optimiser_d.zero_grad()
        self.fabric.backward(loss_d)
        state.optimiser_d.step()

        # min over G and E of equation 4; the real features are those of the step above
        state.discriminators.requires_grad_(False)
        with self.fabric.autocast():
            of_fake = state.discriminators(seen, seen_fake)
            terms = generator_objective(real, fake, seen, (of_real, of_fake), self.features, config)
        state.optimiser_g.zero_grad()
        self.fabric.backward(sum(terms.values(), start=torch.zeros((), device=self.fabric.device)))
        state.optimiser_g.step()
        state.discriminators.requires_grad_(True)
        return {"discriminator": loss_d, **terms}

    def _slope(self, seen: Tensor, image: Tensor) -> Tensor:
        # a quarter of the crops is enough to hold D, and a second derivative is dear
        part = -(-len(image) // 4)
        held = image[:part].detach().requires_grad_(True)
        judged = self.state.discriminators(seen[:part], held)
        return slope_penalty([scale[-1] for scale in judged.scales], held)


class _Recorded(NamedTuple):
    graph: Any
    inputs: list[Tensor]
    losses: Losses


class GraphedStep:
    """A step that is recorded once per shape and then replayed: a GPU is not kept waiting for Python.

    The recorded kernels are those of the step itself. The first steps of every shape run one by one, to warm up.

    Parameters
    ----------
    step : Step
        On a CUDA device; its optimisers must be capturable.
    """

    def __init__(self, step: Step) -> None:
        self.step = step
        self._seen: dict[tuple[torch.Size, ...], int] = {}
        self._recorded: dict[tuple[torch.Size, ...], _Recorded] = {}
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, batch: CropBatch, noise: list[Tensor]) -> Losses:
        """As `Step`."""
        n = batch.channels_of.shape[1] - 1
        batch = batch.padded(-(-n // _ROOM) * _ROOM)
        present = [part for part in (*batch, *noise) if part is not None]
        shape = tuple(part.shape for part in present)
        if shape not in self._recorded:
            self._seen[shape] = self._seen.get(shape, 0) + 1
            if self._seen[shape] <= _WARM_UP:
                return self._aside(batch, noise)
            self._recorded[shape] = self._record(batch, noise)
        recorded = self._recorded[shape]
        torch._foreach_copy_(recorded.inputs, present)
        recorded.graph.replay()
        return {name: loss.clone() for name, loss in recorded.losses.items()}

    def _aside(self, batch: CropBatch, noise: list[Tensor]) -> Losses:
        # recording wants a side stream that has seen the work before
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            losses = self.step(batch, noise)
        torch.cuda.current_stream().wait_stream(self._stream)
        return losses

    def _record(self, batch: CropBatch, noise: list[Tensor]) -> _Recorded:
        own = CropBatch(*(None if part is None else part.clone() for part in batch))  # type: ignore[arg-type]
        grains = [level.clone() for level in noise]
        for optimiser in (self.step.state.optimiser_g, self.step.state.optimiser_d):
            optimiser.zero_grad()
        graph = torch.cuda.CUDAGraph()
        # readers pin memory meanwhile, in a thread of their own: that is no part of the step
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
            losses = self.step(own, grains)
        inputs = [part for part in (*own, *grains) if part is not None]
        return _Recorded(graph, inputs, {name: loss.detach() for name, loss in losses.items()})
