"""Cells held for a range of characters of a generated text, against a plain step loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from charrnn.causal.clamp import Clamp
from charrnn.causal.holds import Hold, parse_holds, schedule
from charrnn.errors import UsageError
from charrnn.inspection.trace import Cell
from charrnn.model.network import CharRNN
from charrnn.sampling.generate import generate, generate_states
from charrnn.sampling.noise import GumbelNoise
from charrnn.sampling.settings import SampleSettings
from charrnn.text.vocabulary import Vocabulary
from tests import textbook
from tests.test_trace import network_of

SEED, LENGTH = 5, 60


def vocabulary_of(network: CharRNN) -> Vocabulary:
    return Vocabulary.of([chr(ord("a") + one) for one in range(network.vocabulary_size)])


def generated(network: CharRNN, holds: list[Hold], prime: np.ndarray, num: int = 1) -> np.ndarray:
    """Return ids (num, T)."""
    edited, state, later = schedule(network, (), holds)
    settings = SampleSettings(length=LENGTH, seed=SEED, num=num, temperature=1.0)
    drawn = generate(edited, settings, prime, vocabulary=vocabulary_of(network), state=state, later=later)
    return np.stack(list(drawn), axis=1)


def plain_loop(network: CharRNN, holds: list[Hold], prime: np.ndarray) -> list[int]:
    """Generate one text with cells overwritten before and after each step of their ranges."""
    parts = tuple(network.recurrence.state_parts)
    state = [[part[0] for part in layer] for layer in network.initial_state(1)]

    def overwritten(values: torch.Tensor, depth: int, signal: str, character: int) -> torch.Tensor:
        values = values.clone()
        for one in holds:
            if one.cell.layer == depth + 1 and one.signal == signal and one.covers(character):
                values[one.cell.index] = one.value
        return values

    noise = GumbelNoise([np.random.default_rng((SEED, 0))], network.vocabulary_size, torch.device("cpu"))
    ids = prime.tolist()
    for place in range(len(prime) + LENGTH - 1):
        character = max(0, place - len(prime) + 2)  # the one that this step predicts; 0: one of the prime
        state = [
            [overwritten(part, depth, name, character) for name, part in zip(parts, layer, strict=True)]
            for depth, layer in enumerate(state)
        ]
        x = network.embedding.weight[ids[place]]
        for depth, layer in enumerate(network.recurrences):
            h, c = (*state[depth], torch.zeros(0))[:2]
            found = textbook.step(
                network.settings.recurrence,
                layer,
                x,
                h,
                c,
                lambda part, values, d=depth, t=character: overwritten(values, d, part, t),
            )
            state[depth] = [found[part] for part in parts]
            x = found["h"]
        if character:
            logits = network.output.weight @ x + network.output.bias
            ids.append(int((logits + noise.next(LENGTH)[0]).argmax()))
    return ids[len(prime) :]


@pytest.mark.parametrize(
    ("recurrence", "specs"),
    [
        ("lstm", ["2:3=1.7@10..30"]),
        ("lstm", ["1:3=-.6", "2:3.h=0.9@21..40"]),
        ("lstm", ["1:3.h=1@1..20", "1:3=-2@15.."]),
        ("gru", ["1:3=0.9@..25", "2:4=-1@10..50"]),
        ("rnn", ["1:3=0.9@10..30"]),
    ],
)
@torch.no_grad()
def test_ranges_equal_a_plain_loop(recurrence, specs):
    network = network_of(recurrence, dtype=torch.float64)
    prime = np.array([1, 2, 0, 3])
    holds = parse_holds(specs, network)
    expected = plain_loop(network, holds, prime)
    assert generated(network, holds, prime)[0].tolist() == expected
    assert expected != plain_loop(network, [], prime)


def test_stream_is_the_same_for_any_number_of_texts():
    network = network_of("lstm")
    holds, prime = parse_holds({"1:3": "2@10..30"}, network), np.array([1, 2])
    assert (generated(network, holds, prime, 3)[0] == generated(network, holds, prime)[0]).all()


def test_text_is_the_same_before_the_range():
    network, prime = network_of("lstm"), np.array([1, 2])
    held, free = (generated(network, parse_holds(one, network), prime)[0] for one in (["1:3=40@31.."], []))
    assert (held[:30] == free[:30]).all()
    assert (held != free).any()


def test_state_after_a_range_has_held_values():
    network = network_of("gru")
    edited, state, later = schedule(network, [Clamp(Cell(1, 2), 0.5)], parse_holds(["2:1=-1@3..4"], network))
    pairs = generate_states(
        edited, SampleSettings(length=6, seed=1), np.array([1]), vocabulary=vocabulary_of(network), state=state,
        later=later,
    )  # fmt: skip
    values = [(float(one[0][0][0, 2]), float(one[1][0][0, 1])) for _, one in pairs]
    assert all(first == 0.5 for first, _ in values)
    assert [second == -1 for _, second in values] == [False, True, True, False, False, False]


@pytest.mark.parametrize(
    "spec",
    ["1:3", "1:3=", "1:3=x", "1:3=nan", "1:3=inf", "1:3.h=1.5", "1:3.q=1", "1:3.forget=1", "9:1=0", "1:3=0@", "1:3=0@5",
     "1:3=0@9..3", "1:3=0@0..3", "1:3=outsid"],
)  # fmt: skip
def test_mistakes_are_usage_errors(spec):
    with pytest.raises(UsageError):
        parse_holds([spec], network_of("lstm"))


def test_c_of_a_gru_cannot_be_held():
    with pytest.raises(UsageError, match="no signal 'c'"):
        parse_holds(["1:3.c=0"], network_of("gru"))


def test_two_values_at_once_are_a_usage_error():
    network = network_of("lstm")
    with pytest.raises(UsageError, match="two values"):
        schedule(network, (), parse_holds(["1:3=0@1..9", "1:3=1@9..12"], network))
    schedule(network, (), parse_holds(["1:3=0@1..8", "1:3=1@9..12"], network))
