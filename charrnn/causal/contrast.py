"""Two classes of positions that a property defines, and the events at which it changes.

An event is a character t with another value at t + 1: the next character ends an episode (closing quote, `)`, newline)
or begins one. What a cell is needed for is measured there.

Graded properties are cut at their quartiles. Their events are resets, where the value turns back: a newline late in the
line, and one early in the line.

Shapes: B blocks, T characters of a block with its gap, E events.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from charrnn.causal.reading import Places
from charrnn.discovery.study import Split
from charrnn.errors import CharrnnError
from charrnn.properties.catalog import Text
from charrnn.text.encoded_text import EncodedText

EVENTS = 128
"""Events of each kind that are used, at most, evenly spaced."""
MIN_EVENTS = 20
DOMINANT = 0.5
"""If one next character makes up this share of the events, the others are left out."""


@dataclass(frozen=True, eq=False)
class EventKind:
    """Events of one kind. natural: 1 if they happen inside, 0 if outside. symbol: the next character, if it is one.

    sign: 1 if they cost bits where the cell is held at the median of the other class, −1 if they become cheaper,
    because the other class has more of them.
    """

    name: str
    natural: int
    symbol: int | None
    places: Places
    sign: int


@dataclass(frozen=True, eq=False)
class Contrast:
    """The classes of a property over blocks. inside, outside: (B, T). event: which characters are events, (B, T)."""

    names: tuple[str, str]
    inside: np.ndarray
    outside: np.ndarray
    event: np.ndarray
    kinds: tuple[EventKind, ...]

    def of_class(self, natural: int) -> np.ndarray:
        return self.inside if natural else self.outside


def contrast_of(values: np.ndarray, text: EncodedText, split: Split, title: str) -> Contrast:
    """Derive classes and events of a property from its values (N,).

    Raises CharrnnError where it has fewer than 20 events of either kind in CONFIRM.
    """
    streams, blocks = text.streams(split.streams), split.streams(values)
    usable = confirmed(blocks.shape, split)
    usable[:, :-1] &= ~streams.begins[:, 1:]
    low, high = (blocks, blocks) if blocks.dtype == bool else np.quantile(values, [0.25, 0.75])
    binary = blocks.dtype == bool or low == high
    if binary:
        inside = blocks if blocks.dtype == bool else blocks > low
        outside, names, labels = ~inside, ("outside", "inside"), ("opening", "closing")
        event = np.zeros(blocks.shape, bool)
        event[:, :-1] = inside[:, 1:] != inside[:, :-1]
    else:
        inside, outside, names, labels = blocks >= high, blocks <= low, ("low", "high"), ("early", "late")
        steps = np.diff(blocks, axis=1)
        event = np.zeros(blocks.shape, bool)
        event[:, :-1] = steps * np.sign(np.sign(steps).sum()) < 0
    event &= usable
    rates = [(event & one).sum() / max((usable & one).sum(), 1) for one in (outside, inside)]
    kinds, counts = [], []
    for natural, name in ((1, labels[1]), (0, labels[0])):
        chosen = event & (inside if natural else outside)
        places, symbol = _dominant(Places.where(chosen), streams.ids)
        counts.append(len(places.rows))
        if len(places.rows) >= MIN_EVENTS:
            sign = 1 if binary or rates[natural] >= rates[1 - natural] else -1
            kinds.append(EventKind(name, natural, symbol, places.spaced(EVENTS), sign))
    if not kinds:
        raise CharrnnError(
            f"{title} ends {counts[0]} times and begins {counts[1]} times in half of this text; "
            f"an effect needs {MIN_EVENTS} events",
            "give a longer text, or another property",
        )
    return Contrast(names, inside, outside, event, tuple(kinds))


def confirmed(shape: tuple[int, ...], split: Split) -> np.ndarray:
    """Return which characters of the blocks (B, T) are in CONFIRM, without the last of each block."""
    usable = np.zeros(shape, bool)
    usable[1::2, split.gap : -1] = True
    return usable


def _dominant(places: Places, ids: np.ndarray) -> tuple[Places, int | None]:
    """Keep the events with the commonest next character, if it is common enough."""
    following = ids[places.rows, places.columns + 1]
    found, counts = np.unique(following, return_counts=True)
    if not len(found) or counts.max() < DOMINANT * len(following):
        return places, None
    chosen = following == found[counts.argmax()]
    return places.take(chosen), int(found[counts.argmax()])


def character_kinds(characters: Text) -> np.ndarray:
    """Return the kind of each character, (N,): 0 letter, 1 digit, 2 white space, 3 any other."""
    kinds = np.full(len(characters), 3)
    for kind, holds in enumerate((str.isalpha, str.isdigit, str.isspace)):
        kinds[characters.where(holds)] = kind
    return kinds


def matched(contrast: Contrast, kind: EventKind, kinds: np.ndarray, surprise: np.ndarray, split: Split) -> Places:
    """Return for each event another character of its class, whose next one is as surprising and of the same kind.

    kinds: of the characters, (B, T). surprise: bits of the next character, (B, T). Where the class has no other next
    character of this kind, one of any kind serves; where all of the class are events, characters of the other class do.
    """
    usable = confirmed(surprise.shape, split) & ~contrast.event & np.isfinite(surprise)
    if (usable & contrast.of_class(kind.natural)).any():
        usable &= contrast.of_class(kind.natural)
    following = np.full(kinds.shape, -1)
    following[:, :-1] = kinds[:, 1:]
    chosen_rows, chosen_columns = np.empty(len(kind.places.rows), int), np.empty(len(kind.places.rows), int)
    own_kind, own_surprise = kind.places.of(following), kind.places.of(surprise)
    for value in np.unique(own_kind):
        events = np.flatnonzero(own_kind == value)
        candidates = Places.where(usable & (following == value))
        if len(candidates.rows) < len(events):
            candidates = Places.where(usable)
        nearest = _nearest(own_surprise[events], candidates.of(surprise))
        chosen_rows[events], chosen_columns[events] = candidates.rows[nearest], candidates.columns[nearest]
    return Places(chosen_rows, chosen_columns)


def _nearest(wanted: np.ndarray, offered: np.ndarray) -> np.ndarray:
    """Return for each wanted number (E,) the index of the nearest offered one (M ≥ 1,), each used once if M ≥ E."""
    order = np.argsort(offered, kind="stable")
    ordered, free = offered[order], np.ones(len(offered), bool)
    found = np.empty(len(wanted), int)
    for place in np.argsort(-wanted, kind="stable"):  # the most surprising first: they have the fewest candidates
        if not free.any():
            free[:] = True
        distance = np.where(free, np.abs(ordered - wanted[place]), np.inf)
        best = int(distance.argmin())
        found[place], free[best] = order[best], False
    return found
