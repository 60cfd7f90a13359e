"""What a person names on the command line → the files meant: a path, folder, pattern, stdin or known corpus."""

from __future__ import annotations

import contextlib
import difflib
import errno
import io
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from charrnn.errors import CharrnnError, UsageError
from charrnn.files import Progress, home_folder
from charrnn.text import catalog
from charrnn.text.corpus_cache import FIRST_BLOCK
from charrnn.units import amount

STDIN = "-"
PIPE_BLOCK = 1 << 20


def corpora_folder() -> Path:
    """Where corpora lie: `corpora/` in $CHARRNN_HOME, else in the current directory."""
    return home_folder() / "corpora"


def shown(path: Path | str) -> str:
    r"""A path as text that can be written anywhere: bytes of a file name that are not UTF-8 become `\xNN`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


@dataclass(frozen=True)
class SourceFile:
    """A file to read; stdin if it has no path. optional: passed over, rather than an error, where it is not text.

    content: what was read of it, where that can be done only once; in memory or, if large, in a file without a name.
    """

    path: Path | None
    optional: bool = False
    content: bytes | BinaryIO | None = None

    @property
    def shown(self) -> str:
        return "the standard input" if self.path is None else shown(self.path)

    @property
    def size(self) -> int:
        if self.content is None:
            return self._status().st_size
        return len(self.content) if isinstance(self.content, bytes) else os.fstat(self.content.fileno()).st_size

    @property
    def stamp(self) -> list[Any] | None:
        """Place, size and times of the last change of content and of anything; None for what was read only once."""
        if self.content is not None or self.path is None:
            return None
        status = self._status()
        return [str(self.path.resolve()), status.st_size, status.st_mtime_ns, status.st_ctime_ns]

    def read(self) -> bytes | None:
        """The content; None where it is binary and optional. Raises CharrnnError where it cannot be read."""
        if isinstance(self.content, bytes):
            return self.content
        return _read_stdin() if self.path is None else _read(self.path, self.optional)

    def open(self) -> BinaryIO:
        if isinstance(self.content, bytes):
            return io.BytesIO(self.content)
        if self.content is not None:
            again = os.fdopen(os.dup(self.content.fileno()), "rb", buffering=0)
            again.seek(0)
            return again
        return self.path.open("rb", buffering=0)

    def _status(self) -> os.stat_result:
        try:
            return self.path.stat()
        except OSError as error:
            raise _unreadable(self.path, error) from None

    def with_pipe_read(self, folder: Path, closing: contextlib.ExitStack, much: int) -> SourceFile:
        """This file with its content where it is the standard input or a pipe. folder: where more than `much` of it is
        kept, until `closing` is over."""
        if self.path is not None and not stat.S_ISFIFO(self._status().st_mode):
            return self
        try:
            with contextlib.ExitStack() as reading:
                pipe = _stdin() if self.path is None else reading.enter_context(self.path.open("rb", buffering=0))
                content = bytearray()
                while len(content) <= much and (block := pipe.read(PIPE_BLOCK)):
                    content += block
                if len(content) <= much:
                    return replace(self, content=bytes(content))
                folder.mkdir(parents=True, exist_ok=True)
                file = closing.enter_context(tempfile.TemporaryFile(dir=folder))
                file.write(content)
                shutil.copyfileobj(pipe, file)
                file.flush()
                return replace(self, content=file)
        except (OSError, ValueError) as error:
            raise CharrnnError(f"{self.shown} cannot be read: {error}") from None


@dataclass(frozen=True)
class Find:
    """What one spec stands for."""

    name: str
    files: list[SourceFile]

    def with_pipes_read(self, folder: Path, closing: contextlib.ExitStack, much: int) -> Find:
        """This find with `SourceFile.with_pipe_read` of its files."""
        return replace(self, files=[file.with_pipe_read(folder, closing, much) for file in self.files])


def found(specs: Sequence[str], folder: Path | None, progress: Progress | None) -> list[Find]:
    """What each spec of `charrnn.text.corpus.load_corpus` stands for; a corpus of the catalog is fetched or built.

    Raises UsageError where nothing has that name, CharrnnError where something cannot be looked at.
    """
    if not specs:
        raise UsageError("no corpus is named", "name a file, a folder, or one that `charrnn corpora` lists")
    if list(specs).count(STDIN) > 1:
        raise UsageError(f"`{STDIN}` stands there twice, but the standard input can be read only once")
    return [_find(spec, folder or corpora_folder(), progress) for spec in specs]


def _find(spec: str, folder: Path, progress: Progress | None) -> Find:
    if spec == STDIN:
        return Find("stdin", [SourceFile(None)])
    if not spec or "\0" in spec:
        raise UsageError(f"{spec!r} names no corpus")
    other = spec.removesuffix(".txt") if spec.endswith(".txt") else spec + ".txt"
    for start in (Path(), folder):
        if _status(start / spec) is not None:
            return _find_at(start / spec)
        status = _status(start / other)
        if status is not None and stat.S_ISREG(status.st_mode):  # with `.txt` added or removed, only a file is meant
            return _find_at(start / other)
        if start == Path() and (matches := _matches(spec)):
            return Find(joined([_name_at(file.path) for file in matches if file.path]), matches)
    entry = catalog.find(spec)
    if entry is not None:
        return _find_at(catalog.ensure(entry, folder, progress))
    raise UsageError(f"there is no file, folder or corpus {shown(spec)!r}", _advice(spec, folder))


def _status(path: Path) -> os.stat_result | None:
    """What a path leads to, through links; None if there is nothing. Raises CharrnnError where that cannot be told."""
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            return None
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> CharrnnError:
    return CharrnnError(f"{shown(path)} cannot be read: {error.strerror or error}")


def _find_at(path: Path) -> Find:
    status = _status(path)
    is_folder = status is not None and stat.S_ISDIR(status.st_mode)
    return Find(_name_at(path), _files_below(path) if is_folder else [SourceFile(path)])


def _name_at(path: Path) -> str:
    return shown(path.resolve().name if path.is_dir() else path.stem) or "corpus"


def joined(names: Sequence[str]) -> str:
    """One name for a corpus of several."""
    return "+".join(names) if len(names) < 3 else f"{names[0]}+{len(names) - 1}"


def _files_below(folder: Path) -> list[SourceFile]:
    """The files below a folder, sorted by path; nothing hidden, and no linked folder, as that might be a loop."""

    def refuse(error: OSError) -> None:
        raise _unreadable(Path(error.filename), error) from None

    paths = []
    for parent, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths += [Path(parent, name) for name in files if not name.startswith(".")]
    return [SourceFile(path, optional=True) for path in _sorted(paths) if _is_file(path)]


def _is_file(path: Path) -> bool:
    status = _status(path)
    return status is not None and stat.S_ISREG(status.st_mode)


def _sorted(paths: Iterable[Path]) -> list[Path]:
    return sorted(paths, key=lambda path: path.as_posix())


def _matches(pattern: str) -> list[SourceFile]:
    """The files that a glob pattern matches, and those below the folders it matches, each once, sorted by path."""
    if not any(sign in pattern for sign in "*?["):
        return []
    path = Path(pattern)
    try:
        matches = list(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    except (ValueError, IndexError, re.error):
        raise UsageError(
            f"{shown(pattern)!r} is not a pattern", "write ** as a folder of its own, as in src/**/*.c"
        ) from None
    except OSError as error:
        raise _unreadable(path, error) from None
    hidden_too = any(part.startswith(".") for part in path.parts if part != "..")
    paths = set()
    for match in matches:
        if hidden_too or not any(part.startswith(".") for part in match.parts if part != ".."):
            paths |= {file.path for file in _files_below(match)} if match.is_dir() else {match}
    return [SourceFile(path, optional=True) for path in _sorted(path for path in paths if path and _is_file(path))]


def _advice(spec: str, folder: Path) -> str:
    known = {name: name for name in catalog.names()}
    known |= {path.stem: shown(path.name) for path in texts_in(folder)}
    beside = Path(spec).parent
    known |= {path.stem: shown(path) for path in texts_in(beside)}
    by_lower = {name.lower(): text for name, text in known.items()}
    near = difflib.get_close_matches(Path(spec).stem.lower(), by_lower, n=3, cutoff=0.6)
    suggestion = f"perhaps {' or '.join(by_lower[name] for name in near)}? " if near else ""
    return suggestion + "`charrnn corpora` lists what can be had by name"


def texts_in(folder: Path) -> list[Path]:
    """What lies in a folder under a name that is not hidden, sorted, without a README; nothing without a folder."""
    try:
        entries = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except (OSError, ValueError):
        return []
    return _sorted(path for path in entries if path.name != "README.md")


def _read(path: Path, only_text: bool) -> bytes | None:
    """A file's bytes; None if it is binary and only text is wanted. Raises CharrnnError where it cannot be read."""
    try:
        kind = stat.S_IFMT(path.stat().st_mode)
        if kind not in (stat.S_IFREG, stat.S_IFIFO):
            what = {stat.S_IFDIR: "a folder", stat.S_IFSOCK: "a socket"}.get(kind, "a device")
            raise CharrnnError(f"{shown(path)} is {what}, not a text")
        with path.open("rb", buffering=0) as file:
            promised = os.fstat(file.fileno()).st_size
            if only_text:
                if b"\0" in (file.read(FIRST_BLOCK) or b""):
                    return None
                file.seek(0)
            raw = file.read() or b""
    except OSError as error:
        raise _unreadable(path, error) from None
    if len(raw) < promised:
        raise CharrnnError(
            f"{shown(path)} became shorter while it was read: {len(raw):,} of {amount(promised, 'byte', exact=True)}",
            "try again once nothing writes to it",
        )
    return raw


def _stdin() -> BinaryIO:
    if sys.stdin is None:
        raise CharrnnError("the standard input is closed")
    if _is_endless(sys.stdin.buffer):
        raise CharrnnError("the standard input is a device, not a text")
    return sys.stdin.buffer


def _read_stdin() -> bytes:
    try:
        return _stdin().read()
    except (OSError, ValueError) as error:
        raise CharrnnError(f"the standard input cannot be read: {error}") from None


def _is_endless(stream: BinaryIO) -> bool:
    """Whether a stream is a device such as /dev/zero, as against a terminal, a pipe, a file or nothing (/dev/null)."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False  # not a real stream, as in tests
    nothing = Path(os.devnull)
    return stat.S_ISCHR(status.st_mode) and not stream.isatty() and not os.path.samestat(status, nothing.stat())
