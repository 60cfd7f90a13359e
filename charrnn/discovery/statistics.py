"""How well the values of cells follow a property of the text, and how well they would by chance.

Everything is ranks. Positions are put into strata (all in one, or by the current character); within a stratum v of n_v
positions the mid-rank R_t of a cell's value becomes u_t = (R_t − (n_v + 1)/2) / n_v, between −½ and ½. For labels y
with W = Σ_t (y_t − mean of y in t's stratum)² then holds

    binary y    2·AUC − 1 = 2 Σ y_t u_t / W         AUC within strata, weighted n₁ᵥn₀ᵥ/n_v (van Elteren 1960)
    graded y    ρ = Σ r_t u_t / √(W · Σ u_t²)       r: ranks of y made like u, W that of r; Spearman's ρ for one
                                                    stratum, the correlation of ranks within strata for more; Σ u_t²
                                                    over the strata in which y is not the same everywhere

so a score is linear in the labels, and scores of all cells for all properties, permuted labels and meaningless ones are
matrix products. Both are called *rank_correlation* here: −1 to 1, 0 by chance; AUC = (1 + rank_correlation)/2. Graded labels that are
moved about keep the ranks they had over all positions, as ranks within strata would have to be made anew for each move;
what such a null is compared with is measured in the same way (`movable_rank_correlation`).

Shapes: N positions, U columns (a signal of a cell each), P properties, S segments, V strata.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

MOST_STRATA = 256


@dataclass(frozen=True)
class Strata:
    """A partition of positions. of: the stratum (N,) of each, 0…V−1, uint16. sizes: positions (V,) in each."""

    of: np.ndarray
    sizes: np.ndarray

    @classmethod
    def single(cls, length: int) -> Strata:
        """All positions in one stratum."""
        return cls(np.zeros(length, np.uint16), np.array([length]))

    @classmethod
    def by(cls, ids: np.ndarray) -> Strata:
        """A stratum for each different id (N,); beyond 255 of them the rarest share one."""
        values, places, counts = np.unique(ids, return_inverse=True, return_counts=True)
        number = np.full(len(values), MOST_STRATA - 1, np.int64)
        frequent = np.argsort(-counts, kind="stable")[: MOST_STRATA - 1 if len(values) > MOST_STRATA else None]
        number[frequent] = np.arange(len(frequent))
        of = number[places].astype(np.uint16)
        return cls(of, np.bincount(of))

    @property
    def number(self) -> int:
        return len(self.sizes)

    @cached_property
    def indicator(self) -> np.ndarray:
        """(V, N), float32: 1 where a position is in a stratum."""
        indicator = np.zeros((self.number, len(self.of)), np.float32)
        indicator[self.of, np.arange(len(self.of))] = 1
        return indicator

    def sums(self, rows: np.ndarray) -> np.ndarray:
        """Sums (U, V) of rows (U, N), float32, in each stratum."""
        return (torch.from_numpy(rows) @ torch.from_numpy(self.indicator).T).numpy()


def mid_ranks(values: np.ndarray) -> np.ndarray:
    """ProcessGroup (N,) from 1, of equals their mean, float64."""
    order = np.argsort(values, kind="stable")
    ranks = np.empty(len(values))
    ranks[order] = _mid_positions(_first_of_group(values[order])) + 1
    return ranks


def _first_of_group(ordered: np.ndarray) -> np.ndarray:
    return np.concatenate([[True], ordered[1:] != ordered[:-1]]) if len(ordered) else np.zeros(0, bool)


def _mid_positions(first: np.ndarray) -> np.ndarray:
    """The mean place (N,) of each group; `first` (N,) is true where a group begins."""
    if first.all():
        return np.arange(len(first), dtype=np.float64)
    starts = np.flatnonzero(first)
    sizes = np.diff(np.append(starts, len(first)))
    return np.repeat(starts + (sizes - 1) / 2, sizes)


@dataclass(frozen=True)
class Ranked:
    """Columns as scaled ranks u within strata, (U, N) float32: a row for each column; squares: Σ u² (U, V) of each."""

    ranks: np.ndarray
    squares: np.ndarray
    strata: Strata


def ranked(columns: np.ndarray, *strata: Strata) -> list[Ranked]:
    """The columns (N, U) ranked within each of these partitions. Every column is sorted once."""
    by_column = np.ascontiguousarray(columns.T)
    made = [np.empty(by_column.shape, np.float32) for _ in strata]
    starts = [np.concatenate([[0], np.cumsum(partition.sizes)[:-1]]) for partition in strata]

    for column, values in enumerate(by_column):
        order = np.argsort(values)
        for partition, first_of, target in zip(strata, starts, made, strict=True):
            grouped = order
            if partition.number > 1:
                grouped = order[np.argsort(partition.of[order], kind="stable")]
            ordered, stratum = values[grouped], partition.of[grouped]
            first = _first_of_group(ordered)
            first[first_of] = True
            within = _mid_positions(first) - first_of[stratum]
            sizes = partition.sizes[stratum]
            target[column, grouped] = (within - (sizes - 1) / 2) / sizes
    return [
        Ranked(ranks, partition.sums(np.square(ranks)).astype(np.float64), partition)
        for ranks, partition in zip(made, strata, strict=True)
    ]


@dataclass(frozen=True)
class Labels:
    """Properties as numbers that scores are linear in: numbers (P, N), float32; graded (P,) says which are ranks."""

    numbers: np.ndarray
    graded: np.ndarray

    @classmethod
    def of(cls, values: list[np.ndarray], strata: Strata) -> Labels:
        """From values (N,) of each property: booleans as 0 and 1, numbers as scaled mid-ranks within strata."""
        graded = np.array([value.dtype != bool for value in values])
        numbers = [
            ranked(value[:, None], strata)[0].ranks[0] if is_graded else value
            for value, is_graded in zip(values, graded, strict=True)
        ]
        return cls(np.array(numbers, np.float32).reshape(len(values), -1), graded)

    def only(self, place: int) -> Labels:
        """One of the properties, by its place."""
        return Labels(self.numbers[place : place + 1], self.graded[place : place + 1])


def scaled(values: np.ndarray) -> np.ndarray:
    """Mid-ranks (N,) over all positions as numbers between −½ and ½."""
    return (mid_ranks(values) - (len(values) + 1) / 2) / len(values)


def spread(numbers: np.ndarray, strata: Strata) -> np.ndarray:
    """W (P, V): the sum of squares about the stratum's mean of labels (P, N), float32, in each stratum."""
    squares, sums = (strata.sums(rows).astype(np.float64) for rows in (np.square(numbers), numbers))
    within = squares - sums**2 / strata.sizes
    return np.where(within > 1e-6 * squares, within, 0)


def rank_correlation(cells: Ranked, labels: Labels) -> np.ndarray:
    """Strength (P, U) of every column for every property; 0 where a property is constant within every stratum."""
    spreads = spread(labels.numbers, cells.strata)
    squares = (spreads > 0).astype(np.float64) @ cells.squares.T
    return _strength(_products(cells, labels), spreads.sum(axis=1), squares, labels.graded)


def movable_rank_correlation(cells: Ranked, labels: Labels) -> np.ndarray:
    """As `rank_correlation`, measured as both nulls are: Σ u² over all strata."""
    spreads = spread(labels.numbers, cells.strata).sum(axis=1)
    squares = np.tile(cells.squares.sum(axis=1), (len(spreads), 1))
    return _strength(_products(cells, labels), spreads, squares, labels.graded)


def _products(cells: Ranked, labels: Labels) -> np.ndarray:
    return (torch.from_numpy(labels.numbers) @ torch.from_numpy(cells.ranks).T).double().numpy()


def _strength(products: np.ndarray, spreads: np.ndarray, squares: np.ndarray, graded: np.ndarray) -> np.ndarray:
    """From Σ y u (P, U), W (P,), Σ u² (P, U) and whether each property is graded (P,)."""
    scale = np.where(graded[:, None], np.sqrt(spreads[:, None] * squares), spreads[:, None] / 2)
    return np.divide(products, scale, out=np.zeros_like(products), where=scale > 1e-6)


def auc(rank_correlation: float | np.ndarray) -> float | np.ndarray:
    """The area under the ROC curve that a rank_correlation for a binary property stands for."""
    return (1 + rank_correlation) / 2


def pearson(columns: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Pearson's correlation (U,) of columns (N, U) with one property's values (N,)."""
    centerd = columns - columns.mean(axis=0)
    against = numbers - numbers.mean()
    scale = np.sqrt((centerd.astype(np.float64) ** 2).sum(axis=0) * (against**2).sum())
    return np.divide(against @ centerd, scale, out=np.zeros(columns.shape[1]), where=scale > 0)


# What chance would give


def runs(values: np.ndarray) -> np.ndarray:
    """Where the runs of a property (N,) begin: of a binary one, on- and off-runs in turn; of a graded one, the pieces
    between its resets (where it falls, or rises if that is the rarer)."""
    change = np.diff(values.astype(np.float64))
    if values.dtype == bool:
        breaks = change != 0
    else:
        falls, rises = change < 0, change > 0
        breaks = falls if falls.sum() <= rises.sum() else rises
    return np.concatenate([[0], np.flatnonzero(breaks) + 1])


def episodes(values: np.ndarray) -> np.ndarray:
    """Lengths of the runs that count as episodes: on-runs of a binary property, all of a graded one."""
    starts = runs(values)
    lengths = np.diff(np.append(starts, len(values)))
    return lengths[values[starts]] if values.dtype == bool else lengths


def segment_count(longest: int, length: int) -> int:
    """Into how many segments to cut a text: 40, or fewer so that each has five times the longest run."""
    return int(min(40, length // max(5 * longest, 1)))


def permutation_null(cells: Ranked, labels: Labels, segments: int, permutations: np.ndarray) -> np.ndarray:
    """The largest |rank_correlation| among the columns, for each property and permutation of its segments: (P, K).

    permutations: (K, S), each row an order of the S segments. By M[a, b, u] = Σ y of segment a × u of segment b, and
    the same with each stratum's indicator for W, every permutation is a sum of S gathered rows.
    """
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
    """Σ_b M[π(b), b, u] (K, U) of segments of labels (S, N/S) and of columns (U·S, N/S), for each permutation π."""
    table = (own @ pieces.T).view(len(own), -1, len(own))  # a, u, b
    return embedding_bag(place, table.permute(0, 2, 1).reshape(len(own) ** 2, -1), mode="sum")


def _largest(products: Tensor, spreads: Tensor, squares: np.ndarray, graded: bool) -> np.ndarray:
    """The largest |rank_correlation| (K,) among the columns, from Σ y u (K, U), W (K,) and Σ u² (U,)."""
    if graded:
        scale = torch.from_numpy(np.sqrt(squares)).clamp(min=1e-9).to(products.dtype)
        return ((products / scale).abs().amax(dim=1).double() / spreads.sqrt().clamp(min=1e-9)).numpy()
    return (2 * products.abs().amax(dim=1).double() / spreads.clamp(min=1e-9)).numpy()


def shuffled_runs(values: np.ndarray, numbers: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """A label (N,) without meaning but of the same time scale: the runs of a property in another order.

    On-runs of a binary property change places with on-runs, off-runs with off-runs. values: the property; numbers: what
    is moved about with it.
    """
    starts = runs(values)
    lengths = np.diff(np.append(starts, len(values)))
    order = np.arange(len(starts))
    if values.dtype == bool:
        for parity in (0, 1):
            order[parity::2] = draw.permutation(order[parity::2])
    else:
        order = draw.permutation(order)
    moved = lengths[order]
    offset = np.arange(len(values)) - np.repeat(np.cumsum(moved) - moved, moved)
    return numbers[np.repeat(starts[order], moved) + offset]


def pseudo_null(cells: Ranked, values: np.ndarray, numbers: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """The largest |rank_correlation| (draws,) among the columns for labels made by `shuffled_runs`."""
    draw = np.random.default_rng(seed)
    null = np.empty(draws)
    ranks = torch.from_numpy(cells.ranks).T
    batch = max(1, (1 << 24) // len(values))
    for start in range(0, draws, batch):
        made = np.stack([shuffled_runs(values, numbers, draw) for _ in range(min(batch, draws - start))])
        products = torch.from_numpy(made.astype(np.float32)) @ ranks
        spreads = torch.from_numpy(spread(made.astype(np.float32), cells.strata).sum(axis=1))
        squares = cells.squares.sum(axis=1)
        null[start : start + len(made)] = _largest(products, spreads, squares, values.dtype != bool)
    return null


def p_value(observed: float, null: np.ndarray) -> float:
    """The share of a null at least as large as what was observed, counted so that it is never 0."""
    return float((1 + np.count_nonzero(null >= observed)) / (1 + len(null)))


def holm(p_values: np.ndarray) -> np.ndarray:
    """p-values (K,) adjusted so that the chance of any false one stays below the level (Holm 1979)."""
    order = np.argsort(p_values, kind="stable")
    steps = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1))
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(steps, 1)
    return adjusted


# How far off a score may be


def resampled_rank_correlation(
    column: np.ndarray, values: np.ndarray, strata: Strata, segments: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Strength (K,) of one column (N,) for one property (N,) when segments are drawn with replacement.

    segments: the segment (N,) of each position, 0…S−1. weights: how often each is drawn, (K, S). AUC is exact: the wins
    of positives of segment a over negatives of segment b are counted once, and every draw is a quadratic form of those
    counts, with the weights of strata kept as they are in the whole. For graded properties ranks are kept as they are.
    """
    if values.dtype == bool:
        wins, pairs = _wins(column, values, strata, segments, weights.shape[1])
        won, all_of_them = (np.einsum("ka,ab,kb->k", weights, table, weights, optimize=True) for table in (wins, pairs))
        return np.divide(2 * won, all_of_them, out=np.ones(len(weights)), where=all_of_them > 0) - 1
    x, y = (ranked(one[:, None], strata)[0].ranks[0] for one in (column, values))
    x = np.where((spread(y[None], strata)[0] > 0)[strata.of], x, 0)
    return _resampled_correlation(x, y, strata, segments, weights)


def _wins(
    column: np.ndarray, values: np.ndarray, strata: Strata, segments: np.ndarray, number: int
) -> tuple[np.ndarray, np.ndarray]:
    """(S, S) each: Σ over strata of wins (ties half) of positives of a over negatives of b, and of pairs, by 1/n_v."""
    positives = np.bincount(strata.of[values], minlength=strata.number)
    mixed = (positives > 0) & (positives < strata.sizes)
    kept = np.flatnonzero(mixed[strata.of])
    order = kept[np.lexsort((column[kept], strata.of[kept]))]
    ordered, stratum, segment, positive = column[order], strata.of[order], segments[order], values[order]
    begins = _first_of_group(stratum)
    first = _first_of_group(ordered) | begins
    negatives = np.zeros((number, len(order) + 1), np.int32)
    negatives[segment[~positive], np.flatnonzero(~positive) + 1] = 1
    np.cumsum(negatives, axis=1, out=negatives)
    starts = np.flatnonzero(first)
    group = np.cumsum(first) - 1
    ends = np.append(starts[1:], len(order))
    stratum_start = np.flatnonzero(begins)[np.cumsum(begins) - 1]
    stratum_end = np.append(np.flatnonzero(begins)[1:], len(order))[np.cumsum(begins) - 1]
    at = np.flatnonzero(positive)
    weight = 1.0 / strata.sizes[stratum[at]]
    base = negatives[:, stratum_start[at]]
    below = (negatives[:, starts[group[at]]] + negatives[:, ends[group[at]]]) / 2 - base
    present = negatives[:, stratum_end[at]] - base
    indicator = np.zeros((number, len(at)))
    indicator[segment[at], np.arange(len(at))] = weight
    return indicator @ below.T, indicator @ present.T


def _resampled_correlation(
    x: np.ndarray, y: np.ndarray, strata: Strata, segments: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    number, cell = weights.shape[1], segments * strata.number + strata.of
    size = number * strata.number

    def total(values: np.ndarray | None) -> np.ndarray:
        """Sums (K, V) of values in each stratum under each draw."""
        table = np.bincount(cell, values, size).reshape(number, strata.number)
        return weights @ table

    n = np.maximum(total(None), 1e-9)
    sum_x, sum_y = total(x), total(y)
    covariance = (total(x * y) - sum_x * sum_y / n).sum(axis=1)
    variance_x = (total(x * x) - sum_x**2 / n).sum(axis=1)
    variance_y = (total(y * y) - sum_y**2 / n).sum(axis=1)
    scale = np.sqrt(np.maximum(variance_x * variance_y, 0))
    return np.divide(covariance, scale, out=np.zeros(len(weights)), where=scale > 0)


def bootstrap_weights(segments: int, draws: int, seed: int) -> np.ndarray:
    """How often each segment is drawn (draws, S) when S are drawn with replacement."""
    draw = np.random.default_rng(seed)
    return draw.multinomial(segments, np.full(segments, 1 / segments), size=draws).astype(np.float64)


def interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """The percentile interval of resampled values (K,)."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def best_threshold(column: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """The threshold above which a column (N,) says yes that gives the best balanced accuracy for labels (N,), and that
    accuracy: halfway between two values that occur. Expects the column to be larger where the label is true."""
    order = np.argsort(column, kind="stable")
    truth, ordered = labels[order], column[order].astype(np.float64)
    ends = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(order) - 1)
    below = np.cumsum(truth)[ends] / max(truth.sum(), 1)
    rejected = np.cumsum(~truth)[ends] / max((~truth).sum(), 1)
    accuracy = (1 - below + rejected) / 2
    best = int(np.argmax(accuracy))
    return float(ordered[ends[best]] + ordered[min(ends[best] + 1, len(ordered) - 1)]) / 2, float(accuracy[best])


def balanced_accuracy(column: np.ndarray, labels: np.ndarray, threshold: float) -> float:
    """The mean of the shares of true and of false labels (N,) that `column > threshold` gets right."""
    above = column > threshold
    return float((above[labels].mean() + (~above[~labels]).mean()) / 2)
