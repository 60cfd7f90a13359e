"""The ids of a large text: in a file that is mapped to memory, so that memory does not grow with the text.

The text is read twice: once for its vocabulary, length and hash, once to write its ids. The file is kept next to the
text as `.NAME.charrnn-HASH.ids`, HASH being the beginning of the text's SHA-256, and found there the next time:

    ids        one after the other, little-endian, uint8, uint16 or uint32 after the size of the vocabulary
    trailer    a JSON object, the fields of `_Trailer`
    24 bytes   the length of the trailer, and what marks a file of this format

It is used only where the sources are to the byte and the nanosecond of the size and age they had, the file is as long
as its trailer says, and blocks of it drawn at random have the checksum they had. Whatever else is found is written
anew. A file is whole or not there at all: an encoding that is interrupted leaves nothing behind.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import fcntl
import hashlib
import json
import os
import random
import shutil
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from charrnn.errors import CharrnnError
from charrnn.files import MOST_PARTS, Progress, file_to_be, from_json_bytes, open_regular, remove_leftovers
from charrnn.text.vocabulary import CODE_POINTS, Unknown, Vocabulary, code_points, not_utf8
from charrnn.units import file_size

MARK = b"\ncharrnn ids 1\n\0"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
FIRST_BLOCK = 8192  # bytes in which a NUL marks a file of a folder as binary
READ_AT_ONCE = 1 << 20
CHECKED_BLOCK = 1 << 22
BLOCKS_CHECKED = 8
LARGEST_TRAILER = 256_000_000
LENGTH_BYTES = 8
TRUSTED = (0,)  # users whose files of ids are used, beside our own
LONGEST_NAME = 100  # bytes
KINDS = {"str": str, "int": int, "dict[str, str]": dict, "list[int]": list, "list[int | None]": list}
ASCII = bytes(range(128))


class Source(Protocol):
    """A file to encode. optional: passed over, rather than an error, where it is not text.

    stamp: place, size and age, which change if the content does; None where it can be read only now (stdin).
    """

    shown: str
    optional: bool
    size: int
    stamp: list[Any] | None

    def open(self) -> BinaryIO:
        """The content from its first byte on, unbuffered. Raises OSError."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """ids: (N,), mapped copy-on-write. lengths: characters of each source, None for one passed over.

    sha256, size: of the bytes of all sources that are text, one after the other, without byte order marks.
    """

    vocabulary: Vocabulary
    ids: np.ndarray
    lengths: list[int | None]
    sha256: str
    size: int


@dataclass(frozen=True)
class _Trailer:
    """asked: what the ids were made of and how, by its hash. places: the same but for sizes and ages.

    checksums: CRC-32 of each block of CHECKED_BLOCK bytes.
    """

    asked: str
    places: str
    vocabulary: dict[str, str]
    lengths: list[int | None]
    sha256: str
    size: int
    checksums: list[int]

    @classmethod
    def of(cls, survey: _Survey, asked: str, places: str, checksums: list[int]) -> _Trailer:
        vocabulary = survey.vocabulary.to_json()
        return cls(asked, places, vocabulary, survey.lengths, survey.sha256, survey.size, checksums)

    def to_bytes(self) -> bytes:
        data = json.dumps(asdict(self)).encode()
        return data + len(data).to_bytes(LENGTH_BYTES, "little") + MARK


@dataclass(frozen=True)
class _Survey:
    vocabulary: Vocabulary
    lengths: list[int | None]
    sha256: str
    size: int

    @property
    def characters(self) -> int:
        return sum(length or 0 for length in self.lengths)


def encode(
    sources: Sequence[Source],
    name: str,
    folders: Sequence[Path],
    *,
    as_bytes: bool,
    vocabulary: Vocabulary | None,
    progress: Progress | None,
) -> Encoded:
    """Encodes sources one after the other, or finds them encoded.

    name: what the file is called after. folders: where to keep it; the first that can be written to.
    vocabulary: use this one rather than the text's own.

    Raises CharrnnError where a source cannot be read, is not text (unless optional) or changes meanwhile, holds a
    character that a given vocabulary lacks, or no folder has room; the lengths are all None or 0 where nothing is left.
    """
    stamps = [source.stamp for source in sources]
    how = [as_bytes, vocabulary and vocabulary.to_json(), [source.optional for source in sources]]
    can_be_kept = all(stamp is not None for stamp in stamps)
    asked, places = _hash_of([how, stamps]), _hash_of([how, [stamp and stamp[0] for stamp in stamps]])
    as_its_own = _hash_of([[as_bytes, None, how[2]], stamps])  # if the text's own is the vocabulary that is given
    prefix = f".{name.encode()[:LONGEST_NAME].decode('utf-8', 'ignore')}.charrnn-"

    def found() -> Encoded | None:
        for folder in folders if can_be_kept else ():
            for path in _kept(folder, prefix):
                encoded = _read(path, {asked, as_its_own}, len(sources))
                if encoded is not None and vocabulary in (None, encoded.vocabulary):
                    return encoded
        return None

    encoded = found()
    if encoded is not None:
        return encoded
    folder = next((folder for folder in folders if _is_writable(folder)), None)
    if folder is None:
        raise CharrnnError(
            f"the ids of {name} cannot be kept: {' and '.join(map(str, folders))} cannot be written to",
            "set CHARRNN_HOME to a folder that can",
        )
    with _alone_in(folder):
        encoded = found()  # by another process, for which this one has waited
        if encoded is not None:
            return encoded
        remove_leftovers(folder)
        bytes_in_all = sum(source.size for source in sources)
        reading = _Reading(as_bytes, progress, 2 * bytes_in_all)
        survey = _surveyed(sources, vocabulary, reading)
        if not survey.characters:
            return Encoded(
                survey.vocabulary, np.empty(0, survey.vocabulary.id_type), survey.lengths, survey.sha256, survey.size
            )
        needed = survey.characters * survey.vocabulary.id_type.itemsize
        try:
            if shutil.disk_usage(folder).free < needed:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if not can_be_kept:
                with tempfile.TemporaryFile(dir=folder) as file:
                    _write_ids(file, sources, survey, reading)
                    return _mapped(file, survey)
            path = folder / f"{prefix}{survey.sha256[:12]}.ids"
            with file_to_be(path) as aside:
                aside.unlink(missing_ok=True)
                with aside.open("xb") as file:
                    checksums = _write_ids(file, sources, survey, reading)
                    if [source.stamp for source in sources] != stamps:
                        raise _changed(sources)
                    file.write(_Trailer.of(survey, asked, places, checksums).to_bytes())
            _remove_older(path, prefix, places, len(sources))
            with open_regular(path) as file:
                return _mapped(file, survey)
        except OSError as error:
            raise CharrnnError(
                f"the ids of {name} cannot be written to {folder}: {error.strerror or error}",
                f"they take {file_size(needed)}; make room, or set CHARRNN_HOME to a folder that has it",
            ) from None


def remapped(ids: np.ndarray, table: np.ndarray, folder: Path) -> np.ndarray:
    """`table[ids]`, mapped from a file without a name in this folder: gone when no one uses it any more."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            for start in range(0, len(ids), READ_AT_ONCE):
                file.write(table[ids[start : start + READ_AT_ONCE]].tobytes())
            file.flush()
            return np.memmap(file, table.dtype, mode="c", shape=(len(ids),))
    except OSError as error:
        raise CharrnnError(
            f"ids cannot be written to {folder}: {error.strerror or error}",
            f"they take {file_size(len(ids) * table.itemsize)}; make room, or set CHARRNN_HOME to a folder that has it",
        ) from None


def _hash_of(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _is_writable(folder: Path) -> bool:
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    return os.access(folder, os.W_OK | os.X_OK)


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Waits until no other process encodes into this folder, so that several that begin together do the work once."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system without locks: then the work is done twice
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


# Finding


def _kept(folder: Path, prefix: str) -> list[Path]:
    try:
        paths = [path for path in folder.iterdir() if path.name.startswith(prefix) and path.name.endswith(".ids")]
    except OSError:
        return []
    return sorted(paths)


def _read(path: Path, asked: set[str], sources: int) -> Encoded | None:
    """What a file holds, if it is what was asked for and sound."""
    try:
        with open_regular(path) as file:
            if os.fstat(file.fileno()).st_uid not in (*TRUSTED, os.geteuid()):  # a stranger's, in a folder such as /tmp
                return None
            trailer, ids = _trailer_of(file, str(path), sources)
            if trailer.asked not in asked or len(trailer.lengths) != sources:
                return None
            vocabulary = Vocabulary.from_json(trailer.vocabulary, str(path))
            survey = _Survey(vocabulary, trailer.lengths, trailer.sha256, trailer.size)
            if 0 < ids == survey.characters * vocabulary.id_type.itemsize and _is_sound(file, trailer.checksums, ids):
                return _mapped(file, survey)
    except (CharrnnError, OSError):
        pass
    return None


def _trailer_of(file: BinaryIO, source: str, sources: int) -> tuple[_Trailer, int]:
    """The trailer, and the bytes of ids before it. Raises CharrnnError where the file's end is not a trailer, or is one
    of more files than `sources`."""
    damaged = CharrnnError(f"{source} does not end as a file of ids")
    rest = os.fstat(file.fileno()).st_size - LENGTH_BYTES - len(MARK)
    end = _at(file, max(0, rest), LENGTH_BYTES + len(MARK))
    length = int.from_bytes(end[:LENGTH_BYTES], "little")
    if end[LENGTH_BYTES:] != MARK or length > min(LARGEST_TRAILER, rest):
        raise damaged
    data = from_json_bytes(_at(file, rest - length, length), source, MOST_PARTS + sources + rest // CHECKED_BLOCK)
    kinds = {field.name: KINDS[field.type] for field in fields(_Trailer)}
    if not isinstance(data, dict) or set(data) != set(kinds):
        raise damaged
    if not all(type(data[name]) is kind for name, kind in kinds.items()):
        raise damaged
    if not all(length is None or (type(length) is int and length >= 0) for length in data["lengths"]):
        raise damaged
    if len(data["checksums"]) != -(-(rest - length) // CHECKED_BLOCK):
        raise damaged
    return _Trailer(**data), rest - length


def _is_sound(file: BinaryIO, checksums: list[int], ids: int) -> bool:
    """Whether blocks drawn at random, and the last, are as they were. ids: how many bytes they take."""
    drawn = {len(checksums) - 1, *random.sample(range(len(checksums)), min(BLOCKS_CHECKED, len(checksums)))}
    return all(
        zlib.crc32(_at(file, block * CHECKED_BLOCK, min(CHECKED_BLOCK, ids - block * CHECKED_BLOCK)))
        == checksums[block]
        for block in drawn
    )


def _at(file: BinaryIO, start: int, length: int) -> bytes:
    file.seek(start)
    data = bytearray()
    while len(data) < length and (block := file.read(length - len(data))):
        data += block
    return bytes(data)


def _mapped(file: BinaryIO, survey: _Survey) -> Encoded:
    # Copy-on-write: nothing is ever written to it, but PyTorch wants memory that could be.
    ids = np.memmap(file, survey.vocabulary.id_type, mode="c", shape=(survey.characters,))
    return Encoded(survey.vocabulary, ids, survey.lengths, survey.sha256, survey.size)


def _remove_older(path: Path, prefix: str, places: str, sources: int) -> None:
    """Removes what was kept of the same sources when they were other texts."""
    for other in _kept(path.parent, prefix):
        with contextlib.suppress(CharrnnError, OSError), open_regular(other) as file:
            if other != path and _trailer_of(file, str(other), sources)[0].places == places:
                other.unlink()


# Writing


class _Reading:
    """Reads sources block by block, and says how far it is."""

    def __init__(self, as_bytes: bool, progress: Progress | None, bytes_in_all: int):
        self.as_bytes, self._progress, self._in_all, self._done = as_bytes, progress, bytes_in_all, 0

    def blocks(self, source: Source) -> Iterator[tuple[bytes, str | None]]:
        """The bytes of a source, without byte order mark, and the text they are; None for bytes and plain ASCII.

        Raises CharrnnError where it cannot be read or is not UTF-8.
        """
        try:
            with source.open() as file:
                rest, offset, last = b"", 0, False
                while not last:
                    block = file.read(READ_AT_ONCE)
                    last = not block
                    self._done += len(block)
                    if self._progress is not None:
                        self._progress(min(self._done, self._in_all), self._in_all)
                    raw = rest + block
                    if offset == 0 and not self.as_bytes and raw.startswith(BYTE_ORDER_MARK):
                        raw, offset = raw[len(BYTE_ORDER_MARK) :], len(BYTE_ORDER_MARK)
                    if self.as_bytes or raw.isascii():
                        text, used = None, len(raw)
                    else:
                        try:
                            text, used = codecs.utf_8_decode(raw, "strict", last)
                        except UnicodeDecodeError as error:
                            raise not_utf8(source.shown, raw[error.start], offset + error.start) from None
                    if used:
                        yield raw[:used], text
                    rest, offset = raw[used:], offset + used
        except OSError as error:
            raise CharrnnError(f"{source.shown} cannot be read: {error.strerror or error}") from None


def _surveyed(sources: Sequence[Source], vocabulary: Vocabulary | None, reading: _Reading) -> _Survey:
    digest, size = hashlib.sha256(), 0
    alphabet = _Alphabet(reading.as_bytes)
    lengths: list[int | None] = []
    for source in sources:
        before, length, read = digest.copy(), 0, 0
        try:
            for raw, text in reading.blocks(source):
                if not read and source.optional and not reading.as_bytes and b"\0" in raw[:FIRST_BLOCK]:
                    raise CharrnnError(f"{source.shown} is binary")
                digest.update(raw)
                read += len(raw)
                length += len(raw) if text is None else len(text)
                alphabet.read(raw, text)
        except CharrnnError:
            if not source.optional or reading.as_bytes:
                raise
            digest, length, read = before, None, 0
            alphabet.forget()
        else:
            alphabet.keep()
        lengths.append(length)
        size += read
    if vocabulary is None and sum(length or 0 for length in lengths):
        vocabulary = alphabet.vocabulary()
    return _Survey(vocabulary or Vocabulary.of_bytes(), lengths, digest.hexdigest(), size)


class _Alphabet:
    """The characters of what was read, without those of a source that turns out to be no text."""

    def __init__(self, as_bytes: bool):
        self._as_bytes = as_bytes
        self._seen = np.zeros(CODE_POINTS, bool)
        self._ascii_seen = b""
        self._new: list[np.ndarray] = []

    def read(self, raw: bytes, text: str | None) -> None:
        if self._as_bytes:
            return
        if text is None:  # the bytes that are left when those seen before are deleted: usually none, and found fast
            points = np.frombuffer(bytes(set(raw.translate(None, self._ascii_seen))), np.uint8)
        else:
            points = code_points(text)
            points = np.unique(points[~self._seen[points]])
        if len(points):
            self._seen[points] = True
            self._new.append(points)
            self._remember_ascii()

    def keep(self) -> None:
        self._new = []

    def forget(self) -> None:
        for points in self._new:
            self._seen[points] = False
        self._new = []
        self._remember_ascii()

    def _remember_ascii(self) -> None:
        self._ascii_seen = np.flatnonzero(self._seen[:128]).astype(np.uint8).tobytes()

    def vocabulary(self) -> Vocabulary:
        return Vocabulary.of_bytes() if self._as_bytes else Vocabulary.of_code_points(np.flatnonzero(self._seen))


class _Table:
    """Characters → ids, by whole blocks."""

    def __init__(self, vocabulary: Vocabulary):
        self._vocabulary = vocabulary
        self._of_ascii: bytes | None = None
        if vocabulary.kind == "bytes":
            self._known, self._of_ascii = bytes(range(256)), bytes(range(256))
        elif vocabulary.id_type == np.uint8:
            self._known = bytes(point for point in ASCII if chr(point) in vocabulary.characters)
            table = bytearray(256)
            for point in self._known:
                table[point] = vocabulary.characters.index(chr(point))
            self._of_ascii = bytes(table)

    def ids(self, raw: bytes, text: str | None) -> bytes | None:
        """The ids as bytes; None where a character is not known."""
        if text is None and self._of_ascii is not None:
            return None if raw.translate(None, self._known) else raw.translate(self._of_ascii)
        try:
            return self._vocabulary.encode(raw.decode("ascii") if text is None else text).tobytes()
        except CharrnnError:
            return None


def _write_ids(file: BinaryIO, sources: Sequence[Source], survey: _Survey, reading: _Reading) -> list[int]:
    """Writes the ids, and gives the checksums of their blocks."""
    table, checksums = _Table(survey.vocabulary), _Checksums()
    written = 0
    for source, length in zip(sources, survey.lengths, strict=True):
        if length is None:
            continue
        unknown, place = Unknown(), 0
        for raw, text in reading.blocks(source):
            ids = table.ids(raw, text)
            characters = len(raw) if text is None else len(text)
            if ids is None:
                unknown.add_text(raw.decode("ascii") if text is None else text, survey.vocabulary, place)
            elif not unknown.first:
                file.write(ids)
                checksums.add(ids)
            place += characters
        if unknown.first:
            raise CharrnnError(f"{source.shown} holds what the model does not know: {unknown.named()}")
        written += place
    if written != survey.characters:
        raise _changed(sources)
    file.flush()
    return checksums.end()


def _changed(sources: Sequence[Source]) -> CharrnnError:
    what = sources[0].shown if len(sources) == 1 else "the corpus"
    return CharrnnError(f"{what} changed while it was read", "try again once nothing writes to it")


class _Checksums:
    def __init__(self) -> None:
        self._whole: list[int] = []
        self._crc, self._filled = 0, 0

    def add(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            piece = rest[: CHECKED_BLOCK - self._filled]
            self._crc, self._filled = zlib.crc32(piece, self._crc), self._filled + len(piece)
            if self._filled == CHECKED_BLOCK:
                self._whole.append(self._crc)
                self._crc, self._filled = 0, 0
            rest = rest[len(piece) :]

    def end(self) -> list[int]:
        return [*self._whole, self._crc] if self._filled else self._whole
