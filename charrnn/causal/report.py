"""Ablations in words, as tables and sentences show them."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from charrnn.display.tables import format_table
from charrnn.display.terminal import Terminal

if TYPE_CHECKING:
    from charrnn.causal.effects import Ablation, Direction, Measured

EFFECT_HEADERS = ("held", "next", "bits [95 %]", "beyond matched", "controls")
DOSE_HEADERS = ("held at its", "5 %", "25 %", "50 %", "75 %", "95 %", "mean", "zero", "drawn", "direct")
NUMERIC = (*EFFECT_HEADERS[2:], *DOSE_HEADERS[1:])
"""Headers of the columns that are aligned to the right."""
SYMBOLS = {" ": "space", "\\n": "newline", "\\t": "tab"}


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
    """Return the cell's quantiles and the effects there, and those of other kinds of holds, for `DOSE_HEADERS`."""
    zero = "0" if ablation.low <= 0 <= ablation.high else "0 (!)"
    values = [*(value_of(dose.value) for dose in ablation.doses), value_of(ablation.mean), zero, "", ""]
    rows = [[ablation.signal, *values]]
    for place, one in enumerate(ablation.directions):
        held = [*(dose.effects[place] for dose in ablation.doses), one.mean, one.zero, one.drawn, one.direct]
        rows.append([event_name(one), *map(bits, held)])
    return rows


def _measured(one: Measured) -> str:
    return f"{bits(one.bits)} [{bits(one.low)}, {bits(one.high)}]"


def lines(ablation: Ablation) -> list[str]:
    """Return what the tables leave out: groups of cells, storage, and the caveats in one line."""
    found = []
    if ablation.groups:
        listed = " · ".join(
            f"{one.size}: {' '.join(map(bits, one.effects))} ({' '.join(map(bits, one.random))})"
            for one in ablation.groups
        )
        found.append(f"bits of the n best-ranked cells together (n random ones): {listed}")
    if ablation.stored:
        listed = ", ".join(f"{round(100 * one.share) + 0} % after {one.characters}" for one in ablation.stored)
        found.append(
            "stored in this cell, of the difference that the opening character makes to the predictions: "
            f"{listed} characters"
        )
    return [*found, caveats(ablation)]


def caveats(ablation: Ablation) -> str:
    """Return how the effects were measured."""
    events = " and ".join(f"{one.events} × {event_name(one)}" for one in ablation.directions)
    elsewhere = " and ".join(f"{one.elsewhere:.2f}" for one in ablation.directions)
    outside = "; (!): outside the cell's range" if not ablation.low <= 0 <= ablation.high else ""
    dose = "monotone" if ablation.is_monotone else "not monotone"
    return (
        f"{events}, each after {ablation.held} held characters; {ablation.controls} control cells of the layer, "
        f"{ablation.excluded} correlated ones left out; dose response {dose}; KL elsewhere {elsewhere} bits; drawn: "
        f"values from the same current character; direct: by the output at this step alone{outside}; one ablation is a "
        "lower bound"
    )


def plain(ablation: Ablation) -> str:
    """Return everything as text without colors."""
    terminal = Terminal(is_terminal=False, colors="none", width=80, unicode=True, stream=io.StringIO())
    tables = [
        format_table(headers, rows, terminal, right=NUMERIC)
        for headers, rows in ((EFFECT_HEADERS, effect_rows(ablation)), (DOSE_HEADERS, dose_rows(ablation)))
    ]
    return "\n".join([claim(ablation), "", *tables, *lines(ablation)])
