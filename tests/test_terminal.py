"""What may reach a terminal, and what is found out about one."""

from __future__ import annotations

import io
import os
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.display.terminal import STYLE, UNSAFE_RANGES, Terminal, escaped, safe_text, write

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=200)
VISIBLE_FORMAT_CHARACTERS = {0x0600, 0x0601, 0x0602, 0x0603, 0x0604, 0x0605, 0x06DD, 0x070F, 0x0890, 0x0891, 0x08E2}
VISIBLE_FORMAT_CHARACTERS |= {0x110BD, 0x110CD}
SPELLING_CHARACTERS = {0x200C, 0x200D}


def is_unsafe(character: str) -> bool:
    return any(first <= ord(character) <= last for first, last in UNSAFE_RANGES)


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

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


def test_the_unsafe_ranges_are_every_invisible_character_that_unicode_knows_but_the_named_exceptions():
    unsafe = {code for first, last in UNSAFE_RANGES for code in range(first, last + 1)}
    known = {code for code in range(0x110000) if unicodedata.category(chr(code)) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
    assert known - unsafe == VISIBLE_FORMAT_CHARACTERS | SPELLING_CHARACTERS
    assert all(unicodedata.category(chr(code)) == "Cn" for code in unsafe - known)  # not assigned in this Python


@given(ANY_TEXT)
@settings(deadline=None, max_examples=300, derandomize=True)
def test_no_unsafe_character_survives_except_newline_and_tab(text):
    assert not any(is_unsafe(character) for character in safe_text(text) if character not in "\n\t")
    strict = safe_text(text, keep_newlines=False, keep_tabs=False)
    assert not any(is_unsafe(character) for character in strict)
    assert len(strict.splitlines()) <= 1


@given(ANY_TEXT)
@settings(deadline=None, max_examples=300, derandomize=True)
def test_safe_text_applied_twice_is_safe_text_applied_once(text):
    assert safe_text(safe_text(text)) == safe_text(text)


@given(ANY_TEXT)
@settings(deadline=None, max_examples=300, derandomize=True)
def test_all_other_characters_stay_as_they_are(text):
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
        ("\x00", "␀"),
    ],
)
def test_hostile_characters_become_visible(hostile, shown):
    assert safe_text(hostile) == shown


@pytest.mark.parametrize("text", ["naïve café", "日本語", "می‌خواهم", "👩‍💻", "é", "한", "a\tb\n"])
def test_ordinary_text_is_left_alone(text):
    assert safe_text(text) == text


def test_write_makes_text_safe_on_a_terminal_and_leaves_it_exact_in_a_pipe():
    hostile = "\x1b[31mred\x1b[0m\r\u202e\n"
    screen, pipe = Screen(), Pipe()
    write(screen, hostile)
    write(pipe, hostile)
    assert screen.getvalue() == safe_text(hostile)
    assert pipe.getvalue() == hostile


def test_styled_text_keeps_its_colors_and_no_other_escape():
    screen = Screen()
    write(screen, "\x1b[1;31mred\x1b[0m \x1b[2J \x1b]0;x\x07 \x1b[31", styled=True)
    assert screen.getvalue() == "\x1b[1;31mred\x1b[0m ␛[2J ␛]0;x␇ ␛[31"


@given(ANY_TEXT)
@settings(deadline=None, max_examples=200, derandomize=True)
def test_what_an_encoding_lacks_is_escaped_and_not_an_error(text):
    for encoding in ("ascii", "latin-1", "utf-8"):
        for stream in (Screen(encoding), Pipe(encoding)):
            write(stream, text)
            stream.getvalue().encode(encoding)


def test_an_escape_is_written_as_python_writes_it():
    for character in ("\x9b", "\u202e", "\U000e0001"):
        assert escaped(character) == ascii(character).strip("'")


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
def test_colors_on_a_terminal_follow_the_environment(monkeypatch, environment, colors):
    only(monkeypatch, environment)
    assert Terminal.of(Screen()).colors == colors


def test_a_pipe_has_no_colors_unless_they_are_forced(monkeypatch):
    only(monkeypatch, {"TERM": "xterm-256color", "COLORTERM": "truecolor"})
    assert Terminal.of(Pipe()).colors == "none"
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert Terminal.of(Pipe()).colors == "truecolor"


def test_colors_that_the_user_names_hold_whatever_the_environment_says(monkeypatch):
    only(monkeypatch, {"NO_COLOR": "1", "TERM": "dumb"})
    assert Terminal.of(Pipe(), "256").colors == "256"
    assert Terminal.of(Screen(), "none").colors == "none"


def test_width_is_that_of_columns_or_eighty_and_bounded(monkeypatch):
    only(monkeypatch, {})
    assert Terminal.of(Pipe()).width == 80
    for columns, width in (("40", 40), ("7", 20), ("999999999999", 1000), ("0", 80), ("x", 80), ("²", 80)):
        monkeypatch.setenv("COLUMNS", columns)
        assert Terminal.of(Pipe()).width == width


def test_unicode_is_a_matter_of_the_stream_s_encoding():
    assert Terminal.of(Pipe("utf-8")).unicode
    assert not Terminal.of(Pipe("ascii")).unicode
    assert not Terminal.of(Pipe("latin-1")).unicode


def test_a_closed_stream_is_no_terminal():
    stream = Screen()
    stream.close()
    with open(os.devnull) as device:  # noqa: PTH123 - a text stream, closed below
        pass
    assert not Terminal.of(device).is_terminal


def test_the_console_prints_text_without_markup_escapes_or_truncation(monkeypatch):
    only(monkeypatch, {"TERM": "dumb"})
    pipe = Pipe("ascii")
    terminal = Terminal.of(pipe)
    terminal.console().print("[bold]x[/bold] :smile: http://a.b 123 'q' é")
    assert pipe.getvalue() == "[bold]x[/bold] :smile: http://a.b 123 'q' \\xe9\n"


def test_the_console_lets_colors_through_to_a_terminal_and_nothing_else(monkeypatch):
    only(monkeypatch, {"TERM": "xterm-256color"})
    screen = Screen()
    Terminal.of(screen).console().print("\x1b]0;title\x07 \x9b2J", style="bold red")
    shown = STYLE.sub("", screen.getvalue())
    assert not any(is_unsafe(character) for character in shown if character != "\n")
    assert STYLE.search(screen.getvalue())
