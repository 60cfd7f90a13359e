"""The result of an ablation: what holding a cell costs at the events of a property, and what that shows."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from charrnn.causal import report
from charrnn.discovery.checked import CellName, Count, Share, from_json
from charrnn.extras import import_extra
from charrnn.properties.catalog import Kind

if TYPE_CHECKING:
    import pandas

CONTROL_QUANTILE = 0.99
MAX_CROSS = 0.25
"""The largest share of its effect that a hold may have at the other kind of event in a double dissociation."""
DOSE_TOLERANCE = 0.1
"""By how much of its range a dose response may turn back and still count as monotone."""


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
        """Whether the effect is above 0, beyond that at matched characters, and above 99 % of the control cells."""
        bounds = (
            (self.effect.low, self.beyond_matched.low)
            if self.sign > 0
            else (-self.effect.high, -self.beyond_matched.high)
        )
        return min(bounds) > 0 and self.controls_below >= CONTROL_QUANTILE

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
        return f"<Ablation: {report.claim(self)}>"

    def __str__(self) -> str:
        return report.plain(self)

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
        return {**dataclasses.asdict(self), "stars": self.stars, "claim": report.claim(self)}

    @classmethod
    def from_json(cls, data: Any) -> Ablation:
        """Read what `to_json` returned. Raises ValueError for anything else."""
        if not isinstance(data, dict):
            raise ValueError("not an ablation")
        ablation: Ablation = from_json(
            cls, {name: value for name, value in data.items() if name not in ("stars", "claim")}
        )
        return ablation
