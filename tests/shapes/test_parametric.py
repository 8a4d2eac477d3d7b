"""Tests of the parametric shape model against the distributions of its library."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from cell_contours import contour_mask, library_of, shape_measures, wavy_ellipses
from smearsynth.datasets import open_smears
from smearsynth.errors import DataError, ModelError, OptionError
from smearsynth.shapes.contours import VERTICES, are_simple, polygon_areas, polygon_centroids
from smearsynth.shapes.library import ShapeLibrary
from smearsynth.shapes.parametric import ParametricShapes


@pytest.fixture(scope="module")
def fit_result() -> tuple[ShapeLibrary, ParametricShapes, ShapeLibrary]:
    library = library_of(np.concatenate([wavy_ellipses(400), wavy_ellipses(200, seed=1, spicules=0.03)]))
    model = ParametricShapes.fit(library)
    return library, model, model.sample(600, rng=0)


def test_samples_have_the_distributions_of_the_library(fit_result):
    library, _, samples = fit_result
    assert samples.areas().mean() == pytest.approx(library.areas().mean(), rel=0.03)
    assert samples.areas().std() == pytest.approx(library.areas().std(), rel=0.15)
    real, synthetic = shape_measures(library.contours), shape_measures(samples.contours)
    for name, values in real.items():
        assert stats.ks_2samp(values, synthetic[name]).statistic < 0.12, name
    # The same test must reject discs of equal areas.
    angle = np.linspace(0, 2 * np.pi, VERTICES, endpoint=False)
    discs = np.stack([np.cos(angle), np.sin(angle)], -1) * np.sqrt(library.areas() / np.pi)[:, None, None]
    assert stats.ks_2samp(real["compactness"], shape_measures(discs)["compactness"]).statistic > 0.9


def test_samples_are_valid_centred_contours(fit_result):
    _, _, samples = fit_result
    assert are_simple(samples.contours).all()
    assert np.abs(polygon_centroids(samples.contours)).max() < 1e-2
    steps = np.linalg.norm(np.roll(samples.contours, -1, axis=1) - samples.contours, axis=2)
    assert (steps.std(axis=1) / steps.mean(axis=1)).max() < 0.01


def test_model_contains_no_contour_of_a_real_cell(fit_result, tmp_path: Path):
    library, model, samples = fit_result
    # The size of the model does not grow with the number of cells ...
    model.save(tmp_path / "shapes.json")
    size = (tmp_path / "shapes.json").stat().st_size
    double = ParametricShapes.fit(library_of(np.concatenate([library.contours, wavy_ellipses(600, seed=5)])))
    double.save(tmp_path / "double.json")
    assert size < 20_000
    assert (tmp_path / "double.json").stat().st_size < 2.2 * size  # more components, up to a limit
    # ... and no sample is closer to a real cell than real cells are to each other.
    fourier = [np.abs(np.fft.fft(c[..., 0] + 1j * c[..., 1], axis=1)) for c in (library.contours, samples.contours)]
    between_real = np.linalg.norm(fourier[0][:, None] - fourier[0][None], axis=2) + 1e9 * np.eye(len(library))
    to_samples = np.linalg.norm(fourier[1][:, None] - fourier[0][None], axis=2)
    assert to_samples.min() > 0.5 * between_real.min()


def test_model_round_trip_and_seeds(fit_result, tmp_path: Path):
    _, model, _ = fit_result
    model.save(tmp_path / "shapes.json")
    loaded = ParametricShapes.load(tmp_path / "shapes.json")
    assert loaded == model
    first, second, other = loaded.sample(9, 3), model.sample(9, np.random.default_rng(3)), model.sample(9, 4)
    assert (first.contours == second.contours).all()
    assert (first.contours != other.contours).any()
    (tmp_path / "shapes.json").write_text('{"version": 1}')
    with pytest.raises(ModelError, match=r"shapes\.json.*not a shape model"):
        ParametricShapes.load(tmp_path / "shapes.json")
    with pytest.raises(ModelError, match="no such"):
        ParametricShapes.load(tmp_path / "none.json")


def test_samples_have_the_class_frequencies_and_sizes_of_the_library():
    contours = np.concatenate([wavy_ellipses(150), wavy_ellipses(50, size=6)])
    model = ParametricShapes.fit(library_of(contours, np.repeat([0, 2], [150, 50]), ("rbc", "wbc", "platelet")))
    samples = model.sample(400, rng=1)
    assert samples.class_names == ("rbc", "wbc", "platelet")
    assert np.bincount(samples.classes, minlength=3) == pytest.approx([300, 0, 100], abs=35)
    assert samples.of_class("rbc").areas().min() > samples.of_class("platelet").areas().max()
    assert set(model.sample(5, 0, "platelet").classes.tolist()) == {2}
    with pytest.raises(OptionError, match=r"'wbc'.*rbc, platelet"):
        model.sample(1, 0, "wbc")


@pytest.mark.parametrize("count", [1, 2, 9])
def test_few_cells_determine_the_size_but_not_the_form(count: int):
    crosses = wavy_ellipses(count, size=20)
    crosses[:, ::2] *= 0.6  # a form that no other cell has
    model = ParametricShapes.fit(library_of(crosses))
    samples = model.sample(300, rng=0)
    assert np.log(samples.areas()).mean() == pytest.approx(np.log(polygon_areas(crosses)).mean(), abs=0.05)
    assert np.log(samples.areas()).std() > 0.07
    assert (
        shape_measures(samples.contours)["compactness"].max() < 1.2 < shape_measures(crosses)["compactness"].min()
    )


def test_a_rare_class_uses_the_forms_of_all_classes():
    contours = np.concatenate([wavy_ellipses(120, spicules=0.05), wavy_ellipses(3, seed=9, size=40)])
    model = ParametricShapes.fit(library_of(contours, np.repeat([0, 1], [120, 3]), ("rbc", "wbc")))
    large = model.sample(100, 0, "wbc")
    assert large.areas().mean() == pytest.approx(polygon_areas(contours[120:]).mean(), rel=0.2)
    assert shape_measures(large.contours)["compactness"].mean() == pytest.approx(
        shape_measures(contours[:120])["compactness"].mean(), rel=0.1
    )


def test_identical_cells_and_empty_samples():
    model = ParametricShapes.fit(library_of(np.repeat(wavy_ellipses(1), 12, axis=0)))
    samples = model.sample(20, 0)
    assert samples.areas() == pytest.approx(polygon_areas(wavy_ellipses(1))[0], rel=0.05)
    assert len(model.sample(0, 0)) == 0
    with pytest.raises(OptionError, match="-1 shapes"):
        model.sample(-1, 0)
    with pytest.raises(DataError, match="empty"):
        ParametricShapes.fit(library_of(np.zeros((0, VERTICES, 2), np.float32)))


@pytest.mark.realdata
def test_contours_and_samples_of_real_cells(real_data: Path):
    library = ShapeLibrary.from_smears(open_smears(real_data / "chula", split="train", limit=10))
    areas = [contour_mask(contour, (100.2, 99.9), 200).sum() for contour in library.contours]
    assert abs((areas / library.areas() - 1).mean()) < 0.001
    assert are_simple(library.contours).all()
    samples = ParametricShapes.fit(library).sample(600, rng=0)
    real, synthetic = shape_measures(library.contours), shape_measures(samples.contours)
    for name, values in real.items():
        assert stats.ks_2samp(values, synthetic[name]).statistic < 0.12, name
