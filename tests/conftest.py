"""Shared fixtures: a small network, a short text, a home folder."""

from __future__ import annotations

import gc
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch
import typer.main
import typer.testing

from charrnn.model.network import CharRNN
from charrnn.sampling.registry import FILTERS
from charrnn.settings import RECURRENCE_NAMES, ModelSettings

gc.disable()  # until the tests are collected
hypothesis.settings.register_profile("short", deadline=None, derandomize=True, max_examples=60)
hypothesis.settings.register_profile("long", deadline=None, max_examples=2000)
hypothesis.settings.load_profile("short")
torch.set_num_threads(1)  # faster for small matrices
os.environ.setdefault("OMP_NUM_THREADS", "1")  # for subprocesses
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as shells start background jobs; tests send Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Let garbage collections pass over what the imports and 3,000 tests have left: it stays until the end."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _commands_built_once() -> Iterator[None]:
    """Build the command line once for each set of registered filters and recurrences: building takes 30 ms."""
    build, built = typer.main.get_command, {}

    def get_command(app: typer.Typer) -> Any:
        registered = id(app), *FILTERS.values(), *RECURRENCE_NAMES
        if registered not in built:
            built[registered] = app, build(app)  # keeps `app`, and so its id
        return built[registered][1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.main, "get_command", get_command)
        patch.setattr(typer.testing, "_get_command", get_command)
        yield


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary home with corpora/, which is also the current directory."""
    monkeypatch.setenv("CHARRNN_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "corpora").mkdir()
    return tmp_path


@pytest.fixture(scope="session")
def short_text() -> str:
    """About 20,000 characters of sentences made of a few words."""
    words = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "and", "then", "sleeps", "until"]
    draw = random.Random(7)
    sentences = (" ".join(draw.choices(words, k=draw.randint(3, 9))).capitalize() + ".\n" for _ in range(600))
    return "".join(sentences)


def small_network(
    recurrence: str = "lstm", *, layers: int = 2, vocabulary_size: int = 11, **settings: object
) -> CharRNN:
    """A freshly initialized network of 7 hidden units in double precision."""
    shape = {"hidden_size": 7, "embedding_size": 5} | settings
    network = CharRNN(ModelSettings(recurrence=recurrence, layers=layers, **shape), vocabulary_size)
    network.initialize(torch.Generator().manual_seed(3))
    return network.double().eval()


def contracted(network: CharRNN) -> CharRNN:
    """Halve the recurrent weights of an IRNN: with the identity, h grows with the text until training changes that."""
    if network.settings.recurrence == "irnn":
        with torch.no_grad():
            for layer in network.recurrences:
                layer.weight_hh_l0 *= 0.5
    return network
