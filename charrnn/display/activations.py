"""Text colored by the value of a signal at each character, with a legend, for terminals with and without colors.

`render` colors the lines of `charrnn.display.layout` or, without colors, prints rows of values below the
text. A view with successors also gets the most likely next characters below each character (as in Karpathy 2015, *The
Unreasonable Effectiveness of Recurrent Neural Networks*) and the surprise at the actual one.

A grapheme cluster, such as a letter with its marks, a Hangul syllable or a flag, is never divided. Its color is the
value after the network has read all of it. Controls, and joiners that join nothing, are shown escaped.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from charrnn.display.clusters import columns
from charrnn.display.layout import Glyph, Line, display_form, glyph_of, glyphs, layout, merge_glyphs
from charrnn.display.palettes import GREEN, PALETTES, Paint
from charrnn.display.terminal import Terminal, safe_line, wrap_words
from charrnn.display.view import SignalScale, Successors, View
from charrnn.units import amount

GUTTER = 5  # columns for the names of the rows with successors
LONGEST_WORD = 16  # characters that are left out at an end of an excerpt, at most
BLOCKS = "▁▂▃▄▅▆▇█"
# In the rows of successors, where each character has a column.
_SHORT_FORMS = (
    {"\u200c": "nj", "\u200d": "zj"}
    | {chr(0xFE00 + number): f"v{number:x}" for number in range(16)}
    | {chr(0x1F1E6 + number): f"r{chr(97 + number)}" for number in range(26)}
    | {chr(0x1F3FB + number): f"t{number + 1}" for number in range(5)}
)


def render(view: View, terminal: Terminal) -> Iterator[str]:
    """Yield a view's legend and text as styled lines without line ends.

    With colors, values are backgrounds; without, each line of text is followed by rows of values. Rows with the
    successors, if any, follow each line.
    """
    paint = terminal.paint
    yield from legend(view, terminal)
    yield ""
    if view.successors is not None:
        yield from _with_successors(view, view.successors, terminal, paint)
        return
    for line in _lines(view, terminal, terminal.width):
        yield _painted(view, line, paint)
        if not paint.colored:
            yield from (row for _, row in value_rows(view, line))
            yield ""


def _lines(view: View, terminal: Terminal, width: int, *, newlines: bool = True) -> list[Line]:
    aligned = not terminal.paint.colored
    return layout(view, width, unicode=terminal.unicode, newlines=newlines, program=terminal.program, aligned=aligned)


def excerpt_lines(view: View, terminal: Terminal, width: int, *, rows: int = 1, focus: int | None = None) -> list[str]:
    """Return a view's text in at most `rows` lines, without a legend; newlines are shown, but do not end a line.

    A longer text is cut at both ends, so that the character `focus`, which is marked, stays in the middle where
    possible; None: the middle one, unmarked. Words cut off at the ends are left out. Without colors, rows of values
    follow each line.
    """
    paint = terminal.paint
    shown_glyphs = list(glyphs(view, terminal.unicode))
    blanks = [view.symbols[glyph.first].isspace() for glyph in shown_glyphs]
    position = len(view.symbols) // 2 if focus is None else focus
    middle = next((place for place, glyph in enumerate(shown_glyphs) if glyph.last >= position), 0)
    starts = [*(glyph.first for glyph in shown_glyphs), len(view.symbols)]
    start, stop = 0, len(shown_glyphs)
    while True:
        first, last = _whole_words(blanks, start, stop, middle)
        shown = view.part(starts[first], starts[last])
        lines = _lines(shown, terminal, width, newlines=False)
        if len(lines) <= rows:
            break
        if stop - middle > middle - start:
            stop = last - 1
        else:
            start = first + 1
    drawn, marked = [], -1 if focus is None else focus - starts[first]
    for line in lines:
        drawn.append(_painted(shown, line, paint, marked))
        if not paint.colored:
            pointer = _row(line, ("^" if one.first <= marked <= one.last else "" for one in line))
            drawn += [row for _, row in value_rows(shown, line)] + [pointer] * bool(pointer)
    return drawn


def _whole_words(blanks: Sequence[bool], start: int, stop: int, focus: int) -> tuple[int, int]:
    """Return a smaller part of a text that begins and ends at blanks, unless these are far away or beyond focus."""
    before, after = (
        [blanks[place] for place in places]
        for places in (
            range(start, min(start + LONGEST_WORD, focus)),
            range(stop - 1, max(stop - LONGEST_WORD, focus), -1),
        )
    )
    return start + (before.index(True) + 1 if True in before else 0), stop - (after.index(True) if True in after else 0)


def _painted(view: View, line: Line, paint: Paint, mark: int = -1) -> str:
    """Return a line in its colors. mark: the character to emphasize; −1: none."""
    return "".join(
        view.paint(paint, span.text, span.level, faded=span.substitute, marked=is_marked)
        for is_marked, members in groupby(line, lambda glyph: glyph.first <= mark <= glyph.last)
        for span in merge_glyphs(list(members))
    )


def value_rows(view: View, line: Line) -> Iterator[tuple[str, str]]:
    """Yield rows of digits to print below a line of text: (name, row).

    Signed values have a row of signs and one of digits. Digit d: d/10 ≤ |value|/high < (d + 1)/10, 9 up to 1; blank
    below .05. `?` is NaN.
    """
    values = [view.values[glyph.last] for glyph in line]
    if view.scale.signed:
        yield "sign", _row(line, ("" if not view.scale.level(v) else "-" if v < 0 else "+" for v in values))
    yield "size", _row(line, map(view.scale.tenths, values))


def _row(line: Line, signs: Iterable[str]) -> str:
    padded = (sign + " " * (glyph.columns - columns(sign)) for glyph, sign in zip(line, signs, strict=True))
    return "".join(padded).rstrip()


def legend_notes(view: View, *, colored: bool = True, unicode: bool = True) -> list[str]:
    """Return what a reader of the text needs to know: the meaning of colors or digits, and of clusters."""
    hues, scale = PALETTES[view.palette], view.scale
    if not colored:
        digits = "tenths of its value" if scale.high == 1 else f"its value in tenths of {scale.high:g}"
        small = f"{0.05 * scale.high:g}".removeprefix("0")
        notes = [f"below each character {'its sign and ' if scale.signed else ''}{digits}, blank below {small}"]
    elif scale.signed:
        notes = [f"{hues.negative.name} negative, {hues.positive.name} positive"]
    else:
        notes = [f"plain 0, {hues.positive.name} {scale.high:g}"]
    several = sum(glyph.count > 1 for glyph in glyphs(view, unicode)) if view.successors is None else 0
    return [*notes, f"{amount(several, 'cluster')} of several characters, shown by the last"] if several else notes


def legend(view: View, terminal: Terminal, mark: str = "") -> Iterator[str]:
    """Yield the scale of a view's colors and their meaning as styled lines. mark: what the marked character is."""
    paint = terminal.paint
    title = safe_line(view.title)
    dot, minus = ("·", "−") if terminal.unicode else ("-", "-")
    notes = legend_notes(view, colored=paint.colored, unicode=terminal.unicode)
    notes += [f"{'underlined' if paint.colored else '^'}: {mark}"] if mark else []
    words = f" {dot} ".join([title, *notes])
    if not paint.colored:
        yield from wrap_words(words, terminal.width, program=terminal.program)
    else:
        low, high = view.scale.ends(minus)
        available = terminal.width - columns(low) - columns(high) - 4
        size = columns(words, terminal.program)
        fits = available - size >= len(view.scale.levels)
        step = 2 if available - fits * size >= 2 * len(view.scale.levels) else 1
        bar = "".join(view.paint(paint, " " * step, level) for level in view.scale.levels)
        if fits:
            yield f"{low} {bar} {high}  {words}"
        else:
            yield f"{low} {bar} {high}"
            yield from wrap_words(words, terminal.width, program=terminal.program)
    if view.successors is not None:
        yield from _successor_legend(terminal, paint)
        yield from _short_form_legend([view.symbols, *view.successors.symbols], terminal)


def _short_form_legend(symbols: Iterable[Sequence[str]], terminal: Terminal) -> list[str]:
    found = sorted({symbol for row in symbols for symbol in row} & _SHORT_FORMS.keys())
    text = ", ".join(f"{_SHORT_FORMS[symbol]}: U+{ord(symbol):04X}" for symbol in found)
    return wrap_words(text, terminal.width) if found else []


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
    column = GUTTER
    for position, symbol in enumerate(view.symbols):
        glyph = glyph_of(view, position, position + 1, terminal.unicode, terminal.program)
        if symbol in _SHORT_FORMS:
            glyph = replace(glyph, text=_SHORT_FORMS[symbol], columns=2)
        below = (columns(_narrow_form(one, terminal.unicode)) for one in successors.symbols[position])
        glyph = glyph.padded_to(max(below, default=1))
        if line and column + glyph.columns > terminal.width:
            yield from _successor_rows(view, successors, line, terminal, paint)
            line, column = [], GUTTER
        line.append(glyph)
        column += glyph.columns
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
    text += " " * (glyph.columns - columns(text))
    actual = successors.true[glyph.first] == place
    level = SignalScale.UNIT.level(successors.probabilities[glyph.first][place])
    if level:
        return paint.on(text, GREEN, level / 10, marked=actual)
    return paint.styled(text, paint.mark if actual else paint.faint)


def _narrow_form(symbol: str, unicode: bool) -> str:
    """Return a character in at most two columns; `�` (or `?`) if its form is wider."""
    text = _SHORT_FORMS.get(symbol) or display_form(symbol, unicode)[0]
    return text if columns(text) <= 2 else "�" if unicode else "?"


def _surprise(bits: float, blocks: bool) -> str:
    if math.isnan(bits):
        return ""
    if blocks:
        return BLOCKS[int(min(max(bits, 0.0), 7.0))]
    return "+" if bits >= 9.5 else str(int(max(bits, 0.0) + 0.5))
