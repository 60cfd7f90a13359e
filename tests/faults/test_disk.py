"""Disks that are full, broken or closed to us, at each call that changes them; and disks that lose their power."""

from __future__ import annotations

import errno
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from charrnn.errors import CharrnnError
from charrnn.model.lookup import run_names
from charrnn.model.run import Run
from charrnn.model.writer import RunWriter
from charrnn.training.events import CheckpointFailed, CheckpointSaved, Event, Finished, Requests
from tests.faults.system import Call, fault_at, half_written, points_of, watched
from tests.faults.test_kills import stopped_at
from tests.faults.tiny import (
    NAME,
    Child,
    assert_nothing_was_lost,
    assert_sound,
    expected_states,
    go_on,
    new_run,
)

ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES)


def refusing(number: int) -> Callable[[Call, tuple[Any, ...]], None]:
    """A fault: a write is done by half, then this error is given."""

    def fault(call: Call, arguments: tuple[Any, ...]) -> None:
        half_written(call, arguments)
        raise OSError(number, os.strerror(number), str(call.path))

    return fault


def commit(writer: RunWriter, step: int) -> None:
    progress, tensors = expected_states()[step]
    training = {name: tensor for name, tensor in tensors.items() if name.startswith(("adam.", "state."))}
    writer.save(progress, {name: tensors[name] for name in tensors.keys() - training.keys()}, training)


@pytest.mark.parametrize("number", ERRORS, ids=errno.errorcode.get)
def test_a_save_that_any_call_of_it_fails_leaves_the_one_before_and_succeeds_later(folder: Path, number: int) -> None:
    stopped_at(folder, 6)
    shutil.copytree(folder / NAME, folder / "before")
    with RunWriter.open(Run(folder / NAME)) as writer:
        points = points_of(folder, lambda: commit(writer, 12))
    outcomes = []
    for point, name in enumerate(points):
        shutil.rmtree(folder / NAME)
        shutil.copytree(folder / "before", folder / NAME)
        with RunWriter.open(Run(folder / NAME)) as writer:
            try:
                with fault_at(folder, point, refusing(number)) as met:
                    commit(writer, 12)
                outcomes.append("saved")
            except OSError as error:
                assert error.errno == number
                outcomes.append("failed")
            assert met[0].name == name
            assert_sound(folder, at_least=12 if outcomes[-1] == "saved" else 6)
            commit(writer, 12)
            assert_sound(folder, at_least=12)
    # What goes wrong after the save is there, while older ones are removed, does not make it a failure.
    removal = len(points) - points.index(f"rename {NAME}/checkpoints/00000000 → {NAME}/checkpoints/ASIDE-00000000")
    assert outcomes == ["failed"] * (len(points) - removal) + ["saved"] * removal


@pytest.mark.parametrize("number", ERRORS, ids=errno.errorcode.get)
def test_a_run_that_cannot_be_made_says_so_and_leaves_nothing(folder: Path, number: int) -> None:
    checkpoints = folder / "checkpoints"
    points = points_of(folder, lambda: new_run(checkpoints).close())
    for point in range(len(points)):
        shutil.rmtree(checkpoints)
        with (
            pytest.raises(CharrnnError, match=f"cannot be written: {os.strerror(number)}"),
            fault_at(folder, point, refusing(number)),
        ):
            new_run(checkpoints).close()
        names = run_names(checkpoints)
        assert not names or points[point].startswith(("open checkpoints/run", "fsync checkpoints"))
        assert not checkpoints.exists() or [path.name for path in checkpoints.iterdir()] == names
        if names:
            RunWriter.open(Run(checkpoints / NAME)).close()
        else:
            new_run(checkpoints).close()
        assert_sound(checkpoints)


def events_with_faults(folder: Path, is_met: Callable[[Call], bool], number: int) -> list[Event]:
    """Those of a training to the end, in which every such call fails."""
    fault = refusing(number)

    def before(call: Call, arguments: tuple[Any, ...]) -> None:
        if is_met(call):
            fault(call, arguments)

    with watched(folder, before):
        return list(go_on(folder))


@pytest.mark.parametrize("number", ERRORS, ids=errno.errorcode.get)
def test_training_goes_on_while_no_save_can_be_written_and_saves_once_one_can(folder: Path, number: int) -> None:
    new_run(folder).close()
    events = events_with_faults(folder, lambda call: "000006/" in call.name or "000012/" in call.name, number)
    assert [type(event) for event in events if isinstance(event, CheckpointSaved | CheckpointFailed)] == [
        CheckpointFailed
    ] * 2 + [CheckpointSaved] * 2
    assert all(event.reason == os.strerror(number) for event in events if isinstance(event, CheckpointFailed))
    assert_nothing_was_lost(folder)


def test_a_training_whose_last_save_fails_says_so_and_keeps_the_one_before(folder: Path) -> None:
    new_run(folder).close()
    events = events_with_faults(folder, lambda call: "000024/" in call.name, errno.ENOSPC)
    assert isinstance(events[-1], Finished)
    assert events[-1].unsaved == os.strerror(errno.ENOSPC)
    assert assert_sound(folder) == 18
    assert_nothing_was_lost(folder)


def test_metrics_that_cannot_be_written_wait_and_stop_nothing(folder: Path) -> None:
    new_run(folder).close()
    calls = iter(range(100))
    events_with_faults(
        folder, lambda call: call.name == f"write {NAME}/metrics.jsonl" and next(calls) < 3, errno.ENOSPC
    )
    assert_nothing_was_lost(folder)
    metrics = Run(folder / NAME).metrics()
    assert [line["step"] for line in metrics if line["event"] == "evaluation"] == [6, 12, 18, 24]


def test_a_limit_of_the_system_on_the_size_of_files_is_outlasted(folder: Path) -> None:
    """No simulation: the kernel itself refuses, after a part has been written."""
    new_run(folder).close()

    def train(report: Callable[[int], None]) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
        for event in go_on(folder):
            if isinstance(event, CheckpointFailed):
                report(event.step)
            assert not isinstance(event, CheckpointSaved)

    assert Child(train).wait() == (0, [6, 12, 18, 24, 24])
    assert assert_sound(folder) == 0
    assert_nothing_was_lost(folder)


def test_too_little_room_is_seen_before_anything_is_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(CharrnnError, match=r"cannot be written: .* needed, .* free"):
        new_run(folder)
    assert not list(folder.iterdir())


def test_a_folder_without_permission_is_one_line(folder: Path) -> None:
    folder.chmod(0o500)

    def make(report: Callable[[int], None]) -> None:
        if os.geteuid() == 0:  # root may write anywhere
            folder.chmod(0o555)
            os.setuid(65534)
        with pytest.raises(CharrnnError, match=r"cannot be written: Permission denied"):
            new_run(folder)
        report(1)

    assert Child(make).wait() == (0, [1])


def test_a_save_asked_for_when_the_disk_is_full_is_tried_again(folder: Path) -> None:
    new_run(folder).close()
    requests, full = Requests(checkpoint=True), [True]

    def before(call: Call, arguments: tuple[Any, ...]) -> None:
        if full[0] and "checkpoints/ASIDE" in call.name:
            refusing(errno.ENOSPC)(call, arguments)

    with watched(folder, before):
        for event in go_on(folder, requests):
            if isinstance(event, CheckpointFailed):
                full[0], requests.checkpoint = False, True
    assert_nothing_was_lost(folder)
