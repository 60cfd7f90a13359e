"""Draw styled lines, as a terminal gets them, as an SVG for light and dark pages.

Each cluster has the columns that it has in a terminal. A line with right-to-left text is put into visual order, and a
run of such text is one element, in which a browser joins the letters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from charrnn.display.bidi import VisualRun, is_rtl, visual_runs
from charrnn.display.clusters import clusters, columns
from charrnn.display.page import html_text
from charrnn.display.palettes import INK, PAPER, RGB, hex_color
from charrnn.display.terminal import STYLE
from charrnn.files import EXPORT_MARK

COLUMN, ROW, MARGIN, SIZE = 8.4, 20, 14, 14  # pixels: cell width and height, margin, font size
FONT = "ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace"
LAM, ALEFS, HALF = "\u0644", "\u0622\u0623\u0625\u0627", 0.5  # Arabic letters that share a column, as a ligature
MIRRORED = str.maketrans("()[]{}<>«»", ")(][}{><»«")


class SVGPicture:
    """Lines as an SVG.

    light, dark: the same lines with the colors of each background. title: for screen readers. is_grid: columns of
    different lines belong together, so that text is not put into visual order. is_plain: for a converter that ignores
    `direction` and the lengths of parts: right-to-left letters have their columns on average, clusters with marks the
    width of their font.
    """

    def __init__(
        self, light: Sequence[str], dark: Sequence[str], title: str, *, is_grid: bool = False, is_plain: bool = False
    ):
        self._lines, self._title, self._is_grid, self._is_plain = light, title, is_grid, is_plain
        self._numbered = self._styles(light, dark)
        self._columns = max(columns(STYLE.sub("", line)) for line in light)

    def __str__(self) -> str:
        width, height = 2 * MARGIN + COLUMN * self._columns, 2 * MARGIN + ROW * len(self._lines)
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
            f'height="{height:g}" role="img">',
            EXPORT_MARK,
            f"<title>{html_text(self._title)}</title>",
            "<style>text{white-space:pre;"
            f"font:{SIZE}px {FONT}}}"
            "rect{shape-rendering:crispEdges}@media(prefers-color-scheme:dark){"
            f".paper{{fill:{hex_color(PAPER['dark'])}}}.ink{{fill:{hex_color(INK['dark'])}}}{self._rules()}}}</style>",
            f'<rect class="paper" width="{width:g}" height="{height:g}" rx="8" fill="{hex_color(PAPER["light"])}"/>',
            f'<g class="ink" fill="{hex_color(INK["light"])}">',
        ]
        for number, line in enumerate(self._lines):
            parts += self._line(line, MARGIN + number * ROW)
        return "\n".join([*parts, "</g>", "</svg>"]) + "\n"

    @staticmethod
    def _styles(light: Sequence[str], dark: Sequence[str]) -> dict[str, tuple[int, str]]:
        """Return for each style of the light picture a number and the style of the dark one."""
        pairs = (
            zip(STYLE.findall(one), STYLE.findall(other), strict=True) for one, other in zip(light, dark, strict=True)
        )
        styles = {one: other for line in pairs for one, other in line}
        return {one: (number, other) for number, (one, other) in enumerate(styles.items())}

    def _rules(self) -> str:
        """Return the colors of a dark page, as CSS; those of a light one are attributes."""
        rules = []
        for number, dark in self._numbered.values():
            ink, background, _ = _parsed(dark)
            rules += [f".i{number}{{fill:{hex_color(ink)}}}"] if ink is not None else []
            rules += [f".b{number}{{fill:{hex_color(background)}}}"] if background is not None else []
        return "".join(rules)

    def _line(self, line: str, top: float) -> Iterator[str]:
        """Yield the backgrounds and the text of a line; right-to-left, it ends at the right edge."""
        painted = _painted_clusters(line)
        texts = [one.text for one in painted]
        runs = [VisualRun(0, len(texts), False)] if self._is_grid else visual_runs(texts)
        column = 0.0
        if is_rtl(texts) and not self._is_grid:
            column = self._columns - sum(one.columns for one in painted)
        for run in runs:
            part = painted[run.start : run.stop]
            draw = self._rtl_run if run.is_rtl else self._ltr_run
            yield from draw(part, column, top)
            column += sum(one.columns for one in part)

    def _ltr_run(self, run: list[_Painted], column: float, top: float) -> Iterator[str]:
        """Yield one text element for each style, and for each cluster that stands apart."""
        for (_, apart), group in groupby(
            enumerate(run), lambda one: (one[1].style, self._stands_apart(one[1]) and one)
        ):
            piece = [one for _, one in group]
            text, size = "".join(one.text for one in piece), sum(one.columns for one in piece)
            yield from self._background(piece[0].style, column, size, top)
            if text.strip():
                length = "" if apart and self._is_plain else f" {_length(size)}"
                yield (
                    f'<text {_place(column, top)}{length} xml:space="preserve"'
                    f"{self._look(piece[0].style)}>{html_text(text)}</text>"
                )
            column += size

    def _stands_apart(self, one: _Painted) -> bool:
        """Return whether a cluster is right to left, as in a grid only, or has marks, which converters misplace."""
        return is_rtl([one.text]) or (self._is_plain and len(one.text) > 1)

    def _rtl_run(self, run: list[_Painted], column: float, top: float) -> Iterator[str]:
        """Yield one text element, so that the letters are joined, in which each cluster has its columns."""
        edge = end = column + sum(one.columns for one in run)
        spans = []
        for one in run:
            end -= one.columns
            yield from self._background(one.style, end, one.columns, top)
            length = f" {_length(1 if one.columns == HALF else one.columns)}"
            if one.columns == HALF and one.text != LAM:
                length = ""
            spans.append(f"<tspan{length}{self._look(one.style)}>{html_text(one.text)}</tspan>")
        if self._is_plain:
            yield from self._plain_words(run, edge, top)
            return
        yield (
            f'<text {_place(edge, top)} direction="rtl" unicode-bidi="bidi-override" xml:space="preserve">'
            f"{''.join(spans)}</text>"
        )

    def _plain_words(self, run: list[_Painted], edge: float, top: float) -> Iterator[str]:
        """Yield an element for each word, from right to left, and for each sign between words."""
        for is_word, group in groupby(run, lambda one: is_rtl([one.text])):
            members = list(group)
            for piece in [members] if is_word else [[one] for one in members]:
                size = sum(one.columns for one in piece)
                edge -= size
                if any(len(one.text) > 1 for one in piece):  # marks are lost between tspans
                    piece = [replace(piece[0], text="".join(one.text for one in piece))]
                text = "".join(
                    f"<tspan{self._look(one.style)}>{html_text(one.text.translate(MIRRORED))}</tspan>" for one in piece
                )
                yield f'<text {_place(edge, top)} {_length(size)} xml:space="preserve">{text}</text>'

    def _background(self, style: str, column: float, size: float, top: float) -> Iterator[str]:
        _, color, _ = _parsed(style)
        if color is not None and size:
            yield (
                f'<rect class="b{self._numbered[style][0]}" x="{MARGIN + column * COLUMN:g}" y="{top:g}" '
                f'width="{size * COLUMN:g}" height="{ROW}" fill="{hex_color(color)}"/>'
            )

    def _look(self, style: str) -> str:
        ink, _, marked = _parsed(style)
        colored = f' class="i{self._numbered[style][0]}" fill="{hex_color(ink)}"' if ink is not None else ""
        return colored + (' font-weight="bold" text-decoration="underline"' if marked else "")


def _place(column: float, top: float) -> str:
    return f'x="{MARGIN + column * COLUMN:g}" y="{top + 0.72 * ROW:g}"'


def _length(size: float) -> str:
    return f'textLength="{size * COLUMN:g}" lengthAdjust="spacingAndGlyphs"'


@dataclass(frozen=True)
class _Painted:
    """A cluster of a line, and the color sequence before it."""

    text: str
    columns: float
    style: str


def _painted_clusters(line: str) -> list[_Painted]:
    """Divide a line into clusters. Lam and alef have half a column each."""
    painted: list[_Painted] = []
    style = ""
    for place, part in enumerate(STYLE.split(line)):
        if place % 2:
            style = part
            continue
        for text in clusters(part):
            painted.append(_Painted(text, columns(text), style))
            if text[0] in ALEFS and len(painted) > 1 and painted[-2].text == LAM:
                painted[-2:] = (replace(one, columns=HALF) for one in painted[-2:])
    return painted


def _parsed(style: str) -> tuple[RGB | None, RGB | None, bool]:
    """Parse one of our true-color sequences: text color, background, whether emphasized."""
    codes = [int(code) for code in style[2:-1].split(";") if code]
    ink = background = None
    while len(codes) >= 5 and codes[0] in (38, 48):
        color: RGB = (codes[2], codes[3], codes[4])
        ink, background = (color, background) if codes[0] == 38 else (ink, color)
        codes = codes[5:]
    return ink, background, 4 in codes
