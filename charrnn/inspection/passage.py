"""What is read: characters, and, where they are of documents that know nothing of each other, where each begins.

Shapes: N characters, B streams.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from charrnn.text.documents import Documents


@dataclass(frozen=True, eq=False)
class Passage:
    """Characters to be read, in one go or as documents.

    ids: (N,), or (B, N) for B passages read side by side. begins: booleans of this shape; at each the state starts
    anew, with zeros and the opening character read. opening: its id. What does not start with a beginning is read from
    wherever the reader is.
    """

    ids: np.ndarray
    begins: np.ndarray
    opening: int = 0

    @classmethod
    def of(cls, text: Readable) -> Passage:
        """Ids as one text, documents each for itself; a passage as it is."""
        if isinstance(text, Passage):
            return text
        if isinstance(text, Documents):
            begins = np.zeros(len(text), bool)
            begins[text.starts] = True
            return cls(text.ids, begins, text.opening)
        return cls(text, np.zeros(text.shape, bool))

    def __len__(self) -> int:
        return self.ids.shape[-1]

    def __getitem__(self, part: slice) -> Passage:
        """Some of the characters, of each stream the same."""
        return Passage(self.ids[..., part], self.begins[..., part], self.opening)

    def rearranged(self, how: Callable[[np.ndarray], np.ndarray]) -> Passage:
        """The characters laid out otherwise, as into streams, together with what begins at them."""
        return Passage(how(self.ids), how(self.begins), self.opening)

    @property
    def is_of_documents(self) -> bool:
        return bool(self.begins.any())


Readable = np.ndarray | Documents | Passage
"""Anything that can be read: ids (N,) or (B, N) in one go, documents each for itself."""
