"""Characters per second of one process, and of several that share the batch.

    python tests/benchmarks/ranks.py [--ranks 2] [--sizes 128 256 512] [--batch-size 16] [--device cpu]

On a CPU every process has one thread. Each round times one process, then the group; a row shows the median of the
ratios. The ideal ratio per process is 1; with fewer free cores than processes, it measures the cores instead of the
all-reduce.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

from charrnn.units import percent

ROOT = Path(__file__).parents[2]


def time_steps(size: int, batch_size: int, device_name: str, seconds: float) -> tuple[float, float]:
    """Return the characters per second of the group, and the all-reduce's share of the time. Runs in each process."""
    import numpy as np
    import torch

    from charrnn.model.device import choose_device, synchronize
    from charrnn.model.network import CharRNN
    from charrnn.settings import ModelSettings, TrainingSettings
    from charrnn.text.encoded_text import EncodedText
    from charrnn.training.distributed import process_group
    from charrnn.training.trainer import Trainer

    torch.set_num_threads(1)
    with process_group(device_name) as group:
        device = choose_device(device_name)
        ids = np.random.default_rng(1).integers(0, 65, 500_000).astype(np.uint8)
        network = CharRNN(ModelSettings(hidden_size=size), 65)
        network.initialize(torch.Generator().manual_seed(1))
        settings = TrainingSettings(batch_size=batch_size, seq_length=64, steps=1_000_000)
        trainer = Trainer(network.to(device), settings, EncodedText(ids), group)
        for _ in range(3):
            trainer.make_step()
        synchronize(device)
        start, steps = time.perf_counter(), 0
        while group.broadcast_object(time.perf_counter() - start < seconds):
            for _ in range(5):
                trainer.make_step()
            synchronize(device)
            steps += 5
        per_step = (time.perf_counter() - start) / steps
        parameters = sum(p.numel() for p in network.parameters())
        if group.is_first:
            all_reduce = group.seconds_to_all_reduce(parameters, device)
            group.broadcast_object(None)
        else:
            all_reduce = 0.0
            group.serve_timing(device)
    return batch_size * 64 / per_step, all_reduce / per_step


def measure(processes: int, arguments: argparse.Namespace, size: int) -> tuple[float, float]:
    """Return what `time_steps` returns in the first of this many processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, __file__, "--time", str(size), "--batch-size", str(arguments.batch_size)]
    command += ["--device", arguments.device, "--seconds", str(arguments.seconds)]
    together = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    environment = {**os.environ, **together, "PYTHONPATH": str(ROOT)}
    group = [
        subprocess.Popen(
            command,
            env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(processes)
    ]
    output, *_ = [process.communicate()[0] for process in group]
    speed, share = json.loads(output)
    return speed, share


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256, 512])
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--time", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.time:
        print(json.dumps(time_steps(arguments.time, arguments.batch_size, arguments.device, arguments.seconds)))
        return
    print(f"{'model':>8} {'one, ch/s':>11} {'each of N':>11} {'ratio':>6} {'all of N':>11} {'all-reduce':>10}")
    for size in arguments.sizes:
        rounds = [
            (measure(1, arguments, size), measure(arguments.ranks, arguments, size)) for _ in range(arguments.rounds)
        ]
        one = statistics.median(alone for (alone, _), _ in rounds)
        all_ranks = statistics.median(together for _, (together, _) in rounds)
        ratio = statistics.median(together / arguments.ranks / alone for (alone, _), (together, _) in rounds)
        share = statistics.median(share for _, (_, share) in rounds)
        print(
            f"{f'1×{size}':>8} {one:11,.0f} {all_ranks / arguments.ranks:11,.0f} {ratio:6.2f} {all_ranks:11,.0f}"
            f" {percent(share):>10}",
            flush=True,
        )


if __name__ == "__main__":
    main()
