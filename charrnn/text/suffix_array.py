"""The suffix array of a text (Manber & Myers 1993): the start of every suffix, in lexicographic order of their ids.

It is built by divsufsort where the package pydivsufsort is installed, else by NumPy. Both give the same array.

Shapes: N characters of the text, M substrings of n characters.
"""

from __future__ import annotations

import numpy as np

from charrnn.errors import CharrnnError
from charrnn.extras import import_extra
from charrnn.progress import StageProgress, no_progress

STAGE = "index of the corpus"
KEY_BYTES = 8


class SubstringIndex:
    """Finds substrings of up to `longest` characters in a text of ids (N,) by its suffix array (N,), int64."""

    def __init__(self, ids: np.ndarray, order: np.ndarray, longest: int):
        # Not as np.memmap, which is slower to index.
        self.ids, self._order, self._longest = np.asarray(ids), np.asarray(order), longest
        # Suffixes are compared as big-endian strings of one length. Where the text ends, they continue with zeros.
        self._padded = np.zeros(len(ids) + longest, ids.dtype.newbyteorder(">"))
        self._padded[: len(ids)] = ids

    def __len__(self) -> int:
        return len(self.ids)

    def keys(self, substrings: np.ndarray) -> np.ndarray:
        """Return ids (M, n) as an array (M,) that can be searched for."""
        packed = np.ascontiguousarray(substrings, self._padded.dtype)
        return packed.view(f"S{packed.shape[1] * packed.itemsize}")[:, 0]

    def find(self, keys: np.ndarray) -> np.ndarray:
        """Return where each substring occurs in the text, (M,); −1 for those that do not."""
        windows, length = self._windows(keys)
        # A suffix shorter than the substring comes before all that equal it with its zeros: the last one is exact.
        last = np.searchsorted(windows, keys, side="right", sorter=self._order) - 1
        places = self._order[last]
        occurs = (last >= 0) & (places + length <= len(self)) & (windows[places] == keys)
        return np.where(occurs, places, -1)

    def occurrences(self, key: np.ndarray) -> np.ndarray:
        """Return the starts of all occurrences of one substring, a key (1,)."""
        windows, length = self._windows(key)
        first, after = (np.searchsorted(windows, key, side, self._order)[0] for side in ("left", "right"))
        places = self._order[first:after]
        return places[places + length <= len(self)]

    def followers(self, key: np.ndarray) -> np.ndarray:
        """Return the ids that follow the occurrences of one substring, a key (1,), each once."""
        ends = self.occurrences(key) + self._windows(key)[1]
        return np.unique(self.ids[ends[ends < len(self)]])

    def _windows(self, keys: np.ndarray) -> tuple[np.ndarray, int]:
        """Return a view of the substrings of the keys' length that start at each character, and that length."""
        length = keys.itemsize // self._padded.itemsize
        if length > self._longest:
            raise ValueError(f"made for substrings of {self._longest} characters, got {length}")
        strides = (self._padded.itemsize,)
        return np.ndarray(len(self), keys.dtype, self._padded, strides=strides), length


def suffix_array(ids: np.ndarray, progress: StageProgress = no_progress) -> np.ndarray:
    """Return the suffix array (N,), int64, of ids (N,)."""
    progress(STAGE, 0.0)
    try:
        library = import_extra("pydivsufsort", "the index")
    except CharrnnError:
        return prefix_doubling(ids, progress)
    order = library.divsufsort(ids.astype(ids.dtype.newbyteorder(">")).view(np.uint8))
    starts: np.ndarray = order[order % ids.itemsize == 0] // ids.itemsize
    return starts.astype(np.int64)


def prefix_doubling(ids: np.ndarray, progress: StageProgress) -> np.ndarray:
    """Sort suffixes by their first characters, then repeatedly by twice as many (Manber & Myers 1993).

    Suffixes that differ from all others are not sorted again (Larsson & Sadakane 2007).
    """
    sorted_by = KEY_BYTES // ids.itemsize
    padded = np.zeros(len(ids) + sorted_by, ids.dtype.newbyteorder(">"))
    padded[: len(ids)] = ids
    keys = np.ndarray(len(ids), f">u{KEY_BYTES}", padded, strides=(ids.itemsize,)).astype(np.uint64)
    order = np.argsort(keys)
    rank = np.empty(len(ids), np.int64)  # of equal suffixes: the place of the first in the order
    places = np.arange(len(ids))
    suffixes, values = order, keys[order]
    while True:
        is_first = np.append(True, values[1:] != values[:-1])
        rank[suffixes] = np.maximum.accumulate(np.where(is_first, places, 0))
        unresolved = ~(is_first & np.append(is_first[1:], True))
        places, suffixes = places[unresolved], suffixes[unresolved]
        if not len(places):
            return order
        progress(STAGE, 1 - len(places) / len(ids))
        second = suffixes + sorted_by
        # Suffixes that end before come first, the shortest first.
        second = np.where(second < len(ids), rank[np.minimum(second, len(ids) - 1)], len(ids) - 1 - second)
        values = rank[suffixes] * (len(ids) + sorted_by + 1) + second + sorted_by
        again = np.argsort(values)
        suffixes, values = suffixes[again], values[again]
        order[places] = suffixes
        sorted_by *= 2
