"""`train` and `estimate_training`: choice of the preset, checks before the work, records and progress."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from smears import random_smear, write_folder
from smearsynth.datasets import open_smears
from smearsynth.errors import DataError, OptionError
from smearsynth.runs import Execution, Progress
from smearsynth.synthesis.config import preset
from smearsynth.synthesis.model.provenance import DataSource
from smearsynth.synthesis.model.synthesizer import Synthesizer
from smearsynth.synthesis.networks.features import load_features
from smearsynth.synthesis.training.train import choose_preset, crop_remark, estimate_training, train

TINY = {"steps": 2, "crop": (32, 32)}


class RecordedProgress(Progress):
    def __init__(self) -> None:
        self.messages: list[str] = []
        self.steps: list[tuple[int, int]] = []

    def message(self, text: str) -> None:
        self.messages.append(text)

    def step(self, step: int, total: int, losses: Mapping[str, float] | None = None) -> None:
        self.steps.append((step, total))


def test_train_uses_the_training_split_and_records_the_data(smear_folder: Path, tmp_path: Path) -> None:
    progress = RecordedProgress()
    execution = Execution("cpu", command="as entered", progress=progress)
    source = DataSource(licence="CC0-1.0", citation="none")
    model = train(smear_folder, tmp_path, preset="tiny", settings=TINY, source=source, execution=execution)
    assert model is not None
    assert model.hash == Synthesizer.load(tmp_path).hash
    assert model.config.data == DataSource(
        name="analytic", smears=6, split="train", scale=1.0, licence="CC0-1.0", citation="none"
    )
    assert progress.steps == [(1, 2), (2, 2)]
    assert progress.messages[0] == "measuring 6 smears"
    assert "| command | `as entered` |" in (tmp_path / "model-card.md").read_text()


def test_interrupted_training_continues(smear_folder: Path, tmp_path: Path) -> None:
    arguments = {"preset": "tiny", "settings": TINY, "source": DataSource(name="named")}
    stopped = Execution("cpu", time_limit=0)
    assert train(smear_folder, tmp_path / "a", **arguments, execution=stopped) is None  # type: ignore[arg-type]
    continued, uninterrupted = (train(smear_folder, tmp_path / name, **arguments) for name in "ab")  # type: ignore[arg-type]
    assert continued is not None
    assert uninterrupted is not None
    assert continued.hash == uninterrupted.hash
    assert uninterrupted.config.data.name == "named"


def test_an_opened_split_and_scale_are_recorded(smear_folder: Path, tmp_path: Path) -> None:
    smears = open_smears(smear_folder, split="test", scale=0.75)
    model = train(smears, tmp_path, preset="tiny", settings=TINY)
    assert model is not None
    assert (model.config.data.smears, model.config.data.split, model.config.data.scale) == (3, "test", 0.75)


def test_loaded_features_are_used_and_recorded(smear_folder: Path, tmp_path: Path) -> None:
    features = load_features("efficientnet_lite0")
    model = train(smear_folder, tmp_path, preset="tiny", settings=TINY, features=features)
    assert model is not None
    assert model.config.training.perceptual_features == "efficientnet_lite0"
    assert "perceptual" in (tmp_path / "training-log.csv").read_text().splitlines()[0]


def test_pretrained_model_by_folder(smear_folder: Path, tiny_folder: Path, tmp_path: Path) -> None:
    model = train(smear_folder, tmp_path, preset="tiny", settings=TINY, pretrained=tiny_folder)
    assert model is not None
    assert model.config.pretrained is not None
    assert model.config.pretrained.hash == Synthesizer.load(tiny_folder).hash


def test_errors_are_reported_before_anything_is_written(
    smear_folder: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in tiny_folder.rglob("*")}
    with pytest.raises(DataError, match="holds smears; choose another output folder"):
        train(smear_folder, smear_folder, preset="tiny", settings=TINY)
    with pytest.raises(OptionError, match="is the folder of the pretrained model; choose another output folder"):
        train(smear_folder, tiny_folder, preset="tiny", settings=TINY, pretrained=tiny_folder)
    assert {path: path.stat().st_mtime_ns for path in tiny_folder.rglob("*")} == before
    output = tmp_path / "m"
    with pytest.raises(OptionError, match="setting perceptual_features: `features` sets it, too"):
        train(smear_folder, output, settings={"perceptual_features": "none"}, features="vgg19")
    with pytest.raises(OptionError, match="features 'vgg'"):
        train(smear_folder, output, preset="tiny", features="vgg")
    with pytest.raises(DataError, match="does not exist"):
        train(tmp_path / "nowhere", output)
    assert not output.exists()


def test_smears_without_whole_cells_are_reported_with_their_folder(tmp_path: Path) -> None:
    smear = random_smear(0)
    smear.labels[:] = 0
    folder = write_folder(tmp_path / "data", [type(smear)(smear.image, smear.labels, smear.classes[:0], name="a")])
    with pytest.raises(DataError, match=f"^{folder}: no whole cell"):
        train(folder, tmp_path / "m", preset="tiny", settings=TINY)


def test_settings_apply_to_both_stages() -> None:
    config = choose_preset("paper", ("cell",), {"steps": 5, "flips": "off", "seed": "3", "batch": None})
    assert config.second is not None
    for stage in (config.training, config.second):
        assert (stage.steps, stage.seed, stage.flips, stage.batch) == (5, 3, False, 1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"modulatoin": True}, "setting modulatoin: no such setting"),
        ({"name": "tiny"}, "setting name: no such setting"),
        ({"class_names": ("a",)}, "setting class_names: the classes are those of the data"),
        ({"r1": -1}, "r1: Input should be greater than or equal to 0"),
    ],
)
def test_invalid_settings_are_an_error(settings: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        choose_preset("tiny", ("cell",), settings)


def test_network_settings_conflict_with_a_pretrained_model(tiny: Synthesizer) -> None:
    with pytest.raises(OptionError, match="setting modulation: generator and encoder are those of the pretrained"):
        choose_preset("tiny", ("cell",), {"modulation": True}, tiny)
    config = choose_preset("cpu", ("a", "b"), {"discriminator_filters": 6}, tiny)
    assert (config.network.filters, config.network.discriminator_filters) == (4, 6)
    assert config.network.class_names == ("a", "b")


def test_crops_larger_than_the_smears_are_reported() -> None:
    assert crop_remark(preset("tiny", crop=(96, 64)), (96, 64)) is None
    assert crop_remark(preset("paper"), (96, 96)) is None
    remark = crop_remark(preset("tiny", crop=(96, 128)), (96, 96))
    assert remark is not None
    assert "crops of 128×96 px are larger than the smears (96×96 px)" in remark


def test_estimate_reads_all_smears_and_times_both_precisions(smear_folder: Path) -> None:
    progress = RecordedProgress()
    settings = {"steps": 7, "crop": (32, 128)}
    execution = Execution("cpu", progress=progress)
    estimate = estimate_training(smear_folder, preset="tiny", settings=settings, execution=execution)
    assert (estimate.smears, estimate.class_names, estimate.steps) == (6, ("cell",), 7)
    assert (estimate.precision, estimate.device) == ("fp32", "cpu")
    assert list(estimate.seconds_per_step) == ["fp32", "bf16"]
    assert all(0 < seconds < 60 for seconds in estimate.seconds_per_step.values())
    assert any("crops of 128×32 px" in text for text in progress.messages)


def test_estimate_reports_unreadable_smears(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, [random_smear(k) for k in range(2)])
    (folder / "images" / "smear-01.png").write_bytes(b"damaged")
    progress = RecordedProgress()
    with pytest.raises(DataError, match="1 of 2 smears"):
        estimate_training(folder, preset="tiny", execution=Execution("cpu", progress=progress))
    assert any("smear-01" in text for text in progress.messages)


def test_data_without_splits_are_divided_and_the_model_records_it(tmp_path: Path, tiny_folder: Path) -> None:
    data = write_folder(tmp_path / "data", [random_smear(k) for k in range(12)])
    progress = RecordedProgress()
    arguments = {"preset": "tiny", "settings": TINY, "execution": Execution("cpu", progress=progress)}
    model = train(data, tmp_path / "m", pretrained=tiny_folder, **arguments)  # type: ignore[arg-type]
    assert model is not None
    record = Synthesizer.load(tmp_path / "m").training_smears
    assert record is not None
    assert record == model.training_smears
    assert [smear.name for smear in record.held_out] == [f"smear-{k:02d}" for k in (1, 4, 7, 10)]
    assert len(record.sources[0].smears or ()) == model.config.data.smears == 8
    assert (record.sources[1].role, record.sources[1].hash) == ("pretrained", Synthesizer.load(tiny_folder).hash)
    assert len(record.sources[1].smears or ()) == 6
    assert any("4 of 12 smears, every third, are held out for tests" in text for text in progress.messages)
    estimate = estimate_training(data, tmp_path / "m", **arguments)  # type: ignore[arg-type]
    assert (estimate.smears, estimate.held_out, estimate.completed, estimate.steps) == (8, 4, 2, 0)


def test_few_smears_are_all_training_smears_unless_the_user_decides(smear_folder: Path, tmp_path: Path) -> None:
    data = write_folder(tmp_path / "data", [random_smear(k) for k in range(4)])
    for choice, smears, held_out in (("auto", 4, 0), ("none", 4, 0), ("third", 3, 1)):
        progress = RecordedProgress()
        estimate = estimate_training(
            data,
            preset="tiny",
            settings=TINY,
            hold_out=choice,
            execution=Execution("cpu", progress=progress),  # type: ignore[arg-type]
        )
        assert (estimate.smears, estimate.held_out) == (smears, held_out)
        assert any("no split.csv" in text for text in progress.messages)
    with pytest.raises(OptionError, match="the data have splits"):
        train(smear_folder, tmp_path / "m", preset="tiny", settings=TINY, hold_out="third")
