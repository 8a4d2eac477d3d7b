"""Trial fields have the counts of the real smears, and corrections reduce their errors."""

import numpy as np
import pytest

from layout_reference import ellipses
from smears import analytic_smear, partly_annotated
from smearsynth.layout import Workspace
from smearsynth.layout.contact.trials import (
    COORDINATES,
    Trials,
    annotated_at_border,
    sample_smears,
    smear_rows,
    smoothed_logit,
)
from smearsynth.statistics import measure

START = np.array([start for start, _ in COORDINATES.values()])


def grid_smear(step, columns=12):
    """Discs of radius 7 on a grid, none cut by the border."""
    discs = [(20 + step * (k % columns), 20 + 18 * (k // columns), 7) for k in range(3 * columns)]
    return analytic_smear((100, 300), discs)


@pytest.fixture(scope="module")
def trials():
    rows = measure([grid_smear(16), grid_smear(20), grid_smear(22)]).rows
    return Trials(Workspace(ellipses([(9, 9), (9, 8)])), rows, np.random.default_rng(0))


def test_parameters_are_bounded_at_extreme_coordinates(trials):
    for sign in (-100, 100):
        parameters = trials.parameters_at(np.full(len(COORDINATES), sign))
        assert parameters.form.depth <= 1
        assert len(parameters.smears) == 3
        assert all(abs(row[3]) <= 6 for row in parameters.smears)


def test_sizes_are_corrected_by_the_errors_of_a_trial(trials):
    # The shapes are discs of 9 px radius, but sizes are those of the real smears, with discs of 7 px.
    for _ in range(3):
        trials.moments(START)
        trials.calibrate_sizes()
    diameters = [field.moments.diameter for _, field in trials._simulate(trials.parameters_at(START))]
    assert np.mean(diameters) == pytest.approx(np.mean([row.cell_diameter.mean for row in trials.rows]), rel=0.03)


def test_the_touch_of_each_smear_follows_its_touching_fraction():
    rows = measure([grid_smear(14.2), grid_smear(24)]).rows
    assert rows[0].touching_fraction > rows[1].touching_fraction
    trials = Trials(Workspace(ellipses([(7, 7)])), rows, np.random.default_rng(0))
    for _ in range(2):
        trials.fit_touch(START, 1.0)
    touching, separate = (row[3] for row in trials.parameters_at(START).smears)
    assert touching > separate


def test_rows_of_smears_are_logarithms_and_logits():
    (row,) = measure([grid_smear(20)]).rows
    intensity, diameter, spread, touch = smear_rows([row])[0]
    assert np.exp(diameter) == pytest.approx(row.cell_diameter.mean)
    assert 0.02 <= np.exp(spread) <= 0.5
    assert touch == smoothed_logit(row.touching_fraction, row.count)
    # No cell is cut: the area is that of whole cells only.
    assert np.exp(intensity) == pytest.approx(1e6 * 36 / ((100 - np.exp(diameter)) * (300 - np.exp(diameter))))
    assert annotated_at_border([row]) == 0


def test_smoothed_logits_are_finite():
    assert smoothed_logit(0.0, 10) == -smoothed_logit(1.0, 10)
    assert smoothed_logit(0.3, 0) == 0


def test_samples_are_even_over_the_order_of_touching():
    smears = np.zeros((40, 4))
    smears[:, 3] = np.arange(40)[::-1]
    assert sample_smears(smears, 5) == [39, 29, 19, 10, 0]
    assert sample_smears(smears[:3], 5) == [0, 1, 2] * 4
    assert sample_smears(smears, 40) == list(range(40))


def test_a_smear_annotated_in_half_is_simulated_at_its_density():
    smear = grid_smear(20)
    half = partly_annotated(smear, 130)
    assert half.count < 20
    rows = measure([half, smear]).rows
    trials = Trials(Workspace(ellipses([(7, 7)])), rows, np.random.default_rng(0))
    counts = [layout.requested for layout, _ in trials._simulate(trials.parameters_at(START))]
    assert counts[0] == pytest.approx(counts[1], rel=0.2)
    assert trials.smears[0, 0] == pytest.approx(trials.smears[1, 0], abs=0.2)
