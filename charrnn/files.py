"""Files and folders that are there whole or not at all, and JSON that is what it says.

A write goes to a hidden neighbour, is forced to the disk (fsync), takes its name by a rename, and the rename is forced
to the disk by syncing the folder: after a crash or a loss of power the old or the new state is found, never a mixture.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from charrnn.errors import CharrnnError

ASIDE = ".aside-"


def _aside(path: Path) -> Path:
    return path.with_name(f"{ASIDE}{os.getpid()}-{path.name}")


def sync_folder(path: Path) -> None:
    """Forces a folder's own entries, such as a name just given, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_and_sync(path: Path, data: bytes) -> None:
    """Writes a new file and forces it to the disk. Not atomic: for files inside a folder that is still aside."""
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def file_to_be(path: Path) -> Iterator[Path]:
    """Gives the name of a file to write; it becomes `path` if the block ends well, and is removed if it does not."""
    aside = _aside(path)
    try:
        yield aside
        with aside.open("rb+") as file:
            os.fsync(file.fileno())
        aside.replace(path)
        sync_folder(path.parent)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def folder_to_be(path: Path) -> Iterator[Path]:
    """Gives an empty folder to fill by `write_and_sync`; it becomes `path`, which must not exist, if all ends well."""
    aside = _aside(path)
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir()
        yield aside
        sync_folder(aside)
        aside.rename(path)
        sync_folder(path.parent)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def remove_leftovers(folder: Path) -> None:
    """Removes what processes that are no longer alive left aside in a folder."""
    for path in folder.glob(ASIDE + "*"):
        pid = path.name.removeprefix(ASIDE).partition("-")[0]
        if pid.isdigit() and not _alive(int(pid)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def read_bounded(path: Path, limit: int) -> bytes:
    """The bytes of a regular file no longer than `limit`. Links are not followed.

    Raises CharrnnError where it is missing, something else than a file, or longer.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(handle, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise CharrnnError(f"{path} is not a regular file")
            if status.st_size > limit:
                raise CharrnnError(f"{path} is larger than anything that belongs there ({status.st_size:,} bytes)")
            return file.read(limit + 1)[:limit]
    except OSError as error:
        raise CharrnnError(f"{path} cannot be read: {error.strerror}") from None


def to_json_bytes(value: Any) -> bytes:
    """JSON for a file: UTF-8, indented, no NaN."""
    return (json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n").encode()


def from_json_bytes(data: bytes, source: str) -> Any:
    """What a JSON text holds. Raises CharrnnError for anything but plain JSON: twice the same key, NaN, bad UTF-8."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = dict(pairs)
        if len(keys) != len(pairs):
            raise ValueError("a key stands there twice")
        return keys

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not a number")

    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=unique, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise CharrnnError(f"{source} is damaged: {error}") from None
