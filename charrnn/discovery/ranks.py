"""Ranks of cells' values within strata of positions, and labels as numbers: what rank correlations are computed from.

Positions are grouped into strata: all in one, or by the current character. In a stratum v of n_v positions the mid-rank
R_t of a cell's value becomes u_t = (R_t − (n_v + 1)/2) / n_v, between −½ and ½.

Shapes: N positions, U columns (one signal of one cell each), P properties, V strata.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

MAX_STRATA = 256
COLUMNS_AT_A_TIME = 64


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
        ordered = in_order(values)
        for one in found:
            one.ranks[column], one.squares[column] = _scaled_ranks(*by_stratum(*ordered, one.strata), one.strata)

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:  # NumPy sorts in one thread, without the lock
        for first in range(0, number, COLUMNS_AT_A_TIME):
            some = torch.from_numpy(columns[:, first : first + COLUMNS_AT_A_TIME]).T.contiguous().numpy()
            list(pool.map(rank, range(first, number), some))
    return found


def in_order(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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


def by_stratum(ordered: np.ndarray, positions: np.ndarray, strata: Strata) -> tuple[np.ndarray, np.ndarray]:
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
