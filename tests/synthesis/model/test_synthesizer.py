from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from model_folders import FILES, sign
from smears import analytic_smear
from smearsynth.errors import DataError, ModelError
from smearsynth.generation.stream import SyntheticSmears
from smearsynth.shapes import ParametricShapes, ShapeLibrary
from smearsynth.smear import Smear
from smearsynth.synthesis.model.synthesizer import Synthesizer


@pytest.fixture(scope="module")
def smear() -> Smear:
    return analytic_smear((40, 52), [(14, 14, 8), (36, 24, 10)], noise=2)


# Saving and loading.


@pytest.mark.parametrize("parametric", [False, True])
def test_saved_model_paints_the_same_image(
    tiny: Synthesizer, tmp_path: Path, smear: Smear, parametric: bool
) -> None:
    assert isinstance(tiny.shapes, ShapeLibrary)
    model = replace(tiny, shapes=ParametricShapes.fit(tiny.shapes)) if parametric else tiny
    model.save(tmp_path / "m")
    loaded = Synthesizer.load(tmp_path / "m")
    assert loaded.hash == model.hash
    assert (loaded.hash == tiny.hash) is not parametric
    for styles in (None, model.encode(smear)):
        image, loaded_image = (m.paint(smear.labels, smear.classes, 5, styles=styles) for m in (model, loaded))
        assert (image == loaded_image).all()
    image, loaded_image = (SyntheticSmears(m, size=(48, 48))[0] for m in (model, loaded))
    assert (image.image == loaded_image.image).all()
    assert (image.labels == loaded_image.labels).all()
    # Shapes of an earlier model in the folder are deleted.
    tiny.save(tmp_path / "m")
    assert {path.name for path in (tmp_path / "m").iterdir()} == {*FILES, "SHA256SUMS"}
    assert Synthesizer.load(tmp_path / "m").hash == tiny.hash


def test_half_precision_has_half_the_size_and_hardly_differs(
    tiny: Synthesizer, tiny_folder: Path, tmp_path: Path, smear: Smear
) -> None:
    tiny.save(tmp_path, half=True)
    loaded = Synthesizer.load(tmp_path)
    assert loaded.hash == tiny.rounded_to_half().hash != tiny.hash
    sizes = [(folder / "weights.safetensors").stat().st_size for folder in (tmp_path, tiny_folder)]
    assert sizes[0] < 0.6 * sizes[1]
    styles = tiny.encode(smear)
    full, half, rounded = (
        model.paint(smear.labels, smear.classes, 1, styles=styles).astype(int)
        for model in (tiny, loaded, tiny.rounded_to_half())
    )
    assert np.abs(full - half).max() <= 2
    assert (rounded == half).all()


@pytest.mark.parametrize("half", [False, True])
def test_saving_does_not_change_the_model(tiny_folder: Path, tmp_path: Path, half: bool) -> None:
    model = Synthesizer.load(tiny_folder)
    modules = (model.generator, model.encoder)
    before = [{name: tensor.clone() for name, tensor in module.state_dict().items()} for module in modules]
    former_hash = model.hash
    model.save(tmp_path, half=half)
    model.rounded_to_half()
    for module, tensors in zip(modules, before, strict=True):
        assert all((tensor == tensors[name]).all() for name, tensor in module.state_dict().items())
    del model.__dict__["hash"]  # computed again
    assert model.hash == former_hash
    assert (Synthesizer.load(tmp_path).hash == former_hash) is not half


# The hash.


def test_hash_depends_on_the_content_only(tiny: Synthesizer, tiny_folder: Path, copy: Path) -> None:
    assert Synthesizer.load(copy).hash == tiny.hash
    code = f"from smearsynth.synthesis.model.synthesizer import Synthesizer as S; print(S.load({str(copy)!r}).hash)"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == tiny.hash
    # The card is not part of the model.
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
def test_hash_changes_with_the_content(tiny: Synthesizer, copy: Path, change: Callable[[Path], None]) -> None:
    change(copy)
    sign(copy)
    assert Synthesizer.load(copy).hash != tiny.hash


# Damage.


# Errors of saving.


def test_unwritable_folder_is_an_error(tiny: Synthesizer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for target in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ModelError, match=f"{target}: the model cannot be written .*choose another folder"):
            tiny.save(target)
    assert (tmp_path / "file").read_text() == "x"


def test_incomplete_folder_is_not_a_model(tiny: Synthesizer, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bytes = Path.write_bytes

    def write_to_full_disk(self: Path, data: bytes) -> int:
        if len(data) > 10_000:
            write_bytes(self, data[:100])
            raise OSError(28, "No space left on device")
        return write_bytes(self, data)

    monkeypatch.setattr(Path, "write_bytes", write_to_full_disk)
    with pytest.raises(DataError, match=r"weights\.safetensors: the disk is full"):
        tiny.save(copy)
    assert not list(copy.glob(".*"))
    with pytest.raises(ModelError, match="SHA256SUMS is missing"):
        Synthesizer.load(copy)


# Painting.


def test_invalid_labels_classes_and_styles_are_an_error(tiny: Synthesizer, smear: Smear) -> None:
    labels, classes = smear.labels, smear.classes
    with pytest.raises(DataError, match=r"class id 1 is not one of the model's classes \(0 = cell\)"):
        tiny.paint(labels, np.array([0, 1]), 0)
    with pytest.raises(DataError, match="class id -1 is not"):
        tiny.paint(labels, np.array([0, -1]), 0)
    with pytest.raises(DataError, match=r"labels are in 0\.\.2, but there are 1 classes"):
        tiny.paint(labels, classes[:1], 0)
    with pytest.raises(DataError, match=r"labels are in -1\.\.1"):
        tiny.paint(labels - 1, classes, 0)
    with pytest.raises(DataError, match="must be"):
        tiny.paint(labels[:0], classes, 0)
    with pytest.raises(DataError, match="must be"):
        tiny.paint(labels[None], classes, 0)
    with pytest.raises(DataError, match=r"styles have shape \(2, 3\); these labels need \(3, 3\)"):
        tiny.paint(labels, classes, 0, styles=tiny.encode(smear)[:2])


def test_labels_of_any_integer_type(tiny: Synthesizer, smear: Smear) -> None:
    expected = tiny.paint(smear.labels, smear.classes, 2)
    for dtype in (np.uint8, np.uint16, np.int64):
        assert (tiny.paint(smear.labels.astype(dtype), [0, 0], 2) == expected).all()  # type: ignore[arg-type]


def test_image_depends_on_seed_and_styles(tiny: Synthesizer, smear: Smear) -> None:
    image = tiny.paint(smear.labels, smear.classes, 1)
    assert (image == tiny.paint(smear.labels, smear.classes, 1)).all()
    assert (image != tiny.paint(smear.labels, smear.classes, 2)).any()
    styles = tiny.encode(smear)
    encoded = tiny.paint(smear.labels, smear.classes, 1, styles=styles)
    assert (encoded != tiny.paint(smear.labels, smear.classes, 1, styles=np.zeros_like(styles))).any()


def test_field_without_cells(tiny: Synthesizer) -> None:
    image = tiny.paint(np.zeros((33, 47), np.int32), np.zeros(0, np.int64), 0)
    assert image.shape == (33, 47, 3)
    assert image.dtype == np.uint8
