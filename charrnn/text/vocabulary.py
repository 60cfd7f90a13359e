"""Convert between characters and ids: the sorted code points of a text, or the 256 bytes."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from charrnn.errors import CharrnnError
from charrnn.text.normalization import StreamNormalizer
from charrnn.units import amount

CODE_POINTS = 0x110000  # of Unicode, surrogates included
PIECE = 1 << 20  # characters or bytes processed at once
NAMED = 8  # unknown characters in an error
OR_BYTES = ", `as_bytes=True` reads any file"
"""End of a hint, for those who can choose."""


class NotTextError(CharrnnError):
    """A file is not text in the expected encoding. reason: such as `binary`."""

    def __init__(self, source: str, reason: str, hint: str | None = None):
        super().__init__(f"{source} is {reason}", hint)
        self.reason = reason


@dataclass(frozen=True)
class Vocabulary:
    """The characters of a model; a character's id is its index.

    kind: "characters" (Unicode code points) or "bytes" (all 256). characters: id → character; empty for bytes.

    Raises CharrnnError where these contradict each other, a character repeats or is half of a surrogate pair.
    """

    kind: str
    characters: str

    def __post_init__(self) -> None:
        if self.kind not in ("characters", "bytes"):
            raise CharrnnError(f"a vocabulary has characters or bytes, not {self.kind!r}")
        if self.kind == "bytes":
            if self.characters:
                raise CharrnnError("a vocabulary of bytes lists no characters")
            return
        if not self.characters:
            raise CharrnnError("a vocabulary needs at least one character")
        if len(self.characters) > CODE_POINTS or len(set(self.characters)) != len(self.characters):
            raise CharrnnError("a vocabulary holds a character twice")
        surrogate = next((c for c in self.characters if "\ud800" <= c <= "\udfff"), None)
        if surrogate is not None:
            raise CharrnnError(f"U+{ord(surrogate):04X} is half of a surrogate pair, not a character")

    @classmethod
    def of(cls, text: str) -> Vocabulary:
        """Return the sorted code points of a text. Raises CharrnnError where it is empty or has a lone surrogate."""
        return cls("characters", "".join(sorted(set(text))))

    @classmethod
    def of_code_points(cls, points: np.ndarray) -> Vocabulary:
        """Return the vocabulary of these code points (integers), in this order."""
        return cls("characters", points.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass"))

    @classmethod
    def of_bytes(cls) -> Vocabulary:
        """Return the vocabulary of the 256 bytes; a byte's id is its value."""
        return cls("bytes", "")

    def __len__(self) -> int:
        return 256 if self.kind == "bytes" else len(self.characters)

    @property
    def id_type(self) -> np.dtype:
        """The smallest unsigned integer type of all ids."""
        return np.dtype(np.uint8 if len(self) <= 1 << 8 else np.uint16 if len(self) <= 1 << 16 else np.uint32)

    @property
    def opening_id(self) -> int:
        """The id read before the first character of a text or document: of the newline, or else 0."""
        has_newline = self.kind == "bytes" or "\n" in self.characters
        return int(self.encode("\n")[0]) if has_newline else 0

    def encode(
        self, text: str | bytes, *, source: str = "the text", skip_unknown: bool = False, hint: str | None = None
    ) -> np.ndarray:
        """Return ids (N,) of `id_type`. A str for a vocabulary of bytes, and bytes for one of characters, are UTF-8.

        source, hint: for errors. skip_unknown: leave out characters that the vocabulary lacks.

        Raises CharrnnError where characters are unknown, with their counts and first positions, or bytes not UTF-8.
        """
        if self.kind == "bytes":
            return np.frombuffer(self._to_bytes(text, source, skip_unknown, hint), np.uint8).copy()
        if isinstance(text, bytes):
            try:
                text = text.decode("utf-8")
            except UnicodeDecodeError as error:
                raise not_decodable(source, error, error.start) from None
        ids = np.empty(len(text), self.id_type)
        unknown = Unknown()
        filled = 0
        for start in range(0, len(text), PIECE):
            points = code_points(text[start : start + PIECE])
            found = self._ids[np.minimum(points, len(self._ids) - 1)]
            if found.min() < 0:
                if not skip_unknown:
                    unknown.add(points, found < 0, start)
                found = found[found >= 0]
            ids[filled : filled + len(found)] = found
            filled += len(found)
        if unknown.first:
            raise CharrnnError(f"{source} has unknown characters: {unknown.describe()}", hint)
        return ids if filled == len(ids) else ids[:filled].copy()

    def _to_bytes(self, text: str | bytes, source: str, skip_unknown: bool, hint: str | None) -> bytes:
        if isinstance(text, bytes):
            return text
        try:
            return text.encode("utf-8", "ignore" if skip_unknown else "strict")
        except UnicodeEncodeError:
            unknown, points = Unknown(), code_points(text)
            unknown.add(points, (points >= 0xD800) & (points <= 0xDFFF), 0)
            what = "characters that UTF-8 cannot encode"
            raise CharrnnError(f"{source} has {what}: {unknown.describe()}", hint) from None

    @cached_property
    def _ids(self) -> np.ndarray:
        """Code point → id, or −1. The last entry is for all larger code points."""
        points = code_points(self.characters)
        table = np.full(int(points.max()) + 2, -1, np.int32)
        table[points] = np.arange(len(points), dtype=np.int32)
        return table

    @cached_property
    def _points(self) -> np.ndarray:
        return code_points(self.characters)

    def decode(self, ids: Sequence[int] | np.ndarray) -> str | bytes:
        """Return the text of ids (N,): a str, or bytes from a vocabulary of bytes. Raises IndexError for other ids."""
        ids = np.asarray(ids)
        if ids.size == 0:
            return b"" if self.kind == "bytes" else ""
        if ids.dtype.kind not in "iu":
            raise TypeError(f"ids are whole numbers, not {ids.dtype}")
        if int(ids.min()) < 0 or int(ids.max()) >= len(self):
            raise IndexError(f"an id is outside 0…{len(self) - 1}")
        if self.kind == "bytes":
            return ids.astype(np.uint8).tobytes()
        return "".join(
            self._points[ids[start : start + PIECE]].tobytes().decode("utf-32-le")
            for start in range(0, len(ids), PIECE)
        )

    def text(self, ids: Sequence[int] | np.ndarray) -> str:
        """Return the text of ids (N,) for display: a str, with U+FFFD for bytes that are not UTF-8."""
        text = self.decode(ids)
        return text.decode("utf-8", "replace") if isinstance(text, bytes) else text

    @cached_property
    def symbols(self) -> list[str]:
        r"""A printable string for each id: the character, or an escape such as `\n` or `\xe9`."""
        if self.kind == "bytes":
            return [chr(b) if 0x20 <= b < 0x7F else f"\\x{b:02x}" for b in range(256)]
        return [c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in self.characters]

    def extended_with(self, text: str) -> Vocabulary:
        """Return this vocabulary followed by the sorted new characters of a text. Existing ids stay the same."""
        if self.kind == "bytes":
            return self
        new = sorted(set(text).difference(self.characters))
        return Vocabulary("characters", self.characters + "".join(new)) if new else self

    def to_json(self) -> dict[str, str]:
        return {"kind": self.kind, "characters": self.characters}

    @classmethod
    def from_json(cls, data: Any, source: str) -> Vocabulary:
        """Return the vocabulary that `to_json` wrote. source: the file, for the CharrnnError raised otherwise."""
        if not isinstance(data, dict) or set(data) != {"kind", "characters"}:
            raise CharrnnError(f"{source}: a vocabulary has a kind and characters, and nothing else")
        if not all(isinstance(value, str) for value in data.values()):
            raise CharrnnError(f"{source}: a vocabulary's kind and characters are texts")
        try:
            return cls(data["kind"], data["characters"])
        except CharrnnError as error:
            raise CharrnnError(f"{source}: {error.message}") from None


class StreamDecoder:
    """Decodes a stream of ids. A character of several bytes is returned with its last byte.

    normalizer: applied to the text, which then comes a character later.
    """

    def __init__(self, vocabulary: Vocabulary, normalizer: StreamNormalizer | None = None):
        self._vocabulary, self._normalizer = vocabulary, normalizer
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, ids: Sequence[int] | np.ndarray) -> str:
        """Return the text that these ids complete."""
        decoded = self._vocabulary.decode(ids)
        text = self._utf8.decode(decoded) if isinstance(decoded, bytes) else decoded
        return text if self._normalizer is None else self._normalizer.convert(text)

    def end(self) -> str:
        """Return what was held back, with U+FFFD for an incomplete character, and reset the decoder."""
        rest = self._utf8.decode(b"", True)
        self._utf8.reset()
        return rest if self._normalizer is None else self._normalizer.convert(rest) + self._normalizer.end()


class Unknown:
    """Collects code points that a vocabulary lacks, with their counts and first positions."""

    def __init__(self) -> None:
        self.count: dict[int, int] = {}
        self.first: dict[int, int] = {}

    def add(self, points: np.ndarray, unknown: np.ndarray, start: int) -> None:
        """Add the unknown code points of a piece. points, unknown: (N,). start: position of the piece."""
        places = np.flatnonzero(unknown)
        found, first, counts = np.unique(points[places], return_index=True, return_counts=True)
        for point, place, count in zip(found.tolist(), places[first].tolist(), counts.tolist(), strict=True):
            self.first.setdefault(point, start + place)
            self.count[point] = self.count.get(point, 0) + count

    def add_text(self, text: str, vocabulary: Vocabulary, start: int) -> None:
        """Add the characters of a text that a vocabulary lacks. start: position of the text."""
        points = code_points(text)
        self.add(points, ~np.isin(points, code_points(vocabulary.characters)), start)

    def describe(self) -> str:
        """Return the code points in order of appearance, as the end of a sentence."""
        named = []
        for point, place in sorted(self.first.items(), key=lambda item: item[1])[:NAMED]:
            sign = f"{chr(point)!r} " if chr(point).isprintable() else ""
            times = f"{self.count[point]} times, first " if self.count[point] > 1 else ""
            named.append(f"{sign}U+{point:04X} ({times}at character {place})")
        more = len(self.first) - len(named)
        return ", ".join(named) + (f" and {amount(more, 'more character')}" if more else "")


def code_points(text: str) -> np.ndarray:
    """Return the code points (N,) of a text, lone surrogates included, as little-endian uint32."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def not_decodable(source: str, error: UnicodeError, offset: int = 0, encoding: str = "utf-8") -> NotTextError:
    """Return the error for a text that cannot be decoded. offset: of the first wrong byte in the file."""
    name = "UTF-8" if encoding == "utf-8" else encoding
    if not isinstance(error, UnicodeDecodeError):  # UTF-16 or UTF-32 without a byte order mark
        return NotTextError(source, f"not {name}: {error}", f"`encoding='{encoding}-le'` or '-be' may read it")
    byte = error.object[error.start]
    other = "utf-16" if offset == 0 and byte in (0xFE, 0xFF) else "latin-1"
    hint = f"`encoding={other!r}` reads it{OR_BYTES}" if name == "UTF-8" else "name another encoding"
    return NotTextError(source, f"not {name}: byte 0x{byte:02X} at offset {offset}", hint)
