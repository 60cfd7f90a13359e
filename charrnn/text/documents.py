"""Texts of many documents that know nothing of each other: where each begins.

Each document is read from a zero state, after one opening character that stands before all of them alike: a newline
(the vocabulary's first character if it has none), which is also what sampling reads before a text without a prime. So
the first character of a document is predicted too, from nothing but being the first; and what separates documents
belongs to the end of the one before, so that a model learns to end what it writes.
"""

from __future__ import annotations

import contextlib
import re
import signal
import tempfile
import threading
from collections.abc import Iterator

import numpy as np

from charrnn.errors import CharrnnError, UsageError
from charrnn.text.corpus import MEMORY_LIMIT, Corpus
from charrnn.text.encoded_text import EncodedText
from charrnn.text.sources import corpora_folder
from charrnn.text.vocabulary import Vocabulary

IDS_AT_ONCE = 1 << 22
LONGEST_SEARCH = 30.0  # seconds
LONGEST_SEPARATOR = 1 << 16  # characters; a longer one is found only where it lies well


def opening(vocabulary: Vocabulary) -> np.ndarray:
    """What is read before the first character of a text, ids (1,): a newline, or else id 0."""
    has_newline = vocabulary.kind == "bytes" or "\n" in vocabulary.characters
    return vocabulary.encode("\n") if has_newline else np.zeros(1, vocabulary.id_type)


class DocumentSeparator:
    """What separates documents: `lines`, `files`, or a regular expression that matches what stands between them.

    What it matches are the last characters of a document: a sample in the making ends with the first of them that is
    a match, so an expression that looks ahead, or matches between two characters, is refused.
    """

    def __init__(self, rule: str):
        """Raises UsageError where it is neither word, and no regular expression."""
        self._rule = rule
        try:
            rule.encode()  # of an argument that is not UTF-8 nothing could be written down
            self._pattern = None if rule in ("lines", "files") else re.compile(rule, re.MULTILINE)
        except (re.error, RecursionError, OverflowError, UnicodeEncodeError) as error:
            raise UsageError(
                f"--documents must be lines, files or a regular expression; {rule!r} is none ({error})"
            ) from None

    def of(self, corpus: Corpus) -> EncodedText:
        """A corpus as documents. Raises UsageError where the expression looks ahead."""
        return self.within(corpus.ids, corpus.vocabulary, corpus.lengths)

    def within(self, ids: np.ndarray, vocabulary: Vocabulary, lengths: list[int] | None = None) -> EncodedText:
        """A text (ids (N,)) as documents. lengths: of its files; one file if None."""
        if self._rule == "files":
            starts = np.cumsum([0, *(lengths or [])], dtype=np.int64)
            starts = np.unique(starts[starts < len(ids)])
        elif self._rule == "lines":
            starts = _collected(_after_newlines(ids, vocabulary), len(ids))
        else:
            starts = _collected(self._after_matches(ids, vocabulary), len(ids))
        return EncodedText(ids, starts, int(opening(vocabulary)[0]))

    def may_end_with(self, character: str) -> bool:
        """False where no document ends with this character: what is quickly told."""
        return character == "\n" if self._rule == "lines" else self._rule != "files"

    def ends(self, text: str) -> bool:
        """Whether a document ends where this text, the last of what was written of it, ends."""
        if self._rule == "lines":
            return text.endswith("\n")
        if self._rule == "files":
            return False
        with _in_time(self._rule):
            return _ends(self._pattern, text)

    def _after_matches(self, ids: np.ndarray, vocabulary: Vocabulary) -> Iterator[np.ndarray]:
        pattern = self._pattern
        if vocabulary.kind == "bytes":
            try:
                pattern = re.compile(self._rule.encode(), re.MULTILINE)
            except re.error as error:
                raise UsageError(f"--documents {self._rule!r} cannot be looked for in bytes ({error})") from None
        done = 0
        while done < len(ids):
            begin, end = max(0, done - LONGEST_SEPARATOR), done + IDS_AT_ONCE
            text = vocabulary.decode(ids[begin:end])
            # A match that reaches into the last characters might go on beyond them: it is left to the next round.
            settled = len(text) if end >= len(ids) else len(text) - LONGEST_SEPARATOR
            with _in_time(self._rule):
                spans = [match.span() for match in pattern.finditer(text, done - begin) if match.end() <= settled]
                looks_ahead = spans and not _ends(pattern, text[: spans[0][1]], done - begin)
            if looks_ahead or any(start == stop for start, stop in spans):
                raise UsageError(
                    f"--documents {self._rule!r} needs what follows to tell that a document has ended",
                    "give an expression that matches a document's last characters, and does not look ahead",
                )
            places = [stop for _, stop in spans]
            yield np.array(places, np.int64) + begin
            done = max(begin + places[-1] if places else 0, begin + settled)


def _ends(pattern: re.Pattern, text: str | bytes, start: int = 0) -> bool:
    """Whether the last characters of a text, at least one, are a match, when it is searched from `start` on."""
    return any(match.start() < match.end() == len(text) for match in pattern.finditer(text, start))


def _after_newlines(ids: np.ndarray, vocabulary: Vocabulary) -> Iterator[np.ndarray]:
    newline = vocabulary.encode("\n", skip_unknown=True)
    if not len(newline):
        return
    for begin in range(0, len(ids), IDS_AT_ONCE):
        yield np.flatnonzero(ids[begin : begin + IDS_AT_ONCE] == newline[0]) + (begin + 1)


def _collected(pieces: Iterator[np.ndarray], length: int) -> np.ndarray:
    """0 and all places (ascending) before `length`, each once; of a large text mapped from a file without a name."""

    def each_once() -> Iterator[np.ndarray]:
        last = 0
        for piece in pieces:
            piece = np.unique(piece[(piece > last) & (piece < length)])
            last = int(piece[-1]) if len(piece) else last
            yield piece

    zero = np.zeros(1, np.int64)
    if length <= MEMORY_LIMIT:
        return np.concatenate([zero, *each_once()])
    folder = corpora_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(zero.tobytes())
            for piece in each_once():
                file.write(piece.tobytes())
            file.flush()
            return np.memmap(file, np.int64, mode="r")
    except OSError as error:
        raise CharrnnError(
            f"the beginnings of documents cannot be written to {folder}: {error.strerror or error}",
            "make room, or set CHARRNN_HOME to a folder that has it",
        ) from None


@contextlib.contextmanager
def _in_time(rule: str) -> Iterator[None]:
    """Ends a search that backtracks without end, as an expression in a stranger's run may: UsageError.

    In the main thread only, where alarms arrive; Python looks for them while it matches.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def too_long(*_: object) -> None:
        raise UsageError(f"--documents {rule!r} takes too long to find where documents end", "use a simpler expression")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, LONGEST_SEARCH)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
