"""Colored text as a file, in the format that its suffix names. A new format is one class, and its name in FORMATS."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

from rich.cells import cell_len

from charrnn.display.activations import Glyph, SignalScale, View, layout, legend_words, notes, render
from charrnn.display.page import html_text, page
from charrnn.display.palettes import PALETTES, RGB, Hue, swatch
from charrnn.display.terminal import STYLE, Terminal, safe_text
from charrnn.errors import CharrnnError, UsageError
from charrnn.files import file_to_be

WIDTH = 100  # columns of the formats that have lines


class Format(Protocol):
    """Writes views of one text as a file's content."""

    suffix: ClassVar[str]
    about: ClassVar[str]

    def content(self, views: Sequence[View], facts: dict[str, str]) -> str:
        """The whole file. facts: what there is to know about the views, name → value."""


def export(path: Path, views: Sequence[View], facts: dict[str, str]) -> None:
    """Writes views of one text, at least one, to a file that is there whole or not at all; an older one is replaced.

    Raises UsageError for a suffix that names no format, CharrnnError where the file cannot be written.
    """
    content = format_of(path).content(views, facts)
    try:
        with file_to_be(path) as aside:
            aside.write_bytes(content.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise CharrnnError(f"{path} cannot be written: {error.strerror}", "name another file") from None


def format_of(path: Path) -> Format:
    """The format that a file's suffix names. Raises UsageError, naming those that there are."""
    for form in FORMATS:
        if path.suffix.lower() == form.suffix:
            return form
    known = ", ".join(form.suffix for form in FORMATS)
    kind = f"the suffix {path.suffix}" if path.suffix else "no suffix"
    raise UsageError(f"{path} has {kind}, which names no format", f"end the name in one of {known}")


class HTML:
    """A page with the value of each character, and what the model expected after it, on pointing at it."""

    suffix = ".html"
    about = "a page of its own, with every value on pointing at a character"

    def content(self, views: Sequence[View], facts: dict[str, str]) -> str:
        hues = {hue for view in views for hue in (PALETTES[view.palette].negative, PALETTES[view.palette].positive)}
        style = [
            "pre { font: .95rem/1.6 ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace; margin: .6rem 0 0;",
            "  white-space: pre-wrap; word-break: break-all; }",
            "pre i, .legend i { font-style: normal; }",
            "pre i:hover { outline: 2px solid var(--ink); }",
            ".legend { color: var(--faint); margin: 0; }",
            ".w { opacity: .6; }",
            *(rule for hue in sorted(hues, key=lambda hue: hue.name) for rule in self._rules(hue)),
        ]
        body = "\n".join(self._section(view) for view in views)
        return page("charrnn inspect", facts, body, "\n".join(style))

    @staticmethod
    def _rules(hue: Hue) -> Iterator[str]:
        for tenths in range(1, 11):
            colors = swatch(hue, tenths / 10)
            yield f".{hue.name}-{tenths} {{ background: {_hex(colors.background)}; color: {_hex(colors.ink)}; }}"

    def _section(self, view: View) -> str:
        text = "".join("".join(self._glyph(view, glyph) for glyph in line) + "\n" for line in layout(view, None))
        low, high = ("−1", "+1") if view.scale is SignalScale.SIGNED else ("0", "1")
        bar = "".join(f'<i class="{self._class(view, level)}">  </i>' for level in view.scale.levels)
        words = " · ".join([legend_words(view), *notes(view)])
        return (
            f"<section>\n<h2>{html_text(view.title)}</h2>\n"
            f'<p class="legend">{low} <span style="white-space: pre">{bar}</span> {high} {html_text(words)}</p>\n'
            f"<pre>{text}</pre>\n</section>"
        )

    @staticmethod
    def _class(view: View, level: int) -> str:
        return f"{view.hue(level).name}-{round(10 * view.scale.strength(level))}" if level else ""

    def _glyph(self, view: View, glyph: Glyph) -> str:
        said = "\n".join(_said(view, position) for position in range(glyph.first, glyph.first + glyph.count))
        about = html_text(said).replace("\n", "&#10;")  # XML makes a bare one a blank
        classes = " ".join(
            filter(None, (self._class(view, glyph.level), "w" if glyph.stands_in and not glyph.level else ""))
        )
        given = f' class="{classes}"' if classes else ""
        return f'<i{given} title="{about}">{html_text(glyph.text)}</i>'


class SVG:
    """The picture that a terminal shows."""

    suffix = ".svg"
    about = "a picture, for a README or a paper"
    column, row, margin, size = 8.4, 20, 14, 14  # pixels

    def content(self, views: Sequence[View], facts: dict[str, str]) -> str:
        lines = list(_lines(views, "truecolor"))
        width = 2 * self.margin + self.column * max(cell_len(STYLE.sub("", line)) for line in lines)
        height = 2 * self.margin + self.row * len(lines)
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
            f'height="{height:g}" role="img">',
            f"<title>{html_text('; '.join(view.title for view in views))}</title>",
            "<style>.paper{fill:#fff}text{fill:#1c1e21;white-space:pre;"
            f"font:{self.size}px ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace}}"
            "rect{shape-rendering:crispEdges}@media(prefers-color-scheme:dark){.paper{fill:#121417}text{fill:#dfe2e6}}</style>",
            f'<rect class="paper" width="{width:g}" height="{height:g}" rx="8" fill="#fff"/>',
        ]
        for number, line in enumerate(lines):
            parts += self._line(line, self.margin + number * self.row)
        return "\n".join([*parts, "</svg>"]) + "\n"

    def _line(self, line: str, top: float) -> Iterator[str]:
        column, style = 0, ""
        for place, part in enumerate(STYLE.split(line)):
            if place % 2:
                style = part
                continue
            columns = cell_len(part)
            x, width = self.margin + column * self.column, columns * self.column
            ink, background, marked = _parsed(style)
            if background is not None and columns:
                yield f'<rect x="{x:g}" y="{top:g}" width="{width:g}" height="{self.row}" fill="{_hex(background)}"/>'
            if part.strip():
                look = (f' style="fill:{_hex(ink)}"' if ink is not None else "") + (
                    ' font-weight="bold" text-decoration="underline"' if marked else ""
                )
                yield (
                    f'<text x="{x:g}" y="{top + 0.72 * self.row:g}" textLength="{width:g}" '
                    f'lengthAdjust="spacingAndGlyphs" xml:space="preserve"{look}>{html_text(part)}</text>'
                )
            column += columns


class PlainText:
    """What a pipe gets: text, and rows of values under it."""

    suffix = ".txt"
    about = "text with rows of values under it"

    def content(self, views: Sequence[View], facts: dict[str, str]) -> str:
        return "".join(f"{line}\n" for line in _lines(views, "none"))


class ANSI:
    """What a terminal with true colors gets; `cat` shows it."""

    suffix = ".ansi"
    about = "text with the color codes of a terminal, for cat"

    def content(self, views: Sequence[View], facts: dict[str, str]) -> str:
        return "".join(f"{line}\n" for line in _lines(views, "truecolor"))


class JSON:
    """All numbers in full. Values that are not finite are null."""

    suffix = ".json"
    about = "all values in full, for programs"

    def content(self, views: Sequence[View], facts: dict[str, str]) -> str:
        shown = {
            "format": "charrnn.activations",
            "version": 1,
            "facts": facts,
            "characters": list(views[0].symbols),
            "signals": [self._signal(view) for view in views],
        }
        return json.dumps(shown, ensure_ascii=True, allow_nan=False, indent=1) + "\n"

    @staticmethod
    def _signal(view: View) -> dict[str, Any]:
        signal: dict[str, Any] = {"title": view.title, "range": view.scale.value, "values": _finite(view.values)}
        if view.successors is not None:
            given = view.successors
            signal["successors"] = [
                {"likeliest": list(symbols), "probabilities": _finite(shares), "true": true, "surprise_bits": bits}
                for symbols, shares, true, bits in zip(
                    given.symbols, given.probabilities, given.true, _finite(given.surprise), strict=True
                )
            ]
        return signal


class CSV:
    """A row for each character, a column for each signal."""

    suffix = ".csv"
    about = "a row for each character, for spreadsheets"

    def content(self, views: Sequence[View], facts: dict[str, str]) -> str:
        file = io.StringIO()
        rows = csv.writer(file, lineterminator="\n")
        surprise = next((view.successors.surprise for view in views if view.successors is not None), None)
        rows.writerow(
            ["position", "code point", "character", *(view.title for view in views)]
            + (["surprise in bits"] if surprise is not None else [])
        )
        for position, symbol in enumerate(views[0].symbols):
            signals = [repr(float(view.values[position])) for view in views]
            if surprise is not None:
                signals.append("" if math.isnan(surprise[position]) else repr(float(surprise[position])))
            shown = safe_text(symbol, keep_newlines=False, keep_tabs=False)
            rows.writerow([position, _code_points(symbol), shown, *signals])
        return file.getvalue()


FORMATS: tuple[Format, ...] = (HTML(), SVG(), PlainText(), ANSI(), JSON(), CSV())


def _lines(views: Sequence[View], colors: str) -> Iterator[str]:
    page_like = Terminal(is_terminal=False, colors=colors, width=WIDTH, unicode=True)
    for number, view in enumerate(views):
        if number:
            yield ""
        yield from render(view, page_like)


def _parsed(style: str) -> tuple[RGB | None, RGB | None, bool]:
    """Ink, background and whether marked, of one of our own true-color sequences."""
    codes = [int(code) for code in style[2:-1].split(";") if code]
    ink = background = None
    while len(codes) >= 5 and codes[0] in (38, 48):
        color: RGB = (codes[2], codes[3], codes[4])
        ink, background = (color, background) if codes[0] == 38 else (ink, color)
        codes = codes[5:]
    return ink, background, 4 in codes


def _said(view: View, position: int) -> str:
    """Everything that is known of one character, for the label that appears on pointing at it."""
    symbol = view.symbols[position]
    shown = safe_text(symbol, keep_newlines=False, keep_tabs=False)
    said = [f"{shown} {_code_points(symbol)} · {view.values[position]:+.3f}"]
    if view.successors is not None:
        given = view.successors
        for place, (successor, share) in enumerate(
            zip(given.symbols[position], given.probabilities[position], strict=True)
        ):
            came = " ← came" if given.true[position] == place else ""
            said.append(f"{safe_text(successor, keep_newlines=False, keep_tabs=False)} {share:.3f}{came}")
        if not math.isnan(given.surprise[position]):
            said.append(f"surprise {given.surprise[position]:.2f} bits")
    return "\n".join(said)


def _code_points(symbol: str) -> str:
    return " ".join(f"U+{ord(character):04X}" for character in symbol)


def _finite(values: Sequence[float]) -> list[float | None]:
    return [float(value) if math.isfinite(value) else None for value in values]


def _hex(color: RGB) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)
