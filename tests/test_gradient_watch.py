"""charrnn.training.gradient_watch"""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from charrnn.training.advice import gradient_advice
from charrnn.training.events import GradientTrouble
from charrnn.training.gradient_watch import EXPLODING, VANISHING, WINDOW, GradientWatch
from charrnn.training.options import TrainOptions
from charrnn.training.session import training_session


def read(watch: GradientWatch, norms: list[float], share: float = 0.5) -> list[tuple[str, float]]:
    found = [watch.read(norm, share) for norm in norms]
    return [one for one in found if one is not None]


@pytest.mark.parametrize("norm", [2 * EXPLODING, math.inf, math.nan])
def test_explosion_is_reported_once(norm: float) -> None:
    watch = GradientWatch()
    assert read(watch, [1.0] * WINDOW) == []
    assert [problem for problem, _ in read(watch, [norm] * 3 * WINDOW)] == ["exploding"]
    assert read(watch, [1.0] * WINDOW + [norm] * WINDOW) == []


def test_spikes_are_not_reported() -> None:
    assert read(GradientWatch(), [1.0, 1.0, 1e9] * WINDOW) == []


def test_vanishing_is_reported_once_beside_an_explosion() -> None:
    watch = GradientWatch()
    found = read(watch, [2 * EXPLODING] * 2 * WINDOW, VANISHING / 2)
    assert [problem for problem, _ in found] == ["exploding", "vanishing"]
    assert found[1][1] == pytest.approx(VANISHING / 2)


def test_training_reports_saturated_units(home: Path, short_text: str) -> None:
    """A learning rate of 10 saturates every tanh unit. There is a report before each evaluation at least."""
    (home / "corpora" / "mine.txt").write_text(short_text[:2000])
    settings = {"recurrence": "rnn", "hidden_size": 16, "embedding_size": 8, "batch_size": 2, "seq_length": 16}
    settings |= {"learning_rate": 10.0, "warmup_steps": 0, "steps": 60, "evaluations": 60, "patience": 0}
    with training_session(["mine"], TrainOptions(settings, device="cpu")) as session:
        found = [event for event in session.events() if isinstance(event, GradientTrouble)]
    problems = [event.problem for event in found]
    assert problems
    assert len(set(problems)) == len(problems)
    advice = gradient_advice(found[0], session.run.settings)
    assert "gradient" in advice
    assert "try" in advice
