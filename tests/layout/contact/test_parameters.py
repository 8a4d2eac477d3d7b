"""Contact parameters: joint draws, class adhesion, borders and JSON."""

import numpy as np
import pytest

from smearsynth.errors import DataError, OptionError
from smearsynth.layout.contact.parameters import (
    ContactParameters,
    InteractionParameters,
    SmearParameters,
    annotated_fraction,
    border_exponent,
    field_areas,
)


def test_parameters_of_a_smear_are_drawn_together():
    rng = np.random.default_rng(0)
    sizes = rng.normal(0, 0.1, 60)
    parameters = ContactParameters(adhesion=0, smears=[(5.3 - 3 * s, 3.7 + s, -2.3, -1 + 5 * s) for s in sizes])
    draws = [parameters.draw(rng) for _ in range(500)]
    logs = np.log([[smear.intensity, smear.diameter] for smear in draws])
    assert np.corrcoef(logs.T)[0, 1] < -0.6
    assert logs.std(axis=0) == pytest.approx([0.3, 0.1], rel=0.35)


def test_a_single_smear_is_not_repeated_exactly():
    parameters = ContactParameters(adhesion=0, smears=[(5.3, 3.7, -2.3, -1)])
    diameters = [parameters.draw(k).diameter for k in range(200)]
    assert 0.01 < np.std(np.log(diameters)) < 0.08


def test_draws_are_near_the_reference_smear():
    rows = [(5.3, 3.0, -2.3, -1.0), (5.3, 4.0, -2.3, -1.0)] * 20
    parameters = ContactParameters(adhesion=0, smears=rows)
    small, large = (np.mean([parameters.draw(k, reference=n).diameter for k in range(60)]) for n in (0, 1))
    assert large > 1.8 * small


def test_empty_smears_are_drawn_as_often_as_observed():
    parameters = ContactParameters(adhesion=0, smears=[(5.3, 3.7, -2.3, -1)], empty=0.3)
    empty = np.mean([parameters.draw(k).intensity == 0 for k in range(400)])
    assert empty == pytest.approx(0.3, abs=0.08)


def test_adhesion_changes_with_touch_by_its_slope():
    parameters = ContactParameters(adhesion=0, adhesion_slope=1, smears=[(5, 4, -2, 0), (5, 4, -2, 2)])
    low, high = (parameters.smear(row) for row in parameters.smears)
    assert (low.adhesion, high.adhesion) == pytest.approx((1 / (1 + np.e), np.e / (1 + np.e)))


def test_class_adhesion_leaves_certain_probabilities():
    for adhesion in (0.0, 1.0):
        smear = SmearParameters(adhesion=adhesion, class_adhesion={"platelet": -2.0})
        assert smear.adhesion_of(["red", "platelet"]).tolist() == [adhesion, adhesion]


@pytest.mark.parametrize(("diameter", "whole"), [(0.0, 20_000.0), (20.0, 80 * 180), (150.0, 0.0)])
def test_areas_of_whole_and_cut_cells(diameter, whole):
    whole_area, cut_area = field_areas((100, 200), diameter)
    assert whole_area == whole
    # all centres at most a radius away from the field (Steiner's formula)
    assert whole_area + cut_area == pytest.approx(20_000 + 300 * diameter + np.pi * diameter**2 / 4)


def test_the_border_exponent_inverts_the_annotated_fraction():
    for fraction in (0.1, 0.3, 1.0):
        assert annotated_fraction(border_exponent(fraction)) == pytest.approx(fraction, abs=1e-3)
    assert border_exponent(0.0) == 20
    with pytest.raises(OptionError, match="annotated fraction"):
        border_exponent(float("nan"))


def test_the_expected_count_includes_cells_at_the_border():
    smear = SmearParameters(adhesion=0, intensity=100, form=InteractionParameters(border=1.0))
    whole_area, cut_area = field_areas((1000, 1000), 40.0)
    expected = (whole_area + 0.5 * cut_area) * 100 / 1e6
    assert smear.count_on((1000, 1000), 40.0) == pytest.approx(expected, rel=1e-3)
    assert smear.count_on((1000, 1000), 40.0, density=3) == pytest.approx(3 * expected, rel=1e-3)


def test_invalid_json_is_refused_with_the_field():
    with pytest.raises(DataError, match=r"smears.*at least 1"):
        ContactParameters.from_json('{"adhesion": 0, "smears": []}')
    with pytest.raises(DataError, match="adhesion"):
        ContactParameters.from_json('{"smears": [[1, 2, 3, 4]]}')
