"""A text with a value for each character, and the scale of these values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from charrnn.display.palettes import PALETTES, Hue, Paint


@dataclass(frozen=True)
class SignalScale:
    """The range of values that the colors cover; values outside are clipped.

    high: the value with the strongest color. low: −high, or 0 for a signal without negative values. A scale has eleven
    levels. Level 0 has no color; the sign of a level is its side of the palette.
    """

    low: float
    high: float

    SIGNED: ClassVar[SignalScale]  # tanh(c), tanh outputs: −1 to 1, levels −5 to 5
    UNIT: ClassVar[SignalScale]  # gates: 0 to 1, levels 0 to 10

    def __post_init__(self) -> None:
        if not (0 < self.high < math.inf and self.low in (0, -self.high)):
            raise ValueError(f"a scale runs from 0 or −x to x > 0, not from {self.low} to {self.high}")

    @classmethod
    def covering(cls, values: Iterable[float]) -> SignalScale:
        """Return the scale for an unbounded signal: up to its largest |value|, rounded up to 1, 2 or 5 × 10ⁿ."""
        finite = [float(value) for value in values if math.isfinite(value)]
        largest = max(map(abs, finite), default=0.0)
        if largest < 1e-9:
            return cls.UNIT
        power = 10.0 ** math.floor(math.log10(largest))
        high = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= largest * (1 - 1e-9))
        return cls(-high if min(finite) < 0 else 0.0, high)

    @property
    def signed(self) -> bool:
        return self.low < 0

    @property
    def levels(self) -> range:
        """All levels in order."""
        return range(-5, 6) if self.signed else range(11)

    def ends(self, minus: str = "−") -> tuple[str, str]:
        """Return the labels of both ends."""
        return (f"{minus}{self.high:g}", f"+{self.high:g}") if self.signed else ("0", f"{self.high:g}")

    def level(self, value: float) -> int:
        """Return the level of a value, 0 for NaN and below 5 % of the scale."""
        intensity = min(abs(value) / self.high, 1.0)
        if not intensity >= 0.05 or (not self.signed and value < 0):
            return 0
        if not self.signed:
            return max(1, math.floor(intensity * 10 + 0.5))
        return int(math.copysign(min(1 + int((intensity - 0.05) / 0.19), 5), value))

    def intensity(self, level: int) -> float:
        """Return the color intensity of a level, 0–1."""
        return abs(level) / max(self.levels)

    def tenths(self, value: float) -> str:
        """Return |value| in tenths of the scale, 0–9; "?" for NaN, nothing at level 0."""
        if math.isnan(value):
            return "?"
        return str(min(int(abs(value) / self.high * 10 + 1e-9), 9)) if self.level(value) else ""


SignalScale.SIGNED = SignalScale(-1.0, 1.0)
SignalScale.UNIT = SignalScale(0.0, 1.0)


@dataclass(frozen=True)
class Successors:
    """The K most likely next characters after each of N characters.

    symbols, probabilities: N × K, the most likely first. true: N; index of the actual next character, None if it is not
    among the K or unknown. surprise: N; bits of the actual one, NaN if unknown.
    """

    symbols: Sequence[Sequence[str]]
    probabilities: Sequence[Sequence[float]]
    true: Sequence[int | None]
    surprise: Sequence[float]


@dataclass(frozen=True)
class View:
    """A text of N characters and a value for each.

    symbols: N strings, longer than one character for bytes beyond ASCII (`\\xNN`). values: N floats. title: of the
    values, such as `tanh(c) of cell 1:42`. palette: a name in `PALETTES`. name: what is known of the values, a sentence
    that files show as a heading.
    """

    symbols: Sequence[str]
    values: Sequence[float]
    title: str
    scale: SignalScale = SignalScale.SIGNED
    palette: str = "blue-red"
    successors: Successors | None = None
    name: str = ""

    def __post_init__(self) -> None:
        lengths = {len(self.symbols), len(self.values)}
        if self.successors is not None:
            given = self.successors
            lengths |= {len(rows) for rows in (given.symbols, given.probabilities, given.true, given.surprise)}
        if len(lengths) != 1:
            raise ValueError(f"a view's characters and values differ in number: {sorted(lengths)}")

    def part(self, start: int, stop: int) -> View:
        """Return the characters from start to stop, without successors."""
        return replace(self, symbols=self.symbols[start:stop], values=self.values[start:stop], successors=None)

    def hue(self, level: int) -> Hue:
        """Return the hue of a level: the positive side of the palette from 0 up."""
        palette = PALETTES[self.palette]
        return palette.negative if level < 0 else palette.positive

    def paint(self, brush: Paint, text: str, level: int, *, faded: bool = False, marked: bool = False) -> str:
        """Return text in the colors of a level. faded: with less contrast, for signs that replace whitespace.

        marked: emphasized. Among 16 colors, where a hue has two, the strongest levels are underlined.
        """
        if level:
            intensity = self.scale.intensity(level)
            strongest = brush.colors == "16" and intensity > 0.8
            return brush.on(text, self.hue(level), intensity, faded=faded, marked=marked or strongest)
        codes = [brush.faint] * faded + [brush.mark] * marked
        return brush.styled(text, ";".join(codes)) if codes else text
