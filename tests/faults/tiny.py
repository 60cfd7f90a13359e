"""A training that takes a tenth of a second and has everything in it that a long one has: dropout, epochs, evaluations,
saves. Its last weights are known to the last bit, so that nothing can be lost unnoticed."""

from __future__ import annotations

import functools
import hashlib
import os
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from charrnn.model.checkpoint import Checkpoint, Progress
from charrnn.model.network import CharRNN
from charrnn.model.run import Run
from charrnn.model.run_settings import CorpusIdentity, Origin, RunSettings
from charrnn.model.writer import RunWriter
from charrnn.settings import ModelSettings, TrainingSettings
from charrnn.text.encoded_text import EncodedText
from charrnn.text.vocabulary import Vocabulary
from charrnn.training.events import CheckpointSaved, Event, Requests
from charrnn.training.loop import train

MODEL = ModelSettings(layers=2, hidden_size=8, embedding_size=4, dropout=0.2)
TRAINING = TrainingSettings(batch_size=2, seq_length=5, steps=24, evaluations=4, warmup_steps=2, patience=0, seed=5)
TEXT = "abc def.\nghi abc!\n" * 12
VOCABULARY = Vocabulary.of(TEXT)
TRAIN_IDS, VALIDATION_IDS = np.split(VOCABULARY.encode(TEXT), [180])
NAME = "run"
SHA256 = hashlib.sha256(TEXT.encode()).hexdigest()

Weights = dict[str, torch.Tensor]


def new_run(folder: Path, training: TrainingSettings = TRAINING, model: ModelSettings = MODEL) -> RunWriter:
    network = CharRNN(model, len(VOCABULARY))
    network.initialize(torch.Generator().manual_seed(training.seed))
    identity = CorpusIdentity(name="a", specs="a", sha256=SHA256, characters=len(TEXT), held_out=len(VALIDATION_IDS))
    settings = RunSettings(model, training, identity, Origin.here("cpu", "a test"))
    return RunWriter.create(NAME, settings, VOCABULARY, b"abc", folder, first=network.state_dict())


def go_on(folder: Path, requests: Requests | None = None) -> Iterator[Event]:
    """Trains the run in a folder from its newest sound save to its end, as `charrnn train --resume` does."""
    run = Run(folder / NAME)
    with RunWriter.open(run) as writer:
        save = run.resumable_checkpoint()
        network = CharRNN(run.settings.model, len(run.vocabulary))
        texts = EncodedText(TRAIN_IDS), EncodedText(VALIDATION_IDS)
        yield from train(network, run.settings.training, *texts, writer=writer, resume=save, requests=requests)


def state_of(run: Run, save: Checkpoint) -> tuple[Progress, Weights]:
    """All that a save holds but the time it took to get there."""
    return save.progress.changed(seconds=0.0), run.read_model(save) | run.read_training(save)


@functools.cache
def expected_states(
    training: TrainingSettings = TRAINING, model: ModelSettings = MODEL
) -> dict[int, tuple[Progress, Weights]]:
    """Step → what a run that nothing interrupts has saved there."""
    states = {}
    with tempfile.TemporaryDirectory() as folder:
        writer = new_run(Path(folder), training, model)
        states[0] = state_of(writer.run, writer.run.checkpoint("last"))
        writer.close()
        for event in go_on(Path(folder)):
            if isinstance(event, CheckpointSaved):
                states[event.step] = state_of(writer.run, writer.run.checkpoint("last"))
    return states


def assert_sound(folder: Path, *, at_least: int = 0, **settings: Any) -> int:
    """The run loads, and what it would go on from is what an uninterrupted run was at that step, to the last bit.

    at_least: the last step that was reported as saved. Returns the step it would go on from.
    """
    run = Run(folder / NAME)
    save = run.resumable_checkpoint()
    assert save.step >= at_least, f"step {at_least} was saved, and is lost"
    expected = expected_states(**settings)[save.step]
    progress, weights = state_of(run, save)
    assert progress == expected[0]
    assert weights.keys() == expected[1].keys()
    for name, tensor in expected[1].items():
        assert torch.equal(tensor, weights[name]), name
    run.load_network()
    run.metrics()
    return save.step


def assert_nothing_was_lost(folder: Path, **settings: Any) -> None:
    """The run goes on to its end, which is that of a run that nothing interrupted."""
    if not Run(folder / NAME).resumable_checkpoint().progress.finished:
        list(go_on(folder))
    RunWriter.open(Run(folder / NAME)).close()
    assert assert_sound(folder, **settings) == max(expected_states(**settings))
    saves = sorted(path.name for path in (folder / NAME / "checkpoints").iterdir())
    assert not [name for name in saves if name.startswith(".")], saves


class Child:
    """A process of its own that does something and can be killed. `commits`: the steps that it has reported."""

    def __init__(self, work: Callable[[Callable[[int], None]], None]):
        self._reader, writer = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # PyTorch has threads; none of them works here
            self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                os.close(self._reader)
                work(lambda step: os.write(writer, step.to_bytes(4, "little")) and None)
                code = 0
            finally:
                os._exit(code)
        os.close(writer)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> tuple[int, list[int]]:
        """How it ended, as `os.waitstatus_to_exitcode` says, and what it had reported."""
        data = b""
        while block := os.read(self._reader, 65536):
            data += block
        os.close(self._reader)
        _, status = os.waitpid(self.pid, 0)
        steps = [int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data) - len(data) % 4, 4)]
        return os.waitstatus_to_exitcode(status), steps


def train_and_report(folder: Path, report: Callable[[int], None]) -> None:
    """Goes on to the end and reports the step of each save once it is said to be there."""
    for event in go_on(folder):
        if isinstance(event, CheckpointSaved):
            report(event.step)
