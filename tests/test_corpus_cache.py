"""Large texts: ids in a file that is mapped, found again, and never trusted blindly."""

from __future__ import annotations

import io
import json
import os
import random
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.errors import CharrnnError
from charrnn.text import corpus as corpus_module
from charrnn.text import corpus_cache
from charrnn.text.corpus import Corpus, load_corpus
from charrnn.text.encoded_text import EncodedText
from charrnn.text.vocabulary import Vocabulary

TEXT = "Hällo, wörld — 日本語.\nplain line\n" * 40


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    """An empty current directory, in which a text of fifty bytes is large, and blocks are small."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CHARRNN_HOME", raising=False)
    monkeypatch.setattr(corpus_module, "LARGE", 50)
    monkeypatch.setattr(corpus_cache, "READ_AT_ONCE", 7)
    monkeypatch.setattr(corpus_cache, "CHECKED_BLOCK", 64)
    return tmp_path


def put(name: str, data: bytes | str = TEXT) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def in_memory(*specs: str, **options) -> Corpus:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus_module, "LARGE", 10**9)
        return load_corpus(specs, **options)


def kept(folder: Path = Path()) -> list[Path]:
    return sorted(folder.glob(".*.ids"))


def leftovers(folder: Path = Path()) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.startswith(".aside-")]


@pytest.fixture
def encodings(monkeypatch) -> list[str]:
    """What is encoded, rather than found."""
    calls, write = [], corpus_cache._write_ids

    def counted(*arguments):
        calls.append("encoded")
        return write(*arguments)

    monkeypatch.setattr(corpus_cache, "_write_ids", counted)
    return calls


def assert_same(large: Corpus, small: Corpus) -> None:
    assert isinstance(large.ids, np.memmap)
    assert not isinstance(small.ids, np.memmap)
    assert np.array_equal(large.ids, small.ids)
    for name in ("name", "specs", "files", "skipped_files", "vocabulary", "lengths", "sha256", "size"):
        assert getattr(large, name) == getattr(small, name), name


@pytest.mark.parametrize("text", [TEXT, "plain ASCII only\n" * 50, "\ufeff" + TEXT, "".join(map(chr, range(32, 700)))])
@pytest.mark.parametrize("as_bytes", [False, True])
def test_a_large_text_has_the_ids_and_identity_that_it_would_have_in_memory(text, as_bytes, encodings):
    put("a.txt", text)
    first, again = (load_corpus(["a.txt"], as_bytes=as_bytes) for _ in range(2))
    assert encodings == ["encoded"]
    assert_same(first, in_memory("a.txt", as_bytes=as_bytes))
    assert_same(again, in_memory("a.txt", as_bytes=as_bytes))
    assert [path.name for path in kept()] == [f".a.txt.charrnn-{first.sha256[:12]}.ids"]


def test_files_of_a_folder_are_joined_and_those_that_are_not_text_leave_no_trace(encodings):
    put("folder/a.txt", "aaa b\n" * 20)
    put("folder/b.bin", b"\0binary \xc3\xa9 only here: \xc3\xbc")
    put("folder/c.txt", b"nearly a text, but with \xc3\xb6 and then \xff at its end")
    put("folder/d.txt", "dé\n" * 20)
    put("folder/e.txt", "")
    for _ in range(2):
        assert_same(load_corpus(["folder"]), in_memory("folder"))
    assert encodings == ["encoded"]
    assert len(kept(Path("corpora"))) == 1
    assert not kept()


@settings(deadline=None, derandomize=True, max_examples=60)
@given(text=st.text(st.characters(codec="utf-8"), min_size=60, max_size=300), as_bytes=st.booleans())
def test_any_text_is_the_same_by_both_ways(tmp_path_factory, text, as_bytes):
    folder = tmp_path_factory.mktemp("texts")
    (folder / "a.txt").write_bytes(text.encode())
    try:
        small = in_memory(str(folder / "a.txt"), as_bytes=as_bytes)
    except CharrnnError as error:
        with pytest.raises(CharrnnError, match="holds only"):
            load_corpus([str(folder / "a.txt")], as_bytes=as_bytes)
        assert "holds only" in error.message
        return
    assert_same(load_corpus([str(folder / "a.txt")], as_bytes=as_bytes), small)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(data=st.binary(min_size=60, max_size=200))
def test_bytes_that_are_not_text_are_refused_in_the_same_words(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("texts") / "a.txt"
    path.write_bytes(data)
    outcomes = []
    for load in (in_memory, lambda spec: load_corpus([spec])):
        try:
            outcomes.append(load(str(path)).ids.tolist())
        except CharrnnError as error:
            outcomes.append((error.message, error.hint))
    assert outcomes[0] == outcomes[1]
    assert not leftovers(path.parent)


def test_what_a_given_vocabulary_lacks_is_counted_over_the_whole_file():
    put("a.txt", "abc" * 30 + "é!" + "abc" * 30 + "!")
    outcomes = []
    for load in (in_memory, lambda spec, **options: load_corpus([spec], **options)):
        with pytest.raises(CharrnnError) as caught:
            load("a.txt", vocabulary=Vocabulary.of("abc"))
        outcomes.append(str(caught.value))
    assert outcomes[0] == outcomes[1]
    assert "2 times, first at character 91" in outcomes[1]
    assert not kept()
    assert not leftovers()


def test_another_vocabulary_or_kind_has_a_file_of_its_own_ids(encodings):
    put("a.txt", "abc" * 30)
    own = load_corpus(["a.txt"])
    other = load_corpus(["a.txt"], vocabulary=Vocabulary.of("zcba" + "".join(map(chr, range(300, 700)))))
    assert (own.ids.dtype, other.ids.dtype) == (np.uint8, np.uint16)
    assert other.text() == own.text()
    assert own.ids.tolist() == [0, 1, 2] * 30


@pytest.mark.parametrize("as_bytes", [False, True])
def test_a_given_vocabulary_that_is_the_texts_own_finds_the_same_file(encodings, as_bytes):
    put("a.txt")
    own = load_corpus(["a.txt"], as_bytes=as_bytes)
    assert np.array_equal(load_corpus(["a.txt"], vocabulary=own.vocabulary).ids, own.ids)
    assert encodings == ["encoded"]


def test_the_same_text_can_be_put_into_another_vocabulary_without_being_read_at_once():
    put("a.txt")
    corpus = load_corpus(["a.txt"])
    wider = corpus.with_vocabulary(corpus.vocabulary.extended_with("".join(map(chr, range(1000, 1400)))))
    reordered = corpus.with_vocabulary(Vocabulary("characters", corpus.vocabulary.characters[::-1]))
    for changed in (wider, reordered):
        assert isinstance(changed.ids, np.memmap)
        assert changed.text() == corpus.text()
    assert list(Path("corpora").iterdir()) == []  # what they are mapped from has no name


class Tiny:
    """A source of one character that is always the same."""

    shown, optional, size, stamp = "a.txt", False, 1, ("a.txt", 1, 0, 0)

    def open(self) -> io.BytesIO:
        return io.BytesIO(b"a")


def test_the_ids_of_more_files_than_any_list_of_a_run_may_have_are_found_again(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus_cache, "MOST_PARTS", 20)
    sources = [Tiny()] * 100
    how = {"as_bytes": True, "vocabulary": None, "progress": None}
    first = corpus_cache.encode(sources, "a", [tmp_path], **how)
    monkeypatch.setattr(corpus_cache, "_surveyed", None)
    assert corpus_cache.encode(sources, "a", [tmp_path], **how).lengths == first.lengths == [1] * len(sources)


def test_split_and_pieces_of_mapped_ids_are_views_and_become_tensors_without_a_word():
    put("a.txt")
    corpus = load_corpus(["a.txt"])
    train, validation = (part.ids for part in EncodedText(corpus.ids).split(0.25))
    assert train.base is not None
    assert len(train) + len(validation) == len(corpus)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.from_numpy(train).sum() == train.sum()


def test_progress_is_told_in_bytes_over_both_readings_and_not_where_ids_are_found():
    path = put("a.txt")
    told: list[tuple[int, int]] = []
    for _ in range(2):
        load_corpus(["a.txt"], progress=lambda *now: told.append(now))
    total = 2 * path.stat().st_size
    assert told[-1] == (total, total)
    assert told.count((total, total)) <= 2
    assert [done for done, _ in told] == sorted(done for done, _ in told)


# What changes a text or its file


def test_a_changed_text_is_encoded_anew_and_what_was_kept_of_the_old_one_goes(encodings):
    put("a.txt", "abc" * 30)
    put("b.txt", "xyz" * 30)
    load_corpus(["a.txt"]), load_corpus(["b.txt"])
    put("a.txt", "cba" * 30)
    assert load_corpus(["a.txt"]).text() == "cba" * 30
    assert len(encodings) == 3
    assert len(kept()) == 2
    load_corpus(["b.txt"])
    assert len(encodings) == 3


def test_a_text_of_the_same_size_and_time_is_seen_to_be_another(encodings):
    path = put("a.txt", "abc" * 30)
    load_corpus(["a.txt"])
    times = path.stat()
    put("a.txt", "cba" * 30)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert load_corpus(["a.txt"]).text() == "cba" * 30


def damaged(data: bytes, how: random.Random) -> bytes:
    """A file of ids with one thing wrong; never the same."""
    length = int.from_bytes(data[-24:-16], "little")
    ids, trailer = data[: -24 - length], json.loads(data[-24 - length : -24])

    def with_trailer(**changes) -> bytes:
        end = json.dumps({**trailer, **changes}).encode()
        return ids + end + len(end).to_bytes(8, "little") + data[-16:]

    kind = how.randrange(12)
    place = how.randrange(len(data))
    if kind == 0:
        return data[:place]
    if kind == 1:
        return data[:place] + bytes([data[place] ^ (1 << how.randrange(8))]) + data[place + 1 :]
    if kind == 2:
        return data[:place] + data[place + 1 :]
    if kind == 3:
        return data + b"x"
    if kind == 4:
        return data[:-24] + how.randrange(2**64).to_bytes(8, "little") + data[-16:]
    if kind == 5:
        return data[:-16] + b"\ncharrnn ids 2\n\0"
    if kind == 6:
        return with_trailer(lengths=[trailer["lengths"][0] + how.choice([-1, 1, 2**62])])
    if kind == 7:
        return with_trailer(checksums=[0] * how.randrange(3))
    if kind == 8:
        return with_trailer(vocabulary={"kind": "characters", "characters": "aa"})
    if kind == 9:
        return with_trailer(unknown=1)
    if kind == 10:
        return with_trailer(lengths=None, size="large", vocabulary=[])
    return b""


def test_a_file_of_ids_that_is_not_what_it_was_is_written_anew():
    put("a.txt", "abcabcx\n" * 60)
    expected = load_corpus(["a.txt"])
    ids = expected.ids.tolist()  # before the file it is mapped from is cut short
    (path,) = kept()
    sound, how = path.read_bytes(), random.Random(1)
    for _ in range(200):
        path.write_bytes(damaged(sound, how))
        corpus = load_corpus(["a.txt"])
        assert corpus.ids.tolist() == ids
        assert (corpus.vocabulary, corpus.sha256, corpus.lengths) == (
            expected.vocabulary,
            expected.sha256,
            expected.lengths,
        )


@pytest.mark.parametrize("instead", ["link", "folder", "fifo"])
def test_what_lies_in_place_of_a_file_of_ids_is_not_followed(instead, tmp_path):
    put("a.txt")
    expected = load_corpus(["a.txt"]).ids.tolist()
    (path,) = kept()
    elsewhere = put("elsewhere", path.read_bytes())
    path.unlink()
    if instead == "link":
        path.symlink_to(elsewhere)
    elif instead == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    if instead == "folder":
        with pytest.raises(CharrnnError, match="cannot be written"):
            load_corpus(["a.txt"])
    else:
        assert load_corpus(["a.txt"]).ids.tolist() == expected
        assert path.is_file()
        assert not path.is_symlink()


def test_a_strangers_file_of_ids_is_not_used(monkeypatch, encodings):
    put("a.txt")
    load_corpus(["a.txt"])
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    monkeypatch.setattr(corpus_cache, "TRUSTED", ())
    load_corpus(["a.txt"])
    assert len(encodings) == 2


# Interruptions


@pytest.mark.parametrize("when", [1, 5, 30, 60])
def test_an_interrupted_encoding_leaves_nothing_and_the_next_one_is_whole(when, monkeypatch):
    put("a.txt")
    before = set(Path().rglob("*"))

    def interrupt(done: int, total: int) -> None:
        nonlocal when
        when -= 1
        if when == 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_corpus(["a.txt"], progress=interrupt)
    assert set(Path().rglob("*")) == before
    assert_same(load_corpus(["a.txt"]), in_memory("a.txt"))


def test_what_a_killed_process_left_is_removed():
    put("a.txt")
    put(".aside-999999999-.a.txt.charrnn-0.ids", "half")
    load_corpus(["a.txt"])
    assert not leftovers()


def test_a_text_that_changes_while_it_is_read_is_refused(monkeypatch):
    path = put("a.txt", "abc" * 30)
    surveyed = corpus_cache._surveyed

    def then_changed(*arguments):
        survey = surveyed(*arguments)
        path.write_text("cba" * 30)
        return survey

    monkeypatch.setattr(corpus_cache, "_surveyed", then_changed)
    with pytest.raises(CharrnnError, match=r"a\.txt changed while it was read"):
        load_corpus(["a.txt"])
    assert not kept()
    assert not leftovers()


def test_a_full_disk_is_one_line_that_says_how_much_is_needed(monkeypatch):
    put("a.txt")
    monkeypatch.setattr(corpus_cache.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 10}))
    with pytest.raises(CharrnnError, match="No space left on device") as caught:
        load_corpus(["a.txt"])
    assert "CHARRNN_HOME" in caught.value.hint
    assert not leftovers()


def test_beside_a_text_that_cannot_be_written_to_the_corpora_folder_serves(monkeypatch, encodings):
    put("there/a.txt")
    monkeypatch.setattr(corpus_cache, "_is_writable", lambda folder: folder.name == "corpora" and not folder.mkdir())
    for _ in range(2):
        load_corpus(["there/a.txt"])
    assert len(kept(Path("corpora"))) == len(encodings) == 1
    monkeypatch.setattr(corpus_cache, "_is_writable", lambda folder: False)
    put("there/b.txt")
    with pytest.raises(CharrnnError, match="cannot be written to"):
        load_corpus(["there/b.txt"])


def test_processes_that_begin_together_encode_once(encodings):
    put("a.txt")
    corpora: list[Corpus] = []
    threads = [threading.Thread(target=lambda: corpora.append(load_corpus(["a.txt"]))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(corpora) == 4
    assert encodings == ["encoded"]


# What can be read only once


def test_a_large_standard_input_is_encoded_and_not_kept(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))
    corpus = load_corpus(["-"])
    assert isinstance(corpus.ids, np.memmap)
    assert corpus.text() == TEXT
    assert list(Path("corpora").iterdir()) == []


def test_a_large_pipe_is_read_to_its_end():
    os.mkfifo("pipe")
    writer = threading.Thread(target=lambda: Path("pipe").write_text(TEXT))
    writer.start()
    corpus = load_corpus(["pipe"])
    writer.join()
    assert isinstance(corpus.ids, np.memmap)
    assert corpus.text() == TEXT


def test_a_small_standard_input_may_be_part_of_a_large_corpus(monkeypatch):
    put("a.txt")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"short")))
    assert load_corpus(["-", "a.txt"]).text() == "short" + TEXT
