"""A fit to simulated smears recovers their contact parameters."""

import numpy as np
import pytest

from layout_reference import ellipses
from smears import analytic_smear, unannotated
from smearsynth.errors import DataError
from smearsynth.layout import SmearParameters, Workspace, contact_layout
from smearsynth.layout.contact import fitting, trials
from smearsynth.layout.contact.fitting import fit_contact
from smearsynth.layout.painting import paint_labels
from smearsynth.smear import Smear
from smearsynth.statistics import measure

SHAPES = ellipses([(7, 7), (8, 6), (7, 6)])
SIZE = (110, 140)


def simulated(adhesion, touch, runs=4):
    workspace = Workspace(SHAPES)
    parameters = SmearParameters(adhesion=adhesion, touch=touch)
    for seed in range(runs):
        layout = contact_layout(SIZE, 28, workspace, parameters=parameters, rng=seed)
        yield Smear(np.full((*SIZE, 3), 200, np.uint8), paint_labels(layout, workspace), layout.classes)


@pytest.fixture
def short_fit(monkeypatch):
    """A short fit, long enough to tell strong from weak adhesion."""
    monkeypatch.setattr(fitting, "_ROUNDS", 1)
    monkeypatch.setattr(fitting, "_TOUCH_PASSES", 1)
    monkeypatch.setattr(trials, "_MIN_FIELDS", 2)


def test_fitted_fields_touch_as_often_as_the_real_ones(short_fit):
    fractions = {}
    for adhesion in (0.1, 0.9):
        statistics = measure(simulated(adhesion, 0.9))
        fitted = fit_contact(statistics, SHAPES, rng=1)
        assert len(fitted.smears) == 4
        assert fitted.empty == 0
        workspace = Workspace(SHAPES)
        rows = []
        for seed, row in enumerate(fitted.smears * 2):
            layout = contact_layout(SIZE, 28, workspace, parameters=fitted.smear(row), rng=seed)
            labels = paint_labels(layout, workspace)
            rows.append(Smear(np.zeros((*SIZE, 3), np.uint8), labels, layout.classes))
        real = np.mean([row.touching_fraction for row in statistics.rows])
        fractions[adhesion] = np.mean([row.touching_fraction for row in measure(rows).rows])
        assert fractions[adhesion] == pytest.approx(real, abs=0.2)
    assert fractions[0.9] > fractions[0.1] + 0.2


def test_trials_are_counted_and_the_seed_determines_the_fit(short_fit):
    statistics = measure(simulated(0.5, 0.5, runs=2))
    calls = []
    first = fit_contact(statistics, SHAPES, rng=4, on_trial=lambda done, total: calls.append((done, total)))
    assert calls == [(k, len(calls)) for k in range(1, len(calls) + 1)]
    assert fit_contact(statistics, Workspace(SHAPES), rng=4) == first


def test_smears_without_a_whole_cell_are_refused():
    cut = analytic_smear(discs=[(0.0, 0.0, 12.0), (79.0, 63.0, 12.0)])
    with pytest.raises(DataError, match="no smear has a whole cell"):
        fit_contact(measure([cut, analytic_smear(discs=[])]), SHAPES)


def test_smears_without_cells_are_counted_as_empty(short_fit):
    fitted = fit_contact(measure([*simulated(0.5, 0.5, runs=3), analytic_smear(SIZE, [])]), SHAPES)
    assert fitted.empty == 0.25
    assert len(fitted.smears) == 3


def test_unannotated_smears_are_not_counted_as_empty(short_fit):
    fitted = fit_contact(measure([*simulated(0.5, 0.5, runs=3), unannotated(analytic_smear(SIZE))]), SHAPES)
    assert fitted.empty == 0


def test_one_smear_is_enough_for_a_fit(short_fit):
    statistics = measure(simulated(0.5, 0.5, runs=1))
    parameters = fit_contact(statistics, SHAPES)
    assert len(parameters.smears) == 1
    counts = [parameters.draw(k).count_on(SIZE, 15.0) for k in range(100)]
    assert 0.5 < np.mean(counts) / statistics.count.mean < 2
    assert np.std(counts) > 0
