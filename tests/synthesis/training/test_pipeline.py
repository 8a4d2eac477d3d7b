from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from smears import analytic_smear, random_smear, write_folder
from smearsynth.datasets import open_smears
from smearsynth.errors import DataError, ModelError
from smearsynth.generation.stream import SyntheticSmears
from smearsynth.shapes import ParametricShapes, ShapeLibrary
from smearsynth.smear import Smear
from smearsynth.synthesis.config import Preset, preset
from smearsynth.synthesis.model.card import StyleFidelity, mean_colours, model_card
from smearsynth.synthesis.model.provenance import DataSource
from smearsynth.synthesis.model.synthesizer import Synthesizer
from smearsynth.synthesis.training.loop import TrainingRun
from smearsynth.synthesis.training.pipeline import build_label_source, train_synthesizer

SHORT = preset("tiny", steps=2)


class Unreadable(Sequence[Smear]):
    """Smears that must not be read."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: object) -> Smear:  # type: ignore[override]
        raise AssertionError("read")


def short(*class_names: str) -> Preset:
    return preset("tiny", class_names=class_names, steps=2)


# What comes out.


def test_learning_gives_the_model_that_is_in_the_folder(tmp_path: Path) -> None:
    said: list[str] = []
    smears = [random_smear(k) for k in range(3)]
    made = train_synthesizer(smears, SHORT, TrainingRun(tmp_path), command="as typed", on_message=said.append)
    assert made is not None
    loaded = Synthesizer.load(tmp_path)
    assert loaded.hash == made.hash
    assert loaded.config.data.smears == 3
    assert loaded.config.steps_done == 2
    assert not any(parameter.requires_grad for parameter in loaded.generator.parameters())
    assert isinstance(loaded.shapes, ShapeLibrary)
    assert loaded.statistics.smears == 3
    assert "| command | `as typed` |" in (tmp_path / "model-card.md").read_text()
    assert said[0] == "measuring 3 smears"
    assert any("shapes of" in line for line in said)


def test_the_same_smears_and_seed_give_the_same_model(tmp_path: Path) -> None:
    smears = [random_smear(k) for k in range(3)]
    hashes = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        made = train_synthesizer(smears, preset("tiny", steps=2, seed=seed), TrainingRun(tmp_path / name))
        assert made is not None
        hashes.append(made.hash)
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_parametric_model_holds_no_contour(tmp_path: Path) -> None:
    made = train_synthesizer([random_smear(k) for k in range(4)], SHORT, TrainingRun(tmp_path), parametric=True)
    assert made is not None
    assert not (tmp_path / "shapes.safetensors").exists()
    loaded = Synthesizer.load(tmp_path)
    assert isinstance(loaded.shapes, ParametricShapes)
    assert "no contour of a real cell is kept" in (tmp_path / "model-card.md").read_text()
    assert SyntheticSmears(loaded, size=(64, 64), density=2)[0].count > 0


# Data at the edge of what can be learned from.


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
def test_little_data_is_enough(tmp_path: Path, smears: list[Smear]) -> None:
    made = train_synthesizer(smears, SHORT, TrainingRun(tmp_path))
    assert made is not None
    loaded = Synthesizer.load(tmp_path)
    for style in ("joint", "independent"):
        drawn = SyntheticSmears(loaded, size=(80, 80), density=2, style=style)
        for k in range(3):
            assert drawn[k].image.shape == (80, 80, 3)
    assert "nan" not in (tmp_path / "model-card.md").read_text()


@pytest.mark.parametrize(
    ("discs", "said"),
    [([], "0 shapes of 0 cells"), ([(0, 0, 12), (95, 95, 12)], "2 cut by the border"), ([(40, 40, 1)], "specks")],
    ids=["no cells", "all cut", "specks"],
)
def test_smears_without_a_whole_cell_are_refused_before_anything_is_written(
    tmp_path: Path, discs: list[tuple[float, float, float]], said: str
) -> None:
    with pytest.raises(DataError, match=f"no whole cell.*{said}.*add smears with whole cells"):
        train_synthesizer([analytic_smear((96, 96), discs)], SHORT, TrainingRun(tmp_path / "m"))
    assert list(tmp_path.iterdir()) == []


def test_a_class_without_cells_is_refused_before_training(tmp_path: Path) -> None:
    smears = [analytic_smear(class_names=("red cell", "white cell"), name=str(k)) for k in range(2)]
    with pytest.raises(DataError, match=r"no cell of class white cell in the 2 smears .*leave the class out"):
        train_synthesizer(smears, short("red cell", "white cell"), TrainingRun(tmp_path / "m"))
    assert list(tmp_path.iterdir()) == []
    assert build_label_source(smears, short("red cell")).statistics.smears == 2


def test_an_output_that_is_a_file_is_refused_before_the_smears_are_read(tmp_path: Path) -> None:
    (tmp_path / "m").write_text("x")
    with pytest.raises(ModelError, match="m: is a file; name a folder"):
        train_synthesizer(Unreadable(), SHORT, TrainingRun(tmp_path / "m"))
    with pytest.raises(DataError, match="cannot be written"):
        train_synthesizer([random_smear(1)], SHORT, TrainingRun(tmp_path / "m" / "below"))
    assert (tmp_path / "m").read_text() == "x"


# Going on.


def test_a_run_goes_on_with_the_same_smears_alone(tmp_path: Path) -> None:
    smears = [random_smear(k) for k in range(3)]
    stopped = TrainingRun(tmp_path, time_limit=0)
    assert train_synthesizer(smears, SHORT, stopped) is None
    with pytest.raises(ModelError, match="not finished"):
        Synthesizer.load(tmp_path)
    with pytest.raises(ModelError, match="was started on other smears; use the same smears, another output"):
        train_synthesizer(smears[:2], SHORT, TrainingRun(tmp_path))
    with pytest.raises(ModelError, match="was started with seed = 0, now it is 1"):
        train_synthesizer(smears, preset("tiny", steps=2, seed=1), TrainingRun(tmp_path))
    made = train_synthesizer(smears, SHORT, TrainingRun(tmp_path))
    assert made is not None
    assert made.config.steps_done == 2
    # a finished model is trained further, and stays whole until it is replaced
    longer = preset("tiny", steps=4)
    assert train_synthesizer(smears, longer, TrainingRun(tmp_path, time_limit=0)) is None
    assert Synthesizer.load(tmp_path).hash == made.hash
    further = train_synthesizer(smears, longer, TrainingRun(tmp_path))
    assert further is not None
    assert Synthesizer.load(tmp_path).hash == further.hash != made.hash


@pytest.mark.parametrize("finished", [False, True])
def test_other_smears_under_the_same_names_are_refused(tmp_path: Path, finished: bool) -> None:
    folder = write_folder(tmp_path / "data", [random_smear(k) for k in range(3)])
    model = tmp_path / "m"
    made = train_synthesizer(open_smears(folder), SHORT, TrainingRun(model, time_limit=None if finished else 0))
    assert (made is not None) == finished
    before = {path: path.read_bytes() for path in model.rglob("*") if path.is_file()}
    changed = random_smear(1)
    changed.image[changed.labels == 0] //= 2
    write_folder(folder, [random_smear(0), changed, random_smear(2)])
    with pytest.raises(ModelError, match=r"on other smears \(smear-01 is new or has changed\); use the same"):
        train_synthesizer(open_smears(folder), SHORT, TrainingRun(model))
    assert {path: path.read_bytes() for path in model.rglob("*") if path.is_file()} == before
    write_folder(folder, [random_smear(k) for k in range(3)])
    assert train_synthesizer(open_smears(folder), SHORT, TrainingRun(model)) is not None


def test_a_run_of_a_version_that_did_not_note_the_content_goes_on_and_says_so(tmp_path: Path) -> None:
    smears = [random_smear(k) for k in range(2)]
    assert train_synthesizer(smears, SHORT, TrainingRun(tmp_path, time_limit=0)) is None
    noted = tmp_path / "state" / "smears.json"
    rows = json.loads(noted.read_text())
    noted.write_text(json.dumps([row[:-1] for row in rows]))
    with pytest.raises(ModelError, match=r"other smears \(smear-05 is new"):
        train_synthesizer([smears[0], random_smear(5)], SHORT, TrainingRun(tmp_path))
    said: list[str] = []
    assert train_synthesizer(smears, SHORT, TrainingRun(tmp_path), on_message=said.append) is not None
    assert any("noted names and sizes of its smears; their content is noted now" in line for line in said)
    assert json.loads(noted.read_text()) == rows


# The card.


def test_style_fidelity_tells_a_kept_stain_from_a_lost_one() -> None:
    rng = np.random.default_rng(0)
    real = rng.uniform(100, 220, (12, 2, 3))
    kept = StyleFidelity.of_colours(real, real + 4)
    assert kept.correlation == pytest.approx(np.ones((2, 3)))
    assert kept.spread == pytest.approx(np.ones((2, 3)))
    assert kept.error == pytest.approx(np.full((2, 3), 4.0))
    muted = StyleFidelity.of_colours(real, 0.1 * real)
    assert muted.correlation == pytest.approx(np.ones((2, 3)))
    assert muted.spread == pytest.approx(np.full((2, 3), 0.1))
    lost = StyleFidelity.of_colours(real, rng.uniform(150, 151, real.shape))
    assert np.abs(lost.correlation).max() < 0.8
    assert lost.spread.max() < 0.05
    inverted = StyleFidelity.of_colours(real, 255 - real)
    assert inverted.correlation == pytest.approx(-np.ones((2, 3)))


def test_style_fidelity_is_measured_on_smears_with_cells_and_ground(tiny: Synthesizer) -> None:
    bare = analytic_smear((64, 64), [], name="bare")
    full = Smear(bare.image, np.ones((64, 64), np.int32), np.zeros(1, np.int64))
    measured = StyleFidelity.measure(tiny, [bare, full, random_smear(0), random_smear(1), random_smear(2)])
    assert measured.smears == 3
    assert np.isfinite(measured.correlation).all()
    smear = random_smear(0)
    cells = smear.labels > 0
    assert mean_colours(smear.image, cells)[1] == pytest.approx(smear.image[cells].mean(0))


def test_the_card_states_source_and_limits_whatever_the_names_hold(tiny: Synthesizer) -> None:
    source = DataSource(name="a|b\nc", smears=5, licence="MIT", citation="Doe | Roe, 2020")
    model = Synthesizer(
        tiny.config.model_copy(update={"data": source}),
        tiny.generator,
        tiny.encoder,
        tiny.styles,
        tiny.statistics,
        tiny.shapes,
    )
    unknown = StyleFidelity.of_colours(np.zeros((1, 2, 3)), np.ones((1, 2, 3)))
    card = model_card(model, unknown, "")
    assert "| data | a\\|b c, 5 smears, scale 1 |" in card
    assert "| data licence | MIT |" in card
    assert "Its images are synthetic" in card
    assert "not for diagnosis" in card
    assert "| background | unknown, unknown, unknown | unknown, unknown, unknown | 1.0, 1.0, 1.0 |" in card
    assert "| field | 96×96 px" in card


def test_a_folder_of_smears_can_be_learned_from_at_another_scale(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "data", [random_smear(k) for k in range(3)])
    made = train_synthesizer(open_smears(folder, scale=0.75), SHORT, TrainingRun(tmp_path / "m"))
    assert made is not None
    assert made.statistics.field_size == (72, 72)
    assert SyntheticSmears(made)[0].shape == (72, 72)


def test_the_averaged_networks_are_kept(tmp_path: Path) -> None:
    made = train_synthesizer([random_smear(k) for k in range(2)], preset("tiny", steps=3), TrainingRun(tmp_path))
    assert made is not None
    state = next((tmp_path / "state").glob("step-*"))
    average, last = (load_file(state / f"{name}.safetensors") for name in ("average", "weights"))
    differing = 0
    for name, tensor in made.generator.state_dict().items():
        assert (tensor.numpy() == average[f"generator.{name}"]).all()
        differing += int((average[f"generator.{name}"] != last[f"translator.generator.{name}"]).any())
    assert differing
