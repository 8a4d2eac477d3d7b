"""Training state on disk: complete files, and errors for damaged states and other settings."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from smearsynth.errors import ModelError
from smearsynth.synthesis.config import Preset, preset
from smearsynth.synthesis.training.checkpoint import load_state, save_state
from smearsynth.synthesis.training.state import TrainingState

SETTINGS = preset("tiny", steps=9)


def state_after_a_step(settings: Preset = SETTINGS, step: int = 4) -> TrainingState:
    """Return a state with moments, after one step of each optimiser with random gradients."""
    state = TrainingState.fresh(settings)
    draw = torch.Generator().manual_seed(1)
    for network, optimiser in (
        (state.translator, state.optimiser_g),
        (state.discriminators, state.optimiser_d),
    ):
        optimiser.param_groups[0]["lr"] = 0.01
        for parameter in network.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=draw)
        optimiser.step()
    state.step = step
    return state


def contents(state: TrainingState) -> dict[str, torch.Tensor]:
    """Return all tensors of a state by name."""
    tensors = {}
    for name in ("translator", "discriminators", "average"):
        tensors |= {f"{name}.{key}": tensor for key, tensor in getattr(state, name).state_dict().items()}
    for name in ("optimiser_g", "optimiser_d"):
        for index, entry in getattr(state, name).state_dict()["state"].items():
            tensors |= {f"{name}.{index}.{key}": entry[key] for key in ("exp_avg", "exp_avg_sq")}
    return tensors


def test_loaded_state_equals_the_saved_state(tmp_path):
    state = state_after_a_step()
    save_state(tmp_path, state, SETTINGS)
    loaded = TrainingState.fresh(preset("tiny", steps=9, seed=0))

    assert load_state(tmp_path, loaded, SETTINGS)

    assert loaded.step == 4
    saved_tensors, settings = contents(state), contents(loaded)
    assert saved_tensors.keys() == settings.keys()
    assert any("optimiser_d" in key for key in saved_tensors)
    assert all(torch.equal(saved_tensors[key], settings[key]) for key in saved_tensors)
    # The fused step needs the same memory layout for weights and moments.
    for optimiser in (loaded.optimiser_g, loaded.optimiser_d):
        for parameter, moments in optimiser.state.items():
            assert moments["exp_avg"].stride() == moments["exp_avg_sq"].stride() == parameter.stride()
    # Adam uses the number of completed steps for its bias correction.
    steps = {float(entry["step"]) for entry in loaded.optimiser_g.state_dict()["state"].values()}
    assert steps == {4.0}


def test_folder_without_state(tmp_path):
    assert not load_state(tmp_path / "absent", TrainingState.fresh(SETTINGS), SETTINGS)
    assert not load_state(tmp_path, TrainingState.fresh(SETTINGS), SETTINGS)


def test_newest_state_is_loaded_and_older_states_are_deleted(tmp_path):
    (tmp_path / ".step-00000002.part").mkdir()  # left by a run that was killed
    for step in (4, 8, 100_000_000):
        save_state(tmp_path, state_after_a_step(step=step), SETTINGS)
        assert [path.name for path in tmp_path.iterdir()] == [f"step-{step:08d}"]

    state = TrainingState.fresh(SETTINGS)
    load_state(tmp_path, state, preset("tiny", steps=100_000_000))
    assert state.step == 100_000_000


def test_files_are_safetensors_and_json(tmp_path):
    folder = save_state(tmp_path, state_after_a_step(), SETTINGS)
    assert sorted(path.name for path in folder.iterdir()) == [
        "average.safetensors",
        "first_moments.safetensors",
        "second_moments.safetensors",
        "state.json",
        "weights.safetensors",
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": 2}, "batch = 1, now it is 2"),
        ({"seed": 1}, "seed = 0, now it is 1"),
        ({"crop": (32, 64)}, r"crop = \[64, 64\], now it is \[32, 64\]"),
        ({"class_names": ("a", "b")}, "class_names"),
    ],
)
def test_other_settings_are_an_error(tmp_path, changes, message):
    save_state(tmp_path, state_after_a_step(), SETTINGS)
    settings = preset("tiny", **{"steps": 9, **changes})
    with pytest.raises(ModelError, match=message) as caught:
        load_state(tmp_path, TrainingState.fresh(settings), settings)
    assert "step-00000004" in str(caught.value)
    assert "another output folder" in str(caught.value)


def test_number_of_steps_may_increase(tmp_path):
    save_state(tmp_path, state_after_a_step(), SETTINGS)
    for steps in (900, 4):
        settings = preset("tiny", steps=steps)
        assert load_state(tmp_path, TrainingState.fresh(settings), settings)
    shorter = preset("tiny", steps=3)
    with pytest.raises(ModelError, match="completed 4 steps, more than the 3 requested now; request at least 4"):
        load_state(tmp_path, TrainingState.fresh(shorter), shorter)


def truncate_average(folder: Path) -> None:
    file = folder / "average.safetensors"
    file.write_bytes(file.read_bytes()[:-10])


def delete_moments(folder: Path) -> None:
    (folder / "second_moments.safetensors").unlink()


def delete_record(folder: Path) -> None:
    (folder / "state.json").unlink()


def damage_record(folder: Path) -> None:
    (folder / "state.json").write_text('{"step": ')


def write_a_list(folder: Path) -> None:
    (folder / "state.json").write_text('["another", "file"]')


def write_other_preset(folder: Path) -> None:
    (folder / "state.json").write_text(json.dumps({"step": 4, "preset": {"network": "small", "training": 0}}))


def delete_a_tensor(folder: Path) -> None:
    tensors = load_file(folder / "weights.safetensors")
    tensors.pop("translator.generator.mix.weight")
    save_file(tensors, folder / "weights.safetensors")


def reshape_a_tensor(folder: Path) -> None:
    tensors = load_file(folder / "weights.safetensors")
    tensors["translator.generator.mix.weight"] = torch.zeros(5, 5)
    save_file(tensors, folder / "weights.safetensors")


@pytest.mark.parametrize(
    "damage",
    [
        truncate_average,
        delete_moments,
        delete_record,
        damage_record,
        write_a_list,
        write_other_preset,
        delete_a_tensor,
        reshape_a_tensor,
    ],
)
def test_damaged_state_is_reported(tmp_path, damage):
    folder = save_state(tmp_path, state_after_a_step(), SETTINGS)
    damage(folder)
    with pytest.raises(ModelError, match=r"damaged.*delete this folder") as caught:
        load_state(tmp_path, TrainingState.fresh(SETTINGS), SETTINGS)
    assert str(caught.value).startswith(str(folder))
    assert "\n" not in str(caught.value)


def test_full_disk_keeps_the_former_state(tmp_path):
    save_state(tmp_path, state_after_a_step(step=4), SETTINGS)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(ModelError, match="cannot be written") as caught:
            save_state(tmp_path, state_after_a_step(step=8), SETTINGS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert str(caught.value).startswith(str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000004"]
    assert load_state(tmp_path, TrainingState.fresh(SETTINGS), SETTINGS)


def test_unwritable_folder_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="cannot be written"):
        save_state(tmp_path / "file" / "state", state_after_a_step(), SETTINGS)
