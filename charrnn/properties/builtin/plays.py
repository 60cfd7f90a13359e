"""Plays: speakers, speeches, and stage directions."""

from __future__ import annotations

import re

import numpy as np

from charrnn.properties.catalog import PROSE, Booleans, Integers, Text, register

SPEAKER = re.compile(r"(?:\A|(?<=\n)[ \t\r]*\n)([^\W\d_][^\n:]{0,39}):")


@register(
    "speaker name",
    "binary",
    "At the start of a line after a blank line, before a `:` at most forty characters away.",
    applies=PROSE,
    phrase="in a speaker's name",
)
def _speaker_name(text: Text) -> Booleans:
    return text.spans((match.start(1) - 1, match.end() - 1) for match in SPEAKER.finditer(text.characters))


@register(
    "lines into the speech",
    "graded",
    "Lines since a speaker's `:`; 0 between the next blank line and the next speaker's `:`.",
    applies=PROSE,
    counter=True,
    phrase="the lines of the speech",
)
def _lines_into_speech(text: Text) -> Integers:
    starts = text.at(match.end() - 1 for match in SPEAKER.finditer(text.characters))
    speaking = (np.cumsum(starts) > 0) & (text.since(starts) < text.since(text.paragraph_starts))
    return np.where(speaking, text.count_since(text.newline, starts), 0)


@register(
    "stage direction",
    "binary",
    "Inside [ ], or in a line that starts with Enter, Re-enter, Exit or Exeunt, after that word.",
    applies=PROSE,
    family="brackets",
    phrase="in stage directions",
)
def _stage_direction(text: Text) -> Booleans:
    lines = re.finditer(r"^[ \t]*(?:Enter|Re-enter|Exit|Exeunt)\b([^\n]*)", text.characters, re.MULTILINE)
    bracketed = text.depth(text.is_any_of("["), text.is_any_of("]"), text.paragraph_starts) > 0
    return bracketed | text.spans(match.span(1) for match in lines)
