"""The result of steering: what changes in generated text while a cell is held, and how it is shown."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, Literal, get_args

from charrnn.discovery.report import symbol_name
from charrnn.display.tables import format_table
from charrnn.display.terminal import Terminal, safe_text, wrap_words
from charrnn.properties.catalog import Kind
from charrnn.properties.source_code import kind_of
from charrnn.units import decimal

SteeringKind = Literal["free", "held", "primed", "moved"]
KINDS: tuple[SteeringKind, ...] = get_args(SteeringKind)
SAMPLE_LINES = 2
DETAILED_SAMPLE_LINES = 12
LEAST_SHOWN = 0.1
"""A measure that is smaller in every row is left out of the table."""
COUNTS = {"opening": "openings", "closing": "closings", "unclosed": "unclosed at a line end", "?!": "? and !"}
"""Measures per 1,000 characters, in words."""
HEADERS = {
    "opening": "opens",
    "closing": "closes",
    "unclosed": "unclosed",
    "?!": "? !",
    "line length": "line",
    "indentation": "indent",
}


@dataclass(frozen=True)
class Estimate:
    """A mean over texts, with its 95 % interval by bootstrap over the texts."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Condition:
    """Texts generated in one way.

    kind: "free": nothing is held; "held": the cell; "primed": continues places of one class; "moved": the difference
    of class means is added. value: that the cell is held at. natural: whether it lies within the 1 and 99 %
    quantiles of the cell. measures: "property": share of the characters at which it holds, or its mean; "opening",
    "closing": episodes that begin, and that end within a line; "unclosed": that end with a line; "?!": these marks, all
    per 1,000 characters; "line length", "indentation": in characters. nats: per character, under the network as it was.
    """

    name: str
    kind: SteeringKind
    value: float | None
    natural: bool
    measures: dict[str, Estimate] = field(default_factory=dict)
    nats: Estimate = Estimate(0, 0, 0)
    sample: str = ""


@dataclass(frozen=True)
class FrequencyChange:
    """How often a character occurs per 1,000 with the cell held low and high, and the difference."""

    symbol: str
    low: float
    high: float
    difference: Estimate


@dataclass(frozen=True, repr=False)
class Steering:
    """What holding a cell changes in generated text.

    names: of the two classes. range: 1 and 99 % quantiles of the cell. conditions: the first without a hold, then five
    doses, then the baselines. low, high: the conditions that are compared: held at both class medians, or at the lowest
    and the highest quantile. frequencies: of the characters that change most between them.
    """

    cell: str
    signal: str
    property_name: str | None
    kind: Kind | None
    names: tuple[str, str]
    language: str | None
    range: tuple[float, float]
    conditions: tuple[Condition, ...]
    low: int
    high: int
    frequencies: tuple[FrequencyChange, ...]
    texts: int
    length: int
    seed: int

    def __getitem__(self, name: str) -> Condition:
        """Return the condition of this name, such as "held inside"."""
        return next(one for one in self.conditions if one.name == name)

    @property
    def compared(self) -> tuple[Condition, Condition, Condition]:
        """The condition without a hold, and those with the cell held low and high."""
        return self.conditions[0], self.conditions[self.low], self.conditions[self.high]

    def __repr__(self) -> str:
        return f"<Steering: {claim(self)}>"

    def __str__(self) -> str:
        plain = Terminal.plain(100)
        return "\n".join([claim(self), "", table_of(self, plain), *samples(self, plain), "", *notes(self)])

    def to_json(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "claim": claim(self)}


def number(value: float, *, sign: bool = False) -> str:
    """Format a count or a length: `.4`, `12.3`, `140`."""
    return decimal(value, 0 if abs(value) >= 99.5 else 1, sign=sign)


def claim(steering: Steering) -> str:
    """Return in plain words what holding the cell changes most."""
    free, low, high = steering.compared
    title, binary = steering.property_name, steering.kind == "binary"
    parts = []
    if title is not None:
        a, b, c = (one.measures["property"].mean for one in (low, high, free))
        shares = [f"{100 * one:.0f} %" if binary else number(one) for one in (a, b, c)]
        words = " of the time" if binary else " on average"
        parts.append(f"{title} {shares[0]} → {shares[1]}{words} ({free.name} {shares[2]})")
    changed = _most_changed(steering)
    for names, unit in ((COUNTS.keys(), " per 1,000 characters"), (HEADERS.keys() - COUNTS.keys(), "")):
        changes = [
            f"{COUNTS.get(name, name)} {number(low.measures[name].mean)} → {number(high.measures[name].mean)}"
            for name in changed
            if name in names
        ]
        parts += [", ".join(changes) + unit] if changes else []
    parts = parts or ["nothing in the table changes beyond chance"]
    costs = " and ".join(decimal(one.nats.mean - free.nats.mean, 2, sign=True) for one in (low, high))
    return f"Cell {steering.cell}, {low.name} → {high.name}: {'; '.join(parts)}; costs {costs} nats per character"


def _most_changed(steering: Steering) -> list[str]:
    """Return the two measures that differ most between both holds, in half widths of their intervals."""
    _, low, high = steering.compared
    separations = {}
    for name, one in low.measures.items():
        other = high.measures[name]
        spread = (one.high - one.low + other.high - other.low) / 2
        if name != "property" and spread and abs(other.mean - one.mean) > spread:
            separations[name] = abs(other.mean - one.mean) / spread
    return sorted(separations, key=lambda name: -separations[name])[:2]


def table_of(steering: Steering, terminal: Terminal) -> str:
    """Return a row for each condition as styled text."""
    first, *others = (one.measures for one in steering.conditions)
    shown = [
        name for name in HEADERS if name in first and max(one[name].mean for one in (first, *others)) >= LEAST_SHOWN
    ]
    binary = steering.kind == "binary"
    headers = ["", "value", *([] if steering.kind is None else ["holds" if binary else "mean"])]
    headers += [*(HEADERS[name] for name in shown), "nats"]
    rows = []
    for one in steering.conditions:
        value = "" if one.value is None else decimal(one.value, 2) + ("" if one.natural else "*")
        row = [one.name, value]
        if steering.kind is not None:
            mean = one.measures["property"].mean
            row.append(f"{100 * mean:.0f} %" if binary else number(mean))
        rows.append([*row, *(number(one.measures[name].mean) for name in shown), f"{one.nats.mean:.2f}"])
    return format_table(headers, rows, terminal, right=headers[1:])


def samples(steering: Steering, terminal: Terminal, rows: int = SAMPLE_LINES) -> list[str]:
    """Return the beginnings of two texts of the same seed side by side, held low and high. rows: of text."""
    from rich.cells import set_cell_size

    width = (min(terminal.width, 120) - 3) // 2
    columns = []
    for one in steering.compared[1:]:
        safe = safe_text(one.sample.replace("\t", "    "), keep_newlines=True)
        if kind_of(steering.language) == "code":
            lines = [line[:width] for line in safe.split("\n")]
        else:
            lines = wrap_words(safe.replace("\n", " ↵ " if terminal.unicode else " "), width)
        columns.append([f"{one.name}:", *lines[:rows]])
    divider = " │ " if terminal.unicode else " | "
    pairs = zip_longest(*columns, fillvalue="")
    return [f"{set_cell_size(left, width)}{divider}{right}" for left, right in pairs]


def caveat(steering: Steering) -> str:
    """Return what the rows are, in one line."""
    rows = f"{steering.texts} texts of {steering.length:,} characters a row; counts per 1,000"
    return rows if all(one.natural for one in steering.conditions) else f"{rows}; *: beyond its usual range"


def notes(steering: Steering) -> list[str]:
    """Return the characters that change most, and how to read the table."""
    _, low, high = steering.compared
    changes = ", ".join(
        f"{symbol_name(one.symbol)} {number(one.low)} → {number(one.high)} "
        f"[{' to '.join(number(end, sign=True) for end in (one.difference.low, one.difference.high))}]"
        for one in steering.frequencies
    )
    legend = [
        f"all rows have the same random numbers, seed {steering.seed}; nats: per character, under the network as it was"
    ]
    if steering.kind == "binary":
        legend.append("opens, closes: episodes that begin, and that end within a line; unclosed: that end with a line")
    if steering.kind is not None:
        legend.append(
            "+: beyond the median; primed: continues text of this class, nothing held; moved: the difference of class "
            "means added to h of the whole layer"
        )
    if not all(one.natural for one in steering.conditions):
        low_end, high_end = steering.range
        legend.append(f"*: beyond the cell's 1 % and 99 % quantiles, {decimal(low_end, 2)} and {decimal(high_end, 2)}")
    return [f"characters per 1,000, {low.name} → {high.name} [95 % of the difference]: {changes}", "; ".join(legend)]
