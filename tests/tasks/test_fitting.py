from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import IterableDataset

from smears import analytic_smear, random_smear, write_folder
from smearsynth.datasets import open_smears
from smearsynth.errors import DataError, ModelError, OptionError
from smearsynth.smear import Smear
from smearsynth.synthesis.model.synthesizer import Synthesizer
from smearsynth.tasks import Contours, FitRun, Segmentation, fit, fitting, load_model, save_model
from smearsynth.tasks.config import FcnConfig, FitConfig, TaskConfig
from smearsynth.tasks.fitting import _describe as described
from smearsynth.tasks.fitting import hold_out
from smearsynth.tasks.samples import WINDOW, SmearSupply, draw_samples

SMEARS = [random_smear(k) for k in range(10)]


def tiny(**settings: object) -> Segmentation:
    return Segmentation.preset("tiny", **({"steps": 6, "validate_every": 2, "batch": 1} | settings))


@pytest.mark.parametrize("kind", [Segmentation, Contours])
def test_no_smears_have_no_score(kind: type[Segmentation] | type[Contours]) -> None:
    with pytest.raises(DataError, match="no smears to score"):
        kind.preset("tiny").evaluate([])


def test_a_folder_that_cannot_be_written_is_told_of_before_the_first_step(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="file"):
        fit(tiny(), SMEARS, FitRun(tmp_path / "file" / "m", on_step=lambda step, row: pytest.fail("a step")))


def same_weights(one: Segmentation, other: Segmentation) -> bool:
    theirs = other.network.state_dict()
    return all(torch.equal(tensor, theirs[name]) for name, tensor in one.network.state_dict().items())


class Endless:
    """A stream with numbers; counts what was made."""

    def __init__(self) -> None:
        self.made: list[int] = []

    def __getitem__(self, index: int) -> Smear:
        self.made.append(index)
        return random_smear(index, (64, 64))

    def __iter__(self) -> Iterator[Smear]:
        raise AssertionError("numbers are faster")


# Going on.


@pytest.mark.parametrize("stop_after", [1, 3, 4])
def test_a_stopped_run_goes_on_bit_identically(tmp_path: Path, stop_after: int) -> None:
    whole = tiny(steps=5)
    wanted = fit(whole, SMEARS, FitRun(tmp_path / "whole"))

    def stop(step: int, row: object) -> None:
        if step == stop_after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(tiny(steps=5), SMEARS, FitRun(tmp_path / "cut", save_every=1, on_step=stop))
    first = fit(tiny(steps=5), SMEARS, FitRun(tmp_path / "cut", time_limit=0))
    assert not first.finished
    assert first.steps == stop_after
    resumed = tiny(steps=5)
    assert fit(resumed, SMEARS, FitRun(tmp_path / "cut")) == wanted
    assert same_weights(resumed, whole)
    assert not (tmp_path / "cut" / "state.safetensors").exists()


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    made = tiny()
    report = fit(made, SMEARS, FitRun(tmp_path))
    again = tiny()
    seen: list[int] = []
    assert fit(again, SMEARS, FitRun(tmp_path, on_step=lambda step, row: seen.append(step))) == report
    assert seen == []
    assert same_weights(made, again)


def test_a_folder_of_other_settings_is_refused(tmp_path: Path) -> None:
    fit(tiny(), SMEARS, FitRun(tmp_path / "a"))
    fit(tiny(), SMEARS, FitRun(tmp_path / "b", time_limit=0))
    for folder in ("a", "b"):
        with pytest.raises(ModelError, match=r"contains a model with fit.seed = 0, now it is 7; use the same"):
            fit(tiny(seed=7), SMEARS, FitRun(tmp_path / folder))
        with pytest.raises(ModelError, match=r"smears = 10 smears, .* now it is 9 smears, .*; use the same"):
            fit(tiny(), SMEARS[1:], FitRun(tmp_path / folder))
        with pytest.raises(ModelError, match=r"smears = 10 smears, content .*, now it is 10 smears, content .*;"):
            fit(tiny(), [*SMEARS[:9], random_smear(10)], FitRun(tmp_path / folder))
        with pytest.raises(ModelError, match="contains a model of segmentation, not contours"):
            fit(Contours.preset("tiny"), SMEARS, FitRun(tmp_path / folder))


@pytest.mark.parametrize("time_limit", [0, None], ids=["unfinished", "finished"])
def test_other_smears_under_the_same_names_are_refused(tmp_path: Path, time_limit: float | None) -> None:
    data, model = write_folder(tmp_path / "data", SMEARS[:3]), tmp_path / "m"
    fit(tiny(), open_smears(data), FitRun(model, time_limit=time_limit))
    before = {path.name: path.read_bytes() for path in model.iterdir()}
    relabelled = replace(SMEARS[1], labels=np.ascontiguousarray(SMEARS[1].labels[::-1]))
    write_folder(data, [SMEARS[0], relabelled, SMEARS[2]])
    with pytest.raises(ModelError, match=r"smears = 3 smears, names and scale (\w+), content .* \1, content .*;"):
        fit(tiny(), open_smears(data), FitRun(model))
    assert {path.name: path.read_bytes() for path in model.iterdir()} == before
    write_folder(data, SMEARS[:3])
    assert fit(tiny(), open_smears(data), FitRun(model)).finished


@pytest.mark.parametrize("finished", [False, True])
def test_a_folder_of_a_version_that_did_not_note_the_content_serves_and_says_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished: bool
) -> None:
    data, run = open_smears(write_folder(tmp_path / "data", SMEARS[:3])), FitRun(tmp_path / "m")
    with monkeypatch.context() as before:
        before.setattr(fitting, "_describe", lambda smears, content: described(smears, content=False))
        fit(tiny(), data, run if finished else FitRun(run.folder, time_limit=0))
    with pytest.raises(ModelError, match="smears = 3 smears, names and scale"):
        fit(tiny(), data[:2], run)
    report = fit(tiny(), data, run)
    assert report.finished
    assert not report.knows_content
    assert fit(tiny(), data, FitRun(tmp_path / "new")).knows_content


def test_in_memory_smears_are_not_read_to_tell_them_from_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "digest", lambda smear: pytest.fail("read"))
    assert fit(tiny(), SMEARS[:2]).smears == "2 smears"


def test_a_damaged_state_says_so(tmp_path: Path) -> None:
    fit(tiny(), SMEARS, FitRun(tmp_path, time_limit=0))
    state = tmp_path / "state.safetensors"
    state.write_bytes(state.read_bytes()[:5000])
    with pytest.raises(ModelError, match=r"state.safetensors: the training state is damaged .*; delete it"):
        fit(tiny(), SMEARS, FitRun(tmp_path))


def test_an_output_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m").write_text("x")
    with pytest.raises(ModelError, match="is a file; name a model folder"):
        fit(tiny(), SMEARS, FitRun(tmp_path / "m"))


# What is learned from, what is kept.


def test_seed_decides_and_global_seeds_do_not(tmp_path: Path) -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    one, other, third = tiny(), tiny(), tiny(seed=1)
    fit(one, SMEARS)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(2)
    fit(other, SMEARS)
    fit(third, SMEARS)
    assert same_weights(one, other)
    assert not same_weights(one, third)


@pytest.mark.parametrize(
    ("scores", "slack", "step"),
    [
        ([[0.3, 0.3], [0.9, 0.9], [0.5, 0.5]], 1, 4),
        ([[0.3, 0.3], [0.90, 0.80], [0.82, 0.86]], 1, 6),  # one smear better, one worse: as good as any
        ([[0.3, 0.3], [0.90, 0.80], [0.82, 0.86]], 0, 4),
        ([[0.3, 0.3], [0.90, 0.80], [0.86, 0.77]], 1, 4),  # worse on both
        ([[0.3], [0.9], [0.89]], 1, 4),  # one smear knows no error
    ],
)
def test_the_last_weights_that_validate_as_well_as_any_are_kept(
    monkeypatch: pytest.MonkeyPatch, scores: list[list[float]], slack: float, step: int
) -> None:
    coming = iter(scores)
    model, kept = tiny(slack=slack), {}
    evaluate = type(model).evaluate

    def told(self: Segmentation, smears: object) -> object:
        kept[len(kept)] = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
        found, each = evaluate(self, smears), next(coming)  # type: ignore[arg-type]
        images = tuple(replace(image, score=score) for image, score in zip(found.images, each, strict=True))
        return type(found)(found.metric, sum(each) / len(each), images)

    monkeypatch.setattr(Segmentation, "evaluate", told)
    report = fit(model, SMEARS, validation=SMEARS[: len(scores[0])])
    assert report.best_step == step
    assert report.best_score == pytest.approx(sum(scores[step // 2 - 1]) / len(scores[0]))
    assert all(
        torch.equal(tensor, kept[step // 2 - 1][name]) for name, tensor in model.network.state_dict().items()
    )


def test_held_out_smears_are_not_trained_on() -> None:
    train, held = hold_out(SMEARS, FitConfig(seed=3))
    assert sorted(smear.name for smear in (*train, *held)) == [smear.name for smear in SMEARS]
    assert len(held) == 2
    assert [len(hold_out(SMEARS[:n], FitConfig())[1]) for n in (1, 4, 5)] == [0, 0, 1]
    assert len(hold_out(SMEARS * 30, FitConfig())[1]) == FitConfig().held_out


def test_too_few_smears_to_hold_any_out_keep_the_last_weights() -> None:
    report = fit(tiny(), SMEARS[:2])
    assert report.best_score is None
    assert report.best_step == report.steps == 6


def test_validation_smears_without_a_cell_choose_nothing(tmp_path: Path) -> None:
    report = fit(
        Contours.preset("tiny", steps=2), SMEARS[:3], FitRun(tmp_path), validation=[analytic_smear(discs=[])]
    )
    assert report.best_score is None
    assert load_model(tmp_path).name == "contours"


def test_a_stream_gives_new_smears_every_step_and_goes_on_from_any() -> None:
    stream = Endless()
    supply = SmearSupply(stream, 0)  # type: ignore[arg-type]
    names = [[smear.name for smear in supply.at(step)] for step in range(3)]
    assert stream.made == list(range(WINDOW + 2))
    later = Endless()
    assert [smear.name for smear in SmearSupply(later, 2).at(2)] == names[2]  # type: ignore[arg-type]
    assert later.made[0] == 2
    plain = SmearSupply((random_smear(k, (64, 64)) for k in range(99)), 2)
    assert [smear.name for smear in plain.at(2)] == names[2]


def test_a_stream_of_pytorch_that_cannot_be_indexed_is_iterated() -> None:
    class Stream(IterableDataset[Smear]):
        def __iter__(self) -> Iterator[Smear]:
            return (random_smear(k, (64, 64)) for k in range(99))

    assert [smear.name for smear in SmearSupply(Stream(), 3).at(3)][:2] == ["smear-03", "smear-04"]


def test_it_trains_on_a_stream(tmp_path: Path) -> None:
    report = fit(tiny(steps=2), Endless(), FitRun(tmp_path))  # type: ignore[arg-type]
    assert report.finished
    assert report.best_score is None


def test_no_smears_and_streams_that_end_are_refused() -> None:
    with pytest.raises(DataError, match="no smears to train on"):
        fit(tiny(), [])
    with pytest.raises(DataError, match=r"ended after 3; give an endless stream"):
        fit(tiny(), iter(SMEARS[:3]))


def test_crops_depend_on_seed_and_step_alone() -> None:
    config = FitConfig(batch=3, crop=(48, 40), seed=4)
    one, again, other = (draw_samples(SMEARS, config, step) for step in (7, 7, 8))
    assert all((a.image == b.image).all() and (a.labels == b.labels).all() for a, b in zip(one, again, strict=True))
    assert not all((a.image == b.image).all() for a, b in zip(one, other, strict=True))
    assert all(crop.shape == (48, 40) for crop in one)
    small = draw_samples([random_smear(0, (40, 96))], config, 0)
    assert [crop.shape for crop in small] == [(40, 40)] * 3
    whole = draw_samples(SMEARS, FitConfig(crop=None, batch=1), 0)
    assert whole[0].shape == (96, 96)


def test_augment_gets_every_crop_and_the_generator_of_the_step() -> None:
    calls: list[tuple[int, float]] = []

    def invert(crop: Smear, others: object, rng: np.random.Generator) -> Smear:
        calls.append((len(others), rng.random()))  # type: ignore[arg-type]
        return Smear(255 - crop.image, crop.labels, crop.classes)

    config = FitConfig(batch=2, crop=(48, 48))
    plain, inverted = draw_samples(SMEARS, config, 1), draw_samples(SMEARS, config, 1, invert)
    assert all((a.image == 255 - b.image).all() for a, b in zip(plain, inverted, strict=True))
    assert [size for size, _ in calls] == [2, 2]
    assert calls[0] != calls[1]


def test_divergence_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = lambda self, smears: next(self.network.parameters()).sum() * float("nan")  # noqa: E731
    monkeypatch.setattr(Segmentation, "loss", lost)
    with pytest.raises(ModelError, match=r"diverged at step 2; lower the learning rate"):
        fit(tiny(), SMEARS)


# The folder.


def test_a_model_folder_gives_the_model_back(tmp_path: Path) -> None:
    model = tiny()
    report = fit(model, SMEARS, FitRun(tmp_path))
    loaded = load_model(tmp_path)
    assert isinstance(loaded, Segmentation)
    assert loaded.config == model.config
    found, wanted = (each.predict(SMEARS[0].image).labels for each in (loaded, model))
    assert (found == wanted).all()
    log = (tmp_path / "fit-log.csv").read_text().splitlines()
    assert log[0] == "step,loss,validation"
    assert len(log) == 1 + len(report.history) == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "SHA256SUMS",
        "config.json",
        "fit-log.csv",
        "weights.safetensors",
    ]


def test_what_is_no_model_folder_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such model folder; train one with `smearsynth train-task`"):
        load_model(tmp_path / "none")
    with pytest.raises(ModelError, match=r"not a task model, config.json is missing; name a folder"):
        load_model(tmp_path)
    fit(tiny(), SMEARS, FitRun(tmp_path / "half", time_limit=0))
    with pytest.raises(ModelError, match="not finished; run the same `smearsynth train-task` again"):
        load_model(tmp_path / "half")


def altered(name: str) -> Callable[[Path], None]:
    """One figure of a file is another one; it can be read as before."""

    def change(folder: Path) -> None:
        content = (folder / name).read_text()
        assert '"held_out": ' in content
        (folder / name).write_text(content.replace('"held_out": ', '"held_out": 1'))

    return change


def unsigned(name: str, content: str) -> Callable[[Path], None]:
    """A file as older versions may have written it: they gave no sums."""

    def change(folder: Path) -> None:
        (folder / name).write_text(content)
        (folder / "SHA256SUMS").unlink()

    return change


def test_a_folder_without_sums_loads_and_gets_them_when_it_is_saved_again(tmp_path: Path) -> None:
    model = tiny()
    save_model(tmp_path, model)
    sums = (tmp_path / "SHA256SUMS").read_text()
    assert [line.split("  ")[1] for line in sums.splitlines()] == ["config.json", "weights.safetensors"]
    (tmp_path / "SHA256SUMS").unlink()
    loaded = load_model(tmp_path)
    assert isinstance(loaded, Segmentation)
    assert same_weights(loaded, model)
    save_model(tmp_path, loaded)
    assert (tmp_path / "SHA256SUMS").read_text() == sums


def test_a_task_model_is_no_synthesizer(tmp_path: Path) -> None:
    save_model(tmp_path, tiny())
    with pytest.raises(ModelError, match="holds a task model, no synthesizer; name a folder"):
        Synthesizer.load(tmp_path)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (altered("config.json"), "config.json: altered or damaged, its hash is not the one in SHA256SUMS"),
        (lambda folder: (folder / "SHA256SUMS").write_text("x"), "config.json: altered or damaged"),
        (unsigned("config.json", "{}"), "not the configuration of a task model"),
        (lambda folder: (folder / "weights.safetensors").write_bytes(b"x"), "altered or damaged"),
        (lambda folder: (folder / "weights.safetensors").unlink(), "cannot be read"),
    ],
)
def test_a_damaged_model_is_refused(tmp_path: Path, spoil: object, said: str) -> None:
    save_model(tmp_path, tiny())
    spoil(tmp_path)  # type: ignore[operator]
    with pytest.raises(ModelError, match=said):
        load_model(tmp_path)


def test_settings_of_another_version_are_told(tmp_path: Path) -> None:
    save_model(tmp_path, tiny())
    record = json.loads((tmp_path / "config.json").read_text())
    record["config"]["fit"]["colour"] = 1
    unsigned("config.json", json.dumps(record))(tmp_path)
    with pytest.raises(ModelError, match=r"another version of smearsynth \(fit.colour"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"steps": 0}, "steps: .*greater than or equal to 1"),
        ({"crop": (16, 64)}, "crop: .*at least 32 px"),
        ({"epochs": 3}, "epochs: Extra inputs"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        Segmentation.preset("cpu", **settings)


def test_unknown_presets_and_foreign_configurations_are_refused() -> None:
    with pytest.raises(OptionError, match="unknown preset 'gpu' of segmentation; choose one of cpu, paper, tiny"):
        Segmentation.preset("gpu")
    with pytest.raises(OptionError, match="takes a SegmentationConfig, not TaskConfig"):
        Segmentation(TaskConfig())
    assert FcnConfig().filters == 64
