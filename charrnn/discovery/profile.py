"""One cell over a text: where it is high and low, which cells correlate with it, and its effect on the prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from charrnn.discovery.evidence import Evidence
from charrnn.inspection.gates import GateSaturation, memory_length, saturation, warm_up
from charrnn.inspection.trace import Cell, all_cells, trace, trace_signal
from charrnn.model.network import CharRNN
from charrnn.progress import FractionProgress, no_progress
from charrnn.properties.catalog import Property, Text
from charrnn.settings import SEARCH_SEED
from charrnn.text.encoded_text import EncodedText

CORRELATED_SHOWN = 5
EFFECTS_SHOWN = 6
CONTRADICTIONS_SHOWN = 3
MIN_DISTANCE = 80
"""Characters between two passages."""
STATE_SHARE = 0.05
"""Share of the characters at which a cell counts as high, or as low."""
CLASS_SHARE = 1 / 7
"""Share of the passage shown first that each class makes up at least."""
LINE_SHARE = 0.8
"""Share of the changes that a passage which starts a line has at least."""


@dataclass(frozen=True)
class CellPassage:
    """A character at which a cell has a value worth looking at.

    kind: "highest", "95 %", "50 %", "5 %", "lowest" or "random". value: as displayed.
    """

    kind: str
    position: int
    value: float


@dataclass(frozen=True)
class Effect:
    """What a cell of the last layer does to the logits in one of its states, compared with its mean over the text.

    Only characters that occur in the text count: the weights of others are hardly trained.

    state: "high" or "low", the 5 % of the characters where the displayed signal is highest or lowest. value: its mean
    there. raised, lowered: ids and the change of their logits, output weight × (mean h there − mean h), largest first.
    """

    state: str
    value: float
    raised: list[tuple[int, float]]
    lowered: list[tuple[int, float]]


@dataclass(frozen=True, eq=False)
class CellProfile:
    """What a cell does over the N characters of a text.

    values: of the signal as displayed, (N,). signals: name → values (N,) as computed: this signal, the parts of the
    state and the gates. skipped: characters at the start that the rest leaves out. holds: where the property holds that
    a search claims of the cell, (N,); a graded one above its median; None without a claim. property_name, is_graded: of
    that property. passages: characters to look at. correlated: cells whose signal has the largest |correlation|
    (Pearson) with this one's. effects: on the prediction; empty below the last layer. memory: the time constant at the
    median of the memory gate, in characters; None without such a gate. gates: their saturation.
    """

    cell: Cell
    signal: str
    values: np.ndarray
    signals: dict[str, np.ndarray]
    skipped: int
    holds: np.ndarray | None
    property_name: str | None
    is_graded: bool
    passages: list[CellPassage]
    correlated: list[tuple[Cell, float]]
    effects: list[Effect]
    memory: float | None
    gates: list[GateSaturation]

    def classes(self) -> list[tuple[str, np.ndarray]]:
        """Return the values where the property holds and where it does not, each with a name.

        Of a graded one: above its median and below. Without a claim: all values.
        """
        kept = self.values[self.skipped :]
        if self.holds is None or self.property_name is None:
            return [("all characters", kept)]
        inside = self.holds[self.skipped :]
        name = self.property_name
        on, off = (f"high {name}", f"low {name}") if self.is_graded else (name, "elsewhere")
        return [(on, kept[inside]), (off, kept[~inside])]

    def busiest(self, length: int, characters: str) -> int:
        """Return where the passage of this length starts in which the value changes most.

        With a claim, each class makes up a seventh of it or more, if the text has such a passage. It starts a word; a
        line where that loses at most a fifth of the changes. characters: of the text.
        """
        first, last = self.skipped, len(self.values) - length
        if last <= first:
            return 0
        changes = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(self.values.astype(np.float64))))])
        change = changes[first + length - 1 : last + length] - changes[first : last + 1]
        allowed = np.ones(len(change), bool)
        if self.holds is not None:
            held = np.concatenate([[0], np.cumsum(self.holds)])
            share = (held[first + length : last + length + 1] - held[first : last + 1]) / length
            mixed = np.minimum(share, 1 - share) >= CLASS_SHARE
            allowed = mixed if mixed.any() else allowed
        best: list[int] = []
        for separators in ("\n", "\n ", ""):
            places = [
                place
                for place in np.flatnonzero(allowed).tolist()
                if not separators or characters[first + place - 1] in separators
            ]
            if places:
                best.append(places[int(np.argmax(change[places]))])
        line, *others = best
        return first + (line if change[line] >= LINE_SHARE * max(change[best]) else others[0])

    def to_json(self, symbols: Sequence[str]) -> dict[str, Any]:
        """Return what is known beside the values. symbols: a printable form of each id."""

        def named(side: list[tuple[int, float]]) -> list[list[Any]]:
            return [[symbols[one], logit] for one, logit in side]

        return {
            "property": self.property_name,
            "passages": [vars(one) for one in self.passages],
            "correlated": [[str(cell), value] for cell, value in self.correlated],
            "effects": [
                vars(one) | {"raised": named(one.raised), "lowered": named(one.lowered)} for one in self.effects
            ],
            "memory": self.memory,
            "gates": {one.gate: {"shut": float(one.left[0]), "open": float(one.right[0])} for one in self.gates},
        }


@dataclass(frozen=True)
class Contradiction:
    """A position at which a cell contradicts its property. holds: whether the property holds there."""

    position: int
    holds: bool


def cell_profile(
    network: CharRNN,
    text: EncodedText,
    cell: Cell,
    signal: str = "auto",
    *,
    passages: int = 2,
    claimed: tuple[str, np.ndarray] | None = None,
) -> CellProfile:
    """Profile one cell. claimed: name and values (N,) of the property it tracks. Others as for `cell_profiles`."""
    claims = {} if claimed is None else {cell: claimed}
    [profile] = cell_profiles(network, text, [cell], signal, passages=passages, claims=claims)
    return profile


def cell_profiles(
    network: CharRNN,
    text: EncodedText,
    cells: Sequence[Cell],
    signal: str = "auto",
    *,
    passages: int = 2,
    claims: Mapping[Cell, tuple[str, np.ndarray]] | None = None,
    progress: FractionProgress = no_progress,
) -> list[CellProfile]:
    """Profile cells over a text, which is read twice whatever their number.

    passages: of each kind. claims: cell → name and values (N,) of the property it tracks. progress: called with the
    share that is done.
    """
    recurrence, skipped = network.recurrence, warm_up(len(text))
    signal = recurrence.find_signal(signal)
    recorded = _signals(network, text, cells, signal, lambda share: progress(share / 2))
    displayed = recurrence.displayed(signal, recorded[signal])
    correlated = _correlated(network, text, signal, cells, displayed, skipped, lambda share: progress((1 + share) / 2))
    occurring = np.unique(text.ids).tolist()
    profiles = []
    for column, cell in enumerate(cells):
        signals = {name: values[:, column] for name, values in recorded.items()}
        values = displayed[:, column]
        name, truth = (claims or {}).get(cell, (None, None))
        gate = recurrence.memory_gate
        profiles.append(
            CellProfile(
                cell=cell,
                signal=signal,
                values=values,
                signals=signals,
                skipped=skipped,
                holds=truth if truth is None or truth.dtype == bool else truth > np.median(truth),
                property_name=name,
                is_graded=truth is not None and truth.dtype != bool,
                passages=_passages(values, skipped, passages),
                correlated=correlated[column],
                effects=_effects(network, cell, values[skipped:], signals["h"][skipped:], occurring),
                memory=None if gate is None else memory_length(signals[gate][skipped:]),
                gates=[saturation(one, signals[one][skipped:, None]) for one in recurrence.sigmoid_gates],
            )
        )
    return profiles


def _signals(
    network: CharRNN, text: EncodedText, cells: Sequence[Cell], signal: str, show: FractionProgress
) -> dict[str, np.ndarray]:
    """Return this signal, every part of the state and every gate of cells, (N, K) each."""
    recurrence = network.recurrence
    names = dict.fromkeys((signal, *recurrence.state_signals, *recurrence.gates))
    pieces: dict[str, list[np.ndarray]] = {name: [np.zeros((0, len(cells)), np.float32)] for name in names}
    for chunk in trace(network, text, signals=list(names), cells=cells):
        for name in names:
            pieces[name].append(chunk.signals[name])
        show(chunk.start / max(len(text), 1))
    return {name: np.concatenate(parts) for name, parts in pieces.items()}


def _passages(values: np.ndarray, skipped: int, number: int) -> list[CellPassage]:
    """Return `number` passages of each kind."""
    kept = values[skipped:]
    if not len(kept):
        return []
    random = np.random.default_rng(SEARCH_SEED).permutation(len(kept))
    orders = [("highest", np.argsort(-kept, kind="stable"))]
    for percent in (95, 50, 5):
        distance = np.abs(kept - np.quantile(kept, percent / 100))
        orders.append((f"{percent} %", random[np.argsort(distance[random].round(2), kind="stable")]))
    orders += [("lowest", np.argsort(kept, kind="stable")), ("random", random)]
    found: list[CellPassage] = []
    for kind, order in orders:
        others = [one.position - skipped for one in found]
        for place in _apart(order.tolist(), number, others):
            found.append(CellPassage(kind, skipped + place, float(kept[place])))
    return found


def _apart(order: Sequence[int], number: int, others: Sequence[int] = ()) -> list[int]:
    """Return the first positions of an order, at most `number`, that are far from each other and from others."""
    chosen: list[int] = []
    for position in order:
        if len(chosen) == number:
            break
        if all(abs(position - other) >= MIN_DISTANCE for other in (*others, *chosen)):
            chosen.append(position)
    return chosen


def _correlated(
    network: CharRNN,
    text: EncodedText,
    signal: str,
    chosen: Sequence[Cell],
    values: np.ndarray,
    skipped: int,
    show: FractionProgress,
) -> list[list[tuple[Cell, float]]]:
    """Return for each chosen cell the others with the largest |correlation| of their displayed signals, and it.

    values: of the chosen cells, (N, K).
    """
    kept = values[skipped:].astype(np.float64)
    x = kept - kept.mean(axis=0) if len(kept) else kept
    cells = all_cells(network)
    total, squares = np.zeros((2, len(cells)))
    products = np.zeros((len(chosen), len(cells)))
    for chunk in trace(network, text, signals=[signal]):
        first = max(0, skipped - chunk.start)
        others = network.recurrence.displayed(signal, chunk.signals[signal])[first:].astype(np.float64)
        start = chunk.start + first - skipped
        total += others.sum(axis=0)
        squares += (others**2).sum(axis=0)
        products += x[start : start + len(others)].T @ others
        show(chunk.start / max(len(text), 1))
    spread = np.maximum(squares - total**2 / max(len(x), 1), 0)
    deviations = np.sqrt((x**2).sum(axis=0)[:, None] * spread)
    correlations = np.divide(products, deviations, out=np.zeros_like(products), where=deviations > 1e-9)
    found = []
    for cell, row in zip(chosen, correlations, strict=True):
        order = np.argsort(-np.abs(row), kind="stable").tolist()
        found.append([(cells[one], float(row[one])) for one in order if cells[one] != cell][:CORRELATED_SHOWN])
    return found


def _effects(
    network: CharRNN, cell: Cell, values: np.ndarray, hidden: np.ndarray, occurring: Sequence[int]
) -> list[Effect]:
    """Return what h of a cell does to the logits of these ids where the cell is high and where it is low."""
    if cell.layer != network.settings.layers or not len(values):
        return []
    weights = network.output.weight[:, cell.index].detach().cpu().double()
    order = np.argsort(values, kind="stable")
    number = max(1, round(STATE_SHARE * len(values)))
    effects = []
    for state, places in (("high", order[-number:]), ("low", order[:number])):
        logits = weights * (float(hidden[places].mean(dtype=np.float64)) - float(hidden.mean(dtype=np.float64)))
        ranked = sorted(occurring, key=lambda one: -float(logits[one]))
        raised, lowered = ([(one, float(logits[one])) for one in ids[:EFFECTS_SHOWN]] for ids in (ranked, ranked[::-1]))
        effects.append(Effect(state, float(values[places].mean()), raised, lowered))
    return effects


def contradictions(
    network: CharRNN, text: EncodedText, characters: Text, evidence: Evidence, one: Property
) -> list[Contradiction]:
    """Return where a cell contradicts its binary property most, the strongest first, at least 80 characters apart.

    characters: the text as characters, one for each id.
    """
    layer, index = map(int, evidence.cell.split(":"))
    values = trace_signal(network, text, evidence.signal, [Cell(layer, index)])[:, 0]
    truth = one.of(characters)
    disagreement = np.where(truth, -1, 1) * evidence.sign * (values - (evidence.threshold or 0.0))
    disagreement[: warm_up(len(values))] = -np.inf
    order = np.argsort(-disagreement, kind="stable")
    chosen = _apart(order[disagreement[order] > 0].tolist(), CONTRADICTIONS_SHOWN)
    return [Contradiction(position, bool(truth[position])) for position in chosen]
