from __future__ import annotations

import numpy as np
import pytest

from smears import analytic_smear
from smearsynth.errors import DataError, OptionError
from smearsynth.metrics.average_precision import Detections, PrecisionRecord, average_precision
from smearsynth.metrics.matching import box_ious, dice, label_ious, match


def shifted(labels: np.ndarray, by: int) -> np.ndarray:
    return np.roll(labels, by, axis=1)


# Overlap.


def test_ious_of_labels_are_those_of_their_masks() -> None:
    found = analytic_smear(discs=[(20, 20, 9), (34, 20, 9), (60, 44, 12), (10, 50, 5)]).labels
    true = shifted(analytic_smear(discs=[(20, 20, 9), (60, 44, 10)]).labels, 2)
    ious = label_ious(found, true)
    assert ious.shape == (4, 2)
    for k in range(4):
        for m in range(2):
            a, b = found == k + 1, true == m + 1
            assert ious[k, m] == pytest.approx((a & b).sum() / (a | b).sum())
    assert label_ious(np.zeros((3, 3), np.int32), true[:3, :3]).shape[0] == 0
    with pytest.raises(DataError, match="cannot be matched"):
        label_ious(found, true[1:])


def test_ious_of_boxes_are_those_of_their_pixels() -> None:
    boxes = np.array([[0, 0, 10, 6], [3, 2, 8, 9], [20, 20, 22, 24]], float)
    painted = []
    for x0, y0, x1, y1 in boxes.astype(int):
        field = np.zeros((30, 30), bool)
        field[y0:y1, x0:x1] = True
        painted.append(field)
    for k, row in enumerate(box_ious(boxes, boxes)):
        for m, iou in enumerate(row):
            assert iou == pytest.approx((painted[k] & painted[m]).sum() / (painted[k] | painted[m]).sum())
    assert box_ious(np.zeros((0, 4)), boxes).shape == (0, 3)


# Matching.


def test_each_cell_is_matched_once_and_the_rest_is_counted() -> None:
    ious = np.array([[0.9, 0.0, 0.0], [0.8, 0.0, 0.0], [0.0, 0.6, 0.55], [0.0, 0.4, 0.0]])
    found = match(ious)
    assert found.pairs.tolist() == [[0, 0], [2, 1]]
    assert (found.tp, found.fp, found.fn) == (2, 2, 1)
    assert found.ious.tolist() == [0.9, 0.6]
    assert found.f1 == pytest.approx(4 / 7)
    assert match(ious, 0.35).tp == 3


def test_the_optimal_matching_finds_more_than_the_greedy_one() -> None:
    ious = np.array([[0.9, 0.7], [0.8, 0.1]])
    assert (match(ious).tp, match(ious, method="greedy").tp) == (2, 1)
    both_ways = np.array([[0.6, 0.9], [0.55, 0.6]])
    assert match(both_ways).pairs.tolist() == [[0, 1], [1, 0]]  # of two ways to match both, the larger IoU


@pytest.mark.parametrize("shape", [(0, 0), (0, 4), (3, 0)])
@pytest.mark.parametrize("method", ["optimal", "greedy"])
def test_nothing_to_match_is_no_error(shape: tuple[int, int], method: str) -> None:
    found = match(np.zeros(shape), method=method)  # type: ignore[arg-type]
    assert (found.tp, found.fp, found.fn) == (0, shape[0], shape[1])
    assert found.f1 == (1.0 if shape == (0, 0) else 0.0)


def test_unknown_methods_and_thresholds_are_refused() -> None:
    with pytest.raises(OptionError, match="choose optimal or greedy"):
        match(np.ones((1, 1)), method="best")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="not within 0 to 1"):
        match(np.ones((1, 1)), 0.0)


def test_dice_is_the_papers() -> None:
    smear = analytic_smear()
    cells = smear.labels > 0
    assert dice(cells, cells) == 1.0
    assert dice(~cells, cells) == 0.0
    moved = [dice(shifted(cells, by), cells) for by in (1, 3, 6)]
    assert moved == sorted(moved, reverse=True)
    nothing = np.zeros_like(cells)
    assert (dice(nothing, nothing), dice(nothing, cells)) == (1.0, 0.0)


# Average precision.


def scene(seed: int, images: int = 12, kinds: int = 2, jitter: float = 2.0) -> tuple[list[Detections], ...]:
    """Detections with errors of every kind: shifted, missed, made up, of the wrong class, with tied scores."""
    rng = np.random.default_rng(seed)
    found, true = [], []
    for _ in range(images):
        n = int(rng.integers(0, 30))
        corner = rng.uniform(0, 200, (n, 2))
        boxes = np.hstack([corner, corner + rng.uniform(15, 30, (n, 2))])
        classes = rng.integers(0, kinds, n)
        true.append(Detections(boxes, classes))
        kept = rng.random(n) < 0.85
        made_up = np.hstack([at := rng.uniform(0, 200, (3, 2)), at + 20])
        seen = np.vstack([boxes[kept] + rng.normal(0, jitter, (int(kept.sum()), 4)), made_up])
        kinds_seen = np.append(classes[kept], rng.integers(0, kinds, 3))
        wrong = rng.random(len(seen)) < 0.05
        scores = np.round(rng.beta(5, 2, len(seen)), 2)
        found.append(Detections(seen, np.where(wrong, 0, kinds_seen), scores))
    return found, true


@pytest.mark.parametrize("seed", range(4))
def test_our_weighted_ap_is_cocos_when_all_weights_are_one(seed: int) -> None:
    found, true = scene(seed)
    coco, ours = average_precision(found, true), PrecisionRecord.of(found, true).ap()
    assert 0.1 < coco.ap < coco.ap50 < 1
    assert ours.ap == pytest.approx(coco.ap, abs=1e-6)
    assert ours.ap50 == pytest.approx(coco.ap50, abs=1e-6)


def test_weights_count_images_as_often_as_they_say() -> None:
    found, true = scene(1)
    record = PrecisionRecord.of(found, true)
    weights = np.random.default_rng(0).integers(0, 3, len(true))
    which = np.repeat(np.arange(len(true)), weights)
    repeated = average_precision([found[k] for k in which], [true[k] for k in which])
    assert record.ap(weights).ap == pytest.approx(repeated.ap, abs=0.01)


def test_worse_detections_score_less() -> None:
    precise, true = scene(3, jitter=0.5)
    rough, same = scene(3, jitter=3.0)
    assert all((a.boxes == b.boxes).all() for a, b in zip(true, same, strict=True))
    assert average_precision(precise, true).ap > average_precision(rough, true).ap + 0.2


def test_a_smear_of_more_than_a_hundred_cells_is_scored_whole() -> None:
    corner = np.stack(np.meshgrid(np.arange(15) * 20, np.arange(15) * 20), -1).reshape(-1, 2)
    true = Detections(np.hstack([corner, corner + 15]), np.zeros(225, int))
    assert average_precision([true._replace(scores=np.linspace(1, 0.5, 225))], [true]).ap == 1.0


def test_nothing_found_scores_nothing_and_no_truth_has_no_score() -> None:
    box = np.array([[0.0, 0, 9, 9]])
    none = Detections(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0))
    one = Detections(box, np.array([0]), np.array([0.9]))
    assert average_precision([none], [one]) == PrecisionRecord.of([none], [one]).ap() == (0.0, 0.0)
    assert np.isnan(average_precision([one], [none])).all()
    assert np.isnan(PrecisionRecord.of([one], [none]).ap()).all()
    with pytest.raises(DataError, match="of 1 images cannot be scored on 2"):
        average_precision([one], [one, one])
    with pytest.raises(DataError, match="need scores"):
        average_precision([one._replace(scores=None)], [one])
