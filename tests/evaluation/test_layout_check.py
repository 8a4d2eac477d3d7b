"""The layout check: it accepts layouts of the same model, rejects others, and reports what differs."""

import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from layout_reference import ellipses
from smears import partly_annotated, unannotated
from smearsynth.datasets import open_smears
from smearsynth.errors import DataError, ModelError
from smearsynth.evaluation.layout_check import LAYOUTS, check_layout, compare_layouts
from smearsynth.layout import ContactParameters, InteractionParameters, Workspace, contact_layout
from smearsynth.layout.contact.fitting import fit_contact
from smearsynth.layout.labels import LabelSource
from smearsynth.layout.painting import paint_labels
from smearsynth.runs import Execution, Progress
from smearsynth.smear import Smear
from smearsynth.statistics import measure

SIZE = (300, 400)
SHAPES = Workspace(ellipses(np.random.default_rng(0).normal(9, 0.7, (60, 2))))
ADHESIVE = ContactParameters(
    form=InteractionParameters(gap=0.05),
    adhesion=1.0,
    smears=[(6.4 + 0.2 * z, 2.9, -2.3, z) for z in np.random.default_rng(0).normal(0, 0.5, 40)],
)


def adhesive_smears(n, seed):
    """Smears with the parameters `ADHESIVE`: their cells adhere to each other."""
    rng = np.random.default_rng(seed)
    for k in range(n):
        smear = ADHESIVE.draw(rng)
        count = round(smear.count_on(SIZE, smear.diameter))
        layout = contact_layout(SIZE, count, SHAPES, parameters=smear, rng=rng)
        labels = paint_labels(layout, SHAPES).astype(np.int32)
        yield Smear(np.zeros((*SIZE, 3), np.uint8), labels, layout.classes, name=str(k))


@pytest.fixture(scope="module")
def fitted():
    statistics = measure(adhesive_smears(30, 1))
    return LabelSource(SHAPES.shapes, statistics, fit_contact(statistics, SHAPES, rng=0))


@pytest.fixture(scope="module")
def check(fitted):
    return compare_layouts(list(adhesive_smears(30, 2)), fitted, rng=3)


def test_the_true_parameters_pass_and_other_layouts_fail(fitted):
    source = LabelSource(SHAPES.shapes, fitted.statistics, ADHESIVE)
    result = compare_layouts(list(adhesive_smears(30, 2)), source, rng=3)
    assert len(result.outside("contact")) <= 1  # at 95 % each, one of seven may fail
    for layout in ("ring", "uniform"):
        assert {"pair_correlation", "nearest_neighbour", "touching_fraction"} <= set(result.outside(layout))


def test_fitted_parameters_are_close_to_the_true_ones(check, fitted):
    assert len(fitted.contact.smears) == 30
    assert fitted.contact.form.gap == pytest.approx(ADHESIVE.form.gap, abs=0.03)
    # diameters, mean over attached cells
    assert fitted.contact.form.overlap * fitted.contact.form.depth < 0.005
    assert fitted.contact.adhesion == pytest.approx(ADHESIVE.adhesion, abs=0.8)
    real = float(check.curves["touching_fraction"].real[0])
    assert check.statistics["touching_fraction"]["contact"].value == pytest.approx(real, abs=0.1)
    for name in ("pair_correlation", "nearest_neighbour", "cluster_sizes"):
        verdicts = check.statistics[name]
        assert verdicts["contact"].value < min(verdicts["ring"].value, verdicts["uniform"].value) / 2


def test_the_json_text_has_value_low_high_and_inside(check):
    record = json.loads(check.to_json())
    assert set(record) >= {
        "pair_correlation",
        "nearest_neighbour",
        "touching_fraction",
        "cluster_sizes",
        "cell_areas",
    }
    for verdicts in record.values():
        assert set(verdicts) == {"contact", "ring", "uniform"}
        for verdict in verdicts.values():
            assert verdict["inside"] == (verdict["low"] <= verdict["value"] <= verdict["high"])


def test_the_table_marks_what_is_outside(check):
    console = Console(width=120, record=True)
    console.print(check.table())
    text = console.export_text()
    assert "30 real smears and 300 synthetic fields per layout" in text
    assert text.count("OUTSIDE") == sum(len(check.outside(layout)) for layout in LAYOUTS)


def test_too_few_smears_are_refused(fitted):
    with pytest.raises(DataError, match="at least 4 smears, here: 2"):
        compare_layouts(list(adhesive_smears(2, 4)), fitted)


def test_smears_without_a_whole_cell_are_refused(fitted):
    empty = Smear(np.zeros((20, 20, 3), np.uint8), np.zeros((20, 20), np.int32), np.array([], int))
    with pytest.raises(DataError, match="no whole cell in the 4 smears"):
        compare_layouts([empty] * 4, fitted)


def test_a_folder_is_checked_with_a_model_or_its_folder(smear_folder, tiny, tiny_folder):
    calls = []

    class Recorder(Progress):
        def advance(self, stage, done, total=None):
            calls.append((done, total))

    result = check_layout(smear_folder, tiny_folder, draws=4, execution=Execution(progress=Recorder()))
    assert (result.smears, result.draws) == (9, 4)
    assert calls == [(k, 9 + 3 * 4) for k in range(1, 22)]
    again = check_layout(open_smears(smear_folder), tiny, draws=4)
    assert again.to_json() == result.to_json()
    assert check_layout(smear_folder, tiny, draws=4, rng=1).to_json() != result.to_json()
    with pytest.raises(ModelError):
        check_layout(smear_folder, smear_folder)
    with pytest.raises(DataError, match=f"^{smear_folder}: an envelope needs at least 4 smears, here: 3"):
        check_layout(open_smears(smear_folder, split="test"), tiny)


def test_partly_annotated_smears_pass_with_their_own_layout(fitted):
    source = LabelSource(SHAPES.shapes, fitted.statistics, ADHESIVE)
    smears = [partly_annotated(smear, 230) for smear in adhesive_smears(30, 2)]
    result = compare_layouts([*smears, unannotated(smears[0])], source, layouts=("contact",), draws=100, rng=3)
    assert result.smears == 30
    marked = set(result.outside("contact"))
    unmarked = [replace(smear, ignored=None) for smear in smears]
    plain = compare_layouts(unmarked, source, layouts=("contact",), draws=100, rng=3)
    assert len(marked) <= 1
    assert {"empty_areas", "pair_correlation"} <= set(plain.outside("contact"))
