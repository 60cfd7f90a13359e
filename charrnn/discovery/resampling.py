"""Intervals of rank correlations, by bootstrap over segments of the text.

Shapes: N positions, S segments, V strata, K resamples.
"""

from __future__ import annotations

import numpy as np

from charrnn.discovery.ranks import Strata, by_stratum, in_order, scaled_ranks
from charrnn.discovery.statistics import ratio, within_squares


def resampled_rank_correlation(
    column: np.ndarray, values: np.ndarray, strata: Strata, segments: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Return the rank correlation of a column (N,) with a property (N,) in each bootstrap resample of segments, (K,).

    segments: the segment of each position, (N,). weights: how often each segment is drawn, (K, S).

    For a binary property AUC is exact: wins of positives of segment a over negatives of segment b are counted once, and
    each resample is a quadratic form of the counts. Strata keep their weights. For a graded property ranks are kept.
    """
    if values.dtype == bool:
        wins, pairs = _wins(column, values, strata, segments, weights.shape[1])
        won, compared = (((weights @ table) * weights).sum(axis=1) for table in (wins, pairs))
        return ratio(2 * won, compared, valid=compared > 0, otherwise=1.0) - 1
    x, y = scaled_ranks(column, strata), scaled_ranks(values, strata)
    return resampled_correlation(x, y, strata, segments, weights)


def _wins(
    column: np.ndarray, values: np.ndarray, strata: Strata, segments: np.ndarray, number: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return Σ_v (wins of positives of segment a over negatives of b) / n_v, ties half; and the pairs: (S, S) each."""
    ordered, positions = by_stratum(*in_order(column), strata)
    segment, positive = segments[positions], values[positions]
    weights = 1 / strata.sizes
    negatives = np.zeros((number, len(positions) + 1), np.int32)
    negatives[segment[~positive], np.flatnonzero(~positive) + 1] = 1
    np.cumsum(negatives, axis=1, out=negatives)
    at = np.flatnonzero(positive)
    below = np.take(negatives, at, axis=1).astype(np.float64)
    starts_group = np.append(True, ordered[1:] != ordered[:-1])
    starts_group[strata.starts] = True
    if not starts_group.all():
        starts = np.flatnonzero(starts_group)
        group = (np.cumsum(starts_group) - 1)[at]
        below = np.take(negatives, starts[group], axis=1) / 2
        below += np.take(negatives, np.append(starts[1:], len(positions))[group], axis=1) / 2
    stratum = strata.of[positions[at]]
    indicator = np.zeros((number, len(at)))
    indicator[segment[at], np.arange(len(at))] = weights[stratum]
    before = negatives[:, strata.starts].astype(np.float64)
    present = negatives[:, strata.starts + strata.sizes] - before
    counts = np.bincount(segment[at] * strata.number + stratum, minlength=number * strata.number)
    share = counts.reshape(number, -1) * weights
    return indicator @ below.T - share @ before.T, share @ present.T


def resampled_correlation(
    x: np.ndarray, y: np.ndarray, strata: Strata, segments: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Return Pearson's correlation of x and y, (N,) each, within strata in each bootstrap resample of segments, (K,).

    Strata in which y is constant do not count. segments, weights: see `resampled_rank_correlation`.
    """
    x = np.where((within_squares(y[None].astype(np.float32), strata)[0] > 0)[strata.of], x, 0)
    number, group = weights.shape[1], segments * strata.number + strata.of
    size = number * strata.number

    def total(values: np.ndarray | None) -> np.ndarray:
        """Sum values in each stratum of each resample, (K, V). None counts positions."""
        table = np.bincount(group, values, size).reshape(number, strata.number)
        sums: np.ndarray = weights @ table
        return sums

    n = np.maximum(total(None), 1e-9)
    sum_x, sum_y = total(x), total(y)
    covariance = (total(x * y) - sum_x * sum_y / n).sum(axis=1)
    variance_x = (total(x * x) - sum_x**2 / n).sum(axis=1)
    variance_y = (total(y * y) - sum_y**2 / n).sum(axis=1)
    scale = np.sqrt(np.maximum(variance_x * variance_y, 0))
    return ratio(covariance, scale, valid=scale > 0)
