"""Label fidelity: wrong labels and missing cells are found where they are, correct labels are accepted."""

import numpy as np
import pytest

from evaluation_smears import DIAMETER, SIZE, DarkSegmenter, shifted
from smears import analytic_smear
from smearsynth.errors import DataError
from smearsynth.evaluation.label_fidelity import (
    LabelFidelity,
    Limits,
    calibrate_limits,
    compare_labels,
    find_disagreements,
    label_fidelity,
    labels_fit,
)
from smearsynth.evaluation.simulated_errors import SIMULATED_ERRORS
from smearsynth.smear import Smear


@pytest.fixture(scope="module")
def limits(smears) -> Limits:
    return calibrate_limits(smears[:12], DarkSegmenter(), DIAMETER)


@pytest.fixture
def mislabelled() -> Smear:
    """Three cells: the second has no label, and label 2 is on background."""
    smear = analytic_smear(SIZE, ((20, 20, 9), (60, 20, 9), (20, 65, 9)))
    labels = smear.labels.copy()
    labels[labels == 2] = 0
    labels[60:76, 60:76] = 2
    return Smear.from_labels(smear.image, labels, name="mislabelled")


def test_wrong_labels_and_missing_cells_are_listed_with_their_positions(mislabelled, limits):
    cells = DarkSegmenter().probability(mislabelled.image) > 0.5
    agreement = compare_labels(mislabelled.labels, cells, DIAMETER)
    items = find_disagreements(mislabelled, agreement, limits)
    assert [(item.kind, item.label) for item in items] == [("wrong", 2), ("missing", 0)]
    assert (items[0].x, items[0].y) == (67.5, 67.5)
    assert (items[1].x, items[1].y) == (pytest.approx(60, abs=1.5), pytest.approx(20, abs=1.5))
    result = label_fidelity([mislabelled], DarkSegmenter(), limits, DIAMETER)
    assert (result.wrong, result.missing, result.cells) == (1, 1, 3)
    assert [item.description for item in result.worst(1)] == [
        f"label 2 at x 68, y 68 px, IoU {items[0].iou:.2f}",
        f"no label at x {items[1].x:.0f}, y {items[1].y:.0f} px, {items[1].area} px²",
    ]
    assert result.worst(0) == ()
    assert LabelFidelity.model_validate_json(result.model_dump_json()) == result


def test_touching_cells_that_are_segmented_as_one_agree_with_their_labels():
    smear = analytic_smear(SIZE, ((30, 30, 9), (46, 30, 9)))
    agreement = compare_labels(smear.labels, smear.labels > 0, DIAMETER)
    assert agreement.ious.tolist() == [1.0, 1.0]
    assert len(agreement.areas) == 0


def test_limits_need_cells():
    empty = Smear(np.full((40, 40, 3), 200, np.uint8), np.zeros((40, 40), np.int32), np.array([], int))
    with pytest.raises(DataError, match="no cell"):
        calibrate_limits([empty], DarkSegmenter(), DIAMETER)


def test_fidelity_needs_cells(limits):
    empty = Smear(np.full((40, 40, 3), 200, np.uint8), np.zeros((40, 40), np.int32), np.array([], int))
    with pytest.raises(DataError, match="no cell"):
        label_fidelity([empty], DarkSegmenter(), limits, DIAMETER)


def test_simulated_errors_are_detected_with_few_false_alarms(realism_result):
    limits = realism_result.labels.limits
    assert limits.false_wrong <= 0.02
    assert limits.false_missing <= 0.02
    for kind in SIMULATED_ERRORS:
        # only about ten cells are swapped: two of them are a fifth
        assert limits.detection_rates.get(kind, 1.0) >= (0.75 if kind == "swapped" else 0.95), kind
    assert {"deleted", "shifted"} <= set(limits.detection_rates)


def test_labels_fit_unless_they_are_worse_than_those_of_real_smears(smears, limits):
    assert np.mean([labels_fit(smear, DarkSegmenter(), limits, DIAMETER) for smear in smears[12:]]) > 0.8
    for smear in smears[12:15]:
        assert not labels_fit(shifted(smear, 9), DarkSegmenter(), limits, DIAMETER)


def test_progress_counts_smears(smears, limits):
    done = []
    calibrate_limits(smears[:3], DarkSegmenter(), DIAMETER, on_smear=done.append)
    label_fidelity(smears[:2], DarkSegmenter(), limits, DIAMETER, on_smear=done.append)
    assert done == [1, 2, 3, 1, 2]


def test_cells_in_ignored_pixels_are_not_missing(mislabelled, limits):
    ignored = np.zeros(SIZE, bool)
    ignored[:40, 45:] = True  # around the cell without a label
    marked = Smear(mislabelled.image, mislabelled.labels, mislabelled.classes, ignored=ignored)
    result = label_fidelity([marked], DarkSegmenter(), limits, DIAMETER)
    assert (result.wrong, result.missing, result.cells) == (1, 0, 3)
    assert label_fidelity([mislabelled], DarkSegmenter(), limits, DIAMETER).missing == 1


def test_segmented_pixels_that_are_ignored_do_not_lower_the_iou():
    smear = analytic_smear(SIZE, ((40, 40, 12),))
    cut = np.where(np.arange(SIZE[1]) < 40, smear.labels, 0)
    ignored = np.broadcast_to(np.arange(SIZE[1]) >= 40, SIZE).copy()
    agreement = compare_labels(cut, smear.labels > 0, 24.0, ignored)
    assert agreement.ious.tolist() == [1.0]
    assert len(agreement.areas) == 0
    assert compare_labels(cut, smear.labels > 0, 24.0).ious[0] < 0.95
    everything = compare_labels(np.zeros(SIZE, np.int32), smear.labels > 0, 24.0, np.ones(SIZE, bool))
    assert len(everything.areas) == len(everything.ious) == 0
