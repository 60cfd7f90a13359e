"""Grapheme clusters (UAX #29), which a reader takes for one character, their columns in a terminal, and line breaks.

wcwidth has the rules, and the widths of sequences measured in known terminals. The widths of rich depend on its
version, and its clusters leave out flags, skin tones and Hangul letters.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterator, Mapping

from wcwidth import iter_graphemes, list_term_programs, wcstwidth, wcwidth

# What may not begin or end a line where it is broken without a blank (UAX #14).
_NOT_FIRST = frozenset(
    "、。，．・：；？！）］｝〕〉》」』】〙〗〟’”ー々〻…‥゛゜ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶ,.!?:;)]}%\"'↵·→"
)
_NOT_LAST = frozenset("（［｛〔〈《「『【〘〖〝‘“([{\"'")
_HANGUL = ((0x1100, 0x11FF), (0x3130, 0x318F), (0xA960, 0xA97F), (0xAC00, 0xD7FF))
_VARIABLES = ("TERM_PROGRAM", "TERM")


def clusters(text: str) -> Iterator[str]:
    """Divide a text into grapheme clusters."""
    return iter(text) if text.isascii() and "\r" not in text else iter_graphemes(text)


def extends(cluster: str, character: str) -> bool:
    """Return whether a character belongs to the cluster before it."""
    if cluster.isascii() and character.isascii():
        return False
    return len(list(iter_graphemes(cluster + character))) == 1


def columns(text: str, program: str | None = None) -> int:
    """Return the columns of a text without control characters.

    program: the terminal, from `terminal_program`; "" for an unknown one, of whose widths for a cluster, those of the
    whole and of its parts, the larger is taken; None: by the rules, for files.
    """
    if text.isascii():
        return len(text)
    return sum(_cluster_columns(cluster, program) for cluster in clusters(text))


@functools.lru_cache(maxsize=8192)
def _cluster_columns(cluster: str, program: str | None) -> int:
    whole = max(0, wcstwidth(cluster, term_program=program or False))
    if program != "" or len(cluster) == 1:
        return whole
    return max(whole, sum(_part_columns(part) for part in cluster))


def _part_columns(character: str) -> int:
    """Return the columns of a character of a cluster, where a terminal places it beside the others."""
    return max(wcwidth(character), unicodedata.category(character) == "Mc")


def terminal_program(environment: Mapping[str, str]) -> str:
    """Return the name of a terminal whose widths are known; "" for others."""
    names = [environment.get(variable, "").strip().lower() for variable in _VARIABLES]
    names += [name for name in ("vte", "konsole") if f"{name.upper()}_VERSION" in environment]
    if any(name.startswith(("tmux", "screen")) for name in names):  # they have their own widths in every terminal
        return ""
    return next((name for name in names if name in list_term_programs()), "")


def may_break(before: str, after: str) -> bool:
    """Return whether a line may be broken between two clusters without a blank: beside ideographs, kana and emoji."""
    if before.isascii() and after.isascii():
        return False
    is_barred = after[0] in _NOT_FIRST or before[0] in _NOT_LAST
    return not is_barred and (_stands_alone(before[0]) or _stands_alone(after[0]))


@functools.lru_cache(maxsize=8192)
def _stands_alone(character: str) -> bool:
    """Return whether a character is wide and not of Korean, which has blanks between words."""
    is_hangul = any(first <= ord(character) <= last for first, last in _HANGUL)
    return not is_hangul and unicodedata.east_asian_width(character) in "WF"


def chop(text: str, width: int, program: str | None = None) -> list[str]:
    """Divide a text into lines of at most `width` columns, between clusters. A wider cluster is a line."""
    lines, line, column = [], "", 0
    for cluster in clusters(text):
        size = columns(cluster, program)
        if line and column + size > width:
            lines.append(line)
            line, column = "", 0
        line, column = line + cluster, column + size
    return [*lines, line] if line else lines
