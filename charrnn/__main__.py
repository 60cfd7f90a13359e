"""The entry point of `charrnn` and `python -m charrnn`.

A Ctrl-C while the program loads, which takes some tenths of a second, ends it silently. Later ones are handled by the
commands.
"""

from __future__ import annotations

import os

INTERRUPTED = 130  # charrnn.errors.ExitCode.INTERRUPTED, which is not loaded yet


def main() -> None:
    """Load the program and run it."""
    try:
        import signal  # inside the try block, to catch a Ctrl-C

        is_default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if is_default:  # an exception raised during an import may get lost
            signal.signal(signal.SIGINT, _exit)
        from charrnn.cli.app import main as program

        if is_default:
            signal.signal(signal.SIGINT, signal.default_int_handler)
    except KeyboardInterrupt:
        _exit()
    program()


def _exit(*_: object) -> None:
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
