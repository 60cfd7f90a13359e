"""Every malicious run is refused in one line, in little time and memory, and no other file is touched."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from charrnn.cli import app
from tests.attacks.hostile import ATTACKS, make
from tests.faults.tiny import TEXT, Child

SECONDS = 1.0  # of CPU time
BYTES = 200_000_000


def memory(which: str) -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{which}:")[1].split()[0]) * 1024


def run_program(arguments: list[str], folder: Path) -> tuple[int, str, str, int, float]:
    """Run the program in a child process. Return exit code, stdout, stderr, additional memory, and CPU seconds."""

    def run(report: Callable[[int], None]) -> None:
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
        sys.argv = ["charrnn", *arguments]
        os.chdir(folder)
        before, start = memory("VmRSS"), time.process_time()
        code: object = None
        try:
            app.main()
        except SystemExit as ended:
            code = ended.code
        report(int(1000 * (time.process_time() - start)))
        report(max(0, memory("VmHWM") - before) // 1024)
        sys.stdout.flush()
        sys.stderr.flush()
        report(code if isinstance(code, int) else 0)

    status, reported = Child(run).wait()
    assert status == 0, (folder / "err").read_text()
    milliseconds, kilobytes, code = reported
    out, err = ((folder / name).read_text() for name in ("out", "err"))
    return code, out, err, 1024 * kilobytes, milliseconds / 1000


@pytest.fixture(scope="session")
def warmed_up(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Import what the program imports lazily, so that it does not count as memory and time of an attack."""
    import charrnn.cli.screen
    import charrnn.model.device
    import charrnn.scoring.score
    import charrnn.text.corpus  # noqa: F401

    make("model-not-a-number", tmp_path_factory.mktemp("warm"))


def arguments_for(name: str, run: Path) -> list[str]:
    if ATTACKS[name].command == "evaluate":
        return ["evaluate", str(run), "--checkpoint", "last", "--device", "cpu"]
    return ["train", "--resume", "--name", str(run), "--device", "cpu"]


@pytest.mark.usefixtures("warmed_up")
@pytest.mark.parametrize("name", ATTACKS)
def test_malicious_run_is_refused(name: str, folder: Path) -> None:
    run = make(name, folder)
    arguments = arguments_for(name, run)
    if "corpus" not in name and arguments[0] == "train":
        (folder / "a.txt").write_text(TEXT)
        arguments.insert(1, "a.txt")
    code, out, err, used, seconds = run_program(arguments, folder)
    assert code in (1, 2)
    assert out == ""
    assert ATTACKS[name].error in err
    assert err.startswith("charrnn: ")
    assert err.count("\n") == 1
    assert len(err) < 2100
    assert not any(ord(character) < 32 or 0x7F <= ord(character) < 0xA0 for character in err[:-1])
    assert used < BYTES, f"{used:,} bytes"
    assert seconds < SECONDS
    assert (folder / "victim.txt").read_text() == "important\nwithout an end"
    assert not (folder / "made.txt").exists()
    assert not (folder / "pwned").exists()


def test_unchanged_run_is_accepted(folder: Path) -> None:
    from tests.attacks.folders import valid_run, write_run

    write_run(folder / "run", valid_run())
    code, out, err, _, _ = run_program(["evaluate", str(folder / "run"), "--device", "cpu"], folder)
    assert (code, err) == (0, "")
    assert "nats per character" in out
