from __future__ import annotations

from smearsynth.experiment.experiment import Experiment
from smearsynth.experiment.plan import Job
from smearsynth.experiment.report.examples import example_predictions
from smearsynth.experiment.running import run_all
from smearsynth.experiment.summary import summarise


def test_the_best_and_the_worst_image_of_a_stored_model_are_shown(experiment: Experiment) -> None:
    job = Job("segmentation", "RD", 6, 0)
    assert run_all(experiment, [job])
    result = summarise(experiment, "mine", "")
    best, worst = example_predictions(result, experiment)
    rows = sorted(result.runs[0].images, key=lambda row: row.score)
    assert (best.rank, best.smear, best.score) == ("best", rows[-1].image, rows[-1].score)
    assert (worst.rank, worst.smear, worst.score) == ("worst", rows[0].image, rows[0].score)
    assert (best.task, best.arm) == ("segmentation", "RD")
    height, width = experiment.test[0].shape
    assert best.picture.shape[0] == height
    assert best.picture.shape[1] > 2 * width


def test_a_damaged_model_gives_a_message_and_no_example(experiment: Experiment) -> None:
    job = Job("segmentation", "RD", 6, 0)
    assert run_all(experiment, [job])
    (experiment.model_folder(job) / "config.json").unlink()
    messages: list[str] = []
    assert example_predictions(summarise(experiment, "mine", ""), experiment, messages.append) == []
    assert len(messages) == 1
    assert messages[0].startswith("no example predictions of segmentation: ")
