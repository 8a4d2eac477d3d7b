"""The style bank: how the styles of training smears are distributed, and drawing new ones.

Two laws are kept. The *joint* law holds one vector per training smear (its background and its mean cell of each
class), clustered by K-means, with the styles of the cells about that mean: cells and background of one
synthetic smear belong together, as in a real one. The *independent* law is the paper's: clusters of styles per
class (background too), drawn anew for every instance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree
from scipy.special import chdtri

from smearsynth.errors import ModelError, OptionError
from smearsynth.smear import Smear

Styles = npt.NDArray[np.float32]  # (n + 1, S), row 0 is the background

CLUSTERS = 10  # per class, as in the paper

_ENOUGH = 5  # cells of a class in one smear from which their spread can be told
_EVENNESS = 0.2  # weight of a log spread among styles in [-1, 1]: the stain leads the clustering, not the evenness
_JITTER = 0.25  # how far a drawn smear lies from a real one, in spreads of its cluster
_LOOSE = 0.5  # how far a drawn cell lies from a real one, in distances to the nearest other one
_FARTHEST = 0.98  # quantile of the distances of cells from the mean of their smear beyond which they are drawn in
_TAIL = 0.97  # quantile of the length of a draw beyond which it is drawn in
_SLIVER = 0.5  # of the median area of its class in a smear; a smaller cell tells little of how its kind is stained
_FLAT = 1e-3  # a spread below this is none, in units of the encoder's range [-1, 1]


@dataclass(frozen=True, eq=False)
class Clusters:
    """A mixture of Gaussians laid on K-means clusters.

    Parameters
    ----------
    centres : (K, S) float32 array
    roots : (K, S, S) float32 array
        Square roots of the covariances within the clusters.
    weights : (K,) float32 array
        Shares, summing to one.
    """

    centres: Styles
    roots: npt.NDArray[np.float32]
    weights: npt.NDArray[np.float32]

    @classmethod
    def fit(cls, vectors: Styles, rng: np.random.Generator, clusters: int = CLUSTERS) -> Clusters:
        """Cluster vectors of shape (n, S), n >= 1; small clusters borrow spread from the others."""
        from sklearn.cluster import KMeans  # half a second that drawing need not wait for

        vectors = np.asarray(vectors, np.float64)
        k = min(clusters, len(np.unique(vectors, axis=0)))
        found = KMeans(k, n_init=4, random_state=int(rng.integers(2**31))).fit(vectors)
        residuals = vectors - found.cluster_centers_[found.labels_]
        # each centre takes a degree of freedom: without that the draws of few vectors would be too even
        pooled = residuals.T @ residuals / max(len(vectors) - k, 1)
        roots = []
        for j in range(k):
            own = residuals[found.labels_ == j]
            # shrink towards the pooled covariance with the weight of S pseudo-observations
            prior = vectors.shape[1]
            roots.append(_root((own.T @ own + prior * pooled) / (len(own) - 1 + prior)))
        weights = np.bincount(found.labels_, minlength=k) / len(vectors)
        return cls(
            found.cluster_centers_.astype(np.float32),
            np.stack(roots).astype(np.float32),
            weights.astype(np.float32),
        )

    def draw(self, n: int, rng: np.random.Generator, cluster: int | None = None) -> Styles:
        """Draw (n, S) vectors, from all clusters by weight or from one."""
        if cluster is None:
            weights = self.weights.astype(np.float64)
            chosen = rng.choice(len(weights), n, p=weights / weights.sum())
        else:
            self.check(cluster)
            chosen = np.full(n, cluster)
        noise = rng.standard_normal((n, self.centres.shape[1]))
        # The generator knows nothing of the far tails: what lies there is drawn back to their start.
        near = _shortened(noise, float(chdtri(noise.shape[1], 1 - _TAIL)) ** 0.5)
        drawn: Styles = self.centres[chosen] + np.einsum("nij,nj->ni", self.roots[chosen], near)
        return drawn.astype(np.float32)

    def check(self, cluster: int | None) -> None:
        """Raise `OptionError` for a cluster that is not there; None stands for all of them."""
        if cluster is not None and not 0 <= cluster < len(self.weights):
            raise OptionError(f"there is no style cluster {cluster}; the model has 0 to {len(self.weights) - 1}")


@dataclass(frozen=True, eq=False)
class Within:
    """How the cells of a class differ within a smear, in units of their spread there.

    Cells of one smear differ in their own directions: thick from thin along the hue of its stain, a few infected
    ones towards violet. Drawn from a law of all smears, a blue smear got turquoise and violet cells side by side.

    Parameters
    ----------
    law : Clusters
        Of the cells of all smears.
    cells : (N, S) float32 array
        About the mean of their smear, smear by smear; none in models made before they were kept.
    starts : (n + 1,) int64 array
        Where the cells of each smear begin and end.
    """

    law: Clusters
    cells: Styles
    starts: npt.NDArray[np.int64]

    @classmethod
    def fit(cls, parts: list[Styles], logs: npt.NDArray[np.float64], rng: np.random.Generator) -> Within:
        """To the styles of a class in each smear, (n, S) each, and the logarithms of their spreads.

        For the common law the few farthest (a leukocyte or a platelet among the red cells, say) are drawn in: in
        the units of an even smear they lie so far out that an uneven one would be given cells such as no smear has.
        """
        own = [_residuals(part) / np.exp(log) for part, log in zip(parts, logs, strict=True)]
        cells = np.concatenate(own)
        limit = float(np.quantile(np.linalg.norm(cells, axis=1), _FARTHEST))
        starts = np.concatenate([[0], np.cumsum([len(part) for part in own])])
        return cls(Clusters.fit(_shortened(cells, limit), rng), cells.astype(np.float32), starts.astype(np.int64))

    def fits(self, width: int, smears: int) -> bool:
        """Whether these are cells of so many smears, in styles of this length, or none."""
        if not len(self.cells):
            return True
        ordered = self.starts.shape == (smears + 1,) and bool((np.diff(self.starts) >= 0).all())
        return ordered and self.cells.shape == (self.starts[-1], width) and self.starts[0] == 0

    def draw(self, smear: int, n: int, rng: np.random.Generator) -> Styles:
        """Draw (n, S) by the smoothed bootstrap of the cells of a training smear; of all, where it has too few.

        A cell is moved by a share of its distance to the nearest one: with one width for all, a few parasites
        would colour every cell of a pale smear.
        """
        own = self.cells[self.starts[smear] : self.starts[smear + 1]] if len(self.starts) > 1 else self.cells
        if len(own) < _ENOUGH:
            return self.law.draw(n, rng)
        chosen = rng.integers(len(own), size=n)
        apart = cKDTree(own).query(own, k=2)[0][:, 1:]
        noise = rng.standard_normal((n, own.shape[1])) / own.shape[1] ** 0.5
        drawn: Styles = own[chosen] + (_LOOSE * apart[chosen] * noise).astype(np.float32)
        return drawn


@dataclass(frozen=True, eq=False)
class StyleBank:
    """Style laws of a trained synthesizer.

    Parameters
    ----------
    class_names : tuple of str
    joint : Clusters
        One vector a smear: background style, mean cell style of every class, and `_EVENNESS` times the
        logarithm of the spread of each class's cells about it (some smears are even, some are not).
    smears : (n, ...) float32 array
        These vectors themselves, one a training smear: new smears are drawn about them.
    within : tuple of Within
        Per class, cell styles about the mean of their class in their smear.
    per_class : tuple of Clusters
        Background first, then the classes.
    """

    class_names: tuple[str, ...]
    joint: Clusters
    smears: Styles
    within: tuple[Within, ...]
    per_class: tuple[Clusters, ...]

    @classmethod
    def fit(
        cls,
        styles: Sequence[Styles],
        classes: Sequence[npt.NDArray[np.int64]],
        class_names: tuple[str, ...],
        rng: int | np.random.Generator = 0,
    ) -> StyleBank:
        """Fit to the styles of the training smears.

        Parameters
        ----------
        styles : sequence of (n + 1, S) float32 arrays
            One per smear, row 0 the background.
        classes : sequence of (n,) int64 arrays
        class_names : tuple of str
        rng : int or Generator

        Raises
        ------
        ModelError
            When a class has no instance: its style cannot be known.
        """
        rng = np.random.default_rng(rng)
        of_class: list[list[Styles]] = [[] for _ in class_names]
        for rows, ids in zip(styles, classes, strict=True):
            for c in range(len(class_names)):
                of_class[c].append(rows[1:][ids == c])
        pools = [np.concatenate(parts) for parts in of_class]
        empty = [name for name, pool in zip(class_names, pools, strict=True) if not len(pool)]
        if empty:
            raise ModelError(f"no cell of class {', '.join(empty)} in the training smears: leave the class out")
        means = np.stack([_class_means(rows, ids, pools) for rows, ids in zip(styles, classes, strict=True)])
        spreads = np.stack([_log_spreads(parts) for parts in of_class], 1)
        within = tuple(Within.fit(parts, logs, rng) for parts, logs in zip(of_class, spreads.T, strict=True))
        grounds = np.stack([rows[0] for rows in styles])
        joint = np.concatenate([grounds, means.reshape(len(means), -1), _EVENNESS * spreads], 1)
        return cls(
            class_names,
            # at least three smears a cluster: with one, every draw would be that very smear's style again
            Clusters.fit(joint, rng, min(CLUSTERS, max(1, len(joint) // 3))),
            joint.astype(np.float32),
            within,
            tuple(Clusters.fit(pool, rng) for pool in (grounds, *pools)),
        )

    def members(self, cluster: int) -> list[int]:
        """Numbers of the training smears of a joint cluster."""
        self.joint.check(cluster)
        members: list[int] = np.flatnonzero(self._nearest() == cluster).tolist()
        return members

    def draw(
        self,
        classes: npt.NDArray[np.int64],
        rng: int | np.random.Generator,
        cluster: int | None = None,
        *,
        smear: int | None = None,
    ) -> Styles:
        """Styles for one new smear from the joint law.

        Parameters
        ----------
        classes : (n,) int64 array
        rng : int or Generator
        cluster : int, optional
            Joint cluster to draw from; by weight when None.
        smear : int, optional
            Number of the training smear that it is like; any, or any of the cluster, when None.

        Returns
        -------
        (n + 1, S) float32 array
        """
        rng = np.random.default_rng(rng)
        n_classes = len(self.class_names)
        near = np.arange(len(self.smears)) if cluster is None else np.array(self.members(cluster))
        index = int(rng.choice(near)) if smear is None else smear
        drawn = self._draw_smear(rng, index)
        means, spreads = drawn[:-n_classes].reshape(n_classes + 1, -1), np.exp(drawn[-n_classes:] / _EVENNESS)
        cells = means[1:][classes]
        for c in np.unique(classes):
            members = classes == c
            cells[members] += spreads[c] * self.within[c].draw(index, int(members.sum()), rng)
        return _bounded(np.concatenate([means[:1], cells]))

    def _nearest(self) -> npt.NDArray[np.int64]:
        """Joint cluster of each training smear."""
        nearest: npt.NDArray[np.int64] = ((self.smears[:, None] - self.joint.centres) ** 2).sum(2).argmin(1)
        return nearest

    def _draw_smear(self, rng: np.random.Generator, index: int) -> Styles:
        """Draw a joint vector by the smoothed bootstrap: near a training smear, with the spread of its cluster.

        A Gaussian alone has the right moments, but its draws lie between the smears, where the generator has seen
        nothing and paints paler differences: the stains then spread 0.83 times as far as they should on Chula.
        """
        own = int(self._nearest()[index])
        about = self.joint.draw(1, rng, own)[0]
        centre = self.joint.centres[own]
        drawn: Styles = (
            centre + (1 - _JITTER**2) ** 0.5 * (self.smears[index] - centre) + _JITTER * (about - centre)
        )
        return drawn

    def draw_independent(
        self, classes: npt.NDArray[np.int64], rng: int | np.random.Generator, cluster: int | None = None
    ) -> Styles:
        """Styles drawn for every instance by itself, as in the paper: a random cluster of its class, its centre.

        With `cluster` every instance takes that cluster.
        """
        rng = np.random.default_rng(rng)
        rows = np.empty((len(classes) + 1, self.per_class[0].centres.shape[1]), np.float32)
        for row, channel in enumerate((0, *(classes + 1).tolist())):
            self.per_class[channel].check(cluster)
            centres = self.per_class[channel].centres
            rows[row] = centres[rng.integers(len(centres)) if cluster is None else cluster]
        return rows

    def like(
        self,
        given: Styles,
        given_classes: npt.NDArray[np.int64],
        classes: npt.NDArray[np.int64],
        rng: int | np.random.Generator,
    ) -> Styles:
        """Styles for new cells in the manner of a given smear: its background, its cells drawn again.

        A class that the given smear lacks takes any of its cells, or the background's cluster when it has none.
        Cells of a class unknown here, -1 in `given_classes`, are drawn only where there are no others.
        """
        rng = np.random.default_rng(rng)
        if len(given) == 1:
            ground = self.joint.centres[:, : given.shape[1]]
            nearest = int(((ground - given[0]) ** 2).sum(1).argmin())
            rows = self.draw(classes, rng, nearest)
            rows[0] = given[0]
            return rows
        rows = np.empty((len(classes) + 1, given.shape[1]), np.float32)
        rows[0] = given[0]
        known = given[1:][given_classes >= 0]
        any_of = known if len(known) else given[1:]
        for c in np.unique(classes):
            pool = given[1:][given_classes == c]
            wanted = np.flatnonzero(classes == c)
            source = pool if len(pool) else any_of
            rows[wanted + 1] = source[rng.integers(len(source), size=len(wanted))]
        return rows

    def tensors(self) -> dict[str, npt.NDArray[np.float32]]:
        """All arrays by name, for a safetensors file."""
        laws = {"joint": self.joint}
        laws |= {f"class{k}": clusters for k, clusters in enumerate(self.per_class)}
        laws |= {f"within{k}": within.law for k, within in enumerate(self.within)}
        named = {
            f"{prefix}.{key}": getattr(clusters, key)
            for prefix, clusters in laws.items()
            for key in ("centres", "roots", "weights")
        }
        for k, within in enumerate(self.within):
            if len(within.cells):
                named[f"within{k}.cells"] = within.cells
                named[f"within{k}.starts"] = within.starts.astype(np.float32)  # exact: there are no 2**24 cells
        return named | {"smears": self.smears}

    @classmethod
    def from_tensors(cls, tensors: dict[str, npt.NDArray[np.float32]], class_names: tuple[str, ...]) -> StyleBank:
        """The inverse of `tensors`; `ModelError` when a class has no cluster."""

        def read(prefix: str) -> Clusters:
            return Clusters(*(tensors[f"{prefix}.{key}"] for key in ("centres", "roots", "weights")))

        try:
            per_class = tuple(read(f"class{k}") for k in range(len(class_names) + 1))
            none = np.zeros((0, tensors["smears"].shape[1]), np.float32)
            within = tuple(
                Within(
                    read(f"within{k}"),
                    tensors.get(f"within{k}.cells", none),
                    tensors.get(f"within{k}.starts", np.zeros(1)).astype(np.int64),
                )
                for k in range(len(class_names))
            )
            return cls(class_names, read("joint"), tensors["smears"], within, per_class)
        except KeyError as error:
            raise ModelError(f"the style bank lacks {error}; train the model again") from None


def without_slivers(styles: Styles, smear: Smear) -> tuple[Styles, npt.NDArray[np.int64]]:
    """The background and the cells of a smear whose styles are those of their kind, and the classes of these cells.

    Of specks, and of what the border or other cells leave to see of a cell, the encoder sees mostly what lies
    around it: a cell of usual size in such a style is one that no smear has. On Chula seven of ten outlying styles
    are theirs.

    Parameters
    ----------
    styles : (n + 1, S) float32 array
        Row 0 the background.
    smear : Smear
        With the n cells.

    Examples
    --------
    >>> labels = np.array([[1, 1, 1, 0, 2, 0, 3, 3, 3]], np.int32)
    >>> smear = Smear(np.zeros((1, 9, 3), np.uint8), labels, np.array([0, 0, 0]))
    >>> styles = np.arange(4, dtype=np.float32)[:, None]
    >>> without_slivers(styles, smear)[0].ravel().tolist()
    [0.0, 1.0, 3.0]
    """
    areas = smear.areas()
    usual = np.zeros(len(smear.class_names))
    for kind in np.unique(smear.classes):
        usual[kind] = np.median(areas[smear.classes == kind])
    kept = areas >= _SLIVER * usual[smear.classes]
    return styles[np.concatenate([[True], kept])], smear.classes[kept]


def _class_means(rows: Styles, ids: npt.NDArray[np.int64], pools: list[Styles]) -> Styles:
    """Mean cell style of every class in one smear, (C, S).

    A class that the smear lacks takes its overall mean, moved as the cells of this smear are moved.
    """
    overall = [pool.mean(0) for pool in pools]
    shifts = [rows[1:][ids == c].mean(0) - overall[c] for c in np.unique(ids)]
    shift = np.mean(shifts, 0) if shifts else np.zeros_like(overall[0])
    return np.stack(
        [rows[1:][ids == c].mean(0) if (ids == c).any() else overall[c] + shift for c in range(len(pools))]
    )


def _shortened(vectors: npt.NDArray[np.floating], limit: float) -> npt.NDArray[np.floating]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    shortened: npt.NDArray[np.floating] = vectors * np.minimum(1.0, limit / np.maximum(lengths, 1e-12))
    return shortened


def _residuals(part: Styles) -> Styles:
    return part - part.mean(0) if len(part) else part


def _log_spreads(parts: list[Styles]) -> npt.NDArray[np.float64]:
    """Logarithm of the root mean square of the cells about their mean, per smear, (n,).

    Smears with too few cells to tell take the mean of the others.
    """
    sizes = [float((_residuals(part) ** 2).mean()) ** 0.5 if len(part) >= _ENOUGH else 0.0 for part in parts]
    logs = np.array([np.log(size) if size > _FLAT else np.nan for size in sizes])
    everywhere = float(np.nanmean(logs)) if np.isfinite(logs).any() else np.log(_FLAT)
    return np.where(np.isfinite(logs), logs, everywhere)


def _root(covariance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    values, vectors = np.linalg.eigh(covariance)
    root: npt.NDArray[np.float64] = vectors * np.sqrt(np.clip(values, 0, None)) @ vectors.T
    return root


def _bounded(styles: Styles) -> Styles:
    # the encoder ends in tanh: the generator has seen nothing beyond
    return np.clip(styles, -1, 1).astype(np.float32)
