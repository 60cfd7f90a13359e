"""Shared fixtures: a small network, a short text, a home folder."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import hypothesis
import pytest
import torch

from charrnn.model.network import CharRNN
from charrnn.settings import ModelSettings

hypothesis.settings.register_profile("short", deadline=None, derandomize=True, max_examples=60)
hypothesis.settings.register_profile("long", deadline=None, max_examples=2000)
hypothesis.settings.load_profile("short")
torch.set_num_threads(1)  # faster for small matrices
os.environ.setdefault("OMP_NUM_THREADS", "1")  # for subprocesses
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as shells start background jobs; tests send Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)


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
