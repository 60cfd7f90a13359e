"""charrnn.sampling.generate and charrnn.sampling.noise"""

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
from charrnn.sampling.generate import STOPPED, generate, read_prime
from charrnn.sampling.noise import GumbelNoise
from charrnn.sampling.settings import SampleSettings
from charrnn.settings import RECURRENCE_NAMES, ModelSettings
from charrnn.text.vocabulary import Vocabulary
from tests.conftest import contracted, small_network
from tests.test_filters import apply_filters

ELEVEN = Vocabulary.of("\nabcdefghij")
ONE_IN_A_MILLION = {4: 33.4, 7: 40.5, 8: 42.7}  # chi-square quantiles by degrees of freedom


def texts(network: CharRNN, prime: str = "", vocabulary: Vocabulary = ELEVEN, **settings: object) -> list[str]:
    """Return the text of each stream."""
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
    """After character i the network is certain of i + 1, modulo the size."""
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
    """A small network so confident that its state shows in the draws."""
    network = small_network(recurrence, **details)
    with torch.no_grad():
        network.output.weight *= 10
    return contracted(network)


@pytest.mark.parametrize("recurrence", RECURRENCE_NAMES)
def test_seed_determines_the_texts(recurrence: str) -> None:
    network = lively_network(recurrence)
    assert texts(network, num=3) == texts(network, num=3)
    assert texts(network, num=3) != texts(network, num=3, seed=2)
    assert len({*texts(network, num=3), *texts(network, num=3, seed=2)}) == 6


def test_calls_without_a_seed_differ() -> None:
    network = lively_network()  # 60 characters of 11 alike by chance: below one in 10^30
    assert texts(network, seed=None) != texts(network, seed=None)


@pytest.mark.parametrize("recurrence", RECURRENCE_NAMES)
def test_streams_are_independent(recurrence: str) -> None:
    network = lively_network(recurrence)
    many = texts(network, "abc", num=9, length=100)
    for streams in (1, 2, 4):
        assert texts(network, "abc", num=streams, length=100) == many[:streams]


def gumbel_noise(length: int, **limits: int) -> torch.Tensor:
    generators = [np.random.default_rng((1, stream)) for stream in range(2)]
    noise = GumbelNoise(generators, 11, torch.device("cpu"), **limits)
    return torch.stack([noise.next(length - done) for done in range(length)])


@pytest.mark.parametrize("limits", [{"characters": 7}, {"numbers": 100}, {"numbers": 1}], ids=str)
def test_noise_does_not_depend_on_blocks(limits: dict[str, int]) -> None:
    assert torch.equal(gumbel_noise(60, **limits), gumbel_noise(60))


def test_longer_text_starts_with_the_shorter() -> None:
    network = lively_network()
    assert texts(network, num=2, length=37) == [text[:37] for text in texts(network, num=2, length=60)]


def test_yields_int64_ids() -> None:
    drawn = list(generate(lively_network(), SampleSettings(length=5, num=3, seed=1), vocabulary=ELEVEN))
    assert [(ids.shape, ids.dtype) for ids in drawn] == [((3,), np.dtype(np.int64))] * 5
    assert list(generate(lively_network(), SampleSettings(length=0), vocabulary=ELEVEN)) == []


def test_yielded_arrays_are_copies() -> None:
    network, chosen = lively_network(), SampleSettings(length=30, num=2, seed=4)
    overwritten = []
    for ids in generate(network, chosen, vocabulary=ELEVEN):
        overwritten.append(ids.tolist())
        ids[:] = 0
    assert overwritten == [ids.tolist() for ids in generate(network, chosen, vocabulary=ELEVEN)]


# Probabilities


@pytest.mark.parametrize(
    "chosen",
    [
        SampleSettings(temperature=1.0),
        SampleSettings(temperature=0.5),
        SampleSettings(temperature=1.5, top_k=5),
        SampleSettings(temperature=1.0, top_p=0.9),
        SampleSettings(temperature=2.0, min_p=0.04),
    ],
    ids=["plain", "cold", "top-k", "top-p", "min-p"],
)
def test_draws_follow_the_softmax(chosen: SampleSettings) -> None:
    """Chi-square of 12,000 draws against the exact probabilities; one seed in a million would fail by chance."""
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


def test_draws_are_independent() -> None:
    """Chi-square of pairs of three equally likely characters; one seed in a million would fail by chance."""
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


def test_neighboring_seeds_are_independent() -> None:
    network = network_that_always_predicts([0.0, 0.0, 0.0])
    vocabulary = Vocabulary.of("abc")
    one, two = ("".join(texts(network, vocabulary=vocabulary, seed=seed, length=4000)) for seed in (7, 8))
    counts = np.bincount([3 * "abc".index(a) + "abc".index(b) for a, b in zip(one, two, strict=True)], minlength=9)
    assert ((counts - 4000 / 9) ** 2 / (4000 / 9)).sum() < ONE_IN_A_MILLION[8]


def test_noise_is_finite_where_the_generator_gives_zero() -> None:
    class Zeros:
        def standard_exponential(self, shape: tuple[int, ...]) -> np.ndarray:
            return np.zeros(shape)

    assert GumbelNoise([Zeros()], 3, torch.device("cpu")).next(1).isfinite().all()


@pytest.mark.parametrize("settings", [{"greedy": True}, {"top_k": 1}, {"top_p": 1e-9}, {"min_p": 1.0}], ids=str)
def test_narrowest_filters_are_greedy(settings: dict[str, object]) -> None:
    network = network_that_counts(11)
    assert texts(network, "a", length=12, **settings) == ["bcdefghij\nab"]


def test_greedy_is_the_argmax_of_the_network() -> None:
    network = lively_network("gru")
    text = texts(network, "a", greedy=True, length=20)[0]
    ids = torch.from_numpy(ELEVEN.encode("a" + text).astype(np.int64)).unsqueeze(0)
    logits, _ = network(ids[:, :-1], network.initial_state(1))
    assert torch.equal(logits.argmax(-1), ids[:, 1:])


# Primes and states


@pytest.mark.parametrize("recurrence", RECURRENCE_NAMES)
@pytest.mark.parametrize("chunk", [1, 7, 98])
def test_prime_chunks_do_not_change_the_state(recurrence: str, chunk: int) -> None:
    network, ids = lively_network(recurrence), ELEVEN.encode("abcdefghij\n" * 9)
    _, expected = network(torch.from_numpy(ids.astype(np.int64))[None], network.initial_state(1))
    state = read_prime(network, ids, network.initial_state(1), chunk=chunk)
    torch.testing.assert_close(state, expected, rtol=0, atol=1e-12)


@given(st.text("abcdefghij\n", min_size=1, max_size=12), st.sampled_from(RECURRENCE_NAMES))
@hypothesis_settings(max_examples=15)
def test_continuation_of_a_continuation(prime: str, recurrence: str) -> None:
    """Greedy text continues its own first characters unchanged."""
    network = lively_network(recurrence)
    (text,) = texts(network, prime, greedy=True, length=12)
    assert texts(network, prime + text[:5], greedy=True, length=7) == [text[5:]]


def test_no_prime_is_a_newline() -> None:
    network = lively_network()
    assert texts(network, "") == texts(network, "\n")
    without_newline = Vocabulary.of("abcdefghijk")
    assert texts(network, "", without_newline) == texts(network, "a", without_newline)
    in_bytes = lively_network(vocabulary_size=256)
    assert texts(in_bytes, "", Vocabulary.of_bytes()) == texts(in_bytes, "\n", Vocabulary.of_bytes())


def test_initial_state_for_all_streams_or_each() -> None:
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


# Stops


@given(st.integers(0, 40), st.integers(1, 3), st.integers(1, 4))
def test_text_ends_with_the_stop_text(start: int, length: int, streams: int) -> None:
    network = network_that_always_predicts([0.0, 0.3, 0.6])  # few characters: stop texts that overlap themselves
    vocabulary = Vocabulary.of("abc")
    whole = texts(network, vocabulary=vocabulary, num=streams)
    stop = whole[0][start : start + length]
    cut = [text[: text.find(stop) + len(stop)] if stop in text else text for text in whole]
    assert texts(network, vocabulary=vocabulary, num=streams, stop=stop) == cut


def test_stopped_streams_yield_minus_one() -> None:
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


def test_prime_does_not_count_for_the_stop_text() -> None:
    network = network_that_counts(11)
    assert texts(network, "abc", greedy=True, stop="cd") == ["defghij\nabcd"]
    assert texts(network, "abc", greedy=True, stop="abc") == ["defghij\nabc"]


def test_each_of_several_stop_texts_counts() -> None:
    network = network_that_counts(11)
    assert texts(network, "abc", greedy=True, stop=("jj", "hi", "j")) == ["defghi"]
    assert texts(network, "abc", greedy=True, stop=["\n"]) == ["defghij\n"]
    assert texts(network, "abc", greedy=True, length=3, stop=None) == ["def"]


@pytest.mark.parametrize("logits", [[math.inf, 0.0], [math.nan, 0.0], [math.inf, math.inf]])
@pytest.mark.parametrize("chosen", [{"greedy": True}, {"top_k": 1}, {"top_p": 0.5, "min_p": 0.5}], ids=str)
def test_non_finite_logits(logits: list[float], chosen: dict[str, object]) -> None:
    with pytest.raises(CharrnnError, match="network overflows"):
        texts(network_that_always_predicts(logits), vocabulary=Vocabulary.of("ab"), **chosen)


@pytest.mark.parametrize("stop", ["", "ab!", ("a", "")])
def test_impossible_stop_text(stop: str | tuple[str, ...]) -> None:
    with pytest.raises(CharrnnError, match="stop text"):
        generate(lively_network(), SampleSettings(stop=stop), vocabulary=ELEVEN)


# Side effects


def test_memory_is_constant() -> None:
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


def test_training_mode_is_preserved() -> None:
    network = lively_network(dropout=0.5)
    expected = texts(network, "abcdef")
    network.train()
    assert texts(network, "abcdef") == expected
    assert network.training


def test_weights_are_copied_at_the_call() -> None:
    network, chosen = lively_network(), SampleSettings(length=20, seed=1)
    expected = [ids.tolist() for ids in generate(network, chosen, vocabulary=ELEVEN)]
    drawn = generate(network, chosen, vocabulary=ELEVEN)
    with torch.no_grad():
        network.output.bias += torch.arange(11.0)
    assert [ids.tolist() for ids in drawn] == expected


def test_number_of_threads_is_restored() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        for _ in generate(lively_network(), SampleSettings(seed=1, length=3), vocabulary=ELEVEN):
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_caller_can_take_gradients() -> None:
    network = lively_network()
    for _ in itertools.islice(generate(network, SampleSettings(seed=1), vocabulary=ELEVEN), 2):
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
        logits, _ = network(torch.zeros(1, 3, dtype=torch.int64), network.initial_state(1))
        logits.sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_mean_nats_of_samples_is_the_entropy() -> None:
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
