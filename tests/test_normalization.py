"""charrnn.text.normalization, and normalized runs."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import charrnn
from charrnn.errors import UsageError
from charrnn.model.run_settings import CorpusIdentity
from charrnn.text import encoder
from charrnn.text.corpus import load_corpus
from charrnn.text.normalization import LONGEST_RUN, UNICODE_FORMS, NFCCheck, StreamNormalizer, normalized
from tests.corpus_files import put, whole

KOREAN = "오늘은 비가 온다. 우산을 챙겨라.\n고양이가 창가에서 잔다.\n"
MIXED = KOREAN + "今日は雨です。がぎぐげご\nمَرْحَبًا بِكُم\nनमस्ते, हिन्दी में\nĜis revido, café, Å, ﬁ\n🇰🇷 👍🏽 👩‍💻 ❤️\n"
FORMS = pytest.mark.parametrize("form", list(UNICODE_FORMS))
TEXTS = st.text(st.sampled_from(sorted(set(MIXED + unicodedata.normalize("NFD", MIXED) + "\u09c7\u09be\u0f71\u0344"))))


def streamed(normalizer: StreamNormalizer, pieces: list[str]) -> str:
    return "".join(map(normalizer.convert, pieces)) + normalizer.end()


@FORMS
@given(pieces=st.lists(TEXTS))
def test_stream_equals_whole(form: str, pieces: list[str]) -> None:
    assert streamed(StreamNormalizer(form), pieces) == normalized("".join(pieces), form)


@given(text=TEXTS)
def test_forms_of_unicode(text: str) -> None:
    assert normalized(text, "nfc") == unicodedata.normalize("NFC", text)
    assert normalized(text, "nfd") == unicodedata.normalize("NFD", text)
    assert normalized(text, "none") == text


@given(text=TEXTS)
def test_jamo_are_composed_to_nfc_again(text: str) -> None:
    letters = normalized(text, "jamo")
    assert not any("\uac00" <= character <= "\ud7a3" for character in letters)
    assert normalized(letters, "jamo") == letters
    assert normalized(letters, "nfc") == unicodedata.normalize("NFC", text)


def test_jamo_decompose_nothing_but_syllables() -> None:
    assert normalized("각é", "jamo") == "\u1100\u1161\u11a8é"


def test_a_character_that_changes_with_those_before_it_is_held_back() -> None:
    """Every character that occurs after the first in a canonical decomposition of this version of Unicode."""
    later = {part for point in range(0x110000) for part in _canonical(chr(point))[1:]}
    for character in sorted(later):
        normalizer = StreamNormalizer("nfc")
        assert normalizer.convert("a") + normalizer.convert(character) == ""


def _canonical(character: str) -> list[str]:
    parts = unicodedata.decomposition(character).split()
    return [] if not parts or parts[0].startswith("<") else [chr(int(part, 16)) for part in parts]


@pytest.mark.parametrize("size", [1, 7, LONGEST_RUN + 1])
def test_a_long_run_of_marks_takes_linear_time(size: int) -> None:
    text = "a" + "\u0301\u0316" * 5000 + "b"
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    assert streamed(StreamNormalizer("nfd"), pieces) == normalized(text, "nfd")
    assert sorted(normalized(text, "nfd")) == sorted(text)


@given(pieces=st.lists(TEXTS))
def test_check(pieces: list[str]) -> None:
    check = NFCCheck()
    for piece in pieces:
        check.feed(piece.encode() if piece.isascii() else piece)
    if unicodedata.is_normalized("NFC", "".join(pieces)):
        assert check.is_nfc


# Corpora


@pytest.mark.parametrize("memory_limit", [1_000_000, 10], ids=["small", "large"])
@pytest.mark.parametrize("form", [*UNICODE_FORMS, "none"])
def test_corpus(form: str, memory_limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(encoder, "READ_AT_ONCE", 3)
    text = unicodedata.normalize("NFD", MIXED) + MIXED
    put("a.txt", text.replace("\n", "\r\n"))
    for _ in range(2):  # the second time, a large corpus is found
        corpus = load_corpus(["a.txt"], normalize=form, memory_limit=memory_limit)
        assert whole(corpus) == normalized(text, form)
        assert corpus.not_nfc == (form == "none")


def test_nfc_is_not_mentioned(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(unicodedata.normalize("NFC", MIXED), encoding="utf-8")
    assert load_corpus([str(tmp_path / "a.txt")]).not_nfc == 0


# Runs


def test_older_runs_are_not_normalized() -> None:
    assert CorpusIdentity.from_json({"name": "old"}, "run.json").normalize == "none"


@pytest.fixture(scope="module")
def korean(tmp_path_factory: pytest.TempPathFactory) -> charrnn.Model:
    """A run on Hangul letters."""
    folder = tmp_path_factory.mktemp("korean")
    (folder / "ko.txt").write_text(KOREAN * 20, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHARRNN_HOME", str(folder))
        return charrnn.train(folder / "ko.txt", name="ko", steps=2, hidden_size=8, normalize="jamo", threads=1)


def test_texts_of_a_jamo_run(korean: charrnn.Model) -> None:
    expected = korean.vocabulary.encode(normalized(KOREAN, "jamo"))
    for text in (KOREAN, unicodedata.normalize("NFD", KOREAN), normalized(KOREAN, "jamo")):
        assert np.array_equal(korean.encode(text).ids, expected)
    assert korean.run.text(expected) == KOREAN
    assert korean.run.is_corpus(np.tile(expected, 20))
    assert korean.score(KOREAN).mean > 0


def test_generated_syllables_are_composed(korean: charrnn.Model) -> None:
    options = {"length": 200, "seed": 3, "num": 1}
    raw = korean.vocabulary.text([int(ids[0]) for ids in korean.generate("오늘", **options)])
    assert korean.sample("오늘", length=200, seed=3) == unicodedata.normalize("NFC", raw) != raw
    assert "".join(korean.stream("오늘", length=200, seed=3)) == unicodedata.normalize("NFC", raw)


def test_stop_conditions_of_a_jamo_run(korean: charrnn.Model) -> None:
    text = korean.sample(length=500, seed=3)
    syllable = next(one for one in text[10:] if "가" <= one <= "힣")
    stopped = korean.sample(length=500, seed=3, stop=syllable)
    assert normalized(stopped, "jamo").endswith(normalized(syllable, "jamo"))
    assert korean.sample(length=500, seed=3, stop_regex=syllable) == text[: text.index(syllable) + 1]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_texts_that_match_in_a_jamo_run(korean: charrnn.Model, form: str) -> None:
    """A character of the expression is a syllable, in whatever form a person types it."""
    expression = "[가-힣]{2} ([가-힣]{3}|.\n){4}"
    found = korean.sample(n=5, seed=3, matching=unicodedata.normalize(form, expression))
    assert all(re.fullmatch(expression, one) for one in found)
    with pytest.raises(UsageError, match="the model has no character for é"):
        korean.sample(matching=unicodedata.normalize(form, "é"))


def test_expressions_of_an_nfd_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARRNN_HOME", str(tmp_path))
    (tmp_path / "fr.txt").write_text("été, où ça ? là-bas !\n" * 40, encoding="utf-8")
    model = charrnn.train(tmp_path / "fr.txt", steps=2, hidden_size=8, normalize="nfd", threads=1)
    for text in model.sample(n=5, seed=1, matching=r"[à-ù]{3}( \w+\b){2}"):
        assert re.fullmatch(r"[à-ù]{3}( \w+\b){2}", unicodedata.normalize("NFC", text))
    stopped = unicodedata.normalize("NFC", model.sample(length=3000, seed=1, stop_regex="é."))
    assert re.search("é.", stopped).end() == len(stopped)


def test_banned_characters_of_a_jamo_run(korean: charrnn.Model) -> None:
    assert "\u1100" not in normalized(korean.sample(length=200, seed=3, ban="\u1100"), "jamo")
    with pytest.raises(
        UsageError, match="`ban`: '가' is 2 characters for this model, whose text is normalized to jamo"
    ):
        korean.sample(ban="가")


def test_a_run_from_the_weights_of_a_jamo_run(
    korean: charrnn.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHARRNN_HOME", str(korean.run.path.parent.parent))
    (tmp_path / "more.txt").write_text(KOREAN * 20, encoding="utf-8")
    model = charrnn.train(tmp_path / "more.txt", init_from="ko", steps=1, threads=1)
    assert model.run.settings.corpus.normalize == "jamo"
    assert model.vocabulary == korean.vocabulary
    with pytest.raises(UsageError, match="ko, whose weights this run starts from, has `normalize` jamo, not nfc"):
        charrnn.train(tmp_path / "more.txt", init_from="ko", steps=1, normalize="nfc")
