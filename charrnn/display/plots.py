"""Curves and clouds of dots in a terminal: quarters of a character where there is Unicode, ASCII letters elsewhere."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, chop_cells

from charrnn.display.palettes import BLUE, GREEN, ORANGE, PURPLE, Paint
from charrnn.display.terminal import safe_text

Point = tuple[float, float]

BLOCKS = "▁▂▃▄▅▆▇█"
ASCII_BLOCKS = "_.-:=+*#"
HUES = (BLUE, ORANGE, PURPLE, GREEN)  # of the first series, the second, …
LETTERS = ".ox+"
FEWEST_ROWS = 3
STEEP_BEGINNING = 0.04  # share of the x-axis
LARGEST = 1e300  # beyond it differences overflow
FEWEST_COLUMNS = 24
QUARTERS = " ▘▝▀▖▌▞▛▗▚▐▜▄▙▟█"  # bits: upper left 1, upper right 2, lower left 4, lower right 8


def loss_curve(
    series: Mapping[str, Sequence[Point]],
    width: int = 80,
    height: int = 12,
    *,
    unicode: bool = True,
    colors: str = "none",
    x_label: str = "step",
    y_label: str = "nats per character",
) -> list[str]:
    """Lines through points, one per series: rows of at most `width` columns, `height` of them for the curves.

    series: name → points (x, y), such as step and loss. Where more points than dots fall on a stretch of x their mean
    is drawn. A steep beginning is cut off at the top where it would flatten all the rest, and its height is said.
    Points that are not finite are left out, and their number is said. colors: as in `Terminal`; the rows hold color
    sequences unless it is "none".
    """
    means = {name: _averaged(points, 2 * width) for name, points in series.items()}
    points = [point for every in means.values() for point in every]
    notes, y_range = _left_out(series), None
    if points:
        first, last = min(x for x, _ in points), max(x for x, _ in points)
        low, high = min(y for _, y in points), max(y for _, y in points)
        top = max(y for x, y in points if x >= first + STEEP_BEGINNING * (last - first))
        if high - low > 1.5 * (top - low) > 0:
            y_range = (low, top)
            notes.append(f"begins at {high:.3g}, above")
    return notes + _plot(means, width, height, unicode, colors, x_label, y_label, True, None, y_range)


def scatter(
    series: Mapping[str, Sequence[Point]],
    width: int = 60,
    height: int = 20,
    *,
    x_label: str,
    y_label: str,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    unicode: bool = True,
    colors: str = "none",
) -> list[str]:
    """A dot for each point (x, y), else as `loss_curve`. Ranges are those of the points unless they are given."""
    finite = {name: [point for point in points if all(map(_is_drawable, point))] for name, points in series.items()}
    return _left_out(series) + _plot(finite, width, height, unicode, colors, x_label, y_label, False, x_range, y_range)


def sparkline(values: Sequence[float], width: int, *, unicode: bool = True) -> str:
    """Values as one row of bars from their least to their greatest, at most `width` columns; a blank is not a number.

    Where there are more values than columns, a column is the mean of its share.
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


def _is_drawable(value: float) -> bool:
    return abs(value) < LARGEST


def _left_out(series: Mapping[str, Sequence[Point]]) -> list[str]:
    number = sum(not all(map(_is_drawable, point)) for points in series.values() for point in points)
    if not number:
        return []
    return [
        "1 point that is not finite is left out" if number == 1 else f"{number} points that are not finite are left out"
    ]


def _averaged(points: Sequence[Point], shares: int) -> list[Point]:
    """At most so many points, each the mean of those in its share of the x-axis; in order of x."""
    finite = sorted(point for point in points if all(map(_is_drawable, point)))
    if len(finite) <= shares:
        return finite
    first, last = finite[0][0], finite[-1][0]
    by_share = itertools.groupby(
        finite, lambda point: int((point[0] - first) / (last - first) * shares) if last > first else 0
    )
    members = [list(group) for _, group in by_share]
    return [(_mean([x for x, _ in group]), _mean([y for _, y in group])) for group in members]


def _mean(values: Sequence[float]) -> float:
    drawable = [value for value in values if _is_drawable(value)]
    return sum(drawable) / len(drawable) if drawable else math.nan


@dataclass
class _Area:
    """The cells that curves are drawn in, each of dots × rows dots, and the ranges that its edges stand for."""

    columns: int
    rows: int
    dots: tuple[int, int]  # (across, down) in a cell
    x_range: tuple[float, float]
    y_range: tuple[float, float]

    def across(self, x: float) -> int | None:
        """The column of dots where x lies; None outside."""
        return self._place(x, self.x_range, self.columns * self.dots[0])

    def down(self, y: float) -> int | None:
        """The row of dots where y lies, from the top; None outside."""
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
    width: int,
    height: int,
    unicode: bool,
    colors: str,
    x_label: str,
    y_label: str,
    joined: bool,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
) -> list[str]:
    width, height = max(width, FEWEST_COLUMNS), max(height, FEWEST_ROWS)
    paint = Paint(colors)
    every = [point for points in series.values() for point in points]
    if not every:
        return ["no points to draw"]

    low, high = y_range or _apart([y for _, y in every])
    marks = _round_numbers(low, high, max(2, height // 2))
    labels = _labels(marks)
    margin = max(map(len, labels)) + 2
    quarters = unicode and (paint.colored or len(series) == 1)
    area = _Area(
        width - margin, height, (2, 2) if quarters else (1, 1), x_range or _apart([x for x, _ in every]), (low, high)
    )
    drawn = [list(_dots_of(points, area, joined)) for points in series.values()]
    grid = _quartered(drawn, area) if quarters else _lettered(drawn, area, unicode)

    at_row = {(area.down(mark) or 0) // area.dots[1]: label for mark, label in zip(marks, labels, strict=True)}
    rows = _key(list(series), y_label, width, paint, quarters, unicode)
    edge, tick = ("│", "┤") if unicode else ("|", "+")
    for number, row in enumerate(grid):
        label = at_row.get(number, "")
        start = paint.styled(f"{label:>{margin - 2}} {tick if label else edge}", paint.faint)
        inked = "".join(paint.in_ink(cell, HUES[which % len(HUES)]) if cell != " " else cell for cell, which in row)
        rows.append((start + inked).rstrip())
    rows += (paint.styled(row, paint.faint) for row in _x_axis(area, margin, x_label, unicode))
    return rows


def _apart(values: Sequence[float]) -> tuple[float, float]:
    """Least and greatest value, apart from each other even where there is one value only."""
    low, high = min(values), max(values)
    if high - low > 1e-12 * max(abs(low), abs(high)):
        return low, high
    space = abs(low) * 0.05 or 0.5
    return low - space, high + space


def _round_numbers(low: float, high: float, about: int) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten that lie in a range, about as many as asked."""
    rough = max((high - low) / about, 1e-300)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((factor * power for factor in (1, 2, 5) if factor * power >= rough), 10 * power)
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)] or [low, high]


def _labels(numbers: Sequence[float]) -> list[str]:
    """Numbers in as few digits as tell them apart."""
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


def _dots_of(points: Sequence[Point], area: _Area, joined: bool) -> Iterator[tuple[int, int]]:
    """Places (across, down) of the dots of a series."""
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


Cell = tuple[str, int]  # what stands in a cell, and the number of the series it belongs to


def _quartered(drawn: list[list[tuple[int, int]]], area: _Area) -> list[list[Cell]]:
    grid = [[(0, 0)] * area.columns for _ in range(area.rows)]
    for which, dots in enumerate(drawn):
        for across, down in dots:
            bits, owner = grid[down // 2][across // 2]
            bit = 1 << (across % 2 + 2 * (down % 2))
            grid[down // 2][across // 2] = (bits | bit if owner == which else bit, which)
    return [[(QUARTERS[bits], which) for bits, which in row] for row in grid]


def _lettered(drawn: list[list[tuple[int, int]]], area: _Area, unicode: bool) -> list[list[Cell]]:
    grid = [[(" ", 0)] * area.columns for _ in range(area.rows)]
    for which, dots in enumerate(drawn):
        for across, down in dots:
            grid[down][across] = (_letter(which, unicode), which)
    return grid


def _letter(which: int, unicode: bool) -> str:
    letters = "·" + LETTERS[1:] if unicode else LETTERS
    return letters[which % len(letters)]


def _key(names: list[str], y_label: str, width: int, paint: Paint, quarters: bool, unicode: bool) -> list[str]:
    """What the curves are: each name after a piece of its curve; a further row where the first is full."""
    pieces: list[tuple[str, int]] = []  # text in its colors, columns
    for which, name in enumerate(names):
        sample = ("▀▀" if quarters else _letter(which, unicode)) + " "
        inked = paint.in_ink(sample, HUES[which % len(HUES)])
        for part in chop_cells(safe_text(name, keep_newlines=False, keep_tabs=False), width - len(sample)) or [""]:
            pieces.append((inked + part, len(sample) + cell_len(part)))
    for part in chop_cells(safe_text(y_label, keep_newlines=False, keep_tabs=False), width):
        pieces.append((paint.styled(part, paint.faint), cell_len(part)))
    rows, columns = [""], 0
    for text, needed in pieces:
        if columns and columns + 3 + needed > width:
            rows, columns = [*rows, ""], 0
        rows[-1] += ("   " if columns else "") + text
        columns += (3 if columns else 0) + needed
    return rows


def _x_axis(area: _Area, margin: int, x_label: str, unicode: bool) -> list[str]:
    """The line under the cells, and numbers under it as far as there is room."""
    low, high = area.x_range
    marks = [mark for mark in _round_numbers(low, high, max(2, area.columns // 12)) if low <= mark <= high]
    line = ["─" if unicode else "-"] * area.columns
    row = [" "] * (margin + area.columns)
    free_from = 0
    for mark, label in zip(marks, _labels(marks) if marks else [], strict=True):
        column = (area.across(mark) or 0) // area.dots[0]
        start = min(max(margin + column - len(label) // 2, 0), len(row) - len(label))
        if start < free_from:
            continue
        line[column] = "┬" if unicode else "+"
        row[start : start + len(label)] = label
        free_from = start + len(label) + 2
    label = f" {safe_text(x_label, keep_newlines=False, keep_tabs=False)}"
    corner = "└" if unicode else "+"
    rows = [" " * (margin - 1) + corner + "".join(line[: max(area.columns - cell_len(label), 0)]) + label]
    return [*rows, "".join(row).rstrip()]
