"""Characters per second of sampling texts that match an expression, beside sampling without one.

    python -m tests.benchmarks.matching [--runs 7]

Runs alternate, so that other load affects all; the table shows medians.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time

import torch
from rich.console import Console
from rich.table import Table

from charrnn.model.network import CharRNN
from charrnn.sampling.generate import generate
from charrnn.sampling.settings import SampleSettings
from charrnn.settings import ModelSettings
from charrnn.units import percent
from tests.benchmarks.sampling import VOCABULARY

EXPRESSIONS = {"none": None, "any text": "(?s).*", "lines": r"(.{0,60}\n){30}"}
STREAMS = [1, 64]
LENGTH = 1000


def seconds(network: CharRNN, expression: str | None, streams: int) -> float:
    """Return the processor time of a character of every stream, without that for the automaton."""
    settings = SampleSettings(length=LENGTH, num=streams, temperature=0.8, seed=1, matching=expression)
    drawn = generate(network, settings, vocabulary=VOCABULARY)
    start = time.process_time()
    characters = sum(1 for _ in drawn)
    return (time.process_time() - start) / characters


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7)
    runs = parser.parse_args().runs
    torch.set_num_threads(1)
    network = CharRNN(ModelSettings(hidden_size=256), len(VOCABULARY))
    network.initialize(torch.Generator().manual_seed(1))
    network.eval()
    table = Table("streams", *EXPRESSIONS, title="characters per second of processor time, lstm 1×256; cost")
    for streams in STREAMS:
        found: dict[str, list[float]] = {name: [] for name in EXPRESSIONS}
        for _, (name, expression) in itertools.product(range(runs), EXPRESSIONS.items()):
            found[name].append(seconds(network, expression, streams))
        medians = {name: statistics.median(values) for name, values in found.items()}
        cost = {
            name: f" ({percent(1 - medians['none'] / value)})" if name != "none" else ""
            for name, value in medians.items()
        }
        table.add_row(str(streams), *(f"{streams / value:,.0f}{cost[name]}" for name, value in medians.items()))
    Console().print(table)


if __name__ == "__main__":
    main()
