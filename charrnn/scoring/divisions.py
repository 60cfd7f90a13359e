"""Divisions of a text into classes of characters, and how many bits each class takes.

Each character is in one class of a division, so that the classes add up to the text.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from charrnn.properties.catalog import Integers, Text
from charrnn.scoring.score import Score
from charrnn.units import NATS_PER_BIT

KINDS = ("small letters", "capital letters", "digits", "spaces", "newlines", "punctuation", "other characters")
WORD_POSITIONS = ("1st letter", "2nd letter", "3rd letter", "4th to 6th", "7th letter on", "after a word", "elsewhere")
LINE_EDGES, LINE_POSITIONS = (2, 11, 21, 41, 61, 81), ("1st", "2–10", "11–20", "21–40", "41–60", "61–80", "81 on")
DISTANCE_EDGES = (1, 11, 31, 101)
DISTANCES = ("closes nothing", "1–10 back", "11–30 back", "31–100 back", "101 back on")
CLOSING = {")": "(", "]": "[", "}": "{", "”": "“"}


@dataclass(frozen=True)
class Share:
    """A class of characters: how many are scored, and their bits together."""

    name: str
    characters: int
    bits: float

    @property
    def bits_per_character(self) -> float | None:
        return self.bits / self.characters if self.characters else None

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "bits_per_character": self.bits_per_character}


@dataclass(frozen=True, eq=False)
class Division:
    """Classes of the characters of a text. of: the index of each character's class, (N,)."""

    name: str
    classes: tuple[str, ...]
    of: np.ndarray

    def shares(self, bits: np.ndarray) -> list[Share]:
        """Return the share of each class, given the bits of each character, (N,), NaN where it is not scored."""
        scored = ~np.isnan(bits)
        members = [bits[scored & (self.of == number)] for number in range(len(self.classes))]
        return [Share(name, len(own), math.fsum(own)) for name, own in zip(self.classes, members, strict=True)]


def bits_of_characters(score: Score, length: int) -> np.ndarray:
    """Return the bits of each character of a text of this length, (N,) float64; NaN of a first one that has none."""
    unscored = np.full(length - len(score), np.nan)
    return np.concatenate([unscored, score.nats.astype(np.float64) / NATS_PER_BIT])


def kind_of_character(character: str) -> int:
    """Return the index in `KINDS` of a character's class."""
    if character == "\n":
        return KINDS.index("newlines")
    if character.isspace():
        return KINDS.index("spaces")
    if character.isalpha():
        return KINDS.index("capital letters" if character.isupper() else "small letters")
    if character.isdecimal():
        return KINDS.index("digits")
    return KINDS.index("punctuation" if unicodedata.category(character)[0] in "PS" else "other characters")


def by_kind(text: Text) -> Division:
    """Divide a text by the kind of character. Letters without case count as small."""
    kinds = {character: kind_of_character(character) for character in set(text.characters)}
    return Division("kind of character", KINDS, np.array([kinds[each] for each in text.characters], np.int64))


def by_word_position(text: Text) -> Division:
    """Divide a text by the position in the word, a run of letters."""
    place = text.since(~text.letter)
    after = ~text.letter & np.append(False, text.letter[:-1])
    inside = np.searchsorted((2, 3, 4, 7), place, side="right")
    found = np.where(text.letter, inside, WORD_POSITIONS.index("elsewhere"))
    found[after] = WORD_POSITIONS.index("after a word")
    return Division("position in the word", WORD_POSITIONS, found)


def by_line_position(text: Text) -> Division:
    """Divide a text by the position in the line, from 1; a newline is the last character of its line."""
    place = np.append(0, text.since(text.newline)[:-1]) + 1
    return Division("position in the line", LINE_POSITIONS, np.searchsorted(LINE_EDGES, place, side="right"))


def by_closed_distance(text: Text) -> Division:
    """Divide a text into what closes a bracket or a quotation, by how far back it was opened, and all the rest."""
    found = np.searchsorted(DISTANCE_EDGES, closed_distance(text), side="right")
    return Division("closing bracket or quote", DISTANCES, found)


DIVISIONS: tuple[Callable[[Text], Division], ...] = (by_kind, by_word_position, by_line_position, by_closed_distance)


def divisions_of(text: Text) -> list[Division]:
    """Return every division of a text."""
    return [divide(text) for divide in DIVISIONS]


def closed_distance(text: Text) -> Integers:
    """Return how many characters back the bracket or quote was opened that a character closes, (N,); 0: it closes none.

    Brackets of source code are those outside strings and comments; its quotes are left out. A blank line closes what is
    open, as `Text.bracket_resets` says.
    """
    if text.kind == "code" and not text.has_tokens:  # its lexer takes too long
        text = Text(text.characters)
    opens, closes = (mask.copy() for mask in text.brackets)
    straight = np.zeros(len(text), bool)
    if text.kind != "code":
        opens |= text.is_any_of("“")
        closes |= text.is_any_of("”")
        straight = text.is_any_of('"')
    resets = text.bracket_resets
    distances = np.zeros(len(text), np.int64)
    opened: list[tuple[str, int]] = []
    for place in np.flatnonzero(opens | closes | straight | resets).tolist():
        character = text.characters[place]
        if resets[place]:
            opened.clear()
        elif opens[place]:
            opened.append((character, place))
        else:
            start = _latest(opened, CLOSING.get(character, character))
            if start is not None:
                distances[place] = place - opened[start][1]
                del opened[start:]
            elif straight[place]:
                opened.append((character, place))
    return distances


def _latest(opened: Sequence[tuple[str, int]], sign: str) -> int | None:
    """Return the index of the latest of these signs that is open."""
    return next((number for number in range(len(opened) - 1, -1, -1) if opened[number][0] == sign), None)
