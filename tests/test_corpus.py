"""charrnn.text.corpus and charrnn.text.sources"""

from __future__ import annotations

import hashlib
import io
import os
import random
import socket
import stat
import sys
import tempfile
import threading
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, Never
from urllib.request import OpenerDirector

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.display.figures import Curve, line_figure
from charrnn.display.page import page
from charrnn.errors import CharrnnError, ExitCode, UsageError
from charrnn.progress import ByteProgress
from charrnn.settings import ReadSettings
from charrnn.text import catalog
from charrnn.text.catalog import Entry
from charrnn.text.corpus import Corpus, load_corpus, read_text
from charrnn.text.encoded_text import EncodedText
from charrnn.text.encoder import FIRST_BLOCK
from charrnn.text.sources import SourceFile, corpora_folder, display_path, list_texts
from charrnn.text.vocabulary import Vocabulary
from tests.corpus_files import failure, put, whole

POSIX = pytest.mark.skipif(os.name != "posix", reason="POSIX has these files")


class Written:
    """A source that writes a given text."""

    origin, size = "a test", None

    def write(self, file: BinaryIO, progress: ByteProgress, opener: OpenerDirector) -> None:
        file.write(b"from the catalog")
        progress(18, 18)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory, and a catalog of one corpus that needs no network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CHARRNN_HOME", raising=False)
    monkeypatch.setattr(catalog, "CORPORA", {"known": Entry("known", "", Written())})
    return tmp_path


def stdin_of(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


# Encoding


def test_load_a_file() -> None:
    put("tale.txt", "banana\n")
    corpus = load_corpus(["tale.txt"])
    assert corpus.vocabulary.characters == "\nabn"
    assert corpus.ids.tolist() == [2, 1, 3, 1, 3, 1, 0]
    assert corpus.ids.dtype == np.uint8
    assert corpus.ids.flags.writeable
    assert (corpus.name, corpus.specs, corpus.files, corpus.skipped_files) == ("tale", ["tale.txt"], ["tale.txt"], {})
    assert (len(corpus), corpus.size) == (7, 7)
    assert corpus.sha256 == hashlib.sha256(b"banana\n").hexdigest()


def test_control_characters_are_kept() -> None:
    put("a.txt", b"a\nb\0\x1b")
    assert whole(load_corpus(["a.txt"])) == "a\nb\0\x1b"


def test_byte_order_mark_is_dropped() -> None:
    put("with.txt", b"\xef\xbb\xbfab")
    put("without.txt", b"ab")
    with_mark, without = load_corpus(["with.txt"]), load_corpus(["without.txt"])
    assert whole(with_mark) == "ab"
    assert (with_mark.sha256, with_mark.size) == (without.sha256, 2)
    assert whole(load_corpus(["with.txt", "with.txt"])) == "abab"


def test_byte_order_mark_inside_a_text_is_kept() -> None:
    put("a.txt", "a\ufeffb")
    assert whole(load_corpus(["a.txt"])) == "a\ufeffb"


def test_as_bytes() -> None:
    put("a.txt", b"\xef\xbb\xbf\xff\0")
    corpus = load_corpus(["a.txt"], as_bytes=True)
    assert corpus.vocabulary == Vocabulary.of_bytes()
    assert corpus.ids.tolist() == [0xEF, 0xBB, 0xBF, 0xFF, 0]
    assert corpus.sha256 == hashlib.sha256(b"\xef\xbb\xbf\xff\0").hexdigest()
    assert corpus.ids.flags.writeable


def test_not_utf_8() -> None:
    put("a.txt", b"\xef\xbb\xbfabc\xff")
    error = failure("a.txt")
    assert error.message == "a.txt is not UTF-8: byte 0xFF at offset 6"
    assert "`as_bytes=True`" in error.hint


def test_text_of_many_blocks() -> None:
    text = "".join(random.Random(0).choices("abcé\U0001f600\n", k=900_000))
    put("a.txt", text)
    corpus = load_corpus(["a.txt"])
    assert whole(corpus) == text
    assert corpus.size == len(text.encode())


def test_given_vocabulary() -> None:
    put("a.txt", "cab")
    vocabulary = Vocabulary.of("ab").extended_with("c")
    corpus = load_corpus(["a.txt"], vocabulary=vocabulary)
    assert corpus.vocabulary is vocabulary
    assert corpus.ids.tolist() == [2, 0, 1]
    assert load_corpus(["a.txt"], vocabulary=Vocabulary.of_bytes()).ids.tolist() == [99, 97, 98]
    assert load_corpus(["a.txt"], vocabulary=vocabulary, as_bytes=True).ids.tolist() == [2, 0, 1]


def test_unknown_characters_are_counted_over_the_whole_file() -> None:
    put("a.txt", "ab" * 600_000 + "xax")
    error = failure("a.txt", vocabulary=Vocabulary.of("ab"))
    assert error.message == "a.txt has unknown characters: 'x' U+0078 (2 times, first at character 1200000)"


def test_with_vocabulary() -> None:
    put("a.txt", "hello")
    corpus = load_corpus(["a.txt"])
    extended = Vocabulary.of("xyz").extended_with(corpus.vocabulary.characters)
    changed = corpus.with_vocabulary(extended)
    assert whole(changed) == "hello"
    assert changed.ids.tolist() == extended.encode("hello").tolist()
    assert changed.ids.dtype == extended.id_type
    assert changed.sha256 == corpus.sha256
    with pytest.raises(CharrnnError, match="read as characters"):
        corpus.with_vocabulary(Vocabulary.of_bytes())


def test_with_vocabulary_names_the_file() -> None:
    put("1.txt", "hello")
    put("2.txt", "a" * 1_200_000 + "hello you")
    corpus = load_corpus(["1.txt", "2.txt"])
    with pytest.raises(CharrnnError) as caught:
        corpus.with_vocabulary(Vocabulary.of("hello a"))
    assert str(caught.value) == (
        "2.txt has unknown characters: 'y' U+0079 (at character 1200006), 'u' U+0075 (at character 1200008)"
    )


def test_with_vocabulary_ignores_unused_characters() -> None:
    put("a.txt", "hello")
    corpus = load_corpus(["a.txt"], vocabulary=Vocabulary.of("hello, you"))
    assert whole(corpus.with_vocabulary(Vocabulary.of("hello"))) == "hello"


# Splits


@given(st.integers(2, 300), st.floats(0, 0.5, exclude_min=True))
def test_split_is_contiguous(length: int, fraction: float) -> None:
    corpus = corpus_of(np.arange(length, dtype=np.uint16))
    train, validation = (part.ids for part in EncodedText(corpus.ids).split(fraction))
    assert np.concatenate([train, validation]).tolist() == list(range(length))
    assert len(train) == length * (1 - Fraction(str(fraction))) // 1
    assert len(train) > 0
    assert len(validation) > 0


def corpus_of(ids: np.ndarray) -> Corpus:
    return Corpus("a", ["a"], ["a"], {}, Vocabulary.of_code_points(np.arange(len(ids))), ids, [len(ids)], "", len(ids))


@pytest.mark.parametrize(
    ("length", "fraction", "sizes"), [(100, 0.29, (71, 29)), (1_115_394, 0.1, (1_003_854, 111_540)), (10, 0.3, (7, 3))]
)
def test_training_part_is_rounded_down(length: int, fraction: float, sizes: tuple[int, int]) -> None:
    corpus = corpus_of(np.zeros(length, np.uint8)) if length < 1000 else None
    if corpus is None:
        corpus = Corpus("a", [], [], {}, Vocabulary.of("a"), np.zeros(length, np.uint8), [length], "", length)
    assert tuple(map(len, EncodedText(corpus.ids).split(fraction))) == sizes


# Lookup


def test_lookup_order() -> None:
    assert whole(load_corpus(["known"])) == "from the catalog"
    put("corpora/known.txt", "from corpora")
    assert whole(load_corpus(["known"])) == "from corpora"
    put("known", "from the path")
    assert whole(load_corpus(["known"])) == "from the path"


@pytest.mark.parametrize("lies", ["tale.txt", "tale", "corpora/tale.txt", "corpora/tale"])
@pytest.mark.parametrize("spec", ["tale", "tale.txt"])
def test_find_with_and_without_suffix(lies: str, spec: str) -> None:
    put(lies, "found")
    assert whole(load_corpus([spec])) == "found"


def test_exact_name_comes_first() -> None:
    put("tale", "bare")
    put("tale.txt", "suffixed")
    assert whole(load_corpus(["tale"])) == "bare"
    assert whole(load_corpus(["tale.txt"])) == "suffixed"


def test_folder_does_not_hide_a_text() -> None:
    Path("tale").mkdir()
    put("corpora/tale.txt", "the text")
    assert whole(load_corpus(["tale.txt"])) == "the text"


@pytest.mark.parametrize("spec", ["known", "known.txt"])
def test_catalog_corpus(spec: str) -> None:
    told = []
    corpus = load_corpus([spec], progress=lambda *done: told.append(done))
    assert whole(corpus) == "from the catalog"
    assert corpus.name == "known"
    assert corpus.files == [str(Path("corpora/known.txt"))]
    assert told == [(18, 18)]


def test_corpora_folder_argument(tmp_path: Path) -> None:
    put("elsewhere/tale.txt", "found")
    assert whole(load_corpus(["tale"], folder=tmp_path / "elsewhere")) == "found"


def test_corpora_folder_is_in_charrnn_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert corpora_folder() == Path("corpora")
    monkeypatch.setenv("CHARRNN_HOME", str(tmp_path / "home"))
    assert corpora_folder() == tmp_path / "home" / "corpora"
    put("home/corpora/tale.txt", "at home")
    assert whole(load_corpus(["tale"])) == "at home"


def test_several_specs_are_concatenated() -> None:
    put("b.txt", "one")
    put("a.txt", "two")
    put("corpora/c.txt", "three")
    corpus = load_corpus(["b.txt", "a.txt", "c"])
    assert whole(corpus) == "onetwothree"
    assert corpus.name == "b+2"
    assert corpus.sha256 == hashlib.sha256(b"onetwothree").hexdigest()
    assert load_corpus(["b.txt", "a.txt"]).name == "b+a"


@pytest.mark.parametrize(("spec", "near"), [("knwon", "known"), ("TAIL", "tale.txt"), ("beside.tx", "beside.txt")])
def test_unknown_name_suggests_near_ones(spec: str, near: str) -> None:
    put("corpora/tale.txt")
    put("beside.txt")
    error = failure(spec)
    assert isinstance(error, UsageError)
    assert error.exit_code == ExitCode.USAGE
    assert spec in error.message
    assert f"perhaps {near}?" in error.hint


@pytest.mark.parametrize(
    "spec", ["", "a\0b", "x" * 5000, "nowhere/at/all", "corpora/../nothing", "[", "a**b", "\udcff"]
)
def test_invalid_spec(spec: str) -> None:
    assert isinstance(failure(spec), UsageError)


def test_no_spec() -> None:
    assert isinstance(failure(), UsageError)


# Folders and glob patterns


def test_folder_is_read_in_sorted_order() -> None:
    for name in ("b.txt", "a/z.md", "a.py", "a/b/c", "Z.txt"):
        put(f"texts/{name}", f"<{name}>")
    corpus = load_corpus(["texts"])
    assert whole(corpus) == "<Z.txt><a.py><a/b/c><a/z.md><b.txt>"
    assert corpus.name == "texts"
    assert whole(load_corpus(["texts/"])) == whole(corpus)


def test_name_of_the_current_folder(tmp_path: Path) -> None:
    put("a.txt", "ab")
    assert load_corpus(["."]).name == tmp_path.name


def test_hidden_and_binary_files_are_skipped() -> None:
    put("texts/a.txt", "kept")
    put("texts/.hidden", "no")
    put("texts/.git/config", "no")
    put("texts/picture.gif", b"GIF89a\0")
    put("texts/latin.txt", b"caf\xe9")
    corpus = load_corpus(["texts"])
    assert whole(corpus) == "kept"
    assert corpus.files == [str(Path("texts/a.txt"))]
    assert corpus.skipped_files == {
        "texts/.git": "hidden",
        "texts/.hidden": "hidden",
        "texts/latin.txt": "not UTF-8: byte 0xE9 at offset 3",
        "texts/picture.gif": "binary",
    }


@pytest.mark.parametrize("spec", [".", "*", "**/*.txt"])
def test_own_folders_are_skipped(spec: str) -> None:
    for name in ("a.txt", "b/b.txt", "corpora/no.txt", "b/checkpoints/run/no.txt", "checkpoints/no.txt"):
        put(name, f"<{name}>")
    corpus = load_corpus([spec])
    assert whole(corpus) == "<a.txt><b/b.txt>"
    assert corpus.skipped_files.keys() >= {"checkpoints", "corpora"}
    assert set(corpus.skipped_files.values()) == {"holds runs", "holds other corpora"}


@pytest.mark.parametrize("spec", [".", "*", "**/*"])
def test_pages_and_pictures_that_were_exported_are_skipped(spec: str) -> None:
    put("a.txt", "text")
    put("own.html", "<p>by hand</p>")
    put("figure.svg", line_figure([Curve("loss", [1, 2], [3, 2])], title="loss", x_label="step"))
    put("sub/page.HTML", page("title", {}, "body", "style"))
    corpus = load_corpus([spec])
    assert whole(corpus) == "text<p>by hand</p>"
    assert corpus.skipped_files == {"figure.svg": "exported by charrnn", "sub/page.HTML": "exported by charrnn"}
    with pytest.raises(CharrnnError, match="holds only files that charrnn exported"):
        load_corpus(["*.svg"])
    assert load_corpus(["figure.svg"]).files == ["figure.svg"]  # named


def test_own_folders_are_read_when_named(tmp_path: Path) -> None:
    put("corpora/a.txt", "<a>")
    put("corpora/b/b.txt", "<b>")
    for spec in ("corpora", "corpora/", str(tmp_path / "corpora"), "corpora/**/*.txt", "corpora/*"):
        assert whole(load_corpus([spec])) == "<a><b>"
        assert load_corpus([spec]).skipped_files == {}


def test_folder_as_bytes() -> None:
    put("texts/latin.txt", b"caf\xe9")
    put("texts/picture.png", b"\x89PNG\0")
    corpus = load_corpus(["texts"], as_bytes=True)
    assert corpus.ids.tolist() == list(b"caf\xe9")
    assert len(corpus.skipped_files) == 1


def test_late_nul_is_not_binary() -> None:
    put("texts/a.txt", b"a" * FIRST_BLOCK + b"\0")
    assert len(load_corpus(["texts"])) == FIRST_BLOCK + 1


def test_folder_without_text() -> None:
    Path("texts").mkdir()
    assert failure("texts").message == "texts holds no files"
    put("texts/latin.txt", b"caf\xe9")
    error = failure("texts")
    assert error.message == "texts holds no text: texts/latin.txt is not UTF-8: byte 0xE9 at offset 3"
    assert "`as_bytes=True`" in error.hint


@POSIX
def test_link_loops_and_special_files() -> None:
    put("texts/a/a.txt", "kept")
    put("outside/no.txt", "no")
    Path("texts/a/loop").symlink_to("..")
    Path("texts/self").symlink_to("self")
    Path("texts/broken").symlink_to("nowhere")
    Path("texts/folder").symlink_to("../outside")
    Path("texts/linked.txt").symlink_to("../outside/no.txt")
    os.mkfifo("texts/pipe")
    assert whole(load_corpus(["texts"])) == "keptno"
    assert whole(load_corpus(["texts/**/*.txt"])) == "keptno"
    assert whole(load_corpus(["texts/folder"])) == "no"


def test_glob() -> None:
    for name in ("b.txt", "a.txt", "c.md", "sub/d.txt", "sub/deep/e.txt", ".hidden.txt"):
        put(f"texts/{name}", f"<{name}>")
    assert whole(load_corpus(["texts/*.txt"])) == "<a.txt><b.txt>"
    assert whole(load_corpus(["texts/[ac].*"])) == "<a.txt><c.md>"
    assert whole(load_corpus(["texts/**/*.txt"])) == "<a.txt><b.txt><sub/d.txt><sub/deep/e.txt>"
    assert whole(load_corpus(["texts/**"])) == "<a.txt><b.txt><c.md><sub/d.txt><sub/deep/e.txt>"
    assert whole(load_corpus(["texts/.*.txt"])) == "<.hidden.txt>"
    assert whole(load_corpus([str(Path("texts/?.md").absolute())])) == "<c.md>"
    assert load_corpus(["texts/*.txt"]).name == "a+b"


def test_file_named_like_a_glob() -> None:
    put("a[1].txt", "itself")
    put("a1.txt", "other")
    assert whole(load_corpus(["a[1].txt"])) == "itself"


# Standard input


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin_of(monkeypatch, b"\xef\xbb\xbfa\r\nb")
    put("a.txt", "<")
    corpus = load_corpus(["a.txt", "-"])
    assert whole(corpus) == "<a\nb"
    assert corpus.files == ["a.txt", "the standard input"]


def test_standard_input_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin_of(monkeypatch, b"ab")
    assert isinstance(failure("-", "-"), UsageError)


def test_closed_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert failure("-").message == "the standard input is closed"
    closed = io.TextIOWrapper(io.BytesIO())
    closed.close()
    monkeypatch.setattr(sys, "stdin", closed)
    assert "cannot be read" in failure("-").message


@POSIX
@pytest.mark.parametrize(("device", "words"), [("/dev/zero", "is a device"), ("/dev/null", "is empty")])
def test_standard_input_from_a_device(monkeypatch: pytest.MonkeyPatch, device: str, words: str) -> None:
    with Path(device).open() as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        assert words in failure("-").message


# Unusable files


def test_empty_corpus() -> None:
    put("a.txt", "")
    put("mark.txt", b"\xef\xbb\xbf")
    assert failure("a.txt").message == "a.txt is empty"
    assert failure("mark.txt").message == "mark.txt is empty"
    assert failure("a.txt", as_bytes=True).message == "a.txt is empty"
    assert failure("a.txt", vocabulary=Vocabulary.of("ab")).message == "a.txt is empty"


def test_one_character() -> None:
    put("a.txt", "aaaa")
    put("b.txt", "b")
    assert failure("a.txt").message == "a.txt holds only the one character 'a'"
    assert failure("b.txt", as_bytes=True).message == "b.txt holds only a single byte"
    assert len(load_corpus(["b.txt"], vocabulary=Vocabulary.of("ab"))) == 1


@POSIX
@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null"])
def test_device(device: str) -> None:
    assert failure(device).message == f"{device} is a device, not a text"


@POSIX
def test_socket() -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        assert failure("socket").message == "socket is a socket, not a text"


@POSIX
def test_fifo() -> None:
    os.mkfifo("pipe")
    writer = threading.Thread(target=lambda: Path("pipe").write_bytes(b"through a pipe" * 10_000))
    writer.start()
    corpus = load_corpus(["pipe"])
    writer.join()
    assert whole(corpus) == "through a pipe" * 10_000


def test_file_that_shrinks(monkeypatch: pytest.MonkeyPatch) -> None:
    path = put("a.txt", "a text of some length")
    real = os.fstat

    def fstat_then_shrink(descriptor: int) -> os.stat_result:
        status = real(descriptor)
        if stat.S_ISREG(status.st_mode) and status.st_size > 5:
            os.truncate(path, 5)
        return status

    monkeypatch.setattr(os, "fstat", fstat_then_shrink)
    assert failure("a.txt").message == "a.txt became shorter while it was read: 5 of 21 bytes"


def test_file_that_vanishes() -> None:
    with pytest.raises(CharrnnError, match=r"gone\.txt cannot be read: No such file"):
        SourceFile(Path("gone.txt")).in_memory()


def test_permission_denied() -> None:
    put("a.txt").chmod(0)
    if os.access("a.txt", os.R_OK):
        pytest.skip("this user may read everything")
    assert failure("a.txt").message == "a.txt cannot be read: Permission denied"
    put("texts/closed/a.txt").parent.chmod(0)
    try:
        assert "cannot be read: Permission denied" in failure("texts").message
        assert "cannot be read: Permission denied" in failure("texts/closed/a.txt").message
    finally:
        Path("texts/closed").chmod(0o700)


def test_disk_error(monkeypatch: pytest.MonkeyPatch) -> None:
    put("a.txt")

    def broken(*arguments: object, **details: object) -> Never:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "open", broken)
    assert failure("a.txt").message == "a.txt cannot be read: Input/output error"


def test_too_large_for_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    put("a.txt")

    def too_much(*arguments: object, **details: object) -> Never:
        raise MemoryError

    monkeypatch.setattr(Path, "open", too_much)
    assert failure("a.txt").message == "a.txt does not fit into memory"


@POSIX
def test_file_name_that_is_not_utf_8() -> None:
    name = os.fsdecode(b"caf\xe9.txt")
    try:
        put(name, "ab")
    except OSError:
        pytest.skip("this file system takes no such names")
    corpus = load_corpus([name])
    assert corpus.files == ["caf\\xe9.txt"]
    assert corpus.name == "caf\\xe9"
    assert display_path(name).encode() == b"caf\\xe9.txt"


# read_text


def test_read_text(monkeypatch: pytest.MonkeyPatch) -> None:
    put("corpora/tale.txt", b"\xef\xbb\xbfa\r\n")
    assert read_text("tale") == "a\n"
    assert read_text("tale", reading=ReadSettings(newlines="keep")) == "a\r\n"
    assert read_text("tale", as_bytes=True) == b"\xef\xbb\xbfa\r\n"
    stdin_of(monkeypatch, b"piped")
    assert read_text("-") == "piped"
    put("empty", b"")
    assert (read_text("empty"), read_text("empty", as_bytes=True)) == ("", b"")
    put("bad", b"ab\xff")
    with pytest.raises(CharrnnError, match="bad is not UTF-8: byte 0xFF at offset 2"):
        read_text("bad")


def test_list_texts() -> None:
    for name in ("b.txt", "a.txt", ".aside-1-c.txt", "README.md", "books/x.txt"):
        put(f"corpora/{name}")
    assert [path.name for path in list_texts(Path("corpora"))] == ["a.txt", "b.txt", "books"]
    assert list_texts(Path("nowhere")) == []


# Any bytes


def mutated(text: bytes, chance: random.Random) -> bytes:
    """Return the text with a few bytes changed, removed, duplicated or inserted."""
    data = bytearray(text)
    for _ in range(chance.randrange(1, 6)):
        place = chance.randrange(len(data) + 1)
        length = chance.choice((0, 1, 1, 2, len(data)))
        data[place : place + length] = chance.randbytes(chance.choice((0, 1, 1, 3)))
    return bytes(data)


@pytest.mark.parametrize(
    "rounds", [pytest.param(1000, id="a few"), pytest.param(20_000, id="many", marks=pytest.mark.slow)]
)
def test_mutated_text(rounds: int) -> None:
    chance = random.Random(1)
    outcomes = set()
    for _ in range(rounds):
        raw = mutated("To be, or not – ça alors! 😀\r\n".encode(), chance)
        put("a.txt", raw)
        try:
            corpus = load_corpus(["a.txt"], newlines="keep")
        except CharrnnError as error:
            assert error.message.startswith(("a.txt is not UTF-8", "a.txt holds only", "a.txt is empty"))
            outcomes.add("refused")
        else:
            assert whole(corpus).encode() == raw.removeprefix(b"\xef\xbb\xbf")
            outcomes.add("read")
    assert outcomes == {"read", "refused"}


@given(st.lists(st.binary(max_size=30), min_size=1, max_size=3), st.booleans())
def test_any_bytes(files: list[bytes], as_bytes: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for number, raw in enumerate(files):
            Path(folder, f"{number}").write_bytes(raw)
        for specs in ([folder], [str(Path(folder, f"{n}")) for n in range(len(files))]):
            try:
                corpus = load_corpus(specs, as_bytes=as_bytes)
            except CharrnnError:
                continue
            assert len(corpus) == len(corpus.ids) > 0
            assert int(corpus.ids.max()) < len(corpus.vocabulary)
            assert len(corpus.files) + len(corpus.skipped_files) == len(files)
