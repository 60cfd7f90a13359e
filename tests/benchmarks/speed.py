"""Characters per second of training, beside a plain PyTorch loop and the machine's matrix-product peak.

    python -m tests.benchmarks.speed [--sizes 1x128 1x512] [--batch-size 16] [--seq-length 128] [--device cuda]

A step is forward, backward, gradient clipping and the optimizer. The plain loop is what a user would write: embedding,
`nn.LSTM(num_layers=L, batch_first=True)`, linear layer, `clip_grad_norm_`, unfused Adam and `loss.item()` at each step,
in float32 and in its own process, with torch's number of threads. charrnn has one thread or all, as `charrnn train`
chooses. Runs alternate, so that other load affects both; the table shows medians.

The peak is the fastest product of two 2048 × 2048 matrices in the same precision, measured between the runs: by torch,
and on a CPU by oneDNN, which is three times as fast on some processors. A step counts as six operations per matrix
weight and character: a multiplication and an addition in the forward pass, twice as many in the backward pass.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from charrnn.model.device import (
    AUTOCAST,
    choose_device,
    choose_precision,
    cpu_threads,
    device_name,
    keep_freed_memory,
    synchronize,
)
from charrnn.model.network import CharRNN
from charrnn.settings import DEVICES, ModelSettings, TrainingSettings
from charrnn.text.encoded_text import EncodedText
from charrnn.training.planning import TIMING_SECONDS, Workload, fastest_step
from charrnn.training.trainer import Trainer
from charrnn.units import percent

SIZES = {"cpu": ["1x128", "1x256", "1x512", "2x256", "2x512", "3x512"], "cuda": ["1x512", "2x1024", "3x2048"]}
VOCABULARY_SIZE = 65
SECONDS_PER_RUN = 1.0


def charrnn_steps(settings: ModelSettings, training: TrainingSettings, device: torch.device) -> Callable[[], None]:
    network = CharRNN(settings, VOCABULARY_SIZE)
    network.initialize(torch.Generator().manual_seed(1))
    return Trainer(network.to(device), training, EncodedText(random_ids(training))).make_step


def plain_steps(settings: ModelSettings, training: TrainingSettings, device: torch.device) -> Callable[[], None]:
    embedding = nn.Embedding(VOCABULARY_SIZE, settings.embedding_size)
    layers = nn.LSTM(settings.embedding_size, settings.hidden_size, settings.layers, batch_first=True)
    output = nn.Linear(settings.hidden_size, VOCABULARY_SIZE)
    model = nn.ModuleList([embedding, layers, output]).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, foreach=False)
    ids = torch.from_numpy(random_ids(training)).long()
    characters = training.batch_size * training.seq_length
    state = None

    def step() -> None:
        nonlocal state
        inputs = ids[:characters].view(training.batch_size, -1).to(device)
        targets = ids[1 : characters + 1].view(training.batch_size, -1).to(device)
        hidden, after = layers(embedding(inputs), state)
        state = tuple(part.detach() for part in after)
        loss = nn.functional.cross_entropy(output(hidden).flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=False)
        optimizer.step()
        loss.item()

    return step


def random_ids(training: TrainingSettings) -> np.ndarray:
    length = 4 * training.batch_size * training.seq_length
    return np.random.default_rng(1).integers(0, VOCABULARY_SIZE, length).astype(np.uint8)


def matrix_products(device: torch.device, precision: str) -> dict[str, Callable[[], object]]:
    """Return functions that multiply two 2048 × 2048 matrices in this precision."""
    one, other = torch.randn(2, 2048, 2048, device=device, dtype=AUTOCAST.get(precision, torch.float32))
    products: dict[str, Callable[[], object]] = {"torch.mm": lambda: one @ other}
    if device.type == "cpu" and torch.backends.mkldnn.is_available():
        packed = torch.ops.mkldnn._reorder_linear_weight.default(other, 2048)
        products["oneDNN"] = lambda: torch.ops.mkldnn._linear_pointwise.default(one, packed, None, "none", [], "")
    return products


def seconds_each(work: Callable[[], object], device: torch.device, seconds: float = SECONDS_PER_RUN) -> float:
    """Return the mean time of a call, measured for about this many seconds."""
    work()
    synchronize(device)
    calls, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        work()
        calls += 1
    synchronize(device)
    return (time.perf_counter() - start) / calls


def serve_plain_loop(
    requests: Connection, settings: ModelSettings, training: TrainingSettings, device: torch.device
) -> None:
    """Answer each request with the mean time of a step, until one is false. Runs in its own process."""
    step = plain_steps(settings, training, device)
    while requests.recv():
        requests.send(seconds_each(step, device))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", help="LAYERSxHIDDEN")
    parser.add_argument("--batch-size", type=int, default=TrainingSettings().batch_size)
    parser.add_argument("--seq-length", type=int, default=TrainingSettings().seq_length)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--device", choices=DEVICES, default="auto")
    options = parser.parse_args()
    device = choose_device(options.device)
    if device.type == "cpu":
        keep_freed_memory()  # as `charrnn train` does
    training = TrainingSettings(batch_size=options.batch_size, seq_length=options.seq_length, steps=10**9)
    characters = options.batch_size * options.seq_length
    precisions = sorted({"fp32", choose_precision("auto", device, ModelSettings("lstm"))}, reverse=True)
    products = {precision: matrix_products(device, precision) for precision in precisions}
    table = Table(title=f"{device_name(device)}, {options.batch_size} streams × {options.seq_length} characters")
    for header in ("size", "precision", "threads", "ours, ch/s", "plain, ch/s", "ratio", "op/s", "peak", "share"):
        table.add_column(header, justify="right")
    for size in options.sizes or SIZES[device.type]:
        layers, hidden = map(int, size.split("x"))
        settings = ModelSettings(layers=layers, hidden_size=hidden)
        network = CharRNN(settings, VOCABULARY_SIZE)
        weights = sum(p.numel() for name, p in network.named_parameters() if p.ndim > 1 and name != "embedding.weight")
        ours, threads = {}, {}
        for name in precisions:
            in_precision = training.changed(precision=name)
            text = EncodedText(random_ids(training))
            _, threads[name] = fastest_step(
                Workload(settings, in_precision, VOCABULARY_SIZE, text, device), TIMING_SECONDS
            )
            ours[name] = charrnn_steps(settings, in_precision, device)
        ours_end, plain_end = multiprocessing.get_context("spawn").Pipe()
        plain = multiprocessing.get_context("spawn").Process(
            target=serve_plain_loop, args=(plain_end, settings, training, device), daemon=True
        )
        plain.start()
        ours_at: dict[str, list[float]] = {name: [] for name in precisions}
        peak_at: dict[str, list[float]] = {name: [] for name in precisions}
        plain_at: list[float] = []
        for _ in range(options.runs):
            for name in precisions:
                with cpu_threads(threads[name]):
                    ours_at[name].append(seconds_each(ours[name], device))
                peak_at[name].append(min(seconds_each(product, device, 0.2) for product in products[name].values()))
            ours_end.send(True)
            plain_at.append(ours_end.recv())
        ours_end.send(False)
        plain.join()
        for name in precisions:
            mean = statistics.median(ours_at[name])
            operations, peak = 6 * weights * characters / mean, 2 * 2048**3 / statistics.median(peak_at[name])
            table.add_row(
                size.replace("x", "×"),
                name,
                str(threads[name] or ""),
                f"{characters / mean:,.0f}",
                f"{characters / statistics.median(plain_at):,.0f}",
                f"{statistics.median(plain_at) / mean:.2f}",
                f"{operations / 1e9:,.0f} G",
                f"{peak / 1e9:,.0f} G",
                percent(operations / peak),
            )
    Console().print(table)


if __name__ == "__main__":
    main()
