"""Encode files in two passes of constant memory: one finds vocabulary, lengths and hash, the other gives the ids."""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from charrnn.errors import CharrnnError
from charrnn.files import ProgressCallback
from charrnn.text.sources import SourceFile
from charrnn.text.vocabulary import CODE_POINTS, NotTextError, Unknown, Vocabulary, code_points, not_utf8

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
FIRST_BLOCK = 8192  # bytes in which a NUL marks an optional file as binary
READ_AT_ONCE = 1 << 20
ASCII = bytes(range(128))


@dataclass(frozen=True)
class Survey:
    """The result of the first pass.

    has_own_vocabulary: the vocabulary is the sorted characters of the text. lengths: characters of each source; of a
    skipped one the reason, such as `binary`. sha256, size: of the bytes of all other sources, without byte order marks.
    """

    vocabulary: Vocabulary
    has_own_vocabulary: bool
    lengths: list[int | str]
    sha256: str
    size: int

    @property
    def characters(self) -> int:
        return sum(length for length in self.lengths if isinstance(length, int))


class Encoder:
    """The two passes over some sources. progress: called with bytes read, and the bytes of both passes."""

    def __init__(self, sources: Sequence[SourceFile], *, as_bytes: bool, progress: ProgressCallback | None = None):
        self._sources, self._as_bytes, self._progress = sources, as_bytes, progress
        self._done, self._total = 0, 2 * sum(source.size for source in sources)

    def survey(self, vocabulary: Vocabulary | None = None) -> Survey:
        """Read every source once. vocabulary: encode with this one; None: with the text's own.

        Raises CharrnnError where a source cannot be read, or is neither text nor optional.
        """
        digest, size = hashlib.sha256(), 0
        characters = _CharacterSet()
        lengths: list[int | str] = []
        for source in self._sources:
            saved_digest, length, read = digest.copy(), 0, 0
            try:
                for raw, text in self.blocks(source):
                    if source.optional and b"\0" in raw[: max(0, FIRST_BLOCK - read)]:
                        raise NotTextError(source.title, "binary")
                    digest.update(raw)
                    read += len(raw)
                    length += len(raw) if text is None else len(text)
                    if not self._as_bytes:
                        characters.add(raw, text)
            except NotTextError as error:
                if not source.optional:
                    raise
                digest = saved_digest
                characters.roll_back()
                lengths.append(error.reason)
                continue
            characters.commit()
            lengths.append(length)
            size += read
        own = Vocabulary.of_bytes() if self._as_bytes or characters.is_empty() else characters.vocabulary()
        return Survey(vocabulary or own, vocabulary in (None, own), lengths, digest.hexdigest(), size)

    def ids(self, survey: Survey) -> Iterator[bytes]:
        """Read every source again and yield its ids as bytes, of the vocabulary's `id_type`.

        Raises CharrnnError where the vocabulary lacks a character, or the length is no longer that of the survey.
        """
        table = _IdTable(survey.vocabulary)
        encoded = 0
        for source, length in zip(self._sources, survey.lengths, strict=True):
            if isinstance(length, str):
                continue
            unknown, position = Unknown(), 0
            for raw, text in self.blocks(source):
                ids = table.encode(raw, text)
                if ids is None:
                    unknown.add_text(raw.decode("ascii") if text is None else text, survey.vocabulary, position)
                elif not unknown.first:
                    yield ids
                position += len(raw) if text is None else len(text)
            if unknown.first:
                raise CharrnnError(f"{source.title} has unknown characters: {unknown.describe()}")
            encoded += position
        if encoded != survey.characters:
            raise self.changed()

    def changed(self) -> CharrnnError:
        """Return the error for sources that changed between the passes."""
        what = self._sources[0].title if len(self._sources) == 1 else "the corpus"
        return CharrnnError(f"{what} changed while it was read", "try again once nothing writes to it")

    def blocks(self, source: SourceFile) -> Iterator[tuple[bytes, str | None]]:
        """Yield the bytes of a source without byte order mark, and their text; None for bytes and plain ASCII."""
        try:
            with source.open() as file:
                rest, offset, last = b"", 0, False
                while not last:
                    block = file.read(READ_AT_ONCE)
                    last = not block
                    self._report(len(block))
                    raw = rest + block
                    if offset == 0 and not self._as_bytes and raw.startswith(BYTE_ORDER_MARK):
                        raw, offset = raw[len(BYTE_ORDER_MARK) :], len(BYTE_ORDER_MARK)
                    text: str | None = None
                    used = len(raw)
                    if not self._as_bytes and not raw.isascii():
                        try:
                            text, used = codecs.utf_8_decode(raw, "strict", last)
                        except UnicodeDecodeError as error:
                            raise not_utf8(source.title, raw[error.start], offset + error.start) from None
                    if used:
                        yield raw[:used], text
                    rest, offset = raw[used:], offset + used
        except OSError as error:
            raise CharrnnError(f"{source.title} cannot be read: {error.strerror or error}") from None

    def _report(self, size: int) -> None:
        self._done += size
        if self._progress is not None:
            self._progress(min(self._done, self._total), self._total)


class _CharacterSet:
    """The characters read so far. Those of a source count once it is committed."""

    def __init__(self) -> None:
        self._seen = np.zeros(CODE_POINTS, bool)
        self._seen_ascii = b""
        self._uncommitted: list[np.ndarray] = []

    def add(self, raw: bytes, text: str | None) -> None:
        if text is None:  # deleting the bytes seen before usually leaves none, and is fast
            points = np.frombuffer(bytes(set(raw.translate(None, self._seen_ascii))), np.uint8)
        else:
            points = code_points(text)
            points = np.unique(points[~self._seen[points]])
        if len(points):
            self._seen[points] = True
            self._uncommitted.append(points)
            self._update_ascii()

    def commit(self) -> None:
        self._uncommitted = []

    def roll_back(self) -> None:
        for points in self._uncommitted:
            self._seen[points] = False
        self._uncommitted = []
        self._update_ascii()

    def is_empty(self) -> bool:
        return not self._seen.any()

    def vocabulary(self) -> Vocabulary:
        return Vocabulary.of_code_points(np.flatnonzero(self._seen))

    def _update_ascii(self) -> None:
        self._seen_ascii = np.flatnonzero(self._seen[:128]).astype(np.uint8).tobytes()


class _IdTable:
    """Encodes whole blocks; ASCII by a table of bytes."""

    def __init__(self, vocabulary: Vocabulary):
        self._vocabulary = vocabulary
        self._known, self._table = b"", None
        if vocabulary.kind == "bytes":
            self._known = self._table = bytes(range(256))
        elif vocabulary.id_type == np.uint8:
            self._known = bytes(point for point in ASCII if chr(point) in vocabulary.characters)
            table = bytearray(256)
            for point in self._known:
                table[point] = vocabulary.characters.index(chr(point))
            self._table = bytes(table)

    def encode(self, raw: bytes, text: str | None) -> bytes | None:
        """Return the ids of a block; None where a character is unknown."""
        if text is None and self._table is not None:
            return None if raw.translate(None, self._known) else raw.translate(self._table)
        try:
            return self._vocabulary.encode(raw.decode("ascii") if text is None else text).tobytes()
        except CharrnnError:
            return None
