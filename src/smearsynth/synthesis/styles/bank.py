"""The style bank: the distribution of the styles of training smears, and drawing those of new smears.

Two distributions are stored. The *joint* distribution has one vector per training smear (its background and the
mean cell of each class), clustered by K-means, with the variation of the cells about their mean: cells and
background of a synthetic smear belong together, as in a real one. The *independent* distribution is that of the
paper: clusters of styles per class and of the background, drawn independently for every instance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from smearsynth.errors import ModelError
from smearsynth.synthesis.styles.clusters import CLUSTERS, Clusters, Styles
from smearsynth.synthesis.styles.variation import CellVariation, log_spreads

# Weight of a log spread beside styles in [-1, 1]: the stain, not the spread, should determine the clusters.
_SPREAD_WEIGHT = 0.2
_BANDWIDTH = 0.25  # std of the bootstrap noise on the vector of a smear, in spreads of its cluster
_MIN_CLUSTER_SIZE = 3  # smears per joint cluster on average: with one, every draw would repeat that smear's style


@dataclass(frozen=True, eq=False)
class StyleBank:
    """Distributions of the styles of a trained synthesizer.

    Parameters
    ----------
    class_names : tuple of str
    joint : Clusters
        Of one vector per smear: background style, mean cell style of every class, and 0.2 times the logarithm of
        the spread of the cells of each class about their mean.
    smears : (n, ...) float32 array
        These vectors, one per training smear. New smears are drawn near them.
    within : tuple of CellVariation
        Per class, variation of the cell styles within a smear.
    per_class : tuple of Clusters
        Background first, then the classes.
    """

    class_names: tuple[str, ...]
    joint: Clusters
    smears: Styles
    within: tuple[CellVariation, ...]
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
            One per smear, row 0 is the background.
        classes : sequence of (n,) int64 arrays
        class_names : tuple of str
        rng : int or Generator

        Raises
        ------
        ModelError
            If a class has no cell.
        """
        rng = np.random.default_rng(rng)
        by_class = [
            [rows[1:][ids == c] for rows, ids in zip(styles, classes, strict=True)] for c in range(len(class_names))
        ]
        pools = [np.concatenate(smears) for smears in by_class]
        empty = [name for name, pool in zip(class_names, pools, strict=True) if not len(pool)]
        if empty:
            raise ModelError(f"no cell of class {', '.join(empty)} in the training smears; remove the class")
        means = np.stack([_class_means(rows, ids, pools) for rows, ids in zip(styles, classes, strict=True)])
        spreads = np.stack([log_spreads(smears) for smears in by_class], 1)
        within = tuple(
            CellVariation.fit(smears, logs, rng) for smears, logs in zip(by_class, spreads.T, strict=True)
        )
        backgrounds = np.stack([rows[0] for rows in styles])
        joint = np.concatenate([backgrounds, means.reshape(len(means), -1), _SPREAD_WEIGHT * spreads], 1)
        return cls(
            class_names,
            Clusters.fit(joint, rng, min(CLUSTERS, max(1, len(joint) // _MIN_CLUSTER_SIZE))),
            joint.astype(np.float32),
            within,
            tuple(Clusters.fit(pool, rng) for pool in (backgrounds, *pools)),
        )

    def members(self, cluster: int) -> list[int]:
        """Return the numbers of the training smears in a joint cluster.

        Raises
        ------
        OptionError
            If the cluster does not exist.
        """
        self.joint.check(cluster)
        members: list[int] = np.flatnonzero(self._joint_clusters() == cluster).tolist()
        return members

    def draw(
        self,
        classes: npt.NDArray[np.int64],
        rng: int | np.random.Generator,
        cluster: int | None = None,
        *,
        reference: int | None = None,
    ) -> Styles:
        """Draw the styles of one new smear from the joint distribution.

        Parameters
        ----------
        classes : (n,) int64 array
            Class of each cell.
        rng : int or Generator
        cluster : int, optional
            Restrict the reference smear to those of this joint cluster.
        reference : int, optional
            Number of the training smear near which the styles are drawn; random if None.

        Returns
        -------
        (n + 1, S) float32 array
            Row 0 is the background.
        """
        rng = np.random.default_rng(rng)
        n_classes = len(self.class_names)
        candidates = np.arange(len(self.smears)) if cluster is None else np.array(self.members(cluster))
        index = int(rng.choice(candidates)) if reference is None else reference
        vector = self._draw_smear(rng, index)
        means = vector[:-n_classes].reshape(n_classes + 1, -1)
        spreads = np.exp(vector[-n_classes:] / _SPREAD_WEIGHT)
        cells = means[1:][classes]
        for c in np.unique(classes):
            members = classes == c
            cells[members] += spreads[c] * self.within[c].draw(index, int(members.sum()), rng)
        # The encoder ends in tanh, so the generator was not trained on values outside [-1, 1].
        styles: Styles = np.clip(np.concatenate([means[:1], cells]), -1, 1).astype(np.float32)
        return styles

    def _joint_clusters(self) -> npt.NDArray[np.int64]:
        """Return the joint cluster of each training smear, (n,)."""
        clusters: npt.NDArray[np.int64] = ((self.smears[:, None] - self.joint.centres) ** 2).sum(2).argmin(1)
        return clusters

    def _draw_smear(self, rng: np.random.Generator, index: int) -> Styles:
        """Draw a joint vector near that of a training smear: smoothed bootstrap with the spread of its cluster.

        Draws of a Gaussian alone have the right moments but lie between the training smears, where the generator
        paints weaker differences: on Chula the spread of the stains was then 0.83 of the real one.
        """
        cluster = int(self._joint_clusters()[index])
        sample = self.joint.draw(1, rng, cluster)[0]
        centre = self.joint.centres[cluster]
        vector: Styles = (
            centre + (1 - _BANDWIDTH**2) ** 0.5 * (self.smears[index] - centre) + _BANDWIDTH * (sample - centre)
        )
        return vector

    def draw_independent(
        self, classes: npt.NDArray[np.int64], rng: int | np.random.Generator, cluster: int | None = None
    ) -> Styles:
        """Draw each instance independently, as in the paper: the centre of a random cluster of its class.

        Parameters
        ----------
        classes : (n,) int64 array
        rng : int or Generator
        cluster : int, optional
            Use this cluster for all instances.

        Returns
        -------
        (n + 1, S) float32 array
            Row 0 is the background.
        """
        rng = np.random.default_rng(rng)
        rows = np.empty((len(classes) + 1, self.per_class[0].centres.shape[1]), np.float32)
        for row, channel in enumerate((0, *(classes + 1).tolist())):
            self.per_class[channel].check(cluster)
            centres = self.per_class[channel].centres
            rows[row] = centres[rng.integers(len(centres)) if cluster is None else cluster]
        return rows

    def resample(
        self,
        styles: Styles,
        style_classes: npt.NDArray[np.int64],
        classes: npt.NDArray[np.int64],
        rng: int | np.random.Generator,
    ) -> Styles:
        """Draw the styles of new cells from those of one smear, with the background of that smear.

        A class without a cell in that smear uses the cells of all its classes. A smear without cells uses the joint
        cluster with the nearest background.

        Parameters
        ----------
        styles : (m + 1, S) float32 array
            Styles of the smear, row 0 is the background.
        style_classes : (m,) int64 array
            Class of its cells. Cells of an unknown class, -1, are used only if there are no others.
        classes : (n,) int64 array
            Class of the new cells.
        rng : int or Generator

        Returns
        -------
        (n + 1, S) float32 array
        """
        rng = np.random.default_rng(rng)
        if len(styles) == 1:
            backgrounds = self.joint.centres[:, : styles.shape[1]]
            nearest = int(((backgrounds - styles[0]) ** 2).sum(1).argmin())
            rows = self.draw(classes, rng, nearest)
            rows[0] = styles[0]
            return rows
        rows = np.empty((len(classes) + 1, styles.shape[1]), np.float32)
        rows[0] = styles[0]
        cells = styles[1:]
        known_cells = cells[style_classes >= 0]
        fallback = known_cells if len(known_cells) else cells
        for c in np.unique(classes):
            class_cells = cells[style_classes == c]
            members = np.flatnonzero(classes == c)
            pool = class_cells if len(class_cells) else fallback
            rows[members + 1] = pool[rng.integers(len(pool), size=len(members))]
        return rows

    def tensors(self) -> dict[str, npt.NDArray[np.float32]]:
        """Return all arrays by name, for a safetensors file."""
        mixtures = {"joint": self.joint}
        mixtures |= {f"class{k}": clusters for k, clusters in enumerate(self.per_class)}
        mixtures |= {f"within{k}": variation.pooled for k, variation in enumerate(self.within)}
        tensors = {
            f"{prefix}.{key}": getattr(clusters, key)
            for prefix, clusters in mixtures.items()
            for key in ("centres", "roots", "weights")
        }
        for k, variation in enumerate(self.within):
            if len(variation.cells):
                tensors[f"within{k}.cells"] = variation.cells
                # exact in float32 up to 2**24 cells
                tensors[f"within{k}.starts"] = variation.starts.astype(np.float32)
        return tensors | {"smears": self.smears}

    @classmethod
    def from_tensors(cls, tensors: dict[str, npt.NDArray[np.float32]], class_names: tuple[str, ...]) -> StyleBank:
        """Return the bank with these arrays, the inverse of `tensors`.

        Raises
        ------
        ModelError
            If an array is missing.
        """

        def clusters(prefix: str) -> Clusters:
            return Clusters(*(tensors[f"{prefix}.{key}"] for key in ("centres", "roots", "weights")))

        try:
            per_class = tuple(clusters(f"class{k}") for k in range(len(class_names) + 1))
            no_cells = np.zeros((0, tensors["smears"].shape[1]), np.float32)
            within = tuple(
                CellVariation(
                    clusters(f"within{k}"),
                    tensors.get(f"within{k}.cells", no_cells),
                    tensors.get(f"within{k}.starts", np.zeros(1)).astype(np.int64),
                )
                for k in range(len(class_names))
            )
            return cls(class_names, clusters("joint"), tensors["smears"], within, per_class)
        except KeyError as error:
            raise ModelError(f"tensor {error} is missing from the style bank; train the model again") from None


def _class_means(rows: Styles, ids: npt.NDArray[np.int64], pools: list[Styles]) -> Styles:
    """Return the mean cell style of every class in one smear, (C, S).

    A class without a cell in the smear gets its overall mean plus the mean offset of the classes that have cells.
    """
    overall = [pool.mean(0) for pool in pools]
    shifts = [rows[1:][ids == c].mean(0) - overall[c] for c in np.unique(ids)]
    shift = np.mean(shifts, 0) if shifts else np.zeros_like(overall[0])
    return np.stack(
        [rows[1:][ids == c].mean(0) if (ids == c).any() else overall[c] + shift for c in range(len(pools))]
    )
