"""The layout certificate: it passes what is the same, fails what is not, and prints what it says."""

import json

import numpy as np
import pytest

from layout_reference import ellipses
from smearsynth.errors import DataError
from smearsynth.evaluation import check_layout
from smearsynth.layout import InteractionParameters, ContactParameters, Workspace, contact_layout
from smearsynth.layout.contact.fitting import fit_contact
from smearsynth.layout.labels import LabelSource
from smearsynth.layout.painting import paint_labels
from smearsynth.smear import Smear
from smearsynth.statistics import measure

SIZE = (300, 400)
SHAPES = Workspace(ellipses(np.random.default_rng(0).normal(9, 0.7, (60, 2))))
LAW = ContactParameters(
    form=InteractionParameters(gap=0.05),
    adhesion=1.0,
    smears=[(6.4 + 0.2 * z, 2.9, -2.3, z) for z in np.random.default_rng(0).normal(0, 0.5, 40)],
)


def made_smears(n, seed):
    """Smears drawn from a law whose cells stick together."""
    rng = np.random.default_rng(seed)
    for k in range(n):
        one = LAW.draw(rng)
        laid = contact_layout(SIZE, round(one.count_on(SIZE, one.diameter)), SHAPES, parameters=one, rng=rng)
        labels = paint_labels(laid, SHAPES).astype(np.int32)
        yield Smear(np.zeros((*SIZE, 3), np.uint8), labels, laid.classes, name=str(k))


@pytest.fixture(scope="module")
def fitted():
    statistics = measure(made_smears(30, 1))
    return LabelSource(SHAPES.shapes, statistics, fit_contact(statistics, SHAPES, rng=0))


@pytest.fixture(scope="module")
def certificate(fitted):
    return check_layout(list(made_smears(30, 2)), fitted, rng=3)


def test_the_true_law_cannot_be_told_from_its_own_smears_and_others_can(fitted):
    found = check_layout(list(made_smears(30, 2)), LabelSource(SHAPES.shapes, fitted.statistics, LAW), rng=3)
    assert len(found.outside("contact")) <= 1  # at 95 % each, one of seven may fail
    for layout in ("ring", "uniform"):
        assert {"pair_correlation", "nearest_neighbour", "touching_fraction"} <= set(found.outside(layout))


def test_a_fitted_law_comes_near(certificate, fitted):
    assert fitted.contact.form.gap == pytest.approx(LAW.form.gap, abs=0.03)
    assert (
        fitted.contact.form.overlap * fitted.contact.form.depth < 0.005
    )  # diameters, in the mean of attached cells
    assert fitted.contact.adhesion == pytest.approx(LAW.adhesion, abs=0.8)
    real = float(certificate.curves["touching_fraction"].real[0])
    assert certificate.statistics["touching_fraction"]["contact"].value == pytest.approx(real, abs=0.1)
    for name in ("pair_correlation", "nearest_neighbour", "cluster_sizes"):
        of = certificate.statistics[name]
        assert of["contact"].value < min(of["ring"].value, of["uniform"].value) / 2


def test_the_fit_is_reproducible_and_keeps_every_smear(fitted):
    again = fit_contact(fitted.statistics, SHAPES, rng=0)
    assert again == fitted.contact
    assert len(again.smears) == 30


def test_the_certificate_says_value_low_high_inside(certificate, tmp_path):
    found = json.loads(certificate.to_json())
    assert set(found) >= {
        "pair_correlation",
        "nearest_neighbour",
        "touching_fraction",
        "cluster_sizes",
        "cell_areas",
    }
    for of in found.values():
        assert set(of) == {"contact", "ring", "uniform"}
        for one in of.values():
            assert one["inside"] == (one["low"] <= one["value"] <= one["high"])
    certificate.figure(tmp_path / "certificate.png")
    assert (tmp_path / "certificate.png").stat().st_size > 10_000


def test_too_few_smears_for_an_envelope_are_named(fitted):
    with pytest.raises(DataError, match="too few"):
        check_layout(list(made_smears(2, 4)), fitted)


def test_one_smear_is_enough_for_a_law():
    statistics = measure(made_smears(1, 5))
    law = fit_contact(statistics, SHAPES)
    assert len(law.smears) == 1
    counts = [law.draw(k).count_on(SIZE, 18.0) for k in range(100)]
    assert 0.5 < np.mean(counts) / statistics.count.mean < 2
    assert np.std(counts) > 0


def test_smears_without_a_whole_cell_are_named():
    labels = np.zeros((20, 20), np.int32)
    labels[:5, :5] = 1
    cut = measure([Smear(np.zeros((20, 20, 3), np.uint8), labels, np.array([0]))])
    with pytest.raises(DataError, match="whole cell"):
        fit_contact(cut, SHAPES)


def test_the_command_prints_the_same_and_draws(run, tiny_folder, smear_folder, tmp_path):
    picture = tmp_path / "c.png"
    ran = run("check_layout", smear_folder, "--model", tiny_folder, "--draws", 6, "--json", "--figure", picture)
    assert ran.code == 0
    assert set(json.loads(ran.out)["touching_fraction"]) == {"contact", "ring", "uniform"}
    assert picture.exists()
    ran = run("check_layout", smear_folder, "--model", tiny_folder, "--draws", 6, "--format", "labels")
    assert ran.code == 0
    assert all(f"{layout}: " in ran.out for layout in ("contact", "ring", "uniform"))
    ran = run("check_layout", smear_folder, "--model", tiny_folder, "--format", "coco")
    assert ran.code == 2


def test_the_mix_of_classes_is_kept(run, two_class_folder, tmp_path):
    options = ("-m", two_class_folder, "-n", 2, "--size", "64x64", "--no-sheet")
    ran = run("generate", "-o", tmp_path / "a", *options, "--mix", "red cell=1")
    assert ran.code == 0
    recipes = [json.loads(line) for line in (tmp_path / "a" / "manifest.jsonl").read_text().splitlines()]
    assert all(recipe["classes"]["white cell"] == 0 for recipe in recipes)
    assert all(recipe["layout"] == "contact" and recipe["mix"] == {"red cell": 1.0} for recipe in recipes)
    for mix, said in (("red cell", "give a share"), ("blue=1", "blue"), ("red cell=0.4", "sum to 1")):
        ran = run("generate", "-o", tmp_path / "b", *options, "--mix", mix)
        assert ran.code == 2
        assert said in ran.err
