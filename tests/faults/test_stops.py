"""Signals, evaluations that are stopped, readers that go away; and five interruptions of a training by the program."""

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
from tests.faults.tiny import NAME, assert_nothing_was_lost, assert_sound, expected_states, go_on, new_run

SHAPE = ["--hidden-size=12", "--layers=2", "--dropout=0.2", "--embedding-size=6", "--batch-size=3", "--seq-length=9"]
SMALL = [*SHAPE, "--device=cpu", "--seed=3", "--steps=60", "--evaluations=5"]
LONG = [*SHAPE, "--device=cpu", "--seed=3", "--steps=1000000", "--evaluations=20000"]


# Stops of the loop itself


def test_an_evaluation_is_stopped_between_two_pieces_and_made_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state before it is saved, and the run ends as one that was never stopped."""
    new_run(folder).close()
    requests, forward = Requests(), CharRNN.forward

    def asked_to_stop(self: CharRNN, *arguments: object) -> object:
        requests.stop = requests.stop or not self.training
        return forward(self, *arguments)

    monkeypatch.setattr("charrnn.training.loop.score", partial(score, limits=Limits(chunk=4)))
    with monkeypatch.context() as patch:
        patch.setattr(CharRNN, "forward", asked_to_stop)
        events = list(go_on(folder, requests))
    assert not any(isinstance(event, Evaluated) for event in events)
    assert isinstance(events[-1], Finished)
    assert events[-1].reason == "stopped"
    save = Run(folder / NAME).resumable_checkpoint()
    assert (save.step, save.progress.evaluated_step, save.progress.finished) == (6, 0, False)
    evaluated = [event for event in go_on(folder) if isinstance(event, Evaluated)]
    assert [event.step for event in evaluated] == [6, 12, 18, 24]
    monkeypatch.undo()
    assert evaluated[0].validation_nats == pytest.approx(expected_states()[6][0].validation_nats, abs=1e-6)


def test_a_stop_in_the_last_evaluation_leaves_a_run_that_is_not_finished(folder: Path) -> None:
    new_run(folder).close()
    requests = Requests()
    for event in go_on(folder, requests):
        requests.stop = getattr(event, "step", 0) == 24 and not isinstance(event, Evaluated)
    assert isinstance(event, Finished)
    assert event.reason == "stopped"
    assert not Run(folder / NAME).resumable_checkpoint().progress.finished
    assert_nothing_was_lost(folder)


def test_a_run_whose_newest_save_lost_a_bit_goes_on_from_the_one_before_and_keeps_the_damaged_one_aside(
    folder: Path,
) -> None:
    new_run(folder).close()
    requests = Requests()
    for event in go_on(folder, requests):
        requests.stop = getattr(event, "step", 0) >= 18
    newest = folder / NAME / "checkpoints" / "00000018" / "training.safetensors"
    data = bytearray(newest.read_bytes())
    data[-5] ^= 4
    newest.write_bytes(data)
    with pytest.warns(CharrnnWarning, match="00000018.*does not match its manifest; another checkpoint is used"):
        assert assert_sound(folder) == 12
    with pytest.warns(CharrnnWarning):
        list(go_on(folder))
    assert_nothing_was_lost(folder)
    saves = folder / NAME / "checkpoints"
    assert sorted(path.name for path in saves.iterdir()) == ["00000018", "00000024", "damaged-00000018"]
    assert [line["step"] for line in Run(folder / NAME).metrics()] == [6, 12, 18, 24]


def test_a_trainer_that_is_refused_the_lock_changes_nothing(folder: Path) -> None:
    with new_run(folder) as writer:
        before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
        for _ in range(2):
            with pytest.raises(CharrnnError, match="another process is training"):
                RunWriter.open(writer.run)
        assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


# The program


def program(*arguments: str) -> int:
    """Runs the program in this process and gives its exit code."""
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


def when_step(step: int, act: Callable[[Trainer], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Does something after a step of the training itself: not of those that are timed beforehand, without a watch."""
    make_step = Trainer.make_step

    def make_step_then(self: Trainer) -> None:
        make_step(self)
        if self.step == step and signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
            act(self)

    monkeypatch.setattr(Trainer, "make_step", make_step_then)


def test_five_interruptions_of_the_program_change_nothing_to_the_last_bit(
    text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Weights, optimizer, losses written down, and samples; with dropout, amid epochs and at an evaluation's step."""
    assert program("train", "text.txt", "--name", "whole", *SMALL) == 0
    interruptions = [(1, signal.SIGINT), (7, signal.SIGTERM), (24, signal.SIGINT), (25, signal.SIGHUP)]
    for number, (step, sent) in enumerate([*interruptions, (59, signal.SIGINT)]):
        again = ["--resume"] if number else SMALL
        with pytest.MonkeyPatch.context() as patch:
            when_step(step, lambda _, sent=sent: signal.raise_signal(sent), patch)
            code = program("train", "text.txt", "--name", "broken", *again)
        assert code == 128 + sent
        assert open_run("broken").checkpoint("last").step == step
    assert program("train", "text.txt", "--name", "broken", "--resume") == 0

    whole, broken = open_run("whole"), open_run("broken")
    for which in ("last", "best"):
        one, other = whole.checkpoint(which), broken.checkpoint(which)
        assert one.progress.changed(seconds=0.0) == other.progress.changed(seconds=0.0)
        for read in (Run.read_model, Run.read_training):
            expected, found = read(whole, one), read(broken, other)
            assert expected.keys() == found.keys()
            assert all(torch.equal(expected[name], found[name]) for name in expected)
    losses = [[{**line, "seconds": 0} for line in run.metrics()] for run in (whole, broken)]
    assert len(losses[0]) == 5
    assert losses[0] == losses[1]
    samples = []
    for name in ("whole", "broken"):
        capsys.readouterr()
        assert program("sample", name, "--length", "200", "--seed", "4") == 0
        samples.append(capsys.readouterr().out)
    assert samples[0] == samples[1] != ""


def test_sigusr1_saves_and_goes_on(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    when_step(7, lambda _: signal.raise_signal(signal.SIGUSR1), monkeypatch)
    commits = []
    commit = RunWriter.save
    monkeypatch.setattr(RunWriter, "save", lambda self, *a: commits.append(a[0].step) or commit(self, *a))
    assert program("train", "text.txt", *SMALL) == 0
    assert commits == [7, 12, 24, 36, 48, 60]


def test_a_second_interrupt_stops_at_once_and_the_save_before_stays(
    text: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    when_step(14, lambda _: [signal.raise_signal(signal.SIGINT) for _ in range(2)], monkeypatch)
    assert program("train", "text.txt", *SMALL) == 130
    assert "Traceback" not in capsys.readouterr().err
    assert open_run().checkpoint("last").step == 12
    monkeypatch.undo()


def test_a_signal_that_was_ignored_stays_so(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As under `nohup`."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        when_step(7, lambda _: signal.raise_signal(signal.SIGHUP), monkeypatch)
        assert program("train", "text.txt", *SMALL) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def started(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "charrnn", "train", "text.txt", *arguments]


def wait_for_save(home: Path) -> None:
    for _ in range(600):
        if (home / "checkpoints" / "text" / "checkpoints").is_dir() and open_run("text").checkpoint_steps()[-1] > 50:
            return
        time.sleep(0.05)
    raise AssertionError("no save came")


def assert_saved_to_the_last_line(run: Run) -> None:
    assert run.resumable_checkpoint().step >= run.metrics()[-1]["step"]


def test_a_closed_terminal_ends_training_with_a_save(text: Path, home: Path) -> None:
    command, *arguments = started(*LONG)
    child = pexpect.spawn(command, arguments)
    wait_for_save(home)
    os.close(child.child_fd)  # which hangs up, and nothing more
    _, status = os.waitpid(child.pid, 0)
    assert os.waitstatus_to_exitcode(status) == 129
    assert_saved_to_the_last_line(open_run("text"))


def test_a_reader_that_goes_away_ends_training_quietly_with_a_save(text: Path, home: Path) -> None:
    with subprocess.Popen(started(*LONG), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        wait_for_save(home)
        process.stdout.close()
        assert process.wait(timeout=30) == -signal.SIGPIPE
        assert process.stderr.read() == b""
    assert_saved_to_the_last_line(open_run("text"))
