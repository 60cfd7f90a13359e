"""On a terminal of forty columns, lines are broken between words."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import warnings
from pathlib import Path
from typing import NoReturn

import pytest

from charrnn.cli import app

pty = pytest.importorskip("pty")
termios = pytest.importorskip("termios")

COLUMNS = 40
TRAIN = ("train", "text.txt", "--steps", "20", "--evaluations", "2", "--hidden-size", "8", "--device", "cpu")


def terminal_lines(*arguments: str, code: int = 0) -> list[str]:
    """Return the lines that the program leaves on the terminal. It is forked, so that it need not import PyTorch."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # PyTorch has threads, but none is working now
        pid, terminal = pty.fork()
    if pid == 0:
        try:
            run_program(*arguments)
        finally:
            os._exit(99)
    shown = b""
    with contextlib.suppress(OSError):  # EIO: the program has ended
        while block := os.read(terminal, 65536):
            shown += block
    os.close(terminal)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == code, text
    return [line.split("\r")[-1] for line in text.split("\r\n")]


def run_program(*arguments: str) -> NoReturn:
    """Run the program in a forked process, whose standard streams are a terminal."""
    termios.tcsetwinsize(0, (24, COLUMNS))
    for name in ("COLUMNS", "FORCE_COLOR"):
        os.environ.pop(name, None)
    os.environ.update(TERM="xterm", LANG="C.UTF-8", NO_COLOR="1")
    sys.argv = ["charrnn", *arguments]
    sys.stdin, sys.stdout, sys.stderr = (open(number, mode) for number, mode in enumerate("rww"))  # noqa: PTH123, SIM115
    try:
        app.main()
    except SystemExit as ended:
        sys.stdout.flush()
        os._exit(int(ended.code or 0))


def test_lines_fit_forty_columns(home: Path, short_text: str) -> None:
    (home / "text.txt").write_text(short_text)
    trained = terminal_lines(*TRAIN)
    commands = trained.index("next:")
    assert all(line.startswith("  charrnn ") for line in trained[commands + 1 :] if line)
    (home / "checkpoints/other").mkdir()
    (home / "checkpoints/other/run.json").write_text("{}")
    for lines in (trained[:commands], terminal_lines("runs"), terminal_lines("corpora")):
        assert max(map(len, lines)) <= COLUMNS
    told = " ".join(" ".join(trained).split())
    assert re.search(r"step 10 train [\d.]+ validation [\d.]+ nats \([\d.]+ bpc\) best [\d.]+ s", told)


def test_an_error_breaks_between_words(home: Path) -> None:
    lines = terminal_lines("sample", "nothing", "--seed", "two", code=2)
    assert len(lines) > 2
    assert max(map(len, lines)) <= COLUMNS
    told = " ".join(" ".join(lines).split())
    assert told.startswith(
        "charrnn: Invalid value for '--seed': Input should be a valid integer, unable to parse string"
    )
