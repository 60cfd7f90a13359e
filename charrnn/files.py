"""Files and folders that are there whole or not at all, and JSON that is what it says.

A write goes to a hidden neighbor, is forced to the disk (fsync), takes its name by a rename, and the rename is forced
to the disk by syncing the folder: after a crash or a loss of power the old or the new state is found, never a mixture.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from charrnn.errors import CharrnnError
from charrnn.units import amount

Progress = Callable[[int, int], None]  # told of bytes done, and bytes in all

ASIDE = ".aside-"
BLOCK = 1 << 20
MOST_PARTS = 100_000  # of a JSON text, unless more belong there; the header of the largest weights has some 5,000


def home_folder() -> Path:
    """Where corpora/ and checkpoints/ lie: $CHARRNN_HOME, else the current directory."""
    return Path(os.environ.get("CHARRNN_HOME", ""))


def _aside(path: Path) -> Path:
    return path.with_name(f"{ASIDE}{os.getpid()}-{path.name}")


def sync_folder(path: Path) -> None:
    """Forces a folder's own entries, such as a name just given, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # what some network file systems answer, which have nothing to force
            raise
    finally:
        os.close(handle)


def make_folder(path: Path) -> None:
    """Makes a folder and those above it where they are missing, and forces the names of the new ones to the disk."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        sync_folder(path.parent)


def is_own_folder(path: Path) -> bool:
    """Whether there is a folder, rather than a link to one, which may lie anywhere."""
    return path.is_dir() and not path.is_symlink()


def write_and_sync(path: Path, data: bytes) -> None:
    """Writes a new file and forces it to the disk. Not atomic: for files inside a folder that is still aside."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(handle, rest) :]
        os.fsync(handle)
    finally:
        os.close(handle)


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


def remove_folder(path: Path) -> None:
    """Removes a folder so that at no moment a part of it is found under its name. What cannot be removed stays."""
    aside = _aside(path)
    shutil.rmtree(aside, ignore_errors=True)
    with contextlib.suppress(OSError):
        path.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)


def remove_leftovers(folder: Path, *, alone: bool = False) -> None:
    """Removes what processes that are no longer alive left aside in a folder.

    alone: nobody else writes there, so whatever lies aside is left over; its number may by now be another process's.
    """
    for path in folder.glob(ASIDE + "*"):
        pid = path.name.removeprefix(ASIDE).partition("-")[0]
        if pid.isdecimal() and (alone or not _alive(int(pid))):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):  # the second of a number that no process can have
        return False
    except PermissionError:
        return True
    return True


def open_regular(path: Path, flags: int = os.O_RDONLY) -> BinaryIO:
    """Opens a regular file, unbuffered; with O_CREAT in the flags (of `os.open`) one is made where there is none.

    Raises CharrnnError where there is a link or anything else in its place (a FIFO is not waited for), OSError where
    the system refuses.
    """
    try:
        handle = os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0), 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):  # a link, a folder, a socket or FIFO
            raise CharrnnError(f"{path} is not a regular file") from None
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise CharrnnError(f"{path} is not a regular file")
    return os.fdopen(handle, "ab" if flags & os.O_APPEND else "rb+" if flags & os.O_RDWR else "rb", buffering=0)


def read_bounded(path: Path, limit: int) -> bytes:
    """The bytes of a regular file no longer than `limit`. Links are not followed.

    Raises CharrnnError where it is missing, something else than a file, longer, or cannot be read.
    """
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > limit:
                raise CharrnnError(
                    f"{path} is larger than anything that belongs there ({amount(size, 'byte', exact=True)})"
                )
            data = bytearray()
            while len(data) <= limit and (block := file.read(min(BLOCK, limit + 1 - len(data)))):
                data += block
    except OSError as error:
        raise CharrnnError(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > limit:
        raise CharrnnError(f"{path} grew while it was read")
    return bytes(data)


def to_json_bytes(value: Any) -> bytes:
    """JSON for a file: UTF-8, indented, no NaN."""
    return (json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n").encode()


def from_json_bytes(data: bytes, source: str, most_parts: int = MOST_PARTS) -> Any:
    """What a JSON text holds.

    Raises CharrnnError for anything but plain JSON (twice the same key, NaN, bad UTF-8), and for more parts than
    `most_parts`, each of which would take a hundred times its own length in memory.
    """
    if sum(map(data.count, (b"[", b"{", b","))) > most_parts:
        raise CharrnnError(f"{source} is damaged: it has more parts than belong there")

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
