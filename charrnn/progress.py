"""Functions that are told how far a task is, and a bar that shows it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from tqdm import tqdm

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


@contextlib.contextmanager
def progress_bar() -> Iterator[StageProgress]:
    """Yield a `progress` function that draws a bar with the time left on stderr, in a terminal or a notebook."""
    bar: tqdm[NoReturn] | None = None

    def show(stage: str, fraction: float) -> None:
        from tqdm import tqdm

        nonlocal bar
        if bar is None:
            style = "{desc:<36}{bar}{n:4.0f} %  {remaining} left"
            disable = False if "ipykernel" in sys.modules else None  # None: unless stderr is a terminal
            bar = tqdm(total=100, file=sys.stderr, disable=disable, leave=False, dynamic_ncols=True, bar_format=style)
        bar.set_description_str(stage, refresh=False)
        bar.n = 100 * fraction
        bar.refresh()

    try:
        yield show
    finally:
        if bar is not None:
            bar.close()
