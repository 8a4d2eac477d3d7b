"""Training of generator, encoder and discriminators: one visible loop over explicit state.

Everything random is drawn from (seed, step), and the state on disk holds step, weights, moments and average:
an interrupted run continues where it stopped, bit-identically on the CPU.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor

from smearsynth.errors import OptionError
from smearsynth.runs import StopRequest, hash_seed
from smearsynth.smear import Smear
from smearsynth.synthesis.config import Preset, TrainingConfig
from smearsynth.synthesis.model.synthesizer import Synthesizer
from smearsynth.synthesis.networks.features import PerceptualFeatures
from smearsynth.synthesis.networks.generator import draw_noise
from smearsynth.synthesis.styles import Styles
from smearsynth.synthesis.training.checkpoint import load_state, save_state
from smearsynth.synthesis.training.crops import CropBatch, Downsized, crop_stream, draw_crops
from smearsynth.synthesis.training.fine_tuning import initialise_from
from smearsynth.synthesis.training.log import TrainingLog
from smearsynth.synthesis.training.state import TrainingState
from smearsynth.synthesis.training.step import GraphedStep, Step

OnStep = Callable[[int, dict[str, float] | None], None]


@dataclass(frozen=True)
class TrainingRun:
    """Where and how a training runs; none of it changes the result.

    Parameters
    ----------
    folder : Path
        Holds ``state/``, ``training-log.csv`` and ``samples/``.
    fabric : Fabric
        Device and precision.
    save_every, log_every, sample_every : int
        Steps between states, log rows and sample grids.
    workers : int
        Processes that read crops ahead; worth it with a GPU.
    time_limit : float, optional
        Stop after so long, state saved, as if interrupted.
    graphs : bool
        Record the step as CUDA graphs where there is a GPU.
    on_step : callable, optional
        Called with (step, losses or None) after every step, for a progress bar.
    """

    folder: Path
    fabric: Fabric = field(default_factory=lambda: Fabric(accelerator="cpu", devices=1))
    save_every: int = 500
    log_every: int = 50
    sample_every: int = 1000
    workers: int = 0
    time_limit: float | None = None
    graphs: bool = True
    on_step: OnStep | None = None


def fabric_for(device: str, precision: str) -> Fabric:
    """One device ("cpu", "cuda" or "auto") in the precision of a `TrainingConfig`."""
    return Fabric(accelerator=device, devices=1, precision="bf16-mixed" if precision == "bf16" else "32-true")


def learning_rate(config: TrainingConfig, step: int) -> float:
    """Constant, then linearly down to zero after the last step (paper, section 5.1, as pix2pixHD).

    Examples
    --------
    >>> config = TrainingConfig(steps=100, learning_rate=0.1)
    >>> [round(learning_rate(config, step), 3) for step in (0, 49, 75, 99)]
    [0.1, 0.1, 0.05, 0.002]
    """
    start = config.decay_from * config.steps
    left = (config.steps - step) / max(config.steps - start, 1.0)
    return config.learning_rate * min(1.0, left)


def warmup(config: TrainingConfig, step: int) -> float:
    """Share of the rate that G and E learn at while a new D learns to judge a G that is trained already.

    Examples
    --------
    >>> [warmup(TrainingConfig(warmup=4), step) for step in (0, 1, 3, 9)]
    [0.25, 0.5, 1.0, 1.0]
    """
    return min(1.0, (step + 1) / max(config.warmup, 1))


def train(
    smears: Sequence[Smear],
    preset: Preset,
    run: TrainingRun,
    features: PerceptualFeatures | None = None,
    *,
    pretrained: Synthesizer | None = None,
    earlier: TrainingState | None = None,
    styles: Sequence[Styles] | None = None,
) -> TrainingState:
    """Train to ``preset.training.steps``, or until stopped, from the state in ``run.folder`` if there is one.

    Parameters
    ----------
    smears : sequence of Smear
        The training split; read lazily, at random.
    preset : Preset
    run : TrainingRun
    features : PerceptualFeatures, optional
        For the perceptual loss; None leaves it out.
    pretrained : Synthesizer, optional
        Model whose G and E the run starts with; the preset has its networks (`Preset.initialised_from`).
    earlier : TrainingState, optional
        State of stage one, whose networks stage two starts with.
    styles : sequence of (n + 1, S) float32 arrays, optional
        Styles of every smear's instances, for stage two: G and D are trained, E stays as it is.

    Returns
    -------
    TrainingState
        ``state.step`` is less than the steps asked for when it was stopped early; call again to continue.
    """
    if not len(smears):
        raise OptionError("no smears to train on")
    config, fabric = preset.training, run.fabric
    on_gpu = fabric.device.type == "cuda"
    state = TrainingState.fresh(preset)
    if pretrained is not None:
        initialise_from(state, pretrained)
    if earlier is not None:
        state.continue_from(earlier)
    if on_gpu:
        _prepare_for_cuda(state)
    step = Step(state, preset, fabric, None if features is None else features.to(fabric.device))
    state.average.to(fabric.device)
    load_state(run.folder / "state", state, preset)
    update = GraphedStep(step) if on_gpu and run.graphs else step
    noise_source = torch.Generator(fabric.device)
    log = TrainingLog(run.folder, state.step)
    deadline = None if run.time_limit is None else time.monotonic() + 60 * run.time_limit

    smears = smears if config.scale == 1 else Downsized(smears, config.scale)
    crops = crop_stream(
        smears, config, state.step, run.workers, pinned=on_gpu, debris=preset.network.debris, styles=styles
    )
    ending = False
    with StopRequest() as stop:
        while state.step < config.steps and not ending:
            batch = next(crops).to(fabric.device)
            rate = learning_rate(config, state.step)
            _set_rate(state.optimiser_d, rate * config.discriminator_rate)
            if pretrained is not None:
                rate *= warmup(config, state.step)
            _set_rate(state.optimiser_g, rate)
            noise_source.manual_seed(hash_seed(config.seed, state.step))
            noise = draw_noise(tuple(batch.labels.shape), preset.network.downs, noise_source)  # type: ignore[arg-type]
            losses = update(batch, noise)
            _average(state, config.ema)
            state.step += 1
            log.add(losses)
            done = state.step == config.steps
            # asked once a step: a request that comes later than this ends the next step, and no step goes unsaved
            ending = done or stop.asked or (deadline is not None and time.monotonic() > deadline)
            row = None
            if state.step % run.log_every == 0 or ending:
                row = log.write(state.step, rate)
            if run.on_step:
                run.on_step(state.step, row)
            if fabric.is_global_zero and (state.step % run.sample_every == 0 or done):
                log.sample(state, _shown(smears, preset, styles), preset)
            if fabric.is_global_zero and (state.step % run.save_every == 0 or ending):
                save_state(run.folder / "state", state, preset)
    return state


def _prepare_for_cuda(state: TrainingState) -> None:
    """Let the optimisers be recorded in a graph."""
    for optimiser in (state.optimiser_g, state.optimiser_d):
        # the rate must be a tensor: a number would be recorded as it stood
        optimiser.param_groups[0].update(capturable=True, lr=torch.zeros((), device="cuda"))


def _set_rate(optimiser: torch.optim.Adam, rate: float) -> None:
    group = optimiser.param_groups[0]
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate


@torch.no_grad()
def _average(state: TrainingState, decay: float) -> None:
    """Move the average towards the weights; early on it follows faster, or it would keep the random start."""
    decay = min(decay, (1 + state.step) / (10 + state.step))
    kept = [p.data for p in state.average.parameters()]
    torch._foreach_lerp_(kept, [p.detach() for p in state.translator.parameters()], 1 - decay)


def _shown(smears: Sequence[Smear], preset: Preset, styles: Sequence[Styles] | None) -> CropBatch:
    config = preset.training.model_copy(update={"batch": 4, "flips": False})
    return draw_crops(smears, config, 0, stream=1, debris=preset.network.debris, styles=styles)
