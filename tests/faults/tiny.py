"""A training of a tenth of a second: dropout, epochs, evaluations, checkpoints. Its weights are known exactly."""

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


def resume(folder: Path, requests: Requests | None = None) -> Iterator[Event]:
    """Train the run in a folder from its newest intact checkpoint to the end, like `charrnn train --resume`."""
    run = Run(folder / NAME)
    with RunWriter.open(run) as writer:
        checkpoint = run.resumable_checkpoint()
        network = CharRNN(run.settings.model, len(run.vocabulary))
        texts = EncodedText(TRAIN_IDS), EncodedText(VALIDATION_IDS)
        yield from train(network, run.settings.training, *texts, writer=writer, resume=checkpoint, requests=requests)


def saved_state(run: Run, checkpoint: Checkpoint) -> tuple[Progress, Weights]:
    """Return everything in a checkpoint except the training time."""
    return checkpoint.progress.changed(seconds=0.0), run.read_model(checkpoint) | run.read_training(checkpoint)


@functools.cache
def uninterrupted_states(
    training: TrainingSettings = TRAINING, model: ModelSettings = MODEL
) -> dict[int, tuple[Progress, Weights]]:
    """Return step → state saved there by an uninterrupted training."""
    states = {}
    with tempfile.TemporaryDirectory() as folder:
        writer = new_run(Path(folder), training, model)
        states[0] = saved_state(writer.run, writer.run.checkpoint("last"))
        writer.close()
        for event in resume(Path(folder)):
            if isinstance(event, CheckpointSaved):
                states[event.step] = saved_state(writer.run, writer.run.checkpoint("last"))
    return states


def assert_resumable(folder: Path, *, at_least: int = 0, **settings: Any) -> int:
    """Assert that the run loads, and resumes from exactly the state that an uninterrupted training had at that step.

    at_least: the last step reported as saved. Return the step that training resumes from.
    """
    run = Run(folder / NAME)
    checkpoint = run.resumable_checkpoint()
    assert checkpoint.step >= at_least, f"the checkpoint of step {at_least} is lost"
    expected = uninterrupted_states(**settings)[checkpoint.step]
    progress, weights = saved_state(run, checkpoint)
    assert progress == expected[0]
    assert weights.keys() == expected[1].keys()
    for name, tensor in expected[1].items():
        assert torch.equal(tensor, weights[name]), name
    run.load_network()
    run.metrics()
    return checkpoint.step


def assert_finishes_bit_exact(folder: Path, **settings: Any) -> None:
    """Assert that the run, resumed, ends exactly like an uninterrupted training, and leaves no temporary files."""
    if not Run(folder / NAME).resumable_checkpoint().progress.finished:
        list(resume(folder))
    RunWriter.open(Run(folder / NAME)).close()
    assert assert_resumable(folder, **settings) == max(uninterrupted_states(**settings))
    names = sorted(path.name for path in (folder / NAME / "checkpoints").iterdir())
    assert not [name for name in names if name.startswith(".")], names


class Child:
    """A forked process that does some work, reports steps, and can be killed."""

    def __init__(self, work: Callable[[Callable[[int], None]], None]):
        """work: gets a function that reports a step."""
        self._reader, writer = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # PyTorch has threads, but none is working now
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
        """Wait for the end. Return the exit code, as `os.waitstatus_to_exitcode` does, and the reported steps."""
        data = b""
        while block := os.read(self._reader, 65536):
            data += block
        os.close(self._reader)
        _, status = os.waitpid(self.pid, 0)
        steps = [int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data) - len(data) % 4, 4)]
        return os.waitstatus_to_exitcode(status), steps


def resume_and_report(folder: Path, report: Callable[[int], None]) -> None:
    """Train the run to its end and report the step of each checkpoint that was saved."""
    for event in resume(folder):
        if isinstance(event, CheckpointSaved):
            report(event.step)
