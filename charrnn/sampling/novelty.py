"""Compare texts with the training text: report what they copy from it, or keep a sample from copying.

Shapes: N streams, T characters of a text, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from charrnn.errors import CharrnnError
from charrnn.sampling.registry import EXCLUDED
from charrnn.text.corpus import Corpus
from charrnn.text.suffix_array import StageProgress, SubstringIndex
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

    def to_json(self) -> dict[str, Any]:
        return vars(self)


@dataclass(frozen=True)
class Novelty:
    """What of a text is new. longest_copy: None where no character of it occurs in the training text.

    new_ngrams: n → share of the text's n-grams that do not occur there; None for a text of fewer than n characters.
    """

    characters: int
    longest_copy: Copy | None
    new_ngrams: dict[int, float | None]

    def to_json(self) -> dict[str, Any]:
        copied = None if self.longest_copy is None else self.longest_copy.to_json()
        return {"characters": self.characters, "longest_copy": copied, "new_ngrams": self.new_ngrams}


class TrainingIndex:
    """The training text of a run with its suffix array, which is kept beside it.

    corpus: of the run, without its held-out text. progress: as for `kept_suffix_array`, which also says what is raised.
    """

    def __init__(self, corpus: Corpus, progress: StageProgress | None = None):
        self._corpus = corpus
        self._order = kept_suffix_array(corpus, progress)

    def substrings(self, longest: int) -> SubstringIndex:
        """Return an index of the substrings of up to `longest` characters."""
        return SubstringIndex(self._corpus.ids, self._order, longest)

    def novelty(self, ids: np.ndarray, progress: StageProgress | None = None) -> Novelty:
        """Compare a text (T,) with the training text. progress: called with a stage and the share that is done."""
        index = self.substrings(max(*NGRAM_LENGTHS, len(ids)))
        starts, length = np.arange(len(ids)), 0
        new: dict[int, float | None] = dict.fromkeys(NGRAM_LENGTHS)
        for n in (1, *NGRAM_LENGTHS):
            if n > len(ids):
                break
            occurs = _occurs(index, sliding_window_view(ids, n))
            if n in new:
                new[n] = 1 - float(occurs.mean())
            if occurs.any():
                starts, length = np.flatnonzero(occurs), n
        if not length:
            return Novelty(len(ids), None, new)
        for done, start in enumerate(starts.tolist()):
            if progress is not None and done % SEARCHED_AT_ONCE == 0:
                progress(STAGE, done / len(starts))
            longer = _longest_copy(index, ids[start:], length)
            if longer > length or not done:
                first, length = start, longer
        return Novelty(len(ids), self._copy(index, ids, first, length), new)

    def _copy(self, index: SubstringIndex, ids: np.ndarray, start: int, length: int) -> Copy:
        quoted = ids[start : start + length]
        place = int(index.occurrences(index.keys(quoted[None])).min())
        vocabulary, ends = self._corpus.vocabulary, np.cumsum(self._corpus.lengths)
        number = int(np.searchsorted(ends, place, side="right"))
        before = self._corpus.ids[int(ends[number]) - self._corpus.lengths[number] : place]
        newline = vocabulary.encode("\n", skip_unknown=True)
        line = 1 + int(np.isin(before, newline).sum())
        return Copy(start, length, vocabulary.text(quoted), self._corpus.files[number], line)


def _occurs(index: SubstringIndex, ngrams: np.ndarray) -> np.ndarray:
    """Return which n-grams (M, n) occur in the training text, (M,)."""
    found = []
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
                "allow more with --max-copy, or use fewer filters",
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
