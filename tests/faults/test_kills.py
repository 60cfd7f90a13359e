"""kill -9, at every call that changes the file system, and at random moments."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from charrnn.errors import CharrnnError
from charrnn.model.lookup import run_names
from charrnn.training.events import CheckpointSaved, Requests
from tests.faults.kills import kill_randomly
from tests.faults.system import Arguments, Call, call_names, fault_at, write_half
from tests.faults.tiny import (
    NAME,
    Child,
    assert_finishes_bit_exact,
    assert_resumable,
    new_run,
    resume,
    resume_and_report,
)

FILES = ("model.safetensors", "training.safetensors", "progress.json", "manifest.json")


def calls_of_a_save(temporary: str, final: str) -> list[str]:
    """Return the calls by which a checkpoint is saved, in order."""
    files = [f"{what} {temporary}/{file}" for file in FILES for what in ("open", "write", "fsync")]
    rename = [f"fsync {temporary}", f"rename {temporary} → {final}", f"fsync {Path(final).parent}"]
    return [f"mkdir {temporary}", *files, *rename]


def calls_of_a_removal(path: str) -> set[str]:
    temporary = str(Path(path).with_name(f"ASIDE-{Path(path).name}"))
    return {f"rename {path} → {temporary}", *(f"unlink {temporary}/{file}" for file in FILES), f"rmdir {temporary}"}


def stop_at(folder: Path, step: int) -> None:
    """Create a run and stop its training after this step."""
    new_run(folder).close()
    requests = Requests()
    for event in resume(folder, requests):
        requests.stop = isinstance(event, CheckpointSaved) and event.step == step


def die(call: Call, arguments: Arguments) -> None:
    write_half(call, arguments)
    os.kill(os.getpid(), signal.SIGKILL)


def kill_at(folder: Path, number: int, work: Callable[[Callable[[int], None]], None]) -> list[int]:
    """Kill a process before its change of that number below the folder. Return the steps it had reported."""

    def fault(report: Callable[[int], None]) -> None:
        with fault_at(folder, number, die):
            work(report)

    code, steps = Child(fault).wait()
    assert code == -signal.SIGKILL
    return steps


def test_calls_of_a_save(folder: Path) -> None:
    """The other tests put faults at these calls."""
    stop_at(folder, 6)
    requests = Requests()

    def one_save() -> None:
        for event in resume(folder, requests):
            requests.stop = isinstance(event, CheckpointSaved)

    names = call_names(folder, one_save)
    checkpoints = f"{NAME}/checkpoints"
    expected = calls_of_a_save(f"{checkpoints}/ASIDE-00000012", f"{checkpoints}/00000012")
    start = names.index(expected[0])
    assert names[:start] == [
        f"open {NAME}/lock", f"ftruncate {NAME}/metrics.jsonl", f"open {NAME}/metrics.jsonl",
        f"ftruncate {NAME}/metrics.jsonl", f"write {NAME}/metrics.jsonl",
    ]  # fmt: skip
    assert names[start : start + len(expected)] == expected
    assert set(names[start + len(expected) :]) == calls_of_a_removal(f"{checkpoints}/00000000")


@pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.slow)])
def test_run_killed_while_created_is_complete_or_absent(folder: Path, every: int) -> None:
    def create(report: Callable[[int], None]) -> None:
        new_run(folder).close()

    number = len(call_names(folder, lambda: new_run(folder).close()))
    assert number > 30
    outcomes = set()
    for call in range(0, number, every):
        shutil.rmtree(folder / NAME, ignore_errors=True)
        kill_at(folder, call, create)
        outcomes.add(exists := bool(run_names(folder)))
        if not exists:
            with contextlib.suppress(CharrnnError):
                new_run(folder).close()
        assert_resumable(folder)
        assert not [path for path in folder.iterdir() if path.name != NAME]
    assert outcomes == {False, True}
    assert_finishes_bit_exact(folder)


def check_kills_at_calls(folder: Path, first: int, last: int | None, every: int) -> int:
    """Kill a training from step 6 on at these calls. Return their number."""
    before, now = folder / "before", folder / "now"
    before.mkdir()
    stop_at(before, 6)
    shutil.copytree(before, now)
    calls = range(len(call_names(now, lambda: list(resume(now)))))[first:last:every]
    steps = set()
    for number, call in enumerate(calls):
        shutil.rmtree(now)
        shutil.copytree(before, now)
        saved = kill_at(now, call, functools.partial(resume_and_report, now))
        steps.add(assert_resumable(now, at_least=max([6, *saved])))
        if number % 10 == 0:
            assert_finishes_bit_exact(now)
    assert len(steps) > 1
    return len(calls)


def test_training_killed_during_a_save_resumes_bit_exact(folder: Path) -> None:
    """At every second call of the first evaluation, the save after it, and the removal after that."""
    assert check_kills_at_calls(folder, 3, 29, 2) == 13


@pytest.mark.slow
def test_training_killed_at_any_call_resumes_bit_exact(folder: Path) -> None:
    assert check_kills_at_calls(folder, 0, None, 1) > 60


def test_training_killed_at_random_loses_nothing(folder: Path) -> None:
    assert kill_randomly(folder, 4, seed=1).kills == 4


@pytest.mark.slow
def test_training_killed_a_thousand_times_loses_nothing(folder: Path) -> None:
    counts = kill_randomly(folder, 1000, seed=2)
    print(counts)
    assert counts.during_save >= 20
    assert counts.finished >= 5


def test_save_killed_repeatedly_succeeds_in_the_end(folder: Path) -> None:
    stop_at(folder, 6)
    for call in (8, 15, 22):
        kill_at(folder, call, functools.partial(resume_and_report, folder))
        assert_resumable(folder, at_least=6)
    assert_finishes_bit_exact(folder)
