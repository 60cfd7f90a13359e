"""When things happen in a training: learning rate, evaluations, reports, and the number of steps before a deadline.

The number of steps that fit into the requested minutes is planned before the first step, by timing a few. It is
corrected once, at the end of the warm-up: the machine may have been busy when it was timed. Until then nothing depends
on the number of steps, so the corrected run equals, bit for bit, one planned so from the start.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from charrnn.settings import TrainingSettings

Clock = Callable[[], float]

STEPS_PER_WARMUP_STEP = 10  # at least: a short run gets a shorter warm-up
MIN_TRAINING_SHARE = 0.7  # of the time, even where a single evaluation takes longer than the rest
MIN_TIMED_STEPS = 20  # fewer are too few to correct the plan by
MIN_CORRECTION = 0.05  # relative change of the number of steps
REPORT_INTERVAL = 0.1  # seconds


def learning_rate(settings: TrainingSettings, step: int) -> float:
    """Return the rate of step number `step` (from 0): linear warm-up, then half a cosine down to zero.

    Loshchilov & Hutter 2017, arXiv 1608.03983, eq. 5, without restarts.
    """
    warmup = min(settings.warmup_steps, settings.steps // STEPS_PER_WARMUP_STEP)
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (settings.steps - warmup)))


def evaluation_steps(settings: TrainingSettings) -> set[int]:
    """Return the steps after which the model is evaluated: evenly spaced, the last one at the end."""
    count = min(settings.evaluations, settings.steps)
    return {round(settings.steps * k / count) for k in range(1, count + 1)}


def steps_within(seconds: float, per_step: float, for_evaluations: float) -> int:
    """Return how many steps fit into a time budget that also has to cover the evaluations."""
    return max(1, round(max(seconds - for_evaluations, MIN_TRAINING_SHARE * seconds) / per_step))


@dataclass(frozen=True)
class Deadline:
    """When a run has to end, by the clock, and the seconds planned for one step and for all evaluations."""

    at: float
    per_step: float
    for_evaluations: float

    def steps(self, made: int, seconds: float, now: float) -> int:
        """Return the total number of steps to make, given that `made` of them took `seconds`.

        Evaluations are assumed to deviate from the plan by the same factor as steps.
        """
        per_step = seconds / made
        return made + steps_within(self.at - now, per_step, self.for_evaluations * per_step / self.per_step)


class Schedule:
    """The settings and the clock of one training."""

    def __init__(self, settings: TrainingSettings, deadline: Deadline | None = None, clock: Clock = time.perf_counter):
        self.settings, self.clock = settings, clock
        self._deadline = deadline
        self._evaluate_at = evaluation_steps(settings)
        self._started = clock()

    def resume(self, seconds: float) -> None:
        """Start the clock, with the seconds that earlier sessions trained."""
        self._started = self.clock() - seconds

    def seconds(self) -> float:
        """Return the time trained, over all sessions."""
        return self.clock() - self._started

    def evaluates_after(self, step: int) -> bool:
        return step in self._evaluate_at

    def set_steps(self, steps: int) -> None:
        self.settings = self.settings.changed(steps=steps)
        self._evaluate_at = evaluation_steps(self.settings)

    def corrected_steps(self, made: int) -> int | None:
        """Return the number of steps that meets the deadline, or None where the plan has to stay or is good enough.

        The answer is given once: the plan is not corrected again after a return to an earlier checkpoint.
        """
        deadline, self._deadline = self._deadline, None
        if deadline is None or made < MIN_TIMED_STEPS:
            return None
        planned = self.settings.steps
        steps = deadline.steps(made, self.seconds(), self.clock())
        fewest = made * max(STEPS_PER_WARMUP_STEP, self.settings.evaluations + 1)  # else the past would have differed
        if min(steps, planned) < fewest or abs(steps / planned - 1) < MIN_CORRECTION:
            return None
        return steps
