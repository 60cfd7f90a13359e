"""charrnn.sampling.grammar against `re.fullmatch`."""

from __future__ import annotations

import itertools
import re
import unicodedata

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from charrnn.errors import UsageError
from charrnn.sampling.grammar import UNREACHABLE, Automaton
from charrnn.text.normalization import normalized
from charrnn.text.vocabulary import Vocabulary

SYMBOLS = Vocabulary.of("\nab_A")
TEXTS = ["".join(one) for length in range(5) for one in itertools.product(SYMBOLS.characters, repeat=length)]
CLASSES = ["a", "b", r"\n", ".", "[ab]", "[^a]", r"\w", r"[\W_]", r"\s", "(?i:a)", "(?s:.)", "(?a:[^_\\W])", "[_-b]"]
ANCHORS = ["^", "$", r"\A", r"\Z", r"\b", r"\B", r"(?a:\b)"]
QUANTIFIERS = ["*", "+", "?", "{2}", "{0,2}", "{1,}", "*?", "+?", "??", "{1,2}?"]


def extended(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    grouped = inner.map(lambda one: f"(?:{one})")
    return (
        st.tuples(inner, inner).map("".join)
        | st.tuples(inner, inner).map(lambda pair: f"(?:{pair[0]}|{pair[1]})")
        | st.tuples(grouped, st.sampled_from(QUANTIFIERS)).map("".join)
        | inner.map(lambda one: f"({one})")
    )


expressions = st.recursive(st.sampled_from(CLASSES) | st.sampled_from(ANCHORS), extended, max_leaves=8)


def compiled(expression: str, vocabulary: Vocabulary = SYMBOLS, **details: str) -> Automaton:
    return Automaton.compile(expression, vocabulary, **details)


def matches(automaton: Automaton, text: str | bytes, vocabulary: Vocabulary = SYMBOLS) -> bool:
    return automaton.matches(vocabulary.encode(text))


def accepted_texts(automaton: Automaton) -> set[str]:
    """Return those of `TEXTS` that match."""
    states = [np.zeros(1, np.int64)]
    for _ in range(4):
        states.append(automaton.following[states[-1]].reshape(-1))
    accepted = automaton.distance[np.concatenate(states)] == 0
    return {text for text, one in zip(TEXTS, accepted.tolist(), strict=True) if one}


@given(expressions)
def test_automaton_accepts_what_re_matches(expression: str) -> None:
    """All texts of up to four characters; the empty one matches \\B since Python 3.14 only."""
    pattern = re.compile(expression, re.MULTILINE)
    matching = {text for text in TEXTS if pattern.fullmatch(text)}
    try:
        automaton = compiled(expression)
    except UsageError:  # nothing matches
        assert not matching
        return
    unclear = {""} if r"\B" in expression else set()
    assert accepted_texts(automaton) ^ matching <= unclear


@given(expressions)
def test_distance_is_the_length_of_the_shortest_continuation(expression: str) -> None:
    assume(r"\B" not in expression)
    pattern = re.compile(expression, re.MULTILINE)
    matching = [text for text in TEXTS if pattern.fullmatch(text)]
    assume(matching)
    automaton = compiled(expression)
    for text in ("", "a", "b\n"):
        state = 0
        for one in SYMBOLS.encode(text).tolist():
            state = automaton.following[state, one]
        continued = [len(one) - len(text) for one in matching if one.startswith(text)]
        if continued:
            assert automaton.distance[state] == min(continued)
        else:
            assert automaton.distance[state] > 4 - len(text)


def test_every_state_but_the_last_can_still_match() -> None:
    automaton = compiled("(a|b_)*A")
    assert (automaton.distance[:-1] < UNREACHABLE).all()
    assert automaton.distance[-1] == UNREACHABLE
    assert (automaton.following[-1] == automaton.failed).all()


@pytest.mark.parametrize("expression", ["é", "[^a]", ".", r"\w+", "[€-\U0001f600]", "(?i:É)", "a|😀b|é{2}"])
def test_bytes_match_as_utf8(expression: str) -> None:
    """A vocabulary of bytes writes whole characters only."""
    vocabulary = Vocabulary.of_bytes()
    automaton = compiled(expression, vocabulary)
    for text in ("é", "É", "a", "éé", "😀b", "€", "\ufffd", "\n", "ж", "\U0010ffff", "b"):
        expected = re.fullmatch(expression, text, re.MULTILINE) is not None
        assert matches(automaton, text, vocabulary) == expected, text
    for broken in (b"\xc3", b"\xe2\x82", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xff", b"\x80"):
        assert not matches(automaton, broken, vocabulary)


SPELLED = {
    "nfd": ["é", "ê", "ế", "ñ", "e", "s", "가", "각", "≠", "ẍ", "\n"],
    "jamo": ["가", "각", "낙", "é", "a", "\n"],
}
COMPOSED = ["é", "[^é]", ".", r"\w+", "[ế가]{2}", "각?e*", "(?i:É)s", r"(\w+\b.?)+", "s≠", "e\u0301", "[e\u0301-ñ]"]


@pytest.mark.parametrize("form", SPELLED)
@pytest.mark.parametrize("expression", COMPOSED)
def test_normalized_characters_match_as_composed(form: str, expression: str) -> None:
    """Every text of up to three characters, spelled as in the training text."""
    vocabulary = Vocabulary.of(normalized("".join(SPELLED[form]), form))
    pattern = re.compile(unicodedata.normalize("NFC", expression), re.MULTILINE)
    texts = ["".join(one) for length in range(1, 4) for one in itertools.product(SPELLED[form], repeat=length)]
    expected = {text for text in texts if pattern.fullmatch(text)}
    if not expected:
        with pytest.raises(UsageError, match="no text of the model's characters"):
            compiled(expression, vocabulary, form=form)
        return
    automaton = compiled(expression, vocabulary, form=form)
    assert {text for text in texts if matches(automaton, normalized(text, form), vocabulary)} == expected


def test_parts_of_characters_are_none() -> None:
    vocabulary = Vocabulary.of(normalized("éñ가", "nfd"))
    automaton = compiled(".{2}", vocabulary, form="nfd")
    assert matches(automaton, normalized("é가", "nfd"), vocabulary)
    for part in ("e\u0301", "\u0301\u0301", "\u1100\u1161", "n\u0303"):
        assert not matches(automaton, part, vocabulary)
    with pytest.raises(UsageError, match="the model has no character for ê"):
        compiled("ê", vocabulary, form="nfd")


@pytest.mark.parametrize("vocabulary", [Vocabulary.of("e\u0301a"), Vocabulary.of_bytes()], ids=["nfd", "bytes"])
def test_a_class_whose_characters_are_banned(vocabulary: Vocabulary) -> None:
    with pytest.raises(UsageError, match="no text of the model's characters"):
        compiled("a", vocabulary, banned="a", form="nfd")
    assert matches(compiled("[ea]", vocabulary, banned="a", form="nfd"), "e", vocabulary)


def test_banned_characters_are_not_used() -> None:
    automaton = compiled("[ab]{2}", banned="b")
    assert matches(automaton, "aa")
    assert not matches(automaton, "ab")


def test_paths_without_a_character_of_the_model_are_removed() -> None:
    automaton = compiled("x+a|b")
    assert matches(automaton, "b")
    assert automaton.distance.tolist() == [1, 0, UNREACHABLE]


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        (r"(a)\1", "backreferences are not supported"),
        ("(?=a)a", "lookahead and lookbehind are not supported"),
        ("(?<!a)b", "lookahead and lookbehind are not supported"),
        ("(?!)", "lookahead and lookbehind are not supported"),
        ("(a)?(?(1)b|a)", "conditional groups are not supported"),
        ("(?>a)", "atomic groups are not supported"),
        ("a++", "possessive quantifiers are not supported"),
        ("(?-m:^)a", r"(?-m) is not supported; use \A and \Z"),
        ("(a", "missing ), unterminated subpattern at position 0"),
        ("a{2,1}", "min repeat greater than max repeat"),
        ("(" * 490 + "a" + ")" * 490, "nested too deeply"),
        ("a{4000000000}", "too large"),
        pytest.param("(?:){4000000000}", "too large", marks=pytest.mark.slow),
        pytest.param("(((a{99}){99}){99}){99}", "too large", marks=pytest.mark.slow),
        ("c[1-9]", r"no text of the model's characters matches; the model has no character for [1-9], c"),
        (r"a\bb", "no text of the model's characters matches"),
    ],
)
def test_what_cannot_be_compiled_is_one_clear_line(expression: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        compiled(expression)
    assert message in str(caught.value)
    assert str(caught.value).startswith("`matching`")
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_exponential_automaton_is_refused() -> None:
    with pytest.raises(UsageError, match="too large"):
        compiled("(a|b)*a(a|b){40}")


def test_word_boundaries_of_bytes_need_ascii() -> None:
    with pytest.raises(UsageError, match=r"\\b is not supported for bytes; use \(\?a:\\b\)"):
        compiled(r"a\b", Vocabulary.of_bytes())
    automaton = compiled(r"(?a:.\b.)", Vocabulary.of_bytes())
    assert matches(automaton, "a ", Vocabulary.of_bytes())
    assert not matches(automaton, "ab", Vocabulary.of_bytes())


def test_large_vocabulary() -> None:
    vocabulary = Vocabulary.of("".join(map(chr, range(0x4E00, 0x5200))))
    automaton = compiled("[一-丁]{3}", vocabulary)
    assert np.count_nonzero(automaton.following[0] != automaton.failed) == 2
