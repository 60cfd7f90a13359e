"""Generate only texts that match a regular expression.

A character is excluded if no continuation of the text matches within the length that is left. Where the text matches
already, nothing is excluded, and it ends before the first character that leaves the expression. So it ends there with
the probability that the model leaves the expression.

Shapes: N streams, V symbols.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from charrnn.errors import CharrnnError, UsageError
from charrnn.options import range_ends
from charrnn.sampling.grammar import UNREACHABLE, Automaton
from charrnn.sampling.registry import EXCLUDED, value_at
from charrnn.sampling.stops import STOPPED
from charrnn.units import amount

WEIGHED_AT_ONCE = 64  # characters


class Matching:
    """Excludes characters from the logits of streams, and ends their texts.

    settings: a `SampleSettings`. With a suffix, texts do not end where they leave the expression: those that match are
    candidates to end there. Raises UsageError where no text matches within the length.
    """

    def __init__(self, automaton: Automaton, settings: Any, streams: int):
        needed = int(automaton.distance[0])
        if needed > settings.length:
            needs = amount(needed, "character", exact=True)
            raise UsageError(f"`matching` needs {needs}, but `length` is {settings.length:,}", "raise `length`")
        self._automaton, self._settings, self._left = automaton, settings, settings.length
        first, last = range_ends(settings.temperature)
        self._temperature = 1.0 if settings.greedy else first if first == last else None
        self._is_accepting = automaton.distance == 0
        # The characters that a text needs after each symbol until it matches; 0 where nothing is excluded.
        self._needed = automaton.distance[automaton.following]
        self._fewest = self._needed.min(axis=1)
        self._needed[automaton.failed] = 0
        if settings.suffix is None:
            self._needed[self._is_accepting] = 0
        # As long as more characters are left than any text needs, exclusions and ends depend on the state alone.
        self._longest = int(automaton.distance[:-1].max())
        self._is_last = self._fewest == UNREACHABLE
        self._excluded: dict[int, Tensor | None] = {}
        self._log_weights = np.zeros(streams)
        self._pending: list[tuple[Tensor, Tensor, float]] = []
        self._states = np.zeros(streams, np.int64)
        self._end_complete()

    @property
    def matched(self) -> np.ndarray:
        """Whether the text of each stream matches so far and has not ended before the latest character, (N,) bool."""
        matched: np.ndarray = self._is_accepting[self._reached]
        return matched

    @property
    def log_weights(self) -> np.ndarray:
        """The log-weight of each stream, (N,): of its text under the model against the way it was generated, in nats.

        It is the sum of the log-probabilities of the characters that were not excluded, at the temperature. Other
        filters do not count.
        """
        self._weigh()
        return self._log_weights

    @property
    def temperature(self) -> float:
        """The temperature of the next character."""
        settings = self._settings
        if self._temperature is not None:
            return self._temperature
        return value_at(settings.temperature, settings.length - self._left, settings.length)

    def apply(self, logits: Tensor) -> Tensor:
        """Return logits (N, V) without the excluded characters."""
        excluded = self._exclusions(logits)
        if excluded is None:
            return logits
        self._pending.append((logits, excluded, self.temperature))
        if len(self._pending) == WEIGHED_AT_ONCE:
            self._weigh()
        return logits.masked_fill(excluded, EXCLUDED)

    def update(self, drawn: np.ndarray) -> None:
        """Take in the drawn ids (N,). Those that do not belong to a text become `STOPPED`.

        Raises CharrnnError where the filters left no character that continues a text.
        """
        self._left -= 1
        before, distance = self._states, self._automaton.distance
        self._states = self._reached = self._automaton.following[before, drawn]
        if self._left > self._longest and not self._is_last[self._states].any():
            return
        leaves = distance[self._states] > self._left
        if ((distance[before] > 0) & (distance[before] < UNREACHABLE))[leaves].any():
            raise CharrnnError(
                "the filters exclude every character with which the text can still match",
                "use fewer filters with `matching`",
            )
        drawn[leaves] = STOPPED
        self._end_complete()

    def select(self, rows: np.ndarray, log_weights: np.ndarray) -> None:
        """Continue with these streams (N,) in place of the present ones, and with these log-weights."""
        self._weigh()
        self._states, self._reached, self._log_weights = self._states[rows], self._reached[rows], log_weights

    def _exclusions(self, logits: Tensor) -> Tensor | None:
        """Return which characters are excluded, (N, V) bool; None for none."""
        left = self._left - 1
        if left < self._longest or len(self._states) > 1:
            needed = self._needed[self._states]
            excluded = needed > left if left < self._longest else needed == UNREACHABLE
            return torch.from_numpy(excluded).to(logits.device)
        state = int(self._states[0])
        if state not in self._excluded:
            row = self._needed[state : state + 1] == UNREACHABLE
            self._excluded[state] = torch.from_numpy(row).to(logits.device) if row.any() else None
        return self._excluded[state]

    def _end_complete(self) -> None:
        """End each text that no further character continues."""
        self._reached = self._states
        is_complete = self._fewest[self._states] > self._left - 1
        self._states = np.where(is_complete, self._automaton.failed, self._states)
        self.all_stopped = bool((self._states == self._automaton.failed).all())

    def _weigh(self) -> None:
        if not self._pending:
            return
        logits, excluded, temperatures = zip(*self._pending, strict=True)
        self._pending = []
        scaled = torch.stack(logits).double() / torch.tensor(temperatures, device=logits[0].device)[:, None, None]
        kept = scaled.masked_fill(torch.stack(excluded), EXCLUDED)
        gained = kept.logsumexp(dim=-1) - scaled.logsumexp(dim=-1)
        self._log_weights = self._log_weights + gained.sum(dim=0).cpu().numpy()
