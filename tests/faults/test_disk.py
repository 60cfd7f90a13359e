"""Full, failing and write-protected disks, at every call that changes them."""

from __future__ import annotations

import errno
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from charrnn.errors import CharrnnError
from charrnn.model.lookup import NameTakenError, run_names
from charrnn.model.run import Run
from charrnn.model.writer import RunWriter
from charrnn.training.events import CheckpointFailed, CheckpointSaved, Event, Finished, Requests
from tests.faults.system import Arguments, Call, Fault, call_names, fault_at, watch_calls, write_half
from tests.faults.test_kills import stop_at
from tests.faults.tiny import (
    NAME,
    Child,
    assert_finishes_bit_exact,
    assert_resumable,
    new_run,
    resume,
    uninterrupted_states,
)

ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES)
every_error = pytest.mark.parametrize("number", ERRORS, ids=errno.errorcode.get)
errors_in_turn = pytest.mark.parametrize(
    "errors",
    [
        pytest.param(ERRORS, id="in-turn"),
        *(pytest.param((number,), id=errno.errorcode[number], marks=pytest.mark.slow) for number in ERRORS),
    ],
)


def failing_with(number: int) -> Fault:
    """Return a fault: half of a write is done, then this error is raised."""

    def fault(call: Call, arguments: Arguments) -> None:
        write_half(call, arguments)
        raise OSError(number, os.strerror(number), str(call.path))

    return fault


def save(writer: RunWriter, step: int) -> None:
    """Save the state that an uninterrupted training has at this step."""
    progress, tensors = uninterrupted_states()[step]
    training = {name: tensor for name, tensor in tensors.items() if name.startswith(("adam.", "state."))}
    writer.save(progress, {name: tensors[name] for name in tensors.keys() - training.keys()}, training)


@errors_in_turn
def test_failed_save_keeps_the_previous_one(folder: Path, errors: tuple[int, ...]) -> None:
    """A save fails at each of its calls, and succeeds when it is repeated."""
    stop_at(folder, 6)
    shutil.copytree(folder / NAME, folder / "before")
    with RunWriter.open(Run(folder / NAME)) as writer:
        names = call_names(folder, lambda: save(writer, 12))
    outcomes = []
    for call, name in enumerate(names):
        number = errors[call % len(errors)]
        shutil.rmtree(folder / NAME)
        shutil.copytree(folder / "before", folder / NAME)
        with RunWriter.open(Run(folder / NAME)) as writer:
            try:
                with fault_at(folder, call, failing_with(number)) as failed:
                    save(writer, 12)
                outcomes.append("saved")
            except OSError as error:
                assert error.errno == number
                outcomes.append("failed")
            assert failed[0].name == name
            assert_resumable(folder, at_least=12 if outcomes[-1] == "saved" else 6)
            save(writer, 12)
            assert_resumable(folder, at_least=12)
    # An error while older checkpoints are removed does not make the save fail.
    checkpoints = f"{NAME}/checkpoints"
    removal = len(names) - names.index(f"rename {checkpoints}/00000000 → {checkpoints}/ASIDE-00000000")
    assert outcomes == ["failed"] * (len(names) - removal) + ["saved"] * removal


@errors_in_turn
def test_run_that_cannot_be_created_leaves_nothing(folder: Path, errors: tuple[int, ...]) -> None:
    checkpoints = folder / "checkpoints"
    calls = call_names(folder, lambda: new_run(checkpoints).close())
    for call, name in enumerate(calls):
        number = errors[call % len(errors)]
        shutil.rmtree(checkpoints)
        with (
            pytest.raises(CharrnnError, match=f"cannot be written: {os.strerror(number)}"),
            fault_at(folder, call, failing_with(number)),
        ):
            new_run(checkpoints).close()
        names = run_names(checkpoints)
        assert not names or name.startswith(("open checkpoints/run", "fsync checkpoints"))
        assert not checkpoints.exists() or [path.name for path in checkpoints.iterdir()] == names
        if names:
            RunWriter.open(Run(checkpoints / NAME)).close()
        else:
            new_run(checkpoints).close()
        assert_resumable(checkpoints)


def test_name_taken_while_a_run_is_written(folder: Path) -> None:
    def take_the_name(call: Call, _: Arguments) -> None:
        if call.target == folder / NAME:
            (folder / NAME / "checkpoints").mkdir(parents=True)

    with watch_calls(folder, take_the_name), pytest.raises(NameTakenError, match=f"run {NAME} exists already"):
        new_run(folder)
    assert [path.name for path in folder.iterdir()] == [NAME]


def events_with_failures(folder: Path, fails: Callable[[Call], bool], number: int) -> list[Event]:
    """Return the events of a training in which these calls fail."""
    fault = failing_with(number)

    def before(call: Call, arguments: Arguments) -> None:
        if fails(call):
            fault(call, arguments)

    with watch_calls(folder, before):
        return list(resume(folder))


@every_error
def test_training_continues_while_the_disk_fails(folder: Path, number: int) -> None:
    new_run(folder).close()
    events = events_with_failures(folder, lambda call: "000006/" in call.name or "000012/" in call.name, number)
    saves = [event for event in events if isinstance(event, CheckpointSaved | CheckpointFailed)]
    assert [type(event) for event in saves] == [CheckpointFailed] * 2 + [CheckpointSaved] * 2
    assert all(event.reason == os.strerror(number) for event in saves if isinstance(event, CheckpointFailed))
    assert_finishes_bit_exact(folder)


def test_failed_last_save_is_reported(folder: Path) -> None:
    new_run(folder).close()
    events = events_with_failures(folder, lambda call: "000024/" in call.name, errno.ENOSPC)
    assert isinstance(events[-1], Finished)
    assert events[-1].unsaved == os.strerror(errno.ENOSPC)
    assert assert_resumable(folder) == 18
    assert_finishes_bit_exact(folder)


def test_metrics_are_written_once_the_disk_accepts_them(folder: Path) -> None:
    new_run(folder).close()
    calls = iter(range(100))
    events_with_failures(
        folder, lambda call: call.name == f"write {NAME}/metrics.jsonl" and next(calls) < 3, errno.ENOSPC
    )
    assert_finishes_bit_exact(folder)
    metrics = Run(folder / NAME).metrics()
    assert [entry["step"] for entry in metrics if entry["event"] == "evaluation"] == [6, 12, 18, 24]


def test_file_size_limit_of_the_system(folder: Path) -> None:
    """Not simulated: the kernel refuses, after a part was written."""
    new_run(folder).close()

    def train(report: Callable[[int], None]) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
        for event in resume(folder):
            if isinstance(event, CheckpointFailed):
                report(event.step)
            assert not isinstance(event, CheckpointSaved)

    assert Child(train).wait() == (0, [6, 12, 18, 24, 24])
    assert assert_resumable(folder) == 0
    assert_finishes_bit_exact(folder)


def test_lack_of_space_is_detected_before_writing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(CharrnnError, match=r"cannot be written: .* needed, .* free"):
        new_run(folder)
    assert not list(folder.iterdir())


def test_folder_without_permission(folder: Path) -> None:
    folder.chmod(0o500)

    def create(report: Callable[[int], None]) -> None:
        if os.geteuid() == 0:  # root may write anywhere
            folder.chmod(0o555)
            os.setuid(65534)
        with pytest.raises(CharrnnError, match=r"cannot be written: Permission denied"):
            new_run(folder)
        report(1)

    assert Child(create).wait() == (0, [1])


def test_requested_checkpoint_is_retried_on_a_full_disk(folder: Path) -> None:
    new_run(folder).close()
    requests, full = Requests(checkpoint=True), [True]

    def before(call: Call, arguments: Arguments) -> None:
        if full[0] and "checkpoints/ASIDE" in call.name:
            failing_with(errno.ENOSPC)(call, arguments)

    with watch_calls(folder, before):
        for event in resume(folder, requests):
            if isinstance(event, CheckpointFailed):
                full[0], requests.checkpoint = False, True
    assert_finishes_bit_exact(folder)
