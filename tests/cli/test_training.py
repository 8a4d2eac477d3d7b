"""`smearsynth train`: a model to start with, other stains, and every setting of networks and training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conftest import Ran, Run
from smearsynth.synthesis.config import NetworkConfig, TrainingConfig
from smearsynth.synthesis.model.synthesizer import Synthesizer

TINY = ("--preset", "tiny", "--steps", 2)


def stored(folder: Path) -> dict[str, dict[str, object]]:
    """What the newest state of a run says of itself."""
    newest = max((folder / "state").glob("step-*"))
    found: dict[str, dict[str, object]] = json.loads((newest / "state.json").read_text())
    return found


def error_of(ran: Ran) -> str:
    assert ran.code == 2, ran
    return ran.err.splitlines()[-1]


# A model to start with.


def test_a_run_starts_with_a_model_and_says_so(
    run: Run, smear_folder: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    arguments = (
        "train",
        smear_folder,
        "-o",
        tmp_path / "m",
        *TINY,
        "--pretrained",
        tiny_folder,
        "--licence",
        "MIT",
    )
    assert run(*arguments, "--time-limit", 0).code == 0
    # the same run with another start is another run
    for other in (("train", *arguments[1:6], "--steps", 2), (*arguments[:8], "--pretrained", "default")):
        line = error_of(run(*other))
        assert "this run was started with" in line
        assert line.startswith(f"error: {tmp_path / 'm' / 'state' / 'step-00000001'}: ")
    assert run(*arguments).code == 0
    made, start = Synthesizer.load(tmp_path / "m"), Synthesizer.load(tiny_folder)
    assert made.config.pretrained is not None
    assert made.config.pretrained.hash == start.hash == stored(tmp_path / "m")["pretrained"]
    shown = run("info", tmp_path / "m")
    assert "pretrained model" in shown.out
    assert "MIT (analytic), CC0-1.0 (analytic)" in " ".join(shown.out.split())
    assert run("generate", "-m", tmp_path / "m", "-o", tmp_path / "g", "-n", 1).code == 0
    assert "MIT (analytic), CC0-1.0 (analytic)" in (tmp_path / "g" / "contact-sheet.html").read_text()


def test_the_networks_are_those_of_the_model_in_the_dry_run_too(
    run: Run, smear_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[NetworkConfig] = []
    monkeypatch.setattr(
        "smearsynth.synthesis.training.train.benchmark_steps",
        lambda smears, preset, *rest: seen.append(preset.network) or {},
    )
    arguments = ("train", smear_folder, "-o", tmp_path / "m", *TINY, "--dry-run")
    assert run(*arguments).code == run(*arguments, "--pretrained", "default").code == 0
    plain, warm = seen
    shipped = Synthesizer.load().config.network
    assert (plain.filters, warm.filters, shipped.filters) == (4, 16, 16)
    assert warm.downs == shipped.downs
    assert warm.discriminator_filters == plain.discriminator_filters


def test_bad_starts_are_told_before_anything_is_written(
    run: Run, smear_folder: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "m"
    for start, said in (
        (tmp_path / "nowhere", f"{tmp_path / 'nowhere'}: no such model folder"),
        (smear_folder, "not a model folder, SHA256SUMS is missing"),
    ):
        assert said in error_of(run("train", smear_folder, "-o", out, *TINY, "--pretrained", start))
        assert not out.exists()
    line = error_of(run("train", smear_folder, "-o", tiny_folder, *TINY, "--pretrained", tiny_folder))
    assert line == f"error: {tiny_folder} is the folder of the pretrained model; choose another output folder"
    line = error_of(
        run("train", smear_folder, "-o", out, *TINY, "--pretrained", tiny_folder, "--set", "modulation=true")
    )
    assert line == (
        "error: setting modulation: generator and encoder are those of the pretrained model; "
        "remove this setting, or train without a pretrained model"
    )
    assert not out.exists()


# Settings.


def test_settings_reach_the_run_and_other_ones_do_not_continue_it(
    run: Run, smear_folder: Path, tmp_path: Path
) -> None:
    given = {
        "modulation": True,
        "label_discriminator": True,
        "debris": True,
        "discriminator_norm": "spectral",
        "padding": "zeros",
        "r1": 0.5,
        "discriminator_augmentation": 0.25,
        "learning_rate": 0.001,
    }
    words = [word for key, value in given.items() for word in ("--set", f"{key}={str(value).lower()}")]
    arguments = ("train", smear_folder, "-o", tmp_path, *TINY, *words, "--set", "crop=48x32", "--time-limit", 0)
    assert run(*arguments, "--stain-augmentation", 0.5).code == 0
    preset = stored(tmp_path)["preset"]
    settings = {**preset["network"], **preset["training"]}  # type: ignore[dict-item]
    assert {key: settings[key] for key in given} == given
    assert (settings["crop"], settings["stain_augmentation"], settings["filters"]) == ([32, 48], 0.5, 4)
    assert "started with stain_augmentation = 0.5, now it is 0.0" in error_of(run(*arguments))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("--set", "modulatoin=true"),
            "--set 'modulatoin': no such setting; did you mean modulation? '--set help'",
        ),
        (("--set", "zzz=1"), "--set 'zzz': no such setting; '--set help' lists all settings"),
        (("--set", "class_names=a"), "--set 'class_names': no such setting"),
        (("--set", "scale=0.5"), "--set 'scale': no such setting"),
        (("--set", "modulation"), "--set 'modulation': give KEY=VALUE, such as modulation=true"),
        (("--set", "=3"), "--set '=3': give KEY=VALUE"),
        (("--set", "r1=1", "--set", "r1=2"), "--set r1: given twice"),
        (("--set", "steps=9"), "--set steps: also given as an option"),
        (("--set", "modulation=maybe"), "modulation: Input should be a valid boolean"),
        (
            ("--set", "discriminator_augmentation=1.5"),
            "discriminator_augmentation: Input should be less than or equal to 1",
        ),
        (("--set", "r1=nan"), "r1: Input should be greater than or equal to 0"),
        (("--set", "downs=2.5"), "downs: Input should be a valid integer"),
        (("--set", "padding=wrap"), "padding: Input should be 'reflect' or 'zeros'"),
        (("--set", "crop=big"), "size 'big': give width and height in px"),
        (("--set", "crop=63x64"), "crop: sides must be multiples of 4"),
        (("--stain-augmentation", "1.5"), "Invalid value for '--stain-augmentation'"),
        (("--stain-augmentation", "-0.1"), "Invalid value for '--stain-augmentation'"),
    ],
)
def test_absurd_settings_leave_nothing(
    run: Run, smear_folder: Path, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    ran = run("train", smear_folder, "-o", tmp_path / "m", *TINY, *words)
    assert said in error_of(ran)
    assert not (tmp_path / "m").exists()


def test_all_settings_are_explained_without_data(run: Run) -> None:
    ran = run("train", "--set", "help")
    assert ran.code == 0
    assert ran.err == ""
    text = " ".join(ran.out.split())
    for name in {*NetworkConfig.model_fields, *TrainingConfig.model_fields} - {"class_names", "scale"}:
        assert f" {name} " in text
    assert "(reflect, zeros)" in text
    assert "Settings for --set" in text


def test_crops_larger_than_the_smears_are_told_before_training(
    run: Run, smear_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smearsynth.synthesis.training.train.benchmark_steps", lambda *given: {})
    ran = run("train", smear_folder, "-o", tmp_path / "m", *TINY, "--dry-run", "--set", "crop=128x96")
    assert ran.code == 0
    assert "crops of 128×96 px are larger than the smears (96×96 px)" in ran.err
