"""Background colors for the intensities of a signal, with legible text colors, in true color, 256 and 16 colors.

A palette has two hues that color-blind readers can tell apart. Lightness and chroma grow with intensity in OKLCH
(Ottosson 2020, bottosson.github.io/posts/oklab), where equal steps look equal. Every intensity contrasts with a black
page and with a white one, because a program cannot know which of them it draws on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

RGB = tuple[int, int, int]
BLACK: RGB = (0, 0, 0)
WHITE: RGB = (255, 255, 255)
MIN_CONTRAST = 4.5  # WCAG 2.2, success criterion 1.4.3


@dataclass(frozen=True)
class Hue:
    """One side of a palette.

    name: in the legend. angle: the hue in OKLCH, degrees. faint, strong: (lightness 0–1, chroma) of the lowest and the
    highest intensity. cube: five of the 256 colors, faint to strong. dark, bright: SGR codes (text, background) among
    the 16 colors. line: SGR code of thin lines among these.
    """

    name: str
    angle: float
    faint: tuple[float, float]
    strong: tuple[float, float]
    cube: tuple[int, int, int, int, int]
    dark: tuple[int, int]
    bright: tuple[int, int]
    line: int


@dataclass(frozen=True)
class Palette:
    """The hues of negative and positive values."""

    negative: Hue
    positive: Hue


BLUE = Hue("blue", 258, (0.40, 0.045), (0.57, 0.22), (17, 18, 19, 26, 27), (97, 44), (97, 104), 94)
RED = Hue("red", 26, (0.40, 0.05), (0.57, 0.23), (52, 88, 124, 160, 196), (97, 41), (30, 101), 91)
PURPLE = Hue("purple", 303, (0.40, 0.05), (0.56, 0.26), (53, 54, 91, 92, 93), (97, 45), (30, 105), 95)
ORANGE = Hue("orange", 60, (0.42, 0.045), (0.76, 0.17), (94, 130, 172, 208, 214), (30, 43), (30, 103), 33)
GREEN = Hue("green", 150, (0.38, 0.035), (0.54, 0.15), (22, 22, 28, 28, 34), (30, 42), (30, 102), 32)  # probabilities

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
def swatch(hue: Hue, intensity: float) -> Swatch:
    """Return the colors of a hue at an intensity in (0, 1]."""
    lightness, chroma = (a + (b - a) * intensity for a, b in zip(hue.faint, hue.strong, strict=True))
    background = oklch(lightness, chroma, hue.angle)
    ink = ink_on(background)
    index = hue.cube[math.ceil(5 * intensity - 1e-9) - 1]
    white_on_index = ink_on(rgb_of_256(index)) == WHITE
    return Swatch(
        background=background,
        ink=ink,
        faded_ink=_mix(ink, background),
        background_256=index,
        ink_256=231 if white_on_index else 16,
        faded_ink_256=252 if white_on_index else 236,
        codes_16="{};{}".format(*(hue.dark if intensity <= 0.4 else hue.bright)),
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


def rgb_of_256(index: int) -> RGB:
    """Return xterm's RGB of the colors 16–255: a 6×6×6 cube, then 24 grays."""
    if index >= 232:
        return (8 + 10 * (index - 232),) * 3
    steps = (0, 95, 135, 175, 215, 255)
    red, rest = divmod(index - 16, 36)
    return steps[red], steps[rest // 6], steps[rest % 6]


class Paint:
    """Adds color sequences to text. colors: "truecolor", "256", "16" or "none"."""

    def __init__(self, colors: str):
        self.colors = colors
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
        colors = swatch(hue, intensity)
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
        colors = swatch(hue, 1.0)
        codes = {
            "truecolor": "38;2;{};{};{}".format(*colors.background),
            "256": f"38;5;{colors.background_256}",
            "16": str(hue.line),
        }
        return self.styled(text, codes.get(self.colors, ""))
