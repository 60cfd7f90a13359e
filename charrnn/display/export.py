"""Write colored text to a file in the format of its suffix. A new format is one class with `@register`."""

from __future__ import annotations

import csv
import io
import json
import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from charrnn.display.activations import legend_notes, render
from charrnn.display.clusters import columns
from charrnn.display.fonts import missing_scripts
from charrnn.display.layout import Glyph, layout
from charrnn.display.page import html_text, page
from charrnn.display.palettes import BACKGROUNDS, PALETTES, Background, Hue, hex_color, swatch
from charrnn.display.svg import SVGPicture
from charrnn.display.terminal import STYLE, Terminal, safe_line, wrap_words
from charrnn.display.view import View
from charrnn.errors import CharrnnError, CharrnnWarning, UsageError
from charrnn.extras import import_extra
from charrnn.files import save

WIDTH, MIN_WIDTH = 100, 60  # columns of the formats with lines
FIGURES = (".svg", ".pdf", ".png")  # formats that show curves, too


class Format(ABC):
    """Formats views of one text as the content of a file. suffix: of the files, in lower case."""

    suffix: ClassVar[str]

    @abstractmethod
    def content(self, views: Sequence[View], facts: dict[str, str]) -> str | bytes:
        """Return the whole file. facts: name → value, such as run, model and text.

        Raises CharrnnError where the format needs a package that is not installed.
        """


FORMATS: dict[str, Format] = {}
"""Suffix → format, in the order of registration."""


def register(cls: type[Format]) -> type[Format]:
    """Class decorator that makes a format available under its suffix."""
    FORMATS[cls.suffix] = cls()
    return cls


def find_format(path: Path) -> Format:
    """Return the format of a file name. Raises UsageError for an unknown suffix, CharrnnError for a missing package."""
    if (found := FORMATS.get(path.suffix.lower())) is not None:
        if isinstance(found, _Converted):
            found.converter()
        return found
    problem = f"unknown suffix {path.suffix}" if path.suffix else "no suffix"
    raise UsageError(f"{path} has {problem}", f"end the name in one of {', '.join(FORMATS)}")


def export(path: Path, views: Sequence[View], facts: dict[str, str]) -> None:
    """Write views of one text, at least one, to a file, atomically. Its folder is created.

    Raises UsageError for an unknown suffix, CharrnnError if the file cannot be written.
    """
    save(path, find_format(path).content(views, facts))


def check_figure(path: Path) -> None:
    """Raise UsageError where the suffix of a file is not that of a figure, CharrnnError where a package is missing."""
    if path.suffix.lower() not in FIGURES:
        raise UsageError(f"{path} is not a figure", f"end the name in one of {', '.join(FIGURES)}")
    find_format(path)


def save_figure(path: Path, svg: str) -> None:
    """Write an SVG to a file, atomically, in the format of its suffix. Raises errors as `check_figure` and `save`."""
    check_figure(path)
    chosen = find_format(path)
    save(path, chosen.converted(svg) if isinstance(chosen, _Converted) else svg)


@register
class HTML(Format):
    """A page that shows the value and the successors of the character under the pointer."""

    suffix = ".html"

    def content(self, views: Sequence[View], facts: dict[str, str]) -> str:
        title = views[0].name if len(views) == 1 else ""
        return page(
            title or "charrnn",
            facts,
            "\n".join(self._section(view, named=not title) for view in views),
            self._style(views),
        )

    @staticmethod
    def _style(views: Sequence[View]) -> str:
        hues = {hue for view in views for hue in (PALETTES[view.palette].negative, PALETTES[view.palette].positive)}
        rules = [
            "pre { font: .95rem/1.6 ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace; margin: .6rem 0 0;",
            "  white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: plaintext; }",
            "pre i, .legend i { font-style: normal; }",
            "pre i:hover { outline: 2px solid var(--ink); }",
            ".legend { color: var(--faint); margin: 0; }",
            ".w { opacity: .6; }",
        ]
        colors = {background: "\n".join(HTML._colors(hues, background)) for background in BACKGROUNDS}
        return "\n".join([*rules, colors["light"], f"@media (prefers-color-scheme: dark) {{\n{colors['dark']}\n}}"])

    @staticmethod
    def _colors(hues: Iterable[Hue], background: Background) -> Iterator[str]:
        for hue in sorted(hues, key=lambda hue: hue.name):
            for tenths in range(1, 11):
                colors = swatch(hue, tenths / 10, background)
                paper, ink = hex_color(colors.background), hex_color(colors.ink)
                yield f".{hue.name}-{tenths} {{ background: {paper}; color: {ink}; }}"

    def _section(self, view: View, *, named: bool) -> str:
        text = "".join("".join(self._glyph(view, glyph) for glyph in line) + "\n" for line in layout(view, None))
        low, high = view.scale.ends()
        bar = "".join(f'<i class="{self._class(view, level)}">  </i>' for level in view.scale.levels)
        words = " · ".join(legend_notes(view))
        name = f"<p>{html_text(view.name)}</p>\n" if view.name and named else ""
        return (
            f"<section>\n<h2>{html_text(view.title)}</h2>\n{name}"
            f'<p class="legend">{low} <span style="white-space: pre">{bar}</span> {high} {html_text(words)}</p>\n'
            f"<pre>{text}</pre>\n</section>"
        )

    @staticmethod
    def _class(view: View, level: int) -> str:
        return f"{view.hue(level).name}-{round(10 * view.scale.intensity(level))}" if level else ""

    def _glyph(self, view: View, glyph: Glyph) -> str:
        name = self._class(view, glyph.level) or ("w" if glyph.substitute else "")
        attribute = f' class="{name}"' if name else ""
        return f'<i{attribute} title="{tooltip(view, glyph)}">{html_text(glyph.text)}</i>{line_break(view, glyph)}'


@register
class SVG(Format):
    """A picture of the terminal output, on light and on dark pages."""

    suffix = ".svg"

    def content(self, views: Sequence[View], facts: dict[str, str]) -> str:
        return _svg(views, facts)


class _Converted(Format):
    """The picture of `SVG` in another format. The converter needs no program or library of the system."""

    def content(self, views: Sequence[View], facts: dict[str, str]) -> bytes:
        missing = missing_scripts(views[0].symbols, self.converter().svg_to_png)
        if missing:
            problem = f"no installed font has {', '.join(missing)}: the picture shows boxes instead"
            warnings.warn(f"{problem}; install one, or write an .svg file", CharrnnWarning, stacklevel=2)
        return self.converted(_svg(views, facts, is_plain=True))

    def converted(self, svg: str) -> bytes:
        """Return an SVG in this format. Raises CharrnnError where the converter is not installed, or fails."""
        try:
            return self.convert(self.converter(), svg)
        except RuntimeError as error:
            raise CharrnnError(f"the picture cannot be converted to {self.suffix}", "write an .svg file") from error

    def converter(self) -> Any:
        """Return the package that converts. Raises CharrnnError where it is not installed."""
        return import_extra("vl_convert", f"a picture in {self.suffix[1:].upper()}", "vl-convert-python")

    @staticmethod
    @abstractmethod
    def convert(converter: Any, svg: str) -> bytes:
        """Convert an SVG with the package."""


@register
class PDF(_Converted):
    """Vectors and embedded fonts."""

    suffix = ".pdf"

    @staticmethod
    def convert(converter: Any, svg: str) -> bytes:
        return bytes(converter.svg_to_pdf(svg))


@register
class PNG(_Converted):
    """Two pixels for each of the SVG."""

    suffix = ".png"

    @staticmethod
    def convert(converter: Any, svg: str) -> bytes:
        return bytes(converter.svg_to_png(svg, scale=2))


@register
class PlainText(Format):
    """The output in a pipe."""

    suffix = ".txt"
    colors = "none"

    def content(self, views: Sequence[View], facts: dict[str, str]) -> str:
        return "".join(f"{line}\n" for line in _lines(views, facts, self.colors))


@register
class ANSI(PlainText):
    """The output in a true-color terminal with a dark background."""

    suffix = ".ansi"
    colors = "truecolor"


@register
class JSON(Format):
    """All numbers in full precision; non-finite values are null."""

    suffix = ".json"

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
        signal: dict[str, Any] = {"title": view.title, "name": view.name, "range": [view.scale.low, view.scale.high]}
        signal["values"] = _finite(view.values)
        if view.successors is not None:
            next_ = view.successors
            rows = zip(next_.symbols, next_.probabilities, next_.true, _finite(next_.surprise), strict=True)
            signal["successors"] = [
                {"likeliest": list(symbols), "probabilities": _finite(shares), "true": true, "surprise_bits": bits}
                for symbols, shares, true, bits in rows
            ]
        return signal


@register
class CSV(Format):
    """One row per character, one column per signal."""

    suffix = ".csv"

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
            rows.writerow([position, _code_points(symbol), safe_line(symbol), *signals])
        return file.getvalue()


def _svg(views: Sequence[View], facts: dict[str, str], *, is_plain: bool = False) -> str:
    light = list(_lines(views, facts, "truecolor", "light"))
    dark = list(_lines(views, facts, "truecolor", "dark"))
    is_grid = any(view.successors is not None for view in views)
    title = "; ".join(view.name or view.title for view in views)
    return str(SVGPicture(light, dark, title, is_grid=is_grid, is_plain=is_plain))


def _lines(views: Sequence[View], facts: dict[str, str], colors: str, background: Background = "dark") -> Iterator[str]:
    """Yield the facts in a caption, then for each view its name, legend and text. Captions are as wide as the text."""
    paper = Terminal(is_terminal=False, colors=colors, width=WIDTH, unicode=True, background=background)
    rendered = [list(render(view, paper)) for view in views]
    width = max(MIN_WIDTH, *(columns(STYLE.sub("", line)) for lines in rendered for line in lines))
    if facts:
        yield from wrap_words(safe_line(" · ".join(facts.values())), width)
    for number, (view, lines) in enumerate(zip(views, rendered, strict=True)):
        if number or facts:
            yield ""
        if view.name:
            yield from wrap_words(safe_line(view.name), width)
        yield from lines


def tooltip(view: View, glyph: Glyph) -> str:
    """Return everything known about a glyph, as the value of an HTML attribute."""
    lines = [line for place in range(glyph.first, glyph.first + glyph.count) for line in _described(view, place)]
    return "&#10;".join(map(html_text, lines))  # XML turns a bare newline into a blank


def line_break(view: View, glyph: Glyph) -> str:
    """Return the markup for a possible line break after a glyph."""
    return "<wbr/>" if view.symbols[glyph.first] in " \t" else ""


def _described(view: View, position: int) -> Iterator[str]:
    symbol, successors = view.symbols[position], view.successors
    yield f"{safe_line(symbol)} {_code_points(symbol)} · {view.values[position]:+.3f}"
    if successors is not None:
        ranked = zip(successors.symbols[position], successors.probabilities[position], strict=True)
        for place, (successor, probability) in enumerate(ranked):
            yield f"{safe_line(successor)} {probability:.3f}{' ← actual' if successors.true[position] == place else ''}"
        if not math.isnan(successors.surprise[position]):
            yield f"surprise {successors.surprise[position]:.2f} bits"


def _code_points(symbol: str) -> str:
    return " ".join(f"U+{ord(character):04X}" for character in symbol)


def _finite(values: Sequence[float]) -> list[float | None]:
    return [float(value) if math.isfinite(value) else None for value in values]
