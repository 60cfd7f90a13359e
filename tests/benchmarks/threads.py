"""Characters per second of a training step by hidden size, threads and spin count, on quiet and on busy cores.

    python -m tests.benchmarks.threads [--sizes 64 512] [--spins default 1000] [--rounds 2]

A step is that of `charrnn train`: one LSTM layer, 16 streams of 64 characters, in the precision that is chosen for the
CPU. Busy cores also run a competitor of two threads. GNU's OpenMP reads GOMP_SPINCOUNT when torch is loaded, so each
spin count has its own processes; `default` leaves the variable unset. Prints a Markdown table: the median of the
trials, and the slowest one in parentheses.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks.competitor import competitors, openmp_environment

SIZES = [64, 128, 256, 384, 512, 768]
SPINS = ["default", "0", "100", "1000", "10000"]
THREADS = [1, 2]
TRIALS, SECONDS_PER_TRIAL = 4, 0.15
ROOT = Path(__file__).parents[2]

Speeds = dict[tuple[int, int], list[float]]
"""(hidden size, threads) → characters per second of each trial."""


def measure(sizes: list[int]) -> list[tuple[int, int, list[float]]]:
    """Return hidden size, threads, and characters per second of each trial. Runs in its own process."""
    import numpy as np
    import torch

    from charrnn.model.device import choose_precision, cpu_threads, keep_freed_memory
    from charrnn.model.network import CharRNN
    from charrnn.settings import ModelSettings, TrainingSettings
    from charrnn.text.encoded_text import EncodedText
    from charrnn.training.trainer import Trainer

    keep_freed_memory()  # as `charrnn train` does
    precision = choose_precision("auto", torch.device("cpu"), ModelSettings("lstm"))
    training = TrainingSettings(batch_size=16, seq_length=64, steps=10**9, precision=precision)
    text = EncodedText(np.random.default_rng(1).integers(0, 65, 100_000).astype(np.uint8))
    measured = []
    for size in sizes:
        network = CharRNN(ModelSettings(hidden_size=size), 65)
        network.initialize(torch.Generator().manual_seed(1))
        trainer = Trainer(network, training, text)
        for threads in THREADS:
            with cpu_threads(threads):
                trainer.make_step()
                measured.append((size, threads, [_trial(trainer.make_step) for _ in range(TRIALS)]))
    return measured


def _trial(step: Callable[[], object]) -> float:
    start, steps = time.perf_counter(), 0
    while (seconds := time.perf_counter() - start) < SECONDS_PER_TRIAL:
        step()
        steps += 1
    return 16 * 64 * steps / seconds


def measured_with(spin: str, sizes: list[int]) -> list[tuple[int, int, list[float]]]:
    """Measure in a process with this spin count."""
    environment = openmp_environment(PYTHONPATH=str(ROOT), OMP_NUM_THREADS=str(max(THREADS)))
    if spin != "default":
        environment["GOMP_SPINCOUNT"] = spin
    command = [sys.executable, __file__, "--measure", "--sizes", *map(str, sizes)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    return [(size, threads, trials) for size, threads, trials in json.loads(done.stdout)]


def show(speeds: dict[str, Speeds], sizes: list[int], title: str) -> None:
    """Print a Markdown table. speeds: by spin count."""
    print(f"\n{title}\n")
    headers = [f"{spin}, {threads} thread{'s' * (threads > 1)}" for spin in speeds for threads in THREADS]
    print(f"| H | {' | '.join(headers)} |\n|---|{'---|' * len(headers)}")
    for size in sizes:
        cells = []
        for by_cell in speeds.values():
            for threads in THREADS:
                trials = by_cell[size, threads]
                cells.append(f"{statistics.median(trials) / 1e3:.1f} ({min(trials) / 1e3:.1f})")
        print(f"| {size} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--spins", nargs="+", default=SPINS)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.sizes)))
        return
    for title, number in (("Quiet, thousands of characters per second:", 0), ("Beside a competitor:", 1)):
        speeds: dict[str, Speeds] = {spin: {} for spin in options.spins}
        with competitors(number):
            for _ in range(options.rounds):
                for spin in options.spins:
                    for size, threads, trials in measured_with(spin, options.sizes):
                        speeds[spin].setdefault((size, threads), []).extend(trials)
        show(speeds, options.sizes, title)


if __name__ == "__main__":
    main()
