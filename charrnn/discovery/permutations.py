"""Permutation baselines: rank correlations of cells with labels whose runs or segments are in random order.

Shapes: N positions, U columns (one signal of one cell each), P properties, S segments, V strata, K permutations.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from charrnn.discovery.ranks import Labels, Ranked
from charrnn.discovery.statistics import within_squares


def runs(values: np.ndarray) -> np.ndarray:
    """Return the starts of the runs of a property (N,).

    A binary property has on- and off-runs. The runs of a graded one lie between its resets: where it falls, or where it
    rises if that is rarer.
    """
    change = np.diff(values.astype(np.float64))
    if values.dtype == bool:
        breaks = change != 0
    else:
        falls, rises = change < 0, change > 0
        breaks = falls if falls.sum() <= rises.sum() else rises
    return np.concatenate([[0], np.flatnonzero(breaks) + 1])


def episodes(values: np.ndarray) -> np.ndarray:
    """Return the lengths of a property's episodes: the on-runs of a binary property, all runs of a graded one."""
    starts = runs(values)
    lengths = np.diff(np.append(starts, len(values)))
    return lengths[values[starts]] if values.dtype == bool else lengths


def segment_count(longest: int, length: int) -> int:
    """Return into how many segments a text is cut: 40, or fewer to make each five times the longest run."""
    return int(min(40, length // max(5 * longest, 1)))


def permutation_null(cells: Ranked, labels: Labels, permutations: np.ndarray) -> np.ndarray:
    """Return the largest |rank correlation| of any column for each permutation of the segments, (P, K).

    permutations: (K, S), each row an order of the S segments. Let M[a, b, u] = Σ y of segment a · u of segment b. The
    products of a permutation are the sum of S gathered rows of M. W follows likewise from the strata's indicators.
    """
    segments = permutations.shape[1]
    size = cells.ranks.shape[1] // segments
    used = size * segments
    pieces, indicators = (
        torch.from_numpy(rows[:, :used]).reshape(-1, size) for rows in (cells.ranks, cells.strata.indicator)
    )
    place = torch.from_numpy(permutations * segments + np.arange(segments))  # row a·S + b of M, for a = π(b)
    null = np.empty((len(labels.numbers), len(permutations)))
    sizes = torch.from_numpy(np.bincount(cells.strata.of[:used], minlength=cells.strata.number).clip(1)).double()
    squares = np.einsum("un,un->u", cells.ranks[:, :used], cells.ranks[:, :used], dtype=np.float64)
    for row, numbers in enumerate(labels.numbers):
        own = torch.from_numpy(numbers[:used]).view(segments, size)
        products = _gathered(own, pieces, place)
        sums = _gathered(own, indicators, place).double()
        spreads = (own.double() ** 2).sum() - (sums**2 / sizes).sum(dim=1)
        null[row] = _largest(products, spreads.clamp(min=0), squares, bool(labels.graded[row]))
    return null


def _gathered(own: Tensor, pieces: Tensor, place: Tensor) -> Tensor:
    """Return Σ_b M[π(b), b, u] for each permutation π, (K, U). own: labels (S, N/S). pieces: columns (U·S, N/S)."""
    table = (own @ pieces.T).view(len(own), -1, len(own))  # a, u, b
    return embedding_bag(place, table.permute(0, 2, 1).reshape(len(own) ** 2, -1), mode="sum")


def _largest(products: Tensor, spreads: Tensor, squares: np.ndarray, graded: bool) -> np.ndarray:
    """Return the largest |rank correlation| of any column, (K,), from Σ y u (K, U), W (K,) and Σ u² (U,)."""
    if graded:
        scale = torch.from_numpy(np.sqrt(squares)).clamp(min=1e-9).to(products.dtype)
        return ((products / scale).abs().amax(dim=1).double() / spreads.sqrt().clamp(min=1e-9)).numpy()
    return (2 * products.abs().amax(dim=1).double() / spreads.clamp(min=1e-9)).numpy()


def shuffled_runs(values: np.ndarray, numbers: np.ndarray, draws: int, draw: np.random.Generator) -> np.ndarray:
    """Return pseudo-labels (draws, N): the runs of a property in random order, which keeps the time scale.

    On-runs of a binary property are exchanged with on-runs, off-runs with off-runs. values: the property, which gives
    the runs. numbers: what is permuted, the same throughout a run of a binary property.
    """
    starts = runs(values)
    lengths = np.diff(np.append(starts, len(values)))
    permuted = np.empty((draws, len(values)), numbers.dtype)
    for row in permuted:
        order = np.arange(len(starts))
        if values.dtype == bool:
            for parity in (0, 1):
                order[parity::2] = draw.permutation(order[parity::2])
            row[:] = np.repeat(numbers[starts[order]], lengths[order])
        else:
            order = draw.permutation(order)
            moved = lengths[order]
            row[:] = numbers[np.arange(len(values)) + np.repeat(starts[order] - np.cumsum(moved) + moved, moved)]
    return permuted


def pseudo_label_null(cells: Ranked, values: np.ndarray, numbers: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Return the largest |rank correlation| of any column for each of `draws` pseudo-labels (see `shuffled_runs`)."""
    draw = np.random.default_rng(seed)
    null = np.empty(draws)
    ranks = torch.from_numpy(cells.ranks).T
    batch = max(1, (1 << 24) // len(values))
    for start in range(0, draws, batch):
        made = shuffled_runs(values, numbers.astype(np.float32), min(batch, draws - start), draw)
        products = torch.from_numpy(made) @ ranks
        spreads = torch.from_numpy(within_squares(made, cells.strata).sum(axis=1))
        squares = cells.squares.sum(axis=1)
        null[start : start + len(made)] = _largest(products, spreads, squares, values.dtype != bool)
    return null


def p_value(observed: float, null: np.ndarray) -> float:
    """Return (1 + #{null ≥ observed}) / (1 + #null)."""
    return float((1 + np.count_nonzero(null >= observed)) / (1 + len(null)))


def holm(p_values: np.ndarray, families: np.ndarray) -> np.ndarray:
    """Adjust p-values (K,) for the family-wise error rate (Holm 1979).

    families: of each, (K,). Within a family p-values are adjusted already, so that only families are counted.
    """
    order = np.argsort(p_values, kind="stable")
    remaining = [len(np.unique(families[order[place:]])) for place in range(len(order))]
    steps = np.maximum.accumulate(p_values[order] * remaining)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(steps, 1)
    return adjusted
