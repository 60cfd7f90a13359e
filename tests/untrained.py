"""Runs of untrained networks, and the commands that look into them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from charrnn.cli.app import app
from charrnn.errors import CharrnnError
from charrnn.model.checkpoint import Progress, training_shapes
from charrnn.model.network import CharRNN
from charrnn.model.run import Run
from charrnn.model.run_settings import CorpusIdentity, Origin, RunSettings
from charrnn.model.writer import RunWriter
from charrnn.settings import ModelSettings, TrainingSettings
from charrnn.text.vocabulary import Vocabulary


def make_run(
    folder: Path,
    text: str,
    *,
    name: str = "a",
    recurrence: str = "lstm",
    layers: int = 1,
    as_bytes: bool = False,
    corpus: str = "",
    saves: tuple[int, ...] = (3,),
    documents: str | None = None,
    network: CharRNN | None = None,
) -> Run:
    """Create a run whose held-out text is `text`, the end of `corpus`; of an untrained network where none is given."""
    vocabulary = Vocabulary.of_bytes() if as_bytes else Vocabulary.of(text)
    if network is None:
        network = CharRNN(ModelSettings(recurrence, layers, 6, 4), len(vocabulary))
        network.initialize(torch.Generator().manual_seed(1))
    model = network.settings
    origin = Origin(created="2020-01-01T00:00:00", device="cpu")
    identity = CorpusIdentity(
        name="a",
        specs="a.txt",
        sha256=hashlib.sha256(corpus.encode()).hexdigest(),
        characters=len(corpus) or len(text),
        held_out=len(text),
    )
    settings = RunSettings(model, TrainingSettings(batch_size=2, documents=documents), identity, origin)
    with RunWriter.create(name, settings, vocabulary, text.encode(), folder / "checkpoints") as writer:
        moments = {name: torch.zeros(shape) for name, shape in training_shapes(model, len(vocabulary), 2).items()}
        for step in saves:
            writer.save(Progress(step=step, validation_nats=1.0), network.state_dict(), moments)
        return writer.run


def invoke(*arguments: str, standard_input: str | None = None, command: str = "inspect") -> str:
    """Run a command and return its standard output."""
    result = CliRunner().invoke(app, [command, *arguments], input=standard_input, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*arguments: str, command: str = "inspect") -> str:
    """Run a command that fails and return its one-line message."""
    with pytest.raises(CharrnnError) as caught:
        CliRunner().invoke(app, [command, *arguments], catch_exceptions=False)
    assert "\n" not in str(caught.value)
    return str(caught.value)
