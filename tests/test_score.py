"""charrnn.scoring.score"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from charrnn.scoring import score as score_module
from charrnn.scoring.score import score
from charrnn.settings import RECURRENCE_NAMES
from charrnn.text.encoded_text import EncodedText
from tests.conftest import small_network


def one_long_reading(network, ids: np.ndarray) -> torch.Tensor:
    """−ln p of each character after the first, by one pass of one stream."""
    tensor = torch.from_numpy(ids.astype(np.int64))
    with torch.no_grad():
        logits, _ = network(tensor[None, :-1], network.initial_state(1))
    return cross_entropy(logits[0], tensor[1:], reduction="none")


def random_ids(length: int) -> np.ndarray:
    return np.random.default_rng(length).integers(0, 11, length).astype(np.uint8)


@pytest.mark.parametrize("recurrence", RECURRENCE_NAMES)
@settings(deadline=None, derandomize=True, max_examples=25)
@given(length=st.integers(2, 700), segments=st.integers(1, 9), chunk=st.integers(1, 90))
def test_the_cost_does_not_depend_on_how_the_text_is_cut(
    recurrence: str, length: int, segments: int, chunk: int
) -> None:
    network, ids = small_network(recurrence), random_ids(length)
    result = score(network, EncodedText(ids), segments=segments, chunk=chunk)
    torch.testing.assert_close(result.nats, one_long_reading(network, ids), rtol=0, atol=1e-9)


def test_a_network_that_never_forgets_is_read_to_the_end() -> None:
    """Forget gates of 1 and no input gate that closes: each segment's beginning matters down to its last character."""
    network = small_network("lstm", layers=1)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "bias" in name and "l0" in name:
                parameter[7:14] = 50.0
    ids = random_ids(500)
    result = score(network, EncodedText(ids), segments=8, chunk=16)
    torch.testing.assert_close(result.nats, one_long_reading(network, ids), rtol=0, atol=1e-9)


def test_the_mean_is_summed_nats_over_counted_characters() -> None:
    network, ids = small_network(), random_ids(301)
    result = score(network, EncodedText(ids))
    assert len(result.nats) == 300
    assert result.mean == pytest.approx(math.fsum(result.nats.tolist()) / 300, abs=1e-12)


def test_scoring_leaves_the_network_in_the_mode_it_was_in() -> None:
    network = small_network(dropout=0.5).train()
    result = score(network, EncodedText(random_ids(50)))
    assert network.training
    assert torch.equal(result.nats, score(network.eval(), EncodedText(random_ids(50))).nats)


def test_one_character_cannot_be_scored() -> None:
    with pytest.raises(ValueError):
        score(small_network(), EncodedText(random_ids(1)))


@settings(deadline=None, derandomize=True, max_examples=20)
@given(length=st.integers(2, 400), segments=st.integers(1, 9), part=st.integers(1, 200))
def test_a_long_text_is_scored_part_by_part_with_the_state_carried(length: int, segments: int, part: int) -> None:
    network, ids = small_network(), random_ids(length)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(score_module, "PART", part)
        result = score(network, EncodedText(ids), segments=segments, chunk=16)
    torch.testing.assert_close(result.nats, one_long_reading(network, ids), rtol=0, atol=1e-9)


@pytest.mark.parametrize("recurrence", RECURRENCE_NAMES)
@settings(deadline=None, derandomize=True, max_examples=20)
@given(lengths=st.lists(st.integers(1, 60), min_size=1, max_size=30), longest_row=st.integers(1, 80))
def test_documents_cost_what_each_costs_alone_after_the_opening_character(
    recurrence: str, lengths: list[int], longest_row: int
) -> None:
    network, ids = small_network(recurrence), random_ids(sum(lengths))
    starts = np.cumsum([0, *lengths[:-1]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(score_module, "LONGEST_ROW", longest_row)
        patch.setattr(score_module, "DOCUMENTS_AT_ONCE", 5)
        patch.setattr(score_module, "CHARACTERS_AT_ONCE", 40)
        result = score(network, EncodedText(ids, starts, opening=4))
    opened = [np.concatenate([[4], piece]) for piece in np.split(ids, starts[1:])]
    alone = torch.cat([one_long_reading(network, piece) for piece in opened])
    torch.testing.assert_close(result.nats, alone, rtol=0, atol=1e-9)
