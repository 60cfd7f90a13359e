"""Characters per second of sampling, and of its one-character step, beside a plain loop over `nn.LSTM`.

    python -m tests.benchmarks.sampling [--recurrence gru] [--threads 2] [--device cuda] [--filters]

The plain loop is what a user would write: embedding, `nn.LSTM(num_layers=L)` called with one character, linear layer,
softmax and `torch.multinomial`, in inference mode. Runs alternate, so that other load affects all; the table shows
medians and ratios to the plain loop. --filters: instead, the speed with filters as a share of that without.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import statistics
import string
import time
from collections.abc import Callable

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from charrnn.model.device import choose_device, device_name, synchronize
from charrnn.model.network import CharRNN
from charrnn.sampling.generate import generate
from charrnn.sampling.settings import SampleSettings
from charrnn.sampling.step import FastStep
from charrnn.settings import DEVICES, RECURRENCE_NAMES, ModelSettings
from charrnn.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary.of("\n !$&',-.3:;?" + string.ascii_letters)  # the 65 characters of tiny-shakespeare
SIZES = [(1, 128), (1, 256), (1, 512), (2, 512)]
STREAMS = [1, 64]
SECONDS_PER_RUN = 0.4
PENALTIES = {"repeat_penalty": 1.1, "presence_penalty": 0.2, "frequency_penalty": 0.1}
DRY = {"dry_multiplier": 0.8}
FILTERS = {"none": {}, "penalties": PENALTIES, "DRY": DRY, "both": PENALTIES | DRY, "top-p": {"top_p": 0.95}}


def plain_step_loop(network: CharRNN, streams: int) -> Callable[[int], None]:
    """Return a function that steps through the fused layers without sampling."""
    stacked, state = stacked_layers(network)

    def write(characters: int) -> None:
        with torch.inference_mode():
            ids, carried = first_ids(network, streams), state(streams)
            for _ in range(characters):
                hidden, carried = stacked(network.embedding(ids), carried)
                network.output(hidden[:, 0])

    return write


def fast_step_loop(network: CharRNN, streams: int) -> Callable[[int], None]:
    step = FastStep(network, streams)

    def write(characters: int) -> None:
        ids, state = first_ids(network, streams)[:, 0], network.initial_state(streams)
        for _ in range(characters):
            _, state = step(ids, state)

    return write


def plain_generation(network: CharRNN, streams: int) -> Callable[[int], None]:
    stacked, state = stacked_layers(network)

    def write(characters: int) -> None:
        with torch.inference_mode():
            ids, carried = first_ids(network, streams), state(streams)
            for _ in range(characters):
                hidden, carried = stacked(network.embedding(ids), carried)
                probabilities = torch.softmax(network.output(hidden[:, 0]) / 0.8, dim=-1)
                ids = torch.multinomial(probabilities, 1)
                ids.cpu().numpy()

    return write


def our_generation(network: CharRNN, streams: int, **filters: float) -> Callable[[int], None]:
    def write(characters: int) -> None:
        settings = SampleSettings(length=characters, num=streams, temperature=0.8, seed=1, **filters)
        for _ in generate(network, settings, vocabulary=VOCABULARY):
            pass

    return write


def stacked_layers(network: CharRNN) -> tuple[torch.nn.Module, Callable[[int], object]]:
    """Return the network's layers as one PyTorch module, and a function that returns its initial state."""
    shape = network.settings
    device = network.output.weight.device
    layer = network.recurrences[0]
    options = {"nonlinearity": layer.nonlinearity} if isinstance(layer, torch.nn.RNN) else {}
    stacked = type(layer)(shape.embedding_size, shape.hidden_size, shape.layers, batch_first=True, **options)
    stacked.to(device).eval()

    def state(streams: int) -> object:
        zeros = torch.zeros(shape.layers, streams, shape.hidden_size, device=device)
        return (zeros, zeros) if len(network.recurrence.state_parts) > 1 else zeros

    return stacked, state


def first_ids(network: CharRNN, streams: int) -> torch.Tensor:
    return torch.zeros(streams, 1, dtype=torch.int64, device=network.output.weight.device)


METHODS = {
    "plain step": plain_step_loop,
    "fast step": fast_step_loop,
    "plain loop": plain_generation,
    "generate": our_generation,
}


def characters_for(write: Callable[[int], None], device: torch.device) -> int:
    """Return how many characters take about `SECONDS_PER_RUN`."""
    write(3)
    synchronize(device)
    start = time.perf_counter()
    write(10)
    synchronize(device)
    return max(10, int(10 * SECONDS_PER_RUN / (time.perf_counter() - start)))


def measure(
    network: CharRNN, streams: int, runs: int, methods: dict[str, Callable[[CharRNN, int], Callable[[int], None]]]
) -> dict[str, float]:
    """Return median characters per second of all streams, by method."""
    device = network.output.weight.device
    writers = {name: make(network, streams) for name, make in methods.items()}
    lengths = {name: characters_for(write, device) for name, write in writers.items()}
    speeds: dict[str, list[float]] = {name: [] for name in writers}
    for _, (name, write) in itertools.product(range(runs), writers.items()):
        synchronize(device)
        start = time.perf_counter()
        write(lengths[name])
        synchronize(device)
        speeds[name].append(streams * lengths[name] / (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in speeds.items()}


def make_network(recurrence: str, layers: int, hidden_size: int, device: torch.device) -> CharRNN:
    shape = ModelSettings(recurrence=recurrence, layers=layers, hidden_size=hidden_size)
    network = CharRNN(shape, len(VOCABULARY))
    network.initialize(torch.Generator().manual_seed(1))
    return network.to(device).eval()


def show_filters(recurrence: str, runs: int, device: torch.device) -> None:
    """Print the speed of one stream with filters, as a share of that without."""
    methods = {name: functools.partial(our_generation, **filters) for name, filters in FILTERS.items()}
    table = Table("size", "characters/s", *list(FILTERS)[1:], title=f"{recurrence}, {device_name(device)}")
    for layers, hidden_size in SIZES:
        speed = measure(make_network(recurrence, layers, hidden_size, device), 1, runs, methods)
        shares = [f"{speed[name] / speed['none']:.2f}" for name in list(FILTERS)[1:]]
        table.add_row(f"{layers}×{hidden_size}", f"{speed['none']:,.0f}", *shares)
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recurrence", choices=RECURRENCE_NAMES, default="lstm")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", choices=DEVICES, default="cpu")
    parser.add_argument("--filters", action="store_true")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    device = choose_device(chosen.device)
    if chosen.filters:
        show_filters(chosen.recurrence, chosen.runs, device)
        return
    table = Table(title=f"characters per second, {chosen.recurrence}, {device_name(device)}, torch {torch.__version__}")
    for heading in ("size", "streams", *("plain step", "fast step", "ratio"), *("plain loop", "generate", "ratio")):
        table.add_column(heading, justify="right")
    ratios = []
    for (layers, hidden_size), streams in itertools.product(SIZES, STREAMS):
        network = make_network(chosen.recurrence, layers, hidden_size, device)
        speed = measure(network, streams, chosen.runs, METHODS)
        steps, whole = speed["fast step"] / speed["plain step"], speed["generate"] / speed["plain loop"]
        ratios.append(whole)
        table.add_row(
            f"{layers}×{hidden_size}",
            str(streams),
            *(f"{speed['plain step']:,.0f}", f"{speed['fast step']:,.0f}", f"{steps:.1f}×"),
            *(f"{speed['plain loop']:,.0f}", f"{speed['generate']:,.0f}", f"{whole:.1f}×"),
        )
    console = Console()
    console.print(table)
    console.print(f"generate against the plain loop, geometric mean: {np.exp(np.mean(np.log(ratios))):.1f}×")


if __name__ == "__main__":
    main()
