"""Watch gradient norms for the two failures of recurrent networks: explosion and vanishing.

Pascanu, Mikolov & Bengio 2013, arXiv 1211.5063. Single spikes are usual, and clipping handles them. So the median of
the last measurements counts.
"""

from __future__ import annotations

import statistics
from collections import deque

WINDOW = 20  # measurements, one at each report
EXPLODING = 10.0  # norm of the gradient of the mean loss of a character; usual are 0.1 to 1
VANISHING = 1e-3  # share of the recurrent layers in the norm; usual are 0.1 to 0.9


class GradientWatch:
    """Reports once that gradients explode, and once that those of the recurrent layers vanish."""

    def __init__(self) -> None:
        self._norms: deque[float] = deque(maxlen=WINDOW)
        self._shares: deque[float] = deque(maxlen=WINDOW)
        self._reported: set[str] = set()

    def read(self, norm: float, share: float) -> tuple[str, float] | None:
        """Add the norm before clipping at one step, and the share of the recurrent layers in it.

        Return "exploding" and the median norm, "vanishing" and the median share, or None.
        """
        self._norms.append(norm)
        self._shares.append(share)
        if len(self._norms) < WINDOW:
            return None
        norm, share = statistics.median(self._norms), statistics.median(self._shares)
        for problem, value, holds in (
            ("exploding", norm, not norm <= EXPLODING),  # also for NaN
            ("vanishing", share, share < VANISHING),
        ):
            if holds and problem not in self._reported:
                self._reported.add(problem)
                return problem, value
        return None
