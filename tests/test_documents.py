"""charrnn.text.documents, and the split between documents."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import CharrnnError, UsageError
from charrnn.text import documents as documents_module
from charrnn.text.corpus import load_corpus
from charrnn.text.documents import DocumentSeparator
from charrnn.text.encoded_text import EncodedText
from charrnn.text.vocabulary import Vocabulary

separator = functools.cache(DocumentSeparator)


def cut(text: str | bytes, rule: str, lengths: list[int] | None = None) -> list[str]:
    vocabulary = Vocabulary.of(text) if isinstance(text, str) else Vocabulary.of_bytes()
    documents = separator(rule).separate(vocabulary.encode(text), vocabulary, lengths)
    return [vocabulary.decode(piece) for piece in np.split(documents.ids, documents.starts[1:])]


def test_lines_end_with_their_newline() -> None:
    assert cut("anna\nbob\n\nc", "lines") == ["anna\n", "bob\n", "\n", "c"]
    assert cut("anna\nbob\n", "lines") == ["anna\n", "bob\n"]
    assert cut("no end", "lines") == ["no end"]
    assert cut(b"\xffa\r\nb", "lines") == [b"\xffa\r\n", b"b"]


@pytest.mark.parametrize("rule", ["lines", "files", "b"])
def test_empty_text_has_no_documents(rule: str) -> None:
    assert not separator(rule).separate(np.zeros(0, np.uint8), Vocabulary.of("ab\n")).has_documents


def test_empty_files_are_no_documents(tmp_path: Path) -> None:
    for name, text in {"a.txt": "first", "b.txt": "", "c.txt": "second\n", "d.txt": "x", "e.txt": ""}.items():
        (tmp_path / name).write_text(text)
    corpus = load_corpus([str(tmp_path)])
    documents = DocumentSeparator("files").separate(corpus.ids, corpus.vocabulary, corpus.lengths)
    assert documents.starts.tolist() == [0, 5, 12]
    assert documents.document_lengths() == [5, 7, 1]


@pytest.mark.parametrize(
    ("rule", "text", "expected"),
    [
        (r"\n\n+", "a\nb\n\n\n\nc\n\n", ["a\nb\n\n\n\n", "c\n\n"]),
        (r"<end>\n?", "a<end>\nb<end>c", ["a<end>\n", "b<end>", "c"]),
        (r"^---$", "a\n---\nb\n---", ["a\n---", "\nb\n---"]),
        (r"(?<=b)\n", "a\nb\nc\n", ["a\nb\n", "c\n"]),
        (r"nowhere", "abc", ["abc"]),
        (r"(lines)", "a lines b", ["a lines", " b"]),
        (r".", "abc", ["a", "b", "c"]),
        (r"é\n", "é\na".encode(), ["é\n".encode(), b"a"]),
    ],
)
def test_separator_ends_the_document_before_it(rule: str, text: str, expected: list[str]) -> None:
    assert cut(text, rule) == expected


@given(text=st.text("ab\n", min_size=1, max_size=200), rule=st.sampled_from(["lines", r"\n\n+", r"ab?\n", r"(?<=a)b"]))
def test_blocks_do_not_change_the_documents(text: str, rule: str) -> None:
    expected = cut(text, rule)
    assert "".join(expected) == text
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents_module, "IDS_AT_ONCE", 23)
        patch.setattr(documents_module, "LONGEST_SEPARATOR", 12)
        patch.setattr(documents_module, "MEMORY_LIMIT", 10)
        if max((len(run) for run in re.findall(r"\n+", text)), default=0) < 12:
            assert cut(text, rule) == expected


def test_starts_of_a_large_text_are_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARRNN_HOME", str(tmp_path))
    monkeypatch.setattr(documents_module, "MEMORY_LIMIT", 10)
    vocabulary = Vocabulary.of("ab\n")
    documents = DocumentSeparator("lines").separate(vocabulary.encode("a\nb\n" * 50), vocabulary)
    assert isinstance(documents.starts, np.memmap)
    assert documents.starts.tolist() == list(range(0, 200, 2))
    assert list((tmp_path / "corpora").iterdir()) == []


@pytest.mark.parametrize("rule", ["(", "*", "a{99999999999}", "(?P<n>", "\udcff", "a" * 420_000])
def test_invalid_expression(rule: str) -> None:
    with pytest.raises(UsageError, match="`documents` must be lines, files or a regular expression") as caught:
        DocumentSeparator(rule)
    assert len(str(caught.value)) < 1000


@given(lengths=st.lists(st.integers(1, 20), min_size=2, max_size=30), fraction=st.floats(0.01, 0.5))
def test_split_falls_between_documents(lengths: list[int], fraction: float) -> None:
    ids = np.arange(sum(lengths))
    documents = EncodedText(ids, np.cumsum([0, *lengths[:-1]]), 0)
    train, validation = documents.split(fraction)
    assert np.array_equal(np.concatenate([train.ids, validation.ids]), ids)
    assert train.document_lengths() + validation.document_lengths() == lengths
    wanted = len(ids) * (1 - fraction)
    nearest = min(abs(start - wanted) for start in documents.starts[1:])
    assert abs(len(train) - wanted) == pytest.approx(nearest, abs=1e-6)


def test_one_document_cannot_be_split() -> None:
    with pytest.raises(CharrnnError, match="the whole text is one document"):
        EncodedText(np.arange(5), np.zeros(1, np.int64), 0).split(0.1)


def test_slice_may_cut_the_last_document() -> None:
    documents = EncodedText(np.arange(10), np.array([0, 4, 8]), 0)
    assert documents[:6].document_lengths() == [4, 2]
    assert documents[:4].document_lengths() == [4]
    assert documents[:99].document_lengths() == [4, 4, 2]


def test_opening_is_a_newline_or_the_first_character() -> None:
    assert Vocabulary.of("b\na").opening_id == 0
    assert Vocabulary("characters", "ba\n").opening_id == 2
    assert Vocabulary.of("ba").opening_id == 0
    assert Vocabulary.of_bytes().opening_id == 10


@pytest.mark.parametrize("rule", [r"\u000a", "(?u)x"])
def test_invalid_expression_for_bytes(rule: str) -> None:
    with pytest.raises(UsageError, match=r"`documents` .* cannot be matched with bytes"):
        DocumentSeparator(rule).separate(np.arange(5, dtype=np.uint8), Vocabulary.of_bytes())


def test_is_end() -> None:
    assert DocumentSeparator("lines").is_end("anna\n")
    assert not DocumentSeparator("lines").is_end("anna")
    assert not DocumentSeparator("files").is_end("anna\n")
    assert DocumentSeparator(r"\n\n+").is_end("a\n\n")
    assert not DocumentSeparator(r"\n\n+").is_end("a\n")
    assert not DocumentSeparator(r"(?=a)").is_end("b")
    assert not DocumentSeparator("").is_end("b")
    for rule in ("lines", "files", "x"):
        assert DocumentSeparator(rule).may_end_with("\n") == (rule != "files")
    assert not DocumentSeparator("lines").may_end_with("a")


def test_exponential_expression_times_out() -> None:
    rule = DocumentSeparator("(a+)+b", time_limit=0.2)
    text = "a" * 60 + "c"
    vocabulary = Vocabulary.of(text)
    for search in (lambda: rule.is_end(text), lambda: rule.separate(vocabulary.encode(text), vocabulary)):
        with pytest.raises(UsageError, match="takes too long"):
            search()


@pytest.mark.parametrize("rule", ["", r"(?=CHAPTER)", r"^", r"\n*", r"\n(?=CHAPTER)", r"$", r"\b"])
def test_expression_that_looks_ahead(rule: str) -> None:
    with pytest.raises(UsageError, match="needs the following text") as caught:
        cut("\na\nCHAPTER 1\nb\nCHAPTER 2\nb", rule)
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="needs the following text"):
        cut(b"\na\nCHAPTER 1\nb\nCHAPTER 2\nb", rule)


@given(
    text=st.text("ab\n", min_size=1, max_size=60),
    rule=st.sampled_from([r"\n\n+", r"\n", r"a|ab", r"(ab)+", r"(?<=a)b", r"a$", r"\n+a?"]),
)
def test_every_document_ends_where_is_end_says(text: str, rule: str) -> None:
    for document in cut(text, rule)[:-1]:
        assert separator(rule).is_end(document)
