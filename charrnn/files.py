"""Atomic writes, safe reads, and strict JSON.

A file or folder is written under a temporary name beside its place, synced to the disk, and renamed; then the folder is
synced. After a crash or a power loss, the old or the new state is found, never a mixture.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import stat
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Any

from charrnn.errors import CharrnnError
from charrnn.units import amount

TEMPORARY_PREFIX = ".aside-"
EXPORT_MARK = "<!-- made by charrnn -->"
"""Near the start of every page and picture that charrnn writes, so that a corpus can leave them out."""
BLOCK = 1 << 20
MAX_JSON_PARTS = 100_000  # the header of the largest weights has about 5,000


def home_folder() -> Path:
    """Return the folder of corpora/ and checkpoints/: $CHARRNN_HOME, or the current directory.

    Raises CharrnnError where the name is too long for the file system.
    """
    path = Path(os.environ.get("CHARRNN_HOME", ""))
    try:
        path.stat()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise CharrnnError("CHARRNN_HOME is too long for a path", "set it to a folder") from None
    return path


# Write


def sync_folder(path: Path) -> None:
    """Sync the entries of a folder, such as a new name, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems cannot sync folders
            raise
    finally:
        os.close(handle)


def make_folder(path: Path) -> None:
    """Create a folder and its missing parents, and sync their names to the disk."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        sync_folder(path.parent)


def is_real_folder(path: Path) -> bool:
    """Return whether the path is a folder and not a link to one."""
    return path.is_dir() and not path.is_symlink()


def write_and_sync(path: Path, data: bytes) -> None:
    """Write a new file and sync it to the disk. Not atomic: for use inside `atomic_folder`."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(handle, rest) :]
        os.fsync(handle)
    finally:
        os.close(handle)


def _temporary(path: Path) -> Path:
    return path.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{path.name}")


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Give the temporary path of a file to write. It replaces `path` after the block, or is removed on an error."""
    temporary = _temporary(path)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def save(path: Path, content: str | bytes) -> None:
    """Write a file atomically. Its folder is created if it is missing. Raises CharrnnError if it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as aside:
            aside.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise CharrnnError(f"{path} cannot be written: {error.strerror}", "name another file") from None


def is_export(path: Path) -> bool:
    """Return whether charrnn wrote this page or picture. False where the file cannot be read."""
    if path.suffix.lower() not in (".html", ".svg"):
        return False
    try:
        with path.open("rb") as file:
            return EXPORT_MARK.encode() in file.read(1000)
    except OSError:
        return False


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give the temporary path of a folder to fill with `write_and_sync`. It becomes `path`.

    Raises FileExistsError where `path` exists by then and is not empty.
    """
    temporary = _temporary(path)
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        yield temporary
        sync_folder(temporary)
        temporary.rename(path)
        sync_folder(path.parent)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError) and error.errno == errno.ENOTEMPTY:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        raise


def remove_folder(path: Path) -> None:
    """Remove a folder atomically: it is renamed first. Errors are ignored."""
    temporary = _temporary(path)
    shutil.rmtree(temporary, ignore_errors=True)
    with contextlib.suppress(OSError):
        path.rename(temporary)
        shutil.rmtree(temporary, ignore_errors=True)


def remove_leftovers(folder: Path, *, exclusive: bool = False) -> None:
    """Remove the temporary files in a folder whose processes have ended.

    exclusive: no other process writes to the folder, so all are removed; process ids are reused.
    """
    for path in folder.glob(TEMPORARY_PREFIX + "*"):
        pid = path.name.removeprefix(TEMPORARY_PREFIX).partition("-")[0]
        if pid.isdecimal() and (exclusive or not _is_alive(int(pid))):
            if is_real_folder(path):
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):  # OverflowError: larger than any process id
        return False
    except PermissionError:
        return True
    return True


# Read


def open_regular(path: Path, flags: int = os.O_RDONLY) -> FileIO:
    """Open a regular file, unbuffered. flags: as for `os.open`.

    Raises CharrnnError for a link, a FIFO or anything else that is not a regular file, OSError where the system
    refuses.
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
    return FileIO(handle, "ab" if flags & os.O_APPEND else "rb+" if flags & os.O_RDWR else "rb")


def regular_file_size(path: Path) -> int | None:
    """Return the size of a regular file without opening it, or None for anything else, such as a link.

    Raises CharrnnError where it is missing.
    """
    try:
        status = path.lstat()
    except OSError as error:
        raise CharrnnError(f"{path} cannot be read: {error.strerror}") from None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def read_bounded(path: Path, limit: int) -> bytes:
    """Return the content of a regular file of at most `limit` bytes. Links are not followed.

    Raises CharrnnError where it is missing, longer, not a regular file, or unreadable.
    """
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > limit:
                raise CharrnnError(f"{path} is too large ({amount(size, 'byte', exact=True)})")
            data = bytearray()
            while len(data) <= limit and (block := file.read(min(BLOCK, limit + 1 - len(data)))):
                data += block
    except OSError as error:
        raise CharrnnError(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > limit:
        raise CharrnnError(f"{path} grew while it was read")
    return bytes(data)


# JSON


def to_json_bytes(value: Any) -> bytes:
    """Return a value as indented JSON in UTF-8. Raises ValueError for NaN."""
    return (json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n").encode()


def from_json_bytes(data: bytes, source: str, max_parts: int = MAX_JSON_PARTS) -> Any:
    """Return the value of a JSON text. source: the file, for errors.

    Raises CharrnnError for NaN, a repeated key or bad UTF-8, and for more than `max_parts` objects, arrays and commas:
    a parsed value can take a hundred times the memory of its text.
    """
    if sum(map(data.count, (b"[", b"{", b","))) > max_parts:
        raise CharrnnError(f"{source} is damaged: it has too many parts")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = dict(pairs)
        if len(keys) != len(pairs):
            raise ValueError("a key is repeated")
        return keys

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not a number")

    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=unique, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise CharrnnError(f"{source} is damaged: {error}") from None
