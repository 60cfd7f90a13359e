"""What loss a training will come to, told before it begins.

How hard a text is shows in what a character costs after the few before it, counted in the training text; how much that
falls with more text is seen from a quarter of it. Networks that were chosen by `presets` cost a share of that which
falls with the characters they have read (the figures are in tests/benchmarks/README.md).
"""

from __future__ import annotations

import math

import numpy as np

from charrnn.text.contexts import Contexts
from charrnn.text.documents import Documents

COUNTED = 400_000  # characters of the training text
SCORED = 40_000  # of the validation text
PIECES = 20
FEWEST = 10_000
LONGEST_CONTEXT = 6
SHARE_AT_LAST, SHARE_ABOVE, READ = 0.85, 0.065, 1e6


def hardness_of(train_text: np.ndarray | Documents, validation_text: np.ndarray | Documents) -> float | None:
    """What a character of the validation text costs after the few before it, in nats; None where the text is too short
    to tell.

    Some hundred thousand characters of both texts are looked at, which takes less than a second; how much the rest of
    the training text would help is extrapolated from how much these help more than a quarter of them.
    """
    train_ids, validation_ids = (
        text.ids if isinstance(text, Documents) else text for text in (train_text, validation_text)
    )
    if len(train_ids) < FEWEST or len(validation_ids) < FEWEST // 10:
        return None
    scored = _pieces(validation_ids, SCORED)
    counted = min(len(train_ids), COUNTED)
    all_counted, a_quarter = (
        min(Contexts(_pieces(train_ids, part), scored, LONGEST_CONTEXT).nats()) for part in (counted, counted // 4)
    )
    gain_by_doubling = max(0.0, a_quarter - all_counted) / 2
    return max(0.0, all_counted - gain_by_doubling * math.log2(len(train_ids) / counted))


def nats_to_expect(hardness: float, characters: float) -> float:
    """Validation loss in nats of a network that `presets` chose, after it has read so many characters."""
    return hardness * (SHARE_AT_LAST + SHARE_ABOVE * math.sqrt(READ / characters))


def _pieces(ids: np.ndarray, characters: int) -> np.ndarray:
    """About so many characters, from all over the text."""
    size = max(1, min(len(ids), characters) // PIECES)
    starts = np.linspace(0, len(ids) - size, PIECES).astype(np.int64)
    return np.concatenate([ids[start : start + size] for start in starts])
