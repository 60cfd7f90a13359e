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
from charrnn.sampling.grammar import UNREACHABLE, Automaton
from charrnn.sampling.registry import EXCLUDED, value_at
from charrnn.sampling.stops import STOPPED
from charrnn.units import amount

WEIGHED_AT_ONCE = 64  # characters


class Matching:
    """Excludes characters from the logits of streams, and ends their texts.

    matched: whether the text of each stream matches so far and has not ended, (N,) bool. settings: a `SampleSettings`.
    With a suffix, texts do not end where they leave the expression: those that match are candidates to end there.
    Raises UsageError where no text matches within the length.
    """

    def __init__(self, automaton: Automaton, settings: Any, streams: int):
        needed = int(automaton.distance[0])
        if needed > settings.length:
            needs = amount(needed, "character", exact=True)
            raise UsageError(f"--matching needs {needs}, but --length is {settings.length:,}", "raise --length")
        self._automaton, self._settings, self._generated = automaton, settings, 0
        self._is_accepting = automaton.distance == 0
        # The characters that a text needs after each symbol until it matches; 0 where nothing is excluded.
        self._needed = automaton.distance[automaton.following]
        self._fewest = self._needed.min(axis=1)
        self._needed[automaton.failed] = 0
        if settings.suffix is None:
            self._needed[self._is_accepting] = 0
        self._log_weights = np.zeros(streams)
        self._pending: list[tuple[Tensor, Tensor, float]] = []
        self.matched, self._states = np.zeros(streams, bool), np.zeros(streams, np.int64)
        self._end_complete(self._states)

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
        return 1.0 if settings.greedy else value_at(settings.temperature, self._generated, settings.length)

    def apply(self, logits: Tensor) -> Tensor:
        """Return logits (N, V) without the excluded characters."""
        left = self._settings.length - self._generated - 1
        excluded = torch.from_numpy(self._needed[self._states] > left).to(logits.device)
        self._pending.append((logits, excluded, self.temperature))
        if len(self._pending) == WEIGHED_AT_ONCE:
            self._weigh()
        return logits.masked_fill(excluded, EXCLUDED)

    def update(self, drawn: np.ndarray) -> None:
        """Take in the drawn ids (N,). Those that do not belong to a text become `STOPPED`.

        Raises CharrnnError where the filters left no character that continues a text.
        """
        self._generated += 1
        automaton = self._automaton
        states = automaton.following[self._states, drawn]
        leaves = automaton.distance[states] > self._settings.length - self._generated
        if leaves.any():
            before = automaton.distance[self._states[leaves]]
            if ((before > 0) & (before < UNREACHABLE)).any():
                raise CharrnnError(
                    "the filters exclude every character with which the text can still match",
                    "use fewer filters with --matching",
                )
            drawn[leaves] = STOPPED
        self._end_complete(states)

    def select(self, rows: np.ndarray, log_weights: np.ndarray) -> None:
        """Continue with these streams (N,) in place of the present ones, and with these log-weights."""
        self._weigh()
        self._states, self.matched, self._log_weights = self._states[rows], self.matched[rows], log_weights

    def _end_complete(self, states: np.ndarray) -> None:
        """Set the states (N,), and end each text that no further character continues."""
        self.matched = self._is_accepting[states]
        is_complete = self._fewest[states] > self._settings.length - self._generated - 1
        self._states = np.where(is_complete, self._automaton.failed, states)
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
