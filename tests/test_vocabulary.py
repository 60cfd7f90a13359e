"""charrnn.text.vocabulary"""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import CharrnnError
from charrnn.text import vocabulary as vocabulary_module
from charrnn.text.vocabulary import StreamDecoder, Vocabulary, code_points

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@pytest.fixture
def tiny_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of four characters or bytes."""
    monkeypatch.setattr(vocabulary_module, "PIECE", 4)


@given(TEXTS)
def test_encoding_round_trips(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vocabulary_module, "PIECE", 4)
        vocabulary = Vocabulary.of(text)
        ids = vocabulary.encode(text)
        assert vocabulary.decode(ids) == text
        assert vocabulary.text(ids) == text
        assert ids.dtype == vocabulary.id_type
        assert ids.tolist() == [vocabulary.characters.index(c) for c in text]


@given(st.binary())
def test_ids_of_bytes_are_their_values(raw: bytes) -> None:
    vocabulary = Vocabulary.of_bytes()
    assert vocabulary.encode(raw).tolist() == list(raw)
    assert vocabulary.decode(vocabulary.encode(raw)) == raw
    assert vocabulary.text(list(raw)) == raw.decode("utf-8", "replace")


def test_characters_are_sorted_code_points() -> None:
    vocabulary = Vocabulary.of("b\r\na\0\x1bé\U0001f600b")
    assert vocabulary.characters == "\0\n\r\x1babé\U0001f600"
    assert len(vocabulary) == 8


@pytest.mark.parametrize(
    ("count", "id_type"), [(256, np.uint8), (257, np.uint16), (65536, np.uint16), (65537, np.uint32)]
)
def test_id_type(count: int, id_type: type[np.unsignedinteger]) -> None:
    points = np.concatenate([np.arange(0xD800), np.arange(0xE000, 0xE000 + 20000)])[:count]
    vocabulary = Vocabulary.of_code_points(points)
    assert vocabulary.id_type == id_type
    assert vocabulary.encode(vocabulary.characters).tolist() == list(range(count))


def test_str_and_bytes_convert_as_utf_8() -> None:
    assert Vocabulary.of_bytes().encode("é").tolist() == [0xC3, 0xA9]
    assert Vocabulary.of("aé").encode("éa".encode()).tolist() == [1, 0]


def test_unknown_characters_are_named(tiny_pieces: None) -> None:
    with pytest.raises(CharrnnError) as caught:
        Vocabulary.of("abc").encode("aéab\x07bcéa", source="prime", hint="use --skip-unknown")
    assert caught.value.message == (
        "prime has unknown characters: 'é' U+00E9 (2 times, first at character 1), U+0007 (at character 4)"
    )
    assert caught.value.hint == "use --skip-unknown"


def test_many_unknown_characters() -> None:
    with pytest.raises(CharrnnError, match=r"U\+0069 \(at character 8\) and 5 more characters$"):
        Vocabulary.of("a").encode("abcdefghijklmn")


def test_unknown_characters_can_be_skipped(tiny_pieces: None) -> None:
    vocabulary = Vocabulary.of("abc")
    assert vocabulary.text(vocabulary.encode("xaxxxxxbxc", skip_unknown=True)) == "abc"
    assert len(vocabulary.encode("xyz", skip_unknown=True)) == 0


@pytest.mark.parametrize("vocabulary", [Vocabulary.of("ab"), Vocabulary.of_bytes()], ids=["characters", "bytes"])
def test_lone_surrogate_is_unknown(vocabulary: Vocabulary) -> None:
    with pytest.raises(CharrnnError, match=r"U\+D800 \(at character 1\)"):
        vocabulary.encode("a\ud800b")
    assert vocabulary.text(vocabulary.encode("a\ud800b", skip_unknown=True)) == "ab"


def test_id_out_of_range() -> None:
    for vocabulary in (Vocabulary.of("abc"), Vocabulary.of_bytes()):
        for bad in (-1, len(vocabulary)):
            with pytest.raises(IndexError):
                vocabulary.decode([0, bad])
    with pytest.raises(TypeError):
        Vocabulary.of("abc").decode([0.0])


def test_empty_text() -> None:
    for vocabulary, nothing in ((Vocabulary.of("a"), ""), (Vocabulary.of_bytes(), b"")):
        assert len(vocabulary.encode(nothing)) == 0
        assert vocabulary.decode([]) == nothing
        assert vocabulary.text([]) == ""


@given(TEXTS, st.text(st.characters(exclude_categories=["Cs"])))
def test_extended_vocabulary_keeps_ids(old: str, new: str) -> None:
    vocabulary = Vocabulary.of(old)
    extended = vocabulary.extended_with(new)
    added = extended.characters[len(vocabulary) :]
    assert extended.characters.startswith(vocabulary.characters)
    assert list(added) == sorted(set(new) - set(old))
    assert extended.encode(old).tolist() == vocabulary.encode(old).tolist()
    assert extended.decode(extended.encode(old + new)) == old + new


def test_bytes_need_no_extension() -> None:
    assert Vocabulary.of_bytes().extended_with("é") == Vocabulary.of_bytes()


def test_symbols_are_printable() -> None:
    assert Vocabulary.of("\n a\0é\u202e").symbols == ["\\x00", "\\n", " ", "a", "é", "\\u202e"]
    symbols = Vocabulary.of_bytes().symbols
    assert (symbols[0x0A], symbols[0x41], symbols[0x7F], symbols[0xE9]) == ("\\x0a", "A", "\\x7f", "\\xe9")
    assert len(set(symbols)) == 256


@given(TEXTS)
def test_json_round_trips(text: str) -> None:
    for vocabulary in (Vocabulary.of(text), Vocabulary.of(text).extended_with("zyx"), Vocabulary.of_bytes()):
        assert Vocabulary.from_json(json.loads(json.dumps(vocabulary.to_json())), "file") == vocabulary


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {},
        {"kind": "characters"},
        {"kind": "characters", "characters": ""},
        {"kind": "characters", "characters": "aba"},
        {"kind": "characters", "characters": "a\ud800"},
        {"kind": "characters", "characters": ["a"]},
        {"kind": "characters", "characters": "ab", "more": 1},
        {"kind": "words", "characters": "ab"},
        {"kind": "bytes", "characters": "ab"},
        {"kind": ["bytes"], "characters": ""},
    ],
)
def test_invalid_json(data: object) -> None:
    with pytest.raises(CharrnnError, match=r"^vocabulary\.json: "):
        Vocabulary.from_json(data, "vocabulary.json")


@given(st.binary(max_size=60), st.lists(st.integers(0, 60)))
def test_stream_decoder_does_not_depend_on_cuts(raw: bytes, cuts: list[int]) -> None:
    decoder = StreamDecoder(Vocabulary.of_bytes())
    bounds = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    pieces = [decoder.feed(list(raw[a:b])) for a, b in itertools.pairwise(bounds)]
    assert "".join(pieces) + decoder.end() == raw.decode("utf-8", "replace")
    assert decoder.feed([0x61]) == "a"


def test_stream_decoder_of_characters() -> None:
    decoder = StreamDecoder(Vocabulary.of("aé"))
    assert (decoder.feed([1]), decoder.feed([]), decoder.feed([0, 1]), decoder.end()) == ("é", "", "aé", "")


@given(st.binary(max_size=40))
def test_offset_of_bytes_that_are_not_utf_8(raw: bytes) -> None:
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        with pytest.raises(CharrnnError) as caught:
            Vocabulary.of("a").encode(raw, source="file")
        assert caught.value.message == f"file is not UTF-8: byte 0x{raw[error.start]:02X} at offset {error.start}"
        assert "`as_bytes=True`" in caught.value.hint
    else:
        vocabulary = Vocabulary.of(text + "a")
        assert vocabulary.decode(vocabulary.encode(raw)) == text


def test_code_points() -> None:
    text = "a\0é\ud800\U0010ffff"
    assert code_points(text).tolist() == [ord(c) for c in text]


def test_empty_vocabulary() -> None:
    with pytest.raises(CharrnnError, match="at least one character"):
        Vocabulary.of("")
