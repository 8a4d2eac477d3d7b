"""Training state on disk: complete, refused when it does not fit, and plain about what is wrong."""

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


def stepped(settings: Preset = SETTINGS, step: int = 4) -> TrainingState:
    """A state with moments, after one step of each optimiser on a loss of no meaning."""
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
    """Everything a state holds, by name."""
    found = {}
    for name in ("translator", "discriminators", "average"):
        found |= {f"{name}.{key}": tensor for key, tensor in getattr(state, name).state_dict().items()}
    for name in ("optimiser_g", "optimiser_d"):
        for index, entry in getattr(state, name).state_dict()["state"].items():
            found |= {f"{name}.{index}.{key}": entry[key] for key in ("exp_avg", "exp_avg_sq")}
    return found


def test_all_comes_back_and_the_optimiser_goes_on_where_it_was(tmp_path):
    state = stepped()
    save_state(tmp_path, state, SETTINGS)
    again = TrainingState.fresh(preset("tiny", steps=9, seed=0))

    assert load_state(tmp_path, again, SETTINGS)

    assert again.step == 4
    one, other = contents(state), contents(again)
    assert one.keys() == other.keys()
    assert any("optimiser_d" in key for key in one)
    assert all(torch.equal(one[key], other[key]) for key in one)
    # the fused step goes through weights and moments as they lie
    for optimiser in (again.optimiser_g, again.optimiser_d):
        for parameter, moments in optimiser.state.items():
            assert moments["exp_avg"].stride() == moments["exp_avg_sq"].stride() == parameter.stride()
    # Adam corrects its bias by the number of steps done
    steps = {float(entry["step"]) for entry in again.optimiser_g.state_dict()["state"].values()}
    assert steps == {4.0}


def test_no_state_is_no_state(tmp_path):
    assert not load_state(tmp_path / "absent", TrainingState.fresh(SETTINGS), SETTINGS)
    assert not load_state(tmp_path, TrainingState.fresh(SETTINGS), SETTINGS)


def test_the_newest_state_is_loaded_and_older_ones_go(tmp_path):
    (tmp_path / ".step-00000002.part").mkdir()  # of a run that was killed
    for step in (4, 8, 100_000_000):
        save_state(tmp_path, stepped(step=step), SETTINGS)
        assert [path.name for path in tmp_path.iterdir()] == [f"step-{step:08d}"]

    state = TrainingState.fresh(SETTINGS)
    load_state(tmp_path, state, preset("tiny", steps=100_000_000))
    assert state.step == 100_000_000


def test_files_are_tensors_and_json_alone(tmp_path):
    folder = save_state(tmp_path, stepped(), SETTINGS)
    assert sorted(path.name for path in folder.iterdir()) == [
        "average.safetensors",
        "first_moments.safetensors",
        "second_moments.safetensors",
        "state.json",
        "weights.safetensors",
    ]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"batch": 2}, "batch = 1, now it is 2"),
        ({"seed": 1}, "seed = 0, now it is 1"),
        ({"crop": (32, 64)}, r"crop = \[64, 64\], now it is \[32, 64\]"),
        ({"class_names": ("a", "b")}, "class_names"),
    ],
)
def test_other_settings_are_refused_with_the_reason(tmp_path, changed, said):
    save_state(tmp_path, stepped(), SETTINGS)
    other = preset("tiny", **{"steps": 9, **changed})
    with pytest.raises(ModelError, match=said) as caught:
        load_state(tmp_path, TrainingState.fresh(other), other)
    assert "step-00000004" in str(caught.value)
    assert "another output folder" in str(caught.value)


def test_a_run_may_become_longer_but_not_shorter_than_it_is(tmp_path):
    save_state(tmp_path, stepped(), SETTINGS)
    for steps in (900, 4):
        other = preset("tiny", steps=steps)
        assert load_state(tmp_path, TrainingState.fresh(other), other)
    shorter = preset("tiny", steps=3)
    with pytest.raises(ModelError, match="has done 4 steps, now 3 are asked for; ask for as many at least"):
        load_state(tmp_path, TrainingState.fresh(shorter), shorter)


def cut(folder: Path) -> None:
    file = folder / "average.safetensors"
    file.write_bytes(file.read_bytes()[:-10])


def drop(folder: Path) -> None:
    (folder / "second_moments.safetensors").unlink()


def drop_record(folder: Path) -> None:
    (folder / "state.json").unlink()


def garble(folder: Path) -> None:
    (folder / "state.json").write_text('{"step": ')


def other_record(folder: Path) -> None:
    (folder / "state.json").write_text('["nothing", "of", "ours"]')


def other_preset(folder: Path) -> None:
    (folder / "state.json").write_text(json.dumps({"step": 4, "preset": {"network": "small", "training": 0}}))


def lose_a_tensor(folder: Path) -> None:
    tensors = load_file(folder / "weights.safetensors")
    tensors.pop("translator.generator.mix.weight")
    save_file(tensors, folder / "weights.safetensors")


def reshape(folder: Path) -> None:
    tensors = load_file(folder / "weights.safetensors")
    tensors["translator.generator.mix.weight"] = torch.zeros(5, 5)
    save_file(tensors, folder / "weights.safetensors")


@pytest.mark.parametrize(
    "damage", [cut, drop, drop_record, garble, other_record, other_preset, lose_a_tensor, reshape]
)
def test_a_damaged_state_is_named(tmp_path, damage):
    folder = save_state(tmp_path, stepped(), SETTINGS)
    damage(folder)
    with pytest.raises(ModelError, match=r"damaged.*delete this folder") as caught:
        load_state(tmp_path, TrainingState.fresh(SETTINGS), SETTINGS)
    assert str(caught.value).startswith(str(folder))
    assert "\n" not in str(caught.value)


def test_a_full_disk_leaves_the_former_state(tmp_path):
    save_state(tmp_path, stepped(step=4), SETTINGS)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(ModelError, match="cannot be written") as caught:
            save_state(tmp_path, stepped(step=8), SETTINGS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert str(caught.value).startswith(str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000004"]
    assert load_state(tmp_path, TrainingState.fresh(SETTINGS), SETTINGS)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="cannot be written"):
        save_state(tmp_path / "file" / "state", stepped(), SETTINGS)
