"""Closed, full and ASCII standard streams, in real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TRAIN = "train text.txt --steps 1 --device cpu --hidden-size 8"


def shell(command: str, folder: Path, redirection: str, **environment: str) -> subprocess.CompletedProcess[str]:
    line = f"{sys.executable} -m charrnn {command} {redirection}"
    environment = {**os.environ, "CHARRNN_HOME": str(folder), **environment}
    return subprocess.run(["sh", "-c", line], env=environment, cwd=folder, capture_output=True, text=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "text.txt").write_text("some text\n" * 100)
    return tmp_path


@pytest.mark.parametrize("command", ["--version", TRAIN])
def test_closed_stdout_is_one_line(command: str, folder: Path) -> None:
    done = shell(command, folder, ">&-")
    assert done.returncode == 1
    assert done.stderr == "charrnn: standard output is closed; redirect it to a file or to /dev/null\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("command", ["--help", "corpora", TRAIN])
def test_full_stdout_is_one_line(command: str, folder: Path) -> None:
    done = shell(command, folder, "> /dev/full")
    assert done.returncode == 1
    assert done.stderr == "charrnn: standard output cannot be written: No space left on device\n"


@pytest.mark.parametrize(("command", "code"), [("corpora", 0), ("trian", 2)])
@pytest.mark.parametrize("redirection", ["2>&-", "2> /dev/full"])
def test_lost_stderr_keeps_the_exit_code(command: str, code: int, redirection: str, folder: Path) -> None:
    assert shell(command, folder, redirection).returncode == code


def test_closed_stdin_reads_as_empty(folder: Path) -> None:
    done = shell("evaluate nothing -", folder, "<&-")
    assert done.returncode == 2
    assert done.stderr.startswith("charrnn: no run called 'nothing'")


HELP = """
import typer
from charrnn.cli.app import app
for command in ((), *((name,) for name in typer.main.get_command(app).commands)):
    app([*command, "--help"], prog_name="charrnn", standalone_mode=False)
"""


def test_help_in_ascii() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    done = subprocess.run([sys.executable, "-c", HELP], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii()
    assert "charrnn corpora" in done.stdout


def test_value_after_a_flag_is_a_run(folder: Path) -> None:
    done = shell("inspect --json true", folder, "")
    assert done.returncode == 2
    assert "no run called 'true'" in done.stderr
