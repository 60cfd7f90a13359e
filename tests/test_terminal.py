"""Text on its way to a terminal, and the detection of what a terminal can show."""

from __future__ import annotations

import io
import itertools
import os
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from charrnn.display.terminal import (
    STYLE,
    UNSAFE_RANGES,
    Terminal,
    WordWrap,
    escape_character,
    safe_line,
    safe_text,
    write,
)

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=200)
VISIBLE_FORMAT_CHARACTERS = {0x0600, 0x0601, 0x0602, 0x0603, 0x0604, 0x0605, 0x06DD, 0x070F, 0x0890, 0x0891, 0x08E2}
VISIBLE_FORMAT_CHARACTERS |= {0x110BD, 0x110CD}
SPELLING_CHARACTERS = {0x200C, 0x200D}


def is_unsafe(character: str) -> bool:
    return any(first <= ord(character) <= last for first, last in UNSAFE_RANGES)


class Screen(io.StringIO):
    """A stream that claims to be a terminal."""

    def __init__(self, encoding: str = "utf-8"):
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:
        return self._encoding

    def isatty(self) -> bool:
        return True


class Pipe(Screen):
    def isatty(self) -> bool:
        return False


def test_unsafe_ranges_cover_invisible_characters():
    unsafe = {code for first, last in UNSAFE_RANGES for code in range(first, last + 1)}
    known = {code for code in range(0x110000) if unicodedata.category(chr(code)) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
    assert known - unsafe == VISIBLE_FORMAT_CHARACTERS | SPELLING_CHARACTERS
    assert all(unicodedata.category(chr(code)) == "Cn" for code in unsafe - known)  # not assigned in this Python


@given(ANY_TEXT)
def test_no_unsafe_character_survives(text):
    assert not any(is_unsafe(character) for character in safe_text(text) if character not in "\n\t")
    strict = safe_line(text)
    assert not any(is_unsafe(character) for character in strict)
    assert len(strict.splitlines()) <= 1


@given(ANY_TEXT)
def test_safe_text_is_idempotent(text):
    assert safe_text(safe_text(text)) == safe_text(text)


@given(ANY_TEXT)
def test_safe_characters_stay(text):
    kept = "".join(character for character in text if not is_unsafe(character) or character in "\n\t")
    assert safe_text(kept) == kept


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("\x1b[2J", "␛[2J"),
        ("\x1b]0;title\x07", "␛]0;title␇"),
        ("a\rb", "a␍b"),
        ("\x7f", "␡"),
        ("\x9b31m", "\\x9b31m"),
        ("user\u202etxt.exe", "user\\u202etxt.exe"),
        ("\ud800", "\\ud800"),
        ("\u2028", "\\u2028"),
        ("\U000e0041", "\\U000e0041"),
        ("🏴\U000e0067\U000e0062\U000e007f", "🏴\\U000e0067\\U000e0062\\U000e007f"),
        ("\x00", "␀"),
    ],
)
def test_hostile_characters_become_visible(hostile, shown):
    assert safe_text(hostile) == shown


SCOTLAND = "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"


@pytest.mark.parametrize("text", ["naïve café", "日本語", "می‌خواهم", "👩‍💻", "é", "한", "a\tb\n", SCOTLAND])
def test_ordinary_text_is_unchanged(text):
    assert safe_text(text) == text


def test_write_is_safe_on_a_terminal_and_exact_in_a_pipe():
    hostile = "\x1b[31mred\x1b[0m\r\u202e\n"
    screen, pipe = Screen(), Pipe()
    write(screen, hostile)
    write(pipe, hostile)
    assert screen.getvalue() == safe_text(hostile)
    assert pipe.getvalue() == hostile


def test_styled_text_keeps_only_colors():
    screen = Screen()
    write(screen, "\x1b[1;31mred\x1b[0m \x1b[2J \x1b]0;x\x07 \x1b[31", styled=True)
    assert screen.getvalue() == "\x1b[1;31mred\x1b[0m ␛[2J ␛]0;x␇ ␛[31"


@given(ANY_TEXT)
def test_unencodable_characters_are_escaped(text):
    for encoding in ("ascii", "latin-1", "utf-8"):
        for stream in (Screen(encoding), Pipe(encoding)):
            write(stream, text)
            stream.getvalue().encode(encoding)


def test_escapes_match_python():
    for character in ("\x9b", "\u202e", "\U000e0001"):
        assert escape_character(character) == ascii(character).strip("'")


COLOR_CASES = [
    ({"TERM": "xterm-256color"}, "256"),
    ({"TERM": "xterm"}, "16"),
    ({"TERM": "xterm", "COLORTERM": "truecolor"}, "truecolor"),
    ({"TERM": "xterm-kitty"}, "truecolor"),
    ({"TERM": "dumb", "COLORTERM": "truecolor"}, "none"),
    ({}, "none"),
    ({"TERM": "xterm-256color", "NO_COLOR": "1"}, "none"),
    ({"TERM": "xterm-256color", "NO_COLOR": ""}, "256"),
    ({"TERM": "xterm-256color", "NO_COLOR": "1", "FORCE_COLOR": "1"}, "none"),
    ({"TERM": "xterm-256color", "FORCE_COLOR": "0"}, "none"),
    ({"TERM": "dumb", "FORCE_COLOR": "1"}, "16"),
    ({"TERM": "dumb", "FORCE_COLOR": "3"}, "truecolor"),
]


def only(monkeypatch, environment: dict[str, str]) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM", "COLORTERM", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(("environment", "colors"), COLOR_CASES)
def test_colors_follow_the_environment(monkeypatch, environment, colors):
    only(monkeypatch, environment)
    assert Terminal.of(Screen()).colors == colors


def test_pipe_has_no_colors_unless_forced(monkeypatch):
    only(monkeypatch, {"TERM": "xterm-256color", "COLORTERM": "truecolor"})
    assert Terminal.of(Pipe()).colors == "none"
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert Terminal.of(Pipe()).colors == "truecolor"


def test_explicit_colors_override_the_environment(monkeypatch):
    only(monkeypatch, {"NO_COLOR": "1", "TERM": "dumb"})
    assert Terminal.of(Pipe(), "256").colors == "256"
    assert Terminal.of(Screen(), "none").colors == "none"


def test_width_is_bounded(monkeypatch):
    only(monkeypatch, {})
    assert Terminal.of(Pipe()).width == 80
    for columns, width in (("40", 40), ("7", 20), ("999999999999", 1000), ("0", 80), ("x", 80), ("²", 80)):
        monkeypatch.setenv("COLUMNS", columns)
        assert Terminal.of(Pipe()).width == width


def test_unicode_follows_the_encoding():
    assert Terminal.of(Pipe("utf-8")).unicode
    assert not Terminal.of(Pipe("ascii")).unicode
    assert not Terminal.of(Pipe("latin-1")).unicode


def test_closed_stream():
    stream = Screen()
    stream.close()
    with open(os.devnull) as device:  # noqa: PTH123 - a text stream, closed below
        pass
    assert not Terminal.of(device).is_terminal


def test_render_ignores_markup(monkeypatch):
    only(monkeypatch, {"TERM": "dumb"})
    pipe = Pipe("ascii")
    terminal = Terminal.of(pipe)
    terminal.write(terminal.render("[bold]x[/bold] :smile: http://a.b 123 'q' é"), styled=True)
    assert pipe.getvalue() == "[bold]x[/bold] :smile: http://a.b 123 'q' \\xe9\n"


def test_rendered_text_keeps_only_colors(monkeypatch):
    only(monkeypatch, {"TERM": "xterm-256color"})
    screen = Screen()
    terminal = Terminal.of(screen)
    terminal.write(terminal.render(Text("\x1b]0;title\x07 \x9b2J", style="bold red")), styled=True)
    shown = STYLE.sub("", screen.getvalue())
    assert not any(is_unsafe(character) for character in shown if character != "\n")
    assert STYLE.search(screen.getvalue())


@given(st.text(st.sampled_from("ab \n\t字"), max_size=200), st.lists(st.integers(0, 200), max_size=5))
def test_wrapped_stream_keeps_the_words_and_fits(text: str, cuts: list[int]) -> None:
    wrap, bounds = WordWrap(20), [0, *sorted(cuts), len(text)]
    wrapped = "".join(wrap.feed(text[a:b]) for a, b in itertools.pairwise(bounds)) + wrap.end()
    whole = WordWrap(20)
    assert wrapped == whole.feed(text) + whole.end()
    assert all(len(line.replace("字", "xx").expandtabs(8).rstrip()) <= 20 for line in wrapped.split("\n"))
    assert "".join(wrapped.split()) == "".join(text.split())
    if "字" not in text and max(map(len, text.split()), default=0) <= 20:  # a line may be broken beside 字
        assert wrapped.split() == text.split()


def test_wrapped_stream_is_safe_and_keeps_flags_of_tags() -> None:
    wrap = WordWrap(40)
    text = f"a {SCOTLAND} b\u202ec \x1b \U000e0067 \u2028."
    wrapped = "".join(map(wrap.feed, text)) + wrap.end()
    assert wrapped == f"a {SCOTLAND} b\\u202ec ␛ \\U000e0067 \\u2028."


def test_text_that_fits_is_not_wrapped() -> None:
    wrap = WordWrap(20)
    assert wrap.feed("to be, or not to be\n\n  that is the quest") + wrap.end() == (
        "to be, or not to be\n\n  that is the quest"
    )
    assert wrap.feed("ion " + "x" * 25) + wrap.end() == "\nion \n" + "x" * 20 + "\n" + "x" * 5


def test_lines_of_a_paragraph_are_aligned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    screen, text = Screen(), "the gradient halves every 73 characters, " * 3
    Terminal.of(screen).paragraph(text)
    lines = screen.getvalue().splitlines()
    assert len(lines) > 2
    assert not any(line.startswith(" ") for line in lines)
    assert all(line.startswith("  ") for line in Terminal.of(screen).wrap(text)[1:])


def test_a_line_that_fits_keeps_its_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    line = "step      30  train 2.1"
    assert Terminal.of(Screen()).wrap(line) == [line]
    assert Terminal.of(Screen()).wrap("two\nlines") == ["two lines"]
