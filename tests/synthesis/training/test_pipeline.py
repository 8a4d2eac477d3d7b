"""Training pipeline: model folder, continued runs and unusable data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from smears import analytic_smear, partly_annotated, random_smear, unannotated, write_folder
from smearsynth.datasets import open_smears
from smearsynth.errors import DataError, ModelError
from smearsynth.generation.stream import SyntheticSmears
from smearsynth.shapes import ParametricShapes, ShapeLibrary
from smearsynth.smear import Smear
from smearsynth.synthesis.config import Preset, preset
from smearsynth.synthesis.model.synthesizer import Synthesizer
from smearsynth.synthesis.training.loop import TrainingRun, train_networks
from smearsynth.synthesis.training.pipeline import (
    _train_stages,
    build_label_source,
    encode_smears,
    train_synthesizer,
)

SHORT = preset("tiny", steps=2)


class UnreadableSmears(Sequence[Smear]):
    """Smears that raise an error on access."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: object) -> Smear:  # type: ignore[override]
        raise AssertionError("read")


def short(*class_names: str) -> Preset:
    return preset("tiny", class_names=class_names, steps=2)


# Result.


def test_returned_model_is_the_model_in_the_folder(tmp_path: Path) -> None:
    messages: list[str] = []
    smears = [random_smear(k) for k in range(3)]
    model = train_synthesizer(smears, SHORT, TrainingRun(tmp_path), command="as typed", on_message=messages.append)
    assert model is not None
    loaded = Synthesizer.load(tmp_path)
    assert loaded.hash == model.hash
    assert loaded.config.data.smears == 3
    assert loaded.config.steps_done == 2
    assert not any(parameter.requires_grad for parameter in loaded.generator.parameters())
    assert isinstance(loaded.shapes, ShapeLibrary)
    assert loaded.statistics.smears == 3
    assert "| command | `as typed` |" in (tmp_path / "model-card.md").read_text()
    assert messages[0] == "measuring 3 smears"
    assert any("shapes of" in line for line in messages)


def test_the_same_smears_and_seed_give_the_same_model(tmp_path: Path) -> None:
    smears = [random_smear(k) for k in range(3)]
    hashes = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        model = train_synthesizer(smears, preset("tiny", steps=2, seed=seed), TrainingRun(tmp_path / name))
        assert model is not None
        hashes.append(model.hash)
    assert hashes[0] == hashes[1] != hashes[2]


def test_parametric_model_stores_no_contours(tmp_path: Path) -> None:
    model = train_synthesizer([random_smear(k) for k in range(4)], SHORT, TrainingRun(tmp_path), parametric=True)
    assert model is not None
    assert not (tmp_path / "shapes.safetensors").exists()
    loaded = Synthesizer.load(tmp_path)
    assert loaded.hash == model.hash
    assert isinstance(loaded.shapes, ParametricShapes)
    assert "contours of real cells are not stored" in (tmp_path / "model-card.md").read_text()
    assert SyntheticSmears(loaded, size=(64, 64), density=2)[0].count > 0


def test_both_stages_run_in_order_and_continue(smear_folder: Path, tmp_path: Path) -> None:
    smears = open_smears(smear_folder, split="train", cache_mb=10)
    base = preset("tiny", steps=3, crop=(48, 48))
    settings = Preset(
        network=base.network,
        training=base.training.model_copy(update={"scale": 0.5}),
        second=base.training.model_copy(update={"steps": 2}),
    )
    steps: list[int] = []
    run = TrainingRun(tmp_path, time_limit=0, on_step=lambda step, row: steps.append(step))
    stops = [_train_stages(smears, settings, run, None, lambda text: None) for _ in range(3)]
    assert stops == [None] * 3

    result = _train_stages(smears, settings, run, None, lambda text: None)
    assert result is not None
    state, styles = result
    assert state.step == 2
    assert steps == [1, 2, 3, 4, 5]
    expected = encode_smears(train_networks(smears, settings.stages[0], TrainingRun(tmp_path)), smears, 0.5)
    assert all((a == b).all() for a, b in zip(styles, expected, strict=True))


# Little and unusable data.


@pytest.mark.parametrize(
    "smears",
    [
        [random_smear(1)],
        [random_smear(k, (40, 50)) for k in range(3)],  # smaller than the crop of 64 px
        [analytic_smear((70, 70), [(35, 35, 12)])],  # one cell
        [random_smear(1), analytic_smear((96, 96), []), random_smear(2, (64, 120))],  # one empty, mixed sizes
    ],
    ids=["one smear", "small smears", "one cell", "some empty"],
)
def test_little_data_is_sufficient(tmp_path: Path, smears: list[Smear]) -> None:
    model = train_synthesizer(smears, SHORT, TrainingRun(tmp_path))
    assert model is not None
    loaded = Synthesizer.load(tmp_path)
    for style in ("joint", "independent"):
        stream = SyntheticSmears(loaded, size=(80, 80), density=2, style=style)
        for k in range(3):
            assert stream[k].image.shape == (80, 80, 3)
    assert "nan" not in (tmp_path / "model-card.md").read_text()


@pytest.mark.parametrize(
    ("discs", "reason"),
    [([], "0 shapes of 0 cells"), ([(0, 0, 12), (95, 95, 12)], "2 cut by the border"), ([(40, 40, 1)], "specks")],
    ids=["no cells", "all cut", "specks"],
)
def test_smears_without_a_whole_cell_are_an_error_before_writing(
    tmp_path: Path, discs: list[tuple[float, float, float]], reason: str
) -> None:
    with pytest.raises(DataError, match=f"no whole cell.*{reason}.*add smears with whole cells"):
        train_synthesizer([analytic_smear((96, 96), discs)], SHORT, TrainingRun(tmp_path / "m"))
    assert list(tmp_path.iterdir()) == []


def test_class_without_cells_is_an_error_before_training(tmp_path: Path) -> None:
    smears = [analytic_smear(class_names=("red cell", "white cell"), name=str(k)) for k in range(2)]
    with pytest.raises(DataError, match=r"no cell of class white cell in the 2 training smears; remove the class"):
        train_synthesizer(smears, short("red cell", "white cell"), TrainingRun(tmp_path / "m"))
    assert list(tmp_path.iterdir()) == []
    assert build_label_source(smears, short("red cell")).statistics.smears == 2


def test_output_that_is_a_file_is_an_error_before_reading_the_smears(tmp_path: Path) -> None:
    (tmp_path / "m").write_text("x")
    with pytest.raises(ModelError, match="m: is a file; choose a folder"):
        train_synthesizer(UnreadableSmears(), SHORT, TrainingRun(tmp_path / "m"))
    with pytest.raises(DataError, match="cannot be written"):
        train_synthesizer([random_smear(1)], SHORT, TrainingRun(tmp_path / "m" / "below"))
    assert (tmp_path / "m").read_text() == "x"


# Continuing a run.


def test_run_continues_only_with_the_same_smears(tmp_path: Path) -> None:
    smears = [random_smear(k) for k in range(3)]
    stopped = TrainingRun(tmp_path, time_limit=0)
    assert train_synthesizer(smears, SHORT, stopped) is None
    with pytest.raises(ModelError, match="not finished"):
        Synthesizer.load(tmp_path)
    with pytest.raises(ModelError, match="was started on other smears; use the same smears, another output"):
        train_synthesizer(smears[:2], SHORT, TrainingRun(tmp_path))
    with pytest.raises(ModelError, match="was started with seed = 0, now it is 1"):
        train_synthesizer(smears, preset("tiny", steps=2, seed=1), TrainingRun(tmp_path))
    model = train_synthesizer(smears, SHORT, TrainingRun(tmp_path))
    assert model is not None
    assert model.config.steps_done == 2
    # A finished model can be trained further and stays complete until it is replaced.
    longer = preset("tiny", steps=4)
    assert train_synthesizer(smears, longer, TrainingRun(tmp_path, time_limit=0)) is None
    assert Synthesizer.load(tmp_path).hash == model.hash
    longer_model = train_synthesizer(smears, longer, TrainingRun(tmp_path))
    assert longer_model is not None
    assert Synthesizer.load(tmp_path).hash == longer_model.hash != model.hash


@pytest.mark.parametrize("finished", [False, True])
def test_changed_smears_with_the_same_names_are_an_error(tmp_path: Path, finished: bool) -> None:
    folder = write_folder(tmp_path / "data", [random_smear(k) for k in range(3)])
    output = tmp_path / "m"
    model = train_synthesizer(open_smears(folder), SHORT, TrainingRun(output, time_limit=None if finished else 0))
    assert (model is not None) == finished
    before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    modified = random_smear(1)
    modified.image[modified.labels == 0] //= 2
    write_folder(folder, [random_smear(0), modified, random_smear(2)])
    with pytest.raises(ModelError, match=r"on other smears \(smear-01 is new or has changed\); use the same"):
        train_synthesizer(open_smears(folder), SHORT, TrainingRun(output))
    assert {path: path.read_bytes() for path in output.rglob("*") if path.is_file()} == before
    write_folder(folder, [random_smear(k) for k in range(3)])
    assert train_synthesizer(open_smears(folder), SHORT, TrainingRun(output)) is not None


def test_run_of_a_version_without_digests_continues_with_a_message(tmp_path: Path) -> None:
    smears = [random_smear(k) for k in range(2)]
    assert train_synthesizer(smears, SHORT, TrainingRun(tmp_path, time_limit=0)) is None
    record = tmp_path / "state" / "smears.json"
    rows = json.loads(record.read_text())
    record.write_text(json.dumps([row[:-1] for row in rows]))
    with pytest.raises(ModelError, match=r"other smears \(smear-05 is new"):
        train_synthesizer([smears[0], random_smear(5)], SHORT, TrainingRun(tmp_path))
    messages: list[str] = []
    assert train_synthesizer(smears, SHORT, TrainingRun(tmp_path), on_message=messages.append) is not None
    assert any(
        "stored only names and sizes of its smears; their content is stored now" in line for line in messages
    )
    assert json.loads(record.read_text()) == rows


def test_smears_at_another_scale(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "data", [random_smear(k) for k in range(3)])
    model = train_synthesizer(open_smears(folder, scale=0.75), SHORT, TrainingRun(tmp_path / "m"))
    assert model is not None
    assert model.statistics.field_size == (72, 72)
    assert SyntheticSmears(model)[0].shape == (72, 72)


def test_model_has_the_averaged_weights(tmp_path: Path) -> None:
    model = train_synthesizer([random_smear(k) for k in range(2)], preset("tiny", steps=3), TrainingRun(tmp_path))
    assert model is not None
    state = next((tmp_path / "state").glob("step-*"))
    average, last = (load_file(state / f"{name}.safetensors") for name in ("average", "weights"))
    differences = 0
    for name, tensor in model.generator.state_dict().items():
        assert (tensor.numpy() == average[f"generator.{name}"]).all()
        differences += int((average[f"generator.{name}"] != last[f"translator.generator.{name}"]).any())
    assert differences


def test_smears_without_an_annotated_pixel_are_not_used(tmp_path: Path) -> None:
    messages: list[str] = []
    smears = [random_smear(0), unannotated(random_smear(1)), partly_annotated(random_smear(2, (96, 160)), 90)]
    model = train_synthesizer(smears, SHORT, TrainingRun(tmp_path), on_message=messages.append)
    assert model is not None
    assert "1 smears without an annotated pixel are not used" in messages
    assert model.statistics.smears == len(model.styles.smears) == 2
    assert model.acquisition is not None
    assert len(model.acquisition.illumination) == 2
