"""A training of days, compressed: memory and open files after many tiny steps, evaluations and saves."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from charrnn.model.network import CharRNN
from charrnn.model.run import Run
from charrnn.model.writer import RunWriter
from charrnn.sampling.settings import SampleSettings
from charrnn.text.encoded_text import EncodedText
from charrnn.training.events import CheckpointSaved, Evaluated
from charrnn.training.loop import train
from tests.faults.tiny import NAME, TRAIN_IDS, TRAINING, VALIDATION_IDS, VOCABULARY, new_run

PAGE = os.sysconf("SC_PAGESIZE")

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")


def memory() -> int:
    """Bytes of this process that are in memory."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def samples_while_training(folder: Path, evaluations: int, until: Callable[[int], bool]) -> list[tuple[int, int, int]]:
    """(step, bytes, open files) at saves, one in five. Each evaluation draws a sample, as the program does."""
    from charrnn.sampling.generate import generate

    settings = TRAINING.changed(steps=5 * evaluations, evaluations=evaluations)
    new_run(folder, settings).close()
    run = Run(folder / NAME)
    samples = []
    with RunWriter.open(run) as writer:
        save = run.resumable_checkpoint()
        network = CharRNN(run.settings.model, len(VOCABULARY))
        texts = EncodedText(TRAIN_IDS), EncodedText(VALIDATION_IDS)
        for event in train(network, writer.run.settings.training, *texts, writer=writer, resume=save):
            if isinstance(event, Evaluated):
                drawn = SampleSettings(length=20, seed=event.step)
                assert len(list(generate(event.network, drawn, vocabulary=VOCABULARY))) == 20
            elif isinstance(event, CheckpointSaved) and event.step % 25 == 0:
                samples.append((event.step, memory(), open_files()))
                if until(event.step):
                    break
    return samples


def check_no_growth(samples: list[tuple[int, int, int]], allowed: int) -> None:
    """The first fifth is for caches to fill; from then on, the highest of the first half bounds that of the second."""
    settled = samples[len(samples) // 5 :]
    half = len(settled) // 2
    first, second = (max(memory for _, memory, _ in part) for part in (settled[:half], settled[half:]))
    assert second - first <= allowed, f"{second - first:,} bytes more, from {first:,}"
    assert len({files for _, _, files in samples}) == 1, samples


def test_steps_evaluations_saves_and_samples_leave_no_memory_and_no_open_files_behind(folder: Path) -> None:
    check_no_growth(samples_while_training(folder, 100, lambda step: False), allowed=2_000_000)


@pytest.mark.slow
def test_ten_minutes_of_tiny_steps_leave_no_memory_and_no_open_files_behind(folder: Path) -> None:
    """At 10 ms a step, as many as hours; at a save each five steps, as many saves as in three weeks."""
    end = time.monotonic() + 600
    samples = samples_while_training(folder, 1_000_000, lambda step: time.monotonic() > end)
    (_, first, _), (step, last, files) = samples[len(samples) // 5], samples[-1]
    print(f"{step:,} steps, {step // 5:,} saves; {first:,} → {last:,} bytes, {files} open files")
    check_no_growth(samples, allowed=4_000_000)
