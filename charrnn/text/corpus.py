"""Load the files that a corpus name means as ids, with their vocabulary and identity."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.errors import CharrnnError
from charrnn.progress import ByteProgress, no_progress
from charrnn.settings import ReadSettings
from charrnn.text import corpus_cache
from charrnn.text.corpus_cache import Encoded
from charrnn.text.encoder import Encoder, Survey
from charrnn.text.path_filter import FILTERED
from charrnn.text.sources import (
    EXPORTED,
    FoundCorpus,
    SourceFile,
    combine_names,
    corpora_folder,
    display_path,
    find_corpora,
)
from charrnn.text.vocabulary import OR_BYTES, PIECE, NotTextError, Unknown, Vocabulary, code_points
from charrnn.units import amount

MEMORY_LIMIT = 64_000_000  # bytes of text; the ids of a larger one are kept in a file


@dataclass(frozen=True, eq=False)
class Corpus:
    """A text as ids.

    name: short, after the file, folder or catalog entry. specs: as the user wrote them. files: those read, in order.
    skipped_files: name → reason, of what else a folder or pattern holds. ids: (N,), mapped from a file if many.
    lengths: of each file, in ids. sha256, size: of the bytes of all files as they are stored, one after the other; only
    the byte order mark of UTF-8 is left out (not in a corpus of bytes). converted: files whose line ends were converted
    to LF. not_nfc: files that are not in Unicode's NFC, of a text that is not normalized. reading: how the files were
    read.
    """

    name: str
    specs: list[str]
    files: list[str]
    skipped_files: dict[str, str]
    vocabulary: Vocabulary
    ids: np.ndarray
    lengths: list[int]
    sha256: str
    size: int
    converted: int = 0
    not_nfc: int = 0
    reading: ReadSettings = ReadSettings()  # noqa: RUF009 - frozen

    def __len__(self) -> int:
        return len(self.ids)

    def text(self, start: int = 0, stop: int | None = None) -> str:
        """Return the text of ids start…stop, for display."""
        return self.vocabulary.text(self.ids[start:stop])

    def with_vocabulary(self, vocabulary: Vocabulary) -> Corpus:
        """Return the same text in ids of another vocabulary. Raises CharrnnError where that lacks a character."""
        if vocabulary == self.vocabulary:
            return self
        if vocabulary.kind != self.vocabulary.kind:
            raise CharrnnError(
                f"{self.name} was read as {self.vocabulary.kind}, not as {vocabulary.kind}",
                "use `as_bytes=True`" if vocabulary.kind == "bytes" else "leave `as_bytes` out",
            )
        known = np.isin(code_points(self.vocabulary.characters), code_points(vocabulary.characters))
        if not known.all():
            self._check_known(known)
        new_ids = np.zeros(len(known), vocabulary.id_type)
        new_ids[known] = vocabulary.encode(self.vocabulary.characters, skip_unknown=True)
        if not isinstance(self.ids, np.memmap):
            return replace(self, vocabulary=vocabulary, ids=new_ids[self.ids])
        blocks = (new_ids[self.ids[start : start + PIECE]] for start in range(0, len(self), PIECE))
        ids = corpus_cache.map_blocks("ids", blocks, len(self), vocabulary.id_type, corpora_folder())
        return replace(self, vocabulary=vocabulary, ids=ids)

    def _check_known(self, known: np.ndarray) -> None:
        """Raises CharrnnError where a file has an unknown character. known: (V,), which ids are known."""
        points, file_start = code_points(self.vocabulary.characters), 0
        for file, length in zip(self.files, self.lengths, strict=True):
            unknown = Unknown()
            for start in range(0, length, PIECE):
                ids = self.ids[file_start + start : file_start + min(start + PIECE, length)]
                unknown.add(points[ids], ~known[ids], start)
            if unknown.first:
                raise CharrnnError(f"{file} has unknown characters: {unknown.describe()}")
            file_start += length


def load_corpus(
    specs: Sequence[str],
    *,
    as_bytes: bool = False,
    vocabulary: Vocabulary | None = None,
    folder: Path | None = None,
    progress: ByteProgress = no_progress,
    memory_limit: int | None = None,
    **reading: Any,
) -> Corpus:
    """Find, read and encode texts, and concatenate them in the order given.

    specs: each `-` for stdin, the path of a file or folder, a glob pattern, or a name in the corpora folder or the
        catalog, with or without `.txt`; the first of these that exists.
    as_bytes: use a vocabulary of bytes; nothing is decoded, a byte order mark stays.
    vocabulary: encode with this one (its kind overrides as_bytes); None: the text's own.
    folder: the corpora folder; `corpora_folder()` if None. progress: for a corpus that is downloaded, built or large.
    memory_limit: encode a text of more bytes into a file beside it, or into the corpora folder if it has several files
        or its folder cannot be written to (`charrnn.text.corpus_cache`). `MEMORY_LIMIT` if None.
    reading: fields of `ReadSettings`, such as encoding="latin-1"; newlines and normalize do not matter for bytes.

    Raises UsageError where a spec means nothing, CharrnnError where a file cannot be read, is not in its encoding or is
    empty, or the text has only one character to learn.
    """
    as_bytes = as_bytes if vocabulary is None else vocabulary.kind == "bytes"
    how = ReadSettings(**reading)
    how = how.changed(newlines="keep", normalize="none") if as_bytes else how
    folder, limit = folder or corpora_folder(), MEMORY_LIMIT if memory_limit is None else memory_limit
    found = find_corpora(specs, folder, progress, how)
    name = combine_names([corpus.name for corpus in found])
    with contextlib.ExitStack() as exit_stack, _within_memory(specs):
        files = [file.without_pipe(folder, exit_stack, limit) for corpus in found for file in corpus.files]
        if sum(file.size for file in files) > limit:
            encoded = _encode_large(files, name, folder, as_bytes, how, vocabulary, progress)
        else:
            encoded = _encode_in_memory(files, as_bytes, how, vocabulary)
    survey = encoded.survey
    _check(found, survey, as_bytes, least=2 if vocabulary is None else 1)
    results = [(file.title, length) for file, length in zip(files, survey.lengths, strict=True)]
    read = [(title, length) for title, length in results if isinstance(length, int)]
    skipped = {title: reason for corpus in found for title, reason in corpus.skipped.items()}
    return Corpus(
        name=name,
        specs=[display_path(spec) for spec in specs],
        files=[title for title, _ in read],
        skipped_files=skipped | {title: reason for title, reason in results if isinstance(reason, str)},
        vocabulary=survey.vocabulary,
        ids=encoded.ids,
        lengths=[length for _, length in read],
        sha256=survey.sha256,
        size=survey.size,
        converted=survey.converted,
        not_nfc=survey.not_nfc,
        reading=how,
    )


def read_text(
    spec: str,
    *,
    as_bytes: bool = False,
    reading: ReadSettings = ReadSettings(),
    folder: Path | None = None,
    progress: ByteProgress = no_progress,
) -> str | bytes:
    """Return the whole text that a spec of `load_corpus` means: a str without byte order mark, or the exact bytes.

    Raises UsageError and CharrnnError as `load_corpus` does, but accepts any characters, even none.
    """
    found = find_corpora([spec], folder, progress, reading)
    with contextlib.ExitStack() as exit_stack, _within_memory([spec]):
        files = [file.without_pipe(Path(), exit_stack, sys.maxsize).in_memory() for file in found[0].files]
        encoder = Encoder(files, as_bytes=as_bytes, reading=reading)
        survey = encoder.survey()
        _check(found, survey, as_bytes, least=0)
        read = [file for file, length in zip(files, survey.lengths, strict=True) if isinstance(length, int)]
        blocks = [block for file in read for block in encoder.blocks(file)]
    if as_bytes:
        return b"".join(raw for raw, _ in blocks)
    return "".join(text.decode("ascii") if isinstance(text, bytes) else text for _, text in blocks)


def _encode_in_memory(
    files: list[SourceFile], as_bytes: bool, reading: ReadSettings, vocabulary: Vocabulary | None
) -> Encoded:
    encoder = Encoder([file.in_memory() for file in files], as_bytes=as_bytes, reading=reading)
    survey = encoder.survey(vocabulary)
    buffer = io.BytesIO()
    buffer.writelines(encoder.ids(survey))
    return Encoded(survey, np.frombuffer(buffer.getbuffer(), survey.vocabulary.id_type))


def _encode_large(
    files: list[SourceFile],
    name: str,
    folder: Path,
    as_bytes: bool,
    reading: ReadSettings,
    vocabulary: Vocabulary | None,
    progress: ByteProgress,
) -> Encoded:
    folders = [folder]
    if len(files) == 1 and files[0].path is not None:
        name, folders = files[0].path.name, [files[0].path.parent, folder]
    return corpus_cache.encode(
        files, display_path(name), folders, as_bytes=as_bytes, reading=reading, vocabulary=vocabulary, progress=progress
    )


def _check(found: list[FoundCorpus], survey: Survey, as_bytes: bool, *, least: int) -> None:
    """Raise CharrnnError where files hold no text, or fewer than `least` different characters, 0 to 2."""
    what, titles = ", ".join(corpus.name for corpus in found), [file.title for corpus in found for file in corpus.files]
    skipped = sum(isinstance(length, str) for length in survey.lengths)
    if not survey.lengths:
        if any(reason in FILTERED for corpus in found for reason in corpus.skipped.values()):
            raise CharrnnError(
                f"{what} holds no file that `include` and `exclude` choose",
                "patterns match a name, or a path below the folder, as in `include='*.md'` `exclude='docs/old'`",
            )
        if any(reason == EXPORTED for corpus in found for reason in corpus.skipped.values()):
            raise CharrnnError(f"{what} holds only files that charrnn exported", "to train on one, name it")
        raise CharrnnError(f"{what} holds no files")
    if skipped == len(survey.lengths):
        more = f", and so on: {amount(skipped, 'file')}" if skipped > 1 else ""
        raise NotTextError(
            f"{what} holds no text: {titles[0]}",
            f"{survey.lengths[0]}{more}",
            None if as_bytes else f"`encoding='latin-1'` reads most other texts{OR_BYTES}",
        )
    if not survey.characters and least > 0:
        raise CharrnnError(f"{', '.join(titles)} is empty")
    if least > 1 and (len(survey.vocabulary) == 1 or survey.characters == 1):
        title = next(title for title, length in zip(titles, survey.lengths, strict=True) if isinstance(length, int))
        held = "a single byte" if as_bytes else f"the one character {survey.vocabulary.characters!r}"
        hint = "give a text with at least two different characters to learn from"
        raise CharrnnError(f"{title} holds only {held}", hint)


@contextlib.contextmanager
def _within_memory(specs: Sequence[str]) -> Iterator[None]:
    try:
        yield
    except MemoryError:
        raise CharrnnError(f"{', '.join(map(display_path, specs))} does not fit into memory") from None
