from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from smearsynth.errors import OptionError
from smearsynth.experiment.experiment import Experiment, Mixture, Source
from smearsynth.experiment.facts import SynthesizerFacts
from smearsynth.experiment.plan import Job, Settings
from smearsynth.smear import Smear


def flat(value: int) -> Smear:
    return Smear(np.full((4, 4, 3), value, np.uint8), np.zeros((4, 4), np.int32), np.array([], int))


def test_a_random_item_of_a_mixture_is_synthetic_with_the_given_probability() -> None:
    mixture = Mixture([flat(1), flat(2)], [flat(9), flat(8), flat(7)], 0.25)
    rng = np.random.default_rng(0)
    counts = Counter(int(mixture[int(rng.integers(len(mixture)))].image[0, 0, 0]) for _ in range(4000))
    assert (counts[7] + counts[8] + counts[9]) / 4000 == pytest.approx(0.25, abs=0.03)
    assert min(counts[1], counts[2]) / 4000 == pytest.approx(0.375, abs=0.03)
    assert mixture[len(mixture) - 1].image[0, 0, 0] == 2
    assert mixture[0].image[0, 0, 0] == 9


def test_selection_as_in_the_paper_trains_on_all_smears_and_selects_on_the_test_smears(
    experiment: Experiment, settings: Settings
) -> None:
    job = Job("segmentation", "RD", 6, 0)
    as_paper = replace(experiment, settings=settings.model_copy(update={"select_by": "test"}))
    assert (experiment.held_out_count(job), experiment.selection_count(job)) == (1, 1)
    assert (as_paper.held_out_count(job), as_paper.selection_count(job)) == (0, len(experiment.test))
    assert as_paper.config(job).fit.slack == 0


def test_the_key_depends_on_everything_that_determines_the_result(
    experiment: Experiment, settings: Settings
) -> None:
    job = Job("segmentation", "RD+SD", 6, 0)
    keys = {experiment.key(job)}
    keys |= {experiment.key(other) for other in (job._replace(seed=1), job._replace(arm="RD"))}
    variants = [
        replace(experiment, settings=settings.model_copy(update=update))
        for update in (
            {"synthetic_fraction": 0.4},
            {"synthetic": 5},
            {"steps": 3},
            {"stain": "original"},
            {"select_by": "test"},
        )
    ]
    facts = SynthesizerFacts(hash="other", name="other", smears=6)
    variants.append(replace(experiment, sources={6: Source(Path("x"), facts)}))
    train, test = experiment.digests
    variants.append(replace(experiment, digests=(train, ("0", *test[1:]))))
    variants.append(replace(experiment, digests=((*train[1:], "0"), test)))
    keys |= {variant.key(job) for variant in variants}
    assert len(keys) == 3 + len(variants)
    # a run without synthetic smears does not depend on their settings and source
    real = job._replace(arm="RD")
    assert {variants[k].key(real) for k in (0, 1, 3, 5)} == {experiment.key(real)}


def test_cache_names_of_stains_are_those_of_format_1(experiment: Experiment) -> None:
    assert experiment.make_pool(6, 0, "augmented")
    assert experiment.make_pool(6, 0, "original")
    names = sorted(path.name for path in (experiment.folder / "synthetic").iterdir())
    hash12 = experiment.sources[6].hash[:12]
    assert names == [f"{hash12}-0-own", f"{hash12}-0-varied"]


def test_a_run_is_stored_and_loaded_under_its_key(experiment: Experiment) -> None:
    job = Job("segmentation", "RD", 6, 0)
    assert experiment.load_result(experiment.key(job)) is None
    steps: list[int] = []
    assert experiment.run(job, steps.append)
    assert steps == [1, 2]
    result = experiment.load_result(experiment.key(job))
    assert result is not None
    run, resampled = result
    assert (run.arm, run.reals, run.smears, run.synthesizer) == ("RD", 6, 5, None)
    assert [row.image for row in run.images] == list(experiment.test.names)
    assert run.value == resampled.value == pytest.approx(np.mean([row.score for row in run.images]), abs=1e-5)
    assert run.pq is not None
    assert (experiment.model_folder(job) / "weights.safetensors").exists()
    assert not any((experiment.folder / "unfinished").iterdir())
    assert experiment.load_result(experiment.key(job._replace(seed=1))) is None


def test_a_missing_synthesizer_is_an_error(experiment: Experiment) -> None:
    with pytest.raises(OptionError, match="no synthesizer for 3 real smears"):
        experiment.key(Job("segmentation", "SD", 3, 0))


def test_a_result_cached_without_pq_stays_valid(experiment: Experiment) -> None:
    job = Job("segmentation", "RD", 6, 0)
    assert experiment.run(job)
    file = experiment.folder / "runs" / f"{experiment.key(job)}.json"
    record = json.loads(file.read_text())
    for row in record["images"]:
        del row["pq"]
    file.write_text(json.dumps(record))
    result = experiment.load_result(experiment.key(job))
    assert result is not None
    assert result[0].pq is None
