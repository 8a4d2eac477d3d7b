"""Reading of model folders: missing, damaged and inconsistent files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from model_folders import FILES, sign
from smearsynth.errors import ModelError
from smearsynth.synthesis.model.folder import read_config, read_networks, verify_folder
from smearsynth.synthesis.model.synthesizer import Synthesizer


def edit_json(name: str, change: Callable[[dict[str, object]], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        change(content)
        (folder / name).write_text(json.dumps(content))

    return apply


def edit_tensors(name: str, change: Callable[[dict[str, np.ndarray]], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        tensors = load_file(folder / name)
        change(tensors)
        save_file(tensors, folder / name)

    return apply


@pytest.mark.parametrize("name", FILES)
def test_missing_file_is_an_error(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(ModelError, match=f"{name}: this file of the model is missing; copy the folder again"):
        Synthesizer.load(copy)


@pytest.mark.parametrize("name", FILES)
def test_altered_byte_is_an_error(copy: Path, name: str) -> None:
    content = bytearray((copy / name).read_bytes())
    content[-2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(ModelError, match=f"{name}: altered or damaged.*copy the folder again"):
        Synthesizer.load(copy)


def truncate(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:200]) and None


def write(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(text) and None


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            truncate("weights.safetensors"),
            "weights.safetensors: not a complete safetensors file.*copy the folder",
        ),
        (
            truncate("styles.safetensors"),
            "styles.safetensors: not a complete safetensors file.*copy the folder",
        ),
        (truncate("shapes.safetensors"), "shapes.safetensors: not a shape library"),
        (truncate("config.json"), "config.json: not the configuration of a model; copy the folder again"),
        (truncate("statistics.json"), "statistics.json: not a record of statistics"),
        (write("config.json", "[]"), "config.json: not the configuration"),
        (write("config.json", "{}"), "config.json: not the configuration"),
        (write("statistics.json", "{}"), "statistics.json: not a record of statistics"),
        (
            edit_json("config.json", lambda j: j.update(format=2)),
            "config.json: has format 2; this version of smearsynth reads format 1, install a newer one",
        ),
        (
            edit_json("config.json", lambda j: j.update(colour="mauve")),
            r"config.json: written by another version of smearsynth \(colour: .*install that version",
        ),
        (
            edit_json("config.json", lambda j: j["network"].update(filters=5)),  # type: ignore[index]
            "weights.safetensors: does not match config.json .*size mismatch",
        ),
        (
            edit_json("config.json", lambda j: j["network"].update(class_names=["red"])),  # type: ignore[index]
            "shapes.safetensors: has other classes",
        ),
        (
            edit_tensors("weights.safetensors", lambda t: t.pop(min(t))),
            "weights.safetensors: does not match config.json .*Missing key",
        ),
        (
            edit_tensors("styles.safetensors", lambda t: t.pop("class1.centres")),
            "styles.safetensors: tensor 'class1.centres' is missing from the style bank",
        ),
        (
            edit_tensors("styles.safetensors", lambda t: t.update({"class1.centres": np.zeros((4, 9), "f4")})),
            "styles.safetensors: does not match config.json",
        ),
    ],
)
def test_inconsistent_files_are_an_error_although_their_checksums_match(
    copy: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(copy)
    sign(copy)
    with pytest.raises(ModelError, match=f"^{copy}/{message}") as info:
        Synthesizer.load(copy)
    assert "\n" not in str(info.value)


@pytest.mark.parametrize("sums", ["", "\0\xff", "abc  config.json\n", "0  ../../etc/passwd\n"])
def test_damaged_checksums_are_an_error(copy: Path, sums: str) -> None:
    (copy / "SHA256SUMS").write_bytes(sums.encode("latin-1"))
    with pytest.raises(ModelError, match=r"SHA256SUMS: damaged.*copy the folder again"):
        Synthesizer.load(copy)


def test_files_outside_the_folder_are_not_read(copy: Path) -> None:
    outside = copy.parent / "outside"
    outside.write_text("x")
    checksum = hashlib.sha256(b"x").hexdigest()
    (copy / "SHA256SUMS").write_text((copy / "SHA256SUMS").read_text() + f"{checksum}  ../outside\n")
    with pytest.raises(ModelError, match="SHA256SUMS: damaged"):
        Synthesizer.load(copy)


def test_other_folders_are_an_error(tmp_path: Path, smear_folder: Path, copy: Path) -> None:
    with pytest.raises(ModelError, match="no such model folder; train one"):
        Synthesizer.load(tmp_path / "nowhere")
    with pytest.raises(ModelError, match="not a model folder, SHA256SUMS is missing; name a folder written by"):
        Synthesizer.load(smear_folder)
    (copy / "SHA256SUMS").unlink()
    (copy / "state").mkdir()
    with pytest.raises(ModelError, match="its training is not finished: run the same `smearsynth train` again"):
        Synthesizer.load(copy)


def test_task_models_are_an_error(copy: Path) -> None:
    lines = (copy / "SHA256SUMS").read_text().splitlines(keepends=True)
    (copy / "SHA256SUMS").write_text("".join(x for x in lines if "config.json" in x or "weights" in x))
    with pytest.raises(ModelError, match="is a task model, not a synthesizer"):
        verify_folder(copy)


def test_verified_folder_lists_its_files(tiny_folder: Path) -> None:
    assert verify_folder(tiny_folder) == {*FILES}
    config = read_config(tiny_folder / "config.json")
    assert config.steps_done == 30
    assert config.licence == "CC0-1.0"
    generator, encoder = read_networks(tiny_folder / "weights.safetensors", config.network)
    parameters = [*generator.parameters(), *encoder.parameters()]
    assert {parameter.dtype for parameter in parameters} == {torch.float32}
    assert not any(parameter.requires_grad for parameter in parameters)
