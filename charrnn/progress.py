"""Functions that are told how far a task is."""

from __future__ import annotations

from collections.abc import Callable, Mapping

ByteProgress = Callable[[int, int], None]
"""Called with the bytes done and the bytes in all."""
FractionProgress = Callable[[float], None]
"""Called with the fraction that is done."""
StageProgress = Callable[[str, float], None]
"""Called with the name of a stage and the fraction of it that is done."""


def no_progress(*_: object) -> None:
    """Do nothing: the default."""


def overall(progress: StageProgress, seconds: Mapping[str, float]) -> StageProgress:
    """Return a function of a stage and its fraction that reports the fraction of the whole task.

    seconds: stage → about how long it takes.
    """
    done = dict.fromkeys(seconds, 0.0)

    def show(stage: str, fraction: float) -> None:
        done[stage] = fraction
        progress(stage, sum(seconds[one] * done[one] for one in seconds) / sum(seconds.values()))

    return show


def span(progress: StageProgress, first: float, last: float, name: str = "") -> StageProgress:
    """Return the progress of a task that is a part of another, from one fraction to another. name: of the part."""
    return lambda stage, done: progress(f"{name}: {stage}" if name else stage, first + (last - first) * done)


def part(progress: StageProgress, k: int, number: int) -> StageProgress:
    """Return the progress of the k-th of `number` equal parts of each stage, counted from 0."""
    return lambda stage, done: progress(stage, (k + done) / number)
