"""Training state on disk, as safetensors and JSON without pickle. A state is written completely or not at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from smearsynth.errors import ModelError
from smearsynth.migrations import to_current
from smearsynth.synthesis.config import Preset
from smearsynth.synthesis.training.state import TrainingState


def save_state(folder: Path, state: TrainingState, preset: Preset) -> Path:
    """Write the state to ``folder/step-N`` and then delete older states.

    There are four files of tensors: weights, averaged weights, and first and second moments of Adam.

    Parameters
    ----------
    folder : Path
        The ``state`` folder of a model.
    state : TrainingState
    preset : Preset
        Stored with the tensors, so that a run with other settings cannot continue by mistake.
    """
    target = folder / f"step-{state.step:08d}"
    partial = folder / f".{target.name}.part"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for name, tensors in _tensors(state).items():
            save_file(
                {k: t.detach().cpu().contiguous() for k, t in tensors.items()},
                partial / f"{name}.safetensors",
            )
        record = {"step": state.step, "pretrained": state.pretrained, "preset": preset.model_dump(mode="json")}
        (partial / "state.json").write_text(json.dumps(record, indent=2))
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
    except (OSError, safetensors.SafetensorError) as error:  # the latter if the disk is full
        shutil.rmtree(partial, ignore_errors=True)
        reason = getattr(error, "strerror", None) or error
        raise ModelError(
            f"the training state cannot be written ({reason}); check the disk or choose another folder", folder
        ) from error
    # The second pattern matches unfinished states of a run that was killed.
    for older in (*_states(folder), *folder.glob(".step-*.part")):
        if older != target:
            shutil.rmtree(older, ignore_errors=True)
    return target


def load_state(folder: Path, state: TrainingState, preset: Preset) -> bool:
    """Load the newest state of a folder into `state`.

    Returns
    -------
    bool
        False if there is none.

    Raises
    ------
    ModelError
        If the state is damaged, was trained with other settings (a larger number of steps is allowed), or was
        initialised with another model.
    """
    states = _states(folder)
    if not states:
        return False
    newest = states[-1]
    try:
        record = to_current("state", json.loads((newest / "state.json").read_text()))
        _check_pretrained(record.get("pretrained"), state.pretrained, newest)
        _check_settings(record["preset"], preset, newest)
        step = int(record["step"])
        _check_steps(step, preset, newest)
        groups = _tensors(state)
        stored = {name: load_file(newest / f"{name}.safetensors") for name in groups}
        for name in ("weights", "average"):
            if groups[name].keys() != stored[name].keys():
                raise KeyError(name)
            for key, tensor in groups[name].items():
                tensor.copy_(stored[name][key])
        for label, optimiser in (("g", state.optimiser_g), ("d", state.optimiser_d)):
            _fill_moments(optimiser, label, step, stored["first_moments"], stored["second_moments"])
        state.step = step
    except (
        OSError,
        LookupError,
        ValueError,
        TypeError,
        AttributeError,
        RuntimeError,
        safetensors.SafetensorError,
    ) as error:
        raise ModelError(
            f"the training state is damaged ({error}); delete this folder to start again", newest
        ) from error
    return True


def completed_steps(folder: Path) -> int:
    """Return the number of steps of the newest state in the ``state`` folder of a model; 0 if there is none.

    Examples
    --------
    >>> completed_steps(Path("no-such-folder"))
    0
    """
    states = _states(folder)
    return int(states[-1].name.partition("-")[2]) if states else 0


def _states(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*")) if folder.is_dir() else []


def _tensors(state: TrainingState) -> dict[str, dict[str, Tensor]]:
    weights = {f"translator.{k}": t for k, t in state.translator.state_dict().items()}
    weights |= {f"discriminators.{k}": t for k, t in state.discriminators.state_dict().items()}
    groups = {"weights": weights, "average": dict(state.average.state_dict())}
    for moment in ("first", "second"):
        groups[f"{moment}_moments"] = {}
    for label, optimiser in (("g", state.optimiser_g), ("d", state.optimiser_d)):
        for index, entry in optimiser.state_dict()["state"].items():
            groups["first_moments"][f"{label}.{index}"] = entry["exp_avg"]
            groups["second_moments"][f"{label}.{index}"] = entry["exp_avg_sq"]
    return groups


def _fill_moments(
    optimiser: torch.optim.Adam, label: str, step: int, first: dict[str, Tensor], second: dict[str, Tensor]
) -> None:
    """Load stored moments into Adam, which has none before its first step."""
    record = optimiser.state_dict()
    parameters = optimiser.param_groups[0]["params"]

    def aligned(stored: Tensor, index: int) -> Tensor:
        # The fused step needs the same memory layout for weights and moments.
        return torch.empty_like(parameters[index], device=stored.device).copy_(stored)

    record["state"] = {
        index: {
            "step": torch.tensor(float(step)),
            "exp_avg": aligned(first[f"{label}.{index}"], index),
            "exp_avg_sq": aligned(second[f"{label}.{index}"], index),
        }
        for index in record["param_groups"][0]["params"]
        if f"{label}.{index}" in first
    }
    optimiser.load_state_dict(record)


def _check_settings(stored: dict[str, dict[str, object]], preset: Preset, folder: Path) -> None:
    requested, defaults = preset.model_dump(mode="json"), Preset().model_dump(mode="json")
    for part in ("network", "training"):
        for key, value in requested[part].items():
            # States of older versions lack the settings that were added later.
            former = stored[part].get(key, defaults[part][key])
            if key != "steps" and former != value:
                raise ModelError(
                    f"this run was started with {key} = {former}, now it is {value}; use the same settings, "
                    "another output folder, or delete this one",
                    folder,
                )


def _check_steps(done: int, preset: Preset, folder: Path) -> None:
    if done > preset.training.steps:
        raise ModelError(
            f"this run has completed {done} steps, more than the {preset.training.steps} requested now; request at "
            f"least {done}, use another output folder, or delete this one",
            folder,
        )


def _check_pretrained(stored: str | None, requested: str | None, folder: Path) -> None:
    if stored != requested:
        former, current = (
            f"the pretrained model {pretrained[:12]}" if pretrained else "random weights"
            for pretrained in (stored, requested)
        )
        raise ModelError(
            f"this run was started with {former}, now it is {current}; use the same pretrained model, another "
            "output folder, or delete this one",
            folder,
        )
