"""How many steps there is time for, where the length of a run was asked for in minutes.

It is planned before the first step, by timing a few, and once more when the warm-up is over, by the time that took: a
machine may have been busy while it was timed. During the warm-up nothing depends on the number of steps, so a run whose
number is corrected then is to the last bit the run that would have been planned so from the start.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

LEAST_SHARE_FOR_TRAINING = 0.7  # also where one evaluation takes longer than the rest of the time


def steps_within(seconds: float, per_step: float, for_evaluations: float) -> int:
    """How many steps fit into these seconds beside evaluations that take so many of them."""
    return max(1, round(max(seconds - for_evaluations, LEAST_SHARE_FOR_TRAINING * seconds) / per_step))


@dataclass(frozen=True)
class Deadline:
    """When a run is to end, by `time.perf_counter`; and the seconds for a step and for all evaluations that it was
    planned with."""

    at: float
    per_step: float
    for_evaluations: float

    def steps(self, made: int, seconds: float) -> int:
        """How many there should be in all, now that so many steps took so many seconds. What was timed too slow or too
        fast before is taken to have been so for evaluations as well."""
        per_step, left = seconds / made, self.at - time.perf_counter()
        return made + steps_within(left, per_step, self.for_evaluations * per_step / self.per_step)
