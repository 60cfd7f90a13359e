"""Compare texts with the training text: report what they copy from it, or keep a sample from copying.

Shapes: N streams, T characters of a text, V vocabulary.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from charrnn.errors import CharrnnError
from charrnn.progress import StageProgress, no_progress
from charrnn.sampling.registry import EXCLUDED
from charrnn.text.corpus import Corpus
from charrnn.text.suffix_array import SubstringIndex
from charrnn.text.suffix_cache import kept_suffix_array
from charrnn.units import amount

NGRAM_LENGTHS = (10, 20, 40)
SEARCHED_AT_ONCE = 1 << 16
STAGE = "novelty"


@dataclass(frozen=True)
class Copy:
    """The longest run of characters that a text shares with the training text.

    start: in the text. quotation: the run itself. file, line: where it occurs first, line from 1.
    """

    start: int
    characters: int
    quotation: str
    file: str
    line: int


@dataclass(frozen=True)
class Novelty:
    """What of a text is new. longest_copy: None where no character of it occurs in the training text.

    new_ngrams: n → share of the text's n-grams that do not occur there; None for a text of fewer than n characters.
    """

    characters: int
    longest_copy: Copy | None
    new_ngrams: dict[int, float | None]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class TrainingIndex:
    """The training text of a run with its suffix array, which is kept beside it.

    corpus: of the run, without its held-out text. progress: as for `kept_suffix_array`, which also says what is raised.
    """

    def __init__(self, corpus: Corpus, progress: StageProgress = no_progress):
        self._corpus = corpus
        self._order = kept_suffix_array(corpus, progress)

    def substrings(self, longest: int) -> SubstringIndex:
        """Return an index of the substrings of up to `longest` characters."""
        return SubstringIndex(self._corpus.ids, self._order, longest)

    def novelty(self, ids: np.ndarray, progress: StageProgress = no_progress) -> Novelty:
        """Compare a text (T,) with the training text. progress: called with a stage and the share that is done."""
        meter = NoveltyMeter(self)
        for start in range(0, len(ids), SEARCHED_AT_ONCE):
            progress(STAGE, start / len(ids))
            meter.feed(ids[start : start + SEARCHED_AT_ONCE].tolist())
        return meter.result()

    def copy(self, ids: np.ndarray, start: int) -> Copy:
        """Return a run (T,) of the training text that begins at `start` of another text, with its first place."""
        index = self.substrings(len(ids))
        place = int(index.occurrences(index.keys(ids[None])).min())
        vocabulary, ends = self._corpus.vocabulary, np.cumsum(self._corpus.lengths)
        number = int(np.searchsorted(ends, place, side="right"))
        before = self._corpus.ids[int(ends[number]) - self._corpus.lengths[number] : place]
        newline = vocabulary.encode("\n", skip_unknown=True)
        line = 1 + int(np.isin(before, newline).sum())
        return Copy(start, len(ids), vocabulary.text(ids), self._corpus.files[number], line)


class NoveltyMeter:
    """Compares a text that comes in pieces with the training text, in memory that does not grow with the text."""

    def __init__(self, training: TrainingIndex):
        self._training, self._capacity = training, 2 * SEARCHED_AT_ONCE
        self._index = training.substrings(self._capacity)
        self._read, self._begin = array("i"), 0  # the latest part of the text, and where it begins
        self._next = dict.fromkeys(NGRAM_LENGTHS, 0)  # where the first n-gram begins that is not counted yet
        self._occurring = dict.fromkeys(NGRAM_LENGTHS, 0)
        self._next_copy = 0  # where the first run begins that may be longer than the longest so far
        self._longest, self._start = np.empty(0, np.int32), 0
        self._unread = 0

    def feed(self, ids: Sequence[int]) -> None:
        """Take in ids."""
        self._read.extend(ids)
        self._unread += len(ids)
        if self._unread >= SEARCHED_AT_ONCE:
            self._compare()

    def result(self) -> Novelty:
        """Return what is new in the text so far."""
        self._compare()
        copied = self._training.copy(self._longest, self._start) if len(self._longest) else None
        new = {n: 1 - self._occurring[n] / number if number else None for n, number in self._next.items()}
        return Novelty(self._begin + len(self._read), copied, new)

    def _compare(self) -> None:
        text, self._unread = np.array(self._read, np.int32), 0
        if len(text) > self._capacity:
            self._capacity = 2 * len(text)
            self._index = self._training.substrings(self._capacity)
        for n in NGRAM_LENGTHS:
            occurs = _occurs(self._index, text[self._next[n] - self._begin :], n)
            self._next[n] += len(occurs)
            self._occurring[n] += int(occurs.sum())
        self._find_longer(text[self._next_copy - self._begin :])
        kept = min(self._next_copy, *self._next.values())
        del self._read[: kept - self._begin]
        self._begin = kept

    def _find_longer(self, text: np.ndarray) -> None:
        """Find runs longer than the longest so far in the rest of the text."""
        searched = 0
        while searched < len(text):
            longest = len(self._longest)
            for start in self._possible_starts(text[searched:], longest + 1) + searched:
                longer = _longest_copy(self._index, text[start:], longest)
                if longer > longest:
                    self._longest, self._start = text[start : start + longer], self._next_copy + int(start)
                    searched = start + 1
                    break
            else:
                break
        self._next_copy += max(0, len(text) - len(self._longest))

    def _possible_starts(self, text: np.ndarray, length: int) -> np.ndarray:
        """Return where a run of this length may begin: its n-grams occur, with n at most 40."""
        n = min(length, NGRAM_LENGTHS[-1])
        occurring = np.append(0, np.cumsum(_occurs(self._index, text, n)))
        ngrams = length - n + 1
        return np.flatnonzero(occurring[ngrams:] - occurring[:-ngrams] == ngrams)


def _occurs(index: SubstringIndex, text: np.ndarray, n: int) -> np.ndarray:
    """Return which of the n-grams of a text (T,) occur in the training text, (T - n + 1,)."""
    if len(text) < n:
        return np.zeros(0, bool)
    ngrams, found = sliding_window_view(text, n), []
    for start in range(0, len(ngrams), SEARCHED_AT_ONCE):
        keys = index.keys(ngrams[start : start + SEARCHED_AT_ONCE])
        distinct, inverse = np.unique(keys, return_inverse=True)  # sorted, they are found faster
        found.append((index.find(distinct) >= 0)[inverse])
    return np.concatenate(found)


def _longest_copy(index: SubstringIndex, ids: np.ndarray, length: int) -> int:
    """Return how many of the first characters occur in the training text; `length` if not more do."""
    step = 1
    while step:
        longer = length + step
        if longer <= len(ids) and index.find(index.keys(ids[None, :longer]))[0] >= 0:
            length, step = longer, 2 * step
        else:
            step //= 2
    return length


class CopyLimit:
    """Excludes the characters with which a stream would have copied more than `limit` characters verbatim.

    A character is excluded if and only if it and the last `limit` generated ones occur in the training text together.
    So a text never shares more than `limit` characters in a row with it, and where it shares fewer nothing changes.
    The prime does not count.
    """

    def __init__(self, index: SubstringIndex, limit: int, streams: int):
        self._index, self._limit = index, limit
        self._latest = np.zeros((streams, 2 * limit), index.ids.dtype)
        self._end = 0  # of what `_latest` holds
        self._generated = 0
        # A shorter run is searched for every few characters. It is a part of the last `limit` characters until the next
        # search: if it does not occur, neither do they. So most characters are generated without a search.
        self._interval = max(1, limit // 4)
        self._shorter = limit - self._interval + 1
        self._suspects: list[int] = []  # streams in which that run occurs
        self._excluded: list[tuple[int, int]] = []

    def update(self, drawn: np.ndarray) -> None:
        """Add a character to each stream. drawn: (N,), negative for a text that has ended.

        Raises CharrnnError where a character is excluded: no other was left, after the filters either.
        """
        if any(drawn[stream] == one for stream, one in self._excluded):
            raise CharrnnError(
                f"every character would copy more than {amount(self._limit, 'character')} of the training text",
                "allow more with `max_copy`, or use fewer filters",
            )
        if self._end == self._latest.shape[1]:
            self._end = self._limit
            self._latest[:, : self._end] = self._latest[:, self._end :]
        self._latest[:, self._end] = drawn
        self._end += 1
        self._generated += 1
        if self._generated % self._interval == 0 and self._generated >= self._shorter:
            occurs = self._index.find(self._keys(self._shorter)) >= 0
            self._suspects = np.flatnonzero(occurs).tolist()
        if self._suspects:
            self._suspects = [stream for stream in self._suspects if drawn[stream] >= 0]

    def apply(self, logits: Tensor) -> Tensor:
        """Return logits (N, V) without the excluded characters."""
        self._excluded = list(self._find_excluded())
        if not self._excluded:
            return logits
        streams, ids = torch.tensor(self._excluded, device=logits.device).T
        return logits.index_put((streams, ids), logits.new_tensor(EXCLUDED))

    def _find_excluded(self) -> Iterator[tuple[int, int]]:
        """Yield each stream that is at the limit with each of the ids that would exceed it."""
        if not self._suspects or self._generated < self._limit:
            return
        keys = self._keys(self._limit)
        for stream in self._suspects:
            key = keys[stream : stream + 1]
            if self._index.find(key)[0] >= 0:
                yield from ((stream, one) for one in self._index.followers(key).tolist())

    def _keys(self, length: int) -> np.ndarray:
        """Return the last characters of each stream, (N,), to search for."""
        return self._index.keys(self._latest[:, self._end - length : self._end])
