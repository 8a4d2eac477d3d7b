"""Clusters of styles: centres, covariances and weights are recovered and reproduced by draws."""

from __future__ import annotations

import numpy as np
import pytest

from smearsynth.errors import OptionError
from smearsynth.synthesis.styles.clusters import Clusters, limit_lengths
from style_samples import STAINS


def test_fit_recovers_the_mixture():
    rng = np.random.default_rng(0)
    vectors = np.repeat(STAINS, [50, 100, 250], axis=0) + rng.normal(0, 0.03, (400, 3))
    clusters = Clusters.fit(vectors.astype(np.float32), rng, clusters=3)
    order = np.argsort(clusters.weights)
    np.testing.assert_allclose(clusters.centres[order], STAINS, atol=0.02)
    np.testing.assert_allclose(clusters.weights[order], [0.125, 0.25, 0.625], atol=1e-6)
    for root in clusters.roots:
        np.testing.assert_allclose(root @ root.T, np.eye(3) * 0.03**2, atol=3e-4)


def test_draws_have_the_covariance_of_the_data():
    rng = np.random.default_rng(1)
    vectors = rng.normal(0, 1, (3000, 2)) @ np.array([[0.3, 0.28], [0.0, 0.05]])
    clusters = Clusters.fit(vectors.astype(np.float32), rng, clusters=1)
    np.testing.assert_allclose(np.cov(clusters.draw(20_000, rng).T), np.cov(vectors.T), rtol=0.1)


def test_clusters_are_drawn_by_weight():
    rng = np.random.default_rng(2)
    vectors = np.repeat(STAINS, [10, 30, 60], axis=0).astype(np.float32)
    clusters = Clusters.fit(vectors, rng)
    assert len(clusters.centres) == 3  # at most one cluster per distinct vector
    draws = clusters.draw(4000, rng)
    fractions = [(np.abs(draws - stain).max(1) < 0.05).mean() for stain in STAINS]
    np.testing.assert_allclose(fractions, [0.1, 0.3, 0.6], atol=0.03)


def test_one_cluster_can_be_drawn():
    clusters = Clusters.fit(STAINS.astype(np.float32), np.random.default_rng(0), clusters=3)
    draws = clusters.draw(5, np.random.default_rng(1), cluster=1)
    np.testing.assert_allclose(draws, np.tile(clusters.centres[1], (5, 1)), atol=1e-6)


@pytest.mark.parametrize("cluster", [-1, 3])
def test_unknown_cluster_is_an_error(cluster):
    clusters = Clusters.fit(STAINS.astype(np.float32), np.random.default_rng(0), clusters=3)
    clusters.check(None)
    clusters.check(2)
    with pytest.raises(OptionError, match=f"style cluster {cluster} does not exist; choose 0 to 2"):
        clusters.draw(1, np.random.default_rng(0), cluster)


def test_long_vectors_are_shortened():
    limited = limit_lengths(np.array([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]]), 1.0)
    np.testing.assert_allclose(limited, [[0.6, 0.8], [0.3, 0.4], [0.0, 0.0]])
