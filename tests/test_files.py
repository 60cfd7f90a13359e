"""charrnn.files"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from charrnn.errors import CharrnnError
from charrnn.files import (
    atomic_file,
    atomic_folder,
    from_json_bytes,
    home_folder,
    read_bounded,
    remove_leftovers,
    to_json_bytes,
    write_and_sync,
)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_home_folder_with_a_name_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARRNN_HOME", "x" * 5000)
    with pytest.raises(CharrnnError, match="CHARRNN_HOME is too long"):
        home_folder()


def test_atomic_file_replaces_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "text"
    target.write_bytes(b"old")
    with atomic_file(target) as temporary:
        temporary.write_bytes(b"new")
        assert target.read_bytes() == b"old"
    assert target.read_bytes() == b"new"
    assert names_in(tmp_path) == ["text"]


def test_failed_atomic_file_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "text"
    target.write_bytes(b"old")
    with pytest.raises(RuntimeError), atomic_file(target) as temporary:
        temporary.write_bytes(b"half")
        raise RuntimeError
    assert target.read_bytes() == b"old"
    assert names_in(tmp_path) == ["text"]


def test_atomic_folder_appears_when_complete(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "new") as temporary:
        write_and_sync(temporary / "one", b"1")
        assert not (tmp_path / "new").exists()
    assert (tmp_path / "new" / "one").read_bytes() == b"1"


def test_failed_atomic_folder_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), atomic_folder(tmp_path / "new") as temporary:
        write_and_sync(temporary / "one", b"1")
        raise KeyboardInterrupt
    assert names_in(tmp_path) == []


def test_only_leftovers_of_ended_processes_are_removed(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    leftover = tmp_path / f".aside-{int(ended.stdout)}-checkpoint"
    leftover.mkdir()
    (leftover / "model").write_bytes(b"half")
    (tmp_path / f".aside-{10**30}-x").write_bytes(b"")
    kept = [f".aside-{os.getpid()}-checkpoint", ".aside-notanumber-x", ".aside-²-x"]
    for name in kept:
        (tmp_path / name).write_bytes(b"")
    remove_leftovers(tmp_path)
    assert names_in(tmp_path) == sorted(kept)


def test_read_bounded_reads_up_to_the_limit(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"12345")
    assert read_bounded(file, 5) == b"12345"
    with pytest.raises(CharrnnError, match="file is too large"):
        read_bounded(file, 4)


@pytest.mark.parametrize("kind", ["link", "fifo", "folder", "missing"])
def test_read_bounded_refuses_what_is_not_a_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "path"
    {
        "link": lambda: path.symlink_to(__file__),
        "fifo": lambda: os.mkfifo(path),
        "folder": path.mkdir,
        "missing": lambda: None,
    }[kind]()
    with pytest.raises(CharrnnError, match=str(path)):
        read_bounded(path, 1_000_000)


@pytest.mark.parametrize(
    "data", [b'{"a": 1, "a": 2}', b'{"a": NaN}', b'{"a": Infinity}', b"\xff", b"", b"[1", b"[" * 100_000]
)
def test_invalid_json_is_refused(data: bytes) -> None:
    with pytest.raises(CharrnnError, match="source is damaged"):
        from_json_bytes(data, "source")


def test_json_round_trip() -> None:
    value = {"characters": "aé漢\x1b", "number": 1.5, "none": None}
    assert from_json_bytes(to_json_bytes(value), "source") == value


def test_nan_is_not_written() -> None:
    with pytest.raises(ValueError):
        to_json_bytes(float("nan"))
