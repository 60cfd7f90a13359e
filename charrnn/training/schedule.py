"""The clock of a training: reports, and corrections of the number of steps, by which a run ends at its deadline.

The number of steps that fit into the requested minutes is planned before the first step, by timing a few. The speed may
change later, because of other processes. So the end is forecast repeatedly, from the latest steps and evaluations.
Where it misses the deadline by more than TOLERANCE, the number of steps is corrected.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from charrnn.model.run_settings import MAX_CORRECTIONS, MAX_EVALUATIONS_LEFT, Correction
from charrnn.settings import TrainingSettings
from charrnn.training.timetable import Timetable

Clock = Callable[[], float]

REPORT_INTERVAL = 0.1  # seconds
MIN_TRAINING_SHARE = 0.7  # of the time, even where a single evaluation takes longer than the rest

# Shares of the requested time
TOLERANCE = 0.06  # between the forecast end and the deadline
FORECAST_INTERVAL = 0.01
CORRECTION_INTERVAL = 0.08
MAX_OVERTIME = 0.1  # for the validation of all of the text at the end …
MAX_FINAL_TIME = 0.25  # … which is left out where it would take longer
WINDOW = 0.05  # of the steps that a forecast is based on …
WINDOW_OF_REST = 0.15  # … and this share of the time that is left: an early forecast need not be quick

FORECAST_STEPS = 0.02  # share of the remaining steps after which the end is forecast early
MIN_TIMED_STEPS = 3
MIN_STRETCHES = 3  # between forecasts, that a forecast is based on
LARGE_MISS = 2.0  # ratio of forecast and available time; corrected without waiting for the interval
MAX_GROWTH = 10.0  # of the number of steps left, in one correction


def steps_within(seconds: float, per_step: float, for_evaluations: float) -> int:
    """Return how many steps fit into a time budget that also has to cover the evaluations."""
    return max(1, round(max(seconds - for_evaluations, MIN_TRAINING_SHARE * seconds) / per_step))


@dataclass(frozen=True)
class Deadline:
    """When a run has to end, by the clock, and what was planned, in seconds.

    budget: all of the requested time. per_step, per_evaluation: as timed before the first step. final: how long the
    validation at the end takes, in units of `per_evaluation`.
    """

    at: float
    budget: float
    per_step: float
    per_evaluation: float
    final: float = 0.0


class _Forecaster:
    """Forecasts the end of a run that has a deadline, and corrects its number of steps."""

    def __init__(self, deadline: Deadline, now: float):
        self._deadline = deadline
        self._evaluation = (deadline.per_evaluation, deadline.per_step)  # seconds, and those of a step at that time
        self._per_step = self._latest = deadline.per_step
        self._corrected_at = -float("inf")
        self._marks: deque[tuple[float, int]] = deque()
        self.start(0, now)

    def start(self, step: int, now: float) -> None:
        """Forget the earlier steps."""
        self._marks.clear()
        self._marks.append((now, step))
        self._forecast_at = now

    def skip(self, seconds: float) -> None:
        """Leave an evaluation of this length out of the time of steps."""
        self._marks = deque((at + seconds, step) for at, step in self._marks)
        self._evaluation = (seconds, self._latest)

    def is_due(self, step: int, steps: int, now: float) -> bool:
        if now - self._forecast_at >= FORECAST_INTERVAL * self._deadline.budget:
            return True
        forecast_step = self._marks[-1][1]
        return step - forecast_step >= FORECAST_STEPS * (steps - forecast_step)

    def correction(self, step: int, timetable: Timetable, now: float) -> Correction | None:
        """Return how to change the number of steps, or None where the forecast meets the deadline well enough."""
        deadline, budget, steps = self._deadline, self._deadline.budget, timetable.steps
        left, rest = steps - step, deadline.at - now
        self._measure(step, rest, now)
        taken = step - self._marks[0][1]
        if taken < max(1, min(MIN_TIMED_STEPS, left // 10)):
            return None
        evaluation = self._evaluation_seconds()
        evaluations = timetable.evaluations_left(step)
        rest -= self._final_seconds()
        needed = left * self._per_step + evaluations * evaluation
        is_large = not rest / LARGE_MISS < needed < rest * LARGE_MISS
        interval = CORRECTION_INTERVAL * budget
        if abs(needed - rest) <= TOLERANCE * budget or (now - self._corrected_at < interval and not is_large):
            return None
        affordable = int((1 - MIN_TRAINING_SHARE) * max(0.0, rest) / max(evaluation, 1e-9))
        evaluations = max(1, min(evaluations, affordable, MAX_EVALUATIONS_LEFT))
        fitting = (rest - evaluations * evaluation) / self._per_step
        corrected = step + max(1, round(min(fitting, MAX_GROWTH * left)))
        if corrected == steps:
            return None
        self._corrected_at = now
        return Correction(step, corrected, evaluations)

    def has_time_for_final(self, now: float) -> bool:
        """Return whether the validation at the end was planned, and ends close to the deadline."""
        return 0 < self._final_seconds() <= self._deadline.at - now + MAX_OVERTIME * self._deadline.budget

    def is_overdue(self, now: float) -> bool:
        """Return whether the validation at the end takes too long."""
        return now > self._deadline.at + MAX_OVERTIME * self._deadline.budget

    def _final_seconds(self) -> float:
        """Return how long the validation of all of the text takes at the end, or 0 where it is left out."""
        seconds = self._deadline.final * self._evaluation_seconds()
        return seconds if seconds <= MAX_FINAL_TIME * self._deadline.budget else 0.0

    def _evaluation_seconds(self) -> float:
        return self._evaluation[0] * self._per_step / self._evaluation[1]

    def _measure(self, step: int, rest: float, now: float) -> None:
        """Measure the mean time of the latest steps, without the slowest stretch: it may have been a pause."""
        self._forecast_at = now
        self._marks.append((now, step))
        window = WINDOW * self._deadline.budget + WINDOW_OF_REST * max(0.0, rest)
        while len(self._marks) > MIN_STRETCHES + 1 and self._marks[1][0] <= now - window:
            self._marks.popleft()
        stretches = [(b - a, n - m) for (a, m), (b, n) in itertools.pairwise(self._marks) if n > m]
        if not stretches:
            return
        self._latest = max(1e-9, stretches[-1][0] / stretches[-1][1])
        if len(stretches) >= MIN_STRETCHES:
            stretches.remove(max(stretches, key=lambda stretch: stretch[0] / stretch[1]))
        seconds, steps = map(sum, zip(*stretches, strict=True))
        self._per_step = max(1e-9, seconds / steps)


class Schedule:
    """The settings, the timetable and the clock of one training."""

    def __init__(
        self,
        settings: TrainingSettings,
        corrections: Sequence[Correction] = (),
        deadline: Deadline | None = None,
        clock: Clock = time.perf_counter,
    ):
        self.settings, self.clock = settings, clock
        self.timetable = Timetable(settings, corrections)
        self._forecaster = None if deadline is None else _Forecaster(deadline, clock())
        self._started = clock()

    def start(self, step: int, seconds: float) -> None:
        """Start the clock at a step, with the seconds that were trained before."""
        self._started = self.clock() - seconds
        self.restart(step)

    def restart(self, step: int) -> None:
        """Continue from an earlier step."""
        if self._forecaster is not None:
            self._forecaster.start(step, self.clock())

    def seconds(self) -> float:
        """Return the time trained, over all sessions."""
        return self.clock() - self._started

    def evaluated(self, start: float) -> None:
        """Note that an evaluation, with what belongs to it, took the time since `start`."""
        if self._forecaster is not None:
            self._forecaster.skip(self.clock() - start)

    def has_time_for_final(self) -> bool:
        """Return whether all of the validation text can be scored at the end. Without a deadline it always can."""
        return self._forecaster is None or self._forecaster.has_time_for_final(self.clock())

    def is_overdue(self) -> bool:
        """Return whether the validation at the end should stop. Without a deadline it never should."""
        return self._forecaster is not None and self._forecaster.is_overdue(self.clock())

    def forecast_is_due(self, step: int) -> bool:
        """Return whether to ask for a correction after this step; not for one that is repeated after an explosion."""
        corrections = self.timetable.corrections
        if self._forecaster is None or len(corrections) > MAX_CORRECTIONS:
            return False
        if not corrections[-1].step < step < self.timetable.steps:
            return False
        return self._forecaster.is_due(step, self.timetable.steps, self.clock())

    def correction(self, step: int) -> Correction | None:
        """Return how to change the number of steps to meet the deadline, or None to leave it."""
        if self._forecaster is None:
            return None
        return self._forecaster.correction(step, self.timetable, self.clock())

    def correct(self, corrections: Sequence[Correction]) -> None:
        """Change the number of steps to that of the last correction."""
        self.settings = self.settings.changed(steps=corrections[-1].steps)
        self.timetable = Timetable(self.settings, corrections)
