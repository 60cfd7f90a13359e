"""Convert losses, and format durations, counts, sizes and values for people."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime

NATS_PER_BIT = math.log(2.0)
LONGEST_VALUE = 100  # characters


def bits(nats: float) -> float:
    """Convert nats to bits, such as a loss per character to bits per character."""
    return nats / NATS_PER_BIT


def perplexity(nats: float) -> float:
    """Return exp of the mean loss in nats, or infinity where it overflows."""
    try:
        return math.exp(nats)
    except OverflowError:
        return math.inf


def loss(nats: float) -> str:
    """Format a loss per character as `1.2345 nats, 1.7810 bits per character`."""
    return f"{nats:.4f} nats, {bits(nats):.4f} bits per character"


def signed(value: float, decimals: int = 2) -> str:
    """Format a value with its sign, as in `+0.25` or `−0.25`."""
    return f"{value:+.{decimals}f}".replace("-", "−")


def duration(seconds: float) -> str:
    """Format seconds as `0.4 s`, `38 s`, `2 min 05 s`, `3 h 20 min` or `2 d 4 h`."""
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


def moment(iso: str) -> str:
    """Format an ISO 8601 time as `2026-12-01 01:58 UTC`. One without an offset is in UTC. Other text stays as it is."""
    try:
        time = datetime.fromisoformat(iso)
        utc = time.astimezone(UTC) if time.tzinfo else time
    except (ValueError, OverflowError):
        return iso
    return f"{utc:%Y-%m-%d %H:%M} UTC"


def decimal(value: float, digits: int, *, sign: bool = False) -> str:
    """Format a number as `.98`, `−.50` or `10.25`: no zero before the point, and U+2212 as minus. sign: also a plus."""
    return re.sub(r"(?<!\d)0\.", ".", f"{value:{'+' if sign else ''}.{digits}f}").replace("-", "−")


def count(number: float) -> str:
    """Format a count as `1,115,394`, from ten million on as `100.0 M`, and from ten billion on as `10.0 G`."""
    if abs(number) < 1e7:
        return f"{number:,.0f}"
    return f"{number / 1e6:,.1f} M" if abs(number) < 1e10 else f"{number / 1e9:,.1f} G"


def amount(number: int, singular: str, plural: str | None = None, *, exact: bool = False) -> str:
    """Format a count with its noun: `1 step`, `1,200 steps`. exact: show every digit.

    plural: by default the singular and an s.
    """
    return f"{f'{number:,}' if exact else count(number)} {singular if number == 1 else plural or singular + 's'}"


def percent(share: float, decimals: int = 0) -> str:
    """Format a share as a percentage: `13 %`, `0.4 %`."""
    return f"{100 * share:.{decimals}f} %"


def file_size(number: int) -> str:
    """Format bytes as `812 B` or `4.2 MB`, in powers of ten."""
    if number < 1000:
        return f"{number} B"
    for unit, scale in (("kB", 1e3), ("MB", 1e6), ("GB", 1e9)):
        if number < scale * 1000:
            return f"{number / scale:.1f} {unit}"
    return f"{number / 1e12:.1f} TB"


def shortened(value: object) -> str:
    """Format a value for an error message, cut off after 100 characters."""
    text = repr(value)
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"
