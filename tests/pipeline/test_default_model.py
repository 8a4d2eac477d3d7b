"""The shipped model: its files, its origin, and the quality of its images."""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from conftest import Run
from smearsynth.datasets import open_smears
from smearsynth.generation.stream import SyntheticSmears
from smearsynth.shapes import ParametricShapes
from smearsynth.smear import Smear
from smearsynth.synthesis.model.folder import default_folder
from smearsynth.synthesis.model.synthesizer import Synthesizer

FILES = {"acquisition.json", "layout.json",
    "SHA256SUMS", "config.json", "weights.safetensors", "styles.safetensors", "statistics.json", "shapes.json",
    "model-card.md", "training-log.csv", "DATA-LICENSE", "training-smears.json", "colours.json",
}  # fmt: skip
MB = 1_000_000


@pytest.fixture(scope="module")
def model() -> Synthesizer:
    return Synthesizer.load("default")


@pytest.fixture(scope="module")
def smears(model: Synthesizer) -> list[Smear]:
    """Four synthetic fields of 640 × 480 px."""
    return list(islice(SyntheticSmears(model, size=(480, 640), seed=20), 4))


# Files.


def test_model_is_complete_and_small() -> None:
    folder = default_folder()
    assert folder.is_dir(), f"no shipped model in {folder}"
    assert {path.name for path in folder.iterdir()} == FILES
    assert sum(path.stat().st_size for path in folder.iterdir()) < 10 * MB


def test_model_loads_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*args: object, **options: object) -> None:
        raise AssertionError("network access")

    monkeypatch.setattr(socket.socket, "connect", unreachable)
    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    assert Synthesizer.load().class_names == ("cell",)


def test_model_contains_no_image_and_no_contour(model: Synthesizer) -> None:
    assert isinstance(model.shapes, ParametricShapes)
    folder = default_folder()
    for path in folder.iterdir():
        assert path.read_bytes()[:4] not in (b"\x89PNG", b"\xff\xd8\xff\xe0", b"II*\0", b"MM\0*")
    # The longest list of numbers in the shape model is a covariance (14 · 15 / 2); an outline has 2 · 64.
    assert max_length(json.loads((folder / "shapes.json").read_text())) == 105
    fitted_to = sum(shape_model.cells for shape_model in model.shapes.classes.values())
    components = sum(len(shape_model.centres) for shape_model in model.shapes.classes.values())
    assert fitted_to / components > 50  # each is an average of many cells


def max_length(content: Any) -> int:
    """Return the length of the longest list of numbers in JSON content."""
    if isinstance(content, dict):
        return max((max_length(value) for value in content.values()), default=0)
    if isinstance(content, list):
        length = len(content) if all(isinstance(value, int | float) for value in content) else 0
        return max([length, *(max_length(value) for value in content)])
    return 0


def test_card_and_licence_name_the_data(model: Synthesizer) -> None:
    card = (default_folder() / "model-card.md").read_text(encoding="utf-8")
    assert "| data licence | MIT |" in card
    assert "Chula RBC-12" in card
    assert "2012.01321" in card
    assert "smearsynth train" in card
    assert "## Limits" in card
    assert model.config.data.licence == "MIT"
    licence = (default_folder() / "DATA-LICENSE").read_text(encoding="utf-8")
    assert "MIT License" in licence
    assert "Copyright" in licence


def test_model_was_trained_on_the_training_split(model: Synthesizer) -> None:
    assert model.config.data.split == "train"
    assert model.config.data.smears == model.statistics.smears == 144
    assert model.statistics.field_size == (480, 640)
    assert model.config.steps_done == model.config.training.steps


# Images.


def contrast(smear: Smear) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    cells = smear.labels > 0
    return smear.image[~cells].mean(0), smear.image[cells].mean(0)


def steps(smear: Smear) -> tuple[float, float, float]:
    """Return the mean grey difference of neighbouring pixels: at cell borders, inside cells, in the background."""
    grey = smear.image.astype(float).mean(-1)
    step = np.abs(np.diff(grey, axis=1))
    left, right = smear.labels[:, :-1], smear.labels[:, 1:]
    deep = ndimage.minimum_filter(smear.labels, 9) == ndimage.maximum_filter(smear.labels, 9)
    inside = deep[:, :-1] & (left == right)
    border = (left != right) & ((left == 0) | (right == 0))
    return tuple(float(step[where].mean()) for where in (border, inside & (left > 0), inside & (left == 0)))  # type: ignore[return-value]


def test_cells_are_darker_than_the_background_in_every_smear(smears: list[Smear]) -> None:
    for smear in smears:
        assert smear.shape == (480, 640)
        assert smear.count > 20
        background, cells = contrast(smear)
        # The palest training smear has 11 grey levels, and 16 in green, which haemoglobin absorbs.
        assert background.mean() - cells.mean() > 8
        assert background[1] - cells[1] > 12


def test_labels_and_image_agree_at_cell_borders(smears: list[Smear]) -> None:
    for smear in smears:
        border, inside, background = steps(smear)
        assert border > 3 * inside
        assert border > 3 * background
        # Shifted labels do not match the image.
        moved = Smear(smear.image, np.roll(smear.labels, (23, 31), (0, 1)), smear.classes)
        assert steps(moved)[0] < 0.5 * border


def test_every_cell_is_painted_at_its_position(smears: list[Smear]) -> None:
    """A threshold between the mean colours recovers the labels, less well if cells are pale rings."""
    agreement = []
    for smear in smears:
        background, cells = contrast(smear)
        nearer = ((smear.image - cells) ** 2).sum(-1) < ((smear.image - background) ** 2).sum(-1)
        marked = smear.labels > 0
        agreement.append(2 * (nearer & marked).sum() / (nearer.sum() + marked.sum()))
        recall = np.bincount(smear.labels[nearer], minlength=smear.count + 1)[1:] / smear.areas()
        assert np.mean(recall > 0.5) > 0.9
    assert np.median(agreement) > 0.93
    assert min(agreement) > 0.85


def test_images_have_contrast_and_are_not_saturated(smears: list[Smear]) -> None:
    for smear in smears:
        cells, background = smear.labels > 0, smear.labels == 0
        assert smear.image[cells].std(0).min() > 3
        assert 0.3 < smear.image[background].astype(float).std(0).max() < 40
        assert ((smear.image == 0) | (smear.image == 255)).all(-1).mean() < 0.01


def test_images_have_no_checkerboard_pattern(smears: list[Smear]) -> None:
    """Transposed convolutions can cause a pattern of 2 px; noise and texture have no such peak."""
    for smear in smears:
        grey = smear.image.astype(float).mean(-1)
        power = np.abs(np.fft.fft2(grey - grey.mean())) ** 2
        h, w = grey.shape
        for y, x in ((h // 2, w // 2), (0, w // 2), (h // 2, 0)):
            around = [power[(y + dy) % h, (x + dx) % w] for dy in range(-3, 4) for dx in range(-3, 4) if dx or dy]
            assert power[y, x] < 60 * np.mean(around)


def test_smears_differ_in_stain_and_number_of_cells(model: Synthesizer, smears: list[Smear]) -> None:
    assert len({smear.image.tobytes() for smear in smears}) == len(smears)
    assert len({smear.count for smear in smears}) > 1
    small = list(islice(SyntheticSmears(model, size=(160, 160), seed=4), 24))
    backgrounds = np.array([contrast(smear)[0] for smear in small if (smear.labels > 0).any()])
    real = np.array([row.background_colour for row in model.statistics.rows])
    # Mean and spread of the stain are those of the training smears.
    assert 0.5 < np.mean(backgrounds.std(0) / real.std(0)) < 1.6
    assert np.abs(backgrounds.mean(0) - real.mean(0)).max() < 1.2 * real.std(0).max()


def test_style_cluster_restricts_the_stain(model: Synthesizer) -> None:
    def spread(style: str | int) -> float:
        stream = islice(SyntheticSmears(model, size=(96, 96), style=style, density=0, seed=1), 12)
        return float(np.std([smear.image.mean((0, 1)) for smear in stream], axis=0).mean())

    weights = model.styles.joint.weights
    assert spread(int(weights.argmax())) < 0.8 * spread("joint")


def test_stain_of_a_reference_smear_is_used(model: Synthesizer, smears: list[Smear]) -> None:
    backgrounds = [contrast(smear)[0] for smear in smears]
    spread_of_backgrounds = max(np.abs(a - b).max() for a in backgrounds for b in backgrounds)
    assert spread_of_backgrounds > 10
    for smear, background in zip(smears, backgrounds, strict=True):
        styled = SyntheticSmears(model, size=(160, 160), style_of=smear, seed=8)[0]
        assert np.abs(contrast(styled)[0] - background).max() < 0.5 * spread_of_backgrounds


def test_same_seed_gives_the_same_smear_in_another_process(model: Synthesizer) -> None:
    code = (
        "import hashlib; from smearsynth.generation.stream import SyntheticSmears; "
        "s = SyntheticSmears(size=(96, 128), seed=5)[7]; "
        "print(hashlib.sha256(s.image.tobytes() + s.labels.tobytes()).hexdigest())"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    smear, other_smear = (SyntheticSmears(model, size=(96, 128), seed=seed)[7] for seed in (5, 6))
    assert output.strip() == hashlib.sha256(smear.image.tobytes() + smear.labels.tobytes()).hexdigest()
    assert (smear.image != other_smear.image).any()


def test_fields_of_cells_only_and_of_background_only(model: Synthesizer) -> None:
    for labels, n in ((np.ones((64, 64), np.int32), 1), (np.zeros((64, 64), np.int32), 0)):
        image = model.paint(labels, np.zeros(n, np.int64), 3)
        assert image.shape == (64, 64, 3)
        assert 20 < image.mean() < 250


# Commands and real smears.


def test_demo_from_the_shipped_model(run: Run, tmp_path: Path) -> None:
    result = run("demo", "-o", tmp_path / "demo", "-n", 1)
    assert result.code == 0
    assert open_smears(tmp_path / "demo")[0].shape == (480, 640)
    sheet = (tmp_path / "demo" / "contact-sheet.html").read_text(encoding="utf-8")
    assert "MIT" in sheet
    assert (tmp_path / "demo" / "contact-sheet.html").resolve().as_uri() in result.out


def test_info_on_the_shipped_model(run: Run, model: Synthesizer) -> None:
    result = run("info")
    assert result.code == 0
    assert "Chula RBC-12" in result.out
    assert f"model hash {model.hash}" in result.out


@pytest.mark.realdata
def test_no_test_smear_was_trained_on(model: Synthesizer, real_data: Path) -> None:
    training_names = {row.name for row in model.statistics.rows}
    folder = open_smears(real_data / "chula")
    assert training_names == set(folder.split("train").names)
    assert not training_names & set(folder.split("test").names)


@pytest.mark.realdata
def test_stain_of_real_test_smears_is_reconstructed(model: Synthesizer, real_data: Path) -> None:
    from smearsynth.synthesis.model.card import StyleFidelity

    test = open_smears(real_data / "chula", split="test")
    crops = [test[k].cropped(120, 160, 240, 320) for k in range(0, len(test), 6)]
    fidelity = StyleFidelity.measure(model, crops)
    assert fidelity.smears == 16
    assert fidelity.correlation.min() > 0.95
    assert fidelity.spread.min() > 0.8
