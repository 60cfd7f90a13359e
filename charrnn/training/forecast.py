"""Forecast the validation loss of a training before it starts.

An n-gram model is counted on a part of the training text and scored on a part of the validation text; a quarter of the
counts shows how much more text helps. A network with the settings of `presets` reaches a fraction of the n-gram loss,
which falls with the characters it has read. tests/benchmarks/PRESETS.md compares forecasts with results.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from charrnn.text.contexts import Contexts
from charrnn.text.encoded_text import EncodedText

COUNTED = 400_000  # characters of the training text
SCORED = 40_000  # characters of the validation text
PIECES = 20
MIN_TRAINING_TEXT = 10_000  # shorter texts get no forecast
MIN_VALIDATION_TEXT = 1_000
MIN_READ = 100_000  # characters that training reads; after fewer, the loss is not foreseeable
MIN_NATS = 0.05
MAX_OF_UNIFORM = 0.8  # of the loss of guessing, ln of the vocabulary size
ORDER = 6  # of the n-grams
# The fraction is LIMIT + EXCESS · √(REFERENCE / characters read).
LIMIT, EXCESS, REFERENCE = 0.73, 0.26, 1e6
LATER_GAIN = 0.7  # of the gain from twice as much text that is counted: it falls as the text grows
ERROR = 0.05  # of the forecast; tests/benchmarks/PRESETS.md has the results
ERROR_OF_PART = 0.2  # upwards, for the first part of the held-out text, which may be harder than the rest


@dataclass(frozen=True)
class LossForecast:
    """An n-gram model's loss, and how it depends on the length of the training text.

    nats: with `counted` characters. gain_per_doubling: nats less with twice as many. characters: in the training text.
    """

    nats: float
    gain_per_doubling: float
    counted: int
    characters: int

    @classmethod
    def fit(cls, train_text: EncodedText, validation_text: EncodedText) -> LossForecast | None:
        """Count and score n-grams, in less than a second. Return None where a text is too short."""
        train_ids, validation_ids = train_text.ids, validation_text.ids
        if len(train_ids) < MIN_TRAINING_TEXT or len(validation_ids) < MIN_VALIDATION_TEXT:
            return None
        scored = _subsample(validation_ids, SCORED)
        counted = min(len(train_ids), COUNTED)
        nats, nats_of_quarter = (
            min(Contexts(_subsample(train_ids, size), scored, ORDER).nats()) for size in (counted, counted // 4)
        )
        return cls(nats, max(0.0, nats_of_quarter - nats) / 2, counted, len(train_ids))

    def plausible_nats_after(self, read: float, vocabulary_size: int) -> float | None:
        """Return `nats_after`, or None where little is read, or the loss would be that of guessing."""
        nats = self.nats_after(read) if read >= MIN_READ else math.inf
        return nats if MIN_NATS <= nats <= MAX_OF_UNIFORM * math.log(max(2, vocabulary_size)) else None

    def nats_after(self, read: float) -> float:
        """Return the validation loss to expect after reading this many characters."""
        doublings = math.log2(min(self.characters, read) / self.counted)
        gain = self.gain_per_doubling * (LATER_GAIN if doublings > 0 else 1)
        ngram_nats = max(0.0, self.nats - gain * doublings)
        return ngram_nats * (LIMIT + EXCESS * math.sqrt(REFERENCE / read))


def range_of(nats: float, *, of_part: bool) -> tuple[float, float]:
    """Return the range to expect around a forecast. of_part: training validates on a part of the held-out text."""
    return (1 - ERROR) * nats, (1 + (ERROR_OF_PART if of_part else ERROR)) * nats


def _subsample(ids: np.ndarray, characters: int) -> np.ndarray:
    """Return about this many characters, in PIECES evenly spaced pieces."""
    size = max(1, min(len(ids), characters) // PIECES)
    starts = np.linspace(0, len(ids) - size, PIECES).astype(np.int64)
    return np.concatenate([ids[start : start + size] for start in starts])
