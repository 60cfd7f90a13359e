"""Non-finite values in gradients, weights and the optimizer, and a learning rate that explodes."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from charrnn.errors import CharrnnError
from charrnn.model.run import Run
from charrnn.training.events import CheckpointFailed, Event, Exploded, Finished, Requests
from charrnn.training.trainer import Trainer
from tests.faults.tiny import NAME, TRAINING, new_run, resume

LONG = TRAINING.changed(steps=60)


def events_of(folder: Path, monkeypatch: pytest.MonkeyPatch, after_step: Callable[[Trainer, int], None]) -> list[Event]:
    """Return the events of a training of 60 steps with a checkpoint every 15. after_step: gets the number of steps."""
    make_step, numbers = Trainer.make_step, iter(range(1, 10**6))

    def make_step_and_then(self: Trainer) -> None:
        make_step(self)
        after_step(self, next(numbers))

    monkeypatch.setattr(Trainer, "make_step", make_step_and_then)
    new_run(folder, LONG).close()
    return list(resume(folder))


def explosions(events: list[Event]) -> list[Event]:
    return [event for event in events if isinstance(event, Exploded)]


def assert_saved_values_are_finite(folder: Path) -> None:
    run = Run(folder / NAME)
    for checkpoint in (run.checkpoint(str(step)) for step in run.checkpoint_steps()):
        for name, tensor in (run.read_model(checkpoint) | run.read_training(checkpoint)).items():
            assert bool(torch.isfinite(tensor).all()), name


def poison(trainer: Trainer, numbers: set[int]) -> None:
    """Make a gradient NaN at these computations of it, counted from 1."""
    calls = iter(range(1, 10**6))
    trainer.network.output.weight.register_hook(
        lambda gradient: gradient * math.nan if next(calls) in numbers else None
    )


def test_non_finite_gradient_skips_the_step(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = events_of(
        folder, monkeypatch, lambda trainer, number: poison(trainer, {6, 13, 14, 40}) if number == 1 else None
    )
    assert not any(isinstance(event, Exploded | CheckpointFailed) for event in events)
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.reason == "done"
    assert (finished.progress.skipped_steps, finished.progress.skipped_in_a_row) == (4, 0)
    assert_saved_values_are_finite(folder)


def test_skipped_steps_are_counted_across_a_resume(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a resumed run gives up at the same step as an uninterrupted one."""
    new_run(folder, LONG).close()
    make_step, trainers, requests = Trainer.make_step, [], Requests()

    def poisoned_step(self: Trainer) -> None:
        if self not in trainers:
            trainers.append(self)
            poison(self, set(range(1, 100)))
        make_step(self)
        requests.stop = self.step == 4

    monkeypatch.setattr(Trainer, "make_step", poisoned_step)
    list(resume(folder, requests))
    assert Run(folder / NAME).resumable_checkpoint().progress.skipped_in_a_row == 4
    requests.stop = False
    exploded = next(event for event in resume(folder, requests) if isinstance(event, Exploded))
    assert exploded == Exploded(4, 0.5)  # six steps later, back to where it was stopped
    assert trainers[-1].skipped == 4


@pytest.mark.parametrize("at", [20, 30, 44], ids=["between", "before an evaluation", "before the next"])
@pytest.mark.parametrize("what", ["weight", "optimizer"])
def test_non_finite_state_is_never_saved(folder: Path, monkeypatch: pytest.MonkeyPatch, what: str, at: int) -> None:
    """Training returns to the last checkpoint."""

    def break_state(trainer: Trainer, number: int) -> None:
        if number == at:
            weight = trainer.network.recurrences[0].weight_hh_l0
            values = weight.data if what == "weight" else trainer.optimizer.state[weight]["exp_avg_sq"]
            values[0, 0] = math.nan if what == "weight" else math.inf

    events = events_of(folder, monkeypatch, break_state)
    assert explosions(events) == [Exploded(15 if at <= 30 else 30, 0.5)]
    assert not any(isinstance(event, CheckpointFailed) for event in events)
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert (finished.reason, finished.progress.rate_scale) == ("done", 0.5)
    assert_saved_values_are_finite(folder)


def test_repeated_explosions_end_the_training(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The learning rate is halved after each of the first three."""
    scales = []

    def explode(trainer: Trainer, number: int) -> None:
        if trainer.step > 20:
            scales.append(trainer.rate_scale)
            for parameter in trainer.network.parameters():
                parameter.data *= 1e30

    with pytest.raises(CharrnnError, match=r"training exploded at step \d+.*use a lower `learning_rate`"):
        events_of(folder, monkeypatch, explode)
    assert sorted(set(scales), reverse=True) == [1.0, 0.5, 0.25, 0.125]
    assert_saved_values_are_finite(folder)
    assert Run(folder / NAME).resumable_checkpoint().step == 15


def test_explosion_before_the_first_evaluation_restarts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(trainer: Trainer, number: int) -> None:
        if number == 3:
            trainer.network.output.bias.data[0] = math.inf

    events = events_of(folder, monkeypatch, explode)
    assert explosions(events) == [Exploded(0, 0.5)]
    assert events[-1].reason == "done"
