"""Filters that see the history: the characters of the prime, and those generated so far in each stream.

Their state is in NumPy arrays, whose operations on a few numbers take a third of the time of PyTorch's.

Shapes: N streams, P characters of the prime, V vocabulary, W characters of a window.
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np
import torch
from torch import Tensor

from charrnn.errors import CharrnnError, UsageError
from charrnn.sampling.registry import EXCLUDED, SampleContext
from charrnn.text.vocabulary import Vocabulary

LARGEST_PENALTY = 1e6
"""Of a repeated sequence. Finite, so that a character remains where every one is penalized."""
SHORTEST_PAUSE = 5
"""Characters from which on it is faster to find the lengths of repetitions again than to keep them up to date."""


class Bias:
    """Adds a number to each character's logit; −∞ where it is banned."""

    def __init__(self, context: SampleContext):
        vocabulary = context.vocabulary
        added = torch.zeros(len(vocabulary))
        for one in context.settings.bias:
            character, _, number = one.rpartition("=")
            added[single_id(character, vocabulary, "`bias`")] = float(number)
        for character in context.settings.ban:
            if len(vocabulary.encode(character, skip_unknown=True)):  # others are never generated
                added[single_id(character, vocabulary, "`ban`")] = EXCLUDED
        if not added.isfinite().any():
            raise UsageError("`ban` excludes every character of the model")
        self._added = added.to(context.device)

    def apply(self, logits: Tensor) -> Tensor:
        return logits + self._added

    def update(self, ids: np.ndarray) -> None:
        """Do nothing: the biases stay the same."""

    def select(self, rows: np.ndarray) -> None:
        """Do nothing: the biases are the same for every stream."""


class Penalties:
    """Penalizes the characters of a window.

    The factors of a character change only when it enters or leaves the window, and its frequency penalty with each
    occurrence. `apply` returns the same tensor each time, with new values.
    """

    def __init__(self, context: SampleContext):
        settings, (streams, _) = context.settings, context.prime.shape
        self._repeat, self._presence = settings.repeat_penalty, settings.presence_penalty
        self._frequency, self._window = settings.frequency_penalty, settings.repeat_last_n
        shape = streams, len(context.vocabulary)
        self._counts = [0] * (shape[0] * shape[1])
        self._multiplied, self._divided = np.ones(shape, np.float32), np.ones(shape, np.float32)
        self._subtracted = np.zeros(shape, np.float32)
        self._flat = tuple(one.reshape(-1) for one in (self._multiplied, self._divided, self._subtracted))
        self._stronger = np.minimum if self._repeat > 1 else np.maximum
        self._offsets = np.arange(streams) * shape[1]
        self._result, self._other = torch.zeros(shape), np.zeros(shape, np.float32)
        self._values = self._result.numpy()  # shares the memory
        self._recent: deque[list[int]] = deque()
        start = 0 if self._window < 0 else max(0, context.prime.shape[1] - self._window)
        for ids in context.prime[:, start:].T:
            self.update(ids)

    def apply(self, logits: Tensor) -> Tensor:
        if self._result.dtype != logits.dtype:
            self._result = torch.zeros(logits.shape, dtype=logits.dtype)
            self._values, self._other = self._result.numpy(), self._result.clone().numpy()
        given, values = logits.cpu().numpy(), self._values
        if self._repeat != 1:
            np.multiply(given, self._multiplied, out=values)
            np.multiply(given, self._divided, out=self._other)
            given = self._stronger(values, self._other, out=values)
        if self._presence or self._frequency:
            np.subtract(given, self._subtracted, out=values)
        return self._result if logits.is_cpu else self._result.to(logits.device)

    def update(self, ids: np.ndarray) -> None:
        places = (ids + self._offsets).tolist()
        self._count(places, 1)
        if self._window >= 0:
            self._recent.append(places)
            if len(self._recent) > self._window:
                self._count(self._recent.popleft(), -1)

    def select(self, rows: np.ndarray) -> None:
        for one in (self._multiplied, self._divided, self._subtracted):
            one[:] = one[rows]
        self._counts = np.array(self._counts).reshape(self._subtracted.shape)[rows].reshape(-1).tolist()
        moved = self._offsets - self._offsets[rows]
        self._recent = deque((np.array(places)[rows] + moved).tolist() for places in self._recent)

    def _count(self, places: list[int], change: int) -> None:
        multiplied, divided, subtracted = self._flat
        for place in places:
            number = self._counts[place] = self._counts[place] + change
            if number == max(change, 0):  # it enters or leaves the window
                present = number > 0
                multiplied[place] = self._repeat if present else 1
                divided[place] = 1 / self._repeat if present else 1
                subtracted[place] = self._presence * present + self._frequency * number
            elif self._frequency:
                subtracted[place] = self._presence + self._frequency * number


class Dry:
    """Penalizes characters that continue a repetition of at least the allowed length.

    The length of a lag of 1 … W is how many of the latest characters equal those that many places before. A character
    continues the repetition of a lag if it is the one that followed there. A length grows by one at most. So after the
    lengths have been found, they are not needed until the longest may have reached the allowed length.
    """

    def __init__(self, context: SampleContext):
        settings, (streams, length) = context.settings, context.prime.shape
        self._multiplier, self._base = settings.dry_multiplier, settings.dry_base
        self._allowed, self._window = settings.dry_allowed_length, settings.dry_penalty_last_n
        self._size = len(context.vocabulary)
        self._ends_sequence = np.zeros(self._size + 1, bool)
        self._ends_sequence[self._size] = True  # the id of places before the text
        for character in settings.dry_sequence_breaker:
            self._ends_sequence[single_id(character, context.vocabulary, "`dry_sequence_breaker`")] = True
        # Lag W … 1 from left to right, as in the text. The text moves to the left only when its array is full.
        self._lengths = np.zeros((streams, self._window), np.int32)
        self._longest = 0
        self._kept = self._window + self._allowed + 1
        self._text = np.full((streams, 2 * self._kept), self._size, np.int32)
        self._end = self._kept
        self._unneeded = self._allowed
        for ids in context.prime[:, max(0, length - 2 * self._window) :].T:
            self.update(ids)

    def apply(self, logits: Tensor) -> Tensor:
        if self._unneeded or self._longest < self._allowed:
            return logits
        rows, lags = np.nonzero(self._lengths >= self._allowed)
        longest = np.zeros((len(self._lengths), self._size), np.int32)
        followers = self._text[rows, self._end - self._window + lags]
        np.maximum.at(longest, (rows, followers), self._lengths[rows, lags])
        # The limit of the exponent keeps the power finite.
        excess = np.minimum(longest - self._allowed, math.log(LARGEST_PENALTY) / max(math.log(self._base), 1e-9))
        penalty = np.where(longest >= self._allowed, self._multiplier * self._base**excess, 0)
        return logits - torch.from_numpy(penalty).to(logits)

    def update(self, ids: np.ndarray) -> None:
        if self._end == self._text.shape[1]:
            self._text[:, : self._kept] = self._text[:, -self._kept :].copy()
            self._end = self._kept
        self._text[:, self._end] = ids
        self._end += 1
        if self._unneeded > 1:
            self._unneeded -= 1
            return
        if self._unneeded:
            self._find_lengths()
        else:
            self._lengths += 1
            differs = self._text[:, self._end - 1 - self._window : self._end - 1] != ids[:, None]
            np.copyto(self._lengths, 0, where=differs)
            self._lengths[self._ends_sequence[ids]] = 0
        self._longest = int(self._lengths.max())
        left = self._allowed - self._longest
        self._unneeded = left if left >= SHORTEST_PAUSE else 0

    def select(self, rows: np.ndarray) -> None:
        self._lengths, self._text = self._lengths[rows], self._text[rows]
        self._longest = int(self._lengths.max())

    def _find_lengths(self) -> None:
        """Find the lengths in the text. None is above the allowed length."""
        self._lengths.fill(0)
        end, first = self._end - 1, self._end - 1 - self._window
        rows, lags = np.nonzero(self._text[:, first:end] == self._text[:, end, None])
        for length in range(1, self._allowed + 1):
            goes_on = ~self._ends_sequence[self._text[rows, end]]
            goes_on &= self._text[rows, first + lags] == self._text[rows, end]
            rows, lags = rows[goes_on], lags[goes_on]
            if not len(rows):
                return
            self._lengths[rows, lags] = length
            end, first = end - 1, first - 1


class Mirostat:
    """Mirostat 2: excludes characters above a surprise that rises while the text is too predictable.

    The surprise of a character is that before the exclusion, in bits, so that its average is the model's own score of
    the text; llama.cpp takes the one after.
    """

    def __init__(self, context: SampleContext):
        self._target, self._rate = context.settings.mirostat_ent, context.settings.mirostat_lr
        self._rows = np.arange(len(context.prime))
        self._limit = np.full((len(context.prime), 1), 2 * self._target, np.float32)

    def apply(self, logits: Tensor) -> Tensor:
        surprise = logits.log_softmax(dim=-1) / -math.log(2)
        self._surprise = surprise.cpu().numpy()
        limit = np.maximum(self._limit, self._surprise.min(axis=1, keepdims=True))
        return logits.masked_fill(surprise > torch.from_numpy(limit).to(logits.device), EXCLUDED)

    def update(self, ids: np.ndarray) -> None:
        self._limit[:, 0] -= self._rate * (self._surprise[self._rows, ids] - self._target)

    def select(self, rows: np.ndarray) -> None:
        self._limit = self._limit[rows]


def single_id(character: str, vocabulary: Vocabulary, parameter: str) -> int:
    """Return the id of a character. Raises CharrnnError where the vocabulary has none, or several bytes for it."""
    ids = vocabulary.encode(character, source=parameter, hint="the model cannot generate it")
    if len(ids) != 1:
        raise CharrnnError(f"{parameter}: {character!r} is {len(ids)} bytes for this model", "choose ASCII characters")
    return int(ids[0])
