"""How files become characters: encodings, line ends, and the choice of files below a folder."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePath

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import CharrnnError, UsageError
from charrnn.model.run_settings import CorpusIdentity
from charrnn.settings import ReadSettings
from charrnn.text import encoder
from charrnn.text.corpus import load_corpus, read_text
from charrnn.text.path_filter import matches
from tests.corpus_files import failure, put, whole

SIZES = pytest.mark.parametrize("memory_limit", [1_000_000, 10], ids=["small", "large"])
WRITTEN = "Grüße, très déjà vu\r\nname\rlast\r\n" * 5


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory, and blocks so small that characters and line ends are split."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CHARRNN_HOME", raising=False)
    monkeypatch.setattr(encoder, "READ_AT_ONCE", 3)
    return tmp_path


# Encodings


@SIZES
@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-16-le", "utf-32", "shift_jis", "utf-8"])
def test_encoding(encoding: str, memory_limit: int) -> None:
    text = "日本語とABC\n" * 9 if encoding == "shift_jis" else WRITTEN
    data = text.encode(encoding)
    put("a.txt", data)
    for _ in range(2):  # the second time, a large corpus is found
        corpus = load_corpus(["a.txt"], encoding=encoding, newlines="keep", memory_limit=memory_limit)
        assert whole(corpus) == text
        assert (corpus.sha256, corpus.size) == (hashlib.sha256(data).hexdigest(), len(data))
        assert isinstance(corpus.ids, np.memmap) == (memory_limit == 10)


@SIZES
def test_each_way_of_reading_has_its_own_ids(memory_limit: int) -> None:
    put("a.txt", "é\r\n" * 9)
    ways = [("utf-8", "keep"), ("utf-8", "lf"), ("latin-1", "keep"), ("latin-1", "lf")]
    expected = ["é\r\n" * 9, "é\n" * 9, "Ã©\r\n" * 9, "Ã©\n" * 9]
    for _ in range(2):
        for (encoding, newlines), text in zip(ways, expected, strict=True):
            corpus = load_corpus(["a.txt"], encoding=encoding, newlines=newlines, memory_limit=memory_limit)
            assert whole(corpus) == text


@SIZES
def test_hint_names_an_encoding(memory_limit: int) -> None:
    put("latin.txt", WRITTEN.encode("latin-1"))
    error = failure("latin.txt", memory_limit=memory_limit)
    assert error.message == "latin.txt is not UTF-8: byte 0xFC at offset 2"
    assert "`encoding='latin-1'` reads it" in str(error)
    put("wide.txt", WRITTEN.encode("utf-16"))
    assert "`encoding='utf-16'` reads it" in str(failure("wide.txt", memory_limit=memory_limit))


@SIZES
@pytest.mark.parametrize(
    ("encoding", "data", "message"),
    [
        ("cp1252", b"abcdefghij\x81", "a.txt is not cp1252: byte 0x81 at offset 10"),
        ("shift_jis", b"abcdefghij\x82", "a.txt is not shift_jis: byte 0x82 at offset 10"),
        ("utf-16-le", b"a\0b\0c\0d\0e\0f\0g", "a.txt is not utf-16-le: byte 0x67 at offset 12"),
        ("utf-16", b"no byte order mark", "a.txt is not utf-16: UTF-16 stream does not start with BOM"),
    ],
)
def test_wrong_encoding(encoding: str, data: bytes, message: str, memory_limit: int) -> None:
    put("a.txt", data)
    error = failure("a.txt", encoding=encoding, memory_limit=memory_limit)
    assert error.message.startswith(message)
    assert error.hint


@pytest.mark.parametrize("name", ["klingon", "base64", "rot13", "idna", "undefined", "unicode_escape", "", "a\0b", "é"])
def test_unknown_encoding(name: str) -> None:
    put("a.txt")
    with pytest.raises(UsageError, match="unknown encoding"):
        load_corpus(["a.txt"], encoding=name)


def test_binary_files_of_a_folder_in_another_encoding() -> None:
    put("texts/a.txt", "aé\n".encode("utf-16"))
    put("texts/b.bin", "\0\0é".encode("utf-16"))
    corpus = load_corpus(["texts"], encoding="utf-16")
    assert whole(corpus) == "aé\n"
    assert corpus.skipped_files == {"texts/b.bin": "binary"}
    put("latin/a.txt", b"a\xe9\n")
    put("latin/b.bin", b"\0\xe9")
    assert load_corpus(["latin"], encoding="latin-1").skipped_files == {"latin/b.bin": "binary"}


def test_names_of_an_encoding_are_one() -> None:
    assert ReadSettings(encoding="latin-1") == ReadSettings(encoding="ISO-8859-1") != ReadSettings(encoding="UTF8")
    assert ReadSettings(encoding="UTF8") == ReadSettings()


# Line ends


@SIZES
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-16"])
def test_line_ends_become_lf(encoding: str, memory_limit: int) -> None:
    data = WRITTEN.encode(encoding)
    put("a.txt", data)
    corpus = load_corpus(["a.txt"], encoding=encoding, memory_limit=memory_limit)
    assert whole(corpus) == WRITTEN.replace("\r\n", "\n").replace("\r", "\n")
    assert corpus.sha256 == hashlib.sha256(data).hexdigest()
    assert corpus.converted == 1
    assert load_corpus(["a.txt"], encoding=encoding, newlines="keep", memory_limit=memory_limit).converted == 0


@SIZES
@given(text=st.text("\r\né日a", min_size=11, max_size=40))
def test_any_line_ends(tmp_path_factory: pytest.TempPathFactory, text: str, memory_limit: int) -> None:
    path = tmp_path_factory.mktemp("texts") / "a.txt"
    path.write_bytes((text + "ab").encode())
    corpus = load_corpus([str(path)], memory_limit=memory_limit)
    assert whole(corpus) == (text + "ab").replace("\r\n", "\n").replace("\r", "\n")
    assert corpus.converted == ("\r" in text)


@SIZES
def test_files_end_their_own_lines(memory_limit: int) -> None:
    """A CR at the end of one file and an LF at the start of the next are two line ends."""
    put("texts/a.txt", "abcdefgh\r")
    put("texts/b.txt", "\nx")
    put("texts/c.txt", "y\n")
    corpus = load_corpus(["texts"], memory_limit=memory_limit)
    assert whole(corpus) == "abcdefgh\n\nxy\n"
    assert (corpus.lengths, corpus.converted) == ([9, 2, 2], 1)


def test_bytes_are_not_converted() -> None:
    put("a.txt", b"a\r\n\xff")
    corpus = load_corpus(["a.txt"], as_bytes=True, encoding="utf-16")
    assert corpus.ids.tolist() == list(b"a\r\n\xff")
    assert read_text("a.txt", as_bytes=True) == b"a\r\n\xff"


def test_newlines_are_lf_or_keep() -> None:
    with pytest.raises(UsageError, match="`newlines` must be one of keep, lf"):
        load_corpus(["a.txt"], newlines="crlf")


# Choice of files


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("*.md", "a.md", True),
        ("*.md", "deep/er/a.md", True),
        ("*.md", "a.mdx", False),
        ("tests", "tests/deep/a.py", True),
        ("tests/", "src/tests/a.py", True),
        ("docs/*.md", "docs/a.md", True),
        ("./docs/*.md", "docs/a.md", True),
        ("docs/*.md", "docs/deep/a.md", False),
        ("docs/*.md", "src/docs/a.md", False),
        ("docs/**/*.md", "docs/a.md", True),
        ("docs/**/*.md", "docs/very/deep/a.md", True),
        ("**/docs", "src/docs/a.md", True),
        ("docs/**", "docs/a/b", True),
        ("src/old", "src/old/a", True),
        ("[ab].txt", "b.txt", True),
        ("A.txt", "a.txt", False),
        ("", "a.txt", False),
        ("**", "a/b", True),
    ],
)
def test_pattern(pattern: str, path: str, expected: bool) -> None:
    assert matches(PurePath(path), pattern) == expected


def test_long_pattern_takes_no_time() -> None:
    assert not matches(PurePath("/".join("a" * 200)), "/".join(["**", "a"] * 200) + "/b")


def folder() -> None:
    for name in ("a.md", "b.py", "docs/c.md", "docs/d.txt", "docs/old/e.md", "page.html"):
        put(f"src/{name}", f"<{name}>")


@pytest.mark.parametrize("spec", ["src", "src/", "src/*", "src/**", "./src"])
def test_include_and_exclude(spec: str) -> None:
    folder()
    corpus = load_corpus([spec], include=["*.md", "*.py"], exclude="docs/old")
    assert whole(corpus) == "<a.md><b.py><docs/c.md>"
    assert corpus.skipped_files["src/docs/old" if "src/docs/old" in corpus.skipped_files else "src/docs/old/e.md"] == (
        "excluded"
    )
    assert corpus.skipped_files["src/page.html"] == "not included"


def test_large_corpus_of_chosen_files() -> None:
    folder()
    for pattern, text in (
        ("*.md", "<a.md><docs/c.md><docs/old/e.md>"),
        ("*.py", "<b.py>"),
        ("docs/*.txt", "<docs/d.txt>"),
    ):
        for _ in range(2):
            assert whole(load_corpus(["src"], include=pattern, memory_limit=2)) == text


def test_named_file_is_read_whatever_is_included() -> None:
    folder()
    assert whole(load_corpus(["src/page.html"], include=["*.md"])) == "<page.html>"


@pytest.mark.parametrize("spec", ["src", "src/*", "src/**/*.md"])
def test_nothing_left(spec: str) -> None:
    folder()
    error = failure(spec, include="*.tex")
    assert f"{spec} holds no file that" in error.message
    assert "`include`" in error.message
    assert "`include`" in str(failure(spec, exclude=["*"]))


# In a run


def test_identity_of_an_older_run() -> None:
    identity = CorpusIdentity.from_json({"name": "a"}, "run.json")
    assert identity.reading == ReadSettings("utf-8", "keep")


def test_identity_survives_json() -> None:
    identity = CorpusIdentity("latin-1", "lf", ("*.md",), ("old", "x*"), name="a")
    stored = identity.to_json()
    stored |= {name: list(stored[name]) for name in ("include", "exclude")}
    assert CorpusIdentity.from_json(stored, "run.json") == identity


@pytest.mark.parametrize(
    "wrong", [{"encoding": "zip"}, {"newlines": "cr"}, {"include": [1]}, {"include": "*"}, {"exclude": {"a": 1}}]
)
def test_damaged_identity(wrong: dict[str, object]) -> None:
    with pytest.raises(CharrnnError, match=r"run\.json"):
        CorpusIdentity.from_json(wrong, "run.json")
