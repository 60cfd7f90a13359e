"""Kills a training again and again, at random moments, and looks whether anything is lost.

    python -m tests.faults.kills 1000

Each training is a forked process: one kill costs some 50 ms rather than the seconds that starting PyTorch takes.
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
    assert_nothing_was_lost,
    assert_sound,
    expected_states,
    new_run,
    train_and_report,
)

KILLED_OFTEN = TRAINING.changed(steps=60, evaluations=30)


@dataclass
class Kills:
    """kills: how many; in_a_save: how many of them left a save half written; runs: trainings that came to an end."""

    kills: int = 0
    in_a_save: int = 0
    runs: int = 0
    seconds: float = 0.0


def seconds_of_a_training(folder: Path) -> float:
    """How long one takes from here to its end on this machine, now."""
    whole = folder / "whole"
    shutil.copytree(folder / NAME, whole / NAME)
    start = time.perf_counter()
    Child(lambda report: train_and_report(whole, report)).wait()
    return time.perf_counter() - start


def kill_at_random(folder: Path, number: int, seed: int) -> Kills:
    """Raises AssertionError as soon as anything is lost: a save that was reported, a bit of one, the run."""
    draw, counted, start = random.Random(seed), Kills(), time.perf_counter()
    expected_states(training=KILLED_OFTEN)
    new_run(folder, KILLED_OFTEN).close()
    longest_life = seconds_of_a_training(folder)
    saved = 0
    while counted.kills < number:
        child = Child(lambda report: train_and_report(folder, report))
        time.sleep(draw.uniform(0, longest_life))
        child.kill()
        code, steps = child.wait()
        assert code in (0, -9), f"a training ended by itself with {code}"
        saved = max([saved, *steps])
        counted.kills += code == -9
        counted.in_a_save += any((folder / NAME / "checkpoints").glob(TEMPORARY_PREFIX + "*"))
        saved = assert_sound(folder, at_least=saved, training=KILLED_OFTEN)
        if saved == KILLED_OFTEN.steps:
            assert_nothing_was_lost(folder, training=KILLED_OFTEN)
            counted.runs += 1
            saved = 0
            shutil.rmtree(folder / NAME)
            new_run(folder, KILLED_OFTEN).close()
    assert_nothing_was_lost(folder, training=KILLED_OFTEN)
    counted.seconds = time.perf_counter() - start
    return counted


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        print(kill_at_random(Path(place).resolve(), int(sys.argv[1]), seed=1))
