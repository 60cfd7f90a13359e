"""The log-weights of texts that match an expression."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from charrnn.display.terminal import is_terminal, write

if TYPE_CHECKING:
    import numpy as np


class LogWeights:
    """Keeps the log-weight of each text when all have been generated; none of texts that need not match."""

    def __init__(self) -> None:
        self._values: list[float] = []

    def __call__(self, values: np.ndarray) -> None:
        """Take in the log-weights (N,) of N texts."""
        self._values = values.tolist()

    def of(self, stream: int) -> float | None:
        """Return the log-weight of a text, in nats."""
        return self._values[stream] if self._values else None

    def print(self, stream: int) -> None:
        """Print the log-weight of a text on standard error, if that is a terminal."""
        value = self.of(stream)
        if value is not None and is_terminal(sys.stderr):
            write(sys.stderr, f"log-weight {value:.2f} nats\n", styled=True)
            sys.stderr.flush()
