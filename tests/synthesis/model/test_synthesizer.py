from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from smears import analytic_smear
from smearsynth.errors import DataError, ModelError
from smearsynth.generation.stream import SyntheticSmears
from smearsynth.shapes import ParametricShapes, ShapeLibrary
from smearsynth.smear import Smear
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


@pytest.fixture(scope="module")
def smear() -> Smear:
    return analytic_smear((40, 52), [(14, 14, 8), (36, 24, 10)], noise=2)


# There and back.


@pytest.mark.parametrize("parametric", [False, True])
def test_a_saved_model_paints_the_same_bytes(
    tiny: Synthesizer, tmp_path: Path, smear: Smear, parametric: bool
) -> None:
    assert isinstance(tiny.shapes, ShapeLibrary)
    model = replace(tiny, shapes=ParametricShapes.fit(tiny.shapes)) if parametric else tiny
    model.save(tmp_path / "m")
    again = Synthesizer.load(tmp_path / "m")
    assert again.hash == model.hash
    assert (again.hash == tiny.hash) is not parametric
    for styles in (None, model.encode(smear)):
        one, other = (m.paint(smear.labels, smear.classes, 5, styles=styles) for m in (model, again))
        assert (one == other).all()
    one, other = (SyntheticSmears(m, size=(48, 48))[0] for m in (model, again))
    assert (one.image == other.image).all()
    assert (one.labels == other.labels).all()
    # the shapes of a former save do not stay behind
    tiny.save(tmp_path / "m")
    assert {path.name for path in (tmp_path / "m").iterdir()} == {*FILES, "SHA256SUMS"}
    assert Synthesizer.load(tmp_path / "m").hash == tiny.hash


def test_half_precision_is_half_as_large_and_hardly_different(
    tiny_folder: Path, tiny: Synthesizer, tmp_path: Path, smear: Smear
) -> None:
    model = Synthesizer.load(tiny_folder)  # a copy: saving by halves rounds the weights in memory too
    model.save(tmp_path, half=True)
    again = Synthesizer.load(tmp_path)
    assert again.hash == model.hash != tiny.hash
    sizes = [(folder / "weights.safetensors").stat().st_size for folder in (tmp_path, tiny_folder)]
    assert sizes[0] < 0.6 * sizes[1]
    styles = tiny.encode(smear)
    full, half = (m.paint(smear.labels, smear.classes, 1, styles=styles).astype(int) for m in (tiny, again))
    assert np.abs(full - half).max() <= 2
    assert (model.paint(smear.labels, smear.classes, 1, styles=styles) == half).all()


# The hash.


def test_the_hash_is_of_the_content_alone(tiny: Synthesizer, tiny_folder: Path, copy: Path) -> None:
    assert Synthesizer.load(copy).hash == tiny.hash
    code = f"from smearsynth.synthesis.model.synthesizer import Synthesizer as S; print(S.load({str(copy)!r}).hash)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == tiny.hash
    # what is not the model itself may differ
    (copy / "model-card.md").write_text("another card")
    assert Synthesizer.load(copy).hash == tiny.hash


def test_saving_is_deterministic(tiny: Synthesizer, tmp_path: Path) -> None:
    sums = set()
    for k in range(6):
        tiny.save(tmp_path / str(k))
        sums.add((tmp_path / str(k) / "SHA256SUMS").read_text())
    assert len(sums) == 1


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


@pytest.mark.parametrize(
    "change",
    [
        edit_tensors("weights.safetensors", lambda t: np.add(t[min(t)], 1e-3, out=t[min(t)])),
        edit_tensors("styles.safetensors", lambda t: np.add(t["joint.centres"], 1e-3, out=t["joint.centres"])),
        edit_json("statistics.json", lambda j: j.update(um_per_px=0.1)),
        edit_json("config.json", lambda j: j.update(steps_done=31)),
    ],
)
def test_the_hash_changes_with_the_content(tiny: Synthesizer, copy: Path, change: Callable[[Path], None]) -> None:
    change(copy)
    sign(copy)
    assert Synthesizer.load(copy).hash != tiny.hash


# Damage.


# Saving that fails.


def test_a_folder_that_cannot_be_made_is_a_model_error(tiny: Synthesizer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for target in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ModelError, match=f"{target}: the model cannot be written .*choose another folder"):
            tiny.save(target)
    assert (tmp_path / "file").read_text() == "x"


def test_a_save_cut_off_is_not_taken_for_a_model(
    tiny: Synthesizer, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bytes = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        if len(data) > 10_000:
            write_bytes(self, data[:100])
            raise OSError(28, "No space left on device")
        return write_bytes(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DataError, match=r"weights\.safetensors: the disk is full"):
        tiny.save(copy)
    assert not list(copy.glob(".*"))
    with pytest.raises(ModelError, match="SHA256SUMS is missing"):
        Synthesizer.load(copy)


# What it is asked to paint.


def test_labels_and_classes_must_fit_the_model(tiny: Synthesizer, smear: Smear) -> None:
    labels, classes = smear.labels, smear.classes
    with pytest.raises(DataError, match=r"class id 1 is not one of the model's classes \(0 = cell\)"):
        tiny.paint(labels, np.array([0, 1]), 0)
    with pytest.raises(DataError, match="class id -1 is not"):
        tiny.paint(labels, np.array([0, -1]), 0)
    with pytest.raises(DataError, match="labels run from 0 to 2 for 1 classes"):
        tiny.paint(labels, classes[:1], 0)
    with pytest.raises(DataError, match="labels run from -1"):
        tiny.paint(labels - 1, classes, 0)
    with pytest.raises(DataError, match="must be"):
        tiny.paint(labels[:0], classes, 0)
    with pytest.raises(DataError, match="must be"):
        tiny.paint(labels[None], classes, 0)
    with pytest.raises(DataError, match=r"styles are \(2, 3\), the labels need \(3, 3\)"):
        tiny.paint(labels, classes, 0, styles=tiny.encode(smear)[:2])


def test_labels_of_any_integer_type_paint_alike(tiny: Synthesizer, smear: Smear) -> None:
    wanted = tiny.paint(smear.labels, smear.classes, 2)
    for kind in (np.uint8, np.uint16, np.int64):
        assert (tiny.paint(smear.labels.astype(kind), [0, 0], 2) == wanted).all()  # type: ignore[arg-type]


def test_painting_follows_its_seed_and_its_styles(tiny: Synthesizer, smear: Smear) -> None:
    one = tiny.paint(smear.labels, smear.classes, 1)
    assert (one == tiny.paint(smear.labels, smear.classes, 1)).all()
    assert (one != tiny.paint(smear.labels, smear.classes, 2)).any()
    styles = tiny.encode(smear)
    given = tiny.paint(smear.labels, smear.classes, 1, styles=styles)
    assert (given != tiny.paint(smear.labels, smear.classes, 1, styles=np.zeros_like(styles))).any()


def test_a_field_without_cells_is_painted(tiny: Synthesizer) -> None:
    image = tiny.paint(np.zeros((33, 47), np.int32), np.zeros(0, np.int64), 0)
    assert image.shape == (33, 47, 3)
    assert image.dtype == np.uint8
