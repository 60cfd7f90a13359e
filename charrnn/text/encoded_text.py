"""The ids of a text with the starts of its documents, as every network reads them.

Shapes: N characters, D documents, B streams.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from charrnn.errors import CharrnnError


def _no_starts() -> np.ndarray:
    return np.zeros(0, np.int64)


@dataclass(frozen=True, eq=False)
class EncodedText:
    """Ids (N,), and the index of the first character of each document (D,), int64, ascending.

    A document is read from a zero state, after the character `opening`. A text without starts is one stream, read from
    a zero state without an opening. A slice that does not start with a document continues the text before it.
    """

    ids: np.ndarray
    starts: np.ndarray = field(default_factory=_no_starts)
    opening: int = 0

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, part: slice) -> EncodedText:
        """Return a contiguous part as a view. Its last document may be cut short."""
        start, stop, _ = part.indices(len(self))
        if not self.has_documents:
            return EncodedText(self.ids[start:stop], self.starts, self.opening)
        first, last = np.searchsorted(self.starts, (start, stop))
        return EncodedText(self.ids[start:stop], self.starts[first:last] - start, self.opening)

    @property
    def has_documents(self) -> bool:
        return len(self.starts) > 0

    @property
    def predicted(self) -> int:
        """Number of predicted characters: all of a text of documents, all but the first of a stream."""
        return len(self) if self.has_documents else max(0, len(self) - 1)

    def begins(self) -> np.ndarray:
        """Return booleans (N,): which characters start a document."""
        begins = np.zeros(len(self), bool)
        begins[self.starts] = True
        return begins

    def document_lengths(self) -> list[int]:
        """Return how many characters each document has."""
        lengths: list[int] = np.diff(self.starts, append=len(self.ids)).tolist()
        return lengths

    def as_documents(self) -> EncodedText:
        """Return the text with what a slice has before its first document start as a document too."""
        if not self.has_documents or self.starts[0] == 0:
            return self
        return EncodedText(self.ids, np.append(0, self.starts), self.opening)

    def streams(self, arrange: Callable[[np.ndarray], np.ndarray]) -> Streams:
        """Arrange the text in parallel streams. arrange: (N,) → (B, T), for ids and document starts alike."""
        return Streams(arrange(self.ids), arrange(self.begins()), self.opening)

    def split(self, fraction: float) -> tuple[EncodedText, EncodedText]:
        """Split off the last `fraction` of the characters, rounded to whole documents.

        Raises CharrnnError where the whole text is one document.
        """
        # Exact: a fraction of 0.29 splits 100 characters into 71 and 29, although 100 * (1 - 0.29) < 71.
        wanted = len(self) * (1 - Fraction(repr(float(fraction))))
        cut = int(wanted)
        if self.has_documents:
            if len(self.starts) < 2:
                raise CharrnnError("the whole text is one document", "choose another `documents`, or leave it out")
            after = min(max(1, int(np.searchsorted(self.starts, float(wanted)))), len(self.starts) - 1)
            first = min({max(1, after - 1), after}, key=lambda place: abs(int(self.starts[place]) - wanted))
            cut = int(self.starts[first])
        return self[:cut], self[cut:]


@dataclass(frozen=True, eq=False)
class Streams:
    """Parallel streams: ids (B, T), and booleans (B, T), which characters start a document.

    There the state is reset to zeros and `opening` is read first.
    """

    ids: np.ndarray
    begins: np.ndarray
    opening: int = 0

    def __len__(self) -> int:
        return int(self.ids.shape[1])

    def rows(self, which: slice | np.ndarray) -> Streams:
        """Return some of the streams."""
        return Streams(self.ids[which], self.begins[which], self.opening)

    def __getitem__(self, part: slice) -> Streams:
        """Return the same columns of every stream."""
        return Streams(self.ids[:, part], self.begins[:, part], self.opening)
