"""Diverging color ramps from a page's background to two strong hues, in true color, 256 and 16 colors.

A ramp starts at the background, so that a larger value always looks stronger: it gets lighter on a dark page and darker
on a light one. Lightness and chroma are linear in the intensity in OKLCH, where equal steps look equal (Ottosson 2020,
bottosson.github.io/posts/oklab). The two hues of a palette differ for color-blind readers too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

RGB = tuple[int, int, int]
Background = Literal["dark", "light"]
BACKGROUNDS: tuple[Background, ...] = get_args(Background)
BLACK: RGB = (0, 0, 0)
WHITE: RGB = (255, 255, 255)
PAPER: dict[Background, RGB] = {"dark": (18, 20, 23), "light": WHITE}
"""Background of the pages that we write."""
INK: dict[Background, RGB] = {"dark": (223, 226, 230), "light": (28, 30, 33)}
MIN_CONTRAST = 4.5  # WCAG 2.2, success criterion 1.4.3


@dataclass(frozen=True)
class Ramp:
    """The colors of a hue on one background, from faint to strong.

    start, stop: (lightness 0–1, chroma) in OKLCH at intensities 0 and 1. cube: five of the 256 colors. faint, strong:
    SGR codes (text, background) among the 16 colors.
    """

    start: tuple[float, float]
    stop: tuple[float, float]
    cube: tuple[int, int, int, int, int]
    faint: tuple[int, int]
    strong: tuple[int, int]


@dataclass(frozen=True)
class Hue:
    """One side of a palette.

    name: in the legend. angle: the hue in OKLCH, degrees. line: SGR code of thin lines among the 16 colors.
    """

    name: str
    angle: float
    dark: Ramp
    light: Ramp
    line: int

    def ramp(self, background: Background) -> Ramp:
        return self.dark if background == "dark" else self.light


@dataclass(frozen=True)
class Palette:
    """The hues of negative and positive values."""

    negative: Hue
    positive: Hue


BLUE = Hue(
    "blue",
    258,
    Ramp((0.24, 0.04), (0.60, 0.21), (17, 18, 19, 26, 27), (97, 44), (97, 104)),
    Ramp((0.99, 0.015), (0.54, 0.22), (189, 147, 111, 69, 26), (97, 104), (97, 44)),
    94,
)
RED = Hue(
    "red",
    26,
    Ramp((0.24, 0.04), (0.60, 0.22), (52, 88, 124, 160, 196), (97, 41), (30, 101)),
    Ramp((0.99, 0.015), (0.54, 0.22), (224, 217, 210, 203, 160), (30, 101), (97, 41)),
    91,
)
PURPLE = Hue(
    "purple",
    303,
    Ramp((0.24, 0.04), (0.58, 0.25), (53, 54, 91, 92, 93), (97, 45), (30, 105)),
    Ramp((0.99, 0.015), (0.52, 0.25), (189, 183, 177, 135, 92), (30, 105), (97, 45)),
    95,
)
ORANGE = Hue(
    "orange",
    60,
    Ramp((0.26, 0.03), (0.76, 0.17), (58, 94, 136, 172, 214), (30, 43), (30, 103)),
    Ramp((0.99, 0.015), (0.66, 0.17), (230, 223, 215, 208, 166), (30, 103), (30, 43)),
    33,
)
GREEN = Hue(  # probabilities
    "green",
    150,
    Ramp((0.24, 0.03), (0.58, 0.16), (22, 22, 28, 28, 34), (30, 42), (30, 102)),
    Ramp((0.99, 0.015), (0.58, 0.16), (194, 157, 114, 71, 28), (30, 102), (30, 42)),
    32,
)

# "karpathy": as in Karpathy, Johnson & Fei-Fei 2015 (arXiv 1506.02078), where blue is the excited end.
PALETTES = {
    "blue-red": Palette(BLUE, RED),
    "purple-orange": Palette(PURPLE, ORANGE),
    "karpathy": Palette(RED, BLUE),
}


@dataclass(frozen=True)
class Swatch:
    """Background and text color of one intensity: RGB, indices into the 256 colors, SGR codes of the 16."""

    background: RGB
    ink: RGB
    faded_ink: RGB
    background_256: int
    ink_256: int
    faded_ink_256: int
    codes_16: str


@cache
def swatch(hue: Hue, intensity: float, background: Background = "dark") -> Swatch:
    """Return the colors of a hue at an intensity in (0, 1], on a page with a dark or light background."""
    ramp = hue.ramp(background)
    lightness, chroma = (a + (b - a) * intensity for a, b in zip(ramp.start, ramp.stop, strict=True))
    color = oklch(lightness, chroma, hue.angle)
    ink = ink_on(color)
    index = ramp.cube[math.ceil(5 * intensity - 1e-9) - 1]
    white_on_index = ink_on(rgb_of_256(index)) == WHITE
    return Swatch(
        background=color,
        ink=ink,
        faded_ink=_mix(ink, color),
        background_256=index,
        ink_256=231 if white_on_index else 16,
        faded_ink_256=252 if white_on_index else 236,
        codes_16="{};{}".format(*(ramp.faint if intensity <= 0.4 else ramp.strong)),
    )


def _mix(ink: RGB, background: RGB) -> RGB:
    red, green, blue = (round(0.62 * a + 0.38 * b) for a, b in zip(ink, background, strict=True))
    return red, green, blue


def ink_on(background: RGB) -> RGB:
    """Return white where its contrast is at least 4.5, else black. One of them reaches it on every color."""
    return WHITE if contrast(WHITE, background) >= MIN_CONTRAST else BLACK


def contrast(one: RGB, other: RGB) -> float:
    """Return the contrast ratio of two colors, 1–21 (WCAG 2.2, "contrast ratio")."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(color: RGB) -> float:
    red, green, blue = (_linear(channel / 255) for channel in color)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(channel: float) -> float:
    return channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4


def _gamma(channel: float) -> float:
    return 12.92 * channel if channel <= 0.0031308 else 1.055 * channel ** (1 / 2.4) - 0.055


def oklch(lightness: float, chroma: float, hue: float) -> RGB:
    """Convert OKLCH (lightness 0–1, chroma, hue in degrees) to sRGB, lowering the chroma until the color fits."""
    while True:
        a, b = chroma * math.cos(math.radians(hue)), chroma * math.sin(math.radians(hue))
        long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
        medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
        short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
        channels = (
            4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
            -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
            -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
        )
        if chroma < 0.002 or all(-0.0005 <= channel <= 1.0005 for channel in channels):
            red, green, blue = (round(255 * _gamma(min(max(channel, 0.0), 1.0))) for channel in channels)
            return red, green, blue
        chroma -= 0.002


def hex_color(color: RGB) -> str:
    """Return a color as CSS and SVG have it: `#1c1e21`."""
    return "#{:02x}{:02x}{:02x}".format(*color)


def rgb_of_256(index: int) -> RGB:
    """Return xterm's RGB of the colors 16–255: a 6×6×6 cube, then 24 grays."""
    if index >= 232:
        return (8 + 10 * (index - 232),) * 3
    steps = (0, 95, 135, 175, 215, 255)
    red, rest = divmod(index - 16, 36)
    return steps[red], steps[rest // 6], steps[rest % 6]


class Paint:
    """Adds color sequences to text. colors: "truecolor", "256", "16" or "none". background: of the page."""

    def __init__(self, colors: str, background: Background = "dark"):
        self.colors = colors
        self.background = background
        self.colored = colors != "none"

    @property
    def faint(self) -> str:
        """SGR codes of a gray that is legible on black and on white; among 16 colors, those of faint text."""
        return {"truecolor": "38;2;128;128;128", "256": "38;5;244"}.get(self.colors, "2")

    @property
    def mark(self) -> str:
        """SGR codes that emphasize a character."""
        return "4" if self.colors == "16" else "1;4"  # many terminals show bold black as gray

    def styled(self, text: str, codes: str) -> str:
        """Return text between SGR codes and a reset."""
        return f"\x1b[{codes}m{text}\x1b[0m" if self.colored and text else text

    def on(self, text: str, hue: Hue, intensity: float, *, faded: bool = False, marked: bool = False) -> str:
        """Return text on a hue's background. faded: with less contrast. marked: emphasized."""
        if not self.colored:
            return text
        colors = swatch(hue, intensity, self.background)
        if self.colors == "truecolor":
            ink = colors.faded_ink if faded else colors.ink
            codes = "38;2;{};{};{};48;2;{};{};{}".format(*ink, *colors.background)
        elif self.colors == "256":
            codes = f"38;5;{colors.faded_ink_256 if faded else colors.ink_256};48;5;{colors.background_256}"
        else:
            codes = colors.codes_16
        return self.styled(text, f"{codes};{self.mark}" if marked else codes)

    def in_ink(self, text: str, hue: Hue) -> str:
        """Return text in a hue's strongest color, without a background."""
        colors = swatch(hue, 1.0, self.background)
        codes = {
            "truecolor": "38;2;{};{};{}".format(*colors.background),
            "256": f"38;5;{colors.background_256}",
            "16": str(hue.line),
        }
        return self.styled(text, codes.get(self.colors, ""))
