"""Histograms of a signal, one for each class of characters, as two lines of blocks or digits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from charrnn.display.activations import BLOCKS
from charrnn.display.clusters import columns
from charrnn.display.palettes import PALETTES, Paint
from charrnn.display.terminal import Terminal, safe_line
from charrnn.display.view import SignalScale
from charrnn.units import signed

MAX_BINS = 41
MIN_BINS = 11


def histogram_lines(
    classes: Sequence[tuple[str, np.ndarray]], scale: SignalScale, terminal: Terminal, palette: str = "blue-red"
) -> Iterator[str]:
    """Yield a histogram of the values of each class, two lines high, its share and mean beside it, above one axis.

    classes: name and values of each. Bars are relative to the largest of their class, so that a rare one is visible.
    """
    total = sum(len(values) for _, values in classes)
    names = [safe_line(name) for name, _ in classes]
    means = [signed(float(values.mean())) if len(values) else "none" for _, values in classes]
    shares = [f"{100 * len(values) / max(total, 1):3.0f} %" for _, values in classes]
    figures = [f"{share}, mean {mean}" for share, mean in zip(shares, means, strict=True)]
    margin = max(map(columns, names)) + 2
    bins = max(MIN_BINS, min(MAX_BINS, terminal.width - margin - max(map(len, figures)) - 2))
    paint = terminal.paint
    for name, figure, (_, values) in zip(names, figures, classes, strict=True):
        counts = np.histogram(np.clip(values, scale.low, scale.high), bins, (scale.low, scale.high))[0]
        upper, lower = _bars(counts, terminal.unicode)
        yield (" " * margin + _colored(upper, scale, paint, palette)).rstrip()
        yield f"{name}{' ' * (margin - columns(name))}{_colored(lower, scale, paint, palette)}  {figure}"
    yield " " * margin + _axis(scale, bins, "−" if terminal.unicode else "-")


def _bars(counts: np.ndarray, unicode: bool) -> tuple[str, str]:
    """Return the upper and the lower line of a histogram; in ASCII, tenths of the largest count in the lower one."""
    shares = counts / max(counts.max(), 1)
    if not unicode:
        return "", "".join("." if not share else str(min(int(10 * share), 9)) for share in shares)
    eighths = [0 if not share else max(1, round(16 * share)) for share in shares.tolist()]
    blocks = " " + BLOCKS
    return "".join(blocks[max(0, one - 8)] for one in eighths), "".join(blocks[min(one, 8)] for one in eighths)


def _colored(bars: str, scale: SignalScale, paint: Paint, palette: str) -> str:
    """Return bars in the color of the side of the scale on which they stand."""
    if not scale.signed:
        return paint.in_ink(bars, PALETTES[palette].positive)
    middle, sides = len(bars) // 2, PALETTES[palette]
    left, right = paint.in_ink(bars[:middle], sides.negative), paint.in_ink(bars[middle + 1 :], sides.positive)
    return left + bars[middle : middle + 1] + right


def _axis(scale: SignalScale, bins: int, minus: str) -> str:
    low, high = scale.ends(minus)
    return low + ("0" if scale.signed else "").center(bins - len(low) - len(high)) + high
