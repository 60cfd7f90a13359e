"""The ids of large texts: kept in a file, found again, and never trusted blindly."""

from __future__ import annotations

import io
import json
import os
import random
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import CharrnnError
from charrnn.text import corpus_cache, encoder, id_files
from charrnn.text.corpus import Corpus, load_corpus
from charrnn.text.encoded_text import EncodedText
from charrnn.text.sources import SourceFile
from charrnn.text.vocabulary import Vocabulary

TEXT = "Hällo, wörld — 日本語.\nplain line\n" * 40


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory, and blocks so small that every text has many."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CHARRNN_HOME", raising=False)
    monkeypatch.setattr(encoder, "READ_AT_ONCE", 7)
    monkeypatch.setattr(id_files, "CHECKED_BLOCK", 64)
    return tmp_path


def put(name: str, data: bytes | str = TEXT) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def in_memory(*specs: str, **options: object) -> Corpus:
    return load_corpus(specs, **options)


def large(*specs: str, **options: object) -> Corpus:
    """A corpus whose ids are kept in a file."""
    return load_corpus(specs, memory_limit=50, **options)


def is_encoded(*specs: str, **options: object) -> bool:
    """Load a large corpus and return whether its text was read, rather than its ids found."""
    calls: list[int] = []
    large(*specs, progress=lambda done, total: calls.append(done), **options)
    return bool(calls)


def arrays(folder: Path = Path()) -> list[Path]:
    return sorted(folder.glob(".*.npy"))


def leftovers(folder: Path = Path()) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.startswith(".aside-")]


def assert_same(mapped: Corpus, small: Corpus) -> None:
    assert isinstance(mapped.ids, np.memmap)
    assert not isinstance(small.ids, np.memmap)
    assert np.array_equal(mapped.ids, small.ids)
    for name in ("name", "specs", "files", "skipped_files", "vocabulary", "lengths", "sha256", "size"):
        assert getattr(mapped, name) == getattr(small, name), name


@pytest.mark.parametrize("text", [TEXT, "plain ASCII only\n" * 50, "\ufeff" + TEXT, "".join(map(chr, range(32, 700)))])
@pytest.mark.parametrize("as_bytes", [False, True])
def test_large_and_in_memory_agree(text: str, as_bytes: bool) -> None:
    put("a.txt", text)
    expected = in_memory("a.txt", as_bytes=as_bytes)
    assert_same(large("a.txt", as_bytes=as_bytes), expected)
    assert not is_encoded("a.txt", as_bytes=as_bytes)
    assert_same(large("a.txt", as_bytes=as_bytes), expected)


def test_numpy_opens_the_array() -> None:
    put("a.txt")
    corpus = large("a.txt")
    (path,) = arrays()
    assert path.name.startswith(".a.txt.charrnn-")
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    assert np.array_equal(array, corpus.ids)
    assert array.dtype == corpus.vocabulary.id_type


def test_skipped_files_leave_no_trace() -> None:
    """Characters and bytes of files that turn out not to be text do not count."""
    put("folder/a.txt", "aaa b\n" * 20)
    put("folder/b.bin", b"\0binary \xc3\xa9 only here: \xc3\xbc")
    put("folder/c.txt", b"nearly a text, but with \xc3\xb6 and then \xff at its end")
    put("folder/d.txt", "dé\n" * 20)
    put("folder/e.txt", "")
    assert_same(large("folder"), in_memory("folder"))
    assert not is_encoded("folder")
    assert_same(large("folder"), in_memory("folder"))
    assert len(arrays(Path("corpora"))) == 1
    assert not arrays()


@pytest.mark.parametrize("as_bytes", [False, True])
def test_unreadable_optional_file_is_an_error(as_bytes: bool) -> None:
    """Only what is not text is skipped."""
    sources = [SourceFile(put("a.txt")), SourceFile(put("b.txt"), optional=True)]
    stamps = [source.stamp for source in sources]

    class Gone(SourceFile):
        size, stamp = 5, stamps[1]

    sources[1] = Gone(Path("gone.txt"), optional=True)
    with pytest.raises(CharrnnError, match=r"gone\.txt cannot be read"):
        corpus_cache.encode(sources, "a", [Path()], as_bytes=as_bytes)


@given(text=st.text(st.characters(codec="utf-8"), min_size=60, max_size=300), as_bytes=st.booleans())
def test_any_text_agrees(tmp_path_factory: pytest.TempPathFactory, text: str, as_bytes: bool) -> None:
    path = tmp_path_factory.mktemp("texts") / "a.txt"
    path.write_bytes(text.encode())
    try:
        small = in_memory(str(path), as_bytes=as_bytes)
    except CharrnnError as error:
        with pytest.raises(CharrnnError, match="holds only"):
            large(str(path), as_bytes=as_bytes)
        assert "holds only" in error.message
        return
    assert_same(large(str(path), as_bytes=as_bytes), small)


@given(data=st.binary(min_size=60, max_size=200))
def test_any_bytes_give_the_same_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("texts") / "a.txt"
    path.write_bytes(data)
    outcomes = []
    for load in (in_memory, large):
        try:
            outcomes.append(load(str(path)).ids.tolist())
        except CharrnnError as error:
            outcomes.append((error.message, error.hint))
    assert outcomes[0] == outcomes[1]
    assert not leftovers(path.parent)


def test_unknown_characters_are_counted_over_the_whole_file() -> None:
    put("a.txt", "abc" * 30 + "é!" + "abc" * 30 + "!")
    outcomes = []
    for load in (in_memory, large):
        with pytest.raises(CharrnnError) as caught:
            load("a.txt", vocabulary=Vocabulary.of("abc"))
        outcomes.append(str(caught.value))
    assert outcomes[0] == outcomes[1]
    assert "2 times, first at character 91" in outcomes[1]
    assert not arrays()
    assert not leftovers()


def test_each_vocabulary_has_its_own_array() -> None:
    put("a.txt", "abc" * 30)
    wide = Vocabulary.of("zcba" + "".join(map(chr, range(300, 700))))
    own, other = large("a.txt"), large("a.txt", vocabulary=wide)
    assert (own.ids.dtype, other.ids.dtype) == (np.uint8, np.uint16)
    assert other.text() == own.text()
    assert own.ids.tolist() == [0, 1, 2] * 30
    assert not is_encoded("a.txt")
    assert not is_encoded("a.txt", vocabulary=wide)


@pytest.mark.parametrize("as_bytes", [False, True])
@pytest.mark.parametrize("is_given_first", [False, True])
def test_given_vocabulary_that_is_the_own_one(as_bytes: bool, is_given_first: bool) -> None:
    """A vocabulary that equals the text's own finds the ids of the text's own, and the other way round."""
    put("a.txt")
    expected = in_memory("a.txt", as_bytes=as_bytes)
    options = [{"as_bytes": as_bytes}, {"vocabulary": expected.vocabulary}]
    first, second = reversed(options) if is_given_first else options
    assert is_encoded("a.txt", **first)
    assert not is_encoded("a.txt", **second)
    assert_same(large("a.txt", **second), expected)


def test_with_vocabulary_maps_an_unnamed_file() -> None:
    put("a.txt")
    corpus = large("a.txt")
    wider = corpus.with_vocabulary(corpus.vocabulary.extended_with("".join(map(chr, range(1000, 1400)))))
    reordered = corpus.with_vocabulary(Vocabulary("characters", corpus.vocabulary.characters[::-1]))
    for changed in (wider, reordered):
        assert isinstance(changed.ids, np.memmap)
        assert changed.text() == corpus.text()
    assert list(Path("corpora").iterdir()) == []


class Tiny:
    """A source of one character that never changes."""

    title, optional, size, stamp = "a.txt", False, 1, ("a.txt", 1, 0, 0)

    def __init__(self) -> None:
        self.opened = 0

    def open(self) -> io.BytesIO:
        self.opened += 1
        return io.BytesIO(b"a")


def test_manifest_of_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A manifest may have as many parts as its sources explain."""
    monkeypatch.setattr(id_files, "MAX_JSON_PARTS", 20)
    tiny = Tiny()
    for _ in range(2):
        encoded = corpus_cache.encode([tiny] * 100, "a", [tmp_path], as_bytes=True)
        assert encoded.survey.lengths == [1] * 100
        assert tiny.opened == 200


def test_mapped_ids_become_tensors_without_a_copy_or_warning() -> None:
    put("a.txt")
    corpus = large("a.txt")
    train, validation = (part.ids for part in EncodedText(corpus.ids).split(0.25))
    assert train.base is not None
    assert len(train) + len(validation) == len(corpus)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.from_numpy(train).sum() == train.sum()


def test_progress_counts_the_bytes_of_both_passes() -> None:
    total = 2 * put("a.txt").stat().st_size
    calls: list[tuple[int, int]] = []
    large("a.txt", progress=lambda *now: calls.append(now))
    assert calls[-1] == (total, total)
    assert calls.count((total, total)) <= 2
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)


# Changed texts and damaged files


def test_changed_text_replaces_its_array() -> None:
    put("a.txt", "abc" * 30)
    put("b.txt", "xyz" * 30)
    large("a.txt"), large("b.txt")
    put("a.txt", "cba" * 30)
    assert large("a.txt").text() == "cba" * 30
    assert len(arrays()) == 2
    assert len(list(Path().glob(".*.json"))) == 2
    assert not is_encoded("b.txt")


def test_changed_text_of_the_same_size_and_time() -> None:
    path = put("a.txt", "abc" * 30)
    large("a.txt")
    times = path.stat()
    put("a.txt", "cba" * 30)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert large("a.txt").text() == "cba" * 30


def test_stale_files_are_removed() -> None:
    """Arrays that lost their manifest in a crash, and files of the older format."""
    put("a.txt")
    stale = [put(".a.txt.charrnn-0123.npy", "half"), put(".a.txt.charrnn-0123.ids", "old")]
    others = [put(".b.txt.charrnn-0123.npy", "half"), put("a.txt.npy", "mine")]
    large("a.txt")
    assert not any(path.exists() for path in stale)
    assert all(path.exists() for path in others)


def damage_array(data: bytes, chance: random.Random) -> bytes:
    """Change one thing; the result always differs."""
    place = chance.randrange(len(data))
    return chance.choice(
        [
            data[:place],
            data[:place] + bytes([data[place] ^ (1 << chance.randrange(8))]) + data[place + 1 :],
            data[:place] + data[place + 1 :],
            data + b"x",
            data.replace(b"|u1", b"|O8", 1),
            data.replace(b"\x93NUMPY\x01", b"\x93NUMPY\x02", 1),
            b"",
        ]
    )


def damage_manifest(data: bytes, chance: random.Random) -> bytes:
    """Change one thing; the result always differs."""
    manifest = json.loads(data)
    place = chance.randrange(len(data))
    changes = chance.choice(
        [
            {"lengths": [manifest["lengths"][0] + chance.choice([-1, 1, 2**62, 10**4000])]},
            {"lengths": [manifest["lengths"][0], 0]},
            {"lengths": [True]},
            {"lengths": None, "size": "large", "vocabulary": []},
            {"checksums": [0] * chance.randrange(3)},
            {"checksums": [0] * len(manifest["checksums"])},
            {"vocabulary": {"kind": "characters", "characters": "aa"}},
            {"vocabulary": {"kind": "characters", "characters": "".join(map(chr, range(97, 500)))}},
            {"has_own_vocabulary": 1},
            {"unknown": 1},
            {"request": "0" * 64},
        ]
    )
    changed = json.dumps({**manifest, **changes}, default=str).encode()
    return chance.choice([changed, changed, changed, data[:place], b"[" * 10_000, b"[1" + b",1" * 200_000 + b"]", b""])


@pytest.mark.parametrize(("suffix", "damage"), [(".npy", damage_array), (".json", damage_manifest)])
def test_damaged_files_are_written_again(suffix: str, damage: Callable[[bytes, random.Random], bytes]) -> None:
    put("a.txt", "abcabcx\n" * 60)
    expected = large("a.txt")
    ids = expected.ids.tolist()  # before the array it is mapped from is cut short
    path = arrays()[0].with_suffix(suffix)
    intact, chance = path.read_bytes(), random.Random(1)
    for _ in range(100):
        path.write_bytes(damage(intact, chance))
        corpus = large("a.txt")
        assert corpus.ids.tolist() == ids
        for name in ("vocabulary", "sha256", "lengths"):
            assert getattr(corpus, name) == getattr(expected, name)
        assert not is_encoded("a.txt")


@pytest.mark.parametrize("suffix", [".npy", ".json"])
@pytest.mark.parametrize("instead", ["link", "fifo"])
def test_links_and_special_files_are_replaced(suffix: str, instead: str) -> None:
    put("a.txt")
    expected = large("a.txt").ids.tolist()
    path = arrays()[0].with_suffix(suffix)
    elsewhere = put("elsewhere", path.read_bytes())
    path.unlink()
    if instead == "link":
        path.symlink_to(elsewhere)
    else:
        os.mkfifo(path)
    assert is_encoded("a.txt")
    assert large("a.txt").ids.tolist() == expected
    assert path.is_file()
    assert not path.is_symlink()


def test_folder_in_place_of_the_array() -> None:
    put("a.txt")
    large("a.txt")
    (path,) = arrays()
    path.unlink()
    path.mkdir()
    with pytest.raises(CharrnnError, match="cannot be written"):
        large("a.txt")


def test_files_of_another_user_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    put("a.txt")
    large("a.txt")
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    monkeypatch.setattr(id_files, "TRUSTED", ())
    assert is_encoded("a.txt")


# Interruptions


@pytest.mark.parametrize("when", [1, 5, 30, 60])
def test_interrupted_encoding_leaves_nothing(when: int) -> None:
    put("a.txt")
    before = set(Path().rglob("*"))

    def interrupt(done: int, total: int) -> None:
        nonlocal when
        when -= 1
        if when == 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        large("a.txt", progress=interrupt)
    assert set(Path().rglob("*")) == before
    assert_same(large("a.txt"), in_memory("a.txt"))


def test_crash_between_array_and_manifest() -> None:
    """An array without a manifest, or with a manifest of earlier times, is never taken for more than it is."""
    put("a.txt", "abc" * 30)
    large("a.txt")
    arrays()[0].with_suffix(".json").unlink()
    assert is_encoded("a.txt")
    assert not is_encoded("a.txt")


def test_leftovers_of_a_killed_process_are_removed() -> None:
    put("a.txt")
    put(".aside-999999999-.a.txt.charrnn-0.npy", "half")
    large("a.txt")
    assert not leftovers()


def test_text_that_changes_between_the_passes() -> None:
    path = put("a.txt", "abc" * 30)

    def change(done: int, total: int) -> None:
        if done > total // 2:
            path.write_text("cba" * 30)

    with pytest.raises(CharrnnError, match=r"a\.txt changed while it was read"):
        large("a.txt", progress=change)
    assert not arrays()
    assert not leftovers()


def test_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    put("a.txt")
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10}))
    with pytest.raises(CharrnnError, match="No space left on device") as caught:
        large("a.txt")
    assert "CHARRNN_HOME" in caught.value.hint
    assert not leftovers()


def test_first_writable_folder_is_used() -> None:
    source = SourceFile(put("there/a.txt"))
    unwritable = source.path / "folder"
    for _ in range(2):
        corpus_cache.encode([source], "a.txt", [unwritable, Path("corpora")], as_bytes=False)
    assert len(arrays(Path("corpora"))) == 1
    with pytest.raises(CharrnnError, match="cannot be written to"):
        corpus_cache.encode([source], "b.txt", [unwritable], as_bytes=False)


def test_concurrent_processes_encode_once() -> None:
    put("a.txt")
    encoded: list[bool] = []
    threads = [threading.Thread(target=lambda: encoded.append(is_encoded("a.txt"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(encoded) == [False, False, False, True]


# What can be read only once


def test_large_standard_input_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))
    corpus = large("-")
    assert isinstance(corpus.ids, np.memmap)
    assert corpus.text() == TEXT
    assert list(Path("corpora").iterdir()) == []


def test_large_pipe() -> None:
    os.mkfifo("pipe")
    writer = threading.Thread(target=lambda: Path("pipe").write_text(TEXT))
    writer.start()
    corpus = large("pipe")
    writer.join()
    assert isinstance(corpus.ids, np.memmap)
    assert corpus.text() == TEXT


def test_small_standard_input_in_a_large_corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    put("a.txt")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"short")))
    assert large("-", "a.txt").text() == "short" + TEXT
