"""Grapheme clusters (UAX #29), which a reader takes for one character, their columns in a terminal, and line breaks.

wcwidth has the rules, and the widths of sequences measured in known terminals. The widths of rich depend on its
version, and its clusters leave out flags, skin tones and Hangul letters. It is imported for text beyond ASCII only.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterator, Mapping

# What may not begin or end a line where it is broken without a blank (UAX #14).
_NOT_FIRST = frozenset(
    "、。，．・：；？！）］｝〕〉》」』】〙〗〟’”ー々〻…‥゛゜ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶ,.!?:;)]}%\"'↵·→"
)
_NOT_LAST = frozenset("（［｛〔〈《「『【〘〖〝‘“([{\"'")
_HANGUL = ((0x1100, 0x11FF), (0x3130, 0x318F), (0xA960, 0xA97F), (0xAC00, 0xD7FF))


def clusters(text: str) -> Iterator[str]:
    """Divide a text into grapheme clusters."""
    if text.isascii() and "\r" not in text:
        return iter(text)
    from wcwidth import iter_graphemes

    return iter_graphemes(text)


def extends(cluster: str, character: str) -> bool:
    """Return whether a character belongs to the cluster before it."""
    if cluster.isascii() and character.isascii():
        return False
    return len(list(clusters(cluster + character))) == 1


def columns(text: str, program: str | None = None) -> int:
    """Return the columns of a text without control characters.

    program: the terminal, from `terminal_program`. Of an unknown one, the larger is taken of the widths that a cluster
    has as a whole and in parts. None: by the rules, for files.
    """
    if text.isascii():
        return len(text)
    return sum(_cluster_columns(cluster, program) for cluster in clusters(text))


@functools.lru_cache(maxsize=8192)
def _cluster_columns(cluster: str, program: str | None) -> int:
    from wcwidth import wcstwidth

    whole = max(0, wcstwidth(cluster, term_program=program or False))
    if len(cluster) == 1 or has_known_widths(program):
        return whole
    return max(whole, sum(_part_columns(part) for part in cluster))


def _part_columns(character: str) -> int:
    """Return the columns of a character of a cluster, where a terminal places it beside the others."""
    from wcwidth import wcwidth

    return max(wcwidth(character), unicodedata.category(character) == "Mc")


@functools.lru_cache(maxsize=64)
def has_known_widths(program: str | None) -> bool:
    """Return whether the widths of sequences in a terminal have been measured, or are those of a file."""
    from wcwidth import list_term_programs

    return program is None or program in list_term_programs()


def terminal_program(environment: Mapping[str, str]) -> str:
    """Return the name of a terminal in lower case; "" for multiplexers, whose widths differ from their terminal's."""
    names = [name for name in ("vte", "konsole") if f"{name.upper()}_VERSION" in environment]
    names += [environment.get(variable, "").strip().lower() for variable in ("TERM_PROGRAM", "TERM")]
    if any(name.startswith(("tmux", "screen")) for name in names):
        return ""
    return next(filter(None, names), "")


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
