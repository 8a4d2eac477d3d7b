"""One training step: the update of D, the update of G and E, and the replay of both as a CUDA graph."""

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
from smearsynth.synthesis.training.losses import (
    discriminator_loss,
    generator_objective,
    gradient_penalty,
    label_loss,
)
from smearsynth.synthesis.training.state import TrainingState

Losses = dict[str, Tensor]

# The number of instances of a batch is padded to a multiple of this: few graphs, little wasted work.
_INSTANCE_MULTIPLE = 32
_WARMUP_STEPS = 3  # steps of each shape before its graph is recorded


class Step:
    """Update of all networks by one batch of crops.

    Parameters
    ----------
    state : TrainingState
    preset : Preset
    fabric : Fabric
        Device and precision.
    features : PerceptualFeatures or None
        Features of the perceptual loss.
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
            From `draw_noise`.

        Returns
        -------
        dict of str to scalar tensor
            Losses by name; the loss of D comes first.
        """
        state, config = self.state, self.config
        real, (regions, n, styles) = batch.image, batch.style_regions
        conditions = condition(batch.labels, batch.channels_of, self.n_classes, batch.debris)

        # x → G(x, E(x)) of equations 4 to 7
        with self.fabric.autocast():
            fake = state.translator(real, regions, conditions, noise, n, styles).float()
        # Input of D: without annotation no class, and augmented if the batch says so.
        d_conditions = conditions
        if batch.ignored is not None:
            # Real pixels in place of painted ones: no loss compares them, and G gets no gradient from them.
            fake = torch.where(batch.ignored[:, None], real, fake)
            d_conditions = self._without_class(conditions, batch.ignored)
        d_plain, d_real, d_fake = d_conditions, real, fake
        if batch.changes is not None:
            d_conditions, d_real = augment_for_discriminator(d_plain, real, batch.changes)
            d_fake = augment_for_discriminator(d_plain, fake, batch.changes)[1]

        # max over D of equation 5
        with self.fabric.autocast():
            both = state.discriminators(
                torch.cat([d_conditions, d_conditions]), torch.cat([d_real, d_fake.detach()])
            )
            out_real, out_fake = both.split()
            loss_d = discriminator_loss(out_real.scales, out_fake.scales, config.adversarial)
            if out_real.pixels is not None and out_fake.pixels is not None:
                loss_d = loss_d + label_loss(out_real.pixels, d_conditions, real=True)
                partial = batch.ignored is not None
                loss_d = loss_d + label_loss(out_fake.pixels, d_conditions, real=False, partial=partial)
            if config.r1:
                loss_d = loss_d + config.r1 * self._gradient_penalty(d_conditions, d_real)
        state.optimiser_d.zero_grad()
        self.fabric.backward(loss_d)
        state.optimiser_d.step()

        # min over G and E of equation 4; the features of the real images are those of the update of D
        state.discriminators.requires_grad_(False)
        with self.fabric.autocast():
            out_fake = state.discriminators(d_conditions, d_fake)
            terms = generator_objective(real, fake, d_conditions, (out_real, out_fake), self.features, config)
        state.optimiser_g.zero_grad()
        self.fabric.backward(sum(terms.values(), start=torch.zeros((), device=self.fabric.device)))
        state.optimiser_g.step()
        state.discriminators.requires_grad_(True)
        return {"discriminator": loss_d, **terms}

    def _without_class(self, conditions: Tensor, ignored: Tensor) -> Tensor:
        """Return the conditions with 0 in background and classes at ignored pixels."""
        planes = self.n_classes + 1
        classes = conditions[:, :planes].masked_fill(ignored[:, None], 0.0)
        return torch.cat([classes, conditions[:, planes:]], 1)

    def _gradient_penalty(self, conditions: Tensor, image: Tensor) -> Tensor:
        # A quarter of the crops regularises D well enough, and a second derivative is expensive.
        n = -(-len(image) // 4)
        subset = image[:n].detach().requires_grad_(True)
        output = self.state.discriminators(conditions[:n], subset)
        return gradient_penalty([scale[-1] for scale in output.scales], subset)


class _Recording(NamedTuple):
    graph: Any
    inputs: list[Tensor]
    losses: Losses


class GraphedStep:
    """A `Step` that is recorded as a CUDA graph once per shape and then replayed, without delays by Python.

    The recorded kernels are those of the step itself. The first steps of each shape run without a graph, as
    warm-up.

    Parameters
    ----------
    step : Step
        On a CUDA device; its optimisers must be capturable.
    """

    def __init__(self, step: Step) -> None:
        self.step = step
        self._counts: dict[tuple[torch.Size, ...], int] = {}
        self._recordings: dict[tuple[torch.Size, ...], _Recording] = {}
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, batch: CropBatch, noise: list[Tensor]) -> Losses:
        """Update the networks, as `Step`."""
        n = batch.channels_of.shape[1] - 1
        batch = batch.padded(-(-n // _INSTANCE_MULTIPLE) * _INSTANCE_MULTIPLE)
        inputs = [part for part in (*batch, *noise) if part is not None]
        shape = tuple(part.shape for part in inputs)
        if shape not in self._recordings:
            self._counts[shape] = self._counts.get(shape, 0) + 1
            if self._counts[shape] <= _WARMUP_STEPS:
                return self._run_on_side_stream(batch, noise)
            self._recordings[shape] = self._record(batch, noise)
        recording = self._recordings[shape]
        torch._foreach_copy_(recording.inputs, inputs)
        recording.graph.replay()
        return {name: loss.clone() for name, loss in recording.losses.items()}

    def _run_on_side_stream(self, batch: CropBatch, noise: list[Tensor]) -> Losses:
        # Recording needs a side stream on which the same work has run before.
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            losses = self.step(batch, noise)
        torch.cuda.current_stream().wait_stream(self._stream)
        return losses

    def _record(self, batch: CropBatch, noise: list[Tensor]) -> _Recording:
        batch = CropBatch(*(None if part is None else part.clone() for part in batch))  # type: ignore[arg-type]
        noise = [level.clone() for level in noise]
        for optimiser in (self.step.state.optimiser_g, self.step.state.optimiser_d):
            optimiser.zero_grad()
        graph = torch.cuda.CUDAGraph()
        # "thread_local": meanwhile the data loader pins memory in its own thread, which is not part of the step.
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
            losses = self.step(batch, noise)
        inputs = [part for part in (*batch, *noise) if part is not None]
        return _Recording(graph, inputs, {name: loss.detach() for name, loss in losses.items()})
