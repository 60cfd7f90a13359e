"""A conversation in a pseudo-terminal: editing, history, Ctrl-C and Ctrl-D."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from tests.untrained import make_run

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")

UP, LEFT, DELETE_BEFORE = "\x1b[A", "\x1b[D", "\x7f"
PROMPT = "USER: "


@pytest.fixture
def terminal(home: Path) -> Iterator[pexpect.spawn]:
    make_run(home, "USER: hi\nBOT: good day\n" * 9)
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "FORCE_COLOR", "INPUTRC")}
    child = pexpect.spawn(
        sys.executable,
        ["-m", "charrnn", "chat", "--seed", "1", "--ban", r"\n", "--length", "20"],
        env={**kept, "TERM": "xterm", "LANG": "C.UTF-8", "NO_COLOR": "1", "HOME": str(home)},
        dimensions=(24, 80),
        timeout=60,
        encoding="utf-8",
    )
    child.expect_exact("an answer ends at a line end")
    child.expect_exact(PROMPT)
    yield child
    child.close(force=True)


def answer_to(terminal: pexpect.spawn, keys: str) -> str:
    """Type a line, and return the text that the terminal shows until the next prompt."""
    terminal.send(keys + "\r")
    terminal.expect_exact("BOT: ")
    terminal.expect_exact(PROMPT)
    return re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]", "", terminal.before).strip()


def test_a_conversation(terminal: pexpect.spawn) -> None:
    """Editing, history and commands; Ctrl-C at the prompt clears the line, and in an answer ends the answer only."""
    first = answer_to(terminal, "gx" + DELETE_BEFORE + "d" + LEFT + "o")  # "god"
    assert len(first) <= 20
    terminal.send("/undo\r")
    terminal.expect_exact("taken back: 'god'")
    terminal.send("/seed 1\r")
    terminal.expect_exact(PROMPT)
    assert answer_to(terminal, UP * 3) == first

    terminal.send("typed")
    terminal.expect_exact("typed")
    time.sleep(0.2)  # a Ctrl-C while readline handles a key acts at the next key only
    terminal.sendintr()
    terminal.expect_exact("Ctrl-D ends")
    terminal.expect_exact(PROMPT)
    terminal.send("/length 1000000000\r")
    terminal.expect_exact(PROMPT)
    terminal.send("hi\r")
    terminal.expect_exact("BOT: ")
    terminal.expect(r"\w")
    terminal.sendintr()
    terminal.expect_exact(PROMPT)
    terminal.send("/length 20\r")
    terminal.expect_exact(PROMPT)
    assert answer_to(terminal, "day")
    terminal.sendeof()
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0
