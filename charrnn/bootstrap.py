"""Bootstrap resampling of segments of a text, and intervals from it.

Shapes: S segments, K resamples.
"""

from __future__ import annotations

import numpy as np


def bootstrap_weights(segments: int, draws: int, seed: int) -> np.ndarray:
    """Return how often each of S segments is drawn when S are drawn with replacement, (draws, S)."""
    draw = np.random.default_rng(seed)
    return draw.multinomial(segments, np.full(segments, 1 / segments), size=draws).astype(np.float64)


def mean_and_interval(values: np.ndarray, weights: np.ndarray) -> tuple[float, float, float]:
    """Return the mean of values (S,) and both ends of its 95 % interval. weights: of resamples, (K, S)."""
    return float(values.mean()), *interval(weights @ values / len(values))


def interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Return the percentile interval of resampled values (K,)."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
