"""The entry point of `charrnn` and `python -m charrnn`.

A Ctrl-C while the program loads, which takes some tenths of a second, ends it silently. Later ones are handled by the
commands.
"""

from __future__ import annotations

import gc
import os
from collections.abc import MutableMapping

SPIN_COUNT = "1000"
INTERRUPTED = 130  # charrnn.errors.ExitCode.INTERRUPTED, which is not loaded yet


def main() -> None:
    """Load the program and run it."""
    try:
        import signal  # inside the try block, to catch a Ctrl-C

        is_default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if is_default:  # an exception raised during an import may get lost
            signal.signal(signal.SIGINT, _exit)
        limit_spinning(os.environ)
        from charrnn.cli.app import main as program

        if is_default:
            signal.signal(signal.SIGINT, signal.default_int_handler)
    except KeyboardInterrupt:
        _exit()
    try:
        program()
    finally:
        gc.freeze()  # else the interpreter ends with a search for cycles in all of torch, which takes half a second


def limit_spinning(environment: MutableMapping[str, str]) -> None:
    """Let waiting OpenMP threads sleep soon, unless the user has set how they wait.

    Where another program wants the cores, threads that spin at every barrier make training up to 1,000 times slower. On
    quiet cores the limit costs nothing measurable. GNU's OpenMP reads the variable when torch is loaded.
    """
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & environment.keys():
        environment["GOMP_SPINCOUNT"] = SPIN_COUNT


def _exit(*_: object) -> None:
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
