"""What a program asks of the file system, seen from outside: each call is a named point at which a fault can be put.

Production code has no hooks for this. It writes through functions of `os` (and of pathlib and shutil, which call
those), and these are replaced here for a while. So a point cannot be forgotten: a new call is a new point.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

CHANGES = ("open", "write", "fsync", "mkdir", "rename", "replace", "unlink", "rmdir", "ftruncate")


@dataclass(frozen=True)
class Call:
    """One call below the folder that is watched. name: as `fsync checkpoints/ASIDE-00000006/model.safetensors`."""

    function: str
    name: str
    path: Path
    target: Path | None = None


def path_of(handle: int) -> Path:
    """The path of an open file."""
    if sys.platform == "darwin":
        return Path(os.fsdecode(fcntl.fcntl(handle, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0")))
    return Path(os.readlink(f"/proc/self/fd/{handle}"))  # noqa: PTH115 - of pathlib's own calls none should be ours


@contextlib.contextmanager
def watched(
    folder: Path, before: Callable[[Call, tuple[Any, ...]], None], after: Callable[[Call], None] = lambda call: None
) -> Iterator[None]:
    """Calls `before` and `after` around each call that changes something below a folder.

    before: may raise in place of the call, or do a part of it first; gets its arguments.
    """

    def place(path: Any, dir_fd: int | None) -> Path | None:
        path = path_of(path) if isinstance(path, int) else Path(os.fsdecode(path))
        if not path.is_absolute() and dir_fd is not None:
            path = path_of(dir_fd) / path
        return path if path.is_relative_to(folder) else None

    def name_of(path: Path) -> str:
        return re.sub(r"\.aside-\d+-", "ASIDE-", str(path.relative_to(folder)))

    def wrapped(function: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            path = place(arguments[0], keywords.get("dir_fd"))
            if path is None or (function == "open" and not arguments[1] & os.O_CREAT):
                return original(*arguments, **keywords)
            target = place(arguments[1], None) if function in ("rename", "replace") else None
            name = f"{function} {name_of(path)}" + (f" → {name_of(target)}" if target else "")
            made = Call(function, name, path, target)
            before(made, arguments)
            result = original(*arguments, **keywords)
            after(made)
            return result

        return call

    with pytest.MonkeyPatch.context() as patch:
        for function in CHANGES:
            patch.setattr(os, function, wrapped(function, getattr(os, function)))
        yield


def points_of(folder: Path, work: Callable[[], object]) -> list[str]:
    """The names of the points that some work passes, in order."""
    names: list[str] = []
    with watched(folder, lambda call, _: names.append(call.name)):
        work()
    return names


@contextlib.contextmanager
def fault_at(folder: Path, number: int, fault: Callable[[Call, tuple[Any, ...]], None]) -> Iterator[list[Call]]:
    """Puts a fault before the call of this number (from 0); gives a list that will hold that call."""
    calls = iter(range(10**9))
    met: list[Call] = []

    def before(call: Call, arguments: tuple[Any, ...]) -> None:
        if next(calls) == number:
            met.append(call)
            fault(call, arguments)

    with watched(folder, before):
        yield met


def half_written(call: Call, arguments: tuple[Any, ...]) -> None:
    """Lets a write do half of what it should."""
    if call.function == "write":
        data = memoryview(arguments[1])
        os.pwrite(arguments[0], data[: len(data) // 2], os.fstat(arguments[0]).st_size)
