"""charrnn.training.planning"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from charrnn.model.network import CharRNN
from charrnn.settings import ModelSettings, TrainingSettings
from charrnn.text.encoded_text import EncodedText
from charrnn.training import planning
from charrnn.training.planning import Budget, Timing, make_plan, measure_timing, seconds_per_step
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
    plan = make_plan(Budget(minutes=1, started=0.0), Timing(0.01, 1000.0), TEXTS, TRAINING, 0.0)
    assert plan.steps == 0.7 * 60 / 0.01
    assert plan.seconds > 1000


def test_timing_is_positive() -> None:
    texts = TEXT, TEXT[:100]
    timing = measure_timing(ModelSettings(hidden_size=8), TRAINING, 5, texts, torch.device("cpu"), Budget(steps=1))
    assert timing.step > 0
    assert timing.evaluation > 0


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
        seconds = seconds_per_step(settings, TRAINING, 5, TEXT, torch.device("cpu"), 80.0, clock=clock)
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
