"""What loss a training will come to, told before it begins.

How hard a text is shows in what a character costs after the few before it, counted in the training text; how much that
falls with more text is seen from a quarter of it. Networks that were chosen by `presets` cost a share of that which
falls with the characters they have read (the figures are in tests/benchmarks/README.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from charrnn.text.contexts import Contexts
from charrnn.text.encoded_text import EncodedText

COUNTED = 400_000  # characters of the training text
SCORED = 40_000  # of the validation text
PIECES = 20
FEWEST = 10_000
LONGEST_CONTEXT = 6
SHARE_AT_LAST, SHARE_ABOVE, READ = 0.83, 0.13, 1e6


@dataclass(frozen=True)
class TextDifficulty:
    """What a character of the validation text costs after the few before it, in nats, learned from `counted` characters
    of the training text; how much less after twice as many; and how many there are."""

    nats: float
    gain_by_doubling: float
    counted: int
    characters: int

    @classmethod
    def of(cls, train_text: EncodedText, validation_text: EncodedText) -> TextDifficulty | None:
        """Looks at some hundred thousand characters of both, in less than a second. None where they are too few."""
        train_ids, validation_ids = train_text.ids, validation_text.ids
        if len(train_ids) < FEWEST or len(validation_ids) < FEWEST // 10:
            return None
        scored = _pieces(validation_ids, SCORED)
        counted = min(len(train_ids), COUNTED)
        nats, from_a_quarter = (
            min(Contexts(_pieces(train_ids, part), scored, LONGEST_CONTEXT).nats()) for part in (counted, counted // 4)
        )
        return cls(nats, max(0.0, from_a_quarter - nats) / 2, counted, len(train_ids))

    def nats_to_expect(self, read: float) -> float:
        """Validation loss in nats of a network that `presets` chose, after it has read so many characters."""
        doublings = math.log2(min(self.characters, read) / self.counted)
        learned = max(0.0, self.nats - self.gain_by_doubling * doublings)
        return learned * (SHARE_AT_LAST + SHARE_ABOVE * math.sqrt(READ / read))


def _pieces(ids: np.ndarray, characters: int) -> np.ndarray:
    """About so many characters, from all over the text."""
    size = max(1, min(len(ids), characters) // PIECES)
    starts = np.linspace(0, len(ids) - size, PIECES).astype(np.int64)
    return np.concatenate([ids[start : start + size] for start in starts])
