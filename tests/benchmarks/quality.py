"""Validation loss against wall-clock time of `charrnn train CORPUS --minutes M`.

    python -m tests.benchmarks.quality shakespeare --minutes 2.4 5 --seeds 1 2 3

Each run is the command that a user types, in its own process; other options are passed on to it. Time is that of the
whole process: start-up, timing, training, evaluations and checkpoints. The validation text is the last tenth of the
corpus, scored as one stream. Prints the median and the range over seeds, and the median forecasts of time and loss.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from charrnn.model.device import choose_device, device_name
from charrnn.text.sources import corpora_folder


def one_run(corpus: str, minutes: float, seed: int, options: list[str]) -> tuple[float, dict]:
    """Return the seconds of the whole process, and the summary that it printed."""
    with tempfile.TemporaryDirectory() as home:
        (Path(home) / "corpora").symlink_to(corpora_folder().resolve())
        command = [sys.executable, "-m", "charrnn", "train", corpus, "--minutes", str(minutes), "--seed", str(seed)]
        start = time.perf_counter()
        environment = {**os.environ, "CHARRNN_HOME": home}
        done = subprocess.run(
            [*command, "--json", *options], stdout=subprocess.PIPE, check=True, text=True, env=environment
        )
        return time.perf_counter() - start, json.loads(done.stdout)


def median_forecast(runs: list[tuple[float, dict]], name: str) -> float:
    """Return the median over runs; not a number where no loss was forecast, because a model was given."""
    return statistics.median(summary["forecast"][name] or math.nan for _, summary in runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus")
    parser.add_argument("--minutes", type=float, nargs="+", default=[0.75, 145 / 60, 10])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    options, passed_on = parser.parse_known_args()
    print(f"{options.corpus} on {device_name(choose_device())}")
    print(f"{'minutes':>8} {'model':>10} {'seconds':>8} {'nats, median':>13} {'range':>15}  seeds  forecast")
    for minutes in options.minutes:
        runs = [one_run(options.corpus, minutes, seed, passed_on) for seed in options.seeds]
        nats = sorted(summary["best_validation_nats"] for _, summary in runs)
        model = runs[0][1]["model"]
        print(
            f"{minutes:8.2f} {model['layers']}×{model['hidden_size']:<8} "
            f"{statistics.median(seconds for seconds, _ in runs):8.1f} {statistics.median(nats):13.4f} "
            f"{nats[0]:7.4f}–{nats[-1]:.4f}  {len(nats):5}  {median_forecast(runs, 'seconds'):.1f} s, "
            f"{median_forecast(runs, 'nats'):.4f} nats",
            flush=True,
        )


if __name__ == "__main__":
    main()
