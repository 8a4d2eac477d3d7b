"""Cell descriptors: rotation, mirroring and colour do not change which cell is the nearest."""

from dataclasses import replace

import numpy as np
import pytest

from evaluation_smears import textured_smear
from smears import unannotated
from smearsynth.errors import DataError
from smearsynth.evaluation.audit.descriptors import CellIndex, describe_cells
from smearsynth.evaluation.audit.positive_controls import make_positive_controls
from smearsynth.evaluation.comparability import median_diameter
from smearsynth.smear import Smear


@pytest.fixture(scope="module")
def diameter(training):
    return median_diameter(training)


@pytest.fixture(scope="module")
def index(training, diameter):
    return CellIndex(describe_cells(training, diameter))


def test_an_unusual_cell_needs_a_larger_margin(index, diameter):
    harmonics = index.cells.harmonics
    query = describe_cells([textured_smear(600)], diameter)
    mean = np.zeros(harmonics.shape[1:])
    mean[:, 0] = harmonics[:, :, 0].real.mean(axis=0)
    assert (np.einsum("nr,r->n", harmonics[:, :, 0].real, mean[:, 0]) > 0).all()  # none is a negative
    unusual = replace(query, harmonics=(mean + 1.5 * (query.harmonics - mean)).astype(np.complex64))
    first, second = index.nearest(query), index.nearest(unusual)
    same = np.abs(first.correlation - second.correlation) < 1e-3  # the others are taken for negatives
    assert same.sum() >= 6
    assert second.margin[same] == pytest.approx(first.margin[same] / np.sqrt(1.5), rel=0.01)


def test_the_rotation_aligns_the_nearest_cell(training, index, diameter):
    clockwise = np.rot90(training[3].image, -1), np.rot90(training[3].labels, -1)
    nearest = index.nearest(describe_cells([Smear.from_labels(*clockwise)], diameter))
    assert np.unique(index.cells.smears[nearest.index]).tolist() == [3]
    assert not nearest.mirrored.any()
    assert nearest.rotation == pytest.approx(np.full(12, 90.0), abs=4)


def test_a_negative_and_a_change_of_contrast_are_the_same_cell(training, index, diameter):
    smear = training[5]
    for image in (255 - smear.image, (smear.image * 0.6 + 30).astype(np.uint8), smear.image[..., ::-1]):
        nearest = index.nearest(describe_cells([Smear(image, smear.labels, smear.classes)], diameter))
        assert index.cells.labels[nearest.index].tolist() == list(range(1, 13))
        assert nearest.correlation.min() > 0.9


def test_an_excluded_smear_is_not_searched(index):
    cells = index.cells.subset(index.cells.smears == 4)
    assert np.unique(index.cells.smears[index.nearest(cells).index]).tolist() == [4]
    done = []
    nearest = index.nearest(cells, excluded=cells.smears, on_cell=done.append)
    assert 4 not in index.cells.smears[nearest.index]
    assert done == [12]


def test_fragments_and_cut_cells_are_left_out(training, diameter):
    labels = training[0].labels.copy()
    labels[labels == 5] = 0
    labels[60, 62] = 5  # one pixel
    cells = describe_cells([Smear(training[0].image, labels, training[0].classes)], diameter)
    assert 5 not in cells.labels
    assert len(cells) == 11
    assert len(describe_cells([training[0].cropped(20, 0, 100, 160)], diameter)) == 8


def test_few_cells_cannot_be_searched(training, diameter):
    cells = describe_cells(training[:1], diameter)
    with pytest.raises(DataError, match="3 whole cells are too few"):
        CellIndex(cells.subset(np.arange(3)))
    assert len(CellIndex(cells).nearest(cells.subset(np.arange(0))).index) == 0


def test_cells_at_an_ignored_region_are_left_out(training, diameter):
    ignored = np.zeros(training[0].shape, bool)
    ignored[:, 30:50] = True  # between the first and the second column of cells
    marked = Smear.from_labels(training[0].image, training[0].labels, ignored=ignored)
    cells = describe_cells([marked], diameter)
    assert len(cells) == 12 - marked.incomplete().sum() < 12
    copies = list(make_positive_controls([marked], 40, np.random.default_rng(0)))
    whole = marked.areas()[~marked.incomplete()]
    assert all(np.abs(whole / copy.areas()[0] - 1).min() < 0.05 for copy in copies)
    assert list(make_positive_controls([unannotated(training[0])], 3, np.random.default_rng(0))) == []
