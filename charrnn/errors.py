"""Errors that a user can fix, and the exit codes of the program."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes. For signals they are 128 + the signal's number, as in a shell."""

    SUCCESS = 0
    FAILURE = 1
    USAGE = 2
    HUNG_UP = 129
    INTERRUPTED = 130
    TERMINATED = 143


class CharrnnError(Exception):
    """An error that the user can fix. Any other exception that reaches the command line is a bug.

    message: what is wrong, without a full stop, naming the file, parameter or value. hint: what to do about it.
    Both name parameters in backticks, as in `hidden_size` or `resume=True`; the command line shows them as its flags.
    Texts of the user's are in quotes, where backticks are only that.
    exit_code: of the program.
    """

    def __init__(self, message: str, hint: str | None = None, exit_code: ExitCode = ExitCode.FAILURE):
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = exit_code

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class UsageError(CharrnnError):
    """An invalid argument: an unknown name, a value out of bounds, or options that exclude each other."""

    def __init__(self, message: str, hint: str | None = None):
        super().__init__(message, hint, ExitCode.USAGE)


class CharrnnWarning(UserWarning):
    """A problem that the program works around. The command line shows it as one line."""
