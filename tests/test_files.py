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
    read_bounded,
    remove_leftovers,
    to_json_bytes,
    write_and_sync,
)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "text"
    target.write_bytes(b"old")
    with pytest.raises(RuntimeError), atomic_file(target) as aside:
        aside.write_bytes(b"half")
        assert target.read_bytes() == b"old"
        raise RuntimeError
    assert names_in(tmp_path) == ["text"]
    with atomic_file(target) as aside:
        aside.write_bytes(b"new")
    assert target.read_bytes() == b"new"
    assert names_in(tmp_path) == ["text"]


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), atomic_folder(tmp_path / "save") as aside:
        write_and_sync(aside / "one", b"1")
        raise KeyboardInterrupt
    assert names_in(tmp_path) == []
    with atomic_folder(tmp_path / "save") as aside:
        write_and_sync(aside / "one", b"1")
        assert not (tmp_path / "save").exists()
    assert (tmp_path / "save" / "one").read_bytes() == b"1"


def test_only_leftovers_of_dead_processes_are_removed(tmp_path: Path) -> None:
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    leftover = tmp_path / f".aside-{int(dead.stdout)}-save"
    leftover.mkdir()
    (leftover / "model").write_bytes(b"half")
    mine = tmp_path / f".aside-{os.getpid()}-save"
    mine.mkdir()
    (tmp_path / f".aside-{10**30}-x").write_bytes(b"")
    for name in (".aside-notanumber-x", ".aside-²-x"):
        (tmp_path / name).write_bytes(b"")
    remove_leftovers(tmp_path)
    assert names_in(tmp_path) == sorted([mine.name, ".aside-notanumber-x", ".aside-²-x"])


def test_only_regular_files_within_bounds_are_read(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"12345")
    assert read_bounded(file, 5) == b"12345"
    (tmp_path / "link").symlink_to(file)
    os.mkfifo(tmp_path / "fifo")
    for path, limit in ((file, 4), (tmp_path / "link", 9), (tmp_path / "fifo", 9), (tmp_path, 9), (tmp_path / "no", 9)):
        with pytest.raises(CharrnnError, match=str(path)):
            read_bounded(path, limit)


@pytest.mark.parametrize(
    "data", [b'{"a": 1, "a": 2}', b'{"a": NaN}', b'{"a": Infinity}', b"\xff", b"", b"[1", b"[" * 100_000]
)
def test_json_that_is_not_plain_is_refused(data: bytes) -> None:
    with pytest.raises(CharrnnError, match="source is damaged"):
        from_json_bytes(data, "source")


def test_json_goes_out_as_it_came_in() -> None:
    value = {"characters": "aé漢\x1b", "number": 1.5, "none": None}
    assert from_json_bytes(to_json_bytes(value), "source") == value
    with pytest.raises(ValueError):
        to_json_bytes(float("nan"))
