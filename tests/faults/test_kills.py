"""kill -9, at every point at which the file system is changed, and at any moment."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from charrnn.errors import CharrnnError
from charrnn.model.lookup import run_names
from charrnn.training.events import CheckpointSaved, Requests
from tests.faults.kills import kill_at_random
from tests.faults.system import Call, fault_at, half_written, points_of
from tests.faults.tiny import (
    NAME,
    Child,
    assert_nothing_was_lost,
    assert_sound,
    go_on,
    new_run,
    train_and_report,
)

FILES = ("model.safetensors", "training.safetensors", "progress.json", "manifest.json")


def points_of_a_save(aside: str, final: str) -> list[str]:
    """What a save asks of the file system, in order: the names under which faults are put there."""
    files = [f"{what} {aside}/{file}" for file in FILES for what in ("open", "write", "fsync")]
    return [f"mkdir {aside}", *files, f"fsync {aside}", f"rename {aside} → {final}", f"fsync {Path(final).parent}"]


def points_of_a_removal(path: str) -> set[str]:
    aside = str(Path(path).with_name(f"ASIDE-{Path(path).name}"))
    return {f"rename {path} → {aside}", *(f"unlink {aside}/{file}" for file in FILES), f"rmdir {aside}"}


def stopped_at(folder: Path, step: int) -> None:
    """Leaves a run that was stopped after this step."""
    new_run(folder).close()
    requests = Requests()
    for event in go_on(folder, requests):
        requests.stop = isinstance(event, CheckpointSaved) and event.step == step


def die(call: Call, arguments: tuple[Any, ...]) -> None:
    half_written(call, arguments)
    os.kill(os.getpid(), signal.SIGKILL)


def killed_at(folder: Path, number: int, work: Callable[[Callable[[int], None]], None]) -> list[int]:
    """Has a process killed before its change of that number below the folder. Returns the steps it had saved."""

    def fault(report: Callable[[int], None]) -> None:
        with fault_at(folder, number, die):
            work(report)

    code, steps = Child(fault).wait()
    assert code == -signal.SIGKILL
    return steps


def test_the_named_points_of_a_save_are_these(folder: Path) -> None:
    stopped_at(folder, 6)
    requests = Requests()

    def one_save() -> None:
        for event in go_on(folder, requests):
            requests.stop = isinstance(event, CheckpointSaved)

    points = points_of(folder, one_save)
    saves = f"{NAME}/checkpoints"
    expected = points_of_a_save(f"{saves}/ASIDE-00000012", f"{saves}/00000012")
    start = points.index(expected[0])
    assert points[:start] == [
        f"open {NAME}/lock", f"ftruncate {NAME}/metrics.jsonl", f"open {NAME}/metrics.jsonl",
        f"ftruncate {NAME}/metrics.jsonl", f"write {NAME}/metrics.jsonl",
    ]  # fmt: skip
    assert points[start : start + len(expected)] == expected
    assert set(points[start + len(expected) :]) == points_of_a_removal(f"{saves}/00000000")


def test_a_run_killed_at_any_point_of_its_making_is_there_whole_or_not_at_all(folder: Path) -> None:
    def make(report: Callable[[int], None]) -> None:
        new_run(folder).close()

    number = len(points_of(folder, lambda: new_run(folder).close()))
    assert number > 30
    outcomes = set()
    for point in range(number):
        shutil.rmtree(folder / NAME, ignore_errors=True)
        killed_at(folder, point, make)
        outcomes.add(exists := bool(run_names(folder)))
        if exists:
            assert_sound(folder)
        else:
            with contextlib.suppress(CharrnnError):
                new_run(folder).close()
            assert_sound(folder)
        assert not [path for path in folder.iterdir() if path.name != NAME]
    assert outcomes == {False, True}
    assert_nothing_was_lost(folder)


def check_kills_at_points(folder: Path, first: int, last: int | None) -> int:
    """Kills a training from step 6 on at each of these points. Returns how many there were."""
    before, now = folder / "before", folder / "now"
    before.mkdir()
    stopped_at(before, 6)
    shutil.copytree(before, now)
    points = range(len(points_of(now, lambda: list(go_on(now)))))[first:last]
    steps = set()
    for point in points:
        shutil.rmtree(now)
        shutil.copytree(before, now)
        saved = killed_at(now, point, functools.partial(train_and_report, now))
        steps.add(assert_sound(now, at_least=max([6, *saved])))
        if point % 10 == 0:
            assert_nothing_was_lost(now)
    assert len(steps) > 1
    return len(points)


def test_a_training_killed_at_any_point_of_a_save_goes_on_as_if_it_had_not_been(folder: Path) -> None:
    assert check_kills_at_points(folder, 3, 29) == 26  # the first evaluation, the save after it, the removal after that


@pytest.mark.slow
def test_a_training_killed_at_any_point_at_all_goes_on_as_if_it_had_not_been(folder: Path) -> None:
    assert check_kills_at_points(folder, 0, None) > 60


def test_a_training_killed_at_random_moments_loses_nothing(folder: Path) -> None:
    assert kill_at_random(folder, 12, seed=1).kills == 12


@pytest.mark.slow
def test_a_training_killed_at_a_thousand_random_moments_loses_nothing(folder: Path) -> None:
    counted = kill_at_random(folder, 1000, seed=2)
    print(counted)
    assert counted.in_a_save >= 20
    assert counted.runs >= 5


def test_a_save_killed_twice_in_a_row_at_the_same_step_is_made_in_the_end(folder: Path) -> None:
    stopped_at(folder, 6)
    for point in (8, 15, 22):
        killed_at(folder, point, functools.partial(train_and_report, folder))
        assert_sound(folder, at_least=6)
    assert_nothing_was_lost(folder)
