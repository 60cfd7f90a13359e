"""What goes wrong on the user's side, and the codes the program ends with."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the process tells the shell. Signals follow the shell's own 128 + number."""

    SUCCESS = 0
    FAILURE = 1
    USAGE = 2
    HUNG_UP = 129
    INTERRUPTED = 130
    TERMINATED = 143


class CharrnnError(Exception):
    """A mistake a person can mend: what is wrong, and the way out.

    Every mistake of a user's reaches them as one of these; anything else that escapes is a bug and ends in a traceback.

    message: what is wrong, one sentence without a full stop, naming the file, flag or value.
    hint: what to do about it, an imperative; may name a command.
    exit_code: what the process ends with when this reaches the command line.
    """

    def __init__(self, message: str, hint: str | None = None, exit_code: ExitCode = ExitCode.FAILURE):
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = exit_code

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class UsageError(CharrnnError):
    """The command line itself is wrong: an unknown name, a value out of bounds, two options that exclude each other."""

    def __init__(self, message: str, hint: str | None = None):
        super().__init__(message, hint, ExitCode.USAGE)


class CharrnnWarning(UserWarning):
    """Something is not as it should be, and work goes on without it. The command line shows it as one line."""
