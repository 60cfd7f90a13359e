"""charrnn.training.schedule"""

from __future__ import annotations

import itertools

import pytest

from charrnn.settings import TrainingSettings
from charrnn.training.schedule import Deadline, Schedule, evaluation_steps, learning_rate, steps_within

SETTINGS = TrainingSettings(steps=1000, warmup_steps=50, evaluations=4)


def test_learning_rate_warms_up_and_decays_to_zero() -> None:
    peak = SETTINGS.learning_rate
    rates = [learning_rate(SETTINGS, step) for step in range(1000)]
    assert rates[:50] == pytest.approx([peak * k / 50 for k in range(1, 51)])
    assert max(rates) == rates[50] == peak
    assert all(one > later for one, later in itertools.pairwise(rates[50:]))
    assert rates[525] == pytest.approx(peak / 2, rel=1e-6)
    assert rates[-1] < 1e-5 * peak


def test_warmup_is_at_most_a_tenth() -> None:
    assert learning_rate(SETTINGS.changed(steps=100), 10) == SETTINGS.learning_rate


def test_evaluations_are_evenly_spaced() -> None:
    assert evaluation_steps(SETTINGS) == {250, 500, 750, 1000}
    assert evaluation_steps(SETTINGS.changed(steps=3)) == {1, 2, 3}


def test_slow_evaluations_leave_most_of_the_time_to_training() -> None:
    assert steps_within(100, per_step=0.5, for_evaluations=20) == 160
    assert steps_within(100, per_step=0.5, for_evaluations=1000) == 140
    assert steps_within(0, per_step=0.5, for_evaluations=20) == 1


def test_deadline_scales_evaluations_like_steps() -> None:
    """An evaluation is taken to be slower than planned by the same factor as a step."""
    deadline = Deadline(at=150.0, per_step=0.1, for_evaluations=10.0)
    assert deadline.steps(made=100, seconds=10.0, now=50.0) == 100 + (100 - 10) / 0.1
    assert deadline.steps(made=100, seconds=20.0, now=50.0) == 100 + (100 - 20) / 0.2
    assert deadline.steps(made=100, seconds=50.0, now=50.0) == 100 + 0.7 * 100 / 0.5
    assert deadline.steps(made=100, seconds=10.0, now=150.0) == 101


TIMED = TrainingSettings(steps=300, warmup_steps=20, evaluations=4)


@pytest.mark.parametrize(
    ("steps", "settings", "corrected"),
    [
        (430, TIMED, 350),
        (390, TIMED, None),  # within 5 % of the plan
        (270, TIMED, None),  # fewer than ten times the warm-up
        (520, TIMED.changed(steps=150), None),  # the planned warm-up was shorter
        (520, TIMED.changed(evaluations=20), None),  # an evaluation may be over
    ],
)
def test_steps_are_corrected_only_if_the_past_stays_as_it_was(
    steps: int, settings: TrainingSettings, corrected: int | None
) -> None:
    """The time is enough for `steps` steps, of which the evaluations take eighty; twenty steps took 20 s."""
    now = 0.0
    schedule = Schedule(settings, Deadline(float(steps), per_step=2.0, for_evaluations=160.0), clock=lambda: now)
    now = 20.0
    assert schedule.corrected_steps(20) == corrected
    assert schedule.corrected_steps(20) is None


def test_few_steps_do_not_correct_the_plan() -> None:
    schedule = Schedule(TIMED, Deadline(520.0, per_step=2.0, for_evaluations=160.0), clock=lambda: 10.0)
    assert schedule.corrected_steps(10) is None
