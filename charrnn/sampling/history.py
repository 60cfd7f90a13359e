"""Filters that see the history: the characters of the prime, and those generated so far in each stream.

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

PRIME_CHUNK = 1024  # characters of a prime read at once
LARGEST_PENALTY = 1e6
"""Of a repeated sequence. Finite, so that a character remains where every one is penalized."""


class Bias:
    """Adds a number to each character's logit; −∞ where it is banned."""

    def __init__(self, context: SampleContext):
        vocabulary = context.vocabulary
        added = torch.zeros(len(vocabulary))
        for one in context.settings.bias:
            character, _, number = one.rpartition("=")
            added[single_id(character, vocabulary, "--bias")] = float(number)
        for character in context.settings.ban:
            if len(vocabulary.encode(character, skip_unknown=True)):  # others are never generated
                added[single_id(character, vocabulary, "--ban")] = EXCLUDED
        if not added.isfinite().any():
            raise UsageError("--ban excludes every character of the model")
        self._added = added.to(context.device)

    def apply(self, logits: Tensor) -> Tensor:
        return logits + self._added

    def update(self, ids: Tensor) -> None:
        """Do nothing: the biases stay the same."""


class Penalties:
    """Penalizes the characters of a window, with counts that are kept up to date incrementally."""

    def __init__(self, context: SampleContext):
        settings, streams = context.settings, len(context.prime)
        self._repeat, self._presence = settings.repeat_penalty, settings.presence_penalty
        self._frequency, self._window = settings.frequency_penalty, settings.repeat_last_n
        self._counts = torch.zeros(streams, len(context.vocabulary), device=context.device)
        self._one = torch.ones(streams, 1, device=context.device)
        self._recent: deque[Tensor] = deque()
        prime = context.prime if self._window < 0 else context.prime[:, max(0, context.prime.shape[1] - self._window) :]
        for start in range(0, prime.shape[1], PRIME_CHUNK):
            part = torch.from_numpy(prime[:, start : start + PRIME_CHUNK].astype(np.int64)).to(context.device)
            self._counts.scatter_add_(1, part, self._one.expand(-1, part.shape[1]))
            if self._window >= 0:
                self._recent.extend(part.split(1, dim=1))

    def apply(self, logits: Tensor) -> Tensor:
        if self._repeat != 1:
            present = self._counts > 0
            scaled = torch.where(logits > 0, logits / self._repeat, logits * self._repeat)
            logits = torch.where(present, scaled, logits)
        if self._presence:
            logits = logits - self._presence * (self._counts > 0)
        return logits.sub(self._counts, alpha=self._frequency) if self._frequency else logits

    def update(self, ids: Tensor) -> None:
        column = ids.unsqueeze(1)
        self._counts.scatter_add_(1, column, self._one)
        if self._window >= 0:
            self._recent.append(column)
            if len(self._recent) > self._window:
                self._counts.scatter_add_(1, self._recent.popleft(), -self._one)


class Dry:
    """Penalizes characters that continue a repetition of at least the allowed length.

    For each lag of 1 … W the object keeps how many of the latest characters equal those that many places before. A
    character continues the repetition of a lag if it is the one that followed there.
    """

    def __init__(self, context: SampleContext):
        settings, device, streams = context.settings, context.device, len(context.prime)
        self._multiplier, self._base, self._allowed = (
            settings.dry_multiplier,
            settings.dry_base,
            settings.dry_allowed_length,
        )
        self._window = window = settings.dry_penalty_last_n
        size = len(context.vocabulary)
        self._is_breaker = torch.zeros(size, dtype=torch.bool, device=device)
        for character in settings.dry_sequence_breaker:
            self._is_breaker[single_id(character, context.vocabulary, "--dry-sequence-breaker")] = True
        # Lag W … 1 from left to right, as in the text. The text moves to the left only when its array is full.
        self._lengths = torch.zeros(streams, window, dtype=torch.int32, device=device)
        self._text = torch.full((streams, 2 * window + 1), size, dtype=torch.int64, device=device)
        self._end = window
        self._longest = torch.zeros(streams, size + 1, dtype=torch.int32, device=device)
        latest = context.prime[:, max(0, context.prime.shape[1] - 2 * window) :]
        for ids in torch.from_numpy(latest.astype(np.int64)).to(device).unbind(1):
            self.update(ids)

    def apply(self, logits: Tensor) -> Tensor:
        if int(self._lengths.max()) < self._allowed:
            return logits
        followers = self._text[:, self._end - self._window : self._end]
        longest = self._longest.zero_().scatter_reduce_(1, followers, self._lengths, "amax")[:, :-1]
        # A limit of the exponent keeps the power finite.
        excess = (longest - self._allowed).clamp(max=math.log(LARGEST_PENALTY) / math.log(max(self._base, 1 + 1e-9)))
        penalty = (self._multiplier * torch.pow(self._base, excess)).clamp(max=LARGEST_PENALTY)
        return torch.where(longest >= self._allowed, logits - penalty, logits)

    def update(self, ids: Tensor) -> None:
        if self._end == self._text.shape[1]:
            self._text[:, : self._window] = self._text[:, -self._window :].clone()
            self._end = self._window
        column = ids.unsqueeze(1)
        before = self._text[:, self._end - self._window : self._end]
        self._lengths.add_(1).mul_(before == column).mul_(~self._is_breaker[column])
        self._text[:, self._end] = ids
        self._end += 1


class Mirostat:
    """Mirostat 2: excludes characters above a surprise that rises while the text is too predictable.

    The surprise of a character is that before the exclusion, in bits, so that its average is the model's own score of
    the text; llama.cpp takes the one after.
    """

    def __init__(self, context: SampleContext):
        self._target, self._rate = context.settings.mirostat_ent, context.settings.mirostat_lr
        self._limit = torch.full((len(context.prime), 1), 2 * self._target, device=context.device)

    def apply(self, logits: Tensor) -> Tensor:
        self._surprise = logits.log_softmax(dim=-1) / -math.log(2)
        limit = torch.maximum(self._limit, self._surprise.amin(dim=-1, keepdim=True))
        return logits.masked_fill(self._surprise > limit, EXCLUDED)

    def update(self, ids: Tensor) -> None:
        error = self._surprise.gather(1, ids.unsqueeze(1)) - self._target
        self._limit = self._limit - self._rate * error


def single_id(character: str, vocabulary: Vocabulary, flag: str) -> int:
    """Return the id of a character. Raises CharrnnError where the vocabulary has none, or several bytes for it."""
    ids = vocabulary.encode(character, source=flag, hint="the model cannot generate it")
    if len(ids) != 1:
        raise CharrnnError(f"{flag}: {character!r} is {len(ids)} bytes for this model", "choose ASCII characters")
    return int(ids[0])
