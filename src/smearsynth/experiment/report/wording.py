"""Text of the benefit report: headings, captions, warnings, setup and explanations."""

from __future__ import annotations

from collections.abc import Iterator

from smearsynth.experiment.facts import Facts, counted, synthesizer_warnings
from smearsynth.experiment.plan import seed_warning
from smearsynth.experiment.records import TASK_TITLES, BenefitResult

_MIN_IMAGES = 10  # bootstrap intervals of fewer test smears are clearly too narrow

SCORES = "Scores"
DIFFERENCES = "Differences"
SEPARATION = "Separation of cells"
SIZES = "Number of real smears"
EXAMPLES = "Best and worst predictions"
IMAGES = "Scores of single images"
CHANGES = "Largest changes:"
SETUP = "Setup"
REPEAT = "Command to repeat the experiment:"
EXPLANATIONS = "How to read this report"

SCORES_NOTE = "Mean over seeds ± standard deviation. The paper's scores were measured on other smears."
EXAMPLES_NOTE = (
    "True cells on the left, predicted cells on the right. Black: correct cells. Red: false negatives. Orange: "
    "false positives. Segmentation is scored by pixels, so wrong pixels are tinted on the right."
)
CAPTIONS = {
    "differences": (
        "Differences with 95 % intervals. Filled marker: the interval excludes 0. Hollow marker: no difference "
        "shown."
    ),
    "curves": "Score against the number of real training smears. Bars: ± one standard deviation over seeds.",
    "images": (
        "One point per test image, mean over seeds. Points above the line scored higher in the arm on the "
        "vertical axis."
    ),
}
DIFFERENCES_NOTE = (
    "Difference [95 % interval]. ▲ the interval lies above 0. ▼ the interval lies below 0. No mark: no difference "
    "shown."
)
SEPARATION_NOTE = (
    "Panoptic quality (PQ) and numbers of cells over all test images: mean over seeds and 95 % interval for each "
    "arm, then differences between arms. ▲ better, ▼ worse: the interval excludes 0; fewer FP and FN are better. "
    "No mark: no difference shown."
)
SUBSETS_NOTE = "Subsets of the real smears, with and without synthetic smears, compared with all real smears:"


def warnings(facts: Facts) -> Iterator[str]:
    """Yield warnings about the reliability of the scores and intervals."""
    if facts.select_by == "test":
        yield (
            "Checkpoints were selected on the test smears, as in the paper. The scores of all arms are "
            "optimistically biased; do not report them as scores on unseen smears."
        )
    if warning := seed_warning(facts.seeds, facts.draws):
        yield warning
    if facts.test == 1:
        yield "One test smear only. Intervals are bootstrapped over test smears, so there is none."
    elif facts.test < _MIN_IMAGES:
        yield (
            f"Only {facts.test} test smears. Intervals are bootstrapped over test smears; with so few they are too "
            f"narrow. Use {_MIN_IMAGES} or more."
        )
    yield from facts.leaks
    yield from synthesizer_warnings(facts.synthesizers)


def unmeasured_warnings(runs: int) -> Iterator[str]:
    """Yield a warning if runs were cached by a version that did not measure PQ."""
    if runs:
        yield (
            f"PQ of {counted(runs, 'run')} was not measured, because an earlier version of smearsynth cached the "
            "scores. The separation of cells is compared without them. Delete the folder runs/ in the output "
            "folder and run the command again to measure it."
        )


def setup(result: BenefitResult) -> Iterator[tuple[str, str]]:
    """Yield the setup of the experiment as names and values."""
    facts = result.facts
    yield "Data set", facts.data_set
    held_out = f" ({facts.held_out} of them held out for validation)" if facts.held_out else ""
    yield "Real smears", f"{facts.train} for training{held_out}, {facts.test} for testing"
    for reals, names in facts.subsets.items():
        for draw, subset in enumerate((names, *facts.further_subsets.get(reals, ())), 1):
            title = f"Subset of {counted(reals, 'real smear')}"
            yield f"{title}, draw {draw}" if facts.draws > 1 else title, ", ".join(subset)
    if any(run.synthesizer for run in result.runs):
        yield "Synthetic smears", _synthetic_smears(facts)
        for reals, synthesizer in facts.synthesizers.items():
            title = f"Synthesizer for {counted(reals, 'real smear')}"
            yield title, str(synthesizer)
            for draw, further in enumerate(facts.further_synthesizers.get(reals, ()), 2):
                yield f"{title}, draw {draw}", str(further)
    yield "Checkpoint selection", _checkpoint_selection(facts)
    steps = ", ".join(f"{TASK_TITLES[task]} {steps:,}" for task, steps in facts.steps.items())
    yield "Training steps of every arm", steps or "–"
    yield "Preset, scale", f"{facts.preset}, {facts.scale:g}"
    yield "Seeds", str(facts.seeds)
    if facts.draws > 1:
        yield "Draws", f"{facts.draws} random choices of the subsets of the real smears"
    yield "Trained models", f"{len(result.runs)} in {_duration(facts.minutes)} of computing time"
    yield "Device, machine", f"{facts.device}, {facts.machine}"
    yield "Versions", f"smearsynth {facts.smearsynth}, torch {facts.torch}"


def _synthetic_smears(facts: Facts) -> str:
    stain = "augmented beyond the training smears" if facts.stain == "augmented" else "as in the training smears"
    percent = f"{100 * facts.synthetic_fraction:.0f} %"
    return (
        f"{counted(facts.synthetic, 'smear')} in RD+SD, with {percent} of the training crops; stain {stain}; "
        "illumination augmented beyond the training smears, with haze"
    )


def _checkpoint_selection(facts: Facts) -> str:
    if facts.select_by == "test":
        return "best score on the test smears, as in the paper"
    if not facts.held_out:
        return "last checkpoint, because there are too few training smears to hold any out"
    return "last checkpoint whose score on the held-out smears is within one standard error of the best score"


def _duration(minutes: float) -> str:
    if minutes < 1:
        return "less than 1 min"
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def explanations(result: BenefitResult) -> Iterator[str]:
    """Yield explanations of the arms, metrics and intervals, as far as they occur in the report."""
    metrics = {run.metric for run in result.runs}
    yield (
        "Arms: RD is trained on real smears, SD on synthetic smears, RD+SD on both. aug adds the paper's ten "
        "augmentations; copy-paste pastes cells from one smear into another. All arms of a task have equal step "
        "counts and seeds."
    )
    if "dice" in metrics:
        yield (
            "Dice is the overlap of predicted and true cell area, averaged over the test images. The cell counts "
            "of segmentation refer to connected components: cells in a clump that is segmented as one component "
            "count as false negatives."
        )
    if "ap" in metrics:
        yield (
            "AP is COCO AP: the mean over the IoU thresholds 0.50 to 0.95, over all test images together. AP50 is "
            "AP at IoU 0.5. The paper does not state the IoU threshold of its AP. Single images are scored by F1 "
            "at IoU 0.5."
        )
    yield (
        "TP / FP / FN are true positives, false positives and false negatives of one-to-one matching at IoU 0.5, "
        "summed over the test images and averaged over seeds. Labels are matched where the model predicts labels "
        "(segmentation, detection from segmentation), else boxes."
    )
    if any(run.pq is not None for run in result.runs):
        yield (
            "PQ is panoptic quality: the sum of the IoU of the matched cells divided by TP + FP/2 + FN/2, over all "
            "test images together. Two touching cells that are predicted as one lower PQ and TP, but hardly Dice."
        )
    yield (
        "The paper's scores were measured on its own 100 smears, with checkpoints selected on its test smears. "
        "Compare the pattern over arms, not the values."
    )
    if any(run.seed != result.runs[0].seed for run in result.runs):
        yield (
            "± is the standard deviation over seeds. It measures the variation between trainings, not between test "
            "smears."
        )
    if result.facts.draws > 1:
        yield (
            f"Draws: the experiment was repeated with {result.facts.draws} random choices of the subsets of the "
            "real smears, each with its own synthesizer. Means are over draws and seeds, and ± includes the "
            "variation between draws. An interval treats the mean of each draw as one observation, so it covers "
            "the choice of the smears, the seeds and the test smears. All draws have the same test smears."
        )
    intervals = sum(item.has_interval for item in result.differences)
    if intervals:
        by_chance = f" (of the {intervals} here, about {intervals / 20:.0f} by chance)" if intervals >= 20 else ""
        yield (
            "Differences are paired: both arms have the same seeds and test images. On average one 95 % interval "
            f"in twenty excludes the true difference{by_chance}. The verdict uses the first comparison of each "
            "task; the other comparisons are exploratory. An interval that contains 0 does not show a difference, "
            "and it does not show that there is none."
        )
