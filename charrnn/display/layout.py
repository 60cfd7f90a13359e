"""Break a text into lines of glyphs: grapheme clusters as they are displayed, with their columns and levels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby

from charrnn.display.clusters import clusters, columns, has_known_widths, may_break
from charrnn.display.terminal import MIN_COLUMNS, escape_character, safe_line, safe_text
from charrnn.display.view import View

TAB_STOP = 4

# Parts of a sequence that have no appearance, or another one, where they stand alone: joiners, variation selectors,
# regional indicators, skin tones, tags.
_TAGS = (0xE0020, 0xE007F)
_ESCAPED_RANGES = (
    (0x200C, 0x200D),
    (0xFE00, 0xFE0F),
    (0x1F1E6, 0x1F1FF),
    (0x1F3FB, 0x1F3FF),
    _TAGS,
    (0xE0100, 0xE01EF),
)


@dataclass(frozen=True)
class Glyph:
    """A grapheme cluster as displayed.

    text: safe to print. columns: its width. first, count: the characters of the view it covers. level: of the last.
    substitute: whether a sign replaces the character, such as whitespace or a control.
    """

    text: str
    columns: int
    first: int
    count: int
    level: int
    substitute: bool

    @property
    def last(self) -> int:
        return self.first + self.count - 1

    def padded_to(self, columns: int) -> Glyph:
        """Return the glyph padded with blanks to a width."""
        missing = columns - self.columns
        return replace(self, text=self.text + " " * missing, columns=columns) if missing > 0 else self


Line = list[Glyph]


@dataclass(frozen=True)
class Span:
    """Adjacent glyphs with the same colors."""

    text: str
    columns: int
    level: int
    substitute: bool


def merge_glyphs(line: Line) -> Iterator[Span]:
    """Merge adjacent glyphs with the same colors."""
    for (level, substitute), glyphs in groupby(line, lambda glyph: (glyph.level, glyph.substitute)):
        members = list(glyphs)
        yield Span("".join(g.text for g in members), sum(g.columns for g in members), level, substitute)


def layout(
    view: View,
    width: int | None,
    *,
    unicode: bool = True,
    newlines: bool = True,
    program: str | None = None,
    aligned: bool = False,
) -> list[Line]:
    """Break a view's text into lines of at most `width` columns (None: any number), after words where possible.

    Every character of the view is in exactly one glyph. Without `unicode`, the output is ASCII. newlines: also break
    after each newline. program: the terminal, as for `clusters.columns`. aligned: escape what an unknown terminal may
    give another width, because rows of values follow.
    """
    lines: list[Line] = []
    line: Line = []
    column = 0
    limit = math.inf if width is None else max(width, MIN_COLUMNS)
    for glyph in glyphs(view, unicode, program, divided=aligned and not has_known_widths(program)):
        symbol = view.symbols[glyph.first]
        tab = TAB_STOP - column % TAB_STOP if symbol == "\t" else 0
        if column + max(tab, glyph.columns) > limit:
            head, rest = (line, []) if symbol in " \t\n" else _split_at_break(view, line, glyph)
            if sum(one.columns for one in rest) + glyph.columns > limit:
                head, rest = line, []
            lines.append(head)
            line, column, tab = rest, sum(one.columns for one in rest), TAB_STOP if tab else 0
        line.append(glyph.padded_to(tab))
        column += line[-1].columns
        if symbol == "\n" and newlines:
            lines.append(line)
            line, column = [], 0
    return [*lines, line] if line else lines


def _split_at_break(view: View, line: Line, following: Glyph) -> tuple[Line, Line]:
    """Split a line at the last place where it may be broken before the next glyph, if it has one."""
    places = range(len(line), 0, -1)
    after = [*line[1:], following]
    place = next((one for one in places if _breaks(view, line[one - 1], after[one - 1])), len(line))
    return line[:place], line[place:]


def _breaks(view: View, before: Glyph, after: Glyph) -> bool:
    return view.symbols[before.first] in " \t" or may_break(before.text, after.text)


def glyphs(view: View, unicode: bool, program: str | None = None, *, divided: bool = False) -> Iterator[Glyph]:
    """Yield glyphs in order. divided: parts of a cluster whose width depends on the terminal are separate glyphs."""
    first, number = 0, len(view.symbols)
    while first < number:
        stop = first + 1
        if unicode and _is_plain(view.symbols[first]):
            while stop < number and (_is_plain(view.symbols[stop]) or _is_tag(view.symbols[stop])):
                stop += 1
        if stop == first + 1:
            yield glyph_of(view, first, stop, unicode, program)
        for cluster in clusters("".join(view.symbols[first:stop])) if stop > first + 1 else ():
            last = first + len(cluster)
            glyph = glyph_of(view, first, last, unicode, program)
            parts_differ = divided and any(_within(part, _ESCAPED_RANGES) for part in cluster)
            if glyph.columns > MIN_COLUMNS or parts_differ or (glyph.substitute and any(map(_is_tag, cluster))):
                yield from (glyph_of(view, place, place + 1, unicode, program) for place in range(first, last))
            else:
                yield glyph
            first = last
        first = stop


def glyph_of(view: View, first: int, stop: int, unicode: bool, program: str | None) -> Glyph:
    text, unchanged = display_form("".join(view.symbols[first:stop]), unicode)
    level = view.scale.level(view.values[stop - 1])
    return Glyph(text, columns(text, program), first, stop - first, level, substitute=not unchanged)


WHITESPACE = {True: {"\n": "↵", "\t": "→", " ": "·"}, False: {"\n": "\\n", "\t": "\\t", " ": " "}}


@lru_cache(maxsize=8192)
def _is_plain(symbol: str) -> bool:
    """Return whether a symbol is one character that is shown as it is, at least beside others."""
    return len(symbol) == 1 and symbol not in WHITESPACE[True] and safe_text(symbol, keep_newlines=False) == symbol


def _is_tag(symbol: str) -> bool:
    return len(symbol) == 1 and _within(symbol, (_TAGS,))


@lru_cache(maxsize=8192)
def display_form(cluster: str, unicode: bool) -> tuple[str, bool]:
    """Return the text displayed for a cluster, or a symbol of a byte, and whether it is unchanged."""
    if cluster in WHITESPACE[unicode]:
        return WHITESPACE[unicode][cluster], False
    if not unicode:
        text = "".join(c if " " <= c <= "~" else escape_character(c) for c in cluster)
    elif columns(cluster[0]) == 0 and not _within(cluster[0], _ESCAPED_RANGES):
        text = "◌" + cluster if _is_plain(cluster[0]) else safe_line(cluster)
    elif len(cluster) == 1 or columns(cluster[0]) == 0:
        text = "".join(escape_character(c) if _within(c, _ESCAPED_RANGES) else c for c in safe_line(cluster))
    else:
        text = safe_line(cluster)
    return text, text == cluster


def _within(character: str, ranges: tuple[tuple[int, int], ...]) -> bool:
    return any(first <= ord(character) <= last for first, last in ranges)
