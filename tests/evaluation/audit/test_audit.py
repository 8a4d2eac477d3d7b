"""The memorisation audit: it detects copies in any pose and colour, and does not flag new cells."""

import json

import numpy as np
import pytest

from evaluation_smears import textured_smear
from smears import partly_annotated, unannotated, write_folder
from smearsynth.datasets import open_smears
from smearsynth.errors import DataError, OptionError
from smearsynth.evaluation.audit import audit as module
from smearsynth.evaluation.audit.audit import audit, search_copies
from smearsynth.evaluation.audit.positive_controls import make_positive_controls, recolour
from smearsynth.evaluation.audit.record import Audit
from smearsynth.runs import Execution, Progress
from smearsynth.smear import Smear


def test_positive_controls_are_detected_and_new_cells_are_not(clean_audit):
    assert clean_audit.controls_detected >= 0.99
    assert clean_audit.false_alarms <= 0.05  # of 96 cells
    assert not clean_audit.memorised
    assert clean_audit.flagged_fraction < 0.05
    assert clean_audit.copied_smears == ()


def test_copied_smears_are_flagged_in_any_pose_and_colour(training, held_out, clean_audit):
    rng = np.random.default_rng(5)
    copies = []
    for smear in training[:4]:
        image, labels = np.rot90(smear.image)[::-1], np.rot90(smear.labels)[::-1]
        image = recolour(np.ascontiguousarray(image), rng)
        copies.append(Smear.from_labels(image, labels, name=f"c{smear.name}"))
    result = search_copies(training, copies, held_out=held_out, controls=20, rng=0)
    assert result.memorised
    assert result.flagged_fraction > 0.95
    assert result.margin > 5 * clean_audit.margin
    for pair in result.pairs[:20]:
        assert pair.synthetic == f"c{pair.training}"
        assert pair.mirrored


def paste(target, patch, position, name):
    """Replace a part of the target at (y, x) by the patch, image and labels."""
    window = np.s_[position[0] : position[0] + patch.shape[0], position[1] : position[1] + patch.shape[1]]
    image, labels = target.image.copy(), target.labels.copy()
    labels[np.isin(labels, np.unique(labels[window]))] = 0
    image[window] = patch.image
    labels[window] = np.where(patch.labels > 0, patch.labels + target.count, 0)
    return Smear.from_labels(image, labels, name=name)


def test_one_copied_patch_among_many_smears_is_reported(training, held_out):
    new = [textured_smear(400 + k) for k in range(36)]
    patch = training[3].cropped(0, 40, 80, 80)  # four cells, mirrored and paler
    patch = Smear((patch.image[::-1] * 0.8 + 20).astype(np.uint8), patch.labels[::-1], patch.classes)
    synthetic = [*new, paste(textured_smear(500), patch, (40, 0), "collage")]
    result = search_copies(training, synthetic, held_out=held_out, controls=20, rng=0)
    assert result.interval[0] < max(0.01, result.false_alarms)  # the fraction of cells does not show it
    assert result.memorised
    (copy,) = result.copied_smears
    assert (copy.synthetic, copy.training, copy.cells, copy.mirrored) == ("collage", "s3", 4, True)
    assert min(copy.rotation, 360 - copy.rotation) < 4
    for text in (result.verdict(), result.card()):
        assert "Signs of memorisation. A synthetic smear repeats cells of a training smear in their places" in text
        assert "collage (4 of 12 cells as in s3, mirrored top to bottom, rotated by" in text
        assert "No sign" not in text


def test_a_rotated_copy_of_a_smear_is_found_and_new_smears_are_not(training, held_out):
    copy = Smear.from_labels(np.rot90(training[7].image), np.rot90(training[7].labels), name="same")
    result = search_copies(training, [*held_out, copy], held_out=held_out, controls=20, rng=0)
    (copied,) = result.copied_smears
    assert (copied.synthetic, copied.training, copied.cells, copied.compared_cells) == ("same", "s7", 12, 12)
    assert copied.rotation == pytest.approx(270, abs=4)


def test_copied_cells_in_another_arrangement_are_no_copied_smear(training, held_out):
    rng = np.random.default_rng(3)
    copies = list(make_positive_controls(training[:1], 12, rng))
    image, labels = np.full((160, 200, 3), 210, np.uint8), np.zeros((160, 200), np.int32)
    for k, copy in enumerate(copies):
        y, x = 50 * (k // 4), 50 * (k % 4)
        inside = np.nonzero(copy.labels)
        image[inside[0] + y, inside[1] + x] = copy.image[inside]
        labels[inside[0] + y, inside[1] + x] = k + 1
    result = search_copies(training, [Smear.from_labels(image, labels)], held_out=held_out, controls=20, rng=0)
    assert result.flagged >= 10
    assert result.copied_smears == ()


def test_a_pair_has_the_positions_of_its_cells(training, new_smears, clean_audit):
    synthetic = {smear.name: smear for smear in new_smears}
    originals = {smear.name: smear for smear in training}
    for pair in clean_audit.pairs:
        for smear, (x, y), label in (
            (synthetic[pair.synthetic], pair.synthetic_at, pair.synthetic_label),
            (originals[pair.training], pair.training_at, pair.training_label),
        ):
            assert smear.labels[round(y), round(x)] == label
    x, y = clean_audit.pairs[0].synthetic_at
    assert clean_audit.pairs[0].places[0] == f"{clean_audit.pairs[0].synthetic} ({x:.0f}, {y:.0f})"


def test_held_out_smears_that_overlap_training_smears_are_left_out(training, held_out, clean_audit):
    twin = Smear(training[2].image, training[2].labels, training[2].classes, name="twin")
    result = search_copies(training, [held_out[0]], held_out=[*held_out, twin], controls=20, rng=0)
    assert result.overlapping_smears == (("twin", "s2"),)
    assert result.threshold == pytest.approx(clean_audit.threshold, rel=0.3)
    assert "twin (s2)" in result.card()


def test_without_held_out_smears_training_smears_are_compared_with_each_other(training):
    result = search_copies(training, [textured_smear(300)], controls=50, rng=0)
    assert result.held_out_cells == 144
    assert result.controls_detected >= 0.98
    assert "against the others" in result.card()


def test_the_same_seed_gives_the_same_result(training, held_out, new_smears, clean_audit):
    result = search_copies(training, new_smears, held_out=held_out, controls=100, rng=0)
    assert result == clean_audit
    assert Audit.model_validate_json(result.model_dump_json()) == result


def test_smears_that_cannot_be_audited_are_refused(training, held_out):
    small = [smear.resized(0.5) for smear in training[:2]]
    with pytest.raises(DataError, match=r"--scale 0\.5"):
        search_copies(training, small, held_out=held_out)
    empty = Smear(np.zeros((9, 9, 3), np.uint8), np.zeros((9, 9), np.int32), np.array([], int))
    with pytest.raises(DataError, match="no whole cell"):
        search_copies(training, [empty], held_out=held_out)
    with pytest.raises(DataError, match="too few"):
        search_copies(training, training[:1], held_out=held_out[:1])
    with pytest.raises(DataError, match="one training smear and no held-out smears"):
        search_copies(training[:1], training[:1])
    with pytest.raises(OptionError, match="max_cells must be at least 1, not 0"):
        search_copies(training, training[:1], max_cells=0)


def test_held_out_smears_that_were_trained_on_are_refused(training, held_out):
    message = r"12 of 12 smears show cells of training smears.*not trained on"
    with pytest.raises(DataError, match=message):
        search_copies(training, held_out[:1], held_out=training)


def test_folders_are_audited_with_their_splits(training, held_out, tmp_path):
    smears = [*training[:6], *held_out[:6]]
    real = write_folder(tmp_path / "real", smears)
    rows = [f"{smear.name},{'train' if k < 6 else 'test'}" for k, smear in enumerate(smears)]
    (real / "split.csv").write_text("\n".join(["image,split", *rows]) + "\n")
    copies = write_folder(tmp_path / "copies", training[2:5])
    calls = []

    class Recorder(Progress):
        def advance(self, stage, done, total=None):
            calls.append((stage, done, total))

    result = audit(real, open_smears(copies), limit=2, execution=Execution(progress=Recorder()))
    assert result.flagged == result.cells == 24
    assert result.memorised
    assert [copy.training for copy in result.copied_smears] == ["s2", "s3"]
    assert (result.training_smears, result.held_out) == (6, "smears not trained on")
    assert ("synthetic cells", 2, 2) in calls
    with pytest.raises(DataError, match="no split 'x'"):
        audit(real, copies, train_split="x")
    with pytest.raises(DataError, match=f"^{copies}: 36 whole held-out cells.*too few"):
        audit(copies, real)
    with pytest.raises(DataError, match="none"):
        audit(real, tmp_path / "none")


def test_the_options_reach_the_search(training, clean_audit, tmp_path, monkeypatch):
    real = write_folder(tmp_path / "real", training[:5], splits=("old", "test"))
    calls = []

    def search(training, synthetic, *, held_out, max_cells, rng, on_stage):
        calls.append((training.names, len(synthetic), held_out.names, max_cells, rng))
        return clean_audit

    monkeypatch.setattr(module, "search_copies", search)
    assert audit(real, real, train_split="old", max_cells=7, limit=3, rng=4) == clean_audit
    assert json.dumps(calls) == json.dumps([(("s0", "s2", "s4"), 3, ("s1", "s3"), 7, 4)])


def test_partly_annotated_training_smears_are_searched(training, held_out):
    marked = [*(partly_annotated(smear, 125) for smear in training), unannotated(training[0])]
    result = search_copies(marked, [training[0]], held_out=held_out, controls=20)
    assert result.memorised
    assert result.training_cells == 9 * len(training)
