"""Texts that match an expression: the guarantee, the distribution, sequential Monte Carlo, infilling."""

from __future__ import annotations

import itertools
import math
import re
import string
from collections import Counter
from collections.abc import Iterable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import CharrnnError, UsageError
from charrnn.model.network import CharRNN
from charrnn.sampling.generate import generate
from charrnn.sampling.grammar import Automaton
from charrnn.sampling.matching import Matching
from charrnn.sampling.particles import Particles
from charrnn.sampling.settings import SampleSettings
from charrnn.sampling.stops import STOPPED
from charrnn.text.documents import DocumentSeparator
from charrnn.text.vocabulary import Vocabulary
from tests.conftest import small_network
from tests.test_generate import lively_network, network_that_always_predicts, network_that_counts, texts

ABC = Vocabulary.of("abc")
PRINTABLE = Vocabulary.of("\n" + string.printable[:95])
MOVE = r"([KQRBN]?[a-h]?[1-8]?x?[a-h][1-8](=[QRBN])?|O-O(-O)?)[+#]?"
STRING = r'"[a-z ]{1,20}"'
EXPRESSIONS = {
    "sonnet": r"(.{0,60}\n){14}",
    "chess": rf"(\d+\. {MOVE} {MOVE} ){{1,9}}",
    "date": r"(19|20)\d\d-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])",
    "json": rf'\{{"name": {STRING}, "age": \d{{1,3}}, "tags": \[({STRING}(, {STRING}){{0,3}})?\]\}}',
    "brackets": r"\((\w{1,3}|\((\w{1,3}|\(\w{1,3}\)){1,3}\)){1,4}\)",
    "name": r"[A-Z][a-z]+( [A-Z][a-z]+)*",
    "words": r"(\b\w+\b\W?){5}",
    "lines": r"(^[A-Z]+:$\n[^\n:]+\n){2}",
    "folded": r"(?i:yes|no|perhaps)[.!?]",
    "decimal": r"-?\d+(\.\d{2,})?",
}
REPETITION = Automaton.compile("(ab|b*c|a{3})+", ABC)
ONE_IN_A_MILLION = 5.0  # standard deviations, rounded up


def generated(network: CharRNN, vocabulary: Vocabulary = ABC, **details: object) -> tuple[list[str], np.ndarray]:
    """Return the texts and their log-weights."""
    chosen = SampleSettings(**{"seed": 1, "length": 60, "temperature": 1.0} | details)
    reported: list[np.ndarray] = []
    if chosen.uses_particles:
        particles = Particles(chosen)
        candidates = chosen.changed(num=chosen.num * chosen.particle_count)
        drawn: Iterable[np.ndarray] = particles.texts(
            generate(network, candidates, vocabulary=vocabulary, particles=particles), report=reported.append
        )
    else:
        drawn = generate(network, chosen, vocabulary=vocabulary, report=reported.append)
    columns = np.stack([np.full(chosen.num, STOPPED), *drawn]).T
    return [vocabulary.text(one[one != STOPPED]) for one in columns], reported[0]


def probability(network: CharRNN, text: str, vocabulary: Vocabulary = ABC, temperature: float = 1.0) -> float:
    """Return the probability that the network continues the opening character with a text."""
    ids = torch.from_numpy(np.append(vocabulary.opening_id, vocabulary.encode(text)).astype(np.int64))
    with torch.no_grad():
        logits, _ = network(ids[None], network.initial_state(1))
    steps = (logits[0].double() / temperature).log_softmax(dim=-1)
    return math.exp(float(sum(steps[place, one] for place, one in enumerate(ids[1:].tolist()))))


def leaving(network: CharRNN, text: str, length: int, expression: str) -> float:
    """Return the probability that a text that matches ends there: by a character that leaves the expression."""
    if len(text) == length:
        return 1.0
    endings = ["".join(one) for more in range(length - len(text)) for one in itertools.product("abc", repeat=more)]
    leaves = [one for one in "abc" if not any(re.fullmatch(expression, text + one + ending) for ending in endings)]
    whole = probability(network, text)
    return sum(probability(network, text + one) for one in leaves) / whole


def joint(network: CharRNN, expression: str, length: int) -> dict[str, float]:
    """Return the probability under the network of each text that matches and ends."""
    every = ["".join(one) for size in range(length + 1) for one in itertools.product("abc", repeat=size)]
    kept = [one for one in every if re.fullmatch(expression, one)]
    return {one: probability(network, one) * leaving(network, one, length, expression) for one in kept}


def assert_unbiased(found: list[str], log_weights: np.ndarray, expected: dict[str, float]) -> None:
    """The mean of weight × (the text is x) is the probability of x; a failure by chance has odds of 1e-6 a text."""
    weights = np.exp(log_weights)
    for text, value in expected.items():
        terms = weights * np.array([one == text for one in found])
        assert abs(terms.mean() - value) < ONE_IN_A_MILLION * (terms.std() / math.sqrt(len(terms)) + 1e-12), text


def chi_square(found: list[str], expected: dict[str, float]) -> float:
    counts, total = Counter(found), sum(expected.values())
    assert set(counts) <= set(expected)
    return sum((counts[x] - len(found) * p / total) ** 2 / (len(found) * p / total) for x, p in expected.items())


# The guarantee


@pytest.mark.parametrize("shape", EXPRESSIONS)
def test_every_text_matches(shape: str) -> None:
    check_every_text_matches(shape, 3)


@pytest.mark.slow
@pytest.mark.parametrize("shape", EXPRESSIONS)
def test_a_hundred_texts_match(shape: str) -> None:
    check_every_text_matches(shape, 100)


def check_every_text_matches(shape: str, num: int) -> None:
    network, pattern = lively_network(vocabulary_size=len(PRINTABLE)), re.compile(EXPRESSIONS[shape], re.MULTILINE)
    for length in (1000, int(Automaton.compile(pattern.pattern, PRINTABLE).distance[0]) + 3):
        found, weights = generated(network, PRINTABLE, matching=pattern.pattern, num=num, length=length)
        assert all(pattern.fullmatch(one) and len(one) <= length for one in found), found
        assert np.isfinite(weights).all()


@pytest.mark.parametrize(
    "details",
    [{"top_k": 1}, {"top_p": 0.2}, {"greedy": True}, {"ban": "b"}, {"mirostat_ent": 0.5}, {"dry_multiplier": 9}],
)
def test_filters_do_not_break_the_guarantee(details: dict[str, object]) -> None:
    found, _ = generated(lively_network(vocabulary_size=3), matching="(a|bc*|c){8}", num=1, **details)
    assert re.fullmatch("(a|bc*|c){8}", found[0])


def test_utf8_is_whole() -> None:
    found, _ = generated(small_network(vocabulary_size=256), Vocabulary.of_bytes(), matching="[à-ÿ€😀]+", num=20)
    assert all(re.fullmatch("[à-ÿ€😀]+", one) for one in found)


def test_text_ends_where_the_model_leaves_the_expression() -> None:
    network = network_that_counts(3)  # opened by a, it writes bcabc…
    assert generated(network, matching="[bc]*", greedy=True)[0] == ["bc"]
    assert generated(network, matching="[bc]*a", greedy=True)[0] == ["bca"]
    assert generated(network, matching="[abc]*", length=5, greedy=True)[0] == ["bcabc"]
    assert generated(network, matching="[ac]*", greedy=True)[0] == [""]


def test_documents_end_within_the_expression() -> None:
    """Each line of this model of lines restarts from the initial state, which the text goes on from."""
    vocabulary = Vocabulary.of("\nab")
    network = lively_network(vocabulary_size=3)
    chosen = SampleSettings(matching="([ab]\n){3}", seed=1, temperature=0.01)
    drawn = np.concatenate(list(generate(network, chosen, vocabulary=vocabulary, documents=DocumentSeparator("lines"))))
    lines = vocabulary.text(drawn).splitlines()
    assert len(lines) == 3
    assert len(set(lines)) == 1


@pytest.mark.parametrize("details", [{}, {"particles": 3}, {"suffix": "ab", "particles": 3}])
def test_a_text_is_the_same_in_any_number(details: dict[str, object]) -> None:
    network = lively_network(vocabulary_size=3)
    several, _ = generated(network, matching="(a|bc*|c){4,9}", num=4, **details)
    assert generated(network, matching="(a|bc*|c){4,9}", num=1, **details)[0] == several[:1]


def test_matching_changes_nothing_where_it_allows_everything() -> None:
    network = lively_network(vocabulary_size=3)
    assert generated(network, matching="[abc]*", num=2)[0] == texts(network, vocabulary=ABC, num=2)


@pytest.mark.parametrize(
    ("details", "message"),
    [
        ({"matching": "a{9}", "length": 5}, "`matching` needs 9 characters, but `length` is 5; raise `length`"),
        ({"matching": "a{9}", "ban": "a"}, "no text of the model's characters matches"),
        ({"matching": "a", "stop": "b"}, "`matching` and `stop` exclude each other"),
        ({"suffix": "a", "lines": 2}, "`suffix` and `lines` exclude each other"),
        ({"particles": 2}, "`particles` needs `matching` or `suffix`"),
        ({"ess_threshold": 0.1}, "`ess_threshold` needs `matching` or `suffix`"),
        ({"matching": "a", "particles": 2, "greedy": True}, "`particles` and `greedy` exclude each other"),
        ({"suffix": "a", "best_of": 2}, "`suffix` and `best_of` exclude each other"),
        ({"matching": "a" * 1001}, "`matching` must be at most 1,000 characters"),
        ({"suffix": "é"}, "the suffix has unknown characters"),
    ],
)
def test_mistakes(details: dict[str, object], message: str) -> None:
    with pytest.raises(CharrnnError) as caught:
        generated(small_network(vocabulary_size=3), **details)
    assert message in str(caught.value)


def test_no_character_left_by_filters() -> None:
    matching = Matching(Automaton.compile("ab", ABC), SampleSettings(length=5), 1)
    matching.apply(torch.zeros(1, 3))
    with pytest.raises(CharrnnError, match="exclude every character"):
        matching.update(np.array([2]))


# The distribution


@given(st.lists(st.floats(-4, 4), min_size=3, max_size=3), st.text("abc", max_size=3), st.integers(1, 5))
def test_masking_renormalizes_the_model(logits: list[float], text: str, length: int) -> None:
    """Each step has the probabilities of the model, of the characters with which a text can still match in time."""
    expression = "(ab|b*c|a{3})+"
    matching = Matching(REPETITION, SampleSettings(length=length, temperature=1.0), 1)
    row = torch.tensor([logits], dtype=torch.float64)
    for place in range(len(text) + 1):
        so_far = text[:place]
        endings = ["".join(one) for n in range(length - place) for one in itertools.product("abc", repeat=n)]
        kept = [any(re.fullmatch(expression, so_far + one + ending) for ending in endings) for one in "abc"]
        is_whole = re.fullmatch(expression, so_far) is not None
        if matching.all_stopped:
            assert not any(kept)
            return
        weights = [math.exp(x) if one or is_whole else 0 for x, one in zip(logits, kept, strict=True)]
        result = matching.apply(row).softmax(dim=-1)[0].tolist()
        assert result == pytest.approx([w / sum(weights) for w in weights])
        if place == len(text) or not (kept["abc".index(text[place])] or is_whole):
            return
        matching.update(ABC.encode(text[place]).astype(np.int64))


def test_lengths_are_those_of_the_model() -> None:
    """a+ ends as likely as the model writes another character. chi-square, odds of a failure by chance 1e-6."""
    network = network_that_always_predicts([1.0, 0.0, 0.0])
    found, weights = generated(network, matching="a+", length=4, num=2000)
    again = math.e / (math.e + 2)
    expected = {"a": 1 - again, "aa": again * (1 - again), "aaa": again**2 * (1 - again), "aaaa": again**3}
    assert chi_square(found, expected) < 30.7  # 3 degrees of freedom
    assert weights == pytest.approx(math.log(again))  # the first character was forced


@pytest.mark.parametrize("particles", [1, 4])
def test_weights_are_unbiased(particles: int) -> None:
    """With and without resampling, the weighted texts have the probabilities of the model."""
    network, expression = lively_network(vocabulary_size=3), "(a|b)c*|c(ab|ba)?b"
    found, weights = generated(network, matching=expression, particles=particles, length=4, num=1000)
    assert_unbiased(found, weights, joint(network, expression, 4))


def test_particles_have_the_distribution_of_the_model() -> None:
    """Given the expression. chi-square, odds of a failure by chance 1e-6; one particle fails clearly."""
    network, expression = lively_network(vocabulary_size=3), "a[bc]b|b[abc]a|ccc"
    exact = joint(network, expression, 3)
    assert len(exact) == 6
    assert chi_square(generated(network, matching=expression, particles=12, length=3, num=400)[0], exact) < 35.9
    assert chi_square(generated(network, matching=expression, length=3, num=400)[0], exact) > 100


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_resampling_and_history(threshold: float) -> None:
    """Filters with a history follow the particles that are copied."""
    options = {"repeat_penalty": 1.5, "dry_multiplier": 1.0, "dry_allowed_length": 1, "mirostat_ent": 1.0}
    found, weights = generated(
        lively_network(vocabulary_size=3),
        matching="(ab|b*c|a{3})+",
        particles=8,
        ess_threshold=threshold,
        num=3,
        **options,
    )
    assert all(re.fullmatch("(ab|b*c|a{3})+", one) for one in found)
    assert np.isfinite(weights).all()


# Infilling


def test_infilling_is_unbiased() -> None:
    """The weighted texts have the probability of standing between the opening and the suffix."""
    network = lively_network(vocabulary_size=3)
    found, weights = generated(network, suffix="ca", particles=4, length=2, num=800)
    every = ["", *"abc", *map("".join, itertools.product("abc", repeat=2))]
    assert_unbiased(found, weights, {one: probability(network, one + "ca") for one in every})


def test_infilling_with_an_expression() -> None:
    every_step = {"particles": 4, "ess_threshold": 1.0}
    network = lively_network(vocabulary_size=3)
    found, weights = generated(network, suffix="b", matching="ab*|c{2}", length=3, num=600, **every_step)
    assert_unbiased(found, weights, {one: probability(network, one + "b") for one in ("a", "ab", "abb", "cc")})


def test_infilling_finds_the_text_that_leads_to_the_suffix() -> None:
    network = network_that_counts(11)
    vocabulary = Vocabulary.of("\nabcdefghij")
    assert generated(network, vocabulary, suffix="fgh", length=20)[0] == ["abcde"]
    with pytest.raises(UsageError, match="`suffix` and `stop` exclude"):
        generated(network, vocabulary, suffix="fgh", stop="a")
