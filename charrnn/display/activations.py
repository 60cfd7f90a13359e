"""Text colored by the value of a signal at each character, with a legend, for terminals with and without colors.

`layout` breaks a view into lines of glyphs; `render` colors them or, without colors, prints rows of values below the
text. A view with successors also gets the most likely next characters below each character (as in Karpathy 2015, *The
Unreasonable Effectiveness of Recurrent Neural Networks*) and the surprise at the actual one.

A character's color is the value after the network has read it. Combining marks stay with their base and take its color.
Characters that a terminal would hide or merge (controls, joiners, variation selectors) are shown escaped.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby

from rich.cells import cell_len

from charrnn.display.palettes import GREEN, PALETTES, Paint
from charrnn.display.terminal import MIN_COLUMNS, Terminal, escape_character, safe_text, wrap_words
from charrnn.display.view import SignalScale, Successors, View

TAB_STOP = 4
GUTTER = 5  # columns for the names of the rows with successors
LONGEST_WORD = 16  # characters that are left out at an end of an excerpt, at most
BLOCKS = "▁▂▃▄▅▆▇█"

# Zero-width in some terminals only, or merged with the character before: escaped to keep the columns aligned.
_ESCAPED_RANGES = ((0x200C, 0x200D), (0xFE00, 0xFE0F), (0x1F1E6, 0x1F1FF), (0x1F3FB, 0x1F3FF), (0xE0100, 0xE01EF))
_COMBINING_JAMO = ((0x1160, 0x11FF), (0xD7B0, 0xD7FF))


@dataclass(frozen=True)
class Glyph:
    """A character as displayed, with the marks that combine with it.

    text: safe to print. columns: its width. first, count: the characters of the view it covers. level: of the first.
    substitute: whether a sign replaces the character, such as whitespace or a control.
    """

    text: str
    columns: int
    first: int
    count: int
    level: int
    substitute: bool

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


def layout(view: View, width: int | None, *, unicode: bool = True, newlines: bool = True) -> list[Line]:
    """Break a view's text into lines of at most `width` columns (None: any number), after words where possible.

    Every character of the view is in exactly one glyph. Without `unicode`, the output is ASCII. newlines: also break
    after each newline.
    """
    lines: list[Line] = []
    line: Line = []
    column = 0
    limit = math.inf if width is None else max(width, MIN_COLUMNS)
    for glyph in _glyphs(view, unicode):
        symbol = view.symbols[glyph.first]
        columns = TAB_STOP - column % TAB_STOP if symbol == "\t" else 0
        if column + max(columns, glyph.columns) > limit:
            head, rest = (line, []) if symbol in " \t\n" else _split_after_blank(view, line)
            if sum(one.columns for one in rest) + glyph.columns > limit:
                head, rest = line, []
            lines.append(head)
            line, column, columns = rest, sum(one.columns for one in rest), TAB_STOP if columns else 0
        line.append(glyph.padded_to(columns))
        column += line[-1].columns
        if symbol == "\n" and newlines:
            lines.append(line)
            line, column = [], 0
    return [*lines, line] if line else lines


def _split_after_blank(view: View, line: Line) -> tuple[Line, Line]:
    """Split a line after its last blank, if it has one."""
    blanks = (place for place in range(len(line), 0, -1) if view.symbols[line[place - 1].first] in " \t")
    place = next(blanks, len(line))
    return line[:place], line[place:]


def _glyphs(view: View, unicode: bool, *, separate_marks: bool = False) -> Iterator[Glyph]:
    """Yield glyphs in order. separate_marks: a combining mark is a separate glyph."""
    position, number = 0, len(view.symbols)
    while position < number:
        stop = position + 1
        text, unchanged = _display_form(view.symbols[position], unicode)
        if unicode and unchanged and not separate_marks:
            while stop < number and _combines(view.symbols[stop]):
                text += view.symbols[stop]
                stop += 1
        level = view.scale.level(view.values[position])
        yield Glyph(text, cell_len(text), position, stop - position, level, substitute=not unchanged)
        position = stop


WHITESPACE = {True: {"\n": "↵", "\t": "→", " ": "·"}, False: {"\n": "\\n", "\t": "\\t", " ": " "}}


@lru_cache(maxsize=8192)
def _display_form(symbol: str, unicode: bool) -> tuple[str, bool]:
    """Return the text displayed for a character, and whether it is unchanged."""
    if symbol in WHITESPACE[unicode]:
        return WHITESPACE[unicode][symbol], False
    if not unicode:
        text = "".join(c if " " <= c <= "~" else escape_character(c) for c in symbol)
    elif _combines(symbol):
        text = "◌" + symbol
    else:
        text = "".join(
            escape_character(c) if cell_len(c) == 0 or _within(c, _ESCAPED_RANGES) else c
            for c in safe_text(symbol, keep_newlines=False, keep_tabs=False)
        )
    return text, text == symbol


@lru_cache(maxsize=8192)
def _combines(symbol: str) -> bool:
    """Return whether a character combines with the one before: a mark, or a vowel or final of a Korean syllable."""
    return (
        len(symbol) == 1
        and cell_len(symbol) == 0
        and (unicodedata.category(symbol)[0] == "M" or _within(symbol, _COMBINING_JAMO))
        and not _within(symbol, _ESCAPED_RANGES)
    )


def _within(character: str, ranges: tuple[tuple[int, int], ...]) -> bool:
    return any(first <= ord(character) <= last for first, last in ranges)


def render(view: View, terminal: Terminal) -> Iterator[str]:
    """Yield a view's legend and text as styled lines without line ends.

    With colors, values are backgrounds; without, each line of text is followed by rows of values. Rows with the
    successors, if any, follow each line.
    """
    paint = Paint(terminal.colors, terminal.background)
    yield from legend(view, terminal)
    yield ""
    if view.successors is not None:
        yield from _with_successors(view, view.successors, terminal, paint)
        return
    for line in layout(view, terminal.width, unicode=terminal.unicode):
        yield _painted(view, line, paint)
        if not paint.colored:
            yield from (row for _, row in value_rows(view, line))
            yield ""


def excerpt_lines(view: View, terminal: Terminal, width: int, *, rows: int = 1, focus: int | None = None) -> list[str]:
    """Return a view's text in at most `rows` lines, without a legend; newlines are shown, but do not end a line.

    A longer text is cut at both ends, so that the character `focus` (None: the middle one) stays in the middle where
    possible. Words cut off at the ends are left out. Without colors, rows of values follow each line.
    """
    start, stop = 0, len(view.symbols)
    focus = stop // 2 if focus is None else focus
    while True:
        first, last = _whole_words(view, start, stop, focus)
        shown = view.part(first, last)
        lines = layout(shown, width, unicode=terminal.unicode, newlines=False)
        if len(lines) <= rows:
            break
        if stop - focus > focus - start:
            stop = last - 1
        else:
            start = first + 1
    paint = Paint(terminal.colors, terminal.background)
    drawn = []
    for line in lines:
        drawn.append(_painted(shown, line, paint))
        if not paint.colored:
            drawn += [row for _, row in value_rows(shown, line)]
    return drawn


def _whole_words(view: View, start: int, stop: int, focus: int) -> tuple[int, int]:
    """Return a smaller part of a text that begins and ends at blanks, unless these are far away or beyond focus."""
    before, after = (
        [view.symbols[place].isspace() for place in places]
        for places in (
            range(start, min(start + LONGEST_WORD, focus)),
            range(stop - 1, max(stop - LONGEST_WORD, focus), -1),
        )
    )
    return start + (before.index(True) + 1 if True in before else 0), stop - (after.index(True) if True in after else 0)


def _painted(view: View, line: Line, paint: Paint) -> str:
    return "".join(view.paint(paint, span.text, span.level, faded=span.substitute) for span in merge_glyphs(line))


def value_rows(view: View, line: Line) -> Iterator[tuple[str, str]]:
    """Yield rows of digits to print below a line of text: (name, row).

    Signed values have a row of signs and one of digits. Digit d: d/10 ≤ |value|/high < (d + 1)/10, 9 up to 1; blank
    below .05. `?` is NaN.
    """
    values = [view.values[glyph.first] for glyph in line]
    if view.scale.signed:
        yield "sign", _row(line, ("" if not view.scale.level(v) else "-" if v < 0 else "+" for v in values))
    yield "size", _row(line, map(view.scale.tenths, values))


def _row(line: Line, signs: Iterable[str]) -> str:
    padded = (sign + " " * (glyph.columns - cell_len(sign)) for glyph, sign in zip(line, signs, strict=True))
    return "".join(padded).rstrip()


def legend_ends(view: View, minus: str = "−") -> tuple[str, str]:
    """Return the labels of the two ends of a view's scale."""
    high = f"{view.scale.high:g}"
    return (f"{minus}{high}", f"+{high}") if view.scale.signed else ("0", high)


def legend_notes(view: View, *, colored: bool = True) -> list[str]:
    """Return what a reader of the text needs to know: the meaning of colors or digits, and of combining marks."""
    hues, scale = PALETTES[view.palette], view.scale
    if not colored:
        digits = "tenths of its value" if scale.high == 1 else f"its value in tenths of {scale.high:g}"
        small = f"{0.05 * scale.high:g}".removeprefix("0")
        notes = [f"below each character {'its sign and ' if scale.signed else ''}{digits}, blank below {small}"]
    elif scale.signed:
        notes = [f"{hues.negative.name} negative, {hues.positive.name} positive"]
    else:
        notes = [f"plain 0, {hues.positive.name} {scale.high:g}"]
    marks = sum(map(_combines, view.symbols)) if view.successors is None else 0
    words = "mark, in its base's color" if marks == 1 else "marks, in their base's color"
    return [*notes, f"{marks} combining {words}"] if marks else notes


def legend(view: View, terminal: Terminal) -> Iterator[str]:
    """Yield the scale of a view's colors and their meaning as styled lines."""
    paint = Paint(terminal.colors, terminal.background)
    title = safe_text(view.title, keep_newlines=False, keep_tabs=False)
    dot, minus = ("·", "−") if terminal.unicode else ("-", "-")
    words = f" {dot} ".join([title, *legend_notes(view, colored=paint.colored)])
    if not paint.colored:
        yield from wrap_words(words, terminal.width)
    else:
        low, high = legend_ends(view, minus)
        available = terminal.width - cell_len(low) - cell_len(high) - 4
        fits = available - cell_len(words) >= len(view.scale.levels)
        step = 2 if available - fits * cell_len(words) >= 2 * len(view.scale.levels) else 1
        bar = "".join(view.paint(paint, " " * step, level) for level in view.scale.levels)
        if fits:
            yield f"{low} {bar} {high}  {words}"
        else:
            yield f"{low} {bar} {high}"
            yield from wrap_words(words, terminal.width)
    if view.successors is not None:
        yield from _successor_legend(terminal, paint)


def _successor_legend(terminal: Terminal, paint: Paint) -> Iterator[str]:
    if not paint.colored:
        yield from wrap_words(
            "1-5: the most likely next characters. next: the row of the actual one, - if none. p(1): probability of the"
            " first, in tenths. bits: surprise at the actual one, + from 9.5",
            terminal.width,
        )
        return
    scale = f"{BLOCKS[0]} below 1 to {BLOCKS[-1]} from 7" if terminal.unicode else "+ from 9.5"
    yield from wrap_words(
        "1-5: the most likely next characters, green by probability, the actual one underlined. bits: surprise at the"
        f" actual one, {scale}",
        terminal.width,
    )


def _with_successors(view: View, successors: Successors, terminal: Terminal, paint: Paint) -> Iterator[str]:
    """Yield the text in lines that fill the width, newlines as signs, each followed by rows of successors."""
    line: Line = []
    columns = GUTTER
    for glyph in _glyphs(view, terminal.unicode, separate_marks=True):
        below = (cell_len(_narrow_form(symbol, terminal.unicode)) for symbol in successors.symbols[glyph.first])
        glyph = glyph.padded_to(max(below, default=1))
        if line and columns + glyph.columns > terminal.width:
            yield from _successor_rows(view, successors, line, terminal, paint)
            line, columns = [], GUTTER
        line.append(glyph)
        columns += glyph.columns
    if line:
        yield from _successor_rows(view, successors, line, terminal, paint)


def _successor_rows(view: View, successors: Successors, line: Line, terminal: Terminal, paint: Paint) -> Iterator[str]:
    def named(name: str, row: str) -> str:
        return (paint.styled(name.ljust(GUTTER), paint.faint) + row).rstrip()

    positions = [glyph.first for glyph in line]
    yield named("text", _painted(view, line, paint))
    if not paint.colored:
        for name, row in value_rows(view, line):
            yield named(name, row)
    for place in range(max(len(successors.symbols[position]) for position in positions)):
        row = "".join(_successor(successors, glyph, place, terminal, paint) for glyph in line)
        yield named(str(place + 1), row)
    if not paint.colored:
        ranks = ((successors.true[position], successors.surprise[position]) for position in positions)
        signs = (str(rank + 1) if rank is not None else "" if math.isnan(bits) else "-" for rank, bits in ranks)
        yield named("next", _row(line, signs))
        highest = (successors.probabilities[position][0] for position in positions)
        yield named("p(1)", _row(line, (str(min(int(p * 10 + 1e-9), 9)) for p in highest)))
    blocks = paint.colored and terminal.unicode
    yield named("bits", _row(line, (_surprise(successors.surprise[position], blocks) for position in positions)))
    yield ""


def _successor(successors: Successors, glyph: Glyph, place: int, terminal: Terminal, paint: Paint) -> str:
    symbols = successors.symbols[glyph.first]
    if place >= len(symbols):
        return " " * glyph.columns
    text = _narrow_form(symbols[place], terminal.unicode)
    text += " " * (glyph.columns - cell_len(text))
    actual = successors.true[glyph.first] == place
    level = SignalScale.UNIT.level(successors.probabilities[glyph.first][place])
    if level:
        return paint.on(text, GREEN, level / 10, marked=actual)
    return paint.styled(text, paint.mark if actual else paint.faint)


def _narrow_form(symbol: str, unicode: bool) -> str:
    """Return a character in at most two columns; `�` (or `?`) if its form is wider."""
    text, _ = _display_form(symbol, unicode)
    return text if cell_len(text) <= 2 else "�" if unicode else "?"


def _surprise(bits: float, blocks: bool) -> str:
    if math.isnan(bits):
        return ""
    if blocks:
        return BLOCKS[int(min(max(bits, 0.0), 7.0))]
    return "+" if bits >= 9.5 else str(int(max(bits, 0.0) + 0.5))
