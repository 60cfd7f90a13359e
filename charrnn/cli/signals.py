"""Signals during training: the first Ctrl-C stops it after the current step, SIGUSR1 saves a checkpoint."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from charrnn.errors import ExitCode

if TYPE_CHECKING:
    from charrnn.training.events import Requests

EXIT_CODES = {
    signal.SIGINT: ExitCode.INTERRUPTED,
    signal.SIGTERM: ExitCode.TERMINATED,
    signal.SIGHUP: ExitCode.HUNG_UP,
}


class SignalHandler:
    """Turns signals into requests to the training loop. on_interrupt: called for the first Ctrl-C.

    exit_code: of the signal that stopped the training. A second Ctrl-C raises KeyboardInterrupt.
    """

    def __init__(self, requests: Requests, on_interrupt: Callable[[], None] = lambda: None):
        self.exit_code = ExitCode.SUCCESS
        self._requests, self._on_interrupt = requests, on_interrupt

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Handle signals within this context. Ignored signals, such as SIGHUP under `nohup`, stay ignored."""
        handlers: dict[signal.Signals, Callable[[int, object], None]]
        handlers = {signal.SIGUSR1: self._save, **dict.fromkeys(EXIT_CODES, self._stop)}
        before = {
            number: signal.signal(number, handler)
            for number, handler in handlers.items()
            if signal.getsignal(number) != signal.SIG_IGN
        }
        try:
            yield
        finally:
            for number, previous in before.items():
                signal.signal(number, previous)

    def _stop(self, number: int, _: object) -> None:
        if self._requests.stop and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._requests.stop = True
        self.exit_code = EXIT_CODES[signal.Signals(number)]
        if number == signal.SIGINT:
            self._on_interrupt()

    def _save(self, *_: object) -> None:
        self._requests.checkpoint = True
