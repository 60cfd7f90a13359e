"""Two models on the same text: bits per character by class, with intervals, and where they differ most.

Shapes: N characters, B blocks, K resamples.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from charrnn.bootstrap import bootstrap_weights, interval
from charrnn.properties.catalog import Text
from charrnn.scoring.divisions import Division, bits_of_characters, divisions_of
from charrnn.scoring.explanation import Passage, highest_passages
from charrnn.scoring.score import Score
from charrnn.text.vocabulary import Vocabulary, code_points, not_decodable

BLOCK = 500
"""Characters of a block at least: losses of neighboring characters are correlated, over some words."""
LEAST_BLOCKS, MOST_BLOCKS = 10, 200
RESAMPLES = 2000
SEED = 1


@dataclass(frozen=True)
class Difference:
    """A class of characters under two models.

    first, second: bits per character. interval: of second − first, 95 %; None for a text of fewer than ten blocks, or a
    class without characters.
    """

    name: str
    characters: int
    first: float | None
    second: float | None
    interval: tuple[float, float] | None

    @property
    def difference(self) -> float | None:
        return None if self.first is None or self.second is None else self.second - self.first

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "difference": self.difference}


@dataclass(frozen=True, eq=False)
class Comparison:
    """The scores of two models on the characters of a text that both know.

    first, second: bits of each character, (N,), NaN where a model does not score it. unknown: the characters that one
    model does not know, and how often the text has them, for each model.
    """

    text: Text
    first: np.ndarray
    second: np.ndarray
    unknown: tuple[dict[str, int], dict[str, int]]
    total: Difference
    divisions: dict[str, list[Difference]]

    def passages(self, number: int = 3) -> tuple[list[Passage], list[Passage]]:
        """Return where the second model needs most bits more than the first, and where most bits less."""
        more = self.second - self.first
        better, worse = (highest_passages(self.text.characters, sign * more, number) for sign in (-1, 1))
        return [one for one in worse if one.value > 0], [one for one in better if one.value > 0]

    def to_json(self) -> dict[str, Any]:
        more, less = ([one.to_json(self.text.characters) for one in passages] for passages in self.passages())
        return {
            "unknown": {"first": self.unknown[0], "second": self.unknown[1]},
            "total": self.total.to_json(),
            "divisions": {name: [one.to_json() for one in rows] for name, rows in self.divisions.items()},
            "passages": {"second_needs_more": more, "second_needs_less": less},
        }


@dataclass(frozen=True, eq=False)
class CharacterBits:
    """The bits of each character under a model, (N,), NaN where it has none.

    unknown: the characters that the model does not know, and how often the text has them.
    """

    bits: np.ndarray
    unknown: dict[str, int]


def compare_bits(text: Text, first: CharacterBits, second: CharacterBits) -> Comparison:
    """Compare two models on a text."""
    blocks = _Blocks.cut(first.bits, second.bits)
    return Comparison(
        text,
        first.bits,
        second.bits,
        (first.unknown, second.unknown),
        blocks.difference("all characters", np.ones(len(text), bool)),
        {one.name: blocks.differences(one) for one in divisions_of(text)},
    )


def shared_characters(first: Vocabulary, second: Vocabulary, ids: np.ndarray) -> str:
    """Return the text whose bits under two models are compared. ids: in the first vocabulary.

    Bytes that both models read become the first 256 code points. Raises CharrnnError where the first model reads
    bytes, the second characters, and the bytes are not UTF-8.
    """
    decoded = first.decode(ids)
    if isinstance(decoded, str):
        return decoded
    if second.kind == "bytes":
        return decoded.decode("latin-1")
    try:
        return decoded.decode("utf-8")
    except UnicodeDecodeError as error:
        raise not_decodable("the text", error) from None


def shared_ids(first: Vocabulary, second: Vocabulary, ids: np.ndarray, characters: str) -> np.ndarray:
    """Return a text in ids of the second vocabulary, without what it lacks. ids: in the first."""
    return ids if second == first else second.encode(characters, skip_unknown=True)


def character_bits(characters: str, vocabulary: Vocabulary, length: int, score: Score) -> CharacterBits:
    """Return the bits of each character of a text under a model that reads it in `length` ids.

    Without the characters it does not know, if its vocabulary lacks some. Bytes of UTF-8 count with their character.
    """
    scored = bits_of_characters(score, length)
    if length == len(characters):
        return CharacterBits(scored, {})
    if vocabulary.kind == "bytes":
        lengths = np.array([len(character.encode()) for character in characters])
        return CharacterBits(np.add.reduceat(scored, np.cumsum(lengths) - lengths), {})
    known = np.isin(code_points(characters), code_points(vocabulary.characters))
    bits = np.full(len(characters), np.nan)
    bits[known] = scored
    unknown = Counter(characters[place] for place in np.flatnonzero(~known).tolist())
    return CharacterBits(bits, dict(unknown.most_common()))


@dataclass(frozen=True, eq=False)
class _Blocks:
    """Bits of each character, (N,), cut into blocks for a bootstrap that keeps what neighbors share (Künsch 1989).

    of: the block of each character, (N,). weights: how often a resample draws each block, (K, B); None for too few.
    """

    first: np.ndarray
    second: np.ndarray
    of: np.ndarray
    weights: np.ndarray | None

    @classmethod
    def cut(cls, first: np.ndarray, second: np.ndarray) -> _Blocks:
        number = min(len(first) // BLOCK, MOST_BLOCKS)
        weights = bootstrap_weights(number, RESAMPLES, SEED) if number >= LEAST_BLOCKS else None
        return cls(first, second, np.arange(len(first)) * max(1, number) // max(1, len(first)), weights)

    def differences(self, division: Division) -> list[Difference]:
        """Return the difference in each class of a division."""
        return [self.difference(name, division.of == number) for number, name in enumerate(division.classes)]

    def difference(self, name: str, members: np.ndarray) -> Difference:
        """Return the difference over some characters, (N,) booleans, of those that both models score."""
        members = members & ~np.isnan(self.first) & ~np.isnan(self.second)
        characters = int(members.sum())
        if not characters:
            return Difference(name, 0, None, None, None)
        first, second = (float(bits[members].mean()) for bits in (self.first, self.second))
        return Difference(name, characters, first, second, self._interval(members))

    def _interval(self, members: np.ndarray) -> tuple[float, float] | None:
        if self.weights is None:
            return None
        number = self.weights.shape[1]
        sums = np.bincount(self.of[members], (self.second - self.first)[members], number)
        counts = np.bincount(self.of[members], minlength=number)
        resampled = self.weights @ counts
        drawn = resampled > 0
        return interval((self.weights @ sums)[drawn] / resampled[drawn])
