"""Reading of model folders: missing, damaged and inconsistent files."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from smearsynth.errors import ModelError
from smearsynth.synthesis.model.synthesizer import Synthesizer

FILES = (
    "config.json",
    "weights.safetensors",
    "styles.safetensors",
    "statistics.json",
    "shapes.safetensors",
    "layout.json",
    "acquisition.json",
)


@pytest.fixture
def copy(tiny_folder: Path, tmp_path: Path) -> Path:
    """A model folder to damage."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "copy", ignore=shutil.ignore_patterns("state", "samples")))


def sign(folder: Path) -> None:
    """Make the sums fit, as whoever alters a file on purpose would."""
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in sorted(FILES)]
    (folder / "SHA256SUMS").write_text("".join(lines))


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
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(ModelError, match=f"{name}: this file of the model is missing; copy the folder again"):
        Synthesizer.load(copy)


@pytest.mark.parametrize("name", FILES)
def test_one_altered_byte_is_noticed(copy: Path, name: str) -> None:
    content = bytearray((copy / name).read_bytes())
    content[-2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(ModelError, match=f"{name}: altered or damaged.*copy the folder again"):
        Synthesizer.load(copy)


def cut(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:200]) and None


def write(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(text) and None


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (cut("weights.safetensors"), "weights.safetensors: no whole safetensors file.*copy the folder again"),
        (cut("styles.safetensors"), "styles.safetensors: no whole safetensors file.*copy the folder again"),
        (cut("shapes.safetensors"), "shapes.safetensors: not a shape library"),
        (cut("config.json"), "config.json: not the configuration of a model; copy the folder again"),
        (cut("statistics.json"), "statistics.json: not the statistics of a data set"),
        (write("config.json", "[]"), "config.json: not the configuration"),
        (write("config.json", "{}"), "config.json: not the configuration"),
        (write("statistics.json", "{}"), "statistics.json: not the statistics"),
        (
            edit_json("config.json", lambda j: j.update(format=2)),
            "config.json: of format 2, and this smearsynth reads 1; install a newer smearsynth",
        ),
        (
            edit_json("config.json", lambda j: j.update(colour="mauve")),
            r"config.json: made by another version of smearsynth \(colour: .*install that version",
        ),
        (
            edit_json("config.json", lambda j: j["network"].update(filters=5)),  # type: ignore[index]
            "weights.safetensors: does not fit config.json beside it .*size mismatch",
        ),
        (
            edit_json("config.json", lambda j: j["network"].update(class_names=["red"])),  # type: ignore[index]
            "shapes.safetensors: has other classes",
        ),
        (
            edit_tensors("weights.safetensors", lambda t: t.pop(min(t))),
            "weights.safetensors: does not fit config.json beside it .*Missing key",
        ),
        (
            edit_tensors("styles.safetensors", lambda t: t.pop("class1.centres")),
            "styles.safetensors: the style bank lacks 'class1.centres'",
        ),
        (
            edit_tensors("styles.safetensors", lambda t: t.update({"class1.centres": np.zeros((4, 9), "f4")})),
            "styles.safetensors: does not fit config.json",
        ),
    ],
)
def test_files_that_make_no_model_are_named_though_their_sums_fit(
    copy: Path, damage: Callable[[Path], None], said: str
) -> None:
    damage(copy)
    sign(copy)
    with pytest.raises(ModelError, match=f"^{copy}/{said}") as caught:
        Synthesizer.load(copy)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("sums", ["", "\0\xff", "abc  config.json\n", "0  ../../etc/passwd\n"])
def test_sums_that_are_no_sums_are_refused(copy: Path, sums: str) -> None:
    (copy / "SHA256SUMS").write_bytes(sums.encode("latin-1"))
    with pytest.raises(ModelError, match=r"SHA256SUMS: damaged.*copy the folder again"):
        Synthesizer.load(copy)


def test_a_listed_file_elsewhere_is_not_read(copy: Path) -> None:
    outside = copy.parent / "outside"
    outside.write_text("x")
    digest = hashlib.sha256(b"x").hexdigest()
    (copy / "SHA256SUMS").write_text((copy / "SHA256SUMS").read_text() + f"{digest}  ../outside\n")
    with pytest.raises(ModelError, match="SHA256SUMS: damaged"):
        Synthesizer.load(copy)


def test_what_is_no_model_folder_is_told_apart(tmp_path: Path, smear_folder: Path, copy: Path) -> None:
    with pytest.raises(ModelError, match="no such model folder; train one"):
        Synthesizer.load(tmp_path / "nowhere")
    with pytest.raises(ModelError, match="not a model folder, SHA256SUMS is missing; name a folder"):
        Synthesizer.load(smear_folder)
    (copy / "SHA256SUMS").unlink()
    (copy / "state").mkdir()
    with pytest.raises(ModelError, match="its training is not finished: run the same `smearsynth train` again"):
        Synthesizer.load(copy)
