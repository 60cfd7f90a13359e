"""On a terminal of forty columns, lines are broken between words."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pexpect
import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")

COLUMNS = 40
TRAIN = ("train", "text.txt", "--steps", "20", "--evaluations", "2", "--hidden-size", "8", "--device", "cpu")


def terminal_lines(*arguments: str) -> list[str]:
    """Return the lines that the program leaves on the terminal."""
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "FORCE_COLOR")}
    child = pexpect.spawn(
        sys.executable,
        ["-m", "charrnn", *arguments],
        env={**kept, "TERM": "xterm", "LANG": "C.UTF-8", "NO_COLOR": "1"},
        dimensions=(24, COLUMNS),
        timeout=60,
        encoding="utf-8",
    )
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0, child.before
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", child.before)
    return [line.split("\r")[-1] for line in text.split("\r\n")]


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
