"""The files that a person means → the ids that a model trains on, their identity and their split."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from charrnn.errors import CharrnnError
from charrnn.files import Progress
from charrnn.text import corpus_cache
from charrnn.text.corpus_cache import BYTE_ORDER_MARK
from charrnn.text.sources import Find, SourceFile, corpora_folder, found, joined, shown
from charrnn.text.vocabulary import CODE_POINTS, PIECE, Unknown, Vocabulary, code_points, decoded

LARGE = 64_000_000  # bytes of text beyond which ids are kept in a file rather than in memory


@dataclass(frozen=True, eq=False)
class Corpus:
    """A text to train on, as ids.

    name: short, after the file, folder or catalog entry. specs: as the user wrote them. files: those read, in order.
    skipped_files: files of a folder or pattern that are not text. ids: (N,) of `vocabulary.id_type`; of a large text they
    are mapped from a file, and only what is looked at comes into memory. lengths: of each file, in ids.
    sha256: of the exact bytes trained on: the files one after the other, without byte order marks unless as bytes.
    size: the number of those bytes.
    """

    name: str
    specs: list[str]
    files: list[str]
    skipped_files: list[str]
    vocabulary: Vocabulary
    ids: np.ndarray
    lengths: list[int]
    sha256: str
    size: int

    def __len__(self) -> int:
        return len(self.ids)

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
        ids = corpus_cache.remapped(self.ids, new_ids, corpora_folder()) if is_large else new_ids[self.ids]
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


def load_corpus(
    specs: Sequence[str],
    *,
    as_bytes: bool = False,
    vocabulary: Vocabulary | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Corpus:
    """Finds, reads and encodes what a person asked for; several are joined in the order given.

    specs: each `-` for stdin, the path of a file or folder, a glob pattern, or a name in the corpora folder or the
        catalog, with or without `.txt`; the first of these that exists.
    as_bytes: a vocabulary of bytes; nothing is decoded, a byte order mark stays.
    vocabulary: use this one (its kind decides over as_bytes) rather than the text's own.
    folder: the corpora folder; `corpora_folder()` if None. progress: for a corpus that is fetched, built or large.

    A text of more than LARGE bytes is encoded once into a file next to it, or in the corpora folder if it is of several
    files or nothing can be written next to it (`charrnn.text.corpus_cache`); memory does not grow with it.

    Raises UsageError where nothing has that name, CharrnnError where something cannot be read, is not UTF-8, is empty,
    or has but one character to learn.
    """
    if vocabulary is not None:
        as_bytes = vocabulary.kind == "bytes"
    folder = folder or corpora_folder()
    with contextlib.ExitStack() as closing:
        finds = [find.with_pipes_read(folder, closing, LARGE) for find in found(specs, folder, progress)]
        if sum(file.size for find in finds for file in find.files) > LARGE:
            return _load_large(specs, finds, as_bytes, vocabulary, folder, progress)
    with _within_memory(specs):
        texts, skipped_files = _read_all(finds, as_bytes)
        if vocabulary is None:
            vocabulary = Vocabulary.of_bytes() if as_bytes else _vocabulary_of(texts)
            _refuse_one_character(texts, vocabulary)
        ids = _ids_of(texts, vocabulary)
    return Corpus(
        name=joined([find.name for find in finds]),
        specs=[shown(spec) for spec in specs],
        files=[text.source for text in texts],
        skipped_files=skipped_files,
        vocabulary=vocabulary,
        ids=ids,
        lengths=[text.length for text in texts],
        sha256=_sha256_of(texts),
        size=sum(len(text.raw) - text.start for text in texts),
    )


def _load_large(
    specs: Sequence[str],
    finds: list[Find],
    as_bytes: bool,
    vocabulary: Vocabulary | None,
    folder: Path,
    progress: Progress | None,
) -> Corpus:
    files = [file for find in finds for file in find.files]
    beside = [file.path.parent for file in files if file.path is not None] if len(files) == 1 else []
    name = joined([find.name for find in finds])
    kept_as = files[0].path.name if beside and files[0].path else name
    result = corpus_cache.encode(
        files, shown(kept_as), [*beside, folder], as_bytes=as_bytes, vocabulary=vocabulary, progress=progress
    )
    texts = [(file, length) for file, length in zip(files, result.lengths, strict=True) if length is not None]
    skipped_files = [file.shown for file, length in zip(files, result.lengths, strict=True) if length is None]
    _refuse_nothing(finds, len(texts), len(skipped_files), len(result.ids), as_bytes)
    if len(result.vocabulary) == 1:
        raise _one_character(files[0].shown, result.vocabulary)
    return Corpus(
        name=name,
        specs=[shown(spec) for spec in specs],
        files=[file.shown for file, _ in texts],
        skipped_files=skipped_files,
        vocabulary=result.vocabulary,
        ids=result.ids,
        lengths=[length for _, length in texts],
        sha256=result.sha256,
        size=result.size,
    )


def read_text(
    spec: str, *, as_bytes: bool = False, folder: Path | None = None, progress: Progress | None = None
) -> str | bytes:
    """The whole text that a spec of `load_corpus` names: a str without byte order mark, or bytes exactly as they are.

    Raises UsageError and CharrnnError as `load_corpus` does, but takes a text of any characters, even none.
    """
    finds = found([spec], folder, progress)
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
class _Text:
    """A file that has been read: raw[start:] is its text, `length` characters (or bytes) long."""

    source: str
    raw: bytes
    start: int
    length: int

    def pieces(self) -> Iterator[str]:
        return decoded(self.raw, self.source, self.start)


def _read_all(finds: list[Find], as_bytes: bool, may_be_empty: bool = False) -> tuple[list[_Text], list[str]]:
    """The texts, and the names of the optional files that are none. Raises CharrnnError where nothing is left."""
    texts, skipped_files = [], []
    for file in (file for find in finds for file in find.files):
        raw = file.read()
        text = None if raw is None else _as_text(file, raw, as_bytes)
        if text is None:
            skipped_files.append(file.shown)
        else:
            texts.append(text)
    characters = sum(text.length for text in texts)
    _refuse_nothing(finds, len(texts), len(skipped_files), characters or may_be_empty, as_bytes)
    return texts, skipped_files


def _refuse_nothing(finds: list[Find], texts: int, skipped_files: int, characters: int, as_bytes: bool) -> None:
    what = ", ".join(find.name for find in finds)
    if not texts and not skipped_files:
        raise CharrnnError(f"{what} holds no files")
    if not texts:
        raise CharrnnError(
            f"{what} holds no text (binary or not UTF-8: {skipped_files})",
            None if as_bytes else "use --bytes for text in another encoding",
        )
    if not characters:
        raise CharrnnError(f"{', '.join(file.shown for find in finds for file in find.files)} is empty")


def _as_text(file: SourceFile, raw: bytes, as_bytes: bool) -> _Text | None:
    if as_bytes:
        return _Text(file.shown, raw, 0, len(raw))
    start = len(BYTE_ORDER_MARK) if raw.startswith(BYTE_ORDER_MARK) else 0
    try:
        return _Text(file.shown, raw, start, sum(map(len, decoded(raw, file.shown, start))))
    except CharrnnError:
        if file.optional:
            return None
        raise


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
