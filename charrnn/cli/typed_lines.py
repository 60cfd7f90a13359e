"""Lines that a person types, with editing and history, or that a pipe delivers.

Editing comes from `readline` of the standard library, as in Python's own shell: arrow keys, history, search with
Ctrl-R, and the key bindings of ~/.inputrc. It adds no package, and where it is missing the terminal edits lines itself.
"""

from __future__ import annotations

import contextlib
import io
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from types import FrameType, ModuleType
from typing import TYPE_CHECKING

from charrnn.cli.stderr import note
from charrnn.display.terminal import Terminal, is_terminal, safe_text

if TYPE_CHECKING:
    import numpy as np

    from charrnn.model.run import Run

BOLD, PLAIN = "\x1b[1m", "\x1b[0m"


class TypedLines:
    """The lines of standard input, until its end.

    prompt: shown on a terminal before each line. completions: of the tab key, for the first word of a line.
    is_typed: whether a person types them.
    """

    def __init__(self, prompt: str, completions: Sequence[str] = ()):
        self._prompt = safe_text(prompt, keep_newlines=False)
        self.is_typed = is_terminal(sys.stdin)
        if self.is_typed and is_terminal(sys.stdout):
            _prepare_readline(completions)
        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(errors="surrogateescape")

    def __iter__(self) -> Iterator[str]:
        while True:
            try:
                yield self._next()
            except EOFError:
                return
            except KeyboardInterrupt:
                if not self.is_typed:
                    raise
                note("Ctrl-D ends", newline_first=True)

    def _next(self) -> str:
        """Return the next line without its end. Raises EOFError at the end of the input."""
        if not self.is_typed:
            line = sys.stdin.buffer.readline()
            if not line:
                raise EOFError
            return line.decode("utf-8", "surrogateescape").removesuffix("\n").removesuffix("\r")
        if is_terminal(sys.stdout):
            sys.stderr.flush()
            try:
                return input(_styled(self._prompt))
            except EOFError:
                sys.stdout.write("\n")
                raise
        sys.stderr.write(self._prompt)  # standard output is a pipe or a file, which gets only the answers
        sys.stderr.flush()
        line_typed = sys.stdin.readline()
        if not line_typed:
            sys.stderr.write("\n")
            raise EOFError
        return line_typed.removesuffix("\n")


def known_ids(line: str, run: Run) -> np.ndarray:
    """Return the ids (T,) of a line without the characters that the model does not know, which a note names."""
    from charrnn.text.normalization import normalized
    from charrnn.text.vocabulary import Unknown

    if run.vocabulary.kind == "bytes":
        return run.encode(line.encode("utf-8", "surrogateescape"))
    unknown = Unknown()
    unknown.add_text(normalized(line, run.settings.corpus.normalize), run.vocabulary, 0)
    if unknown.first:
        note(f"left out, because the model does not know it: {unknown.describe()}")
    return run.encode(line, skip_unknown=True)


@contextlib.contextmanager
def interruptible(*, enabled: bool = True) -> Iterator[Callable[[], bool]]:
    """Do not raise for Ctrl-C within the context: yield a function that returns whether it was pressed.

    A second Ctrl-C raises KeyboardInterrupt. enabled: else the first does.
    """
    pressed = False

    def notice(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True

    if not enabled:
        yield lambda: False
        return
    before = signal.signal(signal.SIGINT, notice)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)


def _prepare_readline(completions: Sequence[str]) -> None:
    """Let `input` edit lines, and the tab key complete their first word."""
    try:
        import readline
    except ImportError:  # Windows, whose console edits lines itself
        return

    def complete(text: str, number: int) -> str | None:
        fitting = [one for one in completions if text and one.startswith(text)] if readline.get_begidx() == 0 else []
        return fitting[number] if number < len(fitting) else None

    readline.set_completer(complete)
    readline.set_completer_delims(" ")
    readline.parse_and_bind("bind ^I rl_complete" if _is_libedit(readline) else "tab: complete")


def _is_libedit(readline: ModuleType) -> bool:
    return "libedit" in (readline.__doc__ or "")


def _styled(prompt: str) -> str:
    """Return a prompt in bold, where the terminal has styles. \\x01 and \\x02 tell readline what takes no columns."""
    if Terminal.of(sys.stdout).colors == "none":
        return prompt
    return f"\x01{BOLD}\x02{prompt}\x01{PLAIN}\x02"
