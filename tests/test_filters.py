"""Sampling filters: each against a reference in plain Python, all together, and one registered from outside."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from charrnn.errors import UsageError
from charrnn.sampling.filters import (
    min_p,
    temperature,
    top_k,
    top_p,
)
from charrnn.sampling.generate import generate
from charrnn.sampling.registry import EXCLUDED, FILTERS, FilterChain, SampleContext, filter_settings, register
from charrnn.sampling.settings import SampleSettings
from charrnn.text.vocabulary import Vocabulary
from tests.conftest import small_network

tied_logits = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=12)
free_logits = st.lists(st.floats(-20, 20), min_size=1, max_size=12)
LETTERS = "abcdefghijklmnop"
any_logits = tied_logits | free_logits


def row(logits: list[float]) -> torch.Tensor:
    return torch.tensor([logits], dtype=torch.float64)


def kept(logits: torch.Tensor) -> list[int]:
    assert not logits.isnan().any()
    return (logits[0] > -math.inf).nonzero().flatten().tolist()


def apply_filters(logits: torch.Tensor, chosen: SampleSettings, prime: str = "") -> torch.Tensor:
    """Apply the filters of the settings to logits (N, V) of the first V letters, after a prime."""
    vocabulary = Vocabulary.of(LETTERS[: logits.shape[-1]])
    ids = np.broadcast_to(vocabulary.encode(prime), (len(logits), len(prime)))
    return FilterChain(SampleContext(chosen, vocabulary, ids, logits.device))(logits)


def filtered(logits: list[float], **settings: float) -> torch.Tensor:
    return apply_filters(row(logits), SampleSettings(**{"temperature": 1.0} | settings))


def by_likelihood(logits: list[float]) -> list[int]:
    return sorted(range(len(logits)), key=lambda i: (-logits[i], i))


def probabilities(logits: list[float]) -> list[float]:
    weights = [math.exp(x - max(logits)) for x in logits]
    return [w / math.fsum(weights) for w in weights]


@given(any_logits, st.integers(0, 14))
def test_top_k(logits: list[float], k: int) -> None:
    """Exactly k characters stay; ties go to the lower id."""
    expected = by_likelihood(logits)[: k or len(logits)]
    assert kept(filtered(logits, top_k=k)) == sorted(expected)


def test_ties_in_a_large_vocabulary() -> None:
    equal = torch.zeros(2, 5000)
    assert kept(top_k(equal, 3)) == [0, 1, 2]
    assert kept(top_p(equal, 2.5 / 5000)) == [0, 1, 2]


@given(any_logits, st.floats(0.001, 1))
def test_top_p(logits: list[float], p: float) -> None:
    """The fewest most likely characters that reach p stay."""
    chances = probabilities(logits)
    expected: list[int] = []
    reached = 0.0
    for i in by_likelihood(logits):
        assume(abs(reached - p) > 1e-9 or p == 1)  # else rounding decides
        if reached >= p and p < 1:
            break
        expected.append(i)
        reached = math.fsum([reached, chances[i]])
    assert kept(filtered(logits, top_p=p)) == sorted(expected)


def test_top_p_reached_exactly() -> None:
    assert kept(top_p(row([0.0, 0.0, 0.0, 0.0]), 0.5)) == [0, 1]
    assert kept(top_p(row([0.0, 0.0, 0.0, 0.0]), 0.5000001)) == [0, 1, 2]


@given(any_logits, st.floats(0, 1))
def test_min_p(logits: list[float], fraction: float) -> None:
    ratios = [math.exp(x - max(logits)) for x in logits]
    assume(all(abs(ratio - fraction) > 1e-9 * fraction or ratio == 1 for ratio in ratios))
    assert kept(filtered(logits, min_p=fraction)) == [i for i, ratio in enumerate(ratios) if ratio >= fraction]


def test_temperature() -> None:
    assert temperature(row([1.0, 2.0]), 0.5).tolist() == [[2.0, 4.0]]


@given(any_logits)
def test_filters_at_their_off_value_change_nothing(logits: list[float]) -> None:
    off = SampleSettings(**{one.name: one.off for one in filter_settings() if one.off is not None})
    given_logits = row(logits)
    assert apply_filters(given_logits, off) is given_logits


def test_only_temperature_is_on_by_default() -> None:
    assert [one.name for one in filter_settings() if one.turns_on(SampleSettings())] == ["temperature"]


any_settings = st.builds(
    SampleSettings,
    temperature=st.floats(0.01, 100),
    top_k=st.integers(0, 14),
    top_p=st.floats(0.001, 1),
    min_p=st.floats(0, 1),
)


@given(any_logits, any_settings)
def test_filters_apply_in_order(logits: list[float], chosen: SampleSettings) -> None:
    """Top-k, top-p, min-p, temperature; the most likely character always stays."""
    expected = row(logits)
    if chosen.top_k:
        expected = top_k(expected, chosen.top_k)
    if chosen.top_p < 1:
        expected = top_p(expected, chosen.top_p)
    if chosen.min_p:
        expected = min_p(expected, chosen.min_p)
    expected = temperature(expected, chosen.temperature)
    result = apply_filters(row(logits), chosen)
    assert torch.equal(result, expected)
    assert by_likelihood(logits)[0] in kept(result)
    assert int(result.argmax()) == by_likelihood(logits)[0]


@given(any_logits, any_settings, st.floats(0.01, 100))
def test_temperature_excludes_nothing(logits: list[float], chosen: SampleSettings, degree: float) -> None:
    other = chosen.changed(temperature=degree)
    assert kept(apply_filters(row(logits), chosen)) == kept(apply_filters(row(logits), other))


@given(st.lists(st.lists(st.floats(-20, 20), min_size=5, max_size=5), min_size=1, max_size=4), any_settings)
def test_streams_are_filtered_independently(rows: list[list[float]], chosen: SampleSettings) -> None:
    together = apply_filters(torch.tensor(rows, dtype=torch.float64), chosen)
    for place, logits in enumerate(rows):
        assert kept(together[place : place + 1]) == kept(apply_filters(row(logits), chosen))


def test_top_p_uses_the_probabilities_after_top_k() -> None:
    logits = [math.log(x) for x in (0.4, 0.3, 0.2, 0.1)]
    assert kept(filtered(logits, top_p=0.65)) == [0, 1]
    assert kept(filtered(logits, top_k=2, top_p=0.55)) == [0]  # 0.4 of 0.7 is 0.571


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_filters_keep_shape_and_dtype(dtype: torch.dtype) -> None:
    logits = torch.randn(3, 7, generator=torch.Generator().manual_seed(0)).to(dtype)
    result = apply_filters(logits, SampleSettings(top_k=5, top_p=0.9, min_p=0.01, temperature=0.7))
    assert result.shape == logits.shape
    assert result.dtype == dtype


def register_locally_typical() -> None:
    """Register locally typical sampling (Meister et al. 2023, arXiv 2202.00666), as a user's own file would."""

    @register(1.0, off=1.0, help="Sample from the most typical characters of this mass.", above=0, at_most=1)
    def locally_typical(logits: torch.Tensor, mass: float) -> torch.Tensor:
        log_p = logits.log_softmax(-1)
        entropy = -(log_p.exp() * log_p).nan_to_num().sum(-1, keepdim=True)
        order = (log_p + entropy).abs().sort(dim=-1, stable=True).indices
        p = log_p.exp().gather(-1, order)
        excluded = p.cumsum(-1) - p >= mass
        return logits.masked_fill(excluded.scatter(-1, order, excluded), EXCLUDED)


@pytest.fixture
def locally_typical() -> Iterator[None]:
    register_locally_typical()
    yield
    del FILTERS["locally_typical"]


@pytest.mark.usefixtures("locally_typical")
def test_a_new_filter_is_a_setting() -> None:
    assert SampleSettings(locally_typical=0.9, top_k=5).locally_typical == 0.9
    assert SampleSettings().locally_typical == 1.0
    with pytest.raises(UsageError, match="`locally_typical` must be above 0 and at most 1, not 2"):
        SampleSettings(locally_typical=2)


@pytest.mark.usefixtures("locally_typical")
def test_a_new_filter_applies_before_temperature() -> None:
    """Temperature would change the entropy, and with it what is typical."""
    logits = [0.0, 2.0, 3.0, 0.5]
    expected = kept(FILTERS["locally_typical"].function(row(logits), 0.6))
    assert expected != kept(FILTERS["locally_typical"].function(row(logits) / 9, 0.6))
    assert kept(filtered(logits, locally_typical=0.6, temperature=9)) == expected


@pytest.mark.usefixtures("locally_typical")
def test_a_new_filter_shapes_generated_text() -> None:
    vocabulary = Vocabulary.of("abcd")
    network = small_network(vocabulary_size=4)
    with torch.no_grad():
        network.output.weight.zero_()
        network.output.bias.copy_(torch.tensor([0.0, 2.0, 3.0, 0.5]))
    settings = SampleSettings(length=300, locally_typical=0.6, seed=1)
    drawn = {int(ids[0]) for ids in generate(network, settings, vocabulary=vocabulary)}
    assert drawn == {2}


def test_a_setting_of_no_filter_is_refused() -> None:
    with pytest.raises(TypeError, match="locally_typical"):
        SampleSettings(locally_typical=0.9)
