"""Encode files in two passes and constant memory: the first finds vocabulary, lengths and hash, the second the ids."""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import AnyStr, BinaryIO, Protocol

import numpy as np

from charrnn.errors import CharrnnError
from charrnn.progress import ByteProgress, no_progress
from charrnn.settings import ReadSettings
from charrnn.text.normalization import NFCCheck, StreamNormalizer
from charrnn.text.sources import SourceFile
from charrnn.text.vocabulary import CODE_POINTS, NotTextError, Unknown, Vocabulary, code_points, not_decodable

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
FIRST_BLOCK = 8192  # bytes in which a NUL marks an optional file as binary
READ_AT_ONCE = 1 << 20
ASCII = bytes(range(128))


@dataclass(frozen=True)
class Survey:
    """The result of the first pass.

    has_own_vocabulary: the vocabulary is the sorted characters of the text. lengths: characters of each source; of a
    skipped one the reason, such as `binary`. sha256, size: of the bytes of all other sources as they are stored; only
    the byte order mark of UTF-8 is left out. converted: sources in which line ends were converted to LF. not_nfc:
    sources that are not in Unicode's NFC, where the text is not normalized.
    """

    vocabulary: Vocabulary
    has_own_vocabulary: bool
    lengths: list[int | str]
    sha256: str
    size: int
    converted: int = 0
    not_nfc: int = 0

    @property
    def characters(self) -> int:
        return sum(length for length in self.lengths if isinstance(length, int))


class Encoder:
    """The two passes over some sources.

    reading: encoding, newlines and normalization, which do not matter as_bytes. progress: called with bytes read, and
    the bytes of both passes.
    """

    def __init__(
        self,
        sources: Sequence[SourceFile],
        *,
        as_bytes: bool,
        reading: ReadSettings = ReadSettings(),
        progress: ByteProgress = no_progress,
    ):
        self._sources, self._as_bytes, self._reading, self._progress = sources, as_bytes, reading, progress
        self._done, self._total = 0, 2 * sum(source.size for source in sources)

    def survey(self, vocabulary: Vocabulary | None = None) -> Survey:
        """Read every source once. vocabulary: encode with this one; None: with the text's own.

        Raises CharrnnError where a source cannot be read, or is neither text nor optional.
        """
        digest, size, converted, not_nfc = hashlib.sha256(), 0, 0, 0
        checks_form = not self._as_bytes and self._reading.normalize == "none"
        characters = _CharacterSet()
        lengths: list[int | str] = []
        for source in self._sources:
            saved_digest, length, read = digest.copy(), 0, 0
            newlines, nfc = LineFeeds(), NFCCheck()
            try:
                for raw, text in self.blocks(source, newlines):
                    if source.optional and self._has_nul(raw, text, FIRST_BLOCK - read):
                        raise NotTextError(source.title, "binary")
                    digest.update(raw)
                    read += len(raw)
                    length += len(text)
                    if not self._as_bytes:
                        characters.add(text)
                    if checks_form:
                        nfc.feed(text)
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
            converted += newlines.converted
            not_nfc += not nfc.is_nfc
        own = Vocabulary.of_bytes() if self._as_bytes or characters.is_empty() else characters.vocabulary()
        is_own = vocabulary in (None, own)
        return Survey(vocabulary or own, is_own, lengths, digest.hexdigest(), size, converted, not_nfc)

    def _has_nul(self, raw: bytes, text: str | bytes, within: int) -> bool:
        """Return whether the first `within` bytes hold a NUL; in UTF-16 and UTF-32 as many characters."""
        if isinstance(text, str) and self._reading.encoding.startswith(("utf-16", "utf-32")):
            return "\0" in text[: max(0, within)]
        return b"\0" in raw[: max(0, within)]

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
            for _, text in self.blocks(source):
                ids = table.encode(text)
                if ids is None:
                    unknown.add_text(_as_str(text), survey.vocabulary, position)
                elif not unknown.first:
                    yield ids
                position += len(text)
            if unknown.first:
                raise CharrnnError(f"{source.title} has unknown characters: {unknown.describe()}")
            encoded += position
        if encoded != survey.characters:
            raise self.changed()

    def changed(self) -> CharrnnError:
        """Return the error for sources that changed between the passes."""
        what = self._sources[0].title if len(self._sources) == 1 else "the corpus"
        return CharrnnError(f"{what} changed while it was read", "try again once nothing writes to it")

    def blocks(self, source: SourceFile, newlines: LineFeeds | None = None) -> Iterator[tuple[bytes, str | bytes]]:
        """Yield the bytes of a source and their text: a str, or bytes where all are ASCII or the corpus is of bytes.

        The byte order mark of UTF-8 is left out. A character that two blocks share belongs to the second.
        newlines: the converter of this source, where line ends are converted.
        """
        blocks = self._decoded(source)
        if self._as_bytes:
            return blocks
        if self._reading.newlines == "lf":
            blocks = _converted(blocks, newlines or LineFeeds())
        if self._reading.normalize != "none":
            blocks = _converted(blocks, StreamNormalizer(self._reading.normalize))
        return blocks

    def _decoded(self, source: SourceFile) -> Iterator[tuple[bytes, str | bytes]]:
        try:
            with source.open() as file:
                yield from self._utf8(source, file) if self._is_utf8 else self._in_encoding(source, file)
        except OSError as error:
            raise CharrnnError(f"{source.title} cannot be read: {error.strerror or error}") from None

    @property
    def _is_utf8(self) -> bool:
        return self._as_bytes or self._reading.encoding == "utf-8"

    def _utf8(self, source: SourceFile, file: BinaryIO) -> Iterator[tuple[bytes, str | bytes]]:
        rest, offset = b"", 0
        for block in self._read(file):
            raw = rest + block
            if offset == 0 and not self._as_bytes and raw.startswith(BYTE_ORDER_MARK):
                raw, offset = raw[len(BYTE_ORDER_MARK) :], len(BYTE_ORDER_MARK)
            text: str | bytes = raw
            used = len(raw)
            if not self._as_bytes and not raw.isascii():
                try:
                    text, used = codecs.utf_8_decode(raw, "strict", not block)
                except UnicodeDecodeError as error:
                    raise not_decodable(source.title, error, offset + error.start) from None
            if used:
                yield raw[:used], text
            rest, offset = raw[used:], offset + used

    def _in_encoding(self, source: SourceFile, file: BinaryIO) -> Iterator[tuple[bytes, str]]:
        decoder, offset = codecs.getincrementaldecoder(self._reading.encoding)(), 0
        for block in self._read(file):
            offset += len(block)
            try:
                text = decoder.decode(block, not block)
            except UnicodeDecodeError as error:  # its object also holds what was left of earlier blocks
                start = offset - len(error.object) + error.start
                raise not_decodable(source.title, error, start, self._reading.encoding) from None
            except UnicodeError as error:
                raise not_decodable(source.title, error, 0, self._reading.encoding) from None
            if block or text:
                yield block, text

    def _read(self, file: BinaryIO) -> Iterator[bytes]:
        """Yield the blocks of a file, and an empty one at the end."""
        block = b"."
        while block:
            block = file.read(READ_AT_ONCE)
            self._report(len(block))
            yield block

    def _report(self, size: int) -> None:
        self._done += size
        self._progress(min(self._done, self._total), self._total)


class _Converter(Protocol):
    def convert(self, text: str | bytes) -> str | bytes: ...
    def end(self) -> str | bytes: ...


def _converted(
    blocks: Iterator[tuple[bytes, str | bytes]], converter: _Converter
) -> Iterator[tuple[bytes, str | bytes]]:
    for raw, text in blocks:
        yield raw, converter.convert(text)
    if rest := converter.end():
        yield b"", rest


class LineFeeds:
    """Converts CRLF and lone CR to LF in one text, block by block. converted: whether it held any."""

    def __init__(self) -> None:
        self.converted = False
        self._ends_in_cr = False

    def convert(self, text: str | bytes) -> str | bytes:
        """Return a block, converted. A CR at its end belongs to the next block, or to `end`."""
        return self._convert(text, b"\r", b"\n") if isinstance(text, bytes) else self._convert(text, "\r", "\n")

    def _convert(self, text: AnyStr, cr: AnyStr, lf: AnyStr) -> AnyStr:
        if not text or not (self._ends_in_cr or cr in text):
            return text
        if self._ends_in_cr:
            text = cr + text
        self.converted = True
        self._ends_in_cr = text.endswith(cr)
        if self._ends_in_cr:
            text = text[:-1]
        return text.replace(cr + lf, lf).replace(cr, lf)

    def end(self) -> bytes:
        """Return what is left at the end of the text."""
        return b"\n" if self._ends_in_cr else b""


class _CharacterSet:
    """The characters read so far. Those of a source count once it is committed."""

    def __init__(self) -> None:
        self._seen = np.zeros(CODE_POINTS, bool)
        self._seen_ascii = b""
        self._uncommitted: list[np.ndarray] = []

    def add(self, text: str | bytes) -> None:
        if isinstance(text, bytes):  # deleting the bytes seen before usually leaves none, and is fast
            points = np.frombuffer(bytes(set(text.translate(None, self._seen_ascii))), np.uint8)
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

    def encode(self, text: str | bytes) -> bytes | None:
        """Return the ids of a block; None where a character is unknown."""
        if isinstance(text, bytes) and self._table is not None:
            return None if text.translate(None, self._known) else text.translate(self._table)
        try:
            return self._vocabulary.encode(text).tobytes()
        except CharrnnError:
            return None


def _as_str(text: str | bytes) -> str:
    return text.decode("ascii") if isinstance(text, bytes) else text
