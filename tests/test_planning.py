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
TIMING = Timing(step=0.01, evaluation=0.5)


@pytest.mark.parametrize(("budget", "steps"), [(Budget(steps=17), 17), (Budget(epochs=2), 2 * 18)])
def test_steps_and_epochs_are_kept(budget: Budget, steps: int) -> None:
    plan = make_plan(budget, TIMING, TEXT, TRAINING, evaluations=3, now=budget.started + 1)
    assert (plan.steps, plan.evaluations, plan.deadline) == (steps, 3, None)
    assert plan.seconds == pytest.approx(1 + steps * 0.01 + 3 * 0.5)


def test_minutes_cover_preparation_and_evaluations() -> None:
    plan = make_plan(Budget(minutes=1, started=100.0), TIMING, TEXT, TRAINING, evaluations=4, now=110.0)
    assert plan.steps == (60 - 10 - 4 * 0.5) / 0.01
    assert plan.seconds == pytest.approx(60)
    assert plan.deadline == Deadline(160.0, budget=60.0, per_step=0.01, per_evaluation=0.5)


def test_evaluations_get_a_share_of_the_time() -> None:
    def evaluations(seconds: float) -> int:
        return make_plan(Budget(minutes=1, started=0.0), Timing(0.01, seconds), TEXT, TRAINING, None, 0.0).evaluations

    assert [evaluations(seconds) for seconds in (0.01, 1.2, 1000.0)] == [planning.MAX_EVALUATIONS, 6, 1]


def test_a_slow_evaluation_leaves_most_of_the_time_to_training() -> None:
    plan = make_plan(Budget(minutes=1, started=0.0), Timing(0.01, 1000.0), TEXT, TRAINING, None, 0.0)
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
    plan = make_plan(Budget(minutes=1, started=0.0), Timing(100.0, 1.0), TEXT, TRAINING, None, 0.0)
    assert plan.steps == planning.MIN_PLANNED_STEPS
