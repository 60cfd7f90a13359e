"""Competing programs: plain PyTorch loops that train an LSTM on two threads each, which wait as is torch's default.

python tests/benchmarks/competitor.py
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

OPENMP = ("OMP_", "GOMP_", "KMP_", "MKL_")
THREADS = 2


def openmp_environment(**variables: str) -> dict[str, str]:
    """Return this process's environment with these variables of OpenMP, and no others."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OPENMP)}
    return {**kept, **variables}


def start_competitor() -> subprocess.Popen[bytes]:
    """Start a competitor. It runs until it is killed."""
    return subprocess.Popen([sys.executable, __file__], env=openmp_environment(OMP_NUM_THREADS=str(THREADS)))


def stop(processes: list[subprocess.Popen[bytes]]) -> None:
    """End these processes."""
    for process in processes:
        process.kill()
        process.wait()


@contextlib.contextmanager
def competitors(number: int) -> Iterator[None]:
    """Run this many competitors within the context."""
    processes = [start_competitor() for _ in range(number)]
    try:
        yield
    finally:
        stop(processes)


def train() -> None:
    """Train an LSTM of 256 units on random numbers, forever."""
    import torch

    lstm = torch.nn.LSTM(64, 256, batch_first=True)
    optimizer = torch.optim.Adam(lstm.parameters())
    inputs = torch.randn(16, 128, 64)
    while True:
        optimizer.zero_grad()
        hidden, _ = lstm(inputs)
        hidden.square().mean().backward()
        optimizer.step()


if __name__ == "__main__":
    train()
