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
    """Return Σ_v (wins of positives of segment a over negatives of b) / n_v, ties half; and the pairs: (S, S) each.

    Members of the rarer class are counted against the others, so that the work grows with that class alone.
    """
    ordered, positions = by_stratum(*in_order(column), strata)
    segment, positive = segments[positions], values[positions]
    cells = strata.of[positions] * np.int64(number) + segment
    positives, negatives = (
        np.bincount(cells[chosen], minlength=strata.number * number).reshape(-1, number)
        for chosen in (positive, ~positive)
    )
    pairs = (positives / strata.sizes[:, None]).T @ negatives
    starts_group = np.append(True, ordered[1:] != ordered[:-1])
    starts_group[strata.starts] = True
    if 2 * np.count_nonzero(positive) <= len(positive):
        return _below(starts_group, positive, segment, strata, positives, negatives), pairs
    return pairs - _below(starts_group, ~positive, segment, strata, negatives, positives).T, pairs


def _below(
    starts_group: np.ndarray,
    chosen: np.ndarray,
    segment: np.ndarray,
    strata: Strata,
    own: np.ndarray,
    others: np.ndarray,
) -> np.ndarray:
    """Return Σ_v (chosen of segment a, others of segment b below them, ties half) / n_v, (S, S).

    Positions are in the order of their values, stratum after stratum, (N,). starts_group: whether a group of equal
    values starts. own, others: the number of chosen and other positions by stratum and segment, (V, S).
    """
    group, number = np.cumsum(starts_group) - 1, own.shape[1]
    is_own = np.zeros(group[-1] + 1, bool)
    is_own[group[chosen]] = True  # groups with a chosen position
    row = (np.cumsum(is_own) - is_own)[group]  # how many of them come before each position
    tied, place = is_own[group[~chosen]], row[~chosen] * number + segment[~chosen]
    size = (np.count_nonzero(is_own) + 1) * number
    counts: np.ndarray = np.bincount(place, minlength=size)
    if tied.any():
        half, later = (np.bincount(place[tied] + shift, minlength=size) for shift in (0, number))
        counts = counts - (half - later) / 2
    below = np.cumsum(counts.reshape(-1, number), axis=0, dtype=np.float64)
    rows = row[chosen]
    below = below[:-1] if len(rows) == len(below) - 1 else below[rows]  # each is one group, or some share one
    weights = 1 / strata.sizes
    indicator = np.zeros((number, len(rows)))
    indicator[segment[chosen], np.arange(len(rows))] = np.repeat(weights, own.sum(axis=1))
    before = np.cumsum(others, axis=0) - others
    found: np.ndarray = indicator @ below - (own * weights[:, None]).T @ before
    return found


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
