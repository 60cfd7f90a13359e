"""How much of the text a user's own property matches, with examples, which show a mistake in an expression."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from charrnn.discovery.checked import Count, Share
from charrnn.discovery.permutations import episodes, runs
from charrnn.discovery.study import Half, Study

EXAMPLES = 2
LONGEST_EXAMPLE = 40
CONTEXT = 15

Example = tuple[str, str, str]
"""A piece of the text in printable characters: before, where the property holds, after."""


@dataclass(frozen=True)
class MatchSummary:
    """How much of the text a user's property holds in.

    share: of the characters; of a graded property, of those with another value than the commonest. episodes: in both
    halves. examples: of a graded property, where it is highest.
    """

    property_name: str
    share: Share
    episodes: Count
    examples: tuple[Example, ...]


def summarize_matches(study: Study, k: int, symbols: Sequence[str]) -> MatchSummary:
    """Summarize a property by its index. symbols: printable form of each id."""
    halves = (study.select, study.confirm)
    values = np.concatenate([half.values[k] for half in halves])
    if values.dtype == bool:
        holds = study.select.values[k]
        share = float(values.mean())
    else:
        _, counts = np.unique(values, return_counts=True)
        holds = study.select.values[k] == study.select.values[k].max()
        share = 1 - float(counts.max()) / len(values)
    return MatchSummary(
        study.properties[k].title,
        share,
        sum(len(episodes(half.values[k])) for half in halves),
        tuple(_example(study.select, holds, start, symbols) for start in _starts(holds)),
    )


def _starts(holds: np.ndarray) -> list[int]:
    """Return the first position of two episodes, a third and two thirds into the text."""
    starts = runs(holds)
    starts = starts[holds[starts]]
    return sorted({int(starts[len(starts) * turn // (EXAMPLES + 1)]) for turn in range(1, EXAMPLES + 1)})


def _example(half: Half, holds: np.ndarray, start: int, symbols: Sequence[str]) -> Example:
    end = start + int(np.argmin(np.append(holds[start:], False)))
    cut = min(end, start + LONGEST_EXAMPLE)

    def shown(first: int, last: int) -> str:
        return "".join(symbols[one] for one in half.ids[max(first, 0) : last])

    after = "…" if cut < end else shown(end, end + CONTEXT)
    return shown(start - CONTEXT, start), shown(start, cut), after
