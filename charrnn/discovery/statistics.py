"""Rank correlations of cells with properties, their permutation baselines, and their intervals.

Positions are grouped into strata: all in one, or by the current character. In a stratum v of n_v positions the mid-rank
R_t of a cell's value becomes u_t = (R_t − (n_v + 1)/2) / n_v, between −½ and ½. For labels y let
W = Σ_t (y_t − mean of y in t's stratum)². Then

    binary y    2·AUC − 1 = 2 Σ y_t u_t / W         AUC within strata, weighted n₁ᵥn₀ᵥ/n_v (van Elteren 1960)
    graded y    ρ = Σ r_t u_t / √(W · Σ u_t²)       r: ranks of y, scaled as u is; W that of r. Spearman's ρ for one
                                                    stratum. Σ u_t² over the strata in which y is not constant

Both are called *rank correlation* here: −1 to 1, 0 by chance, AUC = (1 + rank correlation)/2. (For binary y it is the
rank-biserial correlation.) It is linear in the labels. The scores of all cells for all properties, permuted labels and
pseudo-labels are therefore matrix products.

Graded labels that are permuted keep their ranks over all positions, because ranks within strata would have to be
computed again for each permutation. Scores compared with such a baseline are measured the same way
(`permutable_rank_correlation`).

Shapes: N positions, U columns (one signal of one cell each), P properties, S segments, V strata, K permutations or
resamples.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

MAX_STRATA = 256
COLUMNS_AT_A_TIME = 64
Number = TypeVar("Number", float, np.ndarray)


@dataclass(frozen=True)
class Strata:
    """A partition of positions. of: the stratum of each, (N,) uint16. sizes: positions in each stratum, (V,)."""

    of: np.ndarray
    sizes: np.ndarray

    @classmethod
    def single(cls, length: int) -> Strata:
        """Put all positions into one stratum."""
        return cls(np.zeros(length, np.uint16), np.array([length]))

    @classmethod
    def by(cls, ids: np.ndarray) -> Strata:
        """Make a stratum of each distinct id (N,). Beyond 255 distinct ids the rarest share one."""
        values, places, counts = np.unique(ids, return_inverse=True, return_counts=True)
        number = np.full(len(values), MAX_STRATA - 1, np.int64)
        frequent = np.argsort(-counts, kind="stable")[: MAX_STRATA - 1 if len(values) > MAX_STRATA else None]
        number[frequent] = np.arange(len(frequent))
        of = number[places].astype(np.uint16)
        return cls(of, np.bincount(of))

    @property
    def number(self) -> int:
        return len(self.sizes)

    @cached_property
    def indicator(self) -> np.ndarray:
        """One-hot strata, (V, N) float32."""
        indicator = np.zeros((self.number, len(self.of)), np.float32)
        indicator[self.of, np.arange(len(self.of))] = 1
        return indicator

    @cached_property
    def starts(self) -> np.ndarray:
        """The first place of each stratum where positions are ordered by stratum, (V,)."""
        starts: np.ndarray = np.cumsum(self.sizes) - self.sizes
        return starts

    @cached_property
    def untied(self) -> np.ndarray:
        """The scaled ranks of distinct values in order, stratum after stratum, (N,) float32."""
        start, size = (np.repeat(part, self.sizes) for part in (self.starts, self.sizes))
        scaled: np.ndarray = (np.arange(len(self.of)) - start - (size - 1) / 2) / size
        return scaled.astype(np.float32)

    def sums(self, rows: np.ndarray) -> np.ndarray:
        """Sum rows (U, N), float32, in each stratum: (U, V)."""
        return (torch.from_numpy(rows) @ torch.from_numpy(self.indicator).T).numpy()


@dataclass(frozen=True)
class Ranked:
    """Scaled ranks u of columns within strata. ranks: (U, N) float32. squares: Σ u² in each stratum, (U, V)."""

    ranks: np.ndarray
    squares: np.ndarray
    strata: Strata


def ranked(columns: np.ndarray, *strata: Strata) -> list[Ranked]:
    """Rank columns (N, U) within each partition. Each column is sorted once."""
    length, number = columns.shape
    found = [Ranked(np.empty((number, length), np.float32), np.empty((number, one.number)), one) for one in strata]
    for one in strata:
        _ = one.untied  # computed before several threads need it

    def rank(column: int, values: np.ndarray) -> None:
        ordered = _in_order(values)
        for one in found:
            one.ranks[column], one.squares[column] = _scaled_ranks(*_by_stratum(*ordered, one.strata), one.strata)

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:  # NumPy sorts in one thread, without the lock
        for first in range(0, number, COLUMNS_AT_A_TIME):
            some = torch.from_numpy(columns[:, first : first + COLUMNS_AT_A_TIME]).T.contiguous().numpy()
            list(pool.map(rank, range(first, number), some))
    return found


def _in_order(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return values (N,) in ascending order, as integers of the same order, and the position of each, (N,).

    NumPy sorts integers of 16 bits by radix, so that two passes take a third of the time of a sort of the numbers.
    """
    bits = 32 if values.dtype == np.float32 else 64
    numbers = np.add(values, 0.0, dtype=np.float32 if bits == 32 else np.float64)  # −0 becomes 0
    integers: np.ndarray = numbers.view(np.int32 if bits == 32 else np.int64)
    integers ^= (integers >> (bits - 1)) & np.iinfo(integers.dtype).max  # negative numbers are sign and size
    positions = np.arange(len(values))
    for shift in range(0, bits, 16):
        digits = (integers >> shift).astype(np.int16 if shift == bits - 16 else np.uint16)
        positions = positions[digits[positions].argsort(kind="stable")]
    return integers[positions], positions


def _by_stratum(ordered: np.ndarray, positions: np.ndarray, strata: Strata) -> tuple[np.ndarray, np.ndarray]:
    """Return values in order and their positions, stratum after stratum."""
    if strata.number == 1:
        return ordered, positions
    grouped = strata.of[positions].argsort(kind="stable")
    return ordered[grouped], positions[grouped]


def _scaled_ranks(ordered: np.ndarray, positions: np.ndarray, strata: Strata) -> tuple[np.ndarray, np.ndarray]:
    """Return the scaled mid-ranks u (N,) of values in order within each stratum, and Σ u² in each stratum, (V,)."""
    sizes = strata.sizes
    result, cubes = strata.untied, (sizes**3 - sizes).astype(np.float64)
    repeats = np.append(False, ordered[1:] == ordered[:-1])
    repeats[strata.starts] = False
    if repeats.any():
        following = np.append(repeats[1:], False)
        first, last = np.flatnonzero(following & ~repeats), np.flatnonzero(repeats & ~following)
        counts, tied = last - first + 1, repeats | following
        stratum = np.searchsorted(strata.starts, first, side="right") - 1
        middle = (first + last) / 2 - strata.starts[stratum] - (sizes[stratum] - 1) / 2
        result = result.copy()
        result[tied] = np.repeat(middle / sizes[stratum], counts)
        cubes -= np.bincount(stratum, counts**3 - counts, len(sizes))
    ranks = np.empty(len(positions), np.float32)
    ranks[positions] = result
    return ranks, cubes.clip(min=0) / 12 / sizes**2


@dataclass(frozen=True)
class Labels:
    """Properties as numbers. numbers: (P, N) float32. graded: which properties are graded, (P,)."""

    numbers: np.ndarray
    graded: np.ndarray

    @classmethod
    def of(cls, values: list[np.ndarray], strata: Strata) -> Labels:
        """Convert values, (N,) each: booleans to 0 and 1, numbers to scaled mid-ranks within strata."""
        graded = np.array([value.dtype != bool for value in values])
        numbers = [value if value.dtype == bool else scaled_ranks(value, strata) for value in values]
        return cls(np.array(numbers, np.float32).reshape(len(values), -1), graded)

    def only(self, place: int) -> Labels:
        """Return one property, by its index."""
        return Labels(self.numbers[place : place + 1], self.graded[place : place + 1])


def scaled_ranks(values: np.ndarray, strata: Strata) -> np.ndarray:
    """Return the mid-ranks of values (N,) within strata, scaled to −½…½, float32."""
    ranks: np.ndarray = ranked(values[:, None], strata)[0].ranks[0]
    return ranks


def within_squares(numbers: np.ndarray, strata: Strata) -> np.ndarray:
    """Return W: the sum of squares of labels (P, N), float32, about each stratum's mean, (P, V)."""
    squares, sums = (strata.sums(rows).astype(np.float64) for rows in (np.square(numbers), numbers))
    within = squares - sums**2 / strata.sizes
    return np.where(within > 1e-6 * squares, within, 0)


def rank_correlation(cells: Ranked, labels: Labels) -> np.ndarray:
    """Return rank correlations of properties and columns, (P, U); 0 of a property constant in all strata."""
    spreads = within_squares(labels.numbers, cells.strata)
    squares = (spreads > 0).astype(np.float64) @ cells.squares.T
    return _normalized(_products(cells, labels), spreads.sum(axis=1), squares, labels.graded)


def permutable_rank_correlation(cells: Ranked, labels: Labels) -> np.ndarray:
    """Return rank correlations (P, U) as the permutation baselines measure them, with Σ u² over all strata."""
    spreads = within_squares(labels.numbers, cells.strata).sum(axis=1)
    squares = np.tile(cells.squares.sum(axis=1), (len(spreads), 1))
    return _normalized(_products(cells, labels), spreads, squares, labels.graded)


def _products(cells: Ranked, labels: Labels) -> np.ndarray:
    products: np.ndarray = (torch.from_numpy(labels.numbers) @ torch.from_numpy(cells.ranks).T).double().numpy()
    return products


def _normalized(products: np.ndarray, spreads: np.ndarray, squares: np.ndarray, graded: np.ndarray) -> np.ndarray:
    """Normalize Σ y u, (P, U). spreads: W, (P,). squares: Σ u², (P, U). graded: (P,)."""
    scale = np.where(graded[:, None], np.sqrt(spreads[:, None] * squares), spreads[:, None] / 2)
    return ratio(products, scale, valid=scale > 1e-6)


def ratio(numerator: np.ndarray, denominator: np.ndarray, *, valid: np.ndarray, otherwise: float = 0.0) -> np.ndarray:
    """Divide element by element where `valid`, and return `otherwise` elsewhere."""
    quotient: np.ndarray = np.divide(numerator, denominator, out=np.full(numerator.shape, otherwise), where=valid)
    return quotient


def auc(rank_correlation: Number) -> Number:
    """Convert the rank correlation with a binary property to the area under the ROC curve."""
    return (1 + rank_correlation) / 2


def pearson(x: np.ndarray, y: np.ndarray) -> float:
    """Return Pearson's correlation of values (N,); 0 where one is constant."""
    x, y = x - x.mean(), y - y.mean()
    scale = np.sqrt((x.astype(np.float64) ** 2).sum() * (y**2).sum())
    return float(y @ x / scale) if scale > 0 else 0.0


# Permutation baselines


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


# Intervals and thresholds


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
    ordered, positions = _by_stratum(*_in_order(column), strata)
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


def bootstrap_weights(segments: int, draws: int, seed: int) -> np.ndarray:
    """Return how often each of S segments is drawn when S are drawn with replacement, (draws, S)."""
    draw = np.random.default_rng(seed)
    return draw.multinomial(segments, np.full(segments, 1 / segments), size=draws).astype(np.float64)


def interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Return the percentile interval of resampled values (K,)."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def best_threshold(column: np.ndarray, labels: np.ndarray) -> float:
    """Return the threshold on a column (N,) with the best balanced accuracy for labels (N,).

    It lies halfway between two values of the column, which is expected to be larger where the label is true.
    """
    order = _in_order(column)[1]
    truth, ordered = labels[order], column[order].astype(np.float64)
    ends = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(order) - 1)
    below = np.cumsum(truth)[ends] / max(truth.sum(), 1)
    rejected = np.cumsum(~truth)[ends] / max((~truth).sum(), 1)
    best = ends[np.argmax((1 - below + rejected) / 2)]
    return float(ordered[best] + ordered[min(best + 1, len(ordered) - 1)]) / 2


def balanced_accuracy(column: np.ndarray, labels: np.ndarray, threshold: float) -> float:
    """Return the balanced accuracy of `column > threshold` for labels (N,)."""
    above = column > threshold
    return float((above[labels].mean() + (~above[~labels]).mean()) / 2)
