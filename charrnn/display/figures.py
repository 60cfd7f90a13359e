"""Line figures as SVG, for slides and papers: light and dark, without scripts or fonts to load."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from charrnn.display.page import html_text
from charrnn.display.palettes import Background, swatch
from charrnn.display.plots import HUES, power_of_ten

WIDTH, HEIGHT = 720, 420
LEFT, RIGHT, TOP, BOTTOM = 64, 20, 72, 48
STYLE = (
    ".paper{fill:#fff}text{fill:#1c1e21;font:13px system-ui,sans-serif}.title{font-size:15px;font-weight:600}"
    ".faint{fill:#676767}.grid{stroke:#d9dce0}.band{opacity:.16}"
    ".curve{fill:none;stroke-width:2;stroke-linejoin:round}"
    "@media(prefers-color-scheme:dark){.paper{fill:#121417}text{fill:#dfe2e6}.faint{fill:#8b8f94}.grid{stroke:#33383e}}"
)


@dataclass(frozen=True)
class Curve:
    """A line y over x, and a band from low to high around it. Values that are not positive and finite are left out."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


def log_figure(curves: Sequence[Curve], *, title: str, note: str, x_label: str, y_label: str, least: float) -> str:
    """Return an SVG with a logarithmic y-axis that shows values from `least` up."""
    frame = _Frame.around(curves, least)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'role="img">',
        f"<title>{html_text(title)}</title>",
        f"<style>{STYLE}{_dark_rules(len(curves))}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}" rx="8" fill="#fff"/>',
        f'<text class="title" x="16" y="26">{html_text(title)}</text>',
        f'<text class="faint" x="16" y="{HEIGHT - 10}">{html_text(note)}</text>',
        *_axes(frame, x_label, y_label),
        *_legend([curve.name for curve in curves]),
        f'<clipPath id="plot"><rect x="{LEFT}" y="{TOP}" width="{WIDTH - LEFT - RIGHT}" '
        f'height="{HEIGHT - TOP - BOTTOM}"/></clipPath>',
        '<g clip-path="url(#plot)">',
    ]
    for number, curve in enumerate(curves):
        low, high = (list(frame.places(curve.x, values)) for values in (curve.low, curve.high))
        parts.append(f'<polygon class="band f{number}" fill="{_color(number)}" points="{_joined(high + low[::-1])}"/>')
    for number, curve in enumerate(curves):
        line = _joined(list(frame.places(curve.x, curve.y)))
        parts.append(f'<polyline class="curve s{number}" stroke="{_color(number)}" points="{line}"/>')
    return "\n".join([*parts, "</g>", "</svg>"]) + "\n"


@dataclass(frozen=True)
class _Frame:
    """The ranges of both axes, y as a decimal logarithm."""

    x_range: tuple[float, float]
    y_range: tuple[int, int]

    @classmethod
    def around(cls, curves: Sequence[Curve], least: float) -> _Frame:
        shown = [
            (x, value)
            for curve in curves
            for values in (curve.y, curve.low, curve.high)
            for x, value in zip(curve.x, values, strict=True)
            if math.isfinite(value) and value >= least
        ] or [(0.0, 1.0)]
        low, high = math.floor(math.log10(min(y for _, y in shown))), math.ceil(math.log10(max(y for _, y in shown)))
        return cls((min(x for x, _ in shown), max(x for x, _ in shown)), (low, max(high, low + 1)))

    def across(self, x: float) -> float:
        low, high = self.x_range
        return LEFT + (x - low) / ((high - low) or 1) * (WIDTH - LEFT - RIGHT)

    def down(self, exponent: float) -> float:
        low, high = self.y_range
        return HEIGHT - BOTTOM - (exponent - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    def places(self, x: Sequence[float], y: Sequence[float]) -> Iterator[tuple[float, float]]:
        """Yield the points of a line; those far below the plot at its edge."""
        floor = self.y_range[0] - 1
        for one, value in zip(x, y, strict=True):
            if math.isfinite(value):
                yield self.across(one), self.down(max(math.log10(value), floor) if value > 0 else floor)


def _axes(frame: _Frame, x_label: str, y_label: str) -> Iterator[str]:
    low, high = frame.y_range
    every = max(1, math.ceil((high - low) / 8))
    for exponent in range(high, low - 1, -every):
        y = frame.down(exponent)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:g}" y2="{y:g}"/>'
        yield f'<text class="faint" x="{LEFT - 8}" y="{y + 4:g}" text-anchor="end">{power_of_ten(exponent)}</text>'
    first, last = frame.x_range
    for step in range(5):
        value = first + (last - first) * step / 4
        yield (
            f'<text class="faint" x="{frame.across(value):g}" y="{HEIGHT - BOTTOM + 18}" '
            f'text-anchor="middle">{value:g}</text>'
        )
    yield f'<text class="faint" x="{WIDTH - RIGHT}" y="{HEIGHT - 10}" text-anchor="end">{html_text(x_label)}</text>'
    yield f'<text class="faint" x="16" y="{TOP - 14}">{html_text(y_label)}</text>'


def _legend(names: Sequence[str]) -> Iterator[str]:
    x = WIDTH - RIGHT
    for number, name in reversed(list(enumerate(names))):
        yield f'<text x="{x:g}" y="{TOP - 14}" text-anchor="end">{html_text(name)}</text>'
        x -= 8 * len(name) + 12
        yield f'<rect class="f{number}" x="{x - 4:g}" y="{TOP - 20}" width="14" height="4" fill="{_color(number)}"/>'
        x -= 16


def _dark_rules(curves: int) -> str:
    """Return the colors of the curves on a dark page, as CSS; those on a light one are attributes."""
    colors = [(number, _color(number, "dark")) for number in range(curves)]
    rules = "".join(f".f{number}{{fill:{color}}}.s{number}{{stroke:{color}}}" for number, color in colors)
    return f"@media(prefers-color-scheme:dark){{{rules}}}"


def _color(number: int, background: Background = "light") -> str:
    return "#{:02x}{:02x}{:02x}".format(*swatch(HUES[number % len(HUES)], 1.0, background).background)


def _joined(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
