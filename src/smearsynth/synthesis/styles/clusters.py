"""K-means clusters of style vectors with a Gaussian in each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import chdtri

from smearsynth.errors import OptionError

Styles = npt.NDArray[np.float32]  # style vectors, (n, S); of a smear (n + 1, S), row 0 is the background

CLUSTERS = 10  # per class, as in the paper

_TAIL_QUANTILE = 0.97  # draws farther from the centre than this quantile are moved onto it


@dataclass(frozen=True, eq=False)
class Clusters:
    """A Gaussian mixture on K-means clusters.

    Parameters
    ----------
    centres : (K, S) float32 array
    roots : (K, S, S) float32 array
        Square roots of the covariance matrices of the clusters.
    weights : (K,) float32 array
        Fraction of the vectors in each cluster; the sum is one.
    """

    centres: Styles
    roots: npt.NDArray[np.float32]
    weights: npt.NDArray[np.float32]

    @classmethod
    def fit(cls, vectors: Styles, rng: np.random.Generator, clusters: int = CLUSTERS) -> Clusters:
        """Fit to vectors of shape (n, S) with n >= 1.

        The covariances of small clusters are shrunk towards the covariance pooled over all clusters.

        Examples
        --------
        >>> vectors = np.array([[0.0, 0.0], [0.1, 0.0], [0.9, 1.0], [1.0, 1.0]], np.float32)
        >>> sorted(Clusters.fit(vectors, np.random.default_rng(0), 2).centres[:, 1].tolist())
        [0.0, 1.0]
        """
        from sklearn.cluster import KMeans  # imported here: it takes 0.5 s, and drawing does not need it

        vectors = np.asarray(vectors, np.float64)
        k = min(clusters, len(np.unique(vectors, axis=0)))
        kmeans = KMeans(k, n_init=4, random_state=int(rng.integers(2**31))).fit(vectors)
        residuals = vectors - kmeans.cluster_centers_[kmeans.labels_]
        # Each centre uses a degree of freedom; dividing by n would make the draws of few vectors too uniform.
        pooled = residuals.T @ residuals / max(len(vectors) - k, 1)
        roots = []
        for j in range(k):
            members = residuals[kmeans.labels_ == j]
            # The pooled covariance has the weight of S pseudo-observations.
            prior = vectors.shape[1]
            roots.append(_matrix_root((members.T @ members + prior * pooled) / (len(members) - 1 + prior)))
        weights = np.bincount(kmeans.labels_, minlength=k) / len(vectors)
        return cls(
            kmeans.cluster_centers_.astype(np.float32),
            np.stack(roots).astype(np.float32),
            weights.astype(np.float32),
        )

    def draw(self, n: int, rng: np.random.Generator, cluster: int | None = None) -> Styles:
        """Draw (n, S) vectors from one cluster, or from all clusters by weight if `cluster` is None."""
        if cluster is None:
            weights = self.weights.astype(np.float64)
            indices = rng.choice(len(weights), n, p=weights / weights.sum())
        else:
            self.check(cluster)
            indices = np.full(n, cluster)
        noise = rng.standard_normal((n, self.centres.shape[1]))
        # The generator was not trained on the tails of the Gaussian, so draws in the tails are shortened.
        shortened = limit_lengths(noise, float(chdtri(noise.shape[1], 1 - _TAIL_QUANTILE)) ** 0.5)
        vectors: Styles = self.centres[indices] + np.einsum("nij,nj->ni", self.roots[indices], shortened)
        return vectors.astype(np.float32)

    def check(self, cluster: int | None) -> None:
        """Raise `OptionError` if the cluster does not exist; None stands for all clusters."""
        if cluster is not None and not 0 <= cluster < len(self.weights):
            raise OptionError(f"style cluster {cluster} does not exist; choose 0 to {len(self.weights) - 1}")


def limit_lengths(vectors: npt.NDArray[np.floating], max_length: float) -> npt.NDArray[np.floating]:
    """Shorten the rows of an (n, S) array that are longer than `max_length` to that length."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    limited: npt.NDArray[np.floating] = vectors * np.minimum(1.0, max_length / np.maximum(lengths, 1e-12))
    return limited


def _matrix_root(covariance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    values, vectors = np.linalg.eigh(covariance)
    root: npt.NDArray[np.float64] = vectors * np.sqrt(np.clip(values, 0, None)) @ vectors.T
    return root
