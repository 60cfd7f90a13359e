"""What general compressors need for a text after the training text.

A compressor adapts as it codes. Its cost of a text is the compressed size of the training text and the text together,
minus that of the training text alone.
"""

from __future__ import annotations

import bz2
import lzma
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from charrnn.extras import import_extra
from charrnn.progress import FractionProgress, no_progress

PIECE = 1 << 16
"""Bytes compressed between two calls of `progress`."""
PPMD_ORDER = 6
"""Of the orders 4 to 12, the best for English after a million characters; also the default of 7-Zip."""
PPMD_MEMORY = 1 << 28
"""Bytes, used as needed. A million characters of English need less than 16 MB; a full model is cut back."""
XZ_WINDOW = 1 << 26
"""Bytes of the largest window, that of `xz -9`."""
XZ_SMALLEST_WINDOW = 1 << 12


class CompressorStream(Protocol):
    """A compressor of the standard library, or one with the same methods."""

    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


@dataclass(frozen=True)
class Compressor:
    """A compression program. open: returns a new stream, given how many bytes it will be fed."""

    name: str
    about: str
    open: Callable[[int], CompressorStream]

    def size(self, data: bytes, progress: FractionProgress = no_progress) -> int:
        """Return the compressed size of data in bytes. Raises CharrnnError where a package is missing."""
        stream, size = self.open(len(data)), 0
        for start in range(0, len(data), PIECE):
            size += len(stream.compress(data[start : start + PIECE]))
            progress(min(1.0, (start + PIECE) / len(data)))
        return size + len(stream.flush())

    def bits_after(self, training: bytes, text: bytes, progress: FractionProgress = no_progress) -> int:
        """Return the bits that a text takes after a training text."""
        before = self.size(training, lambda part: progress(part / 2))
        return 8 * (self.size(training + text, lambda part: progress(0.5 + part / 2)) - before)


def _open_ppmd(_: int) -> CompressorStream:
    pyppmd = import_extra("pyppmd", "PPMd")
    cut_off = pyppmd.PPMD8_RESTORE_METHOD_CUT_OFF
    stream: CompressorStream = pyppmd.PpmdCompressor(PPMD_ORDER, PPMD_MEMORY, restore_method=cut_off, variant="I")
    return stream


def _open_bzip2(_: int) -> CompressorStream:
    return bz2.BZ2Compressor(9)


def _open_xz(size: int) -> CompressorStream:
    window = min(max(size, XZ_SMALLEST_WINDOW), XZ_WINDOW)  # a larger one takes memory and finds nothing
    return lzma.LZMACompressor(filters=[{"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": window}])


COMPRESSORS = (
    Compressor("PPMd", f"variant I, order {PPMD_ORDER}", _open_ppmd),
    Compressor("bzip2 -9", "blocks of 900 kB", _open_bzip2),
    Compressor("xz -9", "a window of up to 67 MB", _open_xz),
)
