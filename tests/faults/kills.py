"""Kill a training at random moments and check that nothing is lost.

    python -m tests.faults.kills 1000

Each training is a forked process, so that a kill takes 50 ms and not the seconds that PyTorch needs to start.
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from charrnn.files import TEMPORARY_PREFIX
from tests.faults.tiny import (
    NAME,
    TRAINING,
    Child,
    assert_finishes_bit_exact,
    assert_resumable,
    new_run,
    resume_and_report,
    uninterrupted_states,
)

LONG_TRAINING = TRAINING.changed(steps=60, evaluations=30)


@dataclass
class Kills:
    """Number of kills, kills that left a half-written checkpoint, and trainings that were finished."""

    kills: int = 0
    during_save: int = 0
    finished: int = 0
    seconds: float = 0.0


def training_seconds(folder: Path) -> float:
    """Return how long the rest of a training takes."""
    copy = folder / "copy"
    shutil.copytree(folder / NAME, copy / NAME)
    start = time.perf_counter()
    Child(lambda report: resume_and_report(copy, report)).wait()
    return time.perf_counter() - start


def kill_randomly(folder: Path, number: int, seed: int) -> Kills:
    """Kill trainings this many times. Raises AssertionError where a saved checkpoint, or any bit of it, is lost."""
    draw, counts, start = random.Random(seed), Kills(), time.perf_counter()
    uninterrupted_states(training=LONG_TRAINING)
    new_run(folder, LONG_TRAINING).close()
    longest = training_seconds(folder)
    saved = 0
    while counts.kills < number:
        child = Child(lambda report: resume_and_report(folder, report))
        time.sleep(draw.uniform(0, longest))
        child.kill()
        code, steps = child.wait()
        assert code in (0, -9), f"a training ended by itself with {code}"
        saved = max([saved, *steps])
        counts.kills += code == -9
        counts.during_save += any((folder / NAME / "checkpoints").glob(TEMPORARY_PREFIX + "*"))
        saved = assert_resumable(folder, at_least=saved, training=LONG_TRAINING)
        if saved == LONG_TRAINING.steps:
            assert_finishes_bit_exact(folder, training=LONG_TRAINING)
            counts.finished += 1
            saved = 0
            shutil.rmtree(folder / NAME)
            new_run(folder, LONG_TRAINING).close()
    assert_finishes_bit_exact(folder, training=LONG_TRAINING)
    counts.seconds = time.perf_counter() - start
    return counts


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        print(kill_randomly(Path(place).resolve(), int(sys.argv[1]), seed=1))
