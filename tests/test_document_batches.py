"""charrnn.training.document_batches"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from charrnn.model.network import detach_state
from charrnn.model.run_settings import CorpusIdentity, Origin, RunSettings
from charrnn.model.writer import RunWriter
from charrnn.scoring.score import score
from charrnn.settings import RECURRENCE_NAMES, ModelSettings, TrainingSettings
from charrnn.text.encoded_text import EncodedText
from charrnn.text.vocabulary import Vocabulary
from charrnn.training.batches import NOT_COUNTED
from charrnn.training.distributed import ProcessGroup
from charrnn.training.document_batches import DocumentBatches
from charrnn.training.events import Evaluated
from charrnn.training.trainer import Trainer
from tests.conftest import small_network
from tests.test_loop import run_through

CPU = torch.device("cpu")
OPENING = 4


def documents_of(lengths: list[int], vocabulary_size: int = 11) -> EncodedText:
    ids = np.random.default_rng(sum(lengths)).integers(0, vocabulary_size, sum(lengths)).astype(np.uint16)
    return EncodedText(ids, np.cumsum([0, *lengths[:-1]]), OPENING)


def numbered(lengths: list[int]) -> EncodedText:
    """Return documents with the ids 1, 2, 3, …."""
    return EncodedText(np.arange(1, sum(lengths) + 1, dtype=np.uint32), np.cumsum([0, *lengths[:-1]]), 0)


@settings(max_examples=25)
@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=40),
    batch_size=st.integers(1, 5),
    seq_length=st.integers(1, 12),
    block=st.sampled_from([50, 10**6]),
    longest=st.sampled_from([2, 256]),
)
def test_an_epoch_predicts_every_character_once_from_its_own_document(
    lengths: list[int], batch_size: int, seq_length: int, block: int, longest: int
) -> None:
    documents = numbered(lengths)
    batches = DocumentBatches(documents, batch_size, seq_length, 1, CPU, block=block, windows_per_piece=longest)
    starts = set((documents.starts + 1).tolist())
    for epoch in range(2):
        predicted: list[int] = []
        ends = torch.zeros(0)
        continues = False
        for index in range(batches.windows_per_epoch):
            window = batches.window(epoch * batches.windows_per_epoch + index)
            assert window.begins != continues
            real = window.targets != NOT_COUNTED
            assert window.weight == pytest.approx(int(real.sum()) / (batch_size * seq_length))
            assert real.any()
            if continues or window.continues:
                assert len(real) == batch_size
            inside = real.clone()
            inside[:, 0] &= continues
            assert torch.equal(window.inputs[inside] + 1, window.targets[inside])
            if continues:  # each row continues until its document ends
                assert torch.equal(window.inputs[real[:, 0], 0], ends[real[:, 0]])
            for read, character in zip(window.inputs[:, 0][real[:, 0]], window.targets[:, 0][real[:, 0]], strict=True):
                if not continues:
                    begins = int(character) in starts
                    assert int(read) == (0 if begins else int(character) - 1)
                    assert begins or longest == 2
                else:
                    assert int(character) not in starts
            ends = window.targets[:, -1]
            continues = window.continues
            predicted += window.targets[real].tolist()
        assert not continues
        assert sorted(predicted) == list(range(1, sum(lengths) + 1))


def test_epochs_differ_and_are_reproducible() -> None:
    documents = numbered([5, 6, 7, 8, 9, 10] * 30)
    batches, again = (DocumentBatches(documents, 4, 16, seed=3, device=CPU) for _ in range(2))
    per_epoch = batches.windows_per_epoch
    first = [frozenset(batches.window(step).targets[:, 0].tolist()) for step in range(per_epoch)]
    second = [frozenset(batches.window(per_epoch + step).targets[:, 0].tolist()) for step in range(per_epoch)]
    assert set(first) != set(second)
    assert torch.equal(again.window(per_epoch + 3).inputs, batches.window(per_epoch + 3).inputs)
    assert torch.equal(again.window(1).inputs, batches.window(1).inputs)


@settings(max_examples=25)
@given(
    count=st.integers(1, 150),
    longest=st.integers(1, 70),
    batch_size=st.integers(1, 12),
    seq_length=st.integers(1, 32),
    seed=st.integers(0, 1000),
)
def test_no_window_exceeds_b_times_t_characters(
    count: int, longest: int, batch_size: int, seq_length: int, seed: int
) -> None:
    lengths = np.random.default_rng(seed).integers(1, longest + 1, count).tolist()
    batches = DocumentBatches(documents_of(lengths), batch_size, seq_length, seed, CPU)
    for step in range(3 * batches.windows_per_epoch):
        window = batches.window(step)
        assert window.targets.numel() <= batch_size * seq_length
        assert window.weight <= 1


def test_little_of_a_window_is_padding() -> None:
    lengths = np.random.default_rng(1).integers(3, 14, 3000).tolist()
    batches = DocumentBatches(documents_of(lengths), 16, 64, seed=1, device=CPU)
    windows = [batches.window(step) for step in range(batches.windows_per_epoch)]
    assert sum(window.weight for window in windows) * 16 * 64 == pytest.approx(sum(lengths))
    assert sum(lengths) / sum(window.targets.numel() for window in windows) > 0.75
    assert np.mean([window.targets.numel() for window in windows]) > 0.8 * 16 * 64


@pytest.mark.parametrize("recurrence", RECURRENCE_NAMES)
def test_gradient_equals_that_of_a_loop_over_documents(recurrence: str) -> None:
    """In double precision, with windows that carry a state; the learning rate is too small to matter."""
    documents = documents_of([3, 5, 1, 4, 9, 30, 12, 17, 2, 2, 6, 8, 25])
    training = TrainingSettings(batch_size=3, seq_length=8, steps=100, grad_clip=0.0, learning_rate=1e-9)
    network = small_network(recurrence)
    trainer = Trainer(network, training, documents)
    read: set[int] = set()
    state = network.initial_state(1)
    for step in range(trainer.batches.windows_per_epoch):
        window = trainer.batches.window(step)
        if window.begins:
            states = [network.initial_state(1)] * len(window.inputs)
        network.zero_grad()
        nats, counted = 0.0, 0
        for row in range(len(window.inputs)):
            state = states[row]
            for character, target in zip(window.inputs[row], window.targets[row], strict=True):
                if target == NOT_COUNTED:
                    break
                logits, state = network(character.view(1, 1), state)
                nats, counted = nats + cross_entropy(logits[0], target.view(1), reduction="sum"), counted + 1
            states[row] = detach_state(state)
        (nats / (3 * 8)).backward()
        expected = [p.grad.clone() for p in network.parameters()]
        before = trainer.loss_sum.item(), trainer.weight_sum.item()
        trainer.make_step()
        for p, gradient in zip(network.parameters(), expected, strict=True):
            torch.testing.assert_close(p.grad, gradient, rtol=0, atol=1e-7)
        assert trainer.loss_sum.item() - before[0] == pytest.approx(nats.item() / 24, abs=1e-6)
        assert (trainer.weight_sum.item() - before[1]) * 24 == pytest.approx(counted, abs=1e-4)
        read.add(counted)
    assert len(read) > 1


def test_processes_share_the_rows_of_every_window() -> None:
    documents = numbered([1, 2, 30, 31, 5, 5, 5, 6, 40])
    whole = DocumentBatches(documents, 4, 8, 1, CPU, min_rows=3)
    parts = [DocumentBatches(documents, 4, 8, 1, CPU, ProcessGroup(rank, 3).rows, min_rows=3) for rank in range(3)]
    assert {batches.windows_per_epoch for batches in parts} == {whole.windows_per_epoch}
    for step in range(2 * whole.windows_per_epoch):
        expected, windows = whole.window(step), [batches.window(step) for batches in parts]
        assert torch.equal(torch.cat([window.inputs for window in windows]), expected.inputs)
        assert torch.equal(torch.cat([window.targets for window in windows]), expected.targets)
        assert all(
            (w.begins, w.continues, w.weight) == (expected.begins, expected.continues, expected.weight) for w in windows
        )
        assert all(window.shard.batch_size == len(expected.inputs) for window in windows)


MODEL = ModelSettings(layers=2, hidden_size=8, embedding_size=4, dropout=0.2)
TRAINING = TrainingSettings(batch_size=2, seq_length=8, steps=60, evaluations=3, warmup_steps=2)
NAMES = ("anna\nberta\nclara\ndora\nemil\nfrieda\ngustav\nhans\n" * 8) + "a name that is longer than any window\n" * 5


def trained(folder: Path, stops: list[int]) -> tuple[RunWriter, list[tuple[float, float]]]:
    """Train a run, stopping after each of these steps. Return it and the training and validation losses."""
    vocabulary = Vocabulary.of(NAMES)
    ids = vocabulary.encode(NAMES)
    parts = EncodedText(ids, np.flatnonzero(np.append(True, ids[:-1] == 0)), 0).split(0.2)
    identity = CorpusIdentity(name="a", specs="a", sha256="0" * 64, characters=len(ids), held_out=len(parts[1]))
    settings = RunSettings(MODEL, TRAINING, identity, Origin.here("cpu", ""))
    with RunWriter.create("run", settings, vocabulary, b"a", folder) as writer:
        events = run_through(writer, stops, parts)
    return writer, [(event.train_nats, event.validation_nats) for event in events if isinstance(event, Evaluated)]


def test_resume_on_documents_is_bit_exact(tmp_path: Path) -> None:
    whole, losses = trained(tmp_path / "whole", [])
    broken, broken_losses = trained(tmp_path / "broken", [1, 5, 13, 26, 44])
    assert losses == broken_losses
    one, other = whole.run.checkpoint("last"), broken.run.checkpoint("last")
    assert one.step == other.step == 60
    expected, found = whole.run.read_model(one), broken.run.read_model(other)
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    expected, found = whole.run.read_training(one), broken.run.read_training(other)
    assert expected["state.1.h"].shape == (2, 8)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_training_loss_is_the_score_of_an_epoch() -> None:
    """At a learning rate of almost zero."""
    documents = documents_of([3, 5, 1, 4, 7, 7, 2, 6])
    training = TrainingSettings(batch_size=2, seq_length=8, steps=1000, learning_rate=1e-12)
    trainer = Trainer(small_network(), training, documents)
    for _ in range(trainer.batches.windows_per_epoch):
        trainer.make_step()
    assert trainer.weight_sum.item() * 16 == pytest.approx(len(documents))
    assert trainer.loss_sum.item() / trainer.weight_sum.item() == pytest.approx(
        score(small_network(), documents).mean, abs=1e-6
    )
