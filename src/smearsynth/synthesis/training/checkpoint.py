"""Training state on disk: safetensors and JSON, no pickle, complete or not there at all."""

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
    """Write the state as ``folder/step-N``; older ones go once it is complete.

    Four files of tensors (weights, average, first and second moments), each small enough to travel alone.

    Parameters
    ----------
    folder : Path
        The ``state`` folder of a model.
    state : TrainingState
    preset : Preset
        Kept beside the tensors, so that a run of other settings does not continue by mistake.
    """
    final = folder / f"step-{state.step:08d}"
    partial = folder / f".{final.name}.part"
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
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
    except (OSError, safetensors.SafetensorError) as error:  # the latter for a full disk
        shutil.rmtree(partial, ignore_errors=True)
        reason = getattr(error, "strerror", None) or error
        raise ModelError(f"the training state cannot be written ({reason})", folder) from error
    # also what a run left behind that was killed while it wrote
    for older in (*_states(folder), *folder.glob(".step-*.part")):
        if older != final:
            shutil.rmtree(older, ignore_errors=True)
    return final


def load_state(folder: Path, state: TrainingState, preset: Preset) -> bool:
    """Fill `state` from the newest state in `folder`.

    Returns
    -------
    bool
        False when there is none.

    Raises
    ------
    ModelError
        When the state is damaged, or was trained with other settings (the number of steps may be larger), or
        started with another model.
    """
    found = _states(folder)
    if not found:
        return False
    newest = found[-1]
    try:
        record = to_current("state", json.loads((newest / "state.json").read_text()))
        _refuse_other_start(record.get("pretrained"), state.pretrained, newest)
        _refuse_other_settings(record["preset"], preset, newest)
        step = int(record["step"])
        _refuse_fewer_steps(step, preset, newest)
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
    """Give Adam the moments that were stored; before its first step it has none of its own to fill."""
    record = optimiser.state_dict()
    parameters = optimiser.param_groups[0]["params"]

    def laid_out(stored: Tensor, index: int) -> Tensor:
        # the fused step goes through weights and moments as they lie in memory: they must lie alike
        return torch.empty_like(parameters[index], device=stored.device).copy_(stored)

    record["state"] = {
        index: {
            "step": torch.tensor(float(step)),
            "exp_avg": laid_out(first[f"{label}.{index}"], index),
            "exp_avg_sq": laid_out(second[f"{label}.{index}"], index),
        }
        for index in record["param_groups"][0]["params"]
        if f"{label}.{index}" in first
    }
    optimiser.load_state_dict(record)


def _refuse_other_settings(stored: dict[str, dict[str, object]], preset: Preset, folder: Path) -> None:
    wanted, usual = preset.model_dump(mode="json"), Preset().model_dump(mode="json")
    for part in ("network", "training"):
        for key, value in wanted[part].items():
            # states of older versions lack the settings that came later
            if key != "steps" and stored[part].get(key, usual[part][key]) != value:
                raise ModelError(
                    f"this run was started with {key} = {stored[part].get(key, usual[part][key])}, "
                    f"now it is {value}; "
                    "use the same settings, another output folder, or delete this one",
                    folder,
                )


def _refuse_fewer_steps(done: int, preset: Preset, folder: Path) -> None:
    if done > preset.training.steps:
        raise ModelError(
            f"this run has done {done} steps, now {preset.training.steps} are asked for; "
            "ask for as many at least, use another output folder, or delete this one",
            folder,
        )


def _refuse_other_start(stored: str | None, wanted: str | None, folder: Path) -> None:
    if stored != wanted:
        was, now = (
            f"the model of hash {pretrained[:12]}" if pretrained else "random weights"
            for pretrained in (stored, wanted)
        )
        raise ModelError(
            f"this run was started with {was}, now it is {now}; "
            "start with the same, use another output folder, or delete this one",
            folder,
        )
