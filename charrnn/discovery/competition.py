"""Which property fits a cell best, and how stable the answer is when the text is resampled.

All properties of the catalog compete on SELECT, by their rank correlation with the cell within the current character.
Where two are nearly equal, the one with the larger unique R² wins: a score says how well a property orders the cell's
values, unique R² how much of them only this property explains.

Shapes: B segments of SELECT, P properties, S signals, C cells, K resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from charrnn.discovery.ranks import Labels, Ranked
from charrnn.discovery.statistics import ratio, within_squares

SEGMENTS = 40
TIE = 0.02
"""Rank correlations that differ by less count as equal."""
UNIQUE_TIE = 0.005
"""Unique R² that differ by less count as equal."""


@dataclass(frozen=True, eq=False)
class SegmentSums:
    """What rank correlations are made of, summed over each segment of SELECT. Ranks are those of the whole half.

    products: Σ (y − mean of its character) u, (B, P, S, C). spreads: Σ (y − mean of its character)², (B, P). squares:
    Σ u² over the characters at which y varies, (B, P, S, C). graded: which properties are graded, (P,).
    """

    products: np.ndarray
    spreads: np.ndarray
    squares: np.ndarray
    graded: np.ndarray

    @classmethod
    def of(cls, cells: Ranked, labels: Labels, signals: int) -> SegmentSums:
        """Sum ranked columns (S · C, N/2), ordered signal by signal."""
        strata, numbers = cells.strata, labels.numbers
        varies = torch.from_numpy((within_squares(numbers, strata) > 0).astype(np.float32))
        means = (strata.sums(numbers) / strata.sizes).astype(np.float32)
        ranks, indicator = torch.from_numpy(cells.ranks), torch.from_numpy(strata.indicator)
        products, spreads, squares = [], [], []
        for part in np.array_split(np.arange(numbers.shape[1]), SEGMENTS):
            span = slice(part[0], part[-1] + 1)
            deviations = torch.from_numpy(numbers[:, span] - means[:, strata.of[span]])
            products.append(deviations @ ranks[:, span].T)
            spreads.append((deviations**2).sum(dim=1))
            squares.append(varies @ (indicator[:, span] @ (ranks[:, span] ** 2).T))
        shape = (SEGMENTS, len(numbers), signals, -1)
        by_cell = (torch.stack(one).reshape(shape).numpy() for one in (products, squares))
        return cls(next(by_cell), torch.stack(spreads).numpy(), next(by_cell), labels.graded)

    @classmethod
    def joined(cls, groups: Sequence[SegmentSums]) -> SegmentSums:
        """Return the sums of groups of cells as those of all cells."""
        products, squares = (
            np.concatenate([getattr(one, name) for one in groups], axis=3) for name in ("products", "squares")
        )
        return replace(groups[0], products=products, squares=squares)

    def resampled(self, cell: int, weights: np.ndarray) -> np.ndarray:
        """Return the |rank correlation| of a cell's better signal with each property in each resample, (K, P).

        weights: how often each segment is drawn, (K, B).
        """
        products, squares = (np.tensordot(weights, one[..., cell], 1) for one in (self.products, self.squares))
        spreads = (weights @ self.spreads)[:, :, None]
        scale = np.where(self.graded[:, None], np.sqrt(spreads * squares), spreads / 2)
        best: np.ndarray = np.abs(ratio(products, scale, valid=scale > 1e-6)).max(axis=2)
        return best


@dataclass(frozen=True)
class Competition:
    """How a property stands against the others for one cell.

    runner_up: index of the property that fits the cell best apart from it, and its |rank correlation|. stability: the
    share of resamples in which no other property fits better.
    """

    runner_up: int | None
    runner_up_score: float
    stability: float


def compete(
    scores: np.ndarray, resampled: np.ndarray, unique: np.ndarray, k: int, others: Sequence[int]
) -> Competition:
    """Compare property k with others for one cell.

    scores: |rank correlation| of each property, (P,). resampled: the same in each resample, (K, P). unique: R², (P,).
    """
    competitors = np.array([other for other in others if other != k], np.int64)
    if not len(competitors):
        return Competition(None, 0.0, 1.0)
    explains_more = unique[competitors] > unique[k] + UNIQUE_TIE

    def beaten(values: np.ndarray) -> np.ndarray:
        """Return which competitors fit better, (…, competitors)."""
        lead = values[..., competitors] - values[..., k, None]
        wins: np.ndarray = (lead >= TIE) | (explains_more & (lead > -TIE))
        return wins

    lost = beaten(resampled)
    strongest = competitors[np.lexsort((scores[competitors], lost.mean(axis=0)))[-1]]
    return Competition(int(strongest), float(scores[strongest]), 1 - float(lost.any(axis=1).mean()))
