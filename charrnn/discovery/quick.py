"""A search of a few seconds for one interpretable cell. Its result is a hint, not a claim."""

from __future__ import annotations

import time
from collections.abc import Callable

from charrnn.discovery.inputs import characters_of, language_of
from charrnn.discovery.search import discover
from charrnn.discovery.study import Effort
from charrnn.errors import CharrnnError
from charrnn.model.run import Run
from charrnn.properties.catalog import searchable

EFFORT = Effort(
    characters=20_000, permutations=1_000, pseudo_labels=20, resamples=100, untrained=1, gradient_positions=8
)


class _TimeIsUpError(Exception):
    """The search took too long."""


def quick_cell(run: Run, *, seconds: float, clock: Callable[[], float] = time.monotonic) -> tuple[str, str] | None:
    """Return the cell that tracks a property of the held-out text best, and the property.

    The run's findings are not changed. None where no cell does, the text is too short, or the search takes longer than
    `seconds`.
    """
    deadline = clock() + seconds

    def check_time(stage: str, fraction: float) -> None:
        if clock() > deadline:
            raise _TimeIsUpError

    try:
        network, _ = run.load_network("best")
        text = run.held_out_text()[: EFFORT.characters]
        characters = characters_of(run.vocabulary, text.ids, language_of(run, None))
        symbols = run.vocabulary.symbols
        found = discover(
            network, text, characters, searchable(), symbols=symbols, effort=EFFORT, progress=check_time
        ).claims("tracks")
    except (CharrnnError, _TimeIsUpError):
        return None
    return (found[0].cell, found[0].property_name) if found else None
