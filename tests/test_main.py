"""charrnn.__main__: Ctrl-C while the program loads, in real processes, and how OpenMP threads wait."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from charrnn.__main__ import limit_spinning

# Python loads this module first. It sends the process SIGINT when a certain module is imported.
INTERRUPTING = """
import os, signal, sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["INTERRUPT_AT"]:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
"""

INTERRUPTED_AT_THE_END = """
import os, signal, sys
from charrnn.cli import app

class Stdout:
    def __init__(self):
        self.flushed = False

    def flush(self):
        if not self.flushed:
            self.flushed = True
            os.kill(os.getpid(), signal.SIGINT)

app.app = lambda **_: 0
sys.stdout = Stdout()
app.main()
"""


def script() -> str:
    """Return the code of the installed program `charrnn`."""
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())
    module, _, function = project["project"]["scripts"]["charrnn"].partition(":")
    return f"from {module} import {function}; {function}()"


MODULE, SCRIPT = ["-m", "charrnn"], ["-c", script()]


def interrupted(command: list[str], module: str, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "sitecustomize.py").write_text(INTERRUPTING)
    environment = {**os.environ, "INTERRUPT_AT": module, "PYTHONPATH": str(folder)}
    return subprocess.run([sys.executable, *command], env=environment, cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("command", "module"),
    [(MODULE, "typer"), (SCRIPT, "charrnn.cli.app"), (SCRIPT, "typer"), (SCRIPT, "torch")],
    ids=["module-typer", "script-app", "script-typer", "script-torch"],
)
def test_ctrl_c_while_loading_is_silent(command: list[str], module: str, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("some text\n" * 100)
    done = interrupted([*command, "train", "text.txt", "--device", "cpu", "--steps", "1"], module, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_ctrl_c_before_a_command_is_silent() -> None:
    code = "import os, signal; from charrnn.cli import app; app.app = lambda **_: os.kill(os.getpid(), signal.SIGINT)"
    done = subprocess.run([sys.executable, "-c", f"{code}; app.main()"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_ctrl_c_after_a_command_is_silent() -> None:
    command = [sys.executable, "-c", INTERRUPTED_AT_THE_END]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_ignored_ctrl_c_stays_ignored(tmp_path: Path) -> None:
    code = f"import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); {script()}"
    done = interrupted(["-c", code, "--version"], "typer", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("charrnn ")


def test_ctrl_c_after_loading_raises() -> None:
    code = "import signal; from charrnn.cli import app; app.main = lambda: print(signal.getsignal(signal.SIGINT))"
    done = subprocess.run([sys.executable, "-c", f"{code}; {script()}"], capture_output=True, text=True, check=True)
    assert "default_int_handler" in done.stdout


@pytest.mark.parametrize("own", [{}, {"GOMP_SPINCOUNT": "7"}, {"OMP_WAIT_POLICY": "active"}])
def test_threads_spin_briefly_unless_the_user_says_otherwise(own: dict[str, str]) -> None:
    environment = {"OMP_NUM_THREADS": "2", **own}
    limit_spinning(environment)
    assert environment == {"OMP_NUM_THREADS": "2", **(own or {"GOMP_SPINCOUNT": "1000"})}


def test_the_end_does_not_search_for_cycles() -> None:
    code = f"import atexit, gc; atexit.register(lambda: print(gc.get_freeze_count() > 10_000)); {script()}"
    done = subprocess.run([sys.executable, "-c", code, "--version"], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "True"
