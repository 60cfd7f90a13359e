"""What happens at each step: the learning rate and the evaluations.

The number of steps may be corrected during a run. Then the rest of the cosine is stretched or compressed: the angle
continues from its current value and reaches π at the new last step. The rate does not jump, and it still ends at zero.
A correction during the warm-up moves the end of the warm-up in the same way. The evaluations that are left are spread
evenly from the last one to the new end, or from the correction where the first of them would come before it.

A finished run may be extended. Then the rate rises again, to a part of the peak, and the cosine continues from the
angle of that part (a warm restart, Loshchilov & Hutter 2017).

All of it follows from the settings and the corrections. A resumed run, which reads both from disk, ends bit for bit as
one that was not interrupted.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from typing import NamedTuple

from charrnn.model.run_settings import Correction
from charrnn.settings import TrainingSettings

STEPS_PER_WARMUP_STEP = 10  # at least: a short run gets a shorter warm-up
RESTART_SHARE = 0.5  # of the peak, that the rate rises to when a finished run is extended


class _Stage(NamedTuple):
    """The steps between two corrections. The rate rises linearly until `warmed`, then follows a cosine.

    rate: before the first step of the stage. angle: of the cosine at `warmed`, or at `start` if that is later.
    """

    start: int
    steps: int
    rate: float
    warmed: int
    angle: float
    evaluate_at: frozenset[int]


class Timetable:
    """The learning rate and the evaluations of a run.

    corrections: the plan, as a correction at step 0, and those after it; if empty, the plan is that of the settings.
    """

    def __init__(self, settings: TrainingSettings, corrections: Sequence[Correction] = ()):
        self._peak, self._warmup_steps = settings.learning_rate, settings.warmup_steps
        self.corrections = tuple(corrections) or (Correction(0, settings.steps, settings.evaluations),)
        self._stages: list[_Stage] = []
        for correction in self.corrections:
            self._stages.append(self._next_stage(correction))
        self._starts = [stage.start for stage in self._stages]

    @property
    def steps(self) -> int:
        """The number of steps of the run."""
        return self._stages[-1].steps

    def learning_rate(self, step: int) -> float:
        """Return the rate of step number `step` (from 0): linear warm-up, then half a cosine down to zero.

        Loshchilov & Hutter 2017, arXiv 1608.03983, eq. 5, without restarts.
        """
        stage = self._stages[bisect.bisect_right(self._starts, step) - 1]
        if step < stage.warmed:
            rise = (self._rate_at(stage.angle) - stage.rate) * (step + 1 - stage.start) / (stage.warmed - stage.start)
            return stage.rate + rise
        return self._rate_at(_angle(stage, step))

    def _rate_at(self, angle: float) -> float:
        return self._peak * 0.5 * (1 + math.cos(angle))

    def evaluates_after(self, step: int) -> bool:
        """Return whether the model is evaluated after this many steps."""
        return step in self._stages[max(0, bisect.bisect_left(self._starts, step) - 1)].evaluate_at

    @property
    def restarted_at(self) -> int:
        """The step at which the run was last extended; -1 if it never was."""
        return max((one.step for one in self.corrections if one.restart), default=-1)

    def evaluations_left(self, step: int) -> int:
        """Return how many evaluations come after this step."""
        return sum(each > step for each in self._stages[-1].evaluate_at)

    def _next_stage(self, correction: Correction) -> _Stage:
        start, steps, evaluations, restart = correction
        if not self._stages:
            warmed = min(self._warmup_steps, steps // STEPS_PER_WARMUP_STEP)
            return _Stage(0, steps, 0.0, warmed, 0.0, _evaluations(0, steps, evaluations))
        if restart:
            warmed = start + min(self._warmup_steps, (steps - start) // STEPS_PER_WARMUP_STEP)
            angle = math.acos(2 * RESTART_SHARE - 1)
            return _Stage(start, steps, 0.0, warmed, angle, _evaluations(start, steps, evaluations))
        before = self._stages[-1]
        evaluated = max((e for stage in self._stages for e in stage.evaluate_at if e <= start), default=0)
        evaluate_at = _evaluations(evaluated, steps, evaluations)
        if min(evaluate_at) <= start:
            evaluate_at = _evaluations(start, steps, evaluations)
        if start >= before.warmed:
            return _Stage(start, steps, 0.0, start, _angle(before, start), evaluate_at)
        top = self._rate_at(before.angle)
        rate = before.rate + (top - before.rate) * (start - before.start) / (before.warmed - before.start)
        left = min(round(self._warmup_steps * (1 - rate / top)), (steps - start) // STEPS_PER_WARMUP_STEP)
        return _Stage(start, steps, rate, start + max(1, left), before.angle, evaluate_at)


def _angle(stage: _Stage, step: int) -> float:
    start = max(stage.start, stage.warmed)
    return stage.angle + (math.pi - stage.angle) * (step - start) / max(1, stage.steps - start)


def _evaluations(after: int, steps: int, evaluations: int) -> frozenset[int]:
    """Return the steps of evaluations that are evenly spaced from `after`, the last one at the end."""
    left = steps - after
    evaluations = min(evaluations, left)
    return frozenset(after + round(left * k / evaluations) for k in range(1, evaluations + 1))
