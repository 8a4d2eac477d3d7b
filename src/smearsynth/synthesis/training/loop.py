"""Training loop of generator, encoder and discriminators.

All random numbers are drawn from (seed, step), and the state on disk holds step, weights, moments and averaged
weights. An interrupted run therefore continues where it stopped, bit-identically on the CPU.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
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
from smearsynth.synthesis.networks.noise import draw_noise
from smearsynth.synthesis.styles.clusters import Styles
from smearsynth.synthesis.training.checkpoint import load_state, save_state
from smearsynth.synthesis.training.crops import AlignedSmears, CropBatch, ResizedSmears, crop_stream, draw_crops
from smearsynth.synthesis.training.fine_tuning import initialise_from
from smearsynth.synthesis.training.log import TrainingLog
from smearsynth.synthesis.training.state import TrainingState
from smearsynth.synthesis.training.step import GraphedStep, Step

StepCallback = Callable[[int, dict[str, float] | None], None]


@dataclass(frozen=True)
class TrainingRun:
    """Where and how a training runs; none of it changes the result.

    Parameters
    ----------
    folder : Path
        Receives ``state/``, ``training-log.csv`` and ``samples/``.
    fabric : Fabric
        Device and precision.
    save_every, log_every, sample_every : int
        Steps between saved states, log rows and sample grids.
    workers : int
        Processes that read crops ahead; useful with a GPU.
    time_limit : float, optional
        Stop after this many minutes, as on Ctrl-C; the state is saved.
    graphs : bool
        Record the step as CUDA graphs on a GPU.
    on_step : callable, optional
        Called with (step, losses or None) after each step.
    """

    folder: Path
    fabric: Fabric = field(default_factory=lambda: Fabric(accelerator="cpu", devices=1))
    save_every: int = 500
    log_every: int = 50
    sample_every: int = 1000
    workers: int = 0
    time_limit: float | None = None
    graphs: bool = True
    on_step: StepCallback | None = None


def fabric_for(device: str, precision: str) -> Fabric:
    """Return a Fabric with one device ("cpu", "cuda" or "auto") and the precision of a `TrainingConfig`."""
    return Fabric(accelerator=device, devices=1, precision="bf16-mixed" if precision == "bf16" else "32-true")


def learning_rate(config: TrainingConfig, step: int) -> float:
    """Return the learning rate of G: constant, then linear decay to zero (paper, section 5.1, as pix2pixHD).

    Examples
    --------
    >>> config = TrainingConfig(steps=100, learning_rate=0.1)
    >>> [round(learning_rate(config, step), 3) for step in (0, 49, 75, 99)]
    [0.1, 0.1, 0.05, 0.002]
    """
    decay_start = config.decay_from * config.steps
    remaining = (config.steps - step) / max(config.steps - decay_start, 1.0)
    return config.learning_rate * min(1.0, remaining)


def warmup(config: TrainingConfig, step: int) -> float:
    """Return the factor on the learning rate of a pretrained G and E while the new D starts to learn.

    Examples
    --------
    >>> [warmup(TrainingConfig(warmup=4), step) for step in (0, 1, 3, 9)]
    [0.25, 0.5, 1.0, 1.0]
    """
    return min(1.0, (step + 1) / max(config.warmup, 1))


def train_networks(
    smears: Sequence[Smear],
    preset: Preset,
    run: TrainingRun,
    features: PerceptualFeatures | None = None,
    *,
    pretrained: Synthesizer | None = None,
    first_stage: TrainingState | None = None,
    styles: Sequence[Styles] | None = None,
) -> TrainingState:
    """Train to ``preset.training.steps``, or until stopped, from the state in ``run.folder`` if there is one.

    Parameters
    ----------
    smears : sequence of Smear
        Training split; smears are read lazily, in random order.
    preset : Preset
    run : TrainingRun
    features : PerceptualFeatures, optional
        Features of the perceptual loss; None omits this loss.
    pretrained : Synthesizer, optional
        Model whose G and E initialise the networks; the preset must have its networks (`Preset.initialised_from`).
    first_stage : TrainingState, optional
        State of stage one, whose networks initialise stage two.
    styles : sequence of (n + 1, S) float32 arrays, optional
        Styles of the instances of each smear, for stage two: G and D are trained, E is not.

    Returns
    -------
    TrainingState
        ``state.step`` is less than ``preset.training.steps`` if the run was interrupted; call again to continue.
    """
    if not len(smears):
        raise OptionError("no smears to train on")
    config = preset.training
    state = _initial_state(preset, pretrained, first_stage)
    update = _prepare_step(state, preset, run, features)
    smears = smears if config.scale == 1 else ResizedSmears(smears, config.scale)
    smears = AlignedSmears(smears) if config.flips and config.align_channels else smears
    crops = crop_stream(
        smears,
        config,
        state.step,
        run.workers,
        pinned=run.fabric.device.type == "cuda",
        debris=preset.network.debris,
        styles=styles,
    )
    noise_source = torch.Generator(run.fabric.device)
    sample_config = config.model_copy(update={"batch": 4, "flips": False})
    draw_samples = partial(
        draw_crops, smears, sample_config, 0, stream=1, debris=preset.network.debris, styles=styles
    )
    record = _Recorder(run, preset, state, draw_samples)
    with StopRequest() as stop:
        while state.step < config.steps and not record.ended:
            batch = next(crops).to(run.fabric.device)
            rate = _set_learning_rates(state, config, fine_tuning=pretrained is not None)
            noise_source.manual_seed(hash_seed(config.seed, state.step))
            noise = draw_noise(tuple(batch.labels.shape), preset.network.downs, noise_source)  # type: ignore[arg-type]
            losses = update(batch, noise)
            _update_average(state, config.ema)
            state.step += 1
            record(losses, rate, stop)
    return state


def _initial_state(
    preset: Preset, pretrained: Synthesizer | None, first_stage: TrainingState | None
) -> TrainingState:
    state = TrainingState.fresh(preset)
    if pretrained is not None:
        initialise_from(state, pretrained)
    if first_stage is not None:
        state.continue_from(first_stage)
    return state


def _prepare_step(
    state: TrainingState, preset: Preset, run: TrainingRun, features: PerceptualFeatures | None
) -> Step | GraphedStep:
    """Move everything to the device, load the saved state if there is one, and return the training step."""
    device = run.fabric.device
    if device.type == "cuda":
        _make_capturable(state)
    step = Step(state, preset, run.fabric, None if features is None else features.to(device))
    state.average.to(device)
    load_state(run.folder / "state", state, preset)
    return GraphedStep(step) if device.type == "cuda" and run.graphs else step


class _Recorder:
    """Log, sample grids and saved states of a run, and the decision when it ends."""

    def __init__(
        self, run: TrainingRun, preset: Preset, state: TrainingState, draw_samples: Callable[[], CropBatch]
    ) -> None:
        self.run, self.preset, self.state, self.draw_samples = run, preset, state, draw_samples
        self.log = TrainingLog(run.folder, state.step)
        self.deadline = None if run.time_limit is None else time.monotonic() + 60 * run.time_limit
        self.ended = False

    def __call__(self, losses: dict[str, Tensor], rate: float, stop: StopRequest) -> None:
        """Record the step that has just been done."""
        run, state = self.run, self.state
        self.log.add(losses)
        finished = state.step == self.preset.training.steps
        # `asked` is read once per step. A later request ends the next step, so that every completed step is saved.
        self.ended = finished or stop.requested or (self.deadline is not None and time.monotonic() > self.deadline)
        row = None
        if state.step % run.log_every == 0 or self.ended:
            row = self.log.write(state.step, rate)
        if run.on_step:
            run.on_step(state.step, row)
        if not run.fabric.is_global_zero:
            return
        if state.step % run.sample_every == 0 or finished:
            self.log.sample(state, self.draw_samples(), self.preset)
        if state.step % run.save_every == 0 or self.ended:
            save_state(run.folder / "state", state, self.preset)


def _make_capturable(state: TrainingState) -> None:
    """Prepare the optimisers for recording in a CUDA graph."""
    for optimiser in (state.optimiser_g, state.optimiser_d):
        # The learning rate must be a tensor; the graph would record a number as a constant.
        optimiser.param_groups[0].update(capturable=True, lr=torch.zeros((), device="cuda"))


def _set_learning_rates(state: TrainingState, config: TrainingConfig, *, fine_tuning: bool) -> float:
    """Set the learning rates of the next step; return that of G and E."""
    rate = learning_rate(config, state.step)
    _set_rate(state.optimiser_d, rate * config.discriminator_rate)
    if fine_tuning:
        rate *= warmup(config, state.step)
    _set_rate(state.optimiser_g, rate)
    return rate


def _set_rate(optimiser: torch.optim.Adam, rate: float) -> None:
    group = optimiser.param_groups[0]
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate


@torch.no_grad()
def _update_average(state: TrainingState, decay: float) -> None:
    """Update the averaged weights; the decay is smaller in early steps, to forget the initial weights."""
    decay = min(decay, (1 + state.step) / (10 + state.step))
    averages = [parameter.data for parameter in state.average.parameters()]
    torch._foreach_lerp_(averages, [p.detach() for p in state.translator.parameters()], 1 - decay)
