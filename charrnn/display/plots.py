"""Line plots, scatter plots and sparklines of text: quarter blocks with Unicode, letters in ASCII."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from charrnn.display.clusters import chop, columns
from charrnn.display.palettes import BLUE, GREEN, ORANGE, PURPLE, Paint
from charrnn.display.terminal import Terminal, safe_line

Point = tuple[float, float]

BLOCKS = "▁▂▃▄▅▆▇█"
ASCII_BLOCKS = "_.-:=+*#"
HUES = (BLUE, ORANGE, PURPLE, GREEN)  # of the first series, the second, …
LETTERS = ".ox+"
MIN_COLUMNS, MIN_ROWS, WIDEST = 24, 3, 100
STEEP_START = 0.04  # share of the x-axis
LARGEST = 1e300  # differences of larger values overflow
QUARTERS = " ▘▝▀▖▌▞▛▗▚▐▜▄▙▟█"  # bits: upper left 1, upper right 2, lower left 4, lower right 8


def loss_curve(
    series: Mapping[str, Sequence[Point]],
    terminal: Terminal,
    height: int = 12,
    *,
    widest: int = WIDEST,
    x_label: str = "step",
    y_label: str = "nats per character",
) -> list[str]:
    """Return a line plot with one curve per series, as styled lines.

    series: name → points (x, y), averaged where there are more points than dots. A steep start that would flatten the
    rest is cut off, with a note; so are non-finite points. height: rows for the curves. widest: columns, at most.
    """
    means = {name: _averaged(points, 2 * min(terminal.width, widest)) for name, points in series.items()}
    notes, y_range = _omitted(series), None
    if any(means.values()):
        y_range, high = range_without_start(means.values())
        if high > y_range[1]:
            notes.append(f"not shown: first losses up to {high:.3g}")
    return notes + _plot(means, terminal, widest, height, x_label, y_label, y_range=y_range)


def scatter(
    series: Mapping[str, Sequence[Point]],
    terminal: Terminal,
    height: int = 20,
    *,
    widest: int = WIDEST,
    x_label: str,
    y_label: str,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
) -> list[str]:
    """Return a scatter plot, else as `loss_curve`. The ranges are those of the points by default."""
    finite = {name: [point for point in points if all(map(is_drawable, point))] for name, points in series.items()}
    return _omitted(series) + _plot(
        finite, terminal, widest, height, x_label, y_label, x_range=x_range, y_range=y_range, joined=False
    )


def log_curve(
    series: Mapping[str, Sequence[Point]],
    terminal: Terminal,
    height: int = 12,
    *,
    widest: int = WIDEST,
    least: float,
    x_label: str,
    y_label: str,
) -> list[str]:
    """Return a line plot with a logarithmic y-axis, else as `loss_curve`. Values below `least` are off the plot."""
    logs = {
        name: [(x, math.log10(y)) for x, y in points if is_drawable(x) and least <= y < LARGEST]
        for name, points in series.items()
    }
    exponents = [y for points in logs.values() for _, y in points]
    y_range = (math.floor(min(exponents)), math.ceil(max(exponents))) if exponents else (0, 1)
    if y_range[0] == y_range[1]:
        y_range = (y_range[0] - 1, y_range[1])
    x_range = range_of([x for points in series.values() for x, _ in points] or [0.0])
    return _plot(logs, terminal, widest, height, x_label, y_label, x_range=x_range, y_range=y_range, powers=True)


def sparkline(values: Sequence[float], width: int, *, unicode: bool = True) -> str:
    """Return values as one row of bars from minimum to maximum, in at most `width` columns; NaN is a blank.

    With more values than columns, a column shows their mean.
    """
    shares = min(len(values), width)
    bounds = [len(values) * column // shares for column in range(shares + 1)] if shares else []
    means = [_mean(values[start:stop]) for start, stop in itertools.pairwise(bounds)]
    finite = [mean for mean in means if math.isfinite(mean)]
    if not finite:
        return " " * len(means)
    low, high = min(finite), max(finite)
    blocks = BLOCKS if unicode else ASCII_BLOCKS
    top = len(blocks) - 1
    return "".join(
        (blocks[round(top * (mean - low) / (high - low))] if high > low else blocks[top // 2])
        if math.isfinite(mean)
        else " "
        for mean in means
    )


def is_drawable(value: float) -> bool:
    """Return whether a coordinate is finite, and small enough that differences are."""
    return abs(value) < LARGEST


def range_without_start(curves: Iterable[Sequence[Point]]) -> tuple[tuple[float, float], float]:
    """Return the range of y without a steep start that would flatten the rest, and the largest y.

    curves: points in order of x, at least one in all. What is left out ends before STEEP_START of the x-axis.
    """
    curves = [points for points in curves if points]
    first, last = min(points[0][0] for points in curves), max(points[-1][0] for points in curves)
    edge = first + STEEP_START * (last - first)
    values = [y for points in curves for _, y in points]
    kept = [y for points in curves for x, y in points if x >= edge]
    kept += [
        y0 + (y1 - y0) * ((edge - x0) / (x1 - x0))
        for points in curves
        for (x0, y0), (x1, y1) in itertools.pairwise(points)
        if x0 < edge < x1
    ]
    low, high, top = min(values), max(values), max(kept)
    return (low, top) if high - low > 1.5 * (top - low) > 0 else range_of([low, high]), high


def _omitted(series: Mapping[str, Sequence[Point]]) -> list[str]:
    number = sum(not all(map(is_drawable, point)) for points in series.values() for point in points)
    return [f"{number} non-finite {'point' if number == 1 else 'points'} omitted"] if number else []


def _averaged(points: Sequence[Point], shares: int) -> list[Point]:
    """Return the means of points in equal shares of the x-axis, in order of x."""
    finite = sorted(point for point in points if all(map(is_drawable, point)))
    if len(finite) <= shares:
        return finite
    first, last = finite[0][0], finite[-1][0]
    by_share = itertools.groupby(
        finite, lambda point: int((point[0] - first) / (last - first) * shares) if last > first else 0
    )
    members = [list(group) for _, group in by_share]
    return [(_mean([x for x, _ in group]), _mean([y for _, y in group])) for group in members]


def _mean(values: Sequence[float]) -> float:
    drawable = [value for value in values if is_drawable(value)]
    return sum(drawable) / len(drawable) if drawable else math.nan


@dataclass
class _Area:
    """The characters that curves are drawn in, and the ranges of x and y that they cover."""

    columns: int
    rows: int
    dots: tuple[int, int]  # (across, down) in a character
    x_range: tuple[float, float]
    y_range: tuple[float, float]

    def across(self, x: float) -> int | None:
        """Return the column of dots at x; None outside."""
        return self._place(x, self.x_range, self.columns * self.dots[0])

    def down(self, y: float) -> int | None:
        """Return the row of dots at y, from the top; None outside."""
        size = self.rows * self.dots[1]
        up = self._place(y, self.y_range, size)
        return None if up is None else size - 1 - up

    @staticmethod
    def _place(value: float, bounds: tuple[float, float], size: int) -> int | None:
        low, high = bounds
        if not low <= value <= high:
            return None
        return round((value - low) / (high - low) * (size - 1))


def _plot(
    series: Mapping[str, Sequence[Point]],
    terminal: Terminal,
    widest: int,
    height: int,
    x_label: str,
    y_label: str,
    *,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    joined: bool = True,
    powers: bool = False,
) -> list[str]:
    """powers: y is the decimal logarithm of what the axis shows."""
    width, height = max(min(terminal.width, widest), MIN_COLUMNS), max(height, MIN_ROWS)
    unicode, paint = terminal.unicode, terminal.paint
    all_points = [point for points in series.values() for point in points]
    if not all_points:
        return ["no points to draw"]

    low, high = y_range or range_of([y for _, y in all_points])
    marks = round_numbers(low, high, max(2, height // 2))
    if powers:
        marks = [mark for mark in marks if mark == round(mark)]
    labels = [power_of_ten(mark) for mark in marks] if powers else labels_of(marks)
    margin = max(map(len, labels)) + 2
    quarters = unicode and (paint.colored or len(series) == 1)
    area = _Area(
        width - margin,
        height,
        (2, 2) if quarters else (1, 1),
        x_range or range_of([x for x, _ in all_points]),
        (low, high),
    )
    drawn = [list(_dots_of(points, area, joined)) for points in series.values()]
    grid = _draw_quarters(drawn, area) if quarters else _draw_letters(drawn, area, unicode)

    at_row = {(area.down(mark) or 0) // area.dots[1]: label for mark, label in zip(marks, labels, strict=True)}
    rows = _legend(list(series), y_label, width, paint, quarters, unicode)
    edge, tick = ("│", "┤") if unicode else ("|", "+")
    for number, row in enumerate(grid):
        label = at_row.get(number, "")
        start = paint.styled(f"{label:>{margin - 2}} {tick if label else edge}", paint.faint)
        inked = "".join(paint.in_ink(cell, HUES[index % len(HUES)]) if cell != " " else cell for cell, index in row)
        rows.append((start + inked).rstrip())
    rows += (paint.styled(row, paint.faint) for row in _x_axis(area, margin, x_label, unicode))
    return rows


def range_of(values: Sequence[float]) -> tuple[float, float]:
    """Return minimum and maximum, widened if they are equal."""
    low, high = min(values), max(values)
    if high - low > 1e-12 * max(abs(low), abs(high)):
        return low, high
    space = abs(low) * 0.05 or 0.5
    return low - space, high + space


def round_numbers(low: float, high: float, about: int) -> list[float]:
    """Return about `about` multiples of 1, 2 or 5 × 10ⁿ within a range."""
    rough = max((high - low) / about, 1e-300)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((factor * power for factor in (1, 2, 5) if factor * power >= rough), 10 * power)
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)] or [low, high]


def labels_of(numbers: Sequence[float]) -> list[str]:
    """Format numbers with as few digits as distinguish them."""
    if max(map(abs, numbers)) >= 1e7 or 0 < max(map(abs, numbers)) < 1e-4:
        return [f"{number:.3g}" for number in numbers]
    for decimals in range(7):
        written = [f"{number:,.{decimals}f}" for number in numbers]
        if all(
            abs(float(text.replace(",", "")) - number) <= 1e-9 * max(map(abs, numbers))
            for text, number in zip(written, numbers, strict=True)
        ):
            return written
    return [f"{number:.4g}" for number in numbers]


def power_of_ten(exponent: float) -> str:
    """Format a power of ten: `1`, `.1`, `1e-5`."""
    return f"{10.0**exponent:g}".replace("0.", ".", 1) if -3 <= exponent <= 3 else f"1e{exponent:.0f}"


def _dots_of(points: Sequence[Point], area: _Area, joined: bool) -> Iterator[tuple[int, int]]:
    """Yield the dots (across, down) of a series."""
    if not joined:
        for x, y in points:
            across, down = area.across(x), area.down(y)
            if across is not None and down is not None:
                yield across, down
        return
    places = [
        (across, down)
        for x, y in points
        if (across := area.across(x)) is not None and (down := area.down(y)) is not None
    ]
    yield from places[:1]
    for (x0, y0), (x1, y1) in itertools.pairwise(places):
        steps = max(x1 - x0, abs(y1 - y0))
        for step in range(1, steps + 1):
            yield x0 + round((x1 - x0) * step / steps), y0 + round((y1 - y0) * step / steps)


PlotCell = tuple[str, int]  # a character, and the index of its series


def _draw_quarters(drawn: list[list[tuple[int, int]]], area: _Area) -> list[list[PlotCell]]:
    grid = [[(0, 0)] * area.columns for _ in range(area.rows)]
    for index, dots in enumerate(drawn):
        for across, down in dots:
            bits, owner = grid[down // 2][across // 2]
            bit = 1 << (across % 2 + 2 * (down % 2))
            grid[down // 2][across // 2] = (bits | bit if owner == index else bit, index)
    return [[(QUARTERS[bits], index) for bits, index in row] for row in grid]


def _draw_letters(drawn: list[list[tuple[int, int]]], area: _Area, unicode: bool) -> list[list[PlotCell]]:
    grid = [[(" ", 0)] * area.columns for _ in range(area.rows)]
    for index, dots in enumerate(drawn):
        for across, down in dots:
            grid[down][across] = (_letter(index, unicode), index)
    return grid


def _letter(index: int, unicode: bool) -> str:
    letters = "·" + LETTERS[1:] if unicode else LETTERS
    return letters[index % len(letters)]


def _legend(names: list[str], y_label: str, width: int, paint: Paint, quarters: bool, unicode: bool) -> list[str]:
    """Return the legend: each name after a piece of its curve, wrapped to the width."""
    pieces: list[tuple[str, int]] = []  # text in its colors, columns
    for index, name in enumerate(names):
        sample = ("▀▀" if quarters else _letter(index, unicode)) + " "
        inked = paint.in_ink(sample, HUES[index % len(HUES)])
        for part in chop(safe_line(name), width - len(sample)) or [""]:
            pieces.append((inked + part, len(sample) + columns(part)))
    for part in chop(safe_line(y_label), width):
        pieces.append((paint.styled(part, paint.faint), columns(part)))
    rows, used = [""], 0
    for text, needed in pieces:
        if used and used + 3 + needed > width:
            rows, used = [*rows, ""], 0
        rows[-1] += ("   " if used else "") + text
        used += (3 if used else 0) + needed
    return rows


def _x_axis(area: _Area, margin: int, x_label: str, unicode: bool) -> list[str]:
    """Return the x-axis and as many of its labels as fit."""
    low, high = area.x_range
    marks = [mark for mark in round_numbers(low, high, max(2, area.columns // 12)) if low <= mark <= high]
    line = ["─" if unicode else "-"] * area.columns
    row = [" "] * (margin + area.columns)
    free_from = 0
    for mark, label in zip(marks, labels_of(marks) if marks else [], strict=True):
        column = (area.across(mark) or 0) // area.dots[0]
        start = min(max(margin + column - len(label) // 2, 0), len(row) - len(label))
        if start < free_from:
            continue
        line[column] = "┬" if unicode else "+"
        row[start : start + len(label)] = label
        free_from = start + len(label) + 2
    label = f" {safe_line(x_label)}"
    corner = "└" if unicode else "+"
    rows = [" " * (margin - 1) + corner + "".join(line[: max(area.columns - columns(label), 0)]) + label]
    return [*rows, "".join(row).rstrip()]
