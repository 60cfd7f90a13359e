"""The visual order of a line of text: the Unicode Bidirectional Algorithm (UAX #9) for text without bidi controls.

Left out are embeddings and isolates, whose controls are never displayed, and the pairing of brackets (N0).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

_STRONG = {"L": "L", "R": "R", "AL": "R"}


class VisualRun(NamedTuple):
    """Adjacent clusters, from start to before stop, that are written in one direction."""

    start: int
    stop: int
    is_rtl: bool


def is_rtl(clusters: Sequence[str]) -> bool:
    """Return whether a line is right-to-left: its first letter is (P2, P3)."""
    return next((_STRONG[each] == "R" for each in map(_bidi_class, clusters) if each in _STRONG), False)


def visual_runs(clusters: Sequence[str]) -> list[VisualRun]:
    """Return the runs of a line from left to right. clusters: of the line, in the order of reading."""
    levels = _levels(clusters)
    runs: list[tuple[VisualRun, int]] = []
    start = 0
    for level, group in groupby(levels):
        stop = start + len(list(group))
        runs.append((VisualRun(start, stop, level % 2 == 1), level))
        start = stop
    for limit in range(max(levels, default=0), 0, -1):
        runs = _reversed_from(runs, limit)
    return [run for run, _ in runs]


def _reversed_from(runs: list[tuple[VisualRun, int]], limit: int) -> list[tuple[VisualRun, int]]:
    """Reverse each sequence of runs of this level or a higher one (L2)."""
    found: list[tuple[VisualRun, int]] = []
    for is_reversed, group in groupby(runs, lambda one: one[1] >= limit):
        members = list(group)
        found += reversed(members) if is_reversed else members
    return found


def _levels(clusters: Sequence[str]) -> list[int]:
    """Return the embedding level of each cluster: odd for right to left."""
    base = "R" if is_rtl(clusters) else "L"
    classes = _with_neutrals(_with_numbers(list(map(_bidi_class, clusters)), base), base)
    if base == "L":
        return [{"L": 0, "R": 1, "N": 2}[each] for each in classes]
    return [1 if each == "R" else 2 for each in classes]


def _bidi_class(cluster: str) -> str:
    return unicodedata.bidirectional(cluster[0]) or "L"


def _with_numbers(classes: list[str], base: str) -> list[str]:
    """Resolve weak classes (W1 to W7): L, R, N for a number beside right-to-left text, "" for what is neutral."""
    for place, (before, one, after) in enumerate(zip(["", *classes], classes, [*classes[1:], ""], strict=False)):
        if (one in ("ES", "CS") and before == after == "EN") or (one == "CS" and before == after == "AN"):
            classes[place] = before
    for order in (range(len(classes)), reversed(range(len(classes)))):  # signs beside a number, such as %
        previous = ""
        for place in order:
            if classes[place] == "ET" and previous == "EN":
                classes[place] = "EN"
            previous = classes[place]
    found, strong = [], base
    for one in classes:
        strong = _STRONG.get(one, strong)
        is_number = one in ("EN", "AN")
        found.append(_STRONG.get(one) or (("N" if one == "AN" or strong == "R" else "L") if is_number else ""))
    return found


def _with_neutrals(classes: list[str], base: str) -> list[str]:
    """Resolve neutral classes: as on both sides if these agree, else as the line (N1, N2)."""
    found: list[str] = []
    place = 0
    for one, group in groupby(classes):
        size = len(list(group))
        if one == "":
            before = _side(found[-1]) if found else base
            after = _side(classes[place + size]) if place + size < len(classes) else base
            one = before if before == after else base
        found += [one] * size
        place += size
    return found


def _side(resolved: str) -> str:
    return "R" if resolved == "N" else resolved
