"""The memorisation audit: copies are found however they are disguised, new cells are not, and it says so."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from smears import write_folder
from smearsynth.errors import DataError, OptionError
from smearsynth.evaluation.audit.audit import audit
from smearsynth.evaluation.audit.descriptors import CellIndex, view_cells
from smearsynth.evaluation.audit.positive_controls import make_positive_controls, recoloured
from smearsynth.evaluation.audit.record import Audit, fraction_interval
from smearsynth.evaluation.comparability import median_diameter
from smearsynth.evaluation.figures import pairs_figure
from smearsynth.smear import Smear

RADIUS = 12


def textured_smear(seed, name=None, size=(120, 160)):
    """Twelve cells on a grid, each an ellipse with spots of its own."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(size, np.int32)
    grey = np.full(size, 210.0)
    y, x = np.mgrid[: size[0], : size[1]]
    for k in range(12):
        cy, cx = 20 + 40 * (k // 4), 20 + 40 * (k % 4)
        angle, stretch = rng.uniform(0, np.pi), rng.uniform(0.8, 1.0)
        u = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
        v = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
        inside = u**2 + (v / stretch) ** 2 < RADIUS**2
        texture = ndimage.gaussian_filter(rng.normal(0, 1, size), 2.0)
        labels[inside] = k + 1
        grey[inside] = 140 + 60 * texture[inside] / texture.std() * 0.4
    image = np.clip(grey[..., None] + np.array([10, -20, 0]) + rng.normal(0, 1, (*size, 3)), 0, 255)
    return Smear.from_labels(image.astype(np.uint8), labels, name=name or f"s{seed}")


@pytest.fixture(scope="module")
def training():
    return [textured_smear(k) for k in range(12)]


@pytest.fixture(scope="module")
def held_out():
    return [textured_smear(100 + k) for k in range(8)]


@pytest.fixture(scope="module")
def clean(training, held_out):
    return audit(training, [textured_smear(200 + k) for k in range(6)], held_out=held_out, controls=100, rng=0)


def test_planted_copies_are_caught_and_new_cells_are_not(clean):
    assert clean.controls_detected >= 0.99
    assert clean.false_alarms <= 0.05  # of 96 cells
    assert not clean.memorised
    assert clean.flagged_fraction < 0.05
    assert clean.verdict().startswith("No sign of memorisation")


def test_copied_smears_are_flagged_however_disguised(training, held_out, clean):
    rng = np.random.default_rng(5)
    turned = []
    for smear in training[:4]:
        image, labels = np.rot90(smear.image)[::-1], np.rot90(smear.labels)[::-1]
        turned.append(
            Smear.from_labels(recoloured(np.ascontiguousarray(image), rng), labels, name=f"c{smear.name}")
        )
    found = audit(training, turned, held_out=held_out, controls=20, rng=0)
    assert found.memorised
    assert found.flagged_fraction > 0.95
    assert found.margin > 5 * clean.margin
    for pair in found.pairs[:20]:
        assert pair.synthetic == f"c{pair.training}"
        assert pair.mirrored
    assert "Signs of copying" in found.verdict()


def pasted(target, patch, at, name):
    """The target with all of the patch, image and labels, in place of what lies at (y, x)."""
    there = np.s_[at[0] : at[0] + patch.shape[0], at[1] : at[1] + patch.shape[1]]
    image, labels = target.image.copy(), target.labels.copy()
    labels[np.isin(labels, np.unique(labels[there]))] = 0
    image[there] = patch.image
    labels[there] = np.where(patch.labels > 0, patch.labels + target.count, 0)
    return Smear.from_labels(image, labels, name=name)


def test_one_copied_patch_among_many_smears_is_named(training, held_out):
    new = [textured_smear(400 + k) for k in range(36)]
    patch = training[3].cropped(0, 40, 80, 80)  # four cells, turned upside down and paler
    patch = Smear((patch.image[::-1] * 0.8 + 20).astype(np.uint8), patch.labels[::-1], patch.classes)
    synthetic = [*new, pasted(textured_smear(500), patch, (40, 0), "collage")]
    found = audit(training, synthetic, held_out=held_out, controls=20, rng=0)
    assert found.interval[0] < max(0.01, found.false_alarms)  # the share of cells alone does not tell
    assert found.memorised
    (copied,) = found.copied_smears
    assert (copied.synthetic, copied.training, copied.cells, copied.mirrored) == ("collage", "s3", 4, True)
    assert min(copied.turn, 360 - copied.turn) < 4
    for text in (found.verdict(), found.card()):
        assert "Signs of copying. A synthetic smear shows cells of a training smear in their places" in text
        assert "collage (4 of 12 cells as in s3, mirrored top to bottom, turned by" in text
        assert "No sign" not in text


def test_a_verbatim_smear_is_found_whole_and_new_smears_never(training, held_out, clean):
    turned = Smear.from_labels(np.rot90(training[7].image), np.rot90(training[7].labels), name="same")
    found = audit(training, [*held_out, turned], held_out=held_out, controls=20, rng=0)
    assert [(one.synthetic, one.training, one.cells, one.of) for one in found.copied_smears] == [
        ("same", "s7", 12, 12)
    ]
    assert found.copied_smears[0].turn == pytest.approx(270, abs=4)
    assert clean.copied_smears == ()


def test_copied_cells_in_other_places_are_no_copied_smear(training, held_out):
    rng = np.random.default_rng(3)
    copies = list(make_positive_controls(training[:1], 12, rng))
    image, labels = np.full((160, 200, 3), 210, np.uint8), np.zeros((160, 200), np.int32)
    for k, copy in enumerate(copies):
        y, x = 50 * (k // 4), 50 * (k % 4)
        inside = np.nonzero(copy.labels)
        image[inside[0] + y, inside[1] + x] = copy.image[inside]
        labels[inside[0] + y, inside[1] + x] = k + 1
    found = audit(training, [Smear.from_labels(image, labels)], held_out=held_out, controls=20, rng=0)
    assert found.flagged >= 10
    assert found.copied_smears == ()


def test_a_pair_says_where_its_cells_lie(training, clean):
    synthetic = {f"s{200 + k}": textured_smear(200 + k) for k in range(6)}
    known = {smear.name: smear for smear in training}
    for pair in clean.pairs:
        for smear, (x, y), label in (
            (synthetic[pair.synthetic], pair.synthetic_at, pair.synthetic_label),
            (known[pair.training], pair.training_at, pair.training_label),
        ):
            assert smear.labels[round(y), round(x)] == label
    x, y = clean.pairs[0].synthetic_at
    assert clean.pairs[0].places[0] == f"{clean.pairs[0].synthetic} ({x:.0f}, {y:.0f})"


def test_the_verdict_compares_shares_truthfully(clean):
    def verdict(share, interval):
        found = {"flagged_fraction": share, "interval": interval, "false_alarms": 0.036}
        return clean.model_copy(update=found).verdict()

    above = verdict(0.039, (0.02, 0.06))
    assert "3.9 %, 95 % interval" in above
    assert "of new real cells 3.6 %: the difference is within chance." in above
    assert above.startswith("No sign of memorisation.")
    assert "chance" not in verdict(0.01, (0.005, 0.02))
    assert "more than chance explains" in verdict(0.2, (0.1, 0.3))


def test_an_odd_cell_needs_a_larger_lead(training):
    diameter = median_diameter(training)
    views = view_cells(training, diameter)
    index = CellIndex(views)
    query = view_cells([textured_smear(600)], diameter)
    usual = np.zeros(views.harmonics.shape[1:])
    usual[:, 0] = views.harmonics[:, :, 0].real.mean(axis=0)
    assert (np.einsum("nr,r->n", views.harmonics[:, :, 0].real, usual[:, 0]) > 0).all()  # none is a negative
    odd = replace(query, harmonics=(usual + 1.5 * (query.harmonics - usual)).astype(np.complex64))
    one, other = index.nearest(query), index.nearest(odd)
    alike = np.abs(one.correlation - other.correlation) < 1e-3  # the others are now taken for negatives
    assert alike.sum() >= 6
    assert other.margin[alike] == pytest.approx(one.margin[alike] / np.sqrt(1.5), rel=0.01)


def test_the_turn_brings_the_nearest_to_lie_like_the_cell(training):
    diameter = median_diameter(training)
    index = CellIndex(view_cells(training, diameter))
    clockwise = np.rot90(training[3].image, -1), np.rot90(training[3].labels, -1)
    nearest = index.nearest(view_cells([Smear.from_labels(*clockwise)], diameter))
    assert np.unique(index.views.smears[nearest.index]).tolist() == [3]
    assert not nearest.mirrored.any()
    assert nearest.turn == pytest.approx(np.full(12, 90.0), abs=4)


def test_a_negative_and_a_change_of_contrast_stay_the_same_cell(training):
    diameter = median_diameter(training)
    index = CellIndex(view_cells(training, diameter))
    smear = training[5]
    for image in (255 - smear.image, (smear.image * 0.6 + 30).astype(np.uint8), smear.image[..., ::-1]):
        nearest = index.nearest(view_cells([Smear(image, smear.labels, smear.classes)], diameter))
        assert index.views.labels[nearest.index].tolist() == list(range(1, 13))
        assert nearest.correlation.min() > 0.9


def test_held_out_smears_that_overlap_the_training_ones_are_named_and_left_out(training, held_out, clean):
    same = Smear(training[2].image, training[2].labels, training[2].classes, name="twin")
    found = audit(training, [held_out[0]], held_out=[*held_out, same], controls=20, rng=0)
    assert found.seen_again == (("twin", "s2"),)
    assert found.threshold == pytest.approx(clean.threshold, rel=0.3)
    assert "twin (s2)" in found.card()


def test_without_held_out_smears_each_is_held_against_the_others(training):
    found = audit(training, [textured_smear(300)], controls=50, rng=0)
    assert found.held_out_cells == 144
    assert found.controls_detected >= 0.98
    assert "against the others" in found.card()


def test_the_same_seed_finds_the_same(training, held_out, clean):
    again = audit(training, [textured_smear(200 + k) for k in range(6)], held_out=held_out, controls=100, rng=0)
    assert again == clean
    assert Audit.model_validate_json(again.model_dump_json()) == again


def test_copies_are_of_the_smear_they_name(training):
    copies = list(make_positive_controls(training, 9, np.random.default_rng(1)))
    assert len(copies) == 9
    assert {copy.name for copy in copies} <= {smear.name for smear in training}
    assert all(copy.count == 1 for copy in copies)


def test_what_cannot_be_audited_is_named(training, held_out):
    shrunk = [smear.resized(0.5) for smear in training[:2]]
    with pytest.raises(DataError, match=r"--scale 0\.5"):
        audit(training, shrunk, held_out=held_out)
    empty = Smear(np.zeros((9, 9, 3), np.uint8), np.zeros((9, 9), np.int32), np.array([], int))
    with pytest.raises(DataError, match="no whole cell"):
        audit(training, [empty], held_out=held_out)
    with pytest.raises(DataError, match="too few"):
        audit(training, training[:1], held_out=held_out[:1])
    with pytest.raises(DataError, match="one training smear and no held-out ones"):
        audit(training[:1], training[:1])
    with pytest.raises(OptionError, match="at least"):
        audit(training, training[:1], most=0)


def test_the_interval_holds_the_share():
    low, high = fraction_interval(3, 200)
    assert 0 < low < 0.015 < high < 0.05
    assert fraction_interval(0, 10)[0] == 0
    assert fraction_interval(10, 10)[1] == 1


def test_the_pairs_are_drawn(training, clean, tmp_path):
    synthetic = [textured_smear(200 + k) for k in range(6)]
    assert pairs_figure(clean, synthetic, training, tmp_path / "pairs.png").stat().st_size > 10_000


def test_the_command_prints_json_and_writes_the_record(run, training, held_out, tmp_path):
    real = write_folder(tmp_path / "real", [*training[:6], *held_out[:6]])
    rows = [
        f"{smear.name},{'train' if k < 6 else 'test'}" for k, smear in enumerate([*training[:6], *held_out[:6]])
    ]
    (real / "split.csv").write_text("\n".join(["image,split", *rows]) + "\n")
    copies = write_folder(tmp_path / "copies", training[2:4])
    extras = ("--card", tmp_path / "card.md", "--figure", tmp_path / "pairs.png")
    ran = run("audit", real, copies, "--json", *extras)
    assert ran.code == 0, ran.err
    found = Audit.model_validate_json(ran.out)
    assert found.flagged == found.cells == 24
    assert found.memorised
    assert [one.training for one in found.copied_smears] == ["s2", "s3"]
    assert found.training_smears == 6
    assert found.held_out == "smears not trained on"
    assert (tmp_path / "card.md").read_text().startswith("## Memorisation")
    assert (tmp_path / "pairs.png").exists()
    ran = run("audit", real, copies)
    assert "taken for a copy of" in ran.out
    assert "Signs of copying" in ran.out


def test_the_command_divides_what_was_trained_on_from_what_was_not(run, training, clean, tmp_path, monkeypatch):
    real = write_folder(tmp_path / "real", training[:5], splits=("old", "test"))
    divided = []

    def search(trained, ours, *, held_out, **_):
        divided.append((trained.names, held_out and held_out.names))
        return clean

    monkeypatch.setattr("smearsynth.evaluation.audit.audit.audit", search)

    def sides(*options):
        ran = run("audit", real, real, *options, "--json")
        assert ran.code == 0, ran.err
        return divided.pop()

    old, test = ("s0", "s2", "s4"), ("s1", "s3")
    # `train` takes all smears where no split is called so: none is new then
    assert sides() == (("s0", "s1", "s2", "s3", "s4"), None)
    assert sides("--train-split", "test") == (test, None)
    assert sides("--train-split", "old") == (old, test)
    assert sides("--held-out", "test") == (old, test)
    ran = run("audit", real, real, "--train-split", "test", "--held-out", "test")
    assert ran.code == 2
    assert "'test' cannot be both" in ran.err
    assert "--held-out" in ran.err
    one = write_folder(tmp_path / "one", training[:2], splits=("test",))
    ran = run("audit", one, real, "--held-out", "test")
    assert ran.code == 2
    assert "all smears are in split 'test'" in ran.err


def test_held_out_smears_that_were_trained_on_are_refused(training, held_out):
    with pytest.raises(DataError, match=r"12 of 12 smears show the cells of training smears.*not trained on"):
        audit(training, held_out[:1], held_out=training)


def test_the_command_says_what_is_missing(run, smear_folder, tmp_path):
    ran = run("audit", smear_folder, smear_folder, "--train-split", "test", "--held-out", "train", "--json")
    assert ran.code == 2
    assert "too few" in ran.err
    ran = run("audit", smear_folder, tmp_path / "none", "--json")
    assert ran.code == 2
    assert "none" in ran.err
    ran = run("generate", "-o", tmp_path / "out", "--segmenter", tmp_path)
    assert ran.code == 2
    assert "--verify" in ran.err
