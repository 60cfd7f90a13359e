"""Where the bits of a text go: by class of character, by kind of error, and in which passages."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from charrnn.progress import StageProgress, no_progress
from charrnn.properties.catalog import Text
from charrnn.scoring.baselines import given_part
from charrnn.scoring.divisions import Share, bits_of_characters, divisions_of
from charrnn.scoring.error_kinds import WORD, TrainingStatistics, by_error, by_oracle
from charrnn.scoring.ngram import ngram_levels
from charrnn.scoring.score import Score
from charrnn.text.encoded_text import EncodedText
from charrnn.text.vocabulary import Vocabulary

PASSAGE = 60
"""Characters of a passage."""


@dataclass(frozen=True)
class Passage:
    """A piece of a text. start: its first character. line: of that one, from 1. value: the mean over its characters."""

    start: int
    stop: int
    line: int
    value: float

    def to_json(self, characters: str) -> dict[str, Any]:
        """Return it with its text and the mean as bits. characters: of the text."""
        text = characters[self.start : self.stop]
        return {"start": self.start, "line": self.line, "bits_per_character": self.value, "text": text}


@dataclass(frozen=True, eq=False)
class Explanation:
    """Where the bits of a text go.

    bits: of each character, (N,), NaN where it is not scored. divisions: name → classes. errors: characters
    without an error, and errors by what would remove them (`charrnn.scoring.error_kinds`). knows_training: whether all
    oracles were applied.
    """

    text: Text
    bits: np.ndarray
    divisions: dict[str, list[Share]]
    errors: list[Share]
    knows_training: bool

    @property
    def characters(self) -> int:
        """How many characters are scored."""
        return int((~np.isnan(self.bits)).sum())

    @property
    def oracles(self) -> list[Share]:
        """The errors in one share for each oracle."""
        return by_oracle(self.errors)

    def passages(self, number: int = 5) -> list[Passage]:
        """Return the passages with the most bits per character, which do not overlap."""
        return highest_passages(self.text.characters, self.bits, number)

    def to_json(self, passages: int = 5) -> dict[str, Any]:
        """Return everything but the bits of each character."""
        return {
            "characters": self.characters,
            "bits": float(np.nansum(self.bits)),
            "divisions": {name: [one.to_json() for one in shares] for name, shares in self.divisions.items()},
            "errors": [one.to_json() for one in self.errors],
            "errors_know_the_training_text": self.knows_training,
            "passages": [one.to_json(self.text.characters) for one in self.passages(passages)],
        }


def explain_score(
    score: Score,
    encoded: EncodedText,
    text: Text,
    training: EncodedText | None,
    vocabulary: Vocabulary,
    progress: StageProgress = no_progress,
) -> Explanation:
    """Return where the bits of a score go.

    text: the characters, one for each id. training: the training text, whose end the oracles use; None: it is
    not on this machine.
    """
    bits = bits_of_characters(score, len(encoded))
    known = None
    if training is not None:
        levels = ngram_levels(training, encoded, len(vocabulary), (False,), progress=partial(progress, "n-gram"))
        highest = levels[0].max(axis=0)
        unscored = np.full(len(encoded) - len(highest), np.nan)
        words = _count_words(training, vocabulary)
        known = TrainingStatistics(words, np.concatenate([unscored, highest]))
    progress("classes of characters", 0.0)
    errors = by_error(text, bits, encoded.starts, known).shares(bits)
    divisions = {one.name: one.shares(bits) for one in divisions_of(text)}
    progress("classes of characters", 1.0)
    return Explanation(text, bits, divisions, errors, training is not None)


def _count_words(training: EncodedText, vocabulary: Vocabulary) -> Counter[str]:
    decoded = vocabulary.decode(given_part(training).ids)
    characters = decoded if isinstance(decoded, str) else decoded.decode("latin-1")
    return Counter(match.group() for match in WORD.finditer(characters))


def highest_passages(characters: str, values: np.ndarray, number: int) -> list[Passage]:
    """Return the passages of `PASSAGE` characters with the highest mean, at most `number`, which do not overlap.

    values: (N,), NaN where a character has none.
    """
    length = min(PASSAGE, len(values))
    total = np.append(0, np.cumsum(np.nan_to_num(values)))
    known = np.append(0, np.cumsum(~np.isnan(values)))
    sums, counts = total[length:] - total[:-length], known[length:] - known[:-length]
    means = np.where(counts > length // 2, sums / np.maximum(counts, 1), -np.inf)
    found: list[Passage] = []
    while len(found) < number and np.isfinite(means.max()):
        start = int(means.argmax())
        line = characters.count("\n", 0, start) + 1
        found.append(Passage(start, start + length, line, float(means[start])))
        means[max(0, start - length + 1) : start + length] = -np.inf
    return found
