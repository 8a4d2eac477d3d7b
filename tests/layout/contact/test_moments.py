"""Moments of labels are those of the statistics of the same smear."""

from dataclasses import replace

import numpy as np
import pytest

from layout_reference import ellipses
from smears import analytic_smear
from smearsynth.layout import InteractionParameters, SmearParameters, Workspace, contact_layout
from smearsynth.layout.contact.moments import (
    FieldMoments,
    _contact_fractions,
    fill_unknown_empty,
    measure_field,
    pool_moments,
    standard_errors,
)
from smearsynth.layout.painting import paint_labels
from smearsynth.smear import Smear
from smearsynth.statistics import measure_smear
from smearsynth.statistics.patterns import contact_fractions

DISCS = Workspace(ellipses([(7, 7), (8, 6)]))
SIZE = (300, 400)


def test_moments_of_labels_are_the_statistics_of_the_smear():
    form = InteractionParameters(overlap=0.3)
    parameters = SmearParameters(adhesion=0.6, touch=0.6, form=form)
    for seed in range(3):
        layout = contact_layout(SIZE, 90, DISCS, parameters=parameters, rng=seed)
        labels = paint_labels(layout, DISCS)
        smear = Smear(np.zeros((*SIZE, 3), np.uint8), labels, layout.classes)
        expected = FieldMoments.from_statistics(measure_smear(smear))
        moments = FieldMoments.from_labels(labels, layout.placed)
        assert moments.touching == pytest.approx(expected.touching)
        assert moments.diameter == pytest.approx(expected.diameter)
        assert moments.spread == pytest.approx(expected.spread)
        assert np.array_equal(moments.nearest, expected.nearest)
        assert np.array_equal(moments.clustered, expected.clustered)
        assert np.allclose(moments.pairs, expected.pairs, atol=1e-4, equal_nan=True)
        assert np.allclose(moments.contacts, expected.contacts, atol=1e-4)
        assert moments.contacts.max() > 0.1  # there are long contacts


def test_cells_are_measured_one_by_one():
    smear = analytic_smear((64, 80), [(0, 30, 9), (34, 20, 9), (46, 20, 9), (60, 50, 12)])
    field = measure_field(smear.labels, smear.count)
    assert field.areas.tolist() == smear.areas().tolist()
    assert field.cut.tolist() == smear.cut_by_border().tolist() == [True, False, False, False]
    assert field.groups.tolist() == [1, 2, 2, 1]
    assert (field.moments.touching, field.moments.cut) == (0.5, 0.25)


def test_a_field_without_cells_has_no_moments_but_pools():
    empty = FieldMoments.from_labels(np.zeros((40, 50), np.int32), 0)
    assert (empty.count, empty.clustered.tolist()) == (0, [0, 0, 0])
    assert np.isnan([empty.diameter, empty.touching, empty.cut]).all()
    full = FieldMoments.from_labels(analytic_smear().labels, 3)
    assert len(pool_moments([empty, full])) == 35


def test_standard_errors_decrease_with_the_number_of_fields():
    smears = [analytic_smear((64, 80), [(20, 20, 9), (20 + 4 * k, 44, 9)]) for k in range(8)]
    fields = [FieldMoments.from_labels(smear.labels, smear.count) for smear in smears]
    few, many = standard_errors(fields), standard_errors(fields * 8)
    assert len(few) == 35
    assert (many <= few).all()
    assert many.sum() < 0.8 * few.sum()
    assert np.array_equal(few, standard_errors(fields))
    assert (standard_errors(fields[:2]) == 3 * standard_errors(fields[:1] * 3)).all()  # no bootstrap of two


def test_empty_areas_that_are_unknown_in_one_field_are_those_of_the_others():
    known = FieldMoments.from_labels(analytic_smear().labels, 3)
    unknown = replace(known, empty=np.full(6, np.nan))
    filled = fill_unknown_empty([known, unknown])
    assert np.array_equal(filled[1].empty, known.empty)
    assert np.array_equal(pool_moments(filled)[-9:-3], known.empty)
    assert np.isnan(fill_unknown_empty([unknown])[0].empty).all()
    assert np.isnan(pool_moments([known, unknown])[-9:-3]).all()  # simulated fields keep their NaN


def test_deeper_overlaps_have_longer_contacts():
    def mean_contacts(depth):
        form = InteractionParameters(overlap=0.8, depth=depth)
        parameters = SmearParameters(adhesion=0.8, touch=0.8, form=form)
        layouts = [contact_layout((600, 800), 60, large, parameters=parameters, rng=seed) for seed in range(4)]
        return np.mean(
            [FieldMoments.from_labels(paint_labels(one, large), one.placed).contacts for one in layouts], 0
        )

    large = Workspace(ellipses([(20, 20)]))
    shallow, deep = mean_contacts(0.1), mean_contacts(0.4)
    assert deep[2] > 2 * shallow[2]


def test_statistics_without_contacts_have_unknown_moments():
    row = measure_smear(analytic_smear()).model_copy(update={"contact_fractions": ()})
    assert np.isnan(FieldMoments.from_statistics(row).contacts).all()
    assert np.isnan(pool_moments([FieldMoments.from_statistics(row)])[-3:]).all()


def test_the_compiled_contact_lengths_are_those_of_the_statistics():
    form = InteractionParameters(overlap=0.7, depth=0.3)
    for seed in range(3):
        parameters = SmearParameters(adhesion=0.8, touch=0.5, form=form)
        layout = contact_layout(SIZE, 90, DISCS, parameters=parameters, rng=seed)
        labels = paint_labels(layout, DISCS)
        expected = contact_fractions(labels, layout.placed, 14.0)
        assert expected[0] > 0.1
        np.testing.assert_allclose(_contact_fractions(labels, layout.placed, 14.0), expected)
