"""Files of format 1, written at f25f8b7, stay readable: models, states, recipes, task models, results, caches.

``format_1/`` holds files written by the code of f25f8b7: a tiny synthesizer with its training state, a model
fine-tuned from it, a task model, synthetic smears, and a benefit experiment. All use the smears in
``format_1/smears``.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from conftest import Run
from smearsynth import Synthesizer, SyntheticSmears, open_smears
from smearsynth.evaluation.audit.record import Audit
from smearsynth.evaluation.realism.realism import Realism
from smearsynth.experiment.experiment import Experiment, Source
from smearsynth.experiment.facts import SynthesizerFacts
from smearsynth.experiment.plan import Settings, smear_digests
from smearsynth.experiment.records import BenefitResult
from smearsynth.experiment.running import remaining_work
from smearsynth.generation.recipe import Recipe
from smearsynth.migrations import text_to_format_1, to_current, to_format_1
from smearsynth.tasks import load_model

FORMAT_1 = Path(__file__).parent / "format_1"
RESULTS = Path(__file__).parents[1] / "docs" / "results"


def recipes(manifest: str) -> list[str]:
    return (FORMAT_1 / "generated" / manifest).read_text().splitlines()


def test_a_model_is_read_with_current_names_and_keeps_its_hash() -> None:
    model = Synthesizer.load(FORMAT_1 / "model")
    training = model.config.training
    assert (training.stain_augmentation, training.discriminator_augmentation, training.warmup) == (0.5, 0.2, 7)
    assert model.hash == json.loads(recipes("manifest.jsonl")[0])["model"]


def test_a_fine_tuned_model_names_the_one_it_started_from() -> None:
    child, parent = (Synthesizer.load(FORMAT_1 / name) for name in ("child", "model"))
    assert child.config.pretrained is not None
    assert child.config.pretrained.hash == parent.hash


def test_a_model_that_is_saved_again_keeps_its_hash(tmp_path: Path) -> None:
    model = Synthesizer.load(FORMAT_1 / "model")
    model.save(tmp_path / "again")
    assert "stain_augmentation" in (tmp_path / "again" / "config.json").read_text()
    assert Synthesizer.load(tmp_path / "again").hash == model.hash


@pytest.mark.parametrize("manifest", ["manifest.jsonl", "manifest-light.jsonl"])
def test_a_recipe_is_read_and_written_byte_by_byte(manifest: str) -> None:
    for line in recipes(manifest):
        recipe = Recipe.model_validate_json(line)
        assert "augmented" in (recipe.stain, recipe.light)
        assert recipe.to_json() == line


def test_a_recipe_of_format_1_generates_a_smear() -> None:
    # Not the same one: contact layouts have changed, and recipes are exact within one version only.
    recipe = Recipe.from_image(FORMAT_1 / "generated" / "smear-000000.png")
    assert recipe is not None
    smear, again = SyntheticSmears.from_recipe(recipe, FORMAT_1 / "model").make(recipe.index)
    assert smear.shape == (recipe.height, recipe.width)
    assert abs(again.placed - recipe.placed) <= 3
    assert again.model == recipe.model


def test_a_training_continues_from_its_state(tmp_path: Path, run: Run) -> None:
    shutil.copytree(FORMAT_1 / "model" / "state", tmp_path / "model" / "state")
    settings = [f"--set={setting}" for setting in (
        "discriminator_augmentation=0.2", "warmup=7", "debris=true", "filters=2", "discriminator_filters=2",
        "blocks=0", "downs=1", "style_channels=2", "crop=32x32",
    )]  # fmt: skip
    command = ["train", FORMAT_1 / "smears", "-o", tmp_path / "model", "--preset", "tiny", "--steps", 6]
    result = run(*command, "--stain-augmentation", 0.5, *settings)
    assert result.code == 0, result.err
    assert Synthesizer.load(tmp_path / "model").config.steps_done == 6
    other = run(*command, "--stain-augmentation", 0.1, *settings)
    assert "stain_augmentation" in other.err  # the stored value is compared under its current name


def test_a_task_model_is_read() -> None:
    model = load_model(FORMAT_1 / "contours")
    assert model.config.min_area == 30  # type: ignore[attr-defined]
    assert model.predict(np.zeros((40, 50, 3), np.uint8)).labels is not None


def test_a_finished_task_training_is_recognised(tmp_path: Path, run: Run) -> None:
    shutil.copytree(FORMAT_1 / "contours", tmp_path / "contours")
    before = (tmp_path / "contours" / "weights.safetensors").read_bytes()
    arguments = ["train-task", "contours", FORMAT_1 / "smears", "-o", tmp_path / "contours", "--preset", "tiny"]
    assert run(*arguments, "--steps", 2).code == 0
    assert (tmp_path / "contours" / "weights.safetensors").read_bytes() == before


def test_cached_runs_of_an_experiment_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No run is left to do: the keys are those of f25f8b7 (with its version of PyTorch)."""
    monkeypatch.setattr("smearsynth.experiment.experiment.version", lambda name: "2.14.1")
    monkeypatch.setattr("smearsynth.experiment.plan.version", lambda name: "0.1.0")
    smears = open_smears(FORMAT_1 / "smears", classes="one")
    train, test = smears.split("train"), smears.split("test")
    settings = Settings(
        tasks=("segmentation",), arms=("RD", "SD", "RD+SD+aug"), preset="tiny", steps=4, seeds=2, synthetic=4
    )
    model = Synthesizer.load(FORMAT_1 / "model")
    facts = SynthesizerFacts(hash=model.hash, name="analytic", smears=6, misfit=None)
    shutil.copytree(FORMAT_1 / "benefit", tmp_path / "benefit")
    known = smear_digests(train, "train"), smear_digests(test, "test")
    sources = {len(train): Source(FORMAT_1 / "model", facts)}
    experiment = Experiment(train, test, known, settings, sources, tmp_path / "benefit", "cpu")
    assert remaining_work(experiment) == []
    experiment.settings = settings.model_copy(update={"synthetic_fraction": 0.4})
    assert len(remaining_work(experiment)) > 0


@pytest.mark.parametrize("path", sorted(RESULTS.glob("benefit-*.json")), ids=lambda path: path.stem)
def test_results_of_experiments_are_read(path: Path) -> None:
    result = BenefitResult.load(path)
    assert result.facts.stain == "augmented"
    assert 0 < result.facts.synthetic_fraction < 1
    assert len(result.runs) > 10


def test_the_result_of_the_small_experiment_is_read() -> None:
    assert BenefitResult.load(FORMAT_1 / "benefit" / "benefit.json").facts.synthetic == 4


@pytest.mark.parametrize("name", ["realism-chula", "realism-bbbc041seg"])
def test_realism_records_are_read_with_nested_estimates(name: str) -> None:
    record = json.loads((RESULTS / f"{name}.json").read_text())
    result = Realism.model_validate(record)
    assert result.kid.value == pytest.approx(
        record["kid"] if isinstance(record["kid"], float) else result.kid.value
    )
    assert result.kid.interval is not None
    assert result.kid.interval[0] <= result.kid.value <= result.kid.interval[1]


def test_audit_records_are_read() -> None:
    result = Audit.model_validate_json((RESULTS / "audit-chula.json").read_text())
    assert result.controls == 498
    assert result.controls_detected > 0.99


def test_translations_are_inverse() -> None:
    record = {"stain": "own", "light": "varied", "acquisition": {"mottle": 0.25}, "seed": 1e-05}
    current = to_current("recipe", record)
    assert current == {
        "stain": "original",
        "light": "augmented",
        "acquisition": {"correlated_noise": 0.25},
        "seed": 1e-05,
    }
    assert to_format_1("recipe", current) == record
    assert to_current("recipe", current) == current  # current names stay
    assert text_to_format_1("recipe", json.dumps(current)) == json.dumps(record)
