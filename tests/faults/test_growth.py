"""Memory and open files after many tiny steps, evaluations and checkpoints."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from charrnn.model.run import Run
from charrnn.sampling.generate import generate
from charrnn.sampling.settings import SampleSettings
from charrnn.training.events import CheckpointSaved, Evaluated
from tests.faults.tiny import NAME, TRAINING, VOCABULARY, new_run, resume

PAGE = os.sysconf("SC_PAGESIZE")

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")


def resident_memory() -> int:
    """Return the bytes of this process that are in memory."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def measure_while_training(folder: Path, evaluations: int, until: Callable[[int], bool]) -> list[tuple[int, int, int]]:
    """Train and generate a sample at each evaluation. Return (step, bytes, open files) at every fourth checkpoint."""
    new_run(folder, TRAINING.changed(steps=5 * evaluations, evaluations=evaluations)).close()
    measurements = []
    for event in resume(folder):
        if isinstance(event, Evaluated):
            settings = SampleSettings(length=20, seed=event.step)
            assert len(list(generate(event.network, settings, vocabulary=VOCABULARY))) == 20
        elif isinstance(event, CheckpointSaved) and event.step % 20 == 0:
            measurements.append((event.step, resident_memory(), open_files()))
            if until(event.step):
                break
    assert Run(folder / NAME).checkpoint_steps()
    return measurements


def assert_no_growth(measurements: list[tuple[int, int, int]], allowed: int) -> None:
    """Compare the maximum of both halves, without the first fifth, in which caches fill."""
    settled = measurements[len(measurements) // 5 :]
    half = len(settled) // 2
    first, second = (max(memory for _, memory, _ in part) for part in (settled[:half], settled[half:]))
    assert second - first <= allowed, f"{second - first:,} bytes more, from {first:,}"
    assert len({files for _, _, files in measurements}) == 1, measurements


def test_training_does_not_leak(folder: Path) -> None:
    assert_no_growth(measure_while_training(folder, 40, lambda step: False), allowed=2_000_000)


@pytest.mark.slow
def test_ten_minutes_of_training_do_not_leak(folder: Path) -> None:
    """At 10 ms a step, as many steps as hours; at five steps a checkpoint, as many checkpoints as three weeks."""
    end = time.monotonic() + 600
    measurements = measure_while_training(folder, 1_000_000, lambda step: time.monotonic() > end)
    (_, first, _), (step, last, files) = measurements[len(measurements) // 5], measurements[-1]
    print(f"{step:,} steps, {step // 5:,} checkpoints; {first:,} → {last:,} bytes, {files} open files")
    assert_no_growth(measurements, allowed=4_000_000)
