"""Realism and label fidelity: worse smears score worse, the same ones score as the same, slips are caught."""

import csv
import re

import numpy as np
import pytest
from rich.console import Console
from scipy import ndimage

from smears import analytic_smear, random_smear, write_folder
from smearsynth.datasets import open_smears
from smearsynth.errors import DataError, OptionError
from smearsynth.evaluation.figures import disagreements_figure
from smearsynth.evaluation.label_fidelity import (
    SIMULATED_ERRORS,
    disagreements,
    judge_labels,
    label_fidelity,
    labels_fit,
    calibrate_limits,
)
from smearsynth.evaluation.realism.appearance import FIGURES, appearance, compare_appearance
from smearsynth.evaluation.realism.crops import CropFeatures, crop_side, embed, random_crops
from smearsynth.evaluation.realism.distances import density_and_coverage, fid, kid
from smearsynth.evaluation.realism.quiz import write_quiz
from smearsynth.evaluation.realism.realism import Realism, realism
from smearsynth.generation.recipe import Recipe
from smearsynth.generation.stream import SyntheticSmears
from smearsynth.smear import Smear
from smearsynth.synthesis.networks.features import load_features

SIZE = (96, 96)
DIAMETER = 18.0


def blurred(smear, sigma):
    image = ndimage.gaussian_filter(smear.image.astype(float), (sigma, sigma, 0))
    return Smear(image.astype(np.uint8), smear.labels, smear.classes, name=smear.name)


def noisy(smear, sigma, seed=0):
    noise = np.random.default_rng(seed).normal(0, sigma, smear.image.shape)
    image = np.clip(smear.image + noise, 0, 255).astype(np.uint8)
    return Smear(image, smear.labels, smear.classes, name=smear.name)


class Darkness:
    """An exact segmenter of the analytic smears: cells are darker than their ground."""

    def probability(self, image):
        grey = image.mean(axis=2)
        ground = np.median(grey[grey >= np.quantile(grey, 0.6)])
        dark = ndimage.gaussian_filter(grey, 1) < ground - 20
        return ndimage.binary_fill_holes(dark).astype(np.float32)


@pytest.fixture(scope="module")
def net():
    return load_features("efficientnet_lite0")


@pytest.fixture(scope="module")
def smears():
    return [random_smear(k) for k in range(24)]


@pytest.fixture(scope="module")
def real(net, smears):
    return embed(smears[:12], 32, net, rng=0)


@pytest.fixture(scope="module")
def found(net, smears):
    return realism(smears[:12], smears[12:], net, segmenter=Darkness(), rng=0)


def test_kid_of_the_same_kind_is_zero_and_grows_with_blur_and_noise(net, smears, real):
    rng = np.random.default_rng(0)
    same = kid(real, embed(smears[12:], 32, net, rng=1), rng)
    assert same.low < 0 < same.high or abs(same.value) < 0.02
    for worse in (blurred, noisy):
        values = [
            kid(real, embed([worse(s, k) for s in smears[12:]], 32, net, rng=1), rng).value for k in (2, 5, 12)
        ]
        assert same.value < values[0] < values[1] < values[2]


def test_kid_leaves_out_pairs_of_one_smear():
    # All crops of a smear are the same, smears differ: two sets of such smears are of one kind.
    rng = np.random.default_rng(1)

    def made():
        return CropFeatures(np.repeat(rng.normal(0, 1, (40, 3)), 8, axis=0), np.repeat(np.arange(40), 8))

    values = [kid(made(), made(), rng).value for _ in range(20)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(20)


def test_kid_intervals_hold_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(2)

    def made(shift):
        smears = rng.normal(shift, 0.5, (25, 2))
        return CropFeatures(np.repeat(smears, 6, axis=0) + rng.normal(0, 1, (150, 2)), np.repeat(np.arange(25), 6))

    truth = np.mean([kid(made(0), made(0.7), rng).value for _ in range(40)])
    held = [one.low <= truth <= one.high for one in (kid(made(0), made(0.7), rng) for _ in range(40))]
    assert np.mean(held) > 0.85


def test_fid_and_coverage_tell_a_lost_mode():
    rng = np.random.default_rng(3)
    vectors = np.concatenate([rng.normal(-4, 1, (300, 3)), rng.normal(4, 1, (300, 3))])
    both = CropFeatures(vectors[rng.permutation(600)], np.arange(600) // 20)
    one = CropFeatures(rng.normal(4, 1, (600, 3)), both.smears)
    other = CropFeatures(vectors + rng.normal(0, 0.01, vectors.shape), both.smears)
    assert fid(both, one, rng).value > 20 * fid(both, other, rng).value
    lost, kept = density_and_coverage(both, one, rng), density_and_coverage(both, other, rng)
    assert kept[1].value > 0.95
    assert lost[1].value == pytest.approx(0.5, abs=0.06)
    assert lost[0].value > 0.8  # what is there is where real ones are


def test_crops_lie_in_the_field_and_do_not_overlap():
    image = np.arange(70 * 100, dtype=np.int64).reshape(70, 100)
    coded = np.stack([image % 251, image // 251, image * 0], axis=2).astype(np.uint8)
    crops = random_crops(coded, 32, 4, np.random.default_rng(0))
    values = crops[..., 0].astype(int) + 251 * crops[..., 1].astype(int)
    assert crops.shape == (4, 32, 32, 3)
    assert len(np.unique(values)) == values.size
    assert crop_side(40) == 64
    assert crop_side(5000) == 512


def test_colour_and_texture_figures_move_the_right_way():
    smear = random_smear(3)
    base = dict(zip(FIGURES, appearance(smear, DIAMETER), strict=True))
    soft = dict(zip(FIGURES, appearance(blurred(smear, 2), DIAMETER), strict=True))
    rough = dict(zip(FIGURES, appearance(noisy(smear, 10), DIAMETER), strict=True))
    assert soft["rim sharpness"] < 0.8 * base["rim sharpness"]
    assert soft["background grain"] < 0.5 * base["background grain"]
    assert rough["cell grain"] > 1.25 * base["cell grain"]
    assert base["cell green"] == pytest.approx(soft["cell green"], abs=5)
    empty = Smear(smear.image, np.zeros_like(smear.labels), np.array([], int))
    assert np.isnan(appearance(empty, DIAMETER)).all()


def test_realism_says_all_it_measured(found):
    assert found.features == "efficientnet_lite0"
    assert found.crop == 32
    assert found.kid_interval[0] <= found.kid <= found.kid_interval[1]
    assert abs(found.kid) < 0.05
    assert found.label_iou_median > 0.9
    assert set(found.appearance) == set(FIGURES)
    assert Realism.model_validate_json(found.model_dump_json()) == found
    assert "efficientnet_lite0" in found.verdict()[0]
    assert found.table().row_count == 4
    assert found.appearance_table().row_count == len(FIGURES)


def test_too_few_or_too_small_smears_are_named(net, smears):
    with pytest.raises(DataError, match="3 synthetic smears are too few"):
        realism(smears[:4], smears[:3], net)
    with pytest.raises(DataError, match=r"smear-00 \(96×96 px\) is smaller than a crop of 128 px"):
        realism(smears[:4], smears[:4], net, crop=128)


def test_smears_of_another_scale_are_refused_with_the_scale_to_read_at(net, smears, smear_folder):
    with pytest.raises(DataError, match=r"--scale (1\.9|2)"):
        realism(smears[:4], [smear.resized(2) for smear in smears[4:8]], net)
    # read at a half, and thus half as large as the synthetic ones: to be read as they are
    with pytest.raises(DataError, match=r"analytic: synthetic cells are .*--scale (0\.9|1)"):
        realism(open_smears(smear_folder, scale=0.5), smears[4:8], net)


def test_smears_without_cells_are_refused_and_too_few_with_cells_are_not_said_to_be_fine(net, smears, found):
    bare = [Smear(one.image, np.zeros_like(one.labels), np.array([], int), name=one.name) for one in smears[:4]]
    with pytest.raises(DataError, match="no whole cell"):
        realism(smears[:4], bare, net)
    looks = [appearance(one, DIAMETER) for one in (smears[4], *bare)]
    assert compare_appearance(looks, looks) == {}  # one smear with cells has no deviation
    assert not any("deviation" in line for line in found.model_copy(update={"appearance": {}}).verdict())


def test_density_and_coverage_of_a_few_crops_are_not_told(net, smears, found):
    few = realism(smears[:4], smears[12:], net, crop=64)  # a crop a smear
    assert few.density is few.coverage is few.coverage_interval is few.density_real is None
    assert few.kid_interval[0] <= few.kid <= few.kid_interval[1]
    assert Realism.model_validate_json(few.model_dump_json()) == few
    assert '"coverage":null' in few.model_dump_json()
    console = Console(width=120, record=True)
    console.print(few.table())
    assert console.export_text().count("too few crops") == 4
    assert any("too few crops" in line for line in few.verdict())
    assert not any("too few crops" in line for line in found.verdict())
    # enough real crops for the balls of all of them, not for those of a half
    halves = realism(smears[:11], smears[12:], net, crop=64)
    assert halves.coverage is not None
    assert halves.coverage_real is None
    # so few synthetic crops leave balls empty by chance
    assert realism(smears[:11], smears[12:18], net, crop=64).coverage is None


def test_what_real_smears_give_does_not_depend_on_the_synthetic_ones(net, smears):
    one, other = (
        realism(smears[:6], synthetic, net, segmenter=Darkness(), rng=3)
        for synthetic in (smears[6:10], [noisy(smear, 20) for smear in smears[10:18]])
    )
    assert one.kid != other.kid
    for name in ("kid_real", "fid_real", "density_real", "coverage_real"):
        assert getattr(one, name) == getattr(other, name), name
    assert one.labels.limits == other.labels.limits


def test_no_figure_is_a_negative_zero(found):
    zero = found.model_copy(update={"kid": -0.0, "kid_interval": (-0.0, 0.1)})
    looks = {name: one.model_copy(update={"offset": -0.01}) for name, one in found.appearance.items()}
    console = Console(width=120, record=True)
    console.print(zero.table(), found.model_copy(update={"appearance": looks}).appearance_table())
    assert "-0 " not in console.export_text(clear=False) + zero.verdict()[0]
    assert "-0.0 " not in console.export_text()


def test_slips_made_on_purpose_are_caught(found):
    limits = found.labels.limits
    assert limits.false_wrong <= 0.02
    assert limits.false_missing <= 0.02
    for kind in SIMULATED_ERRORS:
        # a handful of cells is exchanged here: one missed is a tenth of them
        assert limits.caught.get(kind, 1.0) >= (0.9 if kind == "swapped" else 0.95), kind
    assert {"deleted", "shifted"} <= set(limits.caught)


def test_wrong_and_missing_cells_are_listed_where_they_are(smears, tmp_path):
    limits = calibrate_limits(smears[:12], Darkness(), DIAMETER)
    smear = analytic_smear(SIZE, ((20, 20, 9), (60, 20, 9), (20, 65, 9)))
    labels = smear.labels.copy()
    labels[labels == 2] = 0  # a missing one
    labels[60:76, 60:76] = 2  # one on plain ground
    slipped = Smear.from_labels(smear.image, labels, name="slipped")
    judged = judge_labels(slipped.labels, Darkness().probability(slipped.image) > 0.5, DIAMETER)
    listed = disagreements(slipped, judged, limits)
    assert [(one.kind, one.label) for one in listed] == [("wrong", 2), ("missing", 0)]
    assert (listed[0].x, listed[0].y) == (67.5, 67.5)
    assert (listed[1].x, listed[1].y) == (pytest.approx(60, abs=1.5), pytest.approx(20, abs=1.5))
    found = label_fidelity([slipped], Darkness(), limits, DIAMETER)
    assert (found.wrong, found.missing, found.cells) == (1, 1, 3)
    assert [one.what for one in found.worst(1)] == [
        f"label 2 at x 68, y 68 px, IoU {listed[0].iou:.2f}",
        f"no label at x {listed[1].x:.0f}, y {listed[1].y:.0f} px, {listed[1].area} px²",
    ]
    assert found.worst(0) == ()
    assert disagreements_figure(found, [slipped], tmp_path / "d.png").stat().st_size > 5000


def test_a_touching_pair_is_not_held_against_its_labels():
    smear = analytic_smear(SIZE, ((30, 30, 9), (46, 30, 9)))
    judged = judge_labels(smear.labels, smear.labels > 0, DIAMETER)
    assert judged.ious.tolist() == [1.0, 1.0]
    assert len(judged.areas) == 0


def test_labels_cannot_be_judged_without_cells():
    empty = Smear(np.full((40, 40, 3), 200, np.uint8), np.zeros((40, 40), np.int32), np.array([], int))
    with pytest.raises(DataError, match="no cell"):
        calibrate_limits([empty], Darkness(), DIAMETER)


def test_the_quiz_hides_which_is_which_and_the_key_tells(smears, tmp_path):
    key = write_quiz(tmp_path / "q.html", smears[:6], smears[6:], each=5, side=48, rng=3)
    page = (tmp_path / "q.html").read_text()
    rows = list(csv.DictReader(key.open()))
    assert page.count("<img") == len(rows) == 10
    assert [row["kind"] for row in rows].count("real") == 5
    assert [row["kind"] for row in rows] != sorted(row["kind"] for row in rows)
    assert not any(smear.name in page for smear in smears)
    assert len(set(re.findall(r'width="(\d+)" height="(\d+)"', page))) == 1
    with pytest.raises(OptionError, match="nothing to show"):
        write_quiz(tmp_path / "none.html", smears[:2], [])
    assert not (tmp_path / "none.html").exists()


def test_the_command_compares_two_folders(run, smear_folder, tmp_path):
    ran = run(
        "realism", smear_folder, smear_folder, "--split", "train", "--no-labels", "--sheet", tmp_path / "s.html"
    )
    assert ran.code == 0, ran.err
    assert "KID on efficientnet_lite0" in ran.out
    assert (tmp_path / "s-key.csv").exists()
    ran = run("realism", smear_folder, smear_folder, "--features", "none")
    assert ran.code == 2
    assert "features 'none' leave nothing to compare" in ran.err
    ran = run("realism", smear_folder, smear_folder, "--no-labels")  # its test split has three smears
    assert ran.code == 2
    assert "too few" in ran.err


@pytest.fixture
def judged_by_darkness(monkeypatch):
    """No segmenter is trained; None in the list where one would have been."""
    asked = []

    def judge(*given):
        asked.append(None)
        return Darkness()

    monkeypatch.setattr("smearsynth.evaluation.segmenter.segmenter_for", judge)
    return asked


def test_the_command_names_the_folder_at_fault_before_it_trains(
    run, smear_folder, smears, tmp_path, judged_by_darkness
):
    few = write_folder(tmp_path / "few", smears[:3])
    bare = write_folder(
        tmp_path / "bare", [Smear(one.image, one.labels * 0, one.classes[:0], name=one.name) for one in smears[:4]]
    )
    large = write_folder(tmp_path / "large", [smear.resized(2) for smear in smears[:4]])
    small = write_folder(tmp_path / "small", [smear.cropped(0, 0, 60, 60) for smear in smears[:4]])
    for folder, named, said in (
        (few, few, "3 synthetic smears are too few"),
        (bare, bare, "no whole cell"),
        (large, smear_folder, "--scale 1.9"),
        (small, small, "smear-00 (60×60 px) is smaller than a crop of 80 px"),
    ):
        ran = run("realism", smear_folder, folder, "--split", "train", "--crop", 80)
        assert ran.code == 2
        assert ran.err.startswith(f"error: {named}: ")
        assert said in ran.err
    assert not judged_by_darkness


def test_the_command_says_where_labels_do_not_fit(run, smear_folder, smears, tmp_path, judged_by_darkness):
    moved = [Smear(one.image, np.roll(one.labels, 12, 1), one.classes, name=one.name) for one in smears[9:14]]
    moved = write_folder(tmp_path / "moved", moved)
    ran = run("realism", smear_folder, moved, "--split", "train")
    assert ran.code == 0, ran.err
    listed = re.findall(r"^smear-\d\d: label \d+ at x \d+, y \d+ px, IoU 0\.\d\d$", ran.out, re.MULTILINE)
    assert len(listed) == 4
    assert judged_by_darkness == [None]


def test_refused_smears_are_drawn_anew_and_their_recipes_make_them_again(tiny, tmp_path):
    seen = []

    def second_only(smear):
        seen.append(smear)
        return len(seen) % 2 == 0

    stream = SyntheticSmears(tiny, size=(48, 64), seed=4, accept=second_only)
    smear, recipe = stream.make(2)
    assert (recipe.attempt, recipe.verified) == (1, True)
    assert not np.array_equal(seen[0].image, smear.image)
    again = SyntheticSmears.from_recipe(recipe, tiny)[2]
    assert np.array_equal(again.image, smear.image)
    assert np.array_equal(again.labels, smear.labels)
    plain = SyntheticSmears(tiny, size=(48, 64), seed=4)[2]
    assert np.array_equal(plain.image, seen[0].image)
    with pytest.raises(OptionError, match="refused 8 times"):
        SyntheticSmears(tiny, size=(48, 64), accept=lambda smear: False).make(0)
    stream.write(tmp_path, 1)
    with pytest.raises(DataError, match="verified"):
        SyntheticSmears(tiny, size=(48, 64), seed=4).write(tmp_path, 1)


def test_smears_finished_before_one_is_refused_for_good_stay_usable(tiny, tmp_path):
    def stream(accept):
        return SyntheticSmears(tiny, size=(48, 64), accept=accept)

    error = r"smear 2 was refused 8 times.*--verify.*; the 2 smears before it are finished"
    with pytest.raises(OptionError, match=error) as raised:
        stream(lambda smear: smear.name != "smear-000002").write(tmp_path, 4)
    assert raised.value.path == tmp_path
    rows = (tmp_path / "manifest.jsonl").read_text().splitlines()
    assert [Recipe.model_validate_json(row).index for row in rows] == [0, 1]
    assert open_smears(tmp_path).names == ("smear-000000", "smear-000001")
    # and are taken up where they end
    assert [one.index for one in stream(lambda smear: True).write(tmp_path, 3)] == [0, 1, 2]
    assert len(open_smears(tmp_path)) == 3


def test_labels_fit_unless_there_is_more_wrong_than_in_real_smears(smears):
    limits = calibrate_limits(smears[:12], Darkness(), DIAMETER)
    assert np.mean([labels_fit(smear, Darkness(), limits, DIAMETER) for smear in smears[12:]]) > 0.8
    for smear in smears[12:15]:
        moved = Smear(smear.image, np.roll(smear.labels, 9, axis=1), smear.classes)
        assert not labels_fit(moved, Darkness(), limits, DIAMETER)
