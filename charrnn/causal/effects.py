"""The result of an ablation: what holding a cell costs at the events of a property, and what that shows."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from charrnn.discovery.checked import CellName, Count, Share, from_json
from charrnn.discovery.report import symbol_name
from charrnn.display.tables import format_table
from charrnn.display.terminal import Terminal
from charrnn.extras import import_extra
from charrnn.properties.catalog import Kind
from charrnn.units import decimal

if TYPE_CHECKING:
    import pandas

MIN_BITS = 0.1
CONTROL_QUANTILE = 0.99
MAX_CROSS = 0.25
"""The largest share of its effect that a hold may have at the other kind of event in a double dissociation."""
DOSE_TOLERANCE = 0.1
"""By how much of its range a dose response may turn back and still count as monotone."""
MIN_STORED = 0.5
"""The least share of what an opening character changes that a cell has to store, from 5 characters on."""
DOSE_HEADERS = ("held at its", "5 %", "25 %", "50 %", "75 %", "95 %", "mean", "zero")


@dataclass(frozen=True)
class Measured:
    """A mean over events in bits, with its 95 % interval by bootstrap over the events."""

    bits: float
    low: float
    high: float


@dataclass(frozen=True)
class Direction:
    """The cell held at the median of the class that it is not in at these events.

    held: name of the class whose median it is held at. value: that median. event: kind of event. symbol: the next
    character at the events, if it is one. sign: −1 where the property predicts that the events become likelier. effect:
    by how many bits the true next character becomes less likely. own: the same, held at the median of the class that
    the events happen in. beyond_matched: effect minus that at other characters of the same class, whose next one is of
    the same kind and as surprising. comparable: beyond_matched at the events that control cells were tested at.
    controls_below: share of the control cells with less. control_median, control_high: of the control cells, and their
    99th percentile.
    elsewhere: KL divergence of the predictions at random characters. direct: effect through the output weights alone.
    class_mean, class_mean_own: as effect and own, at means instead of medians. mean, zero, drawn: effect of holding the
    cell at its mean, at zero, and at values that it has elsewhere at the same current character. distance: of the
    states under the hold from the nearest natural one, natural_distance: of those without it; in standard deviations
    of each cell.
    """

    held: str
    value: float
    event: str
    symbol: str | None
    sign: Literal[1, -1]
    events: Count
    effect: Measured
    own: Measured
    beyond_matched: Measured
    comparable: float
    controls_below: Share
    control_median: float
    control_high: float
    elsewhere: float
    direct: float
    class_mean: float
    class_mean_own: float
    mean: float
    zero: float
    drawn: float
    distance: float
    natural_distance: float

    @property
    def exceeds_controls(self) -> bool:
        """Whether the effect exceeds .1 bits, that at matched characters, and that of 99 % of the control cells."""
        effect, beyond = ((one.low if self.sign > 0 else -one.high) for one in (self.effect, self.beyond_matched))
        return effect > MIN_BITS and beyond > 0 and self.controls_below >= CONTROL_QUANTILE


@dataclass(frozen=True)
class Dose:
    """Effect at each kind of event, in the order of `Ablation.directions`, with the cell held at a quantile."""

    quantile: Share
    value: float
    effects: tuple[float, ...]


@dataclass(frozen=True)
class CellGroup:
    """Effect, in the order of `Ablation.directions`, of holding the `size` best-ranked cells; and random groups."""

    size: Count
    effects: tuple[float, ...]
    random: tuple[float, ...]


@dataclass(frozen=True)
class Stored:
    """Share of the difference between minimal pairs that a swap of the cell's state brings back, after some characters.

    share: for texts without the opening character; flipped: for texts in which it is flipped. pairs: those in which the
    property still holds in one text and not in the other.
    """

    characters: Count
    share: float
    flipped: float | None
    pairs: Count


@dataclass(frozen=True, repr=False)
class Ablation:
    """What a cell causes at the events of a property.

    names: of the classes, outside first. low, high: the cell's 1 % and 99 % quantiles. doses: at its 5, 25, 50, 75 and
    95 % quantiles. controls: how many cells it was compared with; excluded: cells left out because they correlate with
    it. stored: for properties with an opening character. characters: of the text read. held: for how many characters
    the cell is held before an event. kept: whether it was read from the run's folder. packaged_with: as for `Findings`.
    """

    cell: CellName
    signal: str
    property_name: str
    kind: Kind
    names: tuple[str, str]
    mean: float
    median_outside: float
    median_inside: float
    low: float
    high: float
    directions: tuple[Direction, ...]
    doses: tuple[Dose, ...]
    groups: tuple[CellGroup, ...]
    stored: tuple[Stored, ...]
    controls: Count
    excluded: Count
    characters: Count
    held: Count
    kept: bool = field(default=False, compare=False)
    packaged_with: str = field(default="", compare=False)

    @property
    def stars(self) -> int:
        """2 for a double dissociation with a monotone dose response, 1 for one specific direction, else 0."""
        specific = sum(map(self.is_specific, self.directions))
        return 2 if specific == 2 and self.is_monotone else min(specific, 1)

    def is_specific(self, direction: Direction) -> bool:
        """Whether an effect exceeds controls, and is that of the class.

        At most a quarter of it appears when the cell is held at the value of the class that the events happen in, or,
        under the same hold, at the other kind of events. Else the cell matters for these characters, not for the class.
        """
        others = [one.own for one in self.directions if one is not direction]
        limit = MAX_CROSS * abs(direction.effect.bits)
        is_small = all(direction.sign * one.bits <= limit for one in (direction.own, *others))
        return direction.exceeds_controls and is_small

    @property
    def is_stored(self) -> bool:
        """Whether the cell keeps most of what an opening character changes, from 5 characters on."""
        shares = [one.share for one in self.stored if one.characters >= 5]
        return bool(shares) and min(shares) >= MIN_STORED

    @property
    def is_monotone(self) -> bool:
        """Whether effects rise steadily as the cell is held farther from the class that the event happens in."""
        rises_inside = self.median_inside > self.median_outside
        for place, one in enumerate(self.directions):
            curve = [dose.effects[place] * one.sign for dose in self.doses]
            if (one.held == self.names[1]) != rises_inside:
                curve.reverse()
            drop = max(max(curve[: k + 1]) - value for k, value in enumerate(curve))
            if drop > DOSE_TOLERANCE * (max(curve) - min(curve)):
                return False
        return True

    def __repr__(self) -> str:
        return f"<Ablation: {claim(self)}>"

    def __str__(self) -> str:
        parts = [claim(self), "", *tables(self, Terminal.plain()), caveat(self), *details(self)]
        return "\n".join(parts)

    def to_dataframe(self) -> pandas.DataFrame:
        """Return a row for each direction. Raises CharrnnError where pandas is not installed."""
        rows = []
        for one in self.directions:
            row: dict[str, Any] = {"cell": self.cell, "signal": self.signal, "property": self.property_name}
            for name, value in dataclasses.asdict(one).items():
                row |= (
                    {f"{name}_{part}": bits for part, bits in value.items()}
                    if isinstance(value, dict)
                    else {name: value}
                )
            rows.append({**row, "is_specific": self.is_specific(one), "stars": self.stars})
        frame: pandas.DataFrame = import_extra("pandas", "to_dataframe()").DataFrame(rows)
        return frame

    def to_json(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "stars": self.stars, "claim": claim(self)}

    @classmethod
    def from_json(cls, data: Any) -> Ablation:
        """Read what `to_json` returned. Raises ValueError for anything else."""
        if not isinstance(data, dict):
            raise ValueError("not an ablation")
        ablation: Ablation = from_json(
            cls, {name: value for name, value in data.items() if name not in ("stars", "claim")}
        )
        return ablation


# In words


def in_bits(value: float) -> str:
    """Format a difference in bits: `+4.27`, `−.01`."""
    return decimal(value, 2, sign=True)


def value_of(value: float) -> str:
    """Format a value of a signal: `−.62`, `10.9`."""
    return decimal(value, 2 if abs(value) < 9.995 else 1)


def event_name(direction: Direction) -> str:
    """Name a kind of event with its next character: `closing "`, `late newline`."""
    symbol = direction.symbol
    return f"{direction.event} {'character' if symbol is None else symbol_name(symbol)}"


def claim(ablation: Ablation) -> str:
    """Return what the ablation shows, in one sentence."""
    name, title = f"cell {ablation.cell}", f'"{ablation.property_name}"'
    if not ablation.stars:
        return f"{name} is not shown to be necessary for {title}; other cells may carry it too"
    verb = "stores" if ablation.is_stored else "carries" if ablation.stars == 2 else "takes part in"
    return f"{'★' * ablation.stars} {name} {verb} {title}: {costs(ablation)}"


def costs(ablation: Ablation) -> str:
    """Return what holding the cell costs where that is specific, in words; without a star, that nothing is shown."""
    if not ablation.stars:
        return "ablated: not shown to be necessary; other cells may carry it too"
    return "; ".join(
        f"held {one.held}, each {event_name(one)} "
        f"{'costs' if one.effect.bits >= 0 else 'saves'} {value_of(abs(one.effect.bits))} bits"
        for one in ablation.directions
        if ablation.is_specific(one)
    )


def effect_table(ablation: Ablation) -> tuple[list[str], list[list[str]]]:
    """Return headers and rows: bits that each kind of event costs, with the cell held at the value of either class."""
    headers = ["held at", *map(event_name, ablation.directions), "more than"]
    rows = []
    for name, value in zip(ablation.names, (ablation.median_outside, ablation.median_inside), strict=True):
        opposite = next((one for one in ablation.directions if one.held == name), None)
        cells = [_measured(one.effect) if one is opposite else in_bits(one.own.bits) for one in ablation.directions]
        controls = "" if opposite is None else f"{100 * opposite.controls_below:.0f} % of controls"
        rows.append([f"{name} {value_of(value)}", *cells, controls])
    return headers, rows


def dose_rows(ablation: Ablation) -> list[list[str]]:
    """Return the cell's quantiles, mean and zero, and what each costs, for `DOSE_HEADERS`."""
    zero = "0" if ablation.low <= 0 <= ablation.high else "0 (!)"
    rows = [[ablation.signal, *(value_of(dose.value) for dose in ablation.doses), value_of(ablation.mean), zero]]
    for place, one in enumerate(ablation.directions):
        rows.append(
            [event_name(one), *map(in_bits, [*(dose.effects[place] for dose in ablation.doses), one.mean, one.zero])]
        )
    return rows


def _measured(one: Measured) -> str:
    return f"{in_bits(one.bits)} [{in_bits(one.low)}, {in_bits(one.high)}]"


def caveat(ablation: Ablation) -> str:
    """Return how to read the effects, in one line."""
    highest = max(abs(one.control_high) for one in ablation.directions)
    return (
        f"bits lost at the true next character; 99 % of {ablation.controls} control cells lose up to "
        f"{value_of(highest)}"
    )


def detail_rows(ablation: Ablation) -> list[list[str]]:
    """Return a row of what each kind of event costs, or of a distance, for each other way to measure it."""
    ways = ablation.directions
    rows = [
        ["beyond similar characters", *(_measured(one.beyond_matched) for one in ways)],
        ["held at class means, not medians", *(in_bits(one.class_mean) for one in ways)],
        ["held at the mean of their class", *(in_bits(one.class_mean_own) for one in ways)],
        ["values from the same character", *(in_bits(one.drawn) for one in ways)],
        ["through this step's output alone", *(in_bits(one.direct) for one in ways)],
        *(
            [f"{one.size} best cells held together", *map(in_bits, one.effects)]
            for one in ablation.groups
            if one.size > 1
        ),
    ]
    if ablation.groups:
        largest = (max(ways, key=abs) for ways in zip(*(one.random for one in ablation.groups), strict=True))
        rows.append(["as many random cells, at most", *map(in_bits, largest)])
    return [
        *rows,
        ["KL divergence at other characters", *(decimal(one.elsewhere, 2) for one in ways)],
        ["held states, distance to natural", *(decimal(one.distance, 2) for one in ways)],
        ["states without a hold, the same", *(decimal(one.natural_distance, 2) for one in ways)],
    ]


def details(ablation: Ablation) -> list[str]:
    """Return what the tables leave out: storage, and how effects are measured."""
    found = []
    if ablation.stored:
        found.append(f"stored in this cell, of what the opening character changes: {_stored(ablation.stored)}")
    events = " and ".join(f"{one.events} × {event_name(one)}" for one in ablation.directions)
    outside = "" if ablation.low <= 0 <= ablation.high else "; (!): outside the cell's range"
    dose = "monotone" if ablation.is_monotone else "not monotone"
    return [
        *found,
        f"{events}, held for {ablation.held} characters; {ablation.excluded} cells that correlate with it are no "
        f"controls; distances in standard deviations; dose response {dose}{outside}",
    ]


def _stored(stored: Iterable[Stored]) -> str:
    parts = []
    for one in stored:
        flipped = "" if one.flipped is None else f" (flipped {_percent(one.flipped)})"
        parts.append(f"{_percent(one.share)}{flipped} after {one.characters}")
    return ", ".join(parts) + " characters"


def _percent(share: float) -> str:
    return f"{round(100 * share)} %".replace("-", "−")


def tables(ablation: Ablation, terminal: Terminal) -> tuple[str, str, str]:
    """Return the effects, the dose response, and other ways to measure, as styled tables."""
    headers, rows = effect_table(ablation)
    others = ["", *map(event_name, ablation.directions)]
    return (
        format_table(headers, rows, terminal, right=headers[1:]),
        format_table(DOSE_HEADERS, dose_rows(ablation), terminal, right=DOSE_HEADERS[1:]),
        format_table(others, detail_rows(ablation), terminal, right=others[1:]),
    )
