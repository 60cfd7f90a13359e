"""Where the program begins, as `charrnn` and as `python -m charrnn`.

Loading it takes some tenths of a second. A Ctrl-C meanwhile, when there is nothing to tidy up yet, ends it without a
word; later ones are answered by the commands.
"""

from __future__ import annotations

import os

INTERRUPTED = 130  # as `charrnn.errors.ExitCode` has it, which is not loaded yet


def main() -> None:
    """Loads the program and runs it."""
    try:
        import signal  # here, where a Ctrl-C can be caught

        unset = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if unset:  # a handler, because what is raised while a module is loaded does not always arrive here
            signal.signal(signal.SIGINT, _leave)
        from charrnn.cli.app import main as program

        if unset:
            signal.signal(signal.SIGINT, signal.default_int_handler)
    except KeyboardInterrupt:
        _leave()
    program()


def _leave(*_: object) -> None:
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
