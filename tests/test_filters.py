"""Each filter against a reference that sorts and adds in plain Python, with ties; then all of them together."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from charrnn.sampling.filters import FILTERS, filtered, min_p, temperature, top_k, top_p
from charrnn.settings import SampleSettings

tied_logits = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=12)
free_logits = st.lists(st.floats(-20, 20), min_size=1, max_size=12)
any_logits = tied_logits | free_logits
checked = settings(deadline=None, derandomize=True, max_examples=150)


def row(logits: list[float]) -> torch.Tensor:
    return torch.tensor([logits], dtype=torch.float64)


def kept(logits: torch.Tensor) -> list[int]:
    assert not logits.isnan().any()
    return (logits[0] > -math.inf).nonzero().flatten().tolist()


def by_likelihood(logits: list[float]) -> list[int]:
    return sorted(range(len(logits)), key=lambda i: (-logits[i], i))


def probabilities(logits: list[float]) -> list[float]:
    weights = [math.exp(x - max(logits)) for x in logits]
    return [w / math.fsum(weights) for w in weights]


@checked
@given(any_logits, st.integers(0, 14))
def test_top_k_keeps_exactly_k_and_of_equals_the_lower_id(logits: list[float], k: int) -> None:
    expected = by_likelihood(logits)[: k or len(logits)]
    assert kept(top_k(row(logits), k)) == sorted(expected)


def test_of_a_large_vocabulary_of_equals_the_lowest_ids_are_kept() -> None:
    equal = torch.zeros(2, 5000)
    assert kept(top_k(equal, 3)) == [0, 1, 2]
    assert kept(top_p(equal, 2.5 / 5000)) == [0, 1, 2]


@checked
@given(any_logits, st.floats(0.001, 1))
def test_top_p_keeps_the_smallest_set_of_the_likeliest_that_reaches_p(logits: list[float], p: float) -> None:
    chances = probabilities(logits)
    expected: list[int] = []
    reached = 0.0
    for i in by_likelihood(logits):
        assume(abs(reached - p) > 1e-9 or p == 1)  # else rounding decides
        if reached >= p and p < 1:
            break
        expected.append(i)
        reached = math.fsum([reached, chances[i]])
    assert kept(top_p(row(logits), p)) == sorted(expected)


def test_top_p_stops_where_the_set_reaches_p_exactly() -> None:
    assert kept(top_p(row([0.0, 0.0, 0.0, 0.0]), 0.5)) == [0, 1]
    assert kept(top_p(row([0.0, 0.0, 0.0, 0.0]), 0.5000001)) == [0, 1, 2]


@checked
@given(any_logits, st.floats(0, 1))
def test_min_p_keeps_what_is_likely_enough_beside_the_likeliest(logits: list[float], share: float) -> None:
    ratios = [math.exp(x - max(logits)) for x in logits]
    assume(all(abs(ratio - share) > 1e-9 * share or ratio == 1 for ratio in ratios))
    assert kept(min_p(row(logits), share)) == [i for i, ratio in enumerate(ratios) if ratio >= share]


@checked
@given(any_logits)
def test_at_its_neutral_value_a_filter_changes_nothing(logits: list[float]) -> None:
    given_logits = row(logits)
    for name, neutral in {"top_k": 0, "top_p": 1.0, "min_p": 0.0, "temperature": 1.0}.items():
        assert FILTERS[name](given_logits, neutral) is given_logits
    assert top_k(given_logits, len(logits)) is given_logits


any_settings = st.builds(
    SampleSettings,
    temperature=st.floats(0.01, 100),
    top_k=st.integers(0, 14),
    top_p=st.floats(0.001, 1),
    min_p=st.floats(0, 1),
)


@checked
@given(any_logits, any_settings)
def test_together_they_are_each_in_turn_and_always_leave_the_likeliest(
    logits: list[float], chosen: SampleSettings
) -> None:
    in_turn = top_k(row(logits), chosen.top_k)
    in_turn = top_p(in_turn, chosen.top_p)
    in_turn = min_p(in_turn, chosen.min_p)
    in_turn = temperature(in_turn, chosen.temperature)
    result = filtered(row(logits), chosen)
    assert torch.equal(result, in_turn)
    assert by_likelihood(logits)[0] in kept(result)
    assert int(result.argmax()) == by_likelihood(logits)[0]
    allowed = [kept(FILTERS[name](row(logits), getattr(chosen, name))) for name in ("top_k", "min_p")]
    assert all(set(kept(result)) <= set(ids) for ids in allowed)


@checked
@given(any_logits, any_settings, st.floats(0.01, 100))
def test_temperature_does_not_change_which_characters_may_be_drawn(
    logits: list[float], chosen: SampleSettings, degree: float
) -> None:
    other = chosen.changed(temperature=degree)
    assert kept(filtered(row(logits), chosen)) == kept(filtered(row(logits), other))


@checked
@given(st.lists(st.lists(st.floats(-20, 20), min_size=5, max_size=5), min_size=1, max_size=4), any_settings)
def test_streams_are_filtered_each_by_itself(rows: list[list[float]], chosen: SampleSettings) -> None:
    together = filtered(torch.tensor(rows, dtype=torch.float64), chosen)
    for place, logits in enumerate(rows):
        assert kept(together[place : place + 1]) == kept(filtered(row(logits), chosen))


def test_top_p_counts_the_probability_of_what_top_k_has_left() -> None:
    logits = row([math.log(x) for x in (0.4, 0.3, 0.2, 0.1)])
    assert kept(filtered(logits, SampleSettings(top_p=0.65))) == [0, 1]
    assert kept(filtered(logits, SampleSettings(top_k=2, top_p=0.55))) == [0]  # 0.4 of 0.7 is 0.571


def test_temperature_divides_the_logits() -> None:
    assert temperature(row([1.0, 2.0]), 0.5).tolist() == [[2.0, 4.0]]


def test_every_filter_is_an_option_that_is_off_unless_asked_for() -> None:
    untouched = row([3.0, 1.0, 2.0])
    defaults = SampleSettings()
    for name in FILTERS:
        if name != "temperature":
            assert FILTERS[name](untouched, getattr(defaults, name)) is untouched


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_filters_keep_shape_and_precision(dtype: torch.dtype) -> None:
    logits = torch.randn(3, 7, generator=torch.Generator().manual_seed(0)).to(dtype)
    result = filtered(logits, SampleSettings(top_k=5, top_p=0.9, min_p=0.01, temperature=0.7))
    assert result.shape == logits.shape
    assert result.dtype == dtype
