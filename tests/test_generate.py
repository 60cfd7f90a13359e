"""Texts drawn from a network: the right odds, the same again from the same seed, and an end when it is time."""

from __future__ import annotations

import gc
import itertools
import math
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from charrnn.errors import CharrnnError
from charrnn.model.network import CharRNN
from charrnn.sampling import generate as generate_module
from charrnn.sampling.filters import apply_filters
from charrnn.sampling.generate import STOPPED, generate
from charrnn.sampling.settings import SampleSettings
from charrnn.settings import RECURRENCE_NAMES, ModelSettings
from charrnn.text.vocabulary import Vocabulary
from tests.conftest import contracted, small_network

ELEVEN = Vocabulary.of("\nabcdefghij")
ONE_IN_A_MILLION = {4: 33.4, 7: 40.5, 8: 42.7}  # chi-square quantiles by degrees of freedom


def texts(network: CharRNN, prime: str = "", vocabulary: Vocabulary = ELEVEN, **settings: object) -> list[str]:
    """What each stream writes."""
    chosen = SampleSettings(**{"seed": 1, "length": 60, "temperature": 1.0} | settings)
    drawn = np.stack(
        [
            np.empty(chosen.num, np.int64),
            *generate(network, chosen, vocabulary.encode(prime), vocabulary=vocabulary),
        ]
    )[1:]
    return [vocabulary.text(column[column != STOPPED]) for column in drawn.T]


def network_that_always_predicts(logits: list[float]) -> CharRNN:
    network = small_network(vocabulary_size=len(logits))
    with torch.no_grad():
        network.output.weight.zero_()
        network.output.bias.copy_(torch.tensor(logits))
    return network


def network_that_counts(vocabulary_size: int) -> CharRNN:
    """After character i it is sure of i + 1, round and round."""
    network = CharRNN(
        ModelSettings(recurrence="rnn", hidden_size=vocabulary_size, embedding_size=vocabulary_size), vocabulary_size
    ).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.embedding.weight.copy_(torch.eye(vocabulary_size))
        network.recurrences[0].weight_ih_l0.copy_(10 * torch.eye(vocabulary_size))
        network.output.weight.copy_(100 * torch.eye(vocabulary_size).roll(1, dims=0))
    return network


def lively_network(recurrence: str = "lstm", **details: object) -> CharRNN:
    """A small network that is sure enough of what it predicts for its state to show in what is drawn."""
    network = small_network(recurrence, **details)
    with torch.no_grad():
        network.output.weight *= 10
    return contracted(network)


@pytest.mark.parametrize("recurrence", RECURRENCE_NAMES)
def test_a_seed_gives_the_same_texts_again_and_another_seed_others(recurrence: str) -> None:
    network = lively_network(recurrence)
    assert texts(network, num=3) == texts(network, num=3)
    assert texts(network, num=3) != texts(network, num=3, seed=2)
    assert len({*texts(network, num=3), *texts(network, num=3, seed=2)}) == 6


def test_without_a_seed_each_call_differs() -> None:
    network = lively_network()  # 60 characters of 11 alike by chance: below one in 10^30
    assert texts(network, seed=None) != texts(network, seed=None)


@pytest.mark.parametrize("recurrence", RECURRENCE_NAMES)
def test_a_stream_writes_the_same_whatever_is_written_beside_it(recurrence: str) -> None:
    network = lively_network(recurrence)
    many = texts(network, "abc", num=9, length=100)
    for streams in (1, 2, 4):
        assert texts(network, "abc", num=streams, length=100) == many[:streams]


def test_how_noise_is_drawn_in_blocks_shows_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    network = lively_network()
    expected = texts(network, num=2)
    for name, size in (("NOISE_CHARACTERS", 7), ("NOISE_NUMBERS", 100), ("NOISE_NUMBERS", 1)):
        monkeypatch.setattr(generate_module, name, size)
        assert texts(network, num=2) == expected
    assert texts(network, num=2, length=37) == [text[:37] for text in expected]


def test_yields_one_array_of_ids_for_each_character() -> None:
    drawn = list(generate(lively_network(), SampleSettings(length=5, num=3, seed=1), vocabulary=ELEVEN))
    assert [(ids.shape, ids.dtype) for ids in drawn] == [((3,), np.dtype(np.int64))] * 5
    assert list(generate(lively_network(), SampleSettings(length=0), vocabulary=ELEVEN)) == []


def test_writing_over_a_yielded_array_changes_nothing() -> None:
    network, chosen = lively_network(), SampleSettings(length=30, num=2, seed=4)
    overwritten = []
    for ids in generate(network, chosen, vocabulary=ELEVEN):
        overwritten.append(ids.tolist())
        ids[:] = 0
    assert overwritten == [ids.tolist() for ids in generate(network, chosen, vocabulary=ELEVEN)]


# --- the odds


@pytest.mark.parametrize(
    "chosen",
    [
        SampleSettings(temperature=1.0),
        SampleSettings(temperature=0.5),
        SampleSettings(temperature=1.5, top_k=5),
        SampleSettings(temperature=1.0, top_p=0.9),
        SampleSettings(temperature=2.0, min_p=0.04),
    ],
    ids=["as it is", "cooler", "top-k", "nucleus", "min-p"],
)
def test_characters_are_drawn_with_the_probability_of_the_softmax(chosen: SampleSettings) -> None:
    """Chi-square against the exact probabilities of 12,000 draws. The seed is fixed; of other seeds one in a million
    would fail by chance."""
    logits = [0.0, -1.0, 2.0, 0.5, -3.0, 1.0, 1.5, -0.5]
    network = network_that_always_predicts(logits)
    exact = torch.softmax(apply_filters(torch.tensor([logits], dtype=torch.float64), chosen), -1)[0].numpy()
    chosen = chosen.changed(seed=11, num=20, length=600)
    drawn = np.concatenate(list(generate(network, chosen, vocabulary=Vocabulary.of("abcdefgh"))))
    counts = np.bincount(drawn, minlength=8)
    assert counts[exact == 0].sum() == 0
    possible = exact > 0
    expected = exact[possible] * len(drawn)
    chi_square = float(((counts[possible] - expected) ** 2 / expected).sum())
    assert chi_square < ONE_IN_A_MILLION.get(int(possible.sum()) - 1, 40.5)


def test_draws_that_follow_one_another_and_draws_side_by_side_are_independent() -> None:
    """Chi-square of pairs of three equally likely characters; of other seeds one in a million would fail by chance."""
    network = network_that_always_predicts([0.0, 0.0, 0.0])
    chosen = SampleSettings(temperature=1.0, seed=3, num=4, length=4000)
    drawn = np.stack(list(generate(network, chosen, vocabulary=Vocabulary.of("abc"))))
    pairs = {
        "one after the other": 3 * drawn[:-1:2, 0] + drawn[1::2, 0],
        "side by side": 3 * drawn[:, 0] + drawn[:, 1],
        "neighboring streams, a character apart": 3 * drawn[:-1, 2] + drawn[1:, 3],
    }
    for name, pair in pairs.items():
        expected = len(pair) / 9
        assert ((np.bincount(pair, minlength=9) - expected) ** 2 / expected).sum() < ONE_IN_A_MILLION[8], name


def test_draws_of_neighboring_seeds_are_independent() -> None:
    network = network_that_always_predicts([0.0, 0.0, 0.0])
    vocabulary = Vocabulary.of("abc")
    one, two = ("".join(texts(network, vocabulary=vocabulary, seed=seed, length=4000)) for seed in (7, 8))
    counts = np.bincount([3 * "abc".index(a) + "abc".index(b) for a, b in zip(one, two, strict=True)], minlength=9)
    assert ((counts - 4000 / 9) ** 2 / (4000 / 9)).sum() < ONE_IN_A_MILLION[8]


def test_noise_is_finite_even_where_the_source_gives_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    class Zeros:
        def standard_exponential(self, shape: tuple[int, ...]) -> np.ndarray:
            return np.zeros(shape)

    monkeypatch.setattr(np.random, "default_rng", lambda _: Zeros())
    network = network_that_always_predicts([0.0, 5.0, 4.0])
    drawn = texts(network, vocabulary=Vocabulary.of("abc"), top_k=1, length=3)
    assert drawn == ["bbb"]


@pytest.mark.parametrize("settings", [{"greedy": True}, {"top_k": 1}, {"top_p": 1e-9}, {"min_p": 1.0}], ids=str)
def test_greedy_and_the_narrowest_filters_take_the_likeliest_each_time(settings: dict[str, object]) -> None:
    network = network_that_counts(11)
    assert texts(network, "a", length=12, **settings) == ["bcdefghij\nab"]


def test_greedy_follows_the_likeliest_of_the_network_itself() -> None:
    network = lively_network("gru")
    text = texts(network, "a", greedy=True, length=20)[0]
    ids = torch.from_numpy(ELEVEN.encode("a" + text).astype(np.int64)).unsqueeze(0)
    logits, _ = network(ids[:, :-1], network.initial_state(1))
    assert torch.equal(logits.argmax(-1), ids[:, 1:])


# --- what comes before


@pytest.mark.parametrize("recurrence", RECURRENCE_NAMES)
def test_a_long_prime_is_read_in_chunks_as_in_one(recurrence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network, prime = lively_network(recurrence), "abcdefghij\n" * 9
    whole = texts(network, prime, num=2)
    assert whole != texts(network, "a", num=2)
    for size in (1, 7, 98):
        monkeypatch.setattr(generate_module, "PRIME_CHUNK", size)
        assert texts(network, prime, num=2) == whole


@given(st.text("abcdefghij\n", min_size=1, max_size=12), st.sampled_from(RECURRENCE_NAMES))
@hypothesis_settings(deadline=None, derandomize=True, max_examples=15)
def test_going_on_from_a_text_is_writing_the_rest_of_it(prime: str, recurrence: str) -> None:
    """The likeliest text from a prime is the likeliest text from the prime and its own first characters."""
    network = lively_network(recurrence)
    (text,) = texts(network, prime, greedy=True, length=12)
    assert texts(network, prime + text[:5], greedy=True, length=7) == [text[5:]]


def test_without_a_prime_a_line_begins() -> None:
    network = lively_network()
    assert texts(network, "") == texts(network, "\n")
    without_newline = Vocabulary.of("abcdefghijk")
    assert texts(network, "", without_newline) == texts(network, "a", without_newline)
    in_bytes = lively_network(vocabulary_size=256)
    assert texts(in_bytes, "", Vocabulary.of_bytes()) == texts(in_bytes, "\n", Vocabulary.of_bytes())


def test_a_state_can_be_handed_in_for_all_streams_or_for_each() -> None:
    network, chosen = lively_network(), SampleSettings(length=30, num=2, seed=1)
    ids = ELEVEN.encode("abc")
    whole = [x.tolist() for x in generate(network, chosen, ids, vocabulary=ELEVEN)]
    _, state = network(torch.tensor([[1]]), network.initial_state(1))
    assert whole == [x.tolist() for x in generate(network, chosen, ids[1:], vocabulary=ELEVEN, state=state)]
    other = network.initial_state(1)
    of_each = tuple(
        tuple(torch.cat(parts) for parts in zip(*layers, strict=True)) for layers in zip(state, other, strict=True)
    )
    beside = np.stack(list(generate(network, chosen, ids[1:], vocabulary=ELEVEN, state=of_each)))
    assert beside[:, 0].tolist() == [x[0] for x in whole]
    assert beside[:, 1].tolist() != [x[1] for x in whole]


# --- the end


@given(st.integers(0, 40), st.integers(1, 3), st.integers(1, 4))
@hypothesis_settings(deadline=None, derandomize=True, max_examples=40)
def test_a_text_ends_with_the_first_stop_text_it_writes(start: int, length: int, streams: int) -> None:
    network = network_that_always_predicts([0.0, 0.3, 0.6])  # few characters: stop texts that overlap themselves
    vocabulary = Vocabulary.of("abc")
    whole = texts(network, vocabulary=vocabulary, num=streams)
    stop = whole[0][start : start + length]
    cut = [text[: text.find(stop) + len(stop)] if stop in text else text for text in whole]
    assert texts(network, vocabulary=vocabulary, num=streams, stop=stop) == cut


def test_a_stopped_stream_yields_minus_one_while_others_write_on_and_all_stopped_is_the_end() -> None:
    network = network_that_always_predicts([0.0, 0.0])
    drawn = np.stack(
        list(generate(network, SampleSettings(num=5, seed=2, stop="bb", length=500), vocabulary=Vocabulary.of("ab")))
    )
    lengths = (drawn != STOPPED).sum(axis=0)
    assert len(drawn) == max(lengths) < 500
    assert len(set(lengths)) > 1
    for stream, length in enumerate(lengths):
        assert drawn[length - 2 : length, stream].tolist() == [1, 1]
        assert (drawn[length:, stream] == STOPPED).all()


def test_the_stop_text_is_not_looked_for_in_the_prime() -> None:
    network = network_that_counts(11)
    assert texts(network, "abc", greedy=True, stop="cd") == ["defghij\nabcd"]
    assert texts(network, "abc", greedy=True, stop="abc") == ["defghij\nabc"]


@pytest.mark.parametrize("stop", ["", "ab!"])
def test_a_stop_text_that_can_never_be_written_is_refused_before_anything_is_drawn(stop: str) -> None:
    with pytest.raises(CharrnnError, match="stop text"):
        generate(lively_network(), SampleSettings(stop=stop), vocabulary=ELEVEN)


# --- what it leaves alone


def test_writing_five_thousand_characters_leaves_no_more_in_memory_than_writing_five_hundred() -> None:
    drawn = generate(
        lively_network(),
        SampleSettings(length=10**9, num=2, seed=1, stop="zzzzzzzz", top_p=0.9),
        vocabulary=Vocabulary.of("\nabcdefghiz"),
    )
    held = []
    for characters in (512, 5120):  # whole blocks of noise
        assert sum(1 for _ in itertools.islice(drawn, characters)) == characters
        gc.collect()
        tensors = sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())
        held.append((tensors, sys.getallocatedblocks()))
    assert held[1][0] <= held[0][0]
    assert held[1][1] <= held[0][1] + 500


def test_a_network_in_training_writes_without_dropout_and_goes_on_in_training() -> None:
    network = lively_network(dropout=0.5)
    expected = texts(network, "abcdef")
    network.train()
    assert texts(network, "abcdef") == expected
    assert network.training


def test_the_weights_are_those_of_the_moment_of_the_call() -> None:
    network, chosen = lively_network(), SampleSettings(length=20, seed=1)
    expected = [ids.tolist() for ids in generate(network, chosen, vocabulary=ELEVEN)]
    drawn = generate(network, chosen, vocabulary=ELEVEN)
    with torch.no_grad():
        network.output.bias += torch.arange(11.0)
    assert [ids.tolist() for ids in drawn] == expected


def test_the_number_of_threads_is_left_as_it_was() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        for _ in generate(lively_network(), SampleSettings(seed=1, length=3), vocabulary=ELEVEN):
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_between_two_characters_gradients_can_be_taken() -> None:
    network = lively_network()
    for _ in itertools.islice(generate(network, SampleSettings(seed=1), vocabulary=ELEVEN), 2):
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
        logits, _ = network(torch.zeros(1, 3, dtype=torch.int64), network.initial_state(1))
        logits.sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_likelihoods_of_its_own_texts_average_to_the_entropy_of_the_network() -> None:
    """20,000 draws from fixed odds: five standard errors, which one seed in a million would exceed."""
    logits = torch.tensor([0.0, 1.0, 2.0, -1.0], dtype=torch.float64)
    nats = -torch.log_softmax(logits, -1)
    drawn = np.concatenate(
        list(
            generate(
                network_that_always_predicts(logits.tolist()),
                SampleSettings(temperature=1.0, seed=5, num=100, length=200),
                vocabulary=Vocabulary.of("abcd"),
            )
        )
    )
    entropy = float((nats.exp().reciprocal() * nats).sum())
    spread = math.sqrt(float((nats.exp().reciprocal() * (nats - entropy) ** 2).sum()) / len(drawn))
    assert abs(float(nats[torch.from_numpy(drawn)].mean()) - entropy) < 5 * spread
