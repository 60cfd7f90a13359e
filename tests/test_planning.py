"""charrnn.training.planning"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from charrnn.model.device import cpu_threads
from charrnn.model.network import CharRNN
from charrnn.model.run_settings import CorpusIdentity, Origin, RunSettings
from charrnn.settings import ModelSettings, TrainingSettings
from charrnn.text.encoded_text import EncodedText
from charrnn.training import planning
from charrnn.training.planning import (
    Budget,
    Timing,
    Workload,
    fastest_step,
    make_plan,
    measure_timing,
    plan_rest,
    seconds_per_step,
)
from charrnn.training.schedule import Deadline

TRAINING = TrainingSettings(batch_size=2, seq_length=25)
TEXT = EncodedText(np.zeros(950, np.uint8))
TEXTS = TEXT, TEXT[:100]
TIMING = Timing(step=0.01, evaluation=0.5)


@pytest.mark.parametrize(("budget", "steps"), [(Budget(steps=17), 17), (Budget(epochs=2), 2 * 18)])
def test_steps_and_epochs_are_kept(budget: Budget, steps: int) -> None:
    plan = make_plan(budget, TIMING, TEXTS, TRAINING, budget.started + 1, evaluations=3)
    assert (plan.steps, plan.evaluations, plan.deadline) == (steps, 3, None)
    assert plan.seconds == pytest.approx(1 + steps * 0.01 + 3 * 0.5)


def test_minutes_cover_preparation_and_evaluations() -> None:
    plan = make_plan(Budget(minutes=1, started=100.0), TIMING, TEXTS, TRAINING, 110.0, evaluations=4)
    assert plan.steps == (60 - 10 - 4 * 0.5) / 0.01
    assert plan.seconds == pytest.approx(60)
    assert plan.deadline == Deadline(160.0, budget=60.0, per_step=0.01, per_evaluation=0.5)


def test_evaluations_get_a_share_of_the_time() -> None:
    def evaluations(seconds: float) -> int:
        return make_plan(Budget(minutes=1, started=0.0), Timing(0.01, seconds), TEXTS, TRAINING, 0.0).evaluations

    assert [evaluations(seconds) for seconds in (0.01, 1.2, 1000.0)] == [planning.MAX_EVALUATIONS, 6, 1]


def test_a_slow_evaluation_leaves_most_of_the_time_to_training() -> None:
    timing = Timing(0.01, 1000.0)
    plan = make_plan(Budget(minutes=1, started=0.0), timing, TEXTS, TRAINING, 0.0, val_characters=0)
    assert plan.steps == 0.7 * 60 / 0.01
    assert plan.seconds > 1000


@pytest.mark.parametrize("seconds", [1.0, 7.0, 30.0, 1000.0, 100_000.0])
def test_evaluations_never_take_most_of_the_minutes(seconds: float) -> None:
    """Not even of a text that takes longer than all of the run."""
    plan = make_plan(Budget(minutes=1, started=0.0), Timing(0.01, seconds), LONG, TRAINING, 0.0)
    assert plan.seconds == pytest.approx(60, rel=0.01)
    assert plan.deadline.per_evaluation <= 6
    assert plan.steps >= 0.7 * 60 / 0.01


def test_timing_is_positive() -> None:
    texts = TEXT, TEXT[:100]
    timing = measure_timing(
        Workload(ModelSettings(hidden_size=8), TRAINING, 5, texts[0], torch.device("cpu")), texts[1], Budget(steps=1)
    )
    assert timing.step > 0
    assert timing.evaluation > 0


def test_timing_survives_a_step_that_took_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "fastest_step", lambda work, seconds: (1000.0, 1))
    work = Workload(ModelSettings(hidden_size=8), TRAINING, 5, TEXT, torch.device("cpu"))
    timing = measure_timing(work, TEXTS[1], Budget(steps=1))
    assert timing.step == 1000 and timing.evaluation > 0


def test_one_slow_trial_is_left_out() -> None:
    """A step takes 1 s, and ten times as long from the fifth step on, for as many seconds as half of the trials."""
    now, steps = 0.0, 0

    def slow_down(*_: object) -> None:
        nonlocal now, steps
        steps += 1
        now += 10.0 if 5 <= steps < 9 else 1.0

    def clock() -> float:
        return now

    with torch.nn.modules.module.register_module_forward_pre_hook(
        lambda module, _: slow_down() if isinstance(module, CharRNN) else None
    ):
        settings = ModelSettings(hidden_size=4, embedding_size=2)
        seconds = seconds_per_step(Workload(settings, TRAINING, 5, TEXT, torch.device("cpu")), 80.0, clock=clock)
    assert seconds == 1.0


def test_a_plan_with_a_deadline_has_steps_to_correct() -> None:
    plan = make_plan(Budget(minutes=1, started=0.0), Timing(100.0, 1.0), TEXTS, TRAINING, 0.0)
    assert plan.steps == planning.MIN_PLANNED_STEPS


LONG = TEXT, EncodedText(np.zeros(2_000_000, np.uint8))


def test_a_slow_validation_is_of_a_part() -> None:
    """All of the text takes 12 of 100 s: the part takes 2 s, and all of it is left to the end."""
    timing = Timing(step=0.01, evaluation=12.0)
    plan = make_plan(Budget(minutes=100 / 60, started=0.0), timing, LONG, TRAINING, 0.0)
    assert plan.val_characters == 333_000
    assert plan.evaluations == 6
    assert plan.deadline.per_evaluation == pytest.approx(2.0, abs=0.01)
    assert plan.deadline.final * plan.deadline.per_evaluation == pytest.approx(12.0)
    assert plan.steps == pytest.approx((100 - 12 - 6 * 2) / 0.01, rel=0.001)


def test_a_validation_of_all_that_does_not_fit_is_left_out() -> None:
    plan = make_plan(Budget(minutes=1, started=0.0), Timing(0.01, 40.0), LONG, TRAINING, 0.0)
    assert 0 < plan.val_characters < 100_000
    assert plan.deadline.final == 0


def test_a_quick_validation_is_of_all() -> None:
    plan = make_plan(Budget(minutes=1, started=0.0), Timing(0.01, 5.0), LONG, TRAINING, 0.0)
    assert (plan.val_characters, plan.deadline.final) == (0, 0)


def test_a_given_part_is_kept() -> None:
    timing = Timing(0.01, 5.0)
    plan = make_plan(Budget(minutes=1, started=0.0), timing, LONG, TRAINING, 0.0, val_characters=500_000)
    assert plan.val_characters == 500_000
    assert plan.deadline.per_evaluation == 1.25


@pytest.fixture
def two_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Torch has two threads, and the user has not said how many to use."""
    for name in planning.THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with cpu_threads(2):
        yield


def threads_of(training: TrainingSettings, slow: int, monkeypatch: pytest.MonkeyPatch) -> int | None:
    """Return the chosen number of threads if a step is slow with one of the numbers."""
    monkeypatch.setattr(planning, "seconds_per_step", lambda *_, **__: 1.0 + (torch.get_num_threads() == slow))
    before = torch.get_num_threads()
    model = ModelSettings(hidden_size=4, embedding_size=2)
    _, threads = fastest_step(Workload(model, training, 5, TEXT, torch.device("cpu")), 0.01)
    assert torch.get_num_threads() == before
    return threads


@pytest.mark.usefixtures("two_threads")
def test_the_faster_number_of_threads_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert threads_of(TRAINING, 2, monkeypatch) == 1
    assert threads_of(TRAINING, 1, monkeypatch) == 2


@pytest.mark.usefixtures("two_threads")
def test_a_given_number_of_threads_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    assert threads_of(TRAINING.changed(threads=3), 3, monkeypatch) == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert threads_of(TRAINING, 2, monkeypatch) == 2


def test_a_resumed_run_has_the_minutes_that_are_left() -> None:
    origin, training = Origin(minutes=2.0), TRAINING.changed(steps=500, val_characters=500_000)
    run = RunSettings(ModelSettings(), training, CorpusIdentity(), origin)
    plan = plan_rest(run, 90.0, Timing(0.01, 8.0), 2_000_000, started=1000.0)
    assert (plan.steps, plan.seconds) == (500, 30.0)
    assert plan.deadline == Deadline(1030.0, budget=120.0, per_step=0.01, per_evaluation=2.0, final=4.0)
    assert plan_rest(run, 150.0, Timing(0.01, 8.0), 2_000_000, started=1000.0).deadline.at == 1000.0
