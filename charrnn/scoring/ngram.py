"""An interpolated character n-gram, as a baseline and to mix with a network.

Modified Kneser-Ney smoothing (Chen & Goodman 1999, section 3), over whole texts at once: sorted by what precedes them,
the positions of a context are neighbors, and what was counted before each of them is a cumulative sum.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from charrnn.progress import FractionProgress, no_progress
from charrnn.scoring.score import Score
from charrnn.text.encoded_text import EncodedText

ORDER = 8
"""Characters of the longest context."""
TRAINING_CHARACTERS = 5_000_000
"""Characters at the end of the training text that are counted: they bound the memory, to about 100 bytes each."""
REMEMBERED = 100
"""Characters over which the weights of a mixture are averaged."""
LEAST_SHARE = 0.01
"""Of a model in a mixture: from a smaller one it would recover slowly."""
LEVELS = 4
"""Counts from here on are not told apart when discounts are estimated."""


def ngram_score(
    training: EncodedText,
    text: EncodedText,
    vocabulary_size: int,
    *,
    adaptive: bool = False,
    order: int = ORDER,
    progress: FractionProgress = no_progress,
) -> Score:
    """Return the cross-entropy of a text under the n-gram of a training text.

    adaptive: count each character of the text too, after it is scored. The same characters are scored as by `score`.
    """
    (levels,) = ngram_levels(training, text, vocabulary_size, (adaptive,), order=order, progress=progress)
    return Score(-np.log(levels[-1]))


def ngram_levels(
    training: EncodedText,
    text: EncodedText,
    vocabulary_size: int,
    adaptive: Sequence[bool],
    *,
    order: int = ORDER,
    progress: FractionProgress = no_progress,
) -> list[np.ndarray]:
    """Return the probability of each scored character given contexts of at most 0, 1, … characters, (order + 1, N).

    adaptive: the modes of `ngram_score`, an array for each.
    """
    training = training[max(0, len(training) - TRAINING_CHARACTERS) :]
    before, after = _with_marks(training, vocabulary_size), _with_marks(text, vocabulary_size)
    ids, start = np.concatenate([before, after]), len(before)
    counted = [(ids < vocabulary_size) & ((np.arange(len(ids)) < start) | learns) for learns in adaptive]
    grams = [_Groups.of_text(len(ids))]
    for length in range(1, order + 2):
        grams.append(grams[-1].extended(ids, vocabulary_size + 1))
        progress(0.7 * length / (order + 1))
    statistics: list[list[_Statistics]] = [[] for _ in adaptive]
    for length in range(order, -1, -1):  # a shorter context counts what is new after the longer ones
        strings = grams.pop()
        contexts = grams[-1].shifted()
        for mode, levels in enumerate(statistics):
            pairs = strings.counts_before(counted[mode])
            levels.append(_Statistics.of(contexts, pairs, counted[mode], start))
            counted[mode] = counted[mode] & (pairs == 0)
        progress(1 - 0.3 * length / (order + 1))
    scored = (after < vocabulary_size).nonzero()[0][0 if text.has_documents else 1 :]
    return [_interpolated(levels, vocabulary_size)[:, scored] for levels in statistics]


def mixed_score(one: Score, other: Score) -> Score:
    """Return the cross-entropy of a text under a mixture of two models.

    The weight of a model is the mean posterior probability that it predicted the last `REMEMBERED` characters, which
    are weighted exponentially.
    """
    share, nats = 0.5, np.empty(len(one))
    probabilities = zip(
        np.exp(-one.nats.astype(float)).tolist(), np.exp(-other.nats.astype(float)).tolist(), strict=True
    )
    for place, (first, second) in enumerate(probabilities):
        mixed = max(share * first + (1 - share) * second, sys.float_info.min)
        nats[place] = -math.log(mixed)
        share += (share * first / mixed - share) / REMEMBERED
        share = min(max(share, LEAST_SHARE), 1 - LEAST_SHARE)
    return Score(nats)


def _with_marks(text: EncodedText, mark: int) -> np.ndarray:
    """Return the ids with a mark before the text, or before each document: a character that is not predicted."""
    starts = text.starts if text.has_documents else np.zeros(1, np.int64)
    return np.insert(text.ids.astype(np.int32), starts, mark)


@dataclass(frozen=True, eq=False)
class _Groups:
    """Positions grouped by the string that ends there, in the order of the text within a group.

    order: (N,) positions, group after group. first: (N,) booleans, where in `order` a group begins; that of the empty
    string has no beginning, so that its number is 0, like that of what precedes the text.
    """

    order: np.ndarray
    first: np.ndarray

    @classmethod
    def of_text(cls, length: int) -> _Groups:
        """Return the one group of all empty strings."""
        return cls(np.arange(length, dtype=np.int32), np.zeros(length, bool))

    def extended(self, ids: np.ndarray, base: int) -> _Groups:
        """Return the groups of the strings that are one character longer."""
        number = np.empty(len(ids), np.int64)
        number[self.order] = np.cumsum(self.first)
        key = ids.astype(np.int64)
        key[1:] += base * number[:-1]
        order = np.argsort(key, kind="stable").astype(np.int32)
        key = key[order]
        return _Groups(order, np.diff(key, prepend=-1) != 0)

    def shifted(self) -> _Groups:
        """Return the groups by the string that ends before each position; the first position is alone."""
        kept = self.order + 1 < len(self.order)
        group = np.cumsum(self.first)[kept]
        order = np.concatenate([np.zeros(1, np.int32), self.order[kept] + 1])
        return _Groups(order, np.concatenate([np.ones(1, bool), np.diff(group, prepend=0) != 0]))

    def counts_before(self, events: np.ndarray) -> np.ndarray:
        """Return how many events (N,) each position's group has before it, (N,)."""
        happened = events[self.order]
        total = np.cumsum(happened, dtype=np.int32)
        total -= happened
        begin = np.maximum.accumulate(np.where(self.first, np.arange(len(total), dtype=np.int32), 0))
        counts = np.empty_like(total)
        counts[self.order] = total - total[begin]
        return counts


@dataclass(frozen=True, eq=False)
class _Statistics:
    """What was counted before each scored position for contexts of one length, (N,) each.

    total: characters after the context. count: of them, the one to be predicted. distinct: (3, N), how many different
    characters were counted at least once, twice, three times. discounts: of counts 0, 1, 2, 3 and more.
    """

    total: np.ndarray
    count: np.ndarray
    distinct: np.ndarray
    discounts: np.ndarray

    @classmethod
    def of(cls, contexts: _Groups, pairs: np.ndarray, counted: np.ndarray, start: int) -> _Statistics:
        """Return the statistics of the positions from `start` on.

        pairs: how often the context and the character to be predicted were counted before, (N,). counted: the positions
        whose character is counted, (N,).
        """
        distinct = [contexts.counts_before(counted & (pairs == times))[start:] for times in range(LEVELS - 1)]
        at_least = [int((counted[:start] & (pairs[:start] == times)).sum()) for times in range(LEVELS + 1)]
        total = contexts.counts_before(counted)[start:]
        return cls(total, pairs[start:], np.stack(distinct), _discounts(-np.diff(at_least)))

    def interpolated(self, lower: np.ndarray) -> np.ndarray:
        """Return the probability of each position's character, given that for contexts one character shorter."""
        discounted = self.count - self.discounts[np.minimum(self.count, LEVELS - 1)]
        freed = np.diff(self.discounts) @ self.distinct
        return np.where(self.total > 0, (discounted + freed * lower) / np.maximum(self.total, 1), lower)


def _interpolated(levels: Sequence[_Statistics], vocabulary_size: int) -> np.ndarray:
    """Return the probability of each position's character by context length. levels: from the longest context down."""
    probability = np.full(len(levels[0].total), 1 / vocabulary_size)
    rows = []
    for level in reversed(levels):
        probability = level.interpolated(probability)
        rows.append(probability)
    return np.stack(rows)


def _discounts(counts: np.ndarray) -> np.ndarray:
    """Return the discounts of counts 0…3 from how many pairs have count 1…4 (Chen & Goodman 1999, equation 17)."""
    singles, doubles = max(1, counts[0]), max(1, counts[1])
    share = singles / (singles + 2 * doubles)
    following = np.maximum(1, counts[1:4]) / np.maximum(1, counts[:3])
    times = np.arange(1, 4)
    return np.concatenate([np.zeros(1), np.clip(times - (times + 1) * share * following, 0.05, times - 0.05)])
