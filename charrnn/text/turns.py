"""Guess from a text how the turns of a conversation are written."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from statistics import median

READ = 500_000  # characters of a text
FEWEST_TURNS = 4
SPOKEN_SHARE = 0.6  # of turns that name a speaker, from which on a text is a dialogue
TWO_SPEAKERS_SHARE = 0.9  # of turns by the two most frequent speakers, from which on there are only two
LONGEST_PARAGRAPH = 1000  # median, in characters; longer ones are no turns
SPEAKER = r"[^\W\d_][\w .'’-]{0,29}:"


@dataclass(frozen=True)
class TurnFormat:
    """How a conversation is written: `you`, a person's line, `end`, `reply`, the model's answer, `end`, and so on."""

    you: str = ""
    reply: str = ""
    end: str = "\n"


def guess_turns(text: str) -> TurnFormat:
    """Return how turns are written in a text.

    In a dialogue, turns start with names. `you` is the most frequent one, and the model chooses who answers. If there
    are only two, `you` is the one who speaks first, and `reply` the other. In other texts a turn is a paragraph, which
    ends at a blank line, or else a line.
    """
    text = text[:READ]
    for end, pattern in (("\n", rf"{SPEAKER}[ \t]+"), ("\n\n", rf"{SPEAKER}(?:[ \t]+|\n)")):
        turns = [turn.lstrip("\n") for turn in text.split(end) if turn.strip()]
        spoken = [match[0] for turn in turns if (match := re.match(pattern, turn))]
        if len(spoken) >= max(FEWEST_TURNS, SPOKEN_SHARE * len(turns)) and 2 * len(set(spoken)) <= len(spoken):
            return _dialogue(spoken, end)
    paragraphs = [paragraph for paragraph in text.split("\n\n") if paragraph.strip()]
    if len(paragraphs) > FEWEST_TURNS and median(map(len, paragraphs)) <= LONGEST_PARAGRAPH:
        return TurnFormat(end="\n\n")
    return TurnFormat(end="\n" if "\n" in text else "")


def _dialogue(spoken: list[str], end: str) -> TurnFormat:
    """Return the format of turns that start with these names, in the order of the text."""
    frequent = Counter(spoken).most_common(2)
    if len(frequent) < 2 or sum(number for _, number in frequent) < TWO_SPEAKERS_SHARE * len(spoken):
        return TurnFormat(frequent[0][0], "", end)
    you, reply = sorted((name for name, _ in frequent), key=spoken.index)
    return TurnFormat(you, reply, end)
