"""Safe text in a pseudo-terminal, compared byte by byte at its other end."""

from __future__ import annotations

import json
import os
import random
import re
import sys

import pexpect
import pytest

from charrnn.display.terminal import STYLE, UNSAFE_RANGES, safe_styled, safe_text

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")

WRITER = """
import json, sys
from charrnn.display.terminal import write
with open(sys.argv[1]) as file:
    for codes, styled in json.load(file):
        write(sys.stdout, "".join(map(chr, codes)) + "\\n", styled=styled)
"""
DESCRIBER = """
import json, sys
from charrnn.display.terminal import Terminal
terminal = Terminal.of(sys.stdout)
print(json.dumps([terminal.is_terminal, terminal.colors, terminal.width, terminal.unicode]))
"""
SEQUENCES = [
    "\x1b[2J", "\x1b[31m", "\x1b[8m", "\x1b]0;owned\x07", "\x1b]52;c;cm0gLXJm\x07", "\x1bP+q544e\x1b\\", "\x1b[6n",
    "\x1bc", "\x9b2J", "\x9d0;x\x9c", "\x90q\x9c", "\u202e", "\u2066", "\u200f", "\r", "\b", "\x07", "\x0e", "\x7f",
    "\x85", "\u2028", "\ud800", "\udfff", "\U000e0041", "\x1b[38;2;1;2;3m", "\x1b[?1049h", "\x1b[1;1H", "\x00",
    "\x11", "\x13", "\x03",
]  # fmt: skip


def hostile_strings(number: int, seed: int) -> list[str]:
    """Return strings of terminal sequences, fragments of them, and random code points."""
    draw = random.Random(seed)
    strings = []
    for _ in range(number):
        pieces = []
        for _ in range(draw.randint(0, 6)):
            kind = draw.random()
            if kind < 0.4:
                pieces.append(draw.choice(SEQUENCES))
            elif kind < 0.55:
                sequence = draw.choice(SEQUENCES)
                pieces.append(sequence[: draw.randint(0, len(sequence))])
            elif kind < 0.8:
                pieces.append("".join(chr(draw.randrange(256)) for _ in range(draw.randint(1, 5))))
            else:
                pieces.append(chr(draw.randrange(0x110000)))
        strings.append("".join(pieces).replace("\n", "").replace("\t", ""))  # a pty may expand tabs
    return strings


def output_of(code: str, *arguments: str, columns: int = 80, **environment: str) -> bytes:
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    kept.pop("COLORTERM", None)
    kept.pop("LC_ALL", None)
    child = pexpect.spawn(
        sys.executable,
        ["-c", code, *arguments],
        env={**kept, "TERM": "xterm-256color", "LANG": "C.UTF-8", **environment},
        dimensions=(24, columns),
        timeout=60,
    )
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    return child.before


def assert_nothing_drives_the_terminal(received: str) -> None:
    for first, last in UNSAFE_RANGES:
        found = re.search(f"[{re.escape(chr(first))}-{re.escape(chr(last))}]", received.replace("\r\n", ""))
        assert found is None, f"U+{ord(found[0]):04X} reached the terminal"


def write_in_a_pty(tmp_path, texts: list[tuple[str, bool]], **environment: str) -> bytes:
    file = tmp_path / "texts.json"
    file.write_text(json.dumps([([ord(c) for c in text], styled) for text, styled in texts]))  # JSON pairs surrogates
    return output_of(WRITER, str(file), **environment)


def check_hostile_strings(tmp_path, number: int, seed: int) -> None:
    strings = hostile_strings(number, seed)
    received = write_in_a_pty(tmp_path, [(text, False) for text in strings]).decode()
    assert_nothing_drives_the_terminal(received)
    assert received.split("\r\n") == [*map(safe_text, strings), ""]

    styled = write_in_a_pty(tmp_path, [(text, True) for text in strings]).decode()
    assert_nothing_drives_the_terminal(STYLE.sub("", styled))
    assert styled.split("\r\n") == [*map(safe_styled, strings), ""]


def test_hostile_strings(tmp_path):
    check_hostile_strings(tmp_path, 5_000, seed=1)


@pytest.mark.slow
def test_a_hundred_thousand_hostile_strings(tmp_path):
    for seed in range(2, 12):
        check_hostile_strings(tmp_path, 10_000, seed)


def test_ascii_terminal(tmp_path):
    received = write_in_a_pty(
        tmp_path,
        [("日本 é \x1b[2J", False)],
        LANG="C",
        PYTHONCOERCECLOCALE="0",
        PYTHONUTF8="0",
        PYTHONIOENCODING="ascii",
    )
    assert received == b"\\u65e5\\u672c \\xe9 \\u241b[2J\r\n"


def test_width_and_colors():
    assert json.loads(output_of(DESCRIBER, columns=57)) == [True, "256", 57, True]
    assert json.loads(output_of(DESCRIBER, TERM="dumb")) == [True, "none", 80, True]
    assert json.loads(output_of(DESCRIBER, NO_COLOR="1", COLUMNS="40")) == [True, "none", 40, True]
