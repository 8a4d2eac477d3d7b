"""Generation into a folder: smears, manifest, contact sheet, and messages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from smears import random_smear
from smearsynth.datasets import open_smears
from smearsynth.errors import DataError, OptionError
from smearsynth.generation import generate as module
from smearsynth.generation.generate import generate
from smearsynth.generation.recipe import Recipe
from smearsynth.generation.stream import SyntheticSmears
from smearsynth.runs import Execution, Progress
from smearsynth.smear import Smear
from smearsynth.synthesis.model.synthesizer import Synthesizer

SIZE = (48, 64)


class Recorder(Progress):
    def __init__(self) -> None:
        self.messages: list[str] = []
        self.stages: list[tuple[str, int, int | None]] = []

    def message(self, text: str) -> None:
        self.messages.append(text)

    def advance(self, stage: str, done: int, total: int | None = None) -> None:
        self.stages.append((stage, done, total))


@pytest.fixture
def progress() -> Recorder:
    return Recorder()


@pytest.fixture
def execution(progress: Recorder) -> Execution:
    return Execution("cpu", progress=progress)


def test_the_folder_has_the_smears_of_the_stream(
    tiny: Synthesizer, tmp_path: Path, execution: Execution, progress: Recorder
) -> None:
    recipes = generate(tmp_path, 3, model=tiny, execution=execution, size=SIZE, seed=3)
    stream = SyntheticSmears(tiny, size=SIZE, seed=3)
    assert [recipe.index for recipe in recipes] == [0, 1, 2]
    for k, smear in enumerate(open_smears(tmp_path)):
        assert (smear.image == stream[k].image).all()
        assert (smear.labels == stream[k].labels).all()
    assert progress.stages == [("generating", k, 3) for k in (1, 2, 3)]
    assert progress.messages == []


def test_the_contact_sheet_names_the_model_and_the_options(
    tiny: Synthesizer, tiny_folder: Path, tmp_path: Path, execution: Execution
) -> None:
    generate(tmp_path, 10, model=tiny_folder, format="coco", execution=execution, size=SIZE, seed=7, layout="ring")
    text = (tmp_path / "contact-sheet.html").read_text()
    assert f"{tiny_folder} ({tiny.hash[:12]})" in text
    assert "10 synthetic smears" in text
    assert "smear-000007" in text
    assert "smear-000008" not in text  # the first 8 smears
    assert re.search(r"CC0-1\.0", text)
    generate(tmp_path / "b", 1, model=tiny, execution=execution, size=SIZE, sheet=False)
    assert not (tmp_path / "b" / "contact-sheet.html").exists()


def test_unused_classes_and_missing_cells_are_reported(
    two_class_folder: Path, tmp_path: Path, execution: Execution, progress: Recorder
) -> None:
    reference = random_smear(3, class_names=("red cell", "platelet"))
    recipes = generate(
        tmp_path,
        2,
        model=two_class_folder,
        sheet=False,
        execution=execution,
        size=SIZE,
        style_of=reference,
        density=100,
    )
    requested = sum(recipe.requested for recipe in recipes)
    missing = requested - sum(recipe.placed for recipe in recipes)
    assert missing > 0
    assert progress.messages == [
        "smear-03: the style of platelet is not used; the model has no such class",
        f"{missing} of {requested} cells could not be placed; see manifest.jsonl",
    ]


def test_images_that_fail_the_verification_are_regenerated(
    tiny: Synthesizer,
    smear_folder: Path,
    tmp_path: Path,
    execution: Execution,
    progress: Recorder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checks: list[dict[str, object]] = []
    smears: list[Smear] = []

    def label_check(data: object, **options: object) -> object:
        checks.append({"data": data, **options})

        def every_second(smear: Smear) -> bool:
            smears.append(smear)
            return len(smears) % 2 == 0

        return every_second

    monkeypatch.setattr(module, "label_check", label_check)
    options = {"size": SIZE, "seed": 3}
    recipes = generate(
        tmp_path, 2, model=tiny, verify=smear_folder, segmenter="s", execution=execution, size=SIZE, seed=3
    )
    assert checks == [{"data": smear_folder, "segmenter": "s", "scale": 1.0, "seed": 3, "execution": execution}]
    assert [recipe.attempt for recipe in recipes] == [1, 1]
    assert all(recipe.verified for recipe in recipes)
    assert progress.messages[0] == "2 images regenerated because their labels disagreed with the segmenter"
    assert [Recipe.from_image(path) for path in sorted((tmp_path / "images").iterdir())] == recipes
    with pytest.raises(DataError, match="verified True"):
        generate(tmp_path, 2, model=tiny, execution=execution, **options)  # type: ignore[arg-type]


def test_invalid_arguments_are_refused_before_anything_is_written(
    tiny: Synthesizer, tmp_path: Path, smear_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "label_check", lambda *data, **options: pytest.fail("validate the options first"))
    with pytest.raises(OptionError, match="segmenter without real smears"):
        generate(tmp_path / "out", model=tiny, segmenter="s")
    with pytest.raises(OptionError, match="at least 1"):
        generate(tmp_path / "out", 0, model=tiny, verify=smear_folder)
    with pytest.raises(OptionError, match="unknown stain"):
        generate(tmp_path / "out", model=tiny, verify=smear_folder, stain="blue")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="hue"):
        generate(tmp_path / "out", model=tiny, hue=1)  # type: ignore[call-arg]
    assert not (tmp_path / "out").exists()


def test_the_same_call_continues(tiny: Synthesizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generate(tmp_path, 2, model=tiny, size=SIZE)
    indices: list[int] = []
    make = SyntheticSmears.make

    def record(stream: SyntheticSmears, index: int, timer: object = None) -> tuple[Smear, Recipe]:
        indices.append(index)
        return make(stream, index)

    monkeypatch.setattr(SyntheticSmears, "make", record)
    assert len(generate(tmp_path, 3, model=tiny, size=SIZE)) == 3
    assert indices == [2]
