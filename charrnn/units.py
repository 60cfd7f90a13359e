"""Nats, bits and perplexity; durations and counts as a person reads and writes them."""

from __future__ import annotations

import math

NATS_PER_BIT = math.log(2.0)


def bits(nats: float) -> float:
    """Nats to bits: a loss per character in nats becomes bits per character (bpc)."""
    return nats / NATS_PER_BIT


def perplexity(nats: float) -> float:
    """exp of the mean loss in nats; infinite where that overflows a float."""
    try:
        return math.exp(nats)
    except OverflowError:
        return math.inf


def duration(seconds: float) -> str:
    """Seconds as `0.4 s`, `38 s`, `2 min 05 s`, `3 h 20 min` or `2 d 4 h`."""
    if not math.isfinite(seconds):
        return "unknown"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def count(number: float) -> str:
    """A count with thousands separators, `1,115,394`; from ten million on in millions, `100.0 M`."""
    if abs(number) < 1e7:
        return f"{number:,.0f}"
    return f"{number / 1e6:,.1f} M" if abs(number) < 1e10 else f"{number / 1e9:,.1f} G"


def amount(number: int, singular: str, plural: str | None = None, *, exact: bool = False) -> str:
    """A count and what is counted: `1 step`, `1,200 steps`. plural: where it is not the singular and an s.

    exact: every digit, however many.
    """
    return f"{f'{number:,}' if exact else count(number)} {singular if number == 1 else plural or singular + 's'}"


def file_size(number: int) -> str:
    """Bytes as `812 B`, `4.2 MB` (powers of ten, as file managers and corpora's home pages count)."""
    if number < 1000:
        return f"{number} B"
    for unit, scale in (("kB", 1e3), ("MB", 1e6), ("GB", 1e9)):
        if number < scale * 1000:
            return f"{number / scale:.1f} {unit}"
    return f"{number / 1e12:.1f} TB"
