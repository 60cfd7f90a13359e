"""Text colored by what a cell does at each character, with a legend, for any terminal and for none.

`layout` turns a view into lines of glyphs with a level each, whatever the output; `render` draws them with the colors
a terminal has, and without colors sets rows of values under the text, so that a pipe loses nothing. A view with
successors gets, under each character, those that the model thinks likeliest to follow (as in Karpathy 2015, *The
Unreasonable Effectiveness of Recurrent Neural Networks*) and how surprising the one that did follow was.

What is colored is a code point's value after the code point was read. Combining marks stand with their base, in the
base's color; whatever else a terminal would hide or merge (controls, joiners, variation selectors) is spelled out.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache
from itertools import groupby

from rich.cells import cell_len, chop_cells

from charrnn.display.palettes import GREEN, PALETTES, Hue, Paint
from charrnn.display.terminal import Terminal, escaped, safe_text

TAB_STOP = 4
FEWEST_COLUMNS = 20
GUTTER = 5  # columns left of the rows of `--top`, for their names
BLOCKS = "▁▂▃▄▅▆▇█"

# Zero-width in some terminals and not in others, or merged with what stands before: spelled out, as columns must hold.
_SPELLED_OUT = ((0x200C, 0x200D), (0xFE00, 0xFE0F), (0x1F1E6, 0x1F1FF), (0x1F3FB, 0x1F3FF), (0xE0100, 0xE01EF))
_JAMO_THAT_JOIN = ((0x1160, 0x11FF), (0xD7B0, 0xD7FF))


class SignalScale(Enum):
    """The fixed range of a signal, and its levels: 0 is left plain, the sign of a level is the side of the palette."""

    SIGNED = (-1.0, 1.0)
    """tanh(c), h and the candidate: levels −5 to 5."""
    UNIT = (0.0, 1.0)
    """A gate: levels 0 to 10."""

    @property
    def levels(self) -> range:
        """All levels in order, eleven of them."""
        return range(-5, 6) if self is SignalScale.SIGNED else range(11)

    def level(self, value: float) -> int:
        """The level of a value; 0 where |value| < .05 or the value is not a number. Values outside are clipped."""
        strength = min(abs(value), 1.0)
        if not strength >= 0.05 or (self is SignalScale.UNIT and value < 0):
            return 0
        if self is SignalScale.UNIT:
            return max(1, math.floor(strength * 10 + 0.5))
        return int(math.copysign(min(1 + int((strength - 0.05) / 0.19), 5), value))

    def strength(self, level: int) -> float:
        """How strong the color of a level is, 0–1."""
        return abs(level) / max(self.levels)


@dataclass(frozen=True)
class Successors:
    """What a model expects after each of N characters.

    symbols: N × K characters, the likeliest first. probabilities: N × K. true: N; where among the K stands the one that
    did follow, 0-based; None if it is not among them or not known. surprise: N; bits of the one that did follow, NaN if
    not known.
    """

    symbols: Sequence[Sequence[str]]
    probabilities: Sequence[Sequence[float]]
    true: Sequence[int | None]
    surprise: Sequence[float]


@dataclass(frozen=True)
class View:
    """A text of N characters and a value for each.

    symbols: a string, or a list where a character is more than one sign (a byte as `\\xNN`). values: N floats, already
    in the range of `scale`. title: what the values are, as `tanh(c) of cell 1:42`. palette: a name in `PALETTES`.
    """

    symbols: Sequence[str]
    values: Sequence[float]
    title: str
    scale: SignalScale = SignalScale.SIGNED
    palette: str = "blue-red"
    successors: Successors | None = None

    def __post_init__(self) -> None:
        lengths = {len(self.symbols), len(self.values)}
        if self.successors is not None:
            given = self.successors
            lengths |= {len(rows) for rows in (given.symbols, given.probabilities, given.true, given.surprise)}
        if len(lengths) != 1:
            raise ValueError(f"a view's characters and values differ in number: {sorted(lengths)}")

    def hue(self, level: int) -> Hue:
        """The side of the palette that a level lies on. Gates, which have one side, take the positive."""
        palette = PALETTES[self.palette]
        return palette.negative if level < 0 else palette.positive

    def painted(self, paint: Paint, text: str, level: int, *, faded: bool = False) -> str:
        """Text in the colors of a level. faded: signs that stand for whitespace, set back behind the text.

        Among 16 colors, where a hue has two, the strongest levels have a line under the text too.
        """
        if level:
            strength = self.scale.strength(level)
            strongest = paint.colors == "16" and strength > 0.8
            return paint.on(text, self.hue(level), strength, faded=faded, marked=strongest)
        return paint.styled(text, paint.faint) if faded else text


@dataclass(frozen=True)
class Glyph:
    """One sign on the page: a character, with the marks that combine with it.

    text: as shown, safe. columns: its width. first, count: which characters of the view it stands for. level: of the
    first. stands_in: whether it is a sign for whitespace or a control, not the character itself.
    """

    text: str
    columns: int
    first: int
    count: int
    level: int
    stands_in: bool

    def padded_to(self, columns: int) -> Glyph:
        """The glyph with blanks after it up to a width; itself if it is that wide."""
        missing = columns - self.columns
        return replace(self, text=self.text + " " * missing, columns=columns) if missing > 0 else self


Line = list[Glyph]


@dataclass(frozen=True)
class Run:
    """Neighboring glyphs of one level and one ink: the unit that is colored."""

    text: str
    columns: int
    level: int
    stands_in: bool


def runs(line: Line) -> Iterator[Run]:
    """A line's glyphs, merged where level and ink are the same."""
    for (level, stands_in), glyphs in groupby(line, lambda glyph: (glyph.level, glyph.stands_in)):
        members = list(glyphs)
        yield Run("".join(g.text for g in members), sum(g.columns for g in members), level, stands_in)


def layout(view: View, width: int | None, *, unicode: bool = True) -> list[Line]:
    """The view's text in lines of at most `width` columns (None: as long as the text's own).

    A line ends after its `↵`, or where the next glyph would pass the width; no glyph is ever parted. Every character of
    the view is in exactly one glyph. Without `unicode` all signs are ASCII.
    """
    lines: list[Line] = []
    line: Line = []
    column = 0
    limit = math.inf if width is None else max(width, FEWEST_COLUMNS)
    for glyph in _glyphs(view, unicode):
        symbol = view.symbols[glyph.first]
        columns = TAB_STOP - column % TAB_STOP if symbol == "\t" else 0
        if column + max(columns, glyph.columns) > limit:
            lines.append(line)
            line, column, columns = [], 0, TAB_STOP if columns else 0
        line.append(glyph.padded_to(columns))
        column += line[-1].columns
        if symbol == "\n":
            lines.append(line)
            line, column = [], 0
    return [*lines, line] if line else lines


def _glyphs(view: View, unicode: bool, *, marks_apart: bool = False) -> Iterator[Glyph]:
    """Glyphs in order. marks_apart: combining marks are glyphs of their own."""
    position, number = 0, len(view.symbols)
    while position < number:
        stop = position + 1
        text, is_itself = _shown(view.symbols[position], unicode)
        if unicode and is_itself and not marks_apart:
            while stop < number and _joins(view.symbols[stop]):
                text += view.symbols[stop]
                stop += 1
        yield Glyph(
            text, cell_len(text), position, stop - position, view.scale.level(view.values[position]), not is_itself
        )
        position = stop


WHITESPACE = {True: {"\n": "↵", "\t": "→", " ": "·"}, False: {"\n": "\\n", "\t": "\\t", " ": " "}}


@lru_cache(maxsize=8192)
def _shown(symbol: str, unicode: bool) -> tuple[str, bool]:
    """What stands for a character on the page, and whether that is the character itself."""
    if symbol in WHITESPACE[unicode]:
        return WHITESPACE[unicode][symbol], False
    if not unicode:
        text = "".join(c if " " <= c <= "~" else escaped(c) for c in symbol)
    elif _joins(symbol):
        text = "◌" + symbol
    else:
        text = "".join(_spelled(c) for c in safe_text(symbol, keep_newlines=False, keep_tabs=False))
    return text, text == symbol


def _spelled(character: str) -> str:
    return escaped(character) if cell_len(character) == 0 or _within(character, _SPELLED_OUT) else character


@lru_cache(maxsize=8192)
def _joins(symbol: str) -> bool:
    """Whether a character stands with the one before it: a combining mark, or a vowel or final of a Korean syllable."""
    return (
        len(symbol) == 1
        and cell_len(symbol) == 0
        and (unicodedata.category(symbol)[0] == "M" or _within(symbol, _JAMO_THAT_JOIN))
        and not _within(symbol, _SPELLED_OUT)
    )


def _within(character: str, ranges: tuple[tuple[int, int], ...]) -> bool:
    return any(first <= ord(character) <= last for first, last in ranges)


def render(view: View, terminal: Terminal) -> Iterator[str]:
    """The view as lines for this terminal (styled, without line ends): a legend, then the text.

    With colors the values are backgrounds; without, each line of text is followed by rows of values. With
    `view.successors`, rows with the likeliest next characters stand under each stretch of text.
    """
    paint = Paint(terminal.colors)
    yield from _legend(view, terminal, paint)
    yield ""
    if view.successors is not None:
        yield from _with_successors(view, view.successors, terminal, paint)
        return
    for line in layout(view, terminal.width, unicode=terminal.unicode):
        yield "".join(view.painted(paint, run.text, run.level, faded=run.stands_in) for run in runs(line))
        if not paint.colored:
            yield from (row for _, row in value_rows(view, line))
            yield ""


def value_rows(view: View, line: Line) -> Iterator[tuple[str, str]]:
    """Rows of digits to stand under a line of text: (name, row), trailing blanks removed.

    Signed values have a row of signs, then one of digits; gates have digits alone. A digit d says
    d/10 ≤ |value| < (d + 1)/10 (9 up to 1); both are blank below .05. `?` is not a number.
    """
    values = [view.values[glyph.first] for glyph in line]
    if view.scale is SignalScale.SIGNED:
        yield "sign", _row(line, ("" if not view.scale.level(v) else "-" if v < 0 else "+" for v in values))
    yield "size", _row(line, (_tenths(view.scale, v) for v in values))


def _tenths(scale: SignalScale, value: float) -> str:
    if math.isnan(value):
        return "?"
    return str(min(int(abs(value) * 10 + 1e-9), 9)) if scale.level(value) else ""


def _row(line: Line, signs: Iterable[str]) -> str:
    padded = (sign + " " * (glyph.columns - cell_len(sign)) for glyph, sign in zip(line, signs, strict=True))
    return "".join(padded).rstrip()


def legend_words(view: View) -> str:
    """What the colors of a view mean, in words."""
    hues = PALETTES[view.palette]
    if view.scale is SignalScale.SIGNED:
        return f"{hues.negative.name} negative, {hues.positive.name} positive"
    return f"plain 0, {hues.positive.name} 1"


def notes(view: View) -> list[str]:
    """What must be known to read a view's text rightly."""
    joined = sum(map(_joins, view.symbols)) if view.successors is None else 0
    words = "mark, in its base's color" if joined == 1 else "marks, in their base's color"
    return [f"{joined} combining {words}"] if joined else []


def _legend(view: View, terminal: Terminal, paint: Paint) -> Iterator[str]:
    title = safe_text(view.title, keep_newlines=False, keep_tabs=False)
    dot, minus = ("·", "−") if terminal.unicode else ("-", "-")
    if not paint.colored:
        rows = "the sign of its value and the tenths" if view.scale is SignalScale.SIGNED else "the tenths of its value"
        parts = [title, f"under each character {rows}, blank below .05", *notes(view)]
        yield from _wrapped(f" {dot} ".join(parts), terminal)
    else:
        low, high = (f"{minus}1", "+1") if view.scale is SignalScale.SIGNED else ("0", "1")
        step = 2 if terminal.width >= 30 else 1
        bar = "".join(view.painted(paint, " " * step, level) for level in view.scale.levels)
        columns = cell_len(low) + step * len(view.scale.levels) + cell_len(high) + 4
        words = f" {dot} ".join([title, legend_words(view), *notes(view)])
        if columns + cell_len(words) <= terminal.width:
            yield f"{low} {bar} {high}  {words}"
        else:
            yield f"{low} {bar} {high}"
            yield from _wrapped(words, terminal)
    if view.successors is not None:
        yield from _successor_legend(terminal, paint)


def _wrapped(words: str, terminal: Terminal) -> Iterator[str]:
    """Words in lines of the terminal's width; a longer word is cut, never lost."""
    line = ""
    for word in words.split(" "):
        if line and cell_len(line) + 1 + cell_len(word) > terminal.width:
            yield line
            line = ""
        line = f"{line} {word}" if line else word
        while cell_len(line) > terminal.width:
            head, line = chop_cells(line, terminal.width)[0], "".join(chop_cells(line, terminal.width)[1:])
            yield head
    if line:
        yield line


def _successor_legend(terminal: Terminal, paint: Paint) -> Iterator[str]:
    if not paint.colored:
        yield from _wrapped(
            "1-5: the likeliest next characters. next: the row of the one that came, - if none. p(1): tenths of the"
            " likeliest's probability. bits: surprise at the one that came, + from 9.5",
            terminal,
        )
        return
    scale = f"{BLOCKS[0]} below 1 to {BLOCKS[-1]} from 7" if terminal.unicode else "+ from 9.5"
    yield from _wrapped(
        "1-5: the likeliest next characters, on green by probability, underlined the one that came. bits: surprise at"
        f" it, {scale}",
        terminal,
    )


def _with_successors(view: View, successors: Successors, terminal: Terminal, paint: Paint) -> Iterator[str]:
    """The text in stretches that fill the width, newlines shown but not made, with rows of successors under each."""
    stretch: Line = []
    columns = GUTTER
    for glyph in _glyphs(view, terminal.unicode, marks_apart=True):
        below = (cell_len(_in_a_column(symbol, terminal.unicode)) for symbol in successors.symbols[glyph.first])
        glyph = glyph.padded_to(max(below, default=1))
        if stretch and columns + glyph.columns > terminal.width:
            yield from _stretch_rows(view, successors, stretch, terminal, paint)
            stretch, columns = [], GUTTER
        stretch.append(glyph)
        columns += glyph.columns
    if stretch:
        yield from _stretch_rows(view, successors, stretch, terminal, paint)


def _stretch_rows(view: View, successors: Successors, stretch: Line, terminal: Terminal, paint: Paint) -> Iterator[str]:
    def named(name: str, row: str) -> str:
        return (paint.styled(name.ljust(GUTTER), paint.faint) + row).rstrip()

    positions = [glyph.first for glyph in stretch]
    yield named("text", "".join(view.painted(paint, run.text, run.level, faded=run.stands_in) for run in runs(stretch)))
    if not paint.colored:
        for name, row in value_rows(view, stretch):
            yield named(name, row)
    for place in range(max(len(successors.symbols[position]) for position in positions)):
        row = ""
        for glyph in stretch:
            row += _successor(successors, glyph, place, terminal, paint)
        yield named(str(place + 1), row)
    if not paint.colored:
        came = (successors.true[position] for position in positions)
        known = (not math.isnan(successors.surprise[position]) for position in positions)
        yield named(
            "next", _row(stretch, (str(c + 1) if c is not None else "-" * k for c, k in zip(came, known, strict=True)))
        )
        likeliest = (successors.probabilities[position][0] for position in positions)
        yield named("p(1)", _row(stretch, (str(min(int(p * 10 + 1e-9), 9)) for p in likeliest)))
    blocks = paint.colored and terminal.unicode
    yield named("bits", _row(stretch, (_surprise(successors.surprise[position], blocks) for position in positions)))
    yield ""


def _successor(successors: Successors, glyph: Glyph, place: int, terminal: Terminal, paint: Paint) -> str:
    symbols = successors.symbols[glyph.first]
    if place >= len(symbols):
        return " " * glyph.columns
    text = _in_a_column(symbols[place], terminal.unicode)
    text += " " * (glyph.columns - cell_len(text))
    came = successors.true[glyph.first] == place
    level = SignalScale.UNIT.level(successors.probabilities[glyph.first][place])
    if level:
        return paint.on(text, GREEN, level / 10, marked=came)
    return paint.styled(text, paint.mark if came else paint.faint)


def _in_a_column(symbol: str, unicode: bool) -> str:
    """A character in one column, two for a wide one; `�` (or `?`) for those that would take more."""
    text, _ = _shown(symbol, unicode)
    return text if cell_len(text) <= 2 else "�" if unicode else "?"


def _surprise(bits: float, blocks: bool) -> str:
    if math.isnan(bits):
        return ""
    if blocks:
        return BLOCKS[int(min(max(bits, 0.0), 7.0))]
    return "+" if bits >= 9.5 else str(int(max(bits, 0.0) + 0.5))
