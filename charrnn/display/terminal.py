"""What a terminal can show, and the one function through which text reaches it.

A corpus, a sample, a file name or another program's error may hold characters that move the cursor, set the window's
title, type for the user or reverse the line. `safe_text` replaces each with a visible form; `write` applies it on a
terminal.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from charrnn.display.clusters import chop, columns, extends, may_break, terminal_program
from charrnn.display.palettes import Background, Paint

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

# Invisible characters that drive a terminal, reorder a line or hide in it: control (Cc), format (Cf), surrogates (Cs),
# line and paragraph separators (Zl, Zp). Exceptions in Cf: U+200C and U+200D, which Persian, Hindi and joined emoji
# need, and the visible Arabic, Syriac and Kaithi signs. Tags could hide a text, but are kept in the three flags that
# Unicode recommends.
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

TAG_FLAGS = re.compile(  # of England, Scotland and Wales
    "(\U0001f3f4\U000e0067\U000e0062(?:\U000e0065\U000e006e\U000e0067|\U000e0073\U000e0063\U000e0074"
    "|\U000e0077\U000e006c\U000e0073)\U000e007f)"
)

# Select Graphic Rendition (ECMA-48 §8.3.117), the only escape sequence we write.
STYLE = re.compile(r"(\x1b\[[0-9;]*m)")

MIN_COLUMNS, MAX_COLUMNS = 20, 1000
MIN_ROWS, MAX_ROWS = 10, 1000
DEFAULT_COLUMNS, DEFAULT_ROWS = 80, 24
TAB = 8  # columns


class Stream(Protocol):
    """What is needed of a text stream."""

    @property
    def encoding(self) -> str: ...
    def write(self, text: str, /) -> int: ...
    def flush(self) -> None: ...
    def isatty(self) -> bool: ...
    def fileno(self) -> int: ...


def escape_character(character: str) -> str:
    """Return the backslash form of a character, as Python writes it: `\\x9b`, `\\u202e`, `\\U000e0001`."""
    code = ord(character)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _visible_form(code: int) -> str:
    if code < 0x20:
        return chr(0x2400 + code)  # the control pictures ␀ to ␟
    return "␡" if code == 0x7F else escape_character(chr(code))


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
    """Replace every character of `UNSAFE_RANGES`, except in `TAG_FLAGS`, with a visible form.

    C0 controls and DEL become their pictures (`␛`, `␍`), the others a backslash form (`\\x9b`, `\\u202e`). Idempotent.
    The result may hold characters that a stream's encoding lacks; `write` handles those.
    """
    table = _TABLES[keep_newlines, keep_tabs]
    if "\U0001f3f4" not in text:
        return text.translate(table)
    return "".join(part if place % 2 else part.translate(table) for place, part in enumerate(TAG_FLAGS.split(text)))


def safe_line(text: str) -> str:
    """Apply `safe_text` to newlines and tabs too, for text within a line."""
    return safe_text(text, keep_newlines=False, keep_tabs=False)


def safe_styled(text: str) -> str:
    """Apply `safe_text` to everything but color sequences."""
    return "".join(part if place % 2 else safe_text(part) for place, part in enumerate(STYLE.split(text)))


def write(stream: Stream, text: str, *, styled: bool = False) -> None:
    """Write text to a stream: made safe on a terminal, exact in a pipe or a file.

    styled: keep color sequences. Characters that the stream's encoding lacks become backslash forms. Does not flush.
    """
    if is_terminal(stream):
        text = safe_styled(text) if styled else safe_text(text)
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding))


def is_terminal(stream: Any) -> bool:
    """Return whether a stream is an open terminal."""
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):
        return False


@dataclass(frozen=True)
class Terminal:
    """An output stream and what it can show.

    colors: "truecolor", "256", "16" or "none". width: columns. unicode: whether `↵`, `█`, `─` and `▚` can be written.
    background: of the window. program: of a terminal, for `clusters.columns`; None in a pipe. height: rows.
    """

    is_terminal: bool
    colors: str
    width: int
    unicode: bool
    stream: Stream | None = field(default=None, compare=False, repr=False)
    background: Background = "dark"
    program: str | None = None
    height: int = DEFAULT_ROWS

    @classmethod
    def of(cls, stream: Stream, color: str = "auto", background: Background | None = None) -> Terminal:
        """Detect what a stream can show.

        color: "auto", or one of `colors`, which overrides the environment. For "auto", NO_COLOR (no-color.org) takes
        precedence over FORCE_COLOR, and that over a pipe or TERM=dumb. background: None: as the environment says, else
        dark.
        """
        terminal = is_terminal(stream)
        return cls(
            is_terminal=terminal,
            colors=_colors(terminal, os.environ) if color == "auto" else color,
            width=_width(stream, terminal),
            height=_height(stream, terminal),
            unicode=_can_encode(stream, "↵→·−…█▁─▚␛"),
            background=background or background_from(os.environ) or "dark",
            stream=stream,
            program=terminal_program(os.environ) if terminal else None,
        )

    @property
    def paint(self) -> Paint:
        """What colors text for this terminal."""
        return Paint(self.colors, self.background)

    @classmethod
    def plain(cls, width: int = 80) -> Terminal:
        """Return what `str` of a result is laid out for: no colors, and no stream."""
        return cls(is_terminal=False, colors="none", width=width, unicode=True)

    def write(self, text: str, *, styled: bool = False) -> None:
        """Write to the stream, as `write` does."""
        if self.stream is None:
            raise ValueError("a Terminal made without a stream cannot be written to")
        write(self.stream, text, styled=styled)

    def write_lines(self, lines: Iterable[str]) -> None:
        """Write styled lines without line ends."""
        self.write("".join(f"{line}\n" for line in lines), styled=True)

    def flush(self) -> None:
        """Flush the stream."""
        if self.stream is not None:
            self.stream.flush()

    def wrap(self, text: str, indent: str = "  ") -> list[str]:
        """Break text between words into lines that fit, continuation lines indented. A pipe gets one line.

        A line that fits keeps its blanks, so that columns stay aligned.
        """
        if not self.is_terminal or ("\n" not in text and columns(text, self.program) <= self.width):
            return [text]
        return wrap_words(text, self.width, indent=indent, program=self.program)

    def paragraph(self, text: str) -> None:
        """Write text, wrapped to the width, its lines aligned on the left."""
        self.write("".join(f"{line}\n" for line in self.wrap(text, indent="")))

    def render(self, renderable: RenderableType, *, width: int | None = None) -> str:
        """Render a rich object as styled text for `write`, without trailing blanks. width: the terminal's if None."""
        console = self.console(width)
        with console.capture() as captured:
            console.print(renderable)
        return "".join(f"{line.rstrip()}\n" for line in captured.get().splitlines())

    def console(self, width: int | None = None) -> Console:
        """Return a rich console that renders for this terminal, without markup, highlighting or emoji codes."""
        from rich.console import Console

        return Console(
            file=_EncodedBuffer("utf-8" if self.unicode else "ascii"),
            force_terminal=self.colors != "none",
            color_system=RICH_COLOR_SYSTEMS[self.colors],
            no_color=self.colors == "none",
            width=width or self.width,
            height=25,  # rich ignores the width of a dumb terminal unless a height is given
            markup=False,
            highlight=False,
            emoji=False,
            legacy_windows=False,
        )


class WordWrap:
    """Breaks a stream of text between words, and makes it safe.

    A word is held back until it ends, so no grapheme cluster is divided.
    width: columns. program: as for `clusters.columns`. A space at the edge becomes the break. Longer words than a line
    are broken between clusters.
    """

    def __init__(self, width: int, program: str | None = None):
        self._width, self._program, self._column = width, program, 0
        self._word: list[str] = []

    def feed(self, text: str) -> str:
        """Return what can be written so far."""
        return "".join(map(self._character, text))

    def end(self) -> str:
        """Return the word that was held back."""
        word, size = safe_text("".join(self._word)), self._word_columns()
        self._word = []
        fits = self._column + size <= self._width or self._column == 0
        self._column = size + self._column * fits
        return word if fits else f"\n{word}"

    def _word_columns(self) -> int:
        return sum(columns(safe_text(cluster), self._program) for cluster in self._word)

    def _character(self, character: str) -> str:
        if not character.isspace() or safe_text(character) != character:
            return self._letter(character)
        word = self.end()
        if character == "\n" or self._column >= self._width:
            self._column = 0
            return f"{word}\n"
        self._column += TAB - self._column % TAB if character == "\t" else 1
        return word + character

    def _letter(self, character: str) -> str:
        ended = ""
        if self._word and extends(self._word[-1], character):
            self._word[-1] += character
        else:
            if self._word and may_break(self._word[-1], character):
                ended = self.end()
            self._word.append(character)
        if len(self._word) > 1 and self._word_columns() > self._width:
            last = self._word.pop()
            ended += self.end()
            self._word = [last]
        return ended


def wrap_words(text: str, width: int, indent: str = "", program: str | None = None) -> list[str]:
    """Break text at blanks into lines of at most `width` columns, splitting longer words. indent: of later lines.

    A number keeps its percent sign, and a part between two " · " is divided only where it is longer than a line. A line
    that ends between two parts loses the dot.
    """
    lines, line = [], ""
    for part in _unbroken_parts(text, width - len(indent), program):
        if line.strip() and columns(line, program) + 1 + columns(part, program) > width:
            lines.append(line.removesuffix(" ·"))
            line = indent
        line += f" {part}" if line.strip() else part
        while columns(line, program) > width and len(pieces := chop(line, width, program)) > 1:
            lines.append(pieces[0])
            line = indent + "".join(pieces[1:])
    return [*lines, line] if line.strip() or not lines else lines


def _unbroken_parts(text: str, width: int, program: str | None) -> Iterator[str]:
    for part in re.split("(?<= ·) ", " ".join(text.split())):
        if columns(part, program) <= width:
            yield part
        else:
            yield from re.split(r" (?!%(?!\S*\w))", part)


RICH_COLOR_SYSTEMS: dict[str, Literal["truecolor", "256", "standard"] | None] = {
    "truecolor": "truecolor",
    "256": "256",
    "16": "standard",
    "none": None,
}


class _EncodedBuffer(io.StringIO):
    """A buffer with an encoding, from which rich decides between Unicode and ASCII boxes."""

    def __init__(self, encoding: str):
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]  # a read-only attribute at run time too
        return self._encoding


def _colors(terminal: bool, environment: Mapping[str, str]) -> str:
    if environment.get("NO_COLOR"):
        return "none"
    forced = environment.get("FORCE_COLOR", "").lower()
    if forced in ("0", "false"):
        return "none"
    if forced in ("2", "3"):  # the levels of npm's supports-color
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


def background_from(environment: Mapping[str, str]) -> Background | None:
    """Return the background that CHARRNN_BACKGROUND or COLORFGBG names; None where neither does.

    COLORFGBG, set by rxvt, Konsole and others, ends in the number of the background among the 16 colors.
    """
    if (named := environment.get("CHARRNN_BACKGROUND", "").lower()) in ("dark", "light"):
        return "dark" if named == "dark" else "light"
    number = environment.get("COLORFGBG", "").rpartition(";")[2]
    if re.fullmatch(r"\d{1,2}", number, re.ASCII) is None:
        return None
    return "light" if int(number) in (7, *range(9, 16)) else "dark"


def _width(stream: Stream, terminal: bool) -> int:
    asked = os.environ.get("COLUMNS", "")
    if asked.isascii() and asked.isdigit() and int(asked[:9]) > 0:
        width = int(asked[:9])
    else:
        width = DEFAULT_COLUMNS
        if terminal:
            with contextlib.suppress(OSError, ValueError):
                width = os.get_terminal_size(stream.fileno()).columns or width  # 0: a pty without a size
    return min(max(width, MIN_COLUMNS), MAX_COLUMNS)


def _height(stream: Stream, terminal: bool) -> int:
    height = DEFAULT_ROWS
    if terminal:
        with contextlib.suppress(OSError, ValueError):
            height = os.get_terminal_size(stream.fileno()).lines or height
    return min(max(height, MIN_ROWS), MAX_ROWS)


def _can_encode(stream: Stream, text: str) -> bool:
    try:
        text.encode(getattr(stream, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
