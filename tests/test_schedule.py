"""charrnn.training.schedule"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from charrnn.model.run_settings import Correction
from charrnn.settings import TrainingSettings
from charrnn.training.schedule import Deadline, Schedule, steps_within

BUDGET = 100.0
SETTINGS = TrainingSettings(warmup_steps=100, evaluations=6)


def test_slow_evaluations_leave_most_of_the_time_to_training() -> None:
    assert steps_within(100, per_step=0.5, for_evaluations=20) == 160
    assert steps_within(100, per_step=0.5, for_evaluations=1000) == 140
    assert steps_within(0, per_step=0.5, for_evaluations=20) == 1


def simulate(
    slowness: Callable[[float, int], float],
    *,
    planned: int = 2000,
    per_step: float = 0.045,
    per_evaluation: float = 1.5,
    final: float = 0.0,
) -> tuple[float, Schedule]:
    """Return when a run with a budget of 100 s ends, and its schedule.

    slowness: of a time and a step; what its steps and evaluations take, in units of `per_step` and `per_evaluation`.
    final: the seconds of the validation at the end, which stops when it is overdue.
    """
    now = 0.0
    deadline = Deadline(BUDGET, BUDGET, per_step, per_evaluation, final / per_evaluation)
    schedule = Schedule(SETTINGS.changed(steps=planned), deadline=deadline, clock=lambda: now)
    schedule.start(0, 0.0)
    step = 0
    while step < schedule.timetable.steps:
        now += per_step * slowness(now, step)
        step += 1
        if schedule.forecast_is_due(step) and (correction := schedule.correction(step)):
            schedule.correct([*schedule.timetable.corrections, correction])
        if schedule.timetable.evaluates_after(step):
            start = now
            now += per_evaluation * slowness(now, step)
            schedule.evaluated(start)
    if schedule.has_time_for_final():
        end = now + final * slowness(now, step)
        while now < end and not schedule.is_overdue():
            now += 1.0
    return now, schedule


def blocks(now: float, step: int) -> float:
    return 3.0 if now % 20 > 10 else 1.0


def noise(now: float, step: int) -> float:
    return 0.6 + (step * 0.618034) % 1 * 0.8


CHANGES: dict[str, Callable[[float, int], float]] = {
    **{
        f"{factor} times slower from {at}": lambda now, step, at=at, factor=factor: factor if now > at else 1.0
        for at in (1, 10, 50, 80, 95)
        for factor in (2, 3, 10)
    },
    **{
        f"{factor} times slower until {at}": lambda now, step, at=at, factor=factor: factor if now < at else 1.0
        for at in (1, 10, 50, 80, 95)
        for factor in (2, 3, 10)
    },
    "a pause": lambda now, step: 400.0 if step == 500 else 1.0,
    "blocks": blocks,
}
QUIET: dict[str, Callable[[float, int], float]] = {
    "constant": lambda now, step: 1.0,
    "three times as slow as timed": lambda now, step: 3.0,
    "three times as fast as timed": lambda now, step: 1 / 3,
    "fifty times as fast as timed": lambda now, step: 1 / 50,
    "a hundred times as slow as timed": lambda now, step: 100.0,
    "every other step slow": lambda now, step: 1.0 + 2.0 * (step % 2),
    "noise": noise,
}


@pytest.mark.parametrize("name", QUIET)
def test_a_run_ends_at_its_deadline(name: str) -> None:
    end, _ = simulate(QUIET[name], per_evaluation=0.01 if "hundred" in name else 1.5)
    assert 0.85 * BUDGET <= end <= 1.15 * BUDGET


@pytest.mark.parametrize("name", CHANGES)
def test_a_run_ends_at_its_deadline_on_a_machine_that_changes(name: str) -> None:
    """With few corrections."""
    end, schedule = simulate(CHANGES[name])
    assert 0.7 * BUDGET <= end <= 1.3 * BUDGET
    assert len(schedule.timetable.corrections) <= 25


@pytest.mark.parametrize("name", CHANGES)
def test_the_validation_at_the_end_keeps_the_deadline(name: str) -> None:
    end, _ = simulate(CHANGES[name], planned=1700, final=15.0)
    assert 0.7 * BUDGET <= end <= 1.3 * BUDGET


def test_a_validation_at_the_end_that_became_slow_is_left_out() -> None:
    """Its time is trained for instead."""
    end, schedule = simulate(lambda now, step: 3.0 if now > 20 else 1.0, planned=1700, final=15.0)
    assert not schedule.has_time_for_final()
    assert 0.9 * BUDGET <= end <= 1.15 * BUDGET


def test_a_plan_of_a_few_steps_grows_before_the_rate_has_decayed() -> None:
    """As after a timing that was disturbed: 20 steps are planned where 2,000 fit."""
    end, schedule = simulate(lambda now, step: 0.01, planned=20, per_step=4.5)
    assert 0.85 * BUDGET <= end <= 1.15 * BUDGET
    rates = [schedule.timetable.learning_rate(step) for step in range(schedule.timetable.steps)]
    assert sum(rates) / len(rates) > 0.45 * SETTINGS.learning_rate  # that of a cosine is half the peak


@pytest.mark.parametrize("name", ["constant", "every other step slow", "noise"])
def test_a_plan_that_is_good_enough_stays(name: str) -> None:
    scale = {"every other step slow": 0.5}.get(name, 1.0)
    _, schedule = simulate(lambda now, step: scale * QUIET[name](now, step))
    assert len(schedule.timetable.corrections) == 1


def test_evaluations_that_no_longer_fit_are_dropped() -> None:
    end, schedule = simulate(lambda now, step: 1.0, per_evaluation=15.0, planned=1000)
    assert end <= 1.15 * BUDGET
    assert schedule.timetable.evaluations_left(0) < 6


def test_without_a_deadline_nothing_is_corrected() -> None:
    schedule = Schedule(SETTINGS, clock=lambda: 0.0)
    assert not schedule.forecast_is_due(20)
    assert schedule.correction(20) is None


def test_a_resumed_run_repeats_its_corrections_before_it_makes_others() -> None:
    """It resumes at step 100 with 50 s left. A step takes three times as long as planned."""
    now, recorded = 0.0, [Correction(0, 2000, 6), Correction(300, 1000, 3)]
    deadline = Deadline(50.0, BUDGET, per_step=0.05, per_evaluation=0.1)
    schedule = Schedule(SETTINGS.changed(steps=1000), recorded, deadline, clock=lambda: now)
    schedule.start(100, seconds=50.0)
    for step in range(101, 1000):
        now += 0.15
        if schedule.forecast_is_due(step) and (correction := schedule.correction(step)):
            break
    assert 300 < correction.step < 320
    assert correction.steps < 500
