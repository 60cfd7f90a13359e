"""Properties on texts labeled by hand, user properties, and the registry.

⏎ stands for a newline. Binary properties: ‹ and › enclose the characters after which the property holds. Graded
properties: one digit for each character, the value after it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pygments.lexer import RegexLexer
from pygments.lexers import find_lexer_class
from pygments.token import Comment, Name, Whitespace

from charrnn.discovery.history import cell_history
from charrnn.discovery.profile import contradictions
from charrnn.discovery.search import discover
from charrnn.discovery.study import Effort
from charrnn.errors import CharrnnError, UsageError
from charrnn.inspection.trace import Cell
from charrnn.properties import source_code
from charrnn.properties.catalog import ANY, CATALOG, Property, Text, register, searchable
from charrnn.properties.source_code import LexerTimeoutError, find_language, guess_language, kind_of, tokens_of
from charrnn.properties.user_properties import find_property, from_expression
from charrnn.text.encoded_text import EncodedText
from charrnn.text.vocabulary import Vocabulary
from tests.planted import network_for, prose
from tests.test_cli_inspect import invoke, make_run

BINARY = {
    "newline follows": ["a‹b›⏎c‹d⏎›⏎e"],
    "word ends": ["H‹i›, ‹a› ‹b›3c", "ét‹é›."],
    "upper case": ["a‹BÉ› 1‹Z›"],
    "capitals run": ["A‹BC› aB‹C›d"],
    "in number": ["a ‹3.14›, ‹1,000›. ‹2›"],
    "inside “…”": ['a ‹"b›" c', '‹"a⏎›⏎b‹" c›', "x ‹“y›” z", "y” z", '‹"a “b” c›"'],
    "inside parentheses": ["a ‹(b (c) d›) e", ") ‹(a⏎›⏎b"],
    "in brackets": ["f‹(a›)‹[b›]"],
    "speaker name": ["‹A B›:⏎x: y⏎‹⏎Cd›:⏎z⏎‹⏎E›: f", "1:⏎⏎Not a name, for it is far too long for that it goes on: x"],
    "stage direction": ["Enter‹ A›⏎b ‹[c›] d⏎Exits⏎Exeunt‹ all›"],
    "in math": [
        "a ‹$x›$ b",
        r"\$5 $‹$y$›$",
        r"\‹(z\›) \‹[w\›]",
        r"\begin{align*‹}q\end{align*›}",
        "‹$x⏎›⏎y ‹$z›$",
    ],
    "in command": [r"‹\ab›{c} \\ \3"],
    "code fence": ["```p‹y⏎x⏎``›`⏎y⏎~~‹~⏎z"],
    "heading": ["‹# H›⏎a # b⏎‹== C ==›⏎#d"],
    "in link": ["‹[[l]›] ‹[a](b›) [c]"],
    "URL": ["a ‹http://x.y/z› b (‹www.q›) wwww.a"],
    "inside a tag": ["a‹<b c='1'›>d‹</b›> < ‹<!-- x --›>"],
    "attribute value": ['<a b=‹"c d›" e=‹\'f›\'>g="h"'],
}

GRADED = {
    "line position": [("ab⏎cd⏎⏎e", "12012001")],
    "characters to the newline": [("ab⏎cd⏎⏎e", "10210010")],
    "position in word": [("Hi, a b3c.", "1200101010"), ("été", "123")],
    "sentence position": [('Hi. You?" No', "123012345012"), ("a.b? c⏎⏎d", "123401201")],
    "paragraph position": [("ab⏎c⏎⏎d⏎ ⏎ef", "123450123012")],
    "bracket depth": [("f(a[1], {b})", "011221112210"), ("(a⏎⏎b", "11100")],
    "brace depth": [("{(a{b})}", "11122110")],
    "lines into the speech": [("A:⏎x⏎y⏎⏎B:⏎z", "0011223000" + "11")],
    "indentation": [("  a b⏎⏎ c", "122220011"), ("\ta⏎x", "8800")],
    "environment depth": [(r"\begin{a}x\end{a}y", "000000001111111100")],
    "tag depth": [("<a><br><c/>d</a>", "0011111111111110")],
}

PYTHON = {
    "in string": """
        x = f‹"a›{b‹}c›" + r‹'y›'  # "no"⏎s = ‹"›"⏎""",
    "docstring": '''
        def f():⏎    ‹"""D.""›"⏎    return "x"⏎''',
    "in comment": """
        x = "#"  ‹# why "not›⏎‹#›⏎""",
    "string or comment": """
        x = ‹"#›"  ‹# why›⏎""",
    "keyword": """
        ‹if› a ‹is› ‹None›: "for"⏎""",
    "if condition": """
        if‹ a[1:2] and {1: 2}›: b if‹ c ›else d⏎elif‹(x)›:⏎    [e for e in f if‹ e›]  # if a⏎""",
    "def or class header": """
        class‹ A(B)›:⏎    def‹ f(a: int = {1: 2}) -> None›: pass⏎""",
    "in brackets": """
        f‹(")", [1]›)  # (⏎""",
}
C = {
    "in comment": "int a; ‹/* b *›/ c; ‹// d›⏎e",
    "preprocessor line": "int a;⏎‹#include <a.h>›⏎b;⏎",
    "if condition": "if‹ (a(1) && b›) c; else if‹ (d›) {⏎}⏎",
    "in string": 'char *a = ‹"b\\"c›";⏎',
}


def unmarked(text: str) -> tuple[str, str]:
    """Split a marked text into the text and a line of `·` and `1`."""
    characters, values, inside = [], [], False
    for character in text.strip(" \n").replace("⏎", "\n"):
        if character in "‹›":
            inside = character == "‹"
        else:
            characters.append(character)
            values.append("·1"[inside])
    return "".join(characters), "".join(values)


def labels(name: str, text: str, language: str | None = None) -> str:
    values = CATALOG[name].of(Text(text, language))
    return "".join("·1"[int(value)] if values.dtype == bool else f"{value:.0f}" for value in values)


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in BINARY.items() for text in texts])
def test_binary_property_holds_where_marked(name, text):
    text, expected = unmarked(text)
    assert labels(name, text) == expected


@pytest.mark.parametrize(
    ("name", "text", "expected"), [(name, *pair) for name, pairs in GRADED.items() for pair in pairs]
)
def test_graded_property_has_the_values_below(name, text, expected):
    assert labels(name, text.replace("⏎", "\n")) == expected


@pytest.mark.parametrize(
    ("language", "name", "text"),
    [("python", *entry) for entry in PYTHON.items()] + [("c", *entry) for entry in C.items()],
)
def test_source_code_property_holds_where_marked(language, name, text):
    text, expected = unmarked(text)
    assert labels(name, text, language) == expected


def test_hash_of_the_word_is_constant_in_a_word():
    values = labels("hash of the word", "the cat sat on the mat")
    words = [values[start : start + size] for start, size in ((0, 3), (4, 3), (8, 3), (12, 2), (15, 3), (19, 3))]
    assert all(len(set(word)) == 1 for word in words)
    assert words[0] == words[4]
    assert len(set(words)) > 1


def test_t_mod_7_counts_from_the_start():
    assert labels("t mod 7", "a" * 9) == "111····11"


def test_comma_parity_counts_from_the_start():
    assert labels("comma parity", "a,b\n,,c,") == "·111·11·"


def test_first_letter_of_a_sentence_holds_to_its_end():
    text, expected = unmarked("‹An ox›. (ox! 3 ‹a b)⏎x⏎›⏎x. ‹B›")
    assert labels("sentence begins with A–M", text) == expected


def test_every_property_has_a_labeled_text():
    controls = {one.name for one in CATALOG.values() if one.control}
    labeled = {*BINARY, *GRADED, *PYTHON, *C, *controls}
    assert labeled == set(CATALOG)


@given(
    st.text(alphabet="aB1 \n\t\r\"'“”()[]{}<>=/$\\#`:.,?é", max_size=60),
    st.sampled_from([None, "python", "c", "tex", "xml"]),
)
def test_values_are_finite_for_any_text(characters, language):
    text = Text(characters, language)
    for chosen in CATALOG.values():
        if text.kind in chosen.applies:
            values = chosen.of(text)
            assert values.shape == (len(characters),)
            assert np.isfinite(values).all()
            assert values.min(initial=0) >= 0


@given(st.text(alphabet='ab\n"“”()[]{}', min_size=1, max_size=60), st.data())
def test_values_do_not_depend_on_later_characters(characters, data):
    cut = data.draw(st.integers(1, len(characters)))
    for name in (
        "line position",
        "position in word",
        "inside “…”",
        "inside parentheses",
        "bracket depth",
        "indentation",
    ):
        whole, part = CATALOG[name].of(Text(characters)), CATALOG[name].of(Text(characters[:cut]))
        assert np.array_equal(whole[:cut], part)
        assert not CATALOG[name].looks_ahead


def test_text_may_start_inside_a_docstring():
    body = "the words of a docstring that goes on and on " * 3
    code = f'x = 1\ndef f(a):\n    return a + 1\n\ndef g():\n    """Some words for those who read it {body}"""\n'
    characters = body + '"""\n' + code * 5
    values = CATALOG["string or comment"].of(Text(characters, "python"))
    assert values[: len(body)].all()
    assert not values[characters.index("x = 1") : characters.index("def g")].any()


def test_offsets_survive_carriage_returns_and_blank_lines():
    characters = '\n\n\r\nx = "a"\r\n'
    values = CATALOG["in string"].of(Text(characters, "python"))
    assert [i for i, value in enumerate(values) if value] == [characters.index('"'), characters.index('"') + 1]
    tokens = tokens_of(characters, "python")
    assert tokens[0].start == 0
    assert [token.start for token in tokens[1:]] == [token.end for token in tokens[:-1]]
    assert tokens[-1].end == len(characters)


def test_expression_holds_in_its_matches():
    chosen = find_property("thou=\\bthou\\w*")
    assert chosen.name == "thou"
    assert "".join("·1"[int(v)] for v in chosen.of(Text("a thoult thou"))) == "··111111·1111"


def test_expression_that_takes_too_long_is_refused():
    with pytest.raises(CharrnnError, match="takes too long to match"):
        from_expression("slow", "(.*)*Q", time_limit=0.2).of(Text("a" * 50))


ADVERSARIAL = [
    *("<", "<a ", "<a b='", '="', "<!-", "</", "$", "\\", "\\(", "\\begin{", "\\begin{align}", "\n", "\n ", "\r\n"),
    *(
        "http://",
        "www.",
        "[",
        "[[",
        "[a](",
        "](",
        "{",
        ")",
        '"',
        "“",
        ".",
        '."',
        "1,",
        "A:",
        "\n\nA",
        "Enter ",
        "#",
        "==",
    ),
]


@pytest.mark.parametrize("opening", ["", "<", "[[", "\\begin{", "http://"])
def test_properties_take_linear_time(opening):
    """A property with quadratic time takes over 5 s for one of these texts; all together take about 2 s."""
    for text in [Text(opening + "a" * 50_000), *(Text(opening + unit * (20_000 // len(unit))) for unit in ADVERSARIAL)]:
        for chosen in CATALOG.values():
            if text.kind in chosen.applies:
                start = time.process_time()
                chosen.of(text)
                assert time.process_time() - start < 0.5, (chosen.name, text.characters[:20])


def test_lexer_that_takes_too_long_is_stopped(monkeypatch):
    """Pygments' lexer of C takes quadratic time on blank lines."""
    monkeypatch.setattr(source_code, "MAX_SECONDS", 0.1)
    text = Text("\n" * 20_000, "c")
    start = time.process_time()
    for name in ("keyword", "in string", "bracket depth"):
        with pytest.raises(LexerTimeoutError, match="too long to read it as C; try `language='none'`"):
            CATALOG[name].of(text)
    assert time.process_time() - start < 1
    assert not text.has_tokens


def test_function_is_binary_or_graded_by_its_values(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "def vowels(text):\n    return [c in 'aeiou' for c in text]\n\n"
        "def codes(text):\n    return [ord(c) for c in text]\n\n"
        "def short(text):\n    return [1, 2]\n"
    )
    vowels, codes, short = (find_property(f"{file}:{name}") for name in ("vowels", "codes", "short"))
    assert vowels.kind == "binary"
    assert vowels.of(Text("hello")).tolist() == [False, True, False, False, True]
    assert codes.kind == "graded"
    assert codes.of(Text("ab")).tolist() == [97.0, 98.0]
    with pytest.raises(CharrnnError, match="2 values for 5 characters"):
        short.of(Text("hello"))


@pytest.mark.parametrize("value", ["float('nan')", "1e300", "-2**63", "'a'"])
def test_values_of_a_users_function_are_bounded_numbers(tmp_path, value):
    (tmp_path / "mine.py").write_text(f"def mine(text):\n    return [{value} for c in text]\n")
    with pytest.raises(CharrnnError, match="not numbers from"):
        find_property(f"{tmp_path / 'mine.py'}:mine").of(Text("hello"))


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "def mine(text):\n    return 1 / 0\n",
            "mine of .* fails: ZeroDivisionError: .*, line 2 of mine.py",
        ),
        ("def mine(text) return 0\n", "mine.py fails: SyntaxError: .*line 1"),
        ("def mine(text):\n    raise SystemExit(7)\n", "mine of .* fails: SystemExit: 7, line 2 of mine.py"),
        ("import nothing_of_this_name\n", "fails: ModuleNotFoundError: .*, line 1 of mine.py"),
    ],
)
def test_error_in_a_users_function_names_the_line(tmp_path, code, message):
    (tmp_path / "mine.py").write_text(code)
    with pytest.raises(CharrnnError, match=message):
        find_property(f"{tmp_path / 'mine.py'}:mine")


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("speker", "no property 'speker'"),
        (" =a", "no property ' =a'"),
        ("mine=(", "property mine: not a regular expression: missing"),
        ("mine=x{99999999999999999999}", "not a regular expression: the repetition number is too large"),
        ("mine=" + "(" * 3000 + ")" * 3000, "not a regular expression: it is longer than 1,000 characters"),
        ("nowhere.py:f", "no file nowhere.py"),
    ],
)
def test_unknown_property_is_refused_in_one_line(argument, message):
    with pytest.raises(UsageError, match=message) as caught:
        find_property(argument)
    assert "\n" not in str(caught.value)


def test_part_of_a_name_or_a_title_is_enough():
    assert find_property("docstr") is CATALOG["docstring"]
    assert find_property("word ends [next]") is CATALOG["word ends"]


@pytest.mark.parametrize(
    "argument", ["quotes", "inside quotes", 'inside "..."', 'inside "…"', "Inside “...”", "inside “…”"]
)
def test_quotes_need_no_typographic_signs(argument):
    assert find_property(argument) is CATALOG["inside “…”"]


def test_phrase_of_a_property_is_a_name_too():
    assert find_property("inside docstrings") is CATALOG["docstring"]
    assert find_property("parentheses") is CATALOG["inside parentheses"]


@pytest.mark.parametrize(
    ("argument", "nearest"),
    [
        ("position", "line position, position in word, sentence position, paragraph position"),
        ("inside parentesis", "inside parentheses"),
        ("qotes", "inside “…”?"),
        ("speker name", "speaker name"),
        ("insde", "in number, inside “…”, inside parentheses"),  # a word of several names
    ],
)
def test_nearest_names_come_first(argument, nearest):
    with pytest.raises(UsageError) as caught:
        find_property(argument)
    assert str(caught.value).startswith(f"there is no property {argument!r}; did you mean {nearest}")


def test_control_labels_are_not_suggested():
    for argument in ("xyz", "hash of the wrd", "comma parit"):
        with pytest.raises(UsageError) as caught:
            find_property(argument)
        message = str(caught.value).removeprefix(f"there is no property {argument!r}")
        listed = message.partition("he catalog: ")[2].partition(". Your own")[0].split(", ")
        assert sorted(listed) == sorted(one.name for one in searchable())
        assert not any(one.name in message for one in CATALOG.values() if one.control)


def test_languages_by_name_and_by_file_suffix():
    assert find_language("C++") == "cpp"
    assert find_language(".rs") == "rust"
    assert guess_language(["a.py", "b.py", "README.md"]) == "python"
    assert guess_language(["shakespeare.txt"]) is None
    assert guess_language([]) is None
    assert (kind_of(None), kind_of("python"), kind_of("tex"), kind_of("html")) == ("prose", "code", "tex", "xml")
    with pytest.raises(UsageError, match="knows no language"):
        find_language("klingonian")


def test_lexer_without_an_alias_is_used(monkeypatch):
    class Nameless(RegexLexer):
        name, filenames = "Nameless Script", ("*.nameless",)
        tokens = MappingProxyType({"root": [("#.*", Comment), (r"\s+", Whitespace), (r"\S+", Name)]})

    monkeypatch.setitem(find_lexer_class.__globals__, "find_plugin_lexers", lambda: [Nameless])
    assert find_language("nameless") == guess_language(["a.nameless"]) == "Nameless Script"
    assert kind_of("Nameless Script") == "code"
    assert [token.text for token in tokens_of("a # b", "Nameless Script")] == ["a", " ", "# b"]


def test_every_property_is_described():
    for chosen in CATALOG.values():
        assert chosen.kind in ("binary", "graded")
        assert chosen.definition.endswith((".", ":"))
        assert chosen.applies and chosen.applies <= ANY


@pytest.fixture
def after_vowel() -> Iterator[Property]:
    """A property registered by code outside the package."""

    @register("after a vowel", "binary", "The character before is a vowel.", family="letters")
    def _after_a_vowel(text: Text) -> np.ndarray:
        return np.append(False, text.is_any_of("aeiou")[:-1])

    yield CATALOG["after a vowel"]
    del CATALOG["after a vowel"]


def test_registered_property_is_searched_for(after_vowel):
    assert find_property("after a vowel") is after_vowel
    characters = prose(12_000)
    vocabulary = Vocabulary.of(characters)
    network, text = network_for(vocabulary), EncodedText(vocabulary.encode(characters))
    effort = Effort(permutations=20, pseudo_labels=5, resamples=20, untrained=1)
    found = discover(network, text, Text(characters), searchable(), symbols=vocabulary.symbols, effort=effort)
    assert "after a vowel" in found.testable
    values = after_vowel.of(Text(characters))
    assert cell_history({1: network}.__getitem__, [1], text, Cell(1, 0), "c", values).steps == (1,)
    claim = found["after a vowel"][0]
    disagreeing = contradictions(network, text, Text(characters), claim, after_vowel)
    assert disagreeing
    assert all(one.holds == values[one.position] for one in disagreeing)


def test_registered_property_works_in_every_command(after_vowel, home, short_text):
    make_run(home, short_text[:12_000])
    assert "1 of 1 properties can be tested" in invoke("-p", "after a vowel")
    assert "after a vowel" in invoke("--all")
    assert "compared with after a vowel" in invoke("--cell", "2", "-p", "after a vowel", command="history")
    assert "cell 1:2: no property found" in invoke("--cell", "2", "--length", "20")


def test_name_of_a_property_is_taken_once(after_vowel):
    with pytest.raises(ValueError, match="already a property 'after a vowel'"):

        @register("after a vowel", "binary", "After another vowel.")
        def _other(text: Text) -> np.ndarray:
            return text.is_any_of("aeiouy")


def test_code_of_a_property_is_known_outside_the_package(after_vowel):
    assert after_vowel.code
    assert CATALOG["URL"].code == ""
