"""What the terminal at hand can show, and the one function through which foreign text reaches it.

A corpus, a model's sample, a file name or another program's error may hold characters that move the cursor, retitle the
window, answer for the user, or turn the line's direction round. `safe_text` puts a visible form in the place of each;
`write` applies it wherever the stream is a terminal.
"""

from __future__ import annotations

import contextlib
import os
import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console

# Invisible characters that drive a terminal, reorder a line or hide in it: control (Cc), format (Cf), surrogates (Cs),
# line and paragraph separators (Zl, Zp). Left alone of Cf: U+200C and U+200D, without which Persian, Hindi and joined
# emoji cannot be spelled, and the Arabic, Syriac and Kaithi signs that are visible.
UNSAFE_RANGES = (
    (0x00, 0x1F),
    (0x7F, 0x9F),
    (0xAD, 0xAD),
    (0x061C, 0x061C),
    (0x180E, 0x180E),
    (0x200B, 0x200B),
    (0x200E, 0x200F),
    (0x2028, 0x202E),
    (0x2060, 0x206F),
    (0xD800, 0xDFFF),
    (0xFEFF, 0xFEFF),
    (0xFFF9, 0xFFFB),
    (0x13430, 0x1343F),
    (0x1BCA0, 0x1BCA3),
    (0x1D173, 0x1D17A),
    (0xE0001, 0xE0001),
    (0xE0020, 0xE007F),
)

STYLE = re.compile(r"(\x1b\[[0-9;]*m)")  # Select Graphic Rendition (ECMA-48 §8.3.117): the only escape written here

MOST_COLUMNS = 1000
FEWEST_COLUMNS = 20
COLUMNS_OFF_A_TERMINAL = 80


def escaped(character: str) -> str:
    """The backslash form of one character, as Python writes it: `\\x9b`, `\\u202e`, `\\U000e0001`."""
    code = ord(character)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _visible_form(code: int) -> str:
    if code < 0x20:
        return chr(0x2400 + code)  # the control pictures ␀ to ␟
    return "␡" if code == 0x7F else escaped(chr(code))


_ALL_VISIBLE = {code: _visible_form(code) for first, last in UNSAFE_RANGES for code in range(first, last + 1)}
_TABLES: dict[tuple[bool, bool], Mapping[int, str]] = {
    (newlines, tabs): {
        code: form
        for code, form in _ALL_VISIBLE.items()
        if not (newlines and code == 0x0A) and not (tabs and code == 0x09)
    }
    for newlines in (False, True)
    for tabs in (False, True)
}


def safe_text(text: str, *, keep_newlines: bool = True, keep_tabs: bool = True) -> str:
    """Text in which nothing can drive a terminal: every character of `UNSAFE_RANGES` becomes a visible form.

    C0 controls and DEL become their pictures (`␛`, `␍`), the others a backslash form (`\\x9b`, `\\u202e`); newlines and
    tabs stay if asked. Applied to its own output it changes nothing. The result may still hold characters that a
    stream's encoding lacks; `write` sees to those.
    """
    return text.translate(_TABLES[keep_newlines, keep_tabs])


def safe_styled(text: str) -> str:
    """`safe_text` for text that the renderers here have colored: color sequences pass, no other escape does."""
    return "".join(part if place % 2 else safe_text(part) for place, part in enumerate(STYLE.split(text)))


def write(stream: TextIO, text: str, *, styled: bool = False) -> None:
    """Writes text to a stream: made safe if that is a terminal, to the character if it is a pipe or a file.

    styled: the text comes from a renderer here, and its color sequences are to pass. Characters that the stream's
    encoding lacks are written as backslash forms instead of failing. Does not flush.
    """
    if is_terminal(stream):
        text = safe_styled(text) if styled else safe_text(text)
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding))


def is_terminal(stream: Any) -> bool:
    """Whether a stream ends at a terminal; a closed one does not."""
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):
        return False


@dataclass(frozen=True)
class Terminal:
    """Where output goes and what it can show there.

    colors: "truecolor", "256", "16" or "none". width: columns. unicode: whether `↵`, `█`, `─` and `▚` can be
    written.
    """

    is_terminal: bool
    colors: str
    width: int
    unicode: bool
    stream: TextIO | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, stream: TextIO, color: str = "auto") -> Terminal:
        """What a stream's far end can show, as far as it and the environment tell.

        color: "auto", or one of `colors`, which then holds whatever the environment says. With "auto", NO_COLOR
        (no-color.org) outweighs FORCE_COLOR, which outweighs not being a terminal and TERM=dumb.
        """
        terminal = is_terminal(stream)
        return cls(
            is_terminal=terminal,
            colors=_colors(terminal, os.environ) if color == "auto" else color,
            width=_width(stream, terminal),
            unicode=_can_encode(stream, "↵→·−…█▁─▚␛"),
            stream=stream,
        )

    def write(self, text: str, *, styled: bool = False) -> None:
        """`write` to this terminal's stream."""
        if self.stream is None:
            raise ValueError("a Terminal made without a stream cannot be written to")
        write(self.stream, text, styled=styled)

    def lines_of(self, text: str) -> list[str]:
        """The lines that a text takes: broken between words, those after the first indented; off a terminal one."""
        if not self.is_terminal:
            return [text]
        return textwrap.wrap(text, self.width, subsequent_indent="  ", break_on_hyphens=False) or [""]

    def paragraph(self, text: str) -> None:
        """Writes `lines_of` a text."""
        self.write("".join(f"{line}\n" for line in self.lines_of(text)))

    def console(self) -> Console:
        """A rich console that writes here: no markup, no guessed highlighting or emoji."""
        from rich.console import Console

        return Console(
            file=_Door(self),  # of a file, rich uses these three only
            force_terminal=self.colors != "none",
            color_system=RICH_COLOR_SYSTEMS[self.colors],
            no_color=self.colors == "none",
            width=self.width,
            height=25,  # on a dumb terminal rich takes note of a width only where there is a height
            markup=False,
            highlight=False,
            emoji=False,
            legacy_windows=False,
        )


RICH_COLOR_SYSTEMS = {"truecolor": "truecolor", "256": "256", "16": "standard", "none": None}


class _Door:
    """The file that a rich console writes to: `Terminal.write`."""

    def __init__(self, terminal: Terminal):
        self._terminal = terminal
        self.encoding = "utf-8" if terminal.unicode else "ascii"  # rich draws ASCII boxes where this is not UTF

    def write(self, text: str) -> None:
        self._terminal.write(text, styled=True)

    def flush(self) -> None:
        if self._terminal.stream is not None:
            self._terminal.stream.flush()

    def isatty(self) -> bool:
        return self._terminal.is_terminal


def _colors(terminal: bool, environment: Mapping[str, str]) -> str:
    if environment.get("NO_COLOR"):
        return "none"
    forced = environment.get("FORCE_COLOR", "").lower()
    if forced in ("0", "false"):
        return "none"
    if forced in ("2", "3"):  # the levels that supports-color made a habit
        return {"2": "256", "3": "truecolor"}[forced]
    name = environment.get("TERM", "").lower()
    if name in ("", "dumb", "unknown") or not terminal:
        if not forced:
            return "none"
        if name in ("", "dumb", "unknown"):
            return "16"
    if environment.get("COLORTERM", "").lower() in ("truecolor", "24bit"):
        return "truecolor"
    if name.endswith(("-direct", "-truecolor", "-kitty", "-ghostty")) or name in ("alacritty", "foot", "wezterm"):
        return "truecolor"
    return "256" if name.endswith("256color") else "16"


def _width(stream: TextIO, terminal: bool) -> int:
    columns = os.environ.get("COLUMNS", "")
    if columns.isascii() and columns.isdigit() and int(columns[:9]) > 0:
        width = int(columns[:9])
    else:
        width = COLUMNS_OFF_A_TERMINAL
        if terminal:
            with contextlib.suppress(OSError, ValueError):
                width = os.get_terminal_size(stream.fileno()).columns or width  # 0: a pty that was never sized
    return min(max(width, FEWEST_COLUMNS), MOST_COLUMNS)


def _can_encode(stream: TextIO, text: str) -> bool:
    try:
        text.encode(getattr(stream, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
