"""Find the files that a corpus name means: a path, folder, glob pattern, standard input or known corpus."""

from __future__ import annotations

import contextlib
import difflib
import errno
import io
import itertools
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from charrnn.errors import CharrnnError, UsageError
from charrnn.files import home_folder, is_export
from charrnn.progress import ByteProgress
from charrnn.settings import ReadSettings
from charrnn.text import catalog
from charrnn.text.path_filter import FILTERED, filter_reason
from charrnn.units import amount

STDIN = "-"
PIPE_BLOCK = 1 << 20
OWN_FOLDERS = {"checkpoints": "holds runs", "corpora": "holds other corpora"}
EXPORTED = "exported by charrnn"


def corpora_folder() -> Path:
    """Return `corpora/` in $CHARRNN_HOME, else in the current directory."""
    return home_folder() / "corpora"


def display_path(path: Path | str) -> str:
    r"""Return a path as text, with `\xNN` for bytes of a file name that are not UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


@dataclass(frozen=True)
class SourceFile:
    """A file to read, or standard input if it has no path.

    optional: skip it if it is not text. content: bytes or an unnamed file, if it has been read.
    """

    path: Path | None
    optional: bool = False
    content: bytes | BinaryIO | None = None

    @property
    def title(self) -> str:
        return "the standard input" if self.path is None else display_path(self.path)

    @property
    def size(self) -> int:
        if self.content is None:
            return self._status().st_size
        return len(self.content) if isinstance(self.content, bytes) else os.fstat(self.content.fileno()).st_size

    @property
    def stamp(self) -> list[Any] | None:
        """Path, size, and times of the last changes of content and metadata; None if it can be read only once."""
        if self.content is not None or self.path is None:
            return None
        status = self._status()
        return [str(self.path.resolve()), status.st_size, status.st_mtime_ns, status.st_ctime_ns]

    def open(self) -> BinaryIO:
        """Open the content, unbuffered. Raises OSError."""
        if isinstance(self.content, bytes):
            return io.BytesIO(self.content)
        if self.content is not None:
            duplicate = os.fdopen(os.dup(self.content.fileno()), "rb", buffering=0)
            duplicate.seek(0)
            return duplicate
        return _stdin() if self.path is None else self.path.open("rb", buffering=0)

    def without_pipe(self, folder: Path, exit_stack: contextlib.ExitStack, memory_limit: int) -> SourceFile:
        """Return this file with its content, if it is standard input or a pipe and can be read only once.

        Content beyond `memory_limit` bytes goes to an unnamed file in `folder`, which `exit_stack` closes.
        """
        if self.path is not None and not stat.S_ISFIFO(self._status().st_mode):
            return self
        try:
            with contextlib.ExitStack() as reading:
                pipe = _stdin() if self.path is None else reading.enter_context(self.open())
                content = bytearray()
                while len(content) <= memory_limit and (block := pipe.read(PIPE_BLOCK)):
                    content += block
                if len(content) <= memory_limit:
                    return replace(self, content=bytes(content))
                folder.mkdir(parents=True, exist_ok=True)
                file = exit_stack.enter_context(tempfile.TemporaryFile(dir=folder))
                file.write(content)
                shutil.copyfileobj(pipe, file)
                file.flush()
                return replace(self, content=file)
        except (OSError, ValueError) as error:
            raise CharrnnError(f"{self.title} cannot be read: {error}") from None

    def in_memory(self) -> SourceFile:
        """Return this file with its content as bytes."""
        if isinstance(self.content, bytes):
            return self
        try:
            kind = stat.S_IFMT(self._status().st_mode)
            if self.content is None and kind != stat.S_IFREG:
                what = {stat.S_IFDIR: "a folder", stat.S_IFSOCK: "a socket"}.get(kind, "a device")
                raise CharrnnError(f"{self.title} is {what}, not a text")
            with self.open() as file:
                size = os.fstat(file.fileno()).st_size
                content = file.read() or b""
        except OSError as error:
            raise _unreadable(self.title, error) from None
        if len(content) < size:
            raise CharrnnError(
                f"{self.title} became shorter while it was read: "
                f"{len(content):,} of {amount(size, 'byte', exact=True)}",
                "try again once nothing writes to it",
            )
        return replace(self, content=content)

    def _status(self) -> os.stat_result:
        assert self.path is not None
        try:
            return self.path.stat()
        except OSError as error:
            raise _unreadable(self.title, error) from None


@dataclass(frozen=True)
class FoundCorpus:
    """The files that one corpus name means. skipped: name → reason, of what a folder holds besides."""

    name: str
    files: list[SourceFile]
    skipped: dict[str, str] = field(default_factory=dict)


def find_corpora(
    specs: Sequence[str], folder: Path | None, progress: ByteProgress, reading: ReadSettings
) -> list[FoundCorpus]:
    """Find what each spec of `charrnn.text.corpus.load_corpus` means. Download or build a corpus of the catalog.

    reading: what to include and exclude below a folder.
    Raises UsageError where a spec means nothing, CharrnnError where a path cannot be examined.
    """
    if not specs:
        raise UsageError("no corpus is named", "name a file, a folder, or one that `charrnn corpora` lists")
    if list(specs).count(STDIN) > 1:
        raise UsageError(f"`{STDIN}` is given twice, but the standard input can be read only once")
    return [_find_corpus(spec, folder or corpora_folder(), progress, reading) for spec in specs]


def combine_names(names: Sequence[str]) -> str:
    """Return one name for a corpus of several."""
    return "+".join(names) if len(names) < 3 else f"{names[0]}+{len(names) - 1}"


def list_texts(folder: Path) -> list[Path]:
    """Return the entries of a folder, sorted, without hidden ones and README.md; none if the folder is missing."""
    try:
        entries = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except (OSError, ValueError):
        return []
    return _sorted(path for path in entries if path.name != "README.md")


def _find_corpus(spec: str, folder: Path, progress: ByteProgress, reading: ReadSettings) -> FoundCorpus:
    if spec == STDIN:
        return FoundCorpus("stdin", [SourceFile(None)])
    if not spec or "\0" in spec:
        raise UsageError(f"{spec!r} names no corpus")
    other = spec.removesuffix(".txt") if spec.endswith(".txt") else spec + ".txt"
    for parent in (Path(), folder):
        if _status(parent / spec) is not None:
            return _corpus_at(parent / spec, reading)
        if _is_file(parent / other):
            return _corpus_at(parent / other, reading)
        if parent == Path() and (corpus := _glob(spec, reading)):
            return corpus
    entry = catalog.find(spec)
    if entry is not None:
        return _corpus_at(catalog.ensure(entry, folder, progress), reading)
    raise UsageError(f"there is no file, folder or corpus {display_path(spec)!r}", _suggest(spec, folder))


def _corpus_at(path: Path, reading: ReadSettings) -> FoundCorpus:
    status = _status(path)
    is_folder = status is not None and stat.S_ISDIR(status.st_mode)
    files, skipped = _files_below(path, path, reading) if is_folder else ([SourceFile(path)], {})
    return FoundCorpus(_name_of(path), files, skipped)


def _name_of(path: Path) -> str:
    return display_path(path.resolve().name if path.is_dir() else path.stem) or "corpus"


def _without_exports(paths: Iterable[Path]) -> tuple[list[SourceFile], dict[str, str]]:
    """Return the regular files among these, sorted, and what is skipped: pages and pictures that charrnn wrote."""
    files = [path for path in _sorted(paths) if _is_file(path)]
    exported = {display_path(path): EXPORTED for path in files if is_export(path)}
    return [SourceFile(path, optional=True) for path in files if display_path(path) not in exported], exported


def _files_below(folder: Path, root: Path, reading: ReadSettings) -> tuple[list[SourceFile], dict[str, str]]:
    """Return the files below a folder, sorted, and what is skipped.

    Skipped are hidden files, charrnn's own folders, what it exported, and what the patterns of `reading` leave out.
    root: what the patterns of `reading` start from. Linked folders may be loops and are left out.
    """

    def fail(error: OSError) -> None:
        raise _unreadable(display_path(error.filename), error) from None

    paths: list[Path] = []
    skipped: dict[str, str] = {}
    for parent, folders, files in os.walk(folder, onerror=fail):
        reasons = {name: "hidden" for name in (*folders, *files) if name.startswith(".")}
        reasons |= {name: reason for name, reason in OWN_FOLDERS.items() if name in folders}
        for name in (*folders, *files):
            below = Path(parent, name).relative_to(root)
            reason = filter_reason(below, reading.include, reading.exclude, is_folder=name in folders)
            if reason is not None:
                reasons.setdefault(name, reason)
        skipped |= {display_path(Path(parent, name)): reason for name, reason in sorted(reasons.items())}
        folders[:] = [name for name in folders if name not in reasons]
        paths += [Path(parent, name) for name in files if name not in reasons]
    kept, exported = _without_exports(paths)
    return kept, skipped | exported


def _glob(pattern: str, reading: ReadSettings) -> FoundCorpus | None:
    """Return the files that a glob pattern matches and those below matching folders, each once; None without any.

    The patterns of `reading` start from the last folder before the first wildcard.
    """
    if not any(sign in pattern for sign in "*?["):
        return None
    path = Path(pattern)
    try:
        matches = list(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    except (ValueError, IndexError, re.error):
        raise UsageError(
            f"{display_path(pattern)!r} is not a glob pattern", "write ** between slashes, as in src/**/*.c"
        ) from None
    except OSError as error:
        raise _unreadable(display_path(path), error) from None
    include_hidden = any(part.startswith(".") for part in path.parts if part != "..")
    root = Path(*itertools.takewhile(lambda part: not any(sign in part for sign in "*?["), path.parts))
    files: set[SourceFile] = set()
    skipped: dict[str, str] = {}
    for match in matches:
        folders = match.parts if match.is_dir() else match.parts[:-1]
        own = next((name for name in folders if name in OWN_FOLDERS and name not in path.parts), None)
        if own is not None:
            skipped[display_path(Path(*folders[: folders.index(own) + 1]))] = OWN_FOLDERS[own]
        elif include_hidden or not any(part.startswith(".") for part in match.parts if part != ".."):
            is_folder, below = match.is_dir(), match.relative_to(root)
            reason = filter_reason(below, reading.include, reading.exclude, is_folder=is_folder)
            if reason is not None:
                skipped[display_path(match)] = reason
                continue
            found, skipped_below = _files_below(match, root, reading) if is_folder else _without_exports([match])
            files |= set(found)
            skipped |= skipped_below
    paths = _sorted(file.path for file in files if file.path is not None)
    if not paths and not any(reason in (*FILTERED, EXPORTED) for reason in skipped.values()):
        return None
    name = combine_names([_name_of(path) for path in paths]) if paths else display_path(pattern)
    return FoundCorpus(name, [SourceFile(path, optional=True) for path in paths], skipped)


def _status(path: Path) -> os.stat_result | None:
    """Return the status of a path, links followed; None if nothing is there. Raises CharrnnError if it is unknown."""
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            return None
        raise _unreadable(display_path(path), error) from None


def _is_file(path: Path) -> bool:
    status = _status(path)
    return status is not None and stat.S_ISREG(status.st_mode)


def _sorted(paths: Iterable[Path]) -> list[Path]:
    return sorted(paths, key=lambda path: path.as_posix())


def _unreadable(title: str, error: OSError) -> CharrnnError:
    return CharrnnError(f"{title} cannot be read: {error.strerror or error}")


def _suggest(spec: str, folder: Path) -> str:
    known = {name: name for name in catalog.CORPORA}
    known |= {path.stem: display_path(path.name) for path in list_texts(folder)}
    known |= {path.stem: display_path(path) for path in list_texts(Path(spec).parent)}
    by_lower = {name.lower(): text for name, text in known.items()}
    near = difflib.get_close_matches(Path(spec).stem.lower(), by_lower, n=3, cutoff=0.6)
    suggestion = f"perhaps {' or '.join(by_lower[name] for name in near)}? " if near else ""
    return suggestion + "`charrnn corpora` lists known corpora"


def _stdin() -> BinaryIO:
    if sys.stdin is None:
        raise CharrnnError("the standard input is closed")
    if _is_endless(sys.stdin.buffer):
        raise CharrnnError("the standard input is a device, not a text")
    return sys.stdin.buffer


def _is_endless(stream: BinaryIO) -> bool:
    """Return whether a stream is a device such as /dev/zero, but not a terminal or /dev/null."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False  # not a real stream, as in tests
    null = Path(os.devnull).stat()
    return stat.S_ISCHR(status.st_mode) and not stream.isatty() and not os.path.samestat(status, null)
