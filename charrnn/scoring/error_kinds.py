"""The errors of a model by what would remove them.

The oracles and their order are those of Karpathy, Johnson & Fei-Fei 2015 (arXiv 1506.02078, section 4.4): from the
errors that are easiest to remove to the hardest. An error is a character with a probability below ½. It is counted
under the first oracle that removes it.

n-gram       An n-gram of the training text (n = 1…9) gives the character more than ½. These are the nine
             distributions that the interpolated 9-gram is made of.
memory       The character is in a word, from its second letter on, and the word occurs as a substring in the last
             100, 500, 1,000 or 5,000 characters of the document before it. The network could have remembered it.
rare words   The character is in a word that the training text has at most 5 times. More training text would help.
word model   The character follows white space or a quote: which word comes next.
punctuation  The character is neither a letter, nor a digit, nor white space.
boost        All others, by how much probability they lack: up to 0.1, 0.2, … 0.5.

A word is a run of letters. Without the training text, the first and the third oracle remove nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

import numpy as np

from charrnn.properties.catalog import Text
from charrnn.scoring.divisions import KINDS, Division, Share, by_kind
from charrnn.units import count

MEMORIES = (100, 500, 1000, 5000)
RAREST, RARE = 0, 5
BOOSTS = (0.1, 0.2, 0.3, 0.4, 0.5)
ERROR = 0.5
"""A character with a smaller probability is an error."""
WORD = re.compile(r"[^\W\d_]+")
QUOTES = "\"'“”‘’„«»`"
ORACLES = ("n-gram", "memory", "rare words", "word model", "punctuation", "boost")
NO_ERROR = "no error"
CLASSES = (
    NO_ERROR,
    "n-gram",
    *(f"memory: {count(size)} characters" for size in MEMORIES),
    *(f"rare words: seen {times} times" for times in range(RAREST, RARE + 1)),
    "word model",
    "punctuation",
    *(f"boost: {boost:g}" for boost in BOOSTS),
)


@dataclass(frozen=True, eq=False)
class TrainingStatistics:
    """What the oracles know of the training text.

    words: how often it has each word. ngram: the highest probability that any of its n-grams gives to each character of
    the text that is analyzed, (N,), NaN where the character is not scored.
    """

    words: Counter[str]
    ngram: np.ndarray


def by_error(text: Text, bits: np.ndarray, starts: np.ndarray, training: TrainingStatistics | None) -> Division:
    """Divide a text into characters that are no error, and errors by the oracle that removes them.

    bits: of each character, (N,), NaN where it is not scored; it then counts as no error. starts: the first
    character of each document, (D,); a memory does not reach beyond it.
    """
    probability = np.exp2(-bits)
    is_error = probability < ERROR
    found = np.full(len(text), -1)
    found[~is_error] = CLASSES.index(NO_ERROR)

    def remove(where: np.ndarray, number: np.ndarray | int) -> None:
        """Count the errors at these characters that are left under a class."""
        left = where & (found < 0)
        found[left] = number[left] if isinstance(number, np.ndarray) else number

    if training is not None:
        remove(training.ngram > ERROR, CLASSES.index("n-gram"))
    remembered, rare = _words(text.characters, found < 0, starts, None if training is None else training.words)
    remove(remembered > 0, remembered)
    remove(rare > 0, rare)
    remove(_follows_a_gap(text), CLASSES.index("word model"))
    remove(by_kind(text).of == KINDS.index("punctuation"), CLASSES.index("punctuation"))
    lacking = np.searchsorted(BOOSTS, np.round(ERROR - probability, 12))
    remove(found < 0, CLASSES.index(f"boost: {BOOSTS[0]:g}") + np.minimum(lacking, len(BOOSTS) - 1))
    return Division("errors", CLASSES, found)


def by_oracle(shares: list[Share]) -> list[Share]:
    """Return the share without errors and one for each oracle, from the shares of `by_error`."""
    grouped = []
    for name in (NO_ERROR, *ORACLES):
        own = [each for each in shares if each.name.partition(":")[0] == name]
        grouped.append(Share(name, sum(each.characters for each in own), sum(each.bits for each in own)))
    return grouped


def _words(
    characters: str, wanted: np.ndarray, starts: np.ndarray, known: Counter[str] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return for each character the class of its word in a memory and among rare words, (N,) each; 0: none.

    wanted: which characters are errors that are left, (N,). known: how often the training text has each word.
    """
    remembered, rare = np.zeros(len(characters), np.int64), np.zeros(len(characters), np.int64)
    before = np.append(0, np.cumsum(wanted))
    first_memory, first_rare = CLASSES.index("n-gram") + 1, CLASSES.index(f"rare words: seen {RAREST} times")
    for match in WORD.finditer(characters):
        start, stop = match.span()
        if before[start] == before[stop]:
            continue
        lowest = max(start - MEMORIES[-1], _last_start(starts, start))
        place = characters.rfind(match.group(), lowest, start)
        if place >= 0:
            remembered[start + 1 : stop] = first_memory + np.searchsorted(MEMORIES, start - place)
        if known is not None and (times := known[match.group()]) <= RARE:
            rare[start:stop] = first_rare + times - RAREST
    return remembered, rare


def _last_start(starts: np.ndarray, place: int) -> int:
    number = int(np.searchsorted(starts, place, side="right"))
    return int(starts[number - 1]) if number else 0


def _follows_a_gap(text: Text) -> np.ndarray:
    gap = text.where(lambda character: character.isspace() or character in QUOTES)
    return np.append(False, gap[:-1])
