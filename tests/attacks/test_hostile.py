"""Every malicious run is refused in one line, in little time and memory, and no other file is touched."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from charrnn.cli import app
from tests.attacks.folders import valid_run, write_run
from tests.attacks.hostile import ATTACKS, make
from tests.faults.tiny import TEXT

SECONDS = 1.0  # of CPU time
BYTES = 200_000_000
Program = Callable[..., tuple[int, str, str, float]]


@pytest.fixture
def program(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Program:
    """Run the program with little additional memory. Returns exit code, stdout, stderr and CPU seconds."""

    def run(*arguments: str) -> tuple[int, str, str, float]:
        monkeypatch.setattr(sys, "argv", ["charrnn", *arguments])
        monkeypatch.chdir(folder)
        limits = resource.getrlimit(resource.RLIMIT_AS)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        start = time.process_time()
        try:
            resource.setrlimit(resource.RLIMIT_AS, (used + BYTES, limits[1]))
            with pytest.raises(SystemExit) as ended:
                app.main()
        finally:
            resource.setrlimit(resource.RLIMIT_AS, limits)
        seconds = time.process_time() - start
        return ended.value.code or 0, *capsys.readouterr(), seconds

    return run


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
def test_malicious_run_is_refused(name: str, folder: Path, program: Program) -> None:
    run = make(name, folder)
    arguments = arguments_for(name, run)
    if "corpus" not in name and arguments[0] == "train":
        (folder / "a.txt").write_text(TEXT)
        arguments.insert(1, "a.txt")
    code, out, err, seconds = program(*arguments)
    assert code in (1, 2)
    assert out == ""
    assert ATTACKS[name].error in err
    assert err.startswith("charrnn: ")
    assert err.count("\n") == 1
    assert len(err) < 2100
    assert not any(ord(character) < 32 or 0x7F <= ord(character) < 0xA0 for character in err[:-1])
    assert seconds < SECONDS
    assert (folder / "victim.txt").read_text() == "important\nwithout an end"
    assert not (folder / "made.txt").exists()
    assert not (folder / "pwned").exists()


def test_unchanged_run_is_accepted(folder: Path, program: Program) -> None:
    write_run(folder / "run", valid_run())
    code, out, err, _ = program("evaluate", str(folder / "run"), "--device", "cpu")
    assert (code, err) == (0, "")
    assert "nats per character" in out
