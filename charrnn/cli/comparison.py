"""What `charrnn evaluate --compare` shows: two runs on the same text, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from charrnn.cli.explanation import DIFFERENCE, print_passages
from charrnn.display.tables import table
from charrnn.display.terminal import Terminal
from charrnn.display.view import View
from charrnn.units import amount, count, signed

if TYPE_CHECKING:
    from charrnn.api import Model
    from charrnn.scoring.comparison import Comparison, Difference

SHOWN = ("kind of character", "position in the word")
"""The divisions that are printed; --json has all."""
UNKNOWN = 8
"""Unknown characters that are named."""
FEWEST = 0.0005
"""Share of the characters that a printed class has."""


def print_comparison(first: str, second: str, compared: Comparison, notes: list[str], terminal: Terminal) -> None:
    """Print the bits per character of two runs by class, with the difference, and where they differ most."""
    terminal.write("\n")
    headers = ("bits per character", "characters", first, second, "difference", "95 %")
    total = compared.total
    rows = [_row(total)]
    for name in SHOWN:
        shown = [one for one in compared.divisions[name] if one.characters > FEWEST * total.characters]
        rows += [["", *[""] * 5], *map(_row, shown)]
    table(headers, rows, terminal, right=headers[1:])
    terminal.write("\n")
    for name, unknown in zip((first, second), compared.unknown, strict=True):
        if unknown:
            notes = [*notes, _unknown(name, unknown)]
    if total.interval is None:
        notes = [*notes, "The text is too short for intervals."]
    for note in notes:
        terminal.paragraph(note)
    characters = list(compared.text.characters)
    values = (compared.second - compared.first).tolist()
    for what, passages in zip(("more", "less"), compared.passages(), strict=True):
        if not passages:
            continue
        view = View(characters, values, f"where {second} needs most bits {what} than {first}", DIFFERENCE)
        print_passages(view, passages, terminal)


def corpus_note(first: Model, second: Model) -> str | None:
    """Return a note where two runs were not trained on the same text."""
    one, other = first.run.settings.corpus, second.run.settings.corpus
    if one.sha256 != other.sha256:
        return f"{second.name} was trained on another corpus, {other.name}."
    if one.held_out != other.held_out:
        return f"{second.name} holds out another part of the corpus, so it may have been trained on this text."
    return None


def _row(one: Difference) -> list[str]:
    if one.first is None or one.second is None or one.difference is None:
        return [one.name, "0", "–", "–", "–", ""]
    ends = "" if one.interval is None else " ".join(signed(end, 3) for end in one.interval)
    return [one.name, count(one.characters), f"{one.first:.3f}", f"{one.second:.3f}", signed(one.difference, 3), ends]


def _unknown(name: str, unknown: dict[str, int]) -> str:
    named = ", ".join(f"{character!r} ({count(times)})" for character, times in list(unknown.items())[:UNKNOWN])
    more = f" and {amount(len(unknown) - UNKNOWN, 'more')}" if len(unknown) > UNKNOWN else ""
    total = sum(unknown.values())
    return f"{name} does not know {named}{more}; {amount(total, 'character')} of the text are not compared."
