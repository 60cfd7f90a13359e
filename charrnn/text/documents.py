"""Find where the documents of a text begin.

Documents are independent: each is read from a zero state, after one opening character that is the same for all. So its
first character is predicted too. A separator belongs to the document that it ends, so a model learns to end what it
generates.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from charrnn.errors import UsageError
from charrnn.settings import LONGEST_EXPRESSION
from charrnn.text.corpus import MEMORY_LIMIT
from charrnn.text.corpus_cache import map_blocks
from charrnn.text.encoded_text import EncodedText
from charrnn.text.patterns import TIME_LIMIT, Pattern, PatternError, PatternTimeoutError
from charrnn.text.sources import corpora_folder
from charrnn.text.vocabulary import Vocabulary

IDS_AT_ONCE = 1 << 22
LONGEST_SEPARATOR = 1 << 16  # characters; a longer one may be missed at the edge of a block


class DocumentSeparator:
    """What separates documents: `lines`, `files`, or a regular expression that matches the last characters of each.

    A sample ends where its last characters match. So an expression that looks ahead, or has empty matches, is refused.
    time_limit: seconds for each search. Raises UsageError where the rule is neither word nor a regular expression.
    """

    def __init__(self, rule: str, *, time_limit: float = TIME_LIMIT):
        self._rule = rule
        self._pattern: Pattern | None = None
        if rule in ("lines", "files"):
            return
        try:
            rule.encode()  # a rule that is not UTF-8 cannot be saved
            self._pattern = Pattern(rule, time_limit=time_limit)
        except (PatternError, UnicodeEncodeError) as error:
            shown = repr(rule if len(rule) <= LONGEST_EXPRESSION else rule[:100] + "…")
            raise UsageError(
                f"`documents` must be lines, files or a regular expression; {shown} is none of them ({error})"
            ) from None

    def separate(self, ids: np.ndarray, vocabulary: Vocabulary, lengths: list[int] | None = None) -> EncodedText:
        """Return ids (N,) with the starts of their documents. lengths: of the files; None: one file.

        Raises UsageError where the expression looks ahead or takes too long.
        """
        if self._rule == "files":
            starts = np.cumsum([0, *(lengths or [])], dtype=np.int64)
            starts = np.unique(starts[starts < len(ids)])
        elif self._rule == "lines":
            starts = _collect(_after_newlines(ids, vocabulary), len(ids))
        else:
            starts = _collect(self._after_matches(ids, vocabulary), len(ids))
        return EncodedText(ids, starts, vocabulary.opening_id)

    def may_end_with(self, character: str) -> bool:
        """Return False where no document ends with this character: a quick check before `is_end`."""
        return character == "\n" if self._rule == "lines" else self._rule != "files"

    def is_end(self, text: str) -> bool:
        """Return whether a document ends where this text, its last characters, ends."""
        if self._pattern is None:
            return self._rule == "lines" and text.endswith("\n")
        try:
            return self._pattern.ends_with_match(text)
        except PatternTimeoutError as error:
            raise UsageError(f"`documents`: {error.message}", error.hint) from None

    def _after_matches(self, ids: np.ndarray, vocabulary: Vocabulary) -> Iterator[np.ndarray]:
        pattern = self._pattern
        assert pattern is not None
        if vocabulary.kind == "bytes":
            try:
                pattern = Pattern(self._rule.encode(), time_limit=pattern.time_limit)
            except PatternError as error:
                raise UsageError(f"`documents` {self._rule!r} cannot be matched with bytes ({error})") from None
        done = 0
        while done < len(ids):
            begin, end = max(0, done - LONGEST_SEPARATOR), done + IDS_AT_ONCE
            text = vocabulary.decode(ids[begin:end])
            # A match that reaches into the last characters might continue beyond them, and is left to the next block.
            settled = len(text) if end >= len(ids) else len(text) - LONGEST_SEPARATOR
            try:
                spans = pattern.spans(text, done - begin)
                spans = spans[spans[:, 1] <= settled]
                looks_ahead = len(spans) and not pattern.ends_with_match(text[: spans[0, 1]], done - begin)
            except PatternTimeoutError as error:
                raise UsageError(f"`documents`: {error.message}", error.hint) from None
            if looks_ahead or (spans[:, 0] == spans[:, 1]).any():
                raise UsageError(
                    f"`documents` {self._rule!r} needs the following text to find the end of a document",
                    "give an expression that matches a document's last characters, and does not look ahead",
                )
            stops = spans[:, 1] + begin
            yield stops
            done = max(int(stops[-1]) if len(stops) else 0, begin + settled)


def _after_newlines(ids: np.ndarray, vocabulary: Vocabulary) -> Iterator[np.ndarray]:
    newline = vocabulary.encode("\n", skip_unknown=True)
    if not len(newline):
        return
    for begin in range(0, len(ids), IDS_AT_ONCE):
        yield np.flatnonzero(ids[begin : begin + IDS_AT_ONCE] == newline[0]) + (begin + 1)


def _collect(blocks: Iterator[np.ndarray], length: int) -> np.ndarray:
    """Return 0 and the positions (ascending), each once, that are below `length`; mapped from a file if many."""

    def unique() -> Iterator[np.ndarray]:
        last = 0
        yield np.zeros(min(1, length), np.int64)
        for block in blocks:
            block = np.unique(block[(block > last) & (block < length)])
            last = int(block[-1]) if len(block) else last
            yield block

    if length <= MEMORY_LIMIT:
        return np.concatenate(list(unique()))
    return map_blocks("the starts of documents", unique(), 0, np.dtype(np.int64), corpora_folder())
