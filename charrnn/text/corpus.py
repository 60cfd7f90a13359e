"""What a person names on the command line → the ids that a model trains on, their identity and their split."""

from __future__ import annotations

import contextlib
import difflib
import errno
import hashlib
import io
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from charrnn.errors import CharrnnError, UsageError
from charrnn.text import catalogue, encoded
from charrnn.text.encoded import BYTE_ORDER_MARK, FIRST_BLOCK
from charrnn.text.vocabulary import CODE_POINTS, PIECE, Unknown, Vocabulary, code_points, decoded
from charrnn.units import amount

STDIN = "-"
PIPE_BLOCK = 1 << 20
LARGE = 64_000_000  # bytes of text beyond which ids are kept in a file rather than in memory


@dataclass(frozen=True, eq=False)
class Corpus:
    """A text to train on, as ids.

    name: short, after the file, folder or catalogue entry. specs: as the user wrote them. files: those read, in order.
    passed_over: files of a folder or pattern that are not text. ids: (N,) of `vocabulary.id_type`; of a large text they
    are mapped from a file, and only what is looked at comes into memory. lengths: of each file, in ids.
    sha256: of the exact bytes trained on: the files one after the other, without byte order marks unless as bytes.
    size: the number of those bytes.
    """

    name: str
    specs: list[str]
    files: list[str]
    passed_over: list[str]
    vocabulary: Vocabulary
    ids: np.ndarray
    lengths: list[int]
    sha256: str
    size: int

    def __len__(self) -> int:
        return len(self.ids)

    def split(self, val_fraction: float) -> tuple[np.ndarray, np.ndarray]:
        """Training ids, the first ⌊N·(1 − val_fraction)⌋, and validation ids, the rest. Both are views."""
        # In fractions: 100 characters at 0.29 are 71 and 29, whatever 1 − 0.29 is in binary.
        cut = int(len(self) * (1 - Fraction(repr(float(val_fraction)))))
        return self.ids[:cut], self.ids[cut:]

    def text(self, start: int = 0, stop: int | None = None) -> str:
        """Characters start…stop (in ids) for display; bytes are read as UTF-8 with replacement."""
        return self.vocabulary.text(self.ids[start:stop])

    def with_vocabulary(self, vocabulary: Vocabulary) -> Corpus:
        """The same text in another vocabulary's ids. Raises CharrnnError where that lacks one of its characters."""
        if vocabulary == self.vocabulary:
            return self
        if vocabulary.kind != self.vocabulary.kind:
            raise CharrnnError(
                f"{self.name} was read as {self.vocabulary.kind}, not as {vocabulary.kind}",
                "use --bytes" if vocabulary.kind == "bytes" else "leave --bytes out",
            )
        known = np.isin(code_points(self.vocabulary.characters), code_points(vocabulary.characters))
        if not known.all():
            self._refuse_unknown(known)
        new_ids = np.zeros(len(known), vocabulary.id_type)
        new_ids[known] = vocabulary.encode(self.vocabulary.characters, skip_unknown=True)
        is_large = self.ids.nbytes > LARGE
        ids = encoded.remapped(self.ids, new_ids, corpora_folder()) if is_large else new_ids[self.ids]
        return replace(self, vocabulary=vocabulary, ids=ids)

    def _refuse_unknown(self, known: np.ndarray) -> None:
        """Raises CharrnnError where a file holds a character that is not known. known: (V,), which ids are."""
        points, begin = code_points(self.vocabulary.characters), 0
        for file, length in zip(self.files, self.lengths, strict=True):
            unknown = Unknown()
            for start in range(0, length, PIECE):
                ids = self.ids[begin + start : begin + min(start + PIECE, length)]
                unknown.add(points[ids], ~known[ids], start)
            if unknown.first:
                raise CharrnnError(f"{file} holds what the model does not know: {unknown.named()}")
            begin += length


def corpora_folder() -> Path:
    """Where corpora lie: `corpora/` in $CHARRNN_HOME, else in the current directory."""
    return Path(os.environ.get("CHARRNN_HOME", "")) / "corpora"


def shown(path: Path | str) -> str:
    r"""A path as text that can be written anywhere: bytes of a file name that are not UTF-8 become `\xNN`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def load_corpus(
    specs: Sequence[str],
    *,
    as_bytes: bool = False,
    vocabulary: Vocabulary | None = None,
    folder: Path | None = None,
    progress: catalogue.Progress | None = None,
) -> Corpus:
    """Finds, reads and encodes what a person asked for; several are joined in the order given.

    specs: each `-` for stdin, the path of a file or folder, a glob pattern, or a name in the corpora folder or the
        catalogue, with or without `.txt`; the first of these that exists.
    as_bytes: a vocabulary of bytes; nothing is decoded, a byte order mark stays.
    vocabulary: use this one (its kind decides over as_bytes) rather than the text's own.
    folder: the corpora folder; `corpora_folder()` if None. progress: for a corpus that is fetched, built or large.

    A text of more than LARGE bytes is encoded once into a file next to it, or in the corpora folder if it is of several
    files or nothing can be written next to it (`charrnn.text.encoded`); memory does not grow with it.

    Raises UsageError where nothing has that name, CharrnnError where something cannot be read, is not UTF-8, is empty,
    or has but one character to learn.
    """
    if vocabulary is not None:
        as_bytes = vocabulary.kind == "bytes"
    folder = folder or corpora_folder()
    with contextlib.ExitStack() as closing:
        finds = [find.with_pipes_read(folder, closing) for find in _found(specs, folder, progress)]
        if sum(file.size for find in finds for file in find.files) > LARGE:
            return _load_large(specs, finds, as_bytes, vocabulary, folder, progress)
    with _within_memory(specs):
        texts, passed_over = _read_all(finds, as_bytes)
        if vocabulary is None:
            vocabulary = Vocabulary.of_bytes() if as_bytes else _vocabulary_of(texts)
            _refuse_one_character(texts, vocabulary)
        ids = _ids_of(texts, vocabulary)
    return Corpus(
        name=_joined([find.name for find in finds]),
        specs=[shown(spec) for spec in specs],
        files=[text.source for text in texts],
        passed_over=passed_over,
        vocabulary=vocabulary,
        ids=ids,
        lengths=[text.length for text in texts],
        sha256=_sha256_of(texts),
        size=sum(len(text.raw) - text.start for text in texts),
    )


def _load_large(
    specs: Sequence[str],
    finds: list[_Find],
    as_bytes: bool,
    vocabulary: Vocabulary | None,
    folder: Path,
    progress: catalogue.Progress | None,
) -> Corpus:
    files = [file for find in finds for file in find.files]
    beside = [file.path.parent for file in files if file.path is not None] if len(files) == 1 else []
    name = _joined([find.name for find in finds])
    kept_as = files[0].path.name if beside and files[0].path else name
    result = encoded.encode(
        files, shown(kept_as), [*beside, folder], as_bytes=as_bytes, vocabulary=vocabulary, progress=progress
    )
    texts = [(file, length) for file, length in zip(files, result.lengths, strict=True) if length is not None]
    passed_over = [file.shown for file, length in zip(files, result.lengths, strict=True) if length is None]
    _refuse_nothing(finds, len(texts), len(passed_over), len(result.ids), as_bytes)
    if len(result.vocabulary) == 1:
        raise _one_character(files[0].shown, result.vocabulary)
    return Corpus(
        name=name,
        specs=[shown(spec) for spec in specs],
        files=[file.shown for file, _ in texts],
        passed_over=passed_over,
        vocabulary=result.vocabulary,
        ids=result.ids,
        lengths=[length for _, length in texts],
        sha256=result.sha256,
        size=result.size,
    )


def read_text(
    spec: str, *, as_bytes: bool = False, folder: Path | None = None, progress: catalogue.Progress | None = None
) -> str | bytes:
    """The whole text that a spec of `load_corpus` names: a str without byte order mark, or bytes exactly as they are.

    Raises UsageError and CharrnnError as `load_corpus` does, but takes a text of any characters, even none.
    """
    finds = _found([spec], folder, progress)
    with _within_memory([spec]):
        texts, _ = _read_all(finds, as_bytes, may_be_empty=True)
        if as_bytes:
            return b"".join(text.raw for text in texts)
        return "".join(piece for text in texts for piece in text.pieces())


@contextlib.contextmanager
def _within_memory(specs: Sequence[str]) -> Iterator[None]:
    try:
        yield
    except MemoryError:
        raise CharrnnError(f"{', '.join(map(shown, specs))} does not fit into memory") from None


@dataclass(frozen=True)
class _File:
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

    def with_pipe_read(self, folder: Path, closing: contextlib.ExitStack) -> _File:
        """This file with its content where it is the standard input or a pipe. folder: where much of it is kept, until
        `closing` is over."""
        if self.path is not None and not stat.S_ISFIFO(self._status().st_mode):
            return self
        try:
            with contextlib.ExitStack() as reading:
                pipe = _stdin() if self.path is None else reading.enter_context(self.path.open("rb", buffering=0))
                content = bytearray()
                while len(content) <= LARGE and (block := pipe.read(PIPE_BLOCK)):
                    content += block
                if len(content) <= LARGE:
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
class _Find:
    """What one spec stands for."""

    name: str
    files: list[_File]

    def with_pipes_read(self, folder: Path, closing: contextlib.ExitStack) -> _Find:
        return replace(self, files=[file.with_pipe_read(folder, closing) for file in self.files])


@dataclass(frozen=True)
class _Text:
    """A file that has been read: raw[start:] is its text, `length` characters (or bytes) long."""

    source: str
    raw: bytes
    start: int
    length: int

    def pieces(self) -> Iterator[str]:
        return decoded(self.raw, self.source, self.start)


def _found(specs: Sequence[str], folder: Path | None, progress: catalogue.Progress | None) -> list[_Find]:
    if not specs:
        raise UsageError("no corpus is named", "name a file, a folder, or one that `charrnn corpora` lists")
    if list(specs).count(STDIN) > 1:
        raise UsageError(f"`{STDIN}` stands there twice, but the standard input can be read only once")
    return [_find(spec, folder or corpora_folder(), progress) for spec in specs]


def _find(spec: str, folder: Path, progress: catalogue.Progress | None) -> _Find:
    if spec == STDIN:
        return _Find("stdin", [_File(None)])
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
            return _Find(_joined([_name_at(file.path) for file in matches if file.path]), matches)
    entry = catalogue.find(spec)
    if entry is not None:
        return _find_at(catalogue.ensure(entry, folder, progress))
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


def _find_at(path: Path) -> _Find:
    status = _status(path)
    is_folder = status is not None and stat.S_ISDIR(status.st_mode)
    return _Find(_name_at(path), _files_below(path) if is_folder else [_File(path)])


def _name_at(path: Path) -> str:
    return shown(path.resolve().name if path.is_dir() else path.stem) or "corpus"


def _joined(names: Sequence[str]) -> str:
    return "+".join(names) if len(names) < 3 else f"{names[0]}+{len(names) - 1}"


def _files_below(folder: Path) -> list[_File]:
    """The files below a folder, sorted by path; nothing hidden, and no linked folder, as that might be a loop."""

    def refuse(error: OSError) -> None:
        raise _unreadable(Path(error.filename), error) from None

    paths = []
    for parent, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths += [Path(parent, name) for name in files if not name.startswith(".")]
    return [_File(path, optional=True) for path in _sorted(paths) if _is_file(path)]


def _is_file(path: Path) -> bool:
    status = _status(path)
    return status is not None and stat.S_ISREG(status.st_mode)


def _sorted(paths: Iterable[Path]) -> list[Path]:
    return sorted(paths, key=lambda path: path.as_posix())


def _matches(pattern: str) -> list[_File]:
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
    found = set()
    for match in matches:
        if hidden_too or not any(part.startswith(".") for part in match.parts if part != ".."):
            found |= {file.path for file in _files_below(match)} if match.is_dir() else {match}
    return [_File(match, optional=True) for match in _sorted(match for match in found if match and _is_file(match))]


def _advice(spec: str, folder: Path) -> str:
    known = {name: name for name in catalogue.names()}
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


def _read_all(finds: list[_Find], as_bytes: bool, may_be_empty: bool = False) -> tuple[list[_Text], list[str]]:
    """The texts, and the names of the optional files that are none. Raises CharrnnError where nothing is left."""
    texts, passed_over = [], []
    for file in (file for find in finds for file in find.files):
        if isinstance(file.content, bytes):
            raw = file.content
        else:
            raw = _read_stdin() if file.path is None else _read(file.path, file.optional)
        text = None if raw is None else _as_text(file, raw, as_bytes)
        if text is None:
            passed_over.append(file.shown)
        else:
            texts.append(text)
    characters = sum(text.length for text in texts)
    _refuse_nothing(finds, len(texts), len(passed_over), characters or may_be_empty, as_bytes)
    return texts, passed_over


def _refuse_nothing(finds: list[_Find], texts: int, passed_over: int, characters: int, as_bytes: bool) -> None:
    what = ", ".join(find.name for find in finds)
    if not texts and not passed_over:
        raise CharrnnError(f"{what} holds no files")
    if not texts:
        raise CharrnnError(
            f"{what} holds no text (binary or not UTF-8: {passed_over})",
            None if as_bytes else "use --bytes for text in another encoding",
        )
    if not characters:
        raise CharrnnError(f"{', '.join(file.shown for find in finds for file in find.files)} is empty")


def _as_text(file: _File, raw: bytes, as_bytes: bool) -> _Text | None:
    if as_bytes:
        return _Text(file.shown, raw, 0, len(raw))
    start = len(BYTE_ORDER_MARK) if raw.startswith(BYTE_ORDER_MARK) else 0
    try:
        return _Text(file.shown, raw, start, sum(map(len, decoded(raw, file.shown, start))))
    except CharrnnError:
        if file.optional:
            return None
        raise


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


def _vocabulary_of(texts: list[_Text]) -> Vocabulary:
    seen = np.zeros(CODE_POINTS, bool)
    for text in texts:
        for piece in text.pieces():
            seen[code_points(piece)] = True
    return Vocabulary.of_code_points(np.flatnonzero(seen))


def _refuse_one_character(texts: list[_Text], vocabulary: Vocabulary) -> None:
    if len(vocabulary) == 1 or sum(text.length for text in texts) == 1:
        raise _one_character(texts[0].source, vocabulary)


def _one_character(source: str, vocabulary: Vocabulary) -> CharrnnError:
    what = "a single byte" if vocabulary.kind == "bytes" else f"the one character {vocabulary.characters!r}"
    return CharrnnError(
        f"{source} holds only {what}", "give a text with at least two different characters to learn from"
    )


def _ids_of(texts: list[_Text], vocabulary: Vocabulary) -> np.ndarray:
    ids = np.empty(sum(text.length for text in texts), vocabulary.id_type)
    filled = 0
    for text in texts:
        if vocabulary.kind == "bytes":
            ids[filled : filled + text.length] = np.frombuffer(text.raw, np.uint8)
            filled += text.length
            continue
        for piece in text.pieces():
            try:
                ids[filled : filled + len(piece)] = vocabulary.encode(piece, source=text.source)
            except CharrnnError:  # again with the whole file, so that counts and places are those of the file
                vocabulary.encode("".join(text.pieces()), source=text.source)
            filled += len(piece)
    return ids


def _sha256_of(texts: list[_Text]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        digest.update(memoryview(text.raw)[text.start :])
    return digest.hexdigest()
