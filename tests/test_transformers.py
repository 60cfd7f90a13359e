"""Sampling filters against those of transformers. Skipped where it is not installed; nothing else needs it.

Its top-k and typical-p keep every character that ties with the last one, ours exactly as many as needed.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from charrnn.sampling.settings import SampleSettings
from tests.test_filters import LETTERS, any_logits, apply_filters, filtered, kept, row

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

NOTHING = torch.empty((1, 0), dtype=torch.int64)
fractions = st.floats(0.01, 0.99)


def is_clear(values: list[float], limit: float) -> bool:
    """Return whether no value is so near the limit that rounding decides."""
    return all(abs(one - limit) > 1e-9 for one in values)


def with_ties(chosen: list[int], keys: list[float]) -> list[int]:
    """Return the chosen indices and those whose key equals the largest key of a chosen one."""
    largest = max(keys[one] for one in chosen)
    return [number for number, key in enumerate(keys) if key <= largest]


def their(warper: object, logits: list[float]) -> list[int]:
    return kept(warper(NOTHING, row(logits)))


@given(any_logits, st.integers(1, 14))
def test_top_k(logits: list[float], k: int) -> None:
    ours = kept(filtered(logits, top_k=k))
    assert len(ours) == min(k, len(logits))
    assert their(transformers.TopKLogitsWarper(k), logits) == with_ties(ours, [-one for one in logits])


@given(any_logits, fractions)
def test_top_p(logits: list[float], p: float) -> None:
    """The same logits stay; which of equal ones is up to the sort."""
    ordered = row(logits).softmax(-1)[0].sort(descending=True).values
    assume(is_clear(ordered.cumsum(0).tolist(), p))
    ours, others = kept(filtered(logits, top_p=p)), their(transformers.TopPLogitsWarper(p), logits)
    assert sorted(logits[one] for one in ours) == sorted(logits[one] for one in others)
    if len(set(logits)) == len(logits):
        assert ours == others


@given(any_logits, fractions)
def test_min_p(logits: list[float], fraction: float) -> None:
    assume(is_clear([np.exp(one - max(logits)) for one in logits], fraction))
    assert kept(filtered(logits, min_p=fraction)) == their(transformers.MinPLogitsWarper(fraction), logits)


@given(any_logits, fractions)
def test_typical_p(logits: list[float], p: float) -> None:
    log_p = row(logits).log_softmax(-1)[0]
    keys = (log_p + (-log_p.exp() * log_p).sum()).abs()
    assume(is_clear(log_p.exp()[keys.argsort(stable=True)].cumsum(0).tolist(), p))
    gaps = [abs(a - b) for a in keys.tolist() for b in keys.tolist()]
    assume(all(gap > 1e-9 or gap == 0 for gap in gaps))  # else rounding decides
    ours = kept(filtered(logits, typical_p=p))
    assert their(transformers.TypicalLogitsWarper(p), logits) == with_ties(ours, keys.tolist())


@given(any_logits, st.data(), st.floats(0.5, 2))
def test_repetition_penalty(logits: list[float], data: st.DataObject, penalty: float) -> None:
    assume(penalty != 1)
    ids = data.draw(st.lists(st.integers(0, len(logits) - 1), min_size=1, max_size=20))
    chosen = SampleSettings(temperature=1.0, repeat_penalty=penalty, repeat_last_n=-1)
    ours = apply_filters(row(logits), chosen, "".join(LETTERS[one] for one in ids))
    theirs = transformers.RepetitionPenaltyLogitsProcessor(penalty)(torch.tensor([ids]), row(logits))
    assert ours[0].tolist() == pytest.approx(theirs[0].tolist(), rel=1e-6)


@given(st.lists(st.floats(-20, 20), min_size=1, max_size=12, unique=True), st.integers(1, 14), st.floats(0.05, 5))
def test_order(logits: list[float], k: int, degree: float) -> None:
    """Penalties, top-k, typical-p, top-p, min-p, and the temperature last."""
    chosen = SampleSettings(
        repeat_penalty=1.25, repeat_last_n=-1, top_k=k, typical_p=0.95, top_p=0.9, min_p=0.05, temperature=degree
    )
    expected = transformers.RepetitionPenaltyLogitsProcessor(1.25)(torch.tensor([[0, 0]]), row(logits))
    for warper in (
        transformers.TopKLogitsWarper(k),
        transformers.TypicalLogitsWarper(0.95),
        transformers.TopPLogitsWarper(0.9),
        transformers.MinPLogitsWarper(0.05),
        transformers.TemperatureLogitsWarper(degree),
    ):
        expected = warper(NOTHING, expected)
    result = apply_filters(row(logits), chosen, "aa")
    assert result[0].tolist() == pytest.approx(expected[0].tolist(), rel=1e-6)
