"""Characters per second for each rank: one process against several that share the batch, in turn.

    python tests/benchmarks/ranks.py [--ranks 2] [--sizes 128 256 512] [--batch-size 16] [--device cpu]

Every process computes with one thread on a CPU. Each round times one process, then the ranks; a row shows the median of
the rounds' ratios. A ratio of 1 for each rank is as good as it gets; below the number of ranks over the number of free
cores, it shows the cores rather than the sum of gradients.
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

ROOT = Path(__file__).parents[2]


def time_steps(size: int, batch_size: int, device_name: str, seconds: float) -> tuple[float, float]:
    """This process's part: characters per second of all ranks, and the share of time that the sums take."""
    import numpy as np
    import torch

    from charrnn.model.device import choose_device, synchronize
    from charrnn.model.network import CharRNN
    from charrnn.settings import ModelSettings, TrainingSettings
    from charrnn.text.encoded_text import EncodedText
    from charrnn.training.distributed import process_group
    from charrnn.training.trainer import Trainer

    torch.set_num_threads(1)
    with process_group(device_name) as ranks:
        device = choose_device(device_name)
        ids = np.random.default_rng(1).integers(0, 65, 500_000).astype(np.uint8)
        network = CharRNN(ModelSettings(hidden_size=size), 65)
        network.initialize(torch.Generator().manual_seed(1))
        settings = TrainingSettings(batch_size=batch_size, seq_length=64, steps=1_000_000)
        trainer = Trainer(network.to(device), settings, EncodedText(ids), ranks)
        for _ in range(3):
            trainer.make_step()
        synchronize(device)
        start, steps = time.perf_counter(), 0
        while ranks.broadcast_object(time.perf_counter() - start < seconds):
            for _ in range(5):
                trainer.make_step()
            synchronize(device)
            steps += 5
        per_step = (time.perf_counter() - start) / steps
        numbers = sum(p.numel() for p in network.parameters())
        if ranks.is_first:
            adding_up = ranks.seconds_to_all_reduce(numbers, device)
            ranks.broadcast_object(None)
        else:
            adding_up = 0.0
            ranks.serve_timing(device)
    return batch_size * 64 / per_step, adding_up / per_step


def measured(ranks: int, arguments: argparse.Namespace, size: int) -> tuple[float, float]:
    """Starts so many processes and returns what the first of them found."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, __file__, "--time", str(size), "--batch-size", str(arguments.batch_size)]
    command += ["--device", arguments.device, "--seconds", str(arguments.seconds)]
    together = {"WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    environment = {**os.environ, **together, "PYTHONPATH": str(ROOT)}
    processes = [
        subprocess.Popen(
            command,
            env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(ranks)
    ]
    said = [process.communicate()[0] for process in processes]
    return tuple(json.loads(said[0]))


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
    print(f"{'model':>8} {'one, ch/s':>11} {'each rank':>11} {'ratio':>6} {'all ranks':>11} {'sums take':>10}")
    for size in arguments.sizes:
        rounds = [
            (measured(1, arguments, size), measured(arguments.ranks, arguments, size)) for _ in range(arguments.rounds)
        ]
        one = statistics.median(alone for (alone, _), _ in rounds)
        all_ranks = statistics.median(together for _, (together, _) in rounds)
        ratio = statistics.median(together / arguments.ranks / alone for (alone, _), (together, _) in rounds)
        share = statistics.median(adding for _, (_, adding) in rounds)
        print(
            f"{f'1×{size}':>8} {one:11,.0f} {all_ranks / arguments.ranks:11,.0f} {ratio:6.2f} {all_ranks:11,.0f}"
            f" {share:10.0%}",
            flush=True,
        )


if __name__ == "__main__":
    main()
