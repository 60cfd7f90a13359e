"""Faults at named system calls.

The functions of `os` that change a file system, which pathlib and shutil call too, are replaced for a while. Production
code needs no hooks, and no call can be forgotten.
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
    """A call below the watched folder. name: such as `fsync checkpoints/ASIDE-00000006/model.safetensors`."""

    function: str
    name: str
    path: Path
    target: Path | None = None


Arguments = tuple[Any, ...]
Fault = Callable[[Call, Arguments], None]


def path_of(handle: int) -> Path:
    """Return the path of an open file."""
    if sys.platform == "darwin":
        return Path(os.fsdecode(fcntl.fcntl(handle, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0")))
    return Path(os.readlink(f"/proc/self/fd/{handle}"))  # noqa: PTH115 - pathlib's own calls are replaced


@contextlib.contextmanager
def watch_calls(folder: Path, before: Fault, after: Callable[[Call], None] = lambda call: None) -> Iterator[None]:
    """Call `before` and `after` around each call that changes something below a folder.

    before: may raise instead of the call, or do a part of it.
    """

    def find(path: Any, dir_fd: int | None) -> Path | None:
        path = path_of(path) if isinstance(path, int) else Path(os.fsdecode(path))
        if not path.is_absolute() and dir_fd is not None:
            path = path_of(dir_fd) / path
        return path if path.is_relative_to(folder) else None

    def name_of(path: Path) -> str:
        return re.sub(r"\.aside-\d+-", "ASIDE-", str(path.relative_to(folder)))

    def wrap(function: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **keywords: Any) -> Any:
            path = find(arguments[0], keywords.get("dir_fd"))
            if path is None or (function == "open" and not arguments[1] & os.O_CREAT):
                return original(*arguments, **keywords)
            target = find(arguments[1], None) if function in ("rename", "replace") else None
            name = f"{function} {name_of(path)}" + (f" → {name_of(target)}" if target else "")
            call = Call(function, name, path, target)
            before(call, arguments)
            result = original(*arguments, **keywords)
            after(call)
            return result

        return wrapped

    with pytest.MonkeyPatch.context() as patch:
        for function in CHANGES:
            patch.setattr(os, function, wrap(function, getattr(os, function)))
        yield


def call_names(folder: Path, work: Callable[[], object]) -> list[str]:
    """Return the names of the calls that some work makes, in order."""
    names: list[str] = []
    with watch_calls(folder, lambda call, _: names.append(call.name)):
        work()
    return names


@contextlib.contextmanager
def fault_at(folder: Path, number: int, fault: Fault) -> Iterator[list[Call]]:
    """Cause a fault before the call of this number, from 0. Give a list to which that call is added."""
    calls = iter(range(10**9))
    failed: list[Call] = []

    def before(call: Call, arguments: Arguments) -> None:
        if next(calls) == number:
            failed.append(call)
            fault(call, arguments)

    with watch_calls(folder, before):
        yield failed


def write_half(call: Call, arguments: Arguments) -> None:
    """Write half of the data, if the call is a write."""
    if call.function == "write":
        data = memoryview(arguments[1])
        os.pwrite(arguments[0], data[: len(data) // 2], os.fstat(arguments[0]).st_size)
