"""Ridge regression of properties within the current character: what a linear reader of many features knows.

Features and labels count by how they differ from their means at the same character, as in the scores of cells. One
normal equation serves all properties.

Shapes: N positions, D features, P properties.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from charrnn.discovery.ranks import Labels, Strata
from charrnn.discovery.statistics import ratio

RIDGE = 1e-3
"""The penalty, as a share of a feature's sum of squares within characters."""
POSITIONS_AT_A_TIME = 8192


@dataclass(frozen=True, eq=False)
class NormalEquations:
    """Sums of products of features, (D, D), and with labels, (D, P), in units of `deviation`, (D,)."""

    gram: np.ndarray
    products: np.ndarray
    deviation: np.ndarray
    positions: int

    @classmethod
    def of(cls, features: np.ndarray, labels: Labels, strata: Strata) -> NormalEquations:
        """Sum products of features (N, D), float32, about their means in each stratum."""
        low, high = features.min(axis=0), features.max(axis=0)
        middle = low / 2 + high / 2
        extent = np.maximum(high - middle, np.finfo(np.float32).tiny)  # keeps squares of large values finite
        width, number = features.shape[1], len(labels.numbers)
        gram = np.zeros((width + number, width + number))
        sums = np.zeros((strata.number, width + number))
        for start in range(0, len(features), POSITIONS_AT_A_TIME):
            rows = slice(start, start + POSITIONS_AT_A_TIME)
            part = np.concatenate([(features[rows] - middle) / extent, labels.numbers[:, rows].T], axis=1)
            values = torch.from_numpy(part)
            gram += (values.T @ values).numpy()
            sums += (torch.from_numpy(strata.indicator[:, rows]) @ values).numpy()
        gram -= sums.T @ (sums / strata.sizes[:, None])
        spread = np.sqrt(np.diag(gram)[:width].clip(min=0) / len(features))
        varies = spread > 1e-6
        scale = ratio(np.ones(width), spread, valid=varies)
        return cls(
            gram[:width, :width] * np.outer(scale, scale),
            gram[:width, width:] * scale[:, None],
            np.where(varies, spread, 1) * extent,
            len(features),
        )

    def weights(self, without: np.ndarray | None = None) -> np.ndarray:
        """Return the weights of the features, (D, P). without: features that get none, (D,) booleans."""
        kept = np.flatnonzero(np.ones(len(self.gram), bool) if without is None else ~without)
        weights = np.zeros(self.products.shape)
        square = self.gram[np.ix_(kept, kept)] + RIDGE * self.positions * np.eye(len(kept))
        weights[kept] = np.linalg.solve(square, self.products[kept])
        weights /= self.deviation[:, None]
        return weights


def predictions(features: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the predictions of features (N, D) up to a constant, (N, P) float32."""
    largest = np.abs(weights).max(axis=0)
    scaled = ratio(weights, np.broadcast_to(largest, weights.shape), valid=largest > 0).astype(np.float32)
    predicted: np.ndarray = (torch.from_numpy(features) @ torch.from_numpy(scaled)).numpy()
    return predicted
