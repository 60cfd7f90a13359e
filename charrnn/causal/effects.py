"""The result of an ablation: what holding a cell costs at the events of a property, and what that shows."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from charrnn.discovery.checked import CellName, Count, Share, from_json
from charrnn.display.tables import format_table
from charrnn.display.terminal import Terminal
from charrnn.extras import import_extra
from charrnn.properties.catalog import Kind

if TYPE_CHECKING:
    import pandas

MIN_BITS = 0.1
CONTROL_QUANTILE = 0.99
MAX_CROSS = 0.25
"""The largest share of its effect that a hold may have at the other kind of event in a double dissociation."""
DOSE_TOLERANCE = 0.1
"""By how much of its range a dose response may turn back and still count as monotone."""
EFFECT_HEADERS = ("held", "next", "bits [95 %]", "beyond matched", "controls")
DOSE_HEADERS = ("held at its", "5 %", "25 %", "50 %", "75 %", "95 %", "mean", "zero")
NUMERIC = (*EFFECT_HEADERS[2:], *DOSE_HEADERS[1:])
"""Headers of the columns that are aligned to the right."""
SYMBOLS = {" ": "space", "\\n": "newline", "\\t": "tab"}


@dataclass(frozen=True)
class Measured:
    """A mean over events in bits, with its 95 % interval by bootstrap over the events."""

    bits: float
    low: float
    high: float


@dataclass(frozen=True)
class Direction:
    """The cell held at the mean of the class that it is not in at these events.

    held: name of the class whose mean it is held at. value: that mean. event: kind of event. symbol: the next
    character at the events, if it is one. sign: −1 where the property predicts that the events become likelier. effect:
    by how many bits the true next character becomes less likely. other: the same at the other kind of events.
    beyond_matched: effect minus that at other characters of the same class, whose next one is of the same kind and as
    surprising. comparable: beyond_matched at the events that control cells were tested at. controls_below: share of
    the control cells with less. control_median, control_high: of the control cells, and their 99th percentile.
    elsewhere: KL divergence of the predictions at random characters. direct: effect through the output weights alone.
    mean, zero, drawn: effect of holding the cell at its mean, at zero, and at values that it has elsewhere at the
    same current character.
    """

    held: str
    value: float
    event: str
    symbol: str | None
    sign: Literal[1, -1]
    events: Count
    effect: Measured
    other: Measured | None
    beyond_matched: Measured
    comparable: float
    controls_below: Share
    control_median: float
    control_high: float
    elsewhere: float
    direct: float
    mean: float
    zero: float
    drawn: float

    @property
    def is_specific(self) -> bool:
        """Whether the effect exceeds .1 bits, that at matched characters, and that of 99 % of the control cells."""
        effect, beyond = ((one.low if self.sign > 0 else -one.high) for one in (self.effect, self.beyond_matched))
        return effect > MIN_BITS and beyond > 0 and self.controls_below >= CONTROL_QUANTILE

    @property
    def dissociates(self) -> bool:
        """Whether the effect is specific, and at most a quarter of it appears at the other kind of events."""
        return (
            self.is_specific
            and self.other is not None
            and (self.sign * self.other.bits <= MAX_CROSS * self.sign * self.effect.bits)
        )


@dataclass(frozen=True)
class Dose:
    """Effect at each kind of event, in the order of `Ablation.directions`, with the cell held at a quantile."""

    quantile: Share
    value: float
    effects: tuple[float, ...]


@dataclass(frozen=True)
class Group:
    """Effect, in the order of `Ablation.directions`, of holding the `size` best-ranked cells; and random groups."""

    size: Count
    effects: tuple[float, ...]
    random: tuple[float, ...]


@dataclass(frozen=True)
class Stored:
    """Share of the difference between minimal pairs that a swap of the cell's state brings back, after some characters.

    pairs: those in which the property still holds in one text and not in the other.
    """

    characters: Count
    share: float
    pairs: Count


@dataclass(frozen=True, repr=False)
class Ablation:
    """What a cell causes at the events of a property.

    names: of the classes, outside first. low, high: the cell's 1 % and 99 % quantiles. doses: at its 5, 25, 50, 75 and
    95 % quantiles. controls: how many cells it was compared with; excluded: cells left out because they correlate with
    it. stored: for properties with an opening character. characters: of the text read. held: for how many characters
    the cell is held before an event.
    """

    cell: CellName
    signal: str
    property_name: str
    kind: Kind
    names: tuple[str, str]
    mean: float
    mean_outside: float
    mean_inside: float
    low: float
    high: float
    directions: tuple[Direction, ...]
    doses: tuple[Dose, ...]
    groups: tuple[Group, ...]
    stored: tuple[Stored, ...]
    controls: Count
    excluded: Count
    characters: Count
    held: Count

    @property
    def stars(self) -> int:
        """2 for a double dissociation with a monotone dose response, 1 for one specific direction, else 0."""
        if len(self.directions) == 2 and all(one.dissociates for one in self.directions) and self.is_monotone:
            return 2
        return int(any(one.is_specific for one in self.directions))

    @property
    def is_monotone(self) -> bool:
        """Whether effects rise steadily as the cell is held farther from the class that the event happens in."""
        rises_inside = self.mean_inside > self.mean_outside
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
        return plain(self)

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
            rows.append({**row, "is_specific": one.is_specific, "dissociates": one.dissociates, "stars": self.stars})
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


def bits(value: float) -> str:
    """Format a difference in bits: `+4.27`, `−.01`."""
    return f"{value:+.2f}".replace("-", "−").replace("0.", ".", 1)


def value_of(value: float) -> str:
    """Format a value of a signal: `−.62`, `10.9`."""
    return f"{value:.2f}".replace("0.", ".", 1).replace("-", "−") if abs(value) < 9.995 else f"{value:.1f}"


def event_name(direction: Direction) -> str:
    """Name a kind of event with its next character: `closing "`, `late newline`."""
    symbol = direction.symbol
    return f"{direction.event} {'character' if symbol is None else SYMBOLS.get(symbol, symbol)}"


def article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def claim(ablation: Ablation) -> str:
    """Return what the ablation shows, in one sentence."""
    name, title = f"cell {ablation.cell}", ablation.property_name
    if not ablation.stars:
        return f"{name} is not shown to be necessary for {title}; other cells may carry it too"
    effects = "; ".join(
        f"held {one.held}, {article(one.event)} {event_name(one)} costs {bits(one.effect.bits)} bits"
        for one in ablation.directions
        if one.is_specific
    )
    verb = "holds" if ablation.stars == 2 else "takes part in"
    return f"{'★' * ablation.stars} {name} {verb} {title}: {effects}"


def effect_rows(ablation: Ablation) -> list[list[str]]:
    """Return each hold at both kinds of events, for `EFFECT_HEADERS`."""
    rows = []
    for one in ablation.directions:
        below = f"> {one.controls_below:.0%}" if one.controls_below < 1 else "> all"
        rows.append([one.held, event_name(one), _measured(one.effect), _measured(one.beyond_matched), below])
        rows += [
            ["", event_name(other), _measured(one.other), "", ""]
            for other in ablation.directions
            if other is not one and one.other is not None
        ]
    return rows


def dose_rows(ablation: Ablation) -> list[list[str]]:
    """Return the cell's quantiles, mean and zero, and what each costs, for `DOSE_HEADERS`."""
    zero = "0" if ablation.low <= 0 <= ablation.high else "0 (!)"
    rows = [[ablation.signal, *(value_of(dose.value) for dose in ablation.doses), value_of(ablation.mean), zero]]
    for place, one in enumerate(ablation.directions):
        rows.append(
            [event_name(one), *map(bits, [*(dose.effects[place] for dose in ablation.doses), one.mean, one.zero])]
        )
    return rows


def _measured(one: Measured) -> str:
    return f"{bits(one.bits)} [{bits(one.low)}, {bits(one.high)}]"


def lines(ablation: Ablation) -> list[str]:
    """Return what the tables leave out: sensitivity, groups of cells, storage, and the caveats in one line."""

    def both(values: Iterable[float]) -> str:
        return " / ".join(map(bits, values))

    found = [
        f"held at values from the same current character {both(one.drawn for one in ablation.directions)} · by the "
        f"output at this step alone {both(one.direct for one in ablation.directions)} · KL elsewhere "
        + " / ".join(f"{one.elsewhere:.2f}" for one in ablation.directions)
    ]
    if ablation.groups:
        listed = ", ".join(f"{one.size}: {both(one.effects)}" for one in ablation.groups)
        largest = max(effect for one in ablation.groups for effect in one.random)
        found.append(f"best-ranked cells together: {listed} (random cells: at most {bits(largest)})")
    if ablation.stored:
        listed = ", ".join(f"{round(100 * one.share)} % after {one.characters}" for one in ablation.stored)
        found.append(f"stored in this cell, of what the opening character changes: {listed} characters")
    unlike = [one.held for one in ablation.directions if one.other is not None and _acts_as_the_other(one, ablation)]
    if unlike:
        found.append(
            f"its mean {' and '.join(unlike)} acts like the other mean: its values are skewed, see the quantiles"
        )
    return [*found, caveats(ablation)]


def _acts_as_the_other(one: Direction, ablation: Ablation) -> bool:
    """Return whether a hold costs, at the other events, more than half of what the opposite hold costs there."""
    opposite = next(other for other in ablation.directions if other is not one)
    return one.other is not None and one.other.bits > max(MIN_BITS, opposite.effect.bits / 2)


def caveats(ablation: Ablation) -> str:
    """Return how the effects were measured."""
    events = " and ".join(f"{one.events} × {event_name(one)}" for one in ablation.directions)
    outside = "" if ablation.low <= 0 <= ablation.high else "; (!): outside the cell's range"
    dose = "monotone" if ablation.is_monotone else "not monotone"
    return (
        f"{events}, held for {ablation.held} characters; {ablation.controls} control cells, {ablation.excluded} "
        f"correlated left out; dose response {dose}{outside}; this is a lower bound"
    )


def plain(ablation: Ablation) -> str:
    """Return everything as text without colors."""
    terminal = Terminal(is_terminal=False, colors="none", width=80, unicode=True, stream=io.StringIO())
    tables = [
        format_table(headers, rows, terminal, right=NUMERIC)
        for headers, rows in ((EFFECT_HEADERS, effect_rows(ablation)), (DOSE_HEADERS, dose_rows(ablation)))
    ]
    return "\n".join([claim(ablation), "", *tables, *lines(ablation)])
