"""Line figures as SVG, for slides and papers: light and dark, without scripts or fonts to load."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from charrnn.display.clusters import chop, columns
from charrnn.display.page import html_text
from charrnn.display.palettes import Background, hex_color, swatch
from charrnn.display.plots import (
    HUES,
    Point,
    is_drawable,
    labels_of,
    power_of_ten,
    range_of,
    range_without_start,
    round_numbers,
)
from charrnn.files import EXPORT_MARK

WIDTH, HEIGHT = 720, 420
LEFT, RIGHT, TOP, BOTTOM = 64, 20, 72, 48
LETTER, LEGEND = 7, 36  # pixels of a letter, and of a piece of a curve in the legend
STYLE = (
    ".paper{fill:#fff}text{fill:#1c1e21;font:13px system-ui,sans-serif}.title{font-size:15px;font-weight:600}"
    ".faint{fill:#676767}.grid{stroke:#d9dce0}.band{opacity:.16}"
    ".curve{fill:none;stroke-width:2;stroke-linejoin:round}"
    "@media(prefers-color-scheme:dark){.paper{fill:#121417}text{fill:#dfe2e6}.faint{fill:#8b8f94}.grid{stroke:#33383e}}"
)


@dataclass(frozen=True)
class Curve:
    """A line y over x, and a band from low to high around it, if they are given. What is not finite is left out."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()

    def points(self, *, with_band: bool = False) -> Iterator[Point]:
        """Yield (x, y) of the line, and of the band."""
        for values in (self.y, self.low, self.high) if with_band else (self.y,):
            yield from (point for point in zip(self.x, values, strict=False) if all(map(is_drawable, point)))


def line_figure(curves: Sequence[Curve], *, title: str, x_label: str) -> str:
    """Return an SVG with linear axes. title: what y is.

    A steep start that would flatten the rest is cut off, with a note.
    """
    lines = [sorted(curve.points()) for curve in curves]
    if not any(lines):
        lines = [[(0.0, 0.0)]]
    y_range, largest = range_without_start(lines)
    frame = _Frame(range_of([x for points in lines for x, _ in points]), y_range)
    note = f"not shown: first losses up to {largest:.3g}" if largest > y_range[1] else ""
    return _figure(curves, frame, title=title, note=note, x_label=x_label, y_label="")


def log_figure(curves: Sequence[Curve], *, title: str, note: str, x_label: str, y_label: str, least: float) -> str:
    """Return an SVG with a logarithmic y-axis that shows values from `least` up."""
    points = [point for curve in curves for point in curve.points(with_band=True) if point[1] >= least]
    exponents = [math.log10(y) for _, y in points] or [0.0]
    low, high = math.floor(min(exponents)), math.ceil(max(exponents))
    frame = _Frame(range_of([x for x, _ in points] or [0.0, 1.0]), (low, max(high, low + 1)), is_log=True)
    return _figure(curves, frame, title=title, note=note, x_label=x_label, y_label=y_label)


def _figure(curves: Sequence[Curve], frame: _Frame, *, title: str, note: str, x_label: str, y_label: str) -> str:
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'role="img">',
        EXPORT_MARK,
        f"<title>{html_text(title)}</title>",
        f"<style>{STYLE}{_dark_rules(len(curves))}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}" rx="8" fill="#fff"/>',
        f'<text class="title" x="16" y="26">{html_text(title)}</text>',
        f'<text class="faint" x="16" y="{HEIGHT - 10}">{html_text(note)}</text>' if note else "",
        *_axes(frame, x_label, y_label),
        *_legend([curve.name for curve in curves], y_label),
        f'<clipPath id="plot"><rect x="{LEFT}" y="{TOP - 2}" width="{WIDTH - LEFT - RIGHT}" '
        f'height="{HEIGHT - TOP - BOTTOM + 4}"/></clipPath>',
        '<g clip-path="url(#plot)">',
    ]
    for number, curve in enumerate(curves):
        low, high = (list(frame.places(curve.x, values)) for values in (curve.low, curve.high))
        if low:
            points = _joined(high + low[::-1])
            parts.append(f'<polygon class="band f{number}" fill="{_color(number)}" points="{points}"/>')
    for number, curve in enumerate(curves):
        line = _joined(list(frame.places(curve.x, curve.y)))
        parts.append(f'<polyline class="curve s{number}" stroke="{_color(number)}" points="{line}"/>')
    return "\n".join([*filter(None, parts), "</g>", "</svg>"]) + "\n"


@dataclass(frozen=True)
class _Frame:
    """The ranges of both axes; that of y as decimal logarithms where it is logarithmic."""

    x_range: tuple[float, float]
    y_range: tuple[float, float]
    is_log: bool = False

    def across(self, x: float) -> float:
        low, high = self.x_range
        return LEFT + (x - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def down(self, y: float) -> float:
        """Return the place of a value, or of its logarithm."""
        low, high = self.y_range
        return HEIGHT - BOTTOM - (y - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    def places(self, x: Sequence[float], y: Sequence[float]) -> Iterator[Point]:
        """Yield the points of a line; those far outside the plot just outside of it."""
        low, high = self.y_range
        for one, value in zip(x, y, strict=False):
            if is_drawable(one) and is_drawable(value):
                shown = (math.log10(value) if value > 0 else -math.inf) if self.is_log else value
                yield self.across(one), self.down(min(max(shown, 2 * low - high), 2 * high - low))

    def marks(self) -> list[tuple[float, str]]:
        """Return the marks on the y-axis: (value or logarithm, label)."""
        low, high = self.y_range
        if not self.is_log:
            values = round_numbers(low, high, 6)
            return list(zip(values, labels_of(values), strict=True))
        every = max(1, math.ceil((high - low) / 8))
        return [(exponent, power_of_ten(exponent)) for exponent in range(int(high), int(low) - 1, -every)]


def _axes(frame: _Frame, x_label: str, y_label: str) -> Iterator[str]:
    for value, label in frame.marks():
        y = f"{frame.down(value):.4g}"
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>'
        yield f'<text class="faint" x="{LEFT - 8}" y="{y}" dy="4" text-anchor="end">{label}</text>'
    marks = round_numbers(*frame.x_range, 6)
    for value, label in zip(marks, labels_of(marks), strict=True):
        yield (
            f'<text class="faint" x="{frame.across(value):.4g}" y="{HEIGHT - BOTTOM + 18}" '
            f'text-anchor="middle">{label}</text>'
        )
    yield f'<text class="faint" x="{WIDTH - RIGHT}" y="{HEIGHT - 10}" text-anchor="end">{html_text(x_label)}</text>'
    yield f'<text class="faint" x="16" y="{TOP - 14}">{html_text(y_label)}</text>'


def _legend(names: Sequence[str], y_label: str) -> Iterator[str]:
    """Yield the name of each curve after a piece of it, right of the label of the y-axis; long names are cut."""
    width = (WIDTH - RIGHT - 32 - LETTER * len(y_label)) / max(len(names), 1) - LEGEND
    shown = [_cut(name, max(2, int(width / LETTER))) for name in names]
    x = WIDTH - RIGHT - sum(LETTER * columns(name) + LEGEND for name in shown)
    for number, name in enumerate(shown):
        x += LEGEND
        yield f'<rect class="f{number}" x="{x - 20:g}" y="{TOP - 20}" width="14" height="4" fill="{_color(number)}"/>'
        yield f'<text x="{x:g}" y="{TOP - 14}">{html_text(name)}</text>'
        x += LETTER * columns(name)


def _cut(name: str, width: int) -> str:
    return name if columns(name) <= width else f"{chop(name, width - 1)[0]}…"


def _dark_rules(curves: int) -> str:
    """Return the colors of the curves on a dark page, as CSS; those on a light one are attributes."""
    colors = [(number, _color(number, "dark")) for number in range(curves)]
    rules = "".join(f".f{number}{{fill:{color}}}.s{number}{{stroke:{color}}}" for number, color in colors)
    return f"@media(prefers-color-scheme:dark){{{rules}}}"


def _color(number: int, background: Background = "light") -> str:
    return hex_color(swatch(HUES[number % len(HUES)], 1.0, background).background)


def _joined(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
