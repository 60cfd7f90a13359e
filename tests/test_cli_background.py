"""The background of a terminal is asked for without waiting long and without losing input."""

from __future__ import annotations

import sys
import time

import pexpect
import pytest

from charrnn.cli.background import QUERY
from charrnn.display.terminal import background_from

ATTRIBUTES = b"\x1b[?62;22c"


def ask(code: str = "print('it is', asked_background({timeout}))", timeout: float = 20) -> pexpect.spawn:
    program = "import time; from charrnn.cli.background import asked_background\n" + code.format(timeout=timeout)
    return pexpect.spawn(sys.executable, ["-c", program], env={"TERM": "xterm"}, timeout=30)


@pytest.mark.parametrize(
    ("color", "background"),
    [(b"rgb:ffff/ffff/dddd", b"light"), (b"rgb:00/2b/36", b"dark"), (b"rgba:fd/f6/e3/ff", b"light")],
)
def test_answer(color: bytes, background: bytes) -> None:
    child = ask()
    child.expect_exact(QUERY)
    child.send(b"\x1b]11;" + color + b"\x07" + ATTRIBUTES + b"next")
    child.expect_exact(b"it is " + background)


def test_terminal_without_the_query_is_not_waited_for() -> None:
    child = ask(timeout=1000)
    child.expect_exact(QUERY)
    child.send(ATTRIBUTES)
    child.expect_exact(b"it is None")


def test_silent_terminal() -> None:
    child = ask(timeout=0.1)
    child.expect_exact(QUERY)
    started = time.monotonic()
    child.expect_exact(b"it is None")
    assert time.monotonic() - started < 10


def test_typed_input_is_kept() -> None:
    child = ask("print('ready'); line = input(); print('it is', asked_background({timeout}), input())")
    child.expect_exact(b"ready")
    child.send(b"one\ntwo\n")
    child.expect_exact(b"it is None two")


@pytest.mark.parametrize(
    ("environment", "background"),
    [
        ({}, None),
        ({"COLORFGBG": "15;0"}, "dark"),
        ({"COLORFGBG": "0;default;15"}, "light"),
        ({"COLORFGBG": "0;default"}, None),
        ({"COLORFGBG": "15;0", "CHARRNN_BACKGROUND": "light"}, "light"),
        ({"CHARRNN_BACKGROUND": "mauve"}, None),
    ],
)
def test_environment(environment: dict[str, str], background: str | None) -> None:
    assert background_from(environment) == background
