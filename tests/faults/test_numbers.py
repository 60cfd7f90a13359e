"""Numbers that are none: in a gradient, in a weight, in the optimizer; and a learning rate that explodes."""

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
from tests.faults.tiny import NAME, TRAINING, go_on, new_run

LONG = TRAINING.changed(steps=60)


def events_with(
    folder: Path, monkeypatch: pytest.MonkeyPatch, after_step: Callable[[Trainer, int], None]
) -> list[Event]:
    """Of a training of 60 steps, saved every 15, in which something is done to the trainer after its n-th step."""
    make_step, numbers = Trainer.make_step, iter(range(1, 10**6))

    def step_and_then(self: Trainer) -> None:
        make_step(self)
        after_step(self, next(numbers))

    monkeypatch.setattr(Trainer, "make_step", step_and_then)
    new_run(folder, LONG).close()
    return list(go_on(folder))


def all_finite(folder: Path) -> bool:
    run = Run(folder / NAME)
    return all(
        bool(torch.isfinite(tensor).all())
        for step in run.checkpoint_steps()
        for tensor in (
            run.read_model(run.checkpoint(str(step))) | run.read_training(run.checkpoint(str(step)))
        ).values()
    )


def poison(trainer: Trainer, numbers: set[int]) -> None:
    """Makes a gradient not a number, the so-manieth time it is computed."""
    calls = iter(range(1, 10**6))
    trainer.network.output.weight.register_hook(
        lambda gradient: gradient * math.nan if next(calls) in numbers else None
    )


def test_not_a_number_in_a_gradient_leaves_out_that_step_and_is_counted(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And how many were left out in a row is part of a save, so that a resumed run gives up when the other does."""
    events = events_with(
        folder, monkeypatch, lambda trainer, number: poison(trainer, {6, 13, 14, 40}) if number == 1 else None
    )
    assert events[-1].reason == "done"
    assert events[-1].progress.skipped_steps == 4
    assert not any(isinstance(event, Exploded | CheckpointFailed) for event in events)
    assert all_finite(folder)
    saved = [event.progress for event in events if isinstance(event, Finished)]
    assert saved[-1].skipped_in_a_row == 0


def test_steps_left_out_in_a_row_are_counted_across_an_interruption(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_run(folder, LONG).close()
    make_step, trainers, requests = Trainer.make_step, [], Requests()

    def poisoned_step(self: Trainer) -> None:
        if self not in trainers:
            trainers.append(self)
            poison(self, set(range(1, 100)))
        make_step(self)
        requests.stop = self.step == 4

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "make_step", poisoned_step)
        list(go_on(folder, requests))
        assert Run(folder / NAME).resumable_checkpoint().progress.skipped_in_a_row == 4
        requests.stop = False
        exploded = next(event for event in go_on(folder, requests) if isinstance(event, Exploded))
    assert exploded == Exploded(4, 0.5)  # six steps later: it goes back to where it was stopped
    assert trainers[-1].skipped == 4


@pytest.mark.parametrize("at", [20, 30, 44], ids=["amid", "just before an evaluation", "just before the next"])
@pytest.mark.parametrize("what", ["a weight", "a moment of the optimizer"])
def test_not_a_number_in_what_is_kept_goes_back_to_the_last_save_and_is_never_saved(
    folder: Path, monkeypatch: pytest.MonkeyPatch, what: str, at: int
) -> None:
    def break_it(trainer: Trainer, number: int) -> None:
        if number == at:
            weight = trainer.network.recurrences[0].weight_hh_l0
            place = weight.data if what == "a weight" else trainer.optimizer.state[weight]["exp_avg_sq"]
            place[0, 0] = math.nan if what == "a weight" else math.inf

    events = events_with(folder, monkeypatch, break_it)
    assert [event for event in events if isinstance(event, Exploded)] == [Exploded(15 if at <= 30 else 30, 0.5)]
    assert not any(isinstance(event, CheckpointFailed) for event in events)
    assert events[-1].reason == "done"
    assert events[-1].progress.rate_scale == 0.5
    assert all_finite(folder)


def test_a_rate_that_explodes_is_halved_and_in_the_end_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def explode(trainer: Trainer, number: int) -> None:
        if trainer.step > 20:
            seen.append(trainer.rate_scale)
            for parameter in trainer.network.parameters():
                parameter.data *= 1e30

    with pytest.raises(CharrnnError, match=r"training exploded at step \d+.*use a lower --learning-rate"):
        events_with(folder, monkeypatch, explode)
    assert sorted(set(seen), reverse=True) == [1.0, 0.5, 0.25, 0.125]
    assert all_finite(folder)
    assert Run(folder / NAME).resumable_checkpoint().step == 15


def test_an_explosion_before_the_first_evaluation_goes_back_to_the_beginning(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(trainer: Trainer, number: int) -> None:
        if number == 3:
            trainer.network.output.bias.data[0] = math.inf

    events = events_with(folder, monkeypatch, explode)
    assert [event for event in events if isinstance(event, Exploded)] == [Exploded(0, 0.5)]
    assert events[-1].reason == "done"
