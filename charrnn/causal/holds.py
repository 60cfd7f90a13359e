"""Cells that are held while text is generated: throughout, or for a range of its characters.

A cell held from the first to the last character of a range has its value before the step that predicts the first of
them, and after each step up to the one that predicts the last. Outside the range the network is as it was; the state is
carried over.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from charrnn.causal.clamp import Clamp, clamped
from charrnn.errors import UsageError
from charrnn.inspection.recorded_trace import as_cell
from charrnn.inspection.trace import Cell
from charrnn.model.network import CharRNN, State
from charrnn.sampling.generate import Phase

Clamps = Mapping[str, float | str] | Sequence[str]
"""Cells to hold: `{"1:42": 0.9}`, `{"1:42.h": "0.9@100..300"}` or `["1:42=inside@100..300"]`."""

CLASSES = ("outside", "inside")
FORM = "give CELL=VALUE, as 1:42=0.9, 1:42.h=-1, 1:42=inside or 1:42=outside@100..300"


@dataclass(frozen=True)
class Hold:
    """A cell held at a value while characters first to last of a text are generated, counted from 1.

    value: a number, or the name of a class at whose median the cell is held. first: None: from before the prime on.
    last: None: to the end.
    """

    cell: Cell
    signal: str
    value: float | str
    first: int | None = None
    last: int | None = None

    def covers(self, character: int) -> bool:
        """Return whether the cell is held while a character is generated. character: 0: the prime is read."""
        return (self.first or 0) <= character <= (math.inf if self.last is None else self.last)


def parse_holds(clamps: Clamps, network: CharRNN) -> list[Hold]:
    """Parse what `--clamp` and `clamp=` take. Raises UsageError for a mistake in one."""
    given = [f"{cell}={value}" for cell, value in clamps.items()] if isinstance(clamps, Mapping) else clamps
    return [_parse(one, network) for one in given]


def _parse(given: str, network: CharRNN) -> Hold:
    cell, _, rest = given.partition("=")
    name, dot, signal = cell.partition(".")
    value, at, span = rest.partition("@")
    if not value:
        raise UsageError(f"{given!r} holds no cell at a value", FORM)
    first, last = _parse_span(span, given) if at else (None, None)
    found = as_cell(name, network)
    signal = clampable_signal(network, signal if dot else "auto")
    return Hold(found, signal, value if value in CLASSES else _parse_value(value, found, signal, network), first, last)


def clampable_signal(network: CharRNN, name: str) -> str:
    """Return the signal to hold; auto: c of an LSTM, else h. Raises UsageError for one that cannot be held."""
    recurrence = network.recurrence
    signal = recurrence.clampable[-1] if name == "auto" else recurrence.find_signal(name)
    if signal not in recurrence.clampable:
        raise UsageError(f"{signal} cannot be held", f"choose {' or '.join(recurrence.clampable)}")
    return signal


def _parse_value(given: str, cell: Cell, signal: str, network: CharRNN) -> float:
    try:
        value = float(given)
    except ValueError:
        raise UsageError(f"{given!r} is no value to hold cell {cell} at", FORM) from None
    low, high = network.recurrence.state_parts[signal]
    if not (math.isfinite(value) and low <= value <= high):
        bounds = "is a finite number" if math.isinf(high) and math.isinf(low) else f"lies between {low:g} and {high:g}"
        raise UsageError(f"{signal} of cell {cell} cannot be held at {given}", f"it {bounds}")
    return value


def _parse_span(given: str, clamp: str) -> tuple[int, int | None]:
    match = re.fullmatch(r"(\d{1,15})?\.\.(\d{1,15})?", given, re.ASCII)
    first, last = (None, None) if match is None else (int(match[1] or 1), int(match[2]) if match[2] else None)
    if first is None or first < 1 or (last is not None and last < first):
        raise UsageError(
            f"{given!r} in {clamp!r} is not a range of characters", "count from 1, as in @100..300, @100.. or @..300"
        )
    return first, last


def resolve(holds: Sequence[Hold], levels: Callable[[Cell, str], tuple[float, float]]) -> list[Hold]:
    """Replace names of classes by values. levels: of a cell's signal, outside and inside."""

    def resolved(hold: Hold) -> Hold:
        if not isinstance(hold.value, str):
            return hold
        return replace(hold, value=levels(hold.cell, hold.signal)[CLASSES.index(hold.value)])

    return [resolved(hold) for hold in holds]


def schedule(
    network: CharRNN, always: Sequence[Clamp], holds: Sequence[Hold]
) -> tuple[CharRNN, State | None, list[Phase]]:
    """Return the network to read the prime with, its state before that, and the networks that take over from it.

    always: clamps of the whole text. holds: with numbers as values. Raises UsageError where a cell is to be held at two
    values at once.
    """
    bounds = {one.first or 0 for one in holds} | {one.last + 1 for one in holds if one.last is not None}
    networks, state = [], None
    for bound in sorted({0, *bounds}):
        active = [*always, *(Clamp(h.cell, float(h.value), h.signal) for h in holds if h.covers(bound))]
        edited, start = clamped(network, active) if active else (network, None)
        state = start if bound == 0 else state
        networks.append((bound, edited))
    (_, first), *later = networks
    return first, state, [Phase(bound - 1, one) for bound, one in later]
