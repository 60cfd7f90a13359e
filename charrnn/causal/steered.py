"""The result of steering: what changes in generated text while a cell is held, and how it is shown."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, Literal, get_args

from charrnn.discovery.report import symbol_name
from charrnn.display.tables import format_key_values, format_table
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
MEANINGS = {
    "opening": "how often the property begins, per 1,000 characters",
    "closing": "how often it ends within a line, per 1,000 characters",
    "unclosed": "how often it ends with the line instead, per 1,000 characters",
    "?!": "how often these marks occur, per 1,000 characters",
    "line length": "mean length of a line, in characters",
    "indentation": "mean indentation of a line, in characters",
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
        tables = [table_of(self, plain), legend(self, plain), *samples(self, plain), ""]
        return "\n".join([*claim_lines(self, plain), "", *tables, changed_characters(self), texts_read(self)])

    def to_json(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "claim": claim(self)}


def number(value: float, *, sign: bool = False) -> str:
    """Format a count or a length: `.4`, `12.3`, `140`."""
    return decimal(value, 0 if abs(value) >= 99.5 else 1, sign=sign)


def claim(steering: Steering) -> str:
    """Return in plain words what holding the cell changes most."""
    heading, parts = _claim(steering)
    return f"{heading} {'; '.join(parts)}"


def claim_lines(steering: Steering, terminal: Terminal) -> list[str]:
    """Return `claim` as a heading and indented lines for each part."""
    heading, parts = _claim(steering)
    narrow = dataclasses.replace(terminal, width=max(1, terminal.width - 2))
    return [*terminal.wrap(heading), *(f"  {line}" for part in parts for line in narrow.wrap(part))]


def _claim(steering: Steering) -> tuple[str, list[str]]:
    """Return the conditions that are compared, and what changes between them."""
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
    return f"Cell {steering.cell}, {low.name} → {high.name}:", [*parts, f"costs {costs} nats per character"]


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
    shown, binary = _shown(steering), steering.kind == "binary"
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


def _shown(steering: Steering) -> list[str]:
    """Return the measures that the table shows, in its order."""
    measured = [one.measures for one in steering.conditions]
    return [one for one in HEADERS if one in measured[0] and max(each[one].mean for each in measured) >= LEAST_SHOWN]


def legend(steering: Steering, terminal: Terminal) -> str:
    """Return what each column and each kind of row of the table is, as styled text."""
    return format_key_values([*_columns(steering), *_rows(steering)], terminal)


def _columns(steering: Steering) -> Iterator[tuple[str, str]]:
    """Yield the header and the meaning of each column."""
    value = "of the cell"
    if not all(one.natural for one in steering.conditions):
        low, high = (decimal(end, 2) for end in steering.range)
        value += f"; *: outside its 1 % to 99 % quantiles, {low} to {high}"
    yield "value", value
    if steering.kind == "binary":
        yield "holds", f"share of the characters with the property: {steering.property_name}"
    elif steering.kind == "graded":
        yield "mean", f"of the property: {steering.property_name}"
    yield from ((HEADERS[name], MEANINGS[name]) for name in _shown(steering))
    yield "nats", "loss per character, of the network without the hold; higher: less fluent"


def _rows(steering: Steering) -> Iterator[tuple[str, str]]:
    """Yield a part of the name and the meaning of each kind of row."""
    low, high = steering.names
    yield "not held", "the network as it is"
    if steering.kind is None:
        yield "at its …", "held at this quantile of its values in the text"
        return
    classes = f"{low}, {high}"
    if steering.kind == "graded":
        classes = "in the lowest or highest quarter of the property"
    yield "held", f"at the cell's median {classes}, or halfway between"
    yield f"{low}+, {high}+", "beyond these, by half the distance between the medians"
    yield "primed", "nothing is held; the texts continue places of this class"
    yield "moved", "the difference of the means is added to h of the whole layer"


def samples(steering: Steering, terminal: Terminal, rows: int = SAMPLE_LINES) -> list[str]:
    """Return two texts of the same seed side by side, held low and high, from where they differ. rows: of text."""
    from rich.cells import set_cell_size

    width = (min(terminal.width, 120) - 3) // 2
    _, low, high = steering.compared
    pairs = enumerate(zip(low.sample, high.sample, strict=False))
    first_difference = next((at for at, (one, other) in pairs if one != other), None)
    if first_difference is None:
        length = min(len(low.sample), len(high.sample))
        return terminal.wrap(f"{low.name}, {high.name}: the first text begins with the same {length} characters")
    start = max(low.sample.rfind("\n", 0, first_difference) + 1, first_difference - width // 2)
    heading = terminal.wrap(f"the first text from character {start + 1} on") if start else []
    columns = []
    for one in (low, high):
        safe = safe_text(one.sample[start:].replace("\t", "    "), keep_newlines=True)
        if kind_of(steering.language) == "code":
            lines = [line[:width] for line in safe.split("\n")]
        else:
            lines = wrap_words(safe.replace("\n", " ↵ " if terminal.unicode else " "), width)
        columns.append([f"{one.name}:", *lines[:rows]])
    divider = " │ " if terminal.unicode else " | "
    beside = zip_longest(*columns, fillvalue="")
    return [*heading, *(f"{set_cell_size(left, width)}{divider}{right}" for left, right in beside)]


def texts_read(steering: Steering) -> str:
    """Return how many texts each row of the table is measured on."""
    return f"{steering.texts} texts of {steering.length:,} characters a row, all with the same seed, {steering.seed}"


def changed_characters(steering: Steering) -> str:
    """Return the characters whose frequency changes most."""
    _, low, high = steering.compared
    changes = ", ".join(
        f"{symbol_name(one.symbol)} {number(one.low)} → {number(one.high)} "
        f"[{' to '.join(number(end, sign=True) for end in (one.difference.low, one.difference.high))}]"
        for one in steering.frequencies
    )
    return f"characters per 1,000, {low.name} → {high.name} [95 % of the difference]: {changes}"
