"""charrnn.scoring.score"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from charrnn.errors import CharrnnError
from charrnn.model.network import CharRNN
from charrnn.scoring.score import Limits, Score, ScoringStopped, score
from charrnn.settings import RECURRENCE_NAMES
from charrnn.text.encoded_text import EncodedText
from tests.conftest import small_network


def sequential_nats(network: CharRNN, ids: np.ndarray) -> np.ndarray:
    """−ln p of each character after the first, read as one stream."""
    tensor = torch.from_numpy(ids.astype(np.int64))
    with torch.no_grad():
        logits, _ = network(tensor[None, :-1], network.initial_state(1))
    return cross_entropy(logits[0], tensor[1:], reduction="none").numpy()


def random_ids(length: int) -> np.ndarray:
    return np.random.default_rng(length).integers(0, 11, length).astype(np.uint8)


def assert_equal_nats(result: Score, expected: np.ndarray) -> None:
    np.testing.assert_allclose(result.nats, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("recurrence", RECURRENCE_NAMES)
@settings(max_examples=25)
@given(length=st.integers(2, 700), segments=st.integers(1, 9), chunk=st.integers(1, 90))
def test_segments_do_not_change_the_score(recurrence: str, length: int, segments: int, chunk: int) -> None:
    network, ids = small_network(recurrence), random_ids(length)
    result = score(network, EncodedText(ids), segments=segments, limits=Limits(chunk=chunk))
    assert_equal_nats(result, sequential_nats(network, ids))


def test_network_that_never_forgets() -> None:
    """With forget gates at 1, the state at a segment's start matters up to its last character."""
    network = small_network("lstm", layers=1)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "bias" in name and "l0" in name:
                parameter[7:14] = 50.0
    ids = random_ids(500)
    result = score(network, EncodedText(ids), segments=8, limits=Limits(chunk=16))
    assert_equal_nats(result, sequential_nats(network, ids))


@settings(max_examples=20)
@given(length=st.integers(2, 400), segments=st.integers(1, 9), part=st.integers(1, 200))
def test_parts_carry_the_state(length: int, segments: int, part: int) -> None:
    network, ids = small_network(), random_ids(length)
    result = score(network, EncodedText(ids), segments=segments, limits=Limits(chunk=16, part=part))
    assert_equal_nats(result, sequential_nats(network, ids))


@pytest.mark.parametrize("recurrence", RECURRENCE_NAMES)
@settings(max_examples=20)
@given(lengths=st.lists(st.integers(1, 60), min_size=1, max_size=30), row=st.integers(1, 80))
def test_documents_are_independent(recurrence: str, lengths: list[int], row: int) -> None:
    """Each document scores as it does alone, after the opening character."""
    network, ids = small_network(recurrence), random_ids(sum(lengths))
    starts = np.cumsum([0, *lengths[:-1]])
    limits = Limits(row=row, documents=5, characters=40)
    result = score(network, EncodedText(ids, starts, opening=4), limits=limits)
    opened = [np.concatenate([[4], piece]) for piece in np.split(ids, starts[1:])]
    assert_equal_nats(result, np.concatenate([sequential_nats(network, piece) for piece in opened]))


def test_slice_that_starts_within_a_document() -> None:
    network, ids = small_network(), random_ids(40)
    slice_ = EncodedText(ids, np.array([0, 12, 30]), opening=3)[7:]
    whole = EncodedText(ids[7:], np.array([0, 5, 23]), opening=3)
    np.testing.assert_array_equal(score(network, slice_).nats, score(network, whole).nats)


def test_score_of_known_nats() -> None:
    result = Score(np.array([math.log(2), math.log(8)]))
    assert result.mean == pytest.approx(math.log(4))
    assert result.bits_per_character == pytest.approx(2)
    assert result.perplexity == pytest.approx(4)
    assert len(result) == 2
    assert repr(result) == "Score(2.0000 bits per character, 1.3863 nats, perplexity 4, 2 characters)"


def test_mean_of_many_characters() -> None:
    result = score(small_network(), EncodedText(random_ids(301)))
    assert len(result) == 300
    assert result.mean == pytest.approx(math.fsum(result.nats.tolist()) / 300, abs=1e-12)


def test_scoring_preserves_training_mode() -> None:
    network = small_network(dropout=0.5).train()
    result = score(network, EncodedText(random_ids(50)))
    assert network.training
    assert np.array_equal(result.nats, score(network.eval(), EncodedText(random_ids(50))).nats)


def test_one_character_is_too_short() -> None:
    with pytest.raises(CharrnnError, match="too short to score"):
        score(small_network(), EncodedText(random_ids(1)))


@pytest.mark.parametrize("starts", [[], [0, 40, 90]], ids=["stream", "documents"])
def test_scoring_can_be_stopped(starts: list[int]) -> None:
    """`should_stop` is called before each chunk or batch."""
    calls = []

    def should_stop() -> bool:
        calls.append(1)
        return len(calls) == 2

    text = EncodedText(random_ids(130), np.array(starts, np.int64))
    limits = Limits(chunk=10, documents=1)
    with pytest.raises(ScoringStopped):
        score(small_network(), text, limits=limits, should_stop=should_stop)
    assert len(calls) == 2


@pytest.mark.parametrize("starts", [[], [0, 5, 300, 301, 5000]])
def test_progress_rises_to_one(starts: list[int]) -> None:
    text = EncodedText(random_ids(9000), np.array(starts, np.int64))
    fractions: list[float] = []
    score(small_network(), text, progress=fractions.append)
    assert len(fractions) > 3
    assert fractions == sorted(fractions)
    assert 0 < fractions[0] < 0.6
    assert fractions[-1] == pytest.approx(1.0)
