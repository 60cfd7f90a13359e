"""Filters that see the history, stop conditions and the best of several texts, each against a plain reference."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from charrnn.errors import CharrnnError, UsageError
from charrnn.sampling.best import keep_best
from charrnn.sampling.generate import generate
from charrnn.sampling.registry import EXCLUDED, FilterChain, SampleContext
from charrnn.sampling.settings import SampleSettings
from charrnn.sampling.stops import STOPPED, Stops, is_stopped
from charrnn.text.vocabulary import Vocabulary
from tests.conftest import small_network
from tests.test_filters import any_logits, filtered, kept, probabilities
from tests.test_generate import lively_network, network_that_always_predicts, network_that_counts, texts

ABC = Vocabulary.of("abc")
abc_text = st.text("abc", max_size=40)
three_logits = st.lists(st.floats(-5, 5), min_size=3, max_size=3)
EVERY_FILTER = [
    {"ban": "a", "bias": {"b": 1.5}},
    {"repeat_penalty": 1.3, "repeat_last_n": 5},
    {"presence_penalty": 0.5, "frequency_penalty": 0.2, "repeat_last_n": -1},
    {"dry_multiplier": 20, "dry_allowed_length": 1, "dry_penalty_last_n": 7},
    {"top_n_sigma": 1.0},
    {"top_k": 2},
    {"typical_p": 0.5},
    {"top_p": 0.7},
    {"min_p": 0.3},
    {"mirostat_ent": 0.8},
    {"temperature": "0.5..1.5"},
    {"repeat_penalty": 1.2, "frequency_penalty": 0.1, "dry_multiplier": 1, "dry_allowed_length": 2,
     "top_n_sigma": 3, "top_k": 9, "typical_p": 0.9, "top_p": 0.95, "min_p": 0.01, "temperature": 1.3},
]  # fmt: skip


def after(prime: str, generated: str, logits: list[float], **settings: object) -> list[float]:
    """Return the filtered logits (V,) after a prime and generated text."""
    chosen = SampleSettings(**{"temperature": 1.0} | settings)
    chain = FilterChain(SampleContext(chosen, ABC, ABC.encode(prime)[None], torch.device("cpu")))
    row = torch.tensor([logits], dtype=torch.float64)
    for one in ABC.encode(generated).tolist():
        chain(row)
        chain.update(np.array([one]))
    return chain(row)[0].tolist()


# Filters


@given(
    abc_text,
    abc_text,
    three_logits,
    st.sampled_from([-1, 0, 1, 3, 50]),
    st.floats(0.5, 2),
    st.floats(-1, 1),
    st.floats(-1, 1),
)
def test_penalties(
    prime: str, text: str, logits: list[float], window: int, repeat: float, presence: float, frequency: float
) -> None:
    assume(repeat != 1 or presence or frequency or window == 64)
    recent = prime + text if window < 0 else (prime + text)[len(prime + text) - min(window, len(prime + text)) :]
    expected = []
    for character, one in zip("abc", logits, strict=True):
        number = recent.count(character)
        if number:
            one = (one / repeat if one > 0 else one * repeat) - presence
        expected.append(one - frequency * number)
    options = {"repeat_penalty": repeat, "presence_penalty": presence, "frequency_penalty": frequency}
    assert after(prime, text, logits, repeat_last_n=window, **options) == pytest.approx(expected, abs=1e-5)


def dry_reference(text: str, logits: list[float], allowed: int, window: int, breaker: str) -> list[float]:
    longest = dict.fromkeys("abc", 0)
    for lag in range(1, min(window, len(text) - 1) + 1):
        length = 0
        while length < len(text) - lag and text[-1 - length] == text[-1 - length - lag] != breaker:
            length += 1
        follower = text[len(text) - lag]
        longest[follower] = max(longest[follower], length)
    return [
        one - (0.8 * min(1.75 ** (longest[character] - allowed), 1e6) if longest[character] >= allowed else 0)
        for character, one in zip("abc", logits, strict=True)
    ]


@given(abc_text, abc_text, st.integers(1, 4), st.sampled_from([1, 5, 100]), st.sampled_from(["", "c"]))
def test_dry(prime: str, text: str, allowed: int, window: int, breaker: str) -> None:
    prime = prime[max(0, len(prime) - 2 * window) :]  # no more is read
    options = {"dry_multiplier": 0.8, "dry_allowed_length": allowed, "dry_penalty_last_n": window}
    expected = dry_reference(prime + text, [1.0, 2.0, 3.0], allowed, window, breaker)
    result = after(prime, text, [1.0, 2.0, 3.0], dry_sequence_breaker=breaker, **options)
    assert result == pytest.approx(expected, rel=1e-4)


@given(
    abc_text,
    st.text("abc", min_size=1, max_size=4),
    st.integers(1, 40),
    abc_text,
    st.integers(5, 12),
    st.sampled_from([6, 20, 100]),
    st.sampled_from(["", "c"]),
)
def test_dry_of_long_repetitions(
    prime: str, repeated: str, times: int, end: str, allowed: int, window: int, breaker: str
) -> None:
    """Lengths are computed again after a pause, and the text moves when its array is full."""
    prime, text = prime[max(0, len(prime) - 2 * window) :], repeated * times + end[: allowed // 2]
    options = {"dry_multiplier": 0.8, "dry_allowed_length": allowed, "dry_penalty_last_n": window}
    expected = dry_reference(prime + text, [1.0, 2.0, 3.0], allowed, window, breaker)
    result = after(prime, text, [1.0, 2.0, 3.0], dry_sequence_breaker=breaker, **options)
    assert result == pytest.approx(expected, rel=1e-4)


def test_dry_of_several_streams() -> None:
    """Each stream gets what it gets alone, whenever the others repeat something."""
    chosen = SampleSettings(temperature=1.0, dry_multiplier=0.8, dry_allowed_length=6, dry_penalty_last_n=40)
    streams = ["ab" * 30, "abcacbbcabac" * 5, "c" * 20 + "abcabcbbacacbbaccbabaccabcbabbacccbabcab"]
    columns = np.stack([ABC.encode(text) for text in streams]).astype(np.int64)
    nothing = np.empty((3, 0), np.int64)
    together = FilterChain(SampleContext(chosen, ABC, nothing, torch.device("cpu")))
    alone = [FilterChain(SampleContext(chosen, ABC, nothing[:1], torch.device("cpu"))) for _ in streams]
    for ids in columns.T:
        logits = together(torch.zeros(3, 3)).clone()
        assert torch.equal(logits, torch.cat([chain(torch.zeros(1, 3)) for chain in alone]))
        together.update(ids)
        for chain, one in zip(alone, ids, strict=True):
            chain.update(np.array([one]))


@given(any_logits, st.floats(0.01, 5))
def test_top_n_sigma(logits: list[float], n: float) -> None:
    limit = max(logits) - n * np.std(logits)
    assume(all(abs(one - limit) > 1e-9 for one in logits) or len(set(logits)) == 1)
    assume(len(set(logits)) > 1 or np.std(logits) == 0)
    assert kept(filtered(logits, top_n_sigma=n)) == [i for i, one in enumerate(logits) if one >= limit]


def test_top_n_sigma_ignores_excluded_characters() -> None:
    assert after("", "", [0.0, 1.0, 9.0], ban="c", top_n_sigma=1.0)[0] == EXCLUDED  # the deviation of a and b is 0.5


@given(any_logits, st.floats(0.01, 0.99))
def test_typical_p(logits: list[float], p: float) -> None:
    chances = probabilities(logits)
    surprise = [-math.log(one) for one in chances]
    entropy = math.fsum(a * b for a, b in zip(chances, surprise, strict=True))
    distance = [abs(one - entropy) for one in surprise]
    order = sorted(range(len(logits)), key=lambda i: (distance[i], i))
    gaps = [abs(distance[a] - distance[b]) for a in order for b in order if logits[a] != logits[b]]
    assume(all(gap > 1e-9 for gap in gaps))  # else rounding decides
    expected: list[int] = []
    reached = 0.0
    for i in order:
        assume(abs(reached - p) > 1e-9)
        if reached >= p:
            break
        expected.append(i)
        reached = math.fsum([reached, chances[i]])
    assert kept(filtered(logits, typical_p=p)) == sorted(expected)


@given(abc_text, three_logits, st.floats(0.1, 3))
def test_mirostat(text: str, logits: list[float], target: float) -> None:
    surprise = [-math.log2(one) for one in probabilities(logits)]
    limit = 2 * target
    for character in text:
        limit -= 0.1 * (surprise["abc".index(character)] - target)
    assume(all(abs(one - limit) > 1e-4 for one in surprise))
    expected = [i for i in range(3) if surprise[i] <= max(limit, min(surprise) + 1e-9)]
    result = after("", text, logits, mirostat_ent=target)
    assert [i for i in range(3) if result[i] > EXCLUDED] == expected


def test_mirostat_reaches_its_target() -> None:
    """Three of four equal characters carry log2(3) bits less than four do."""
    network = network_that_always_predicts([4.0, 2.0, 1.0, 0.0])
    text = texts(network, vocabulary=Vocabulary.of("abcd"), mirostat_ent=0.5, length=2000)[0]
    surprise = dict(zip("abcd", [-math.log2(one) for one in probabilities([4.0, 2.0, 1.0, 0.0])], strict=True))
    assert np.mean([surprise[one] for one in text]) == pytest.approx(0.5, abs=0.02)


def test_ban_and_bias() -> None:
    assert after("", "", [1.0, 2.0, 3.0], ban="c", bias=["a=-1.5", "b=2"]) == [-0.5, 4.0, EXCLUDED]
    assert after("", "", [1.0, 2.0, 3.0], ban="xyzc") == [1.0, 2.0, EXCLUDED]  # a character it lacks is never written
    assert SampleSettings(bias={"a": -1.5, "=": 2}).bias == ("a=-1.5", "==2")
    assert texts(network_that_always_predicts([1.0, 0.0, 0.5]), vocabulary=ABC, ban="a", greedy=True) == ["c" * 60]


def test_temperature_range() -> None:
    settings = {"temperature": "0.5..2", "length": 4}
    assert [after("", "a" * n, [1.0, 2.0, 3.0], **settings)[0] for n in range(4)] == [2, 1, pytest.approx(2 / 3), 0.5]
    assert after("", "", [1.0, 2.0, 3.0], temperature="0.5", length=1) == [2.0, 4.0, 6.0]


@pytest.mark.parametrize("chosen", EVERY_FILTER, ids=str)
def test_streams_are_independent_with_every_filter(chosen: dict[str, object]) -> None:
    network = lively_network()
    many = texts(network, "abcabc", num=4, **chosen)
    assert texts(network, "abcabc", **chosen) == many[:1]
    assert many != texts(network, "abcabc", num=4)


@pytest.mark.parametrize("chosen", [*EVERY_FILTER[1:], {"bias": ["a=2"]}], ids=str)
def test_a_vocabulary_of_one_character(chosen: dict[str, object]) -> None:
    assert texts(network_that_always_predicts([0.5]), vocabulary=Vocabulary.of("a"), **chosen) == ["a" * 60]


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"ban": "abc"}, "`ban` excludes every character"),
        ({"bias": "x=1"}, "`bias` has unknown characters"),
        ({"bias": "a"}, "`bias` must be of the form CHAR=X"),
        ({"temperature": "0..1"}, "`temperature` must be at least 0.01"),
        (
            {"temperature": 0},
            "`temperature` must be at least 0.01 .*; for the most likely character, use `greedy=True`",
        ),
        ({"temperature": "hot"}, "`temperature` must be a number or two"),
        ({"mirostat_ent": 2, "top_p": 0.5}, "`mirostat_ent` and `top_p` exclude each other"),
        ({"mirostat_lr": 0.2}, "`mirostat_lr` needs `mirostat_ent`"),
        ({"repeat_last_n": 5}, "`repeat_last_n` needs `repeat_penalty` or"),
        ({"dry_base": 2}, "`dry_base` needs `dry_multiplier`"),
        ({"greedy": True, "best_of": 2}, "`greedy` and `best_of` exclude each other"),
        ({"stop_regex": "("}, "`stop_regex` .* is not a regular expression"),
        ({"lines": 2}, "knows no newline"),
        ({"until_balanced": True}, "knows no brackets"),
    ],
    ids=str,
)
def test_impossible_settings(chosen: dict[str, object], said: str) -> None:
    with pytest.raises(CharrnnError, match=said):
        texts(network_that_always_predicts([0.0, 0.0, 0.0]), vocabulary=ABC, **chosen)


def test_characters_of_several_bytes_cannot_be_banned() -> None:
    with pytest.raises(CharrnnError, match="`ban`: 'é' is 2 bytes"):
        generate(small_network(vocabulary_size=256), SampleSettings(ban="é"), vocabulary=Vocabulary.of_bytes())


# Stop conditions


def ends(text: str, prime: str = "", **settings: object) -> str:
    """Return the part of a text before a stop condition ends it."""
    vocabulary = Vocabulary.of("".join(sorted({*prime, *text, "\n", "("})))
    stops = Stops(SampleSettings(**settings), vocabulary, vocabulary.encode(prime)[None])
    for length, one in enumerate(vocabulary.encode(text).astype(np.int64), start=1):
        stops.update(np.array([one]))
        if stops.all_stopped:
            return text[:length]
    return text


@pytest.mark.parametrize(
    ("prime", "text", "expected"),
    [
        ("", "a (b [c] d) e", "a (b [c] d)"),
        ('{"a":', ' [1, "}"]} {}', ' [1, "}"]}'),
        ("", 'say "no (" now', 'say "no ("'),
        ("", r'x "a\"b" y', r'x "a\"b"'),
        ("a) ]", "b) (c) d", "b) (c)"),
        ("(", "[ ) x", "[ )"),
        ("“", "so” she", "so”"),
        ("it's", " (don't) x", " (don't)"),
        ("", "nothing", "nothing"),
    ],
)
def test_until_balanced(prime: str, text: str, expected: str) -> None:
    assert ends(text, prime, until_balanced=True) == expected


@pytest.mark.parametrize(
    ("expression", "text", "expected"),
    [
        (r"\d\d", "a1b22c33", "a1b22"),
        (r"^\w+:", "say: no\nROMEO: x", "say:"),
        (r"^b", "ab\nbc", "ab\nb"),
        (r"a(?=b)", "aab", "aab"),
        (r"x*", "aaxa", "aax"),
        (r"(a|b)c", "a" * 150 + "bcd", "a" * 150 + "bc"),
    ],
)
def test_stop_regex(expression: str, text: str, expected: str) -> None:
    assert ends(text, stop_regex=expression) == expected


def test_lines() -> None:
    assert ends("a\n\nb\nc", lines=2) == "a\n\n"
    assert ends("a\nb", "x\n", lines=2) == "a\nb"


def test_a_finished_text_is_stopped() -> None:
    lines = SampleSettings(lines=1)
    prime = np.empty(0, np.int64)
    assert is_stopped(Vocabulary.of("\na").encode("a\n"), lines, Vocabulary.of("\na"), prime)
    assert not is_stopped(Vocabulary.of("\na").encode("aa"), lines, Vocabulary.of("\na"), prime)


def test_conditions_combine() -> None:
    network = network_that_counts(11)
    assert texts(network, "abc", greedy=True, lines=1, stop="gh") == ["defgh"]
    assert texts(network, "abc", greedy=True, lines=1, stop_regex="[hj]{2}") == ["defghij\n"]


# The best of several


def test_keep_best() -> None:
    rows = [np.array(row) for row in ([0, 1, 2, 1], [2, 1, 0, 1], [2, STOPPED, 2, STOPPED], [1, STOPPED, 1, STOPPED])]
    chosen = SampleSettings(num=2, best_of=2, length=4)
    drawn = list(keep_best(iter(rows), chosen, lambda ids: float(ids.mean())))
    assert [row.tolist() for row in drawn] == [[1, 1], [1, 1]]
    assert list(keep_best(iter([]), chosen, lambda ids: 0.0)) == []


def test_empty_text_is_never_the_best() -> None:
    rows = [np.array([STOPPED, 1]), np.array([STOPPED, 2])]
    drawn = list(keep_best(iter(rows), SampleSettings(best_of=2, length=2), lambda ids: float(ids.mean())))
    assert [row.tolist() for row in drawn] == [[1], [2]]


def test_best_of_is_a_setting_of_at_least_one() -> None:
    with pytest.raises(UsageError, match="`best_of` must be at least 1"):
        SampleSettings(best_of=0)
