"""Requests to stop, signals, closed pipes and terminals, and five interruptions of one training."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pexpect
import pytest
import torch

from charrnn.cli import app
from charrnn.errors import CharrnnError, CharrnnWarning
from charrnn.model.lookup import open_run
from charrnn.model.network import CharRNN
from charrnn.model.run import Run
from charrnn.model.writer import RunWriter
from charrnn.scoring.score import Limits, score
from charrnn.training import planning
from charrnn.training.events import Evaluated, Finished, Requests
from charrnn.training.trainer import Trainer
from tests.faults.tiny import (
    NAME,
    assert_finishes_bit_exact,
    assert_resumable,
    new_run,
    resume,
    uninterrupted_states,
)

SHAPE = ["--hidden-size=12", "--layers=2", "--dropout=0.2", "--embedding-size=6", "--batch-size=3", "--seq-length=9"]
SMALL = [*SHAPE, "--device=cpu", "--seed=3", "--steps=60", "--evaluations=5"]
LONG = [*SHAPE, "--device=cpu", "--seed=3", "--steps=1000000", "--evaluations=20000"]


# The loop


def test_evaluation_is_stopped_and_repeated(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state before it is saved, and the run ends like an uninterrupted one."""
    new_run(folder).close()
    requests, forward = Requests(), CharRNN.forward

    def forward_and_stop(self: CharRNN, *arguments: object) -> object:
        requests.stop = requests.stop or not self.training
        return forward(self, *arguments)

    monkeypatch.setattr("charrnn.training.loop.score", partial(score, limits=Limits(chunk=4)))
    with monkeypatch.context() as patch:
        patch.setattr(CharRNN, "forward", forward_and_stop)
        events = list(resume(folder, requests))
    assert not any(isinstance(event, Evaluated) for event in events)
    assert isinstance(events[-1], Finished)
    assert events[-1].reason == "stopped"
    checkpoint = Run(folder / NAME).resumable_checkpoint()
    assert (checkpoint.step, checkpoint.progress.evaluated_step, checkpoint.progress.finished) == (6, 0, False)
    evaluated = [event for event in resume(folder) if isinstance(event, Evaluated)]
    assert [event.step for event in evaluated] == [6, 12, 18, 24]
    monkeypatch.undo()
    assert evaluated[0].validation_nats == pytest.approx(uninterrupted_states()[6][0].validation_nats, abs=1e-6)


def test_run_stopped_in_its_last_evaluation_is_not_finished(folder: Path) -> None:
    new_run(folder).close()
    requests = Requests()
    for event in resume(folder, requests):
        requests.stop = getattr(event, "step", 0) == 24 and not isinstance(event, Evaluated)
    assert isinstance(event, Finished)
    assert event.reason == "stopped"
    assert not Run(folder / NAME).resumable_checkpoint().progress.finished
    assert_finishes_bit_exact(folder)


def test_damaged_checkpoint_is_replaced_and_kept_aside(folder: Path) -> None:
    """Training resumes from the checkpoint before it."""
    new_run(folder).close()
    requests = Requests()
    for event in resume(folder, requests):
        requests.stop = getattr(event, "step", 0) >= 18
    checkpoints = folder / NAME / "checkpoints"
    newest = checkpoints / "00000018" / "training.safetensors"
    data = bytearray(newest.read_bytes())
    data[-5] ^= 4
    newest.write_bytes(data)
    with pytest.warns(CharrnnWarning, match="00000018.*does not match its manifest; another checkpoint is used"):
        assert assert_resumable(folder) == 12
    with pytest.warns(CharrnnWarning):
        list(resume(folder))
    assert_finishes_bit_exact(folder)
    assert sorted(path.name for path in checkpoints.iterdir()) == ["00000018", "00000024", "damaged-00000018"]
    assert [entry["step"] for entry in Run(folder / NAME).metrics()] == [6, 12, 18, 24]


def test_locked_run_is_not_changed(folder: Path) -> None:
    with new_run(folder) as writer:
        before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
        for _ in range(2):
            with pytest.raises(CharrnnError, match="another process is training"):
                RunWriter.open(writer.run)
        assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


# The program


def program(*arguments: str) -> int:
    """Run the program in this process and return its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["charrnn", *arguments])
        patch.setattr(planning, "TIMING_SECONDS", 0.01)
        with pytest.raises(SystemExit) as ended:
            app.main()
    return ended.value.code or 0


@pytest.fixture
def text(home: Path, short_text: str) -> Path:
    path = home / "text.txt"
    path.write_text(short_text[:3000])
    return path


def after_step(step: int, act: Callable[[], object], patch: pytest.MonkeyPatch) -> None:
    """Call `act` after this step of the training, but not of the timing before it, which handles no signals."""
    make_step = Trainer.make_step

    def make_step_then(self: Trainer) -> None:
        make_step(self)
        if self.step == step and signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
            act()

    patch.setattr(Trainer, "make_step", make_step_then)


def test_five_interruptions_change_no_bit(text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of weights, optimizer, metrics and samples; with dropout, within epochs and at an evaluation."""
    assert program("train", "text.txt", "--name", "whole", *SMALL) == 0
    interruptions = [(1, signal.SIGINT), (7, signal.SIGTERM), (24, signal.SIGINT), (25, signal.SIGHUP)]
    for number, (step, sent) in enumerate([*interruptions, (59, signal.SIGINT)]):
        settings = ["--resume"] if number else SMALL
        with pytest.MonkeyPatch.context() as patch:
            after_step(step, partial(signal.raise_signal, sent), patch)
            code = program("train", "text.txt", "--name", "interrupted", *settings)
        assert code == 128 + sent
        assert open_run("interrupted").checkpoint("last").step == step
    assert program("train", "text.txt", "--name", "interrupted", "--resume") == 0

    whole, interrupted = open_run("whole"), open_run("interrupted")
    for which in ("last", "best"):
        one, other = whole.checkpoint(which), interrupted.checkpoint(which)
        assert one.progress.changed(seconds=0.0) == other.progress.changed(seconds=0.0)
        for read in (Run.read_model, Run.read_training):
            expected, found = read(whole, one), read(interrupted, other)
            assert expected.keys() == found.keys()
            assert all(torch.equal(expected[name], found[name]) for name in expected)
    metrics = [[{**entry, "seconds": 0} for entry in run.metrics()] for run in (whole, interrupted)]
    assert len(metrics[0]) == 5
    assert metrics[0] == metrics[1]
    samples = []
    for name in ("whole", "interrupted"):
        capsys.readouterr()
        assert program("sample", name, "--length", "200", "--seed", "4") == 0
        samples.append(capsys.readouterr().out)
    assert samples[0] == samples[1] != ""


def test_sigusr1_saves_a_checkpoint(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    after_step(7, partial(signal.raise_signal, signal.SIGUSR1), monkeypatch)
    steps, save = [], RunWriter.save
    monkeypatch.setattr(RunWriter, "save", lambda self, *a: steps.append(a[0].step) or save(self, *a))
    assert program("train", "text.txt", *SMALL) == 0
    assert steps == [7, 12, 24, 36, 48, 60]


def test_second_interrupt_stops_at_once(
    text: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The previous checkpoint stays."""
    after_step(14, lambda: [signal.raise_signal(signal.SIGINT) for _ in range(2)], monkeypatch)
    assert program("train", "text.txt", *SMALL) == 130
    assert "Traceback" not in capsys.readouterr().err
    assert open_run().checkpoint("last").step == 12


def test_ignored_signal_stays_ignored(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As under `nohup`."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        after_step(7, partial(signal.raise_signal, signal.SIGHUP), monkeypatch)
        assert program("train", "text.txt", *SMALL) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def train_command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "charrnn", "train", "text.txt", *arguments]


def wait_for_checkpoint(home: Path) -> None:
    for _ in range(600):
        if (home / "checkpoints" / "text" / "checkpoints").is_dir() and open_run("text").checkpoint_steps()[-1] > 50:
            return
        time.sleep(0.05)
    raise AssertionError("no checkpoint was saved")


def assert_last_metrics_are_saved(run: Run) -> None:
    assert run.resumable_checkpoint().step >= run.metrics()[-1]["step"]


def test_closed_terminal_ends_training_with_a_checkpoint(text: Path, home: Path) -> None:
    command, *arguments = train_command(*LONG)
    child = pexpect.spawn(command, arguments)
    wait_for_checkpoint(home)
    os.close(child.child_fd)  # hangs up, and nothing else
    _, status = os.waitpid(child.pid, 0)
    assert os.waitstatus_to_exitcode(status) == 129
    assert_last_metrics_are_saved(open_run("text"))


def test_closed_pipe_ends_training_with_a_checkpoint(text: Path, home: Path) -> None:
    with subprocess.Popen(train_command(*LONG), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        wait_for_checkpoint(home)
        process.stdout.close()
        assert process.wait(timeout=30) == -signal.SIGPIPE
        assert process.stderr.read() == b""
    assert_last_metrics_are_saved(open_run("text"))
