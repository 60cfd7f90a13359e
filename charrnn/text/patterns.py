r"""Find the matches of a regular expression in bounded time and memory, in any thread.

`re` can take exponential time and cannot be interrupted, and an expression may come from a stranger's run. So a
`Pattern` matches in a child process (`matcher.py`), which the system ends when its time is up. A process takes 12 ms to
start and 12 µs or more for a short text, so cheap expressions match short texts without one.

Engines with bounds were no replacement: `regex` has a timeout but compiles
`((((((((a){9}){9}){9}){9}){9}){9}){9}){9}` to gigabytes, and its `\w` differs; RE2 has no lookbehind.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import struct
import subprocess
import sys
import threading
import warnings
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.errors import CharrnnError
from charrnn.settings import LONGEST_EXPRESSION

TIME_LIMIT = 30.0  # seconds
MEMORY_LIMIT = 4 << 30  # bytes
SHORT_TEXT = 100  # characters
MATCHER = Path(__file__).with_name("matcher.py")


class PatternError(ValueError):
    """An expression is not a regular expression, or too long."""


class PatternTimeoutError(CharrnnError):
    """An expression took too long to match."""


class Pattern:
    """A regular expression in which `^` and `$` match at line ends.

    time_limit: seconds for the compilation and for each text. Raises PatternError where the expression is invalid.
    """

    def __init__(self, expression: str | bytes, *, time_limit: float = TIME_LIMIT):
        if len(expression) > LONGEST_EXPRESSION:
            raise PatternError(f"it is longer than {LONGEST_EXPRESSION:,} characters")
        self.expression = expression
        self.time_limit = time_limit
        self._lock = threading.Lock()
        self._pid = 0
        self._cheap: re.Pattern[Any] | None = None
        if _is_cheap(expression):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", FutureWarning)  # of sets that may change their meaning
                    self._cheap = re.compile(expression, re.MULTILINE)
            except (re.error, OverflowError) as error:
                raise PatternError(str(error)) from None
        else:
            self._start()

    def spans(self, text: str | bytes, start: int = 0) -> np.ndarray:
        """Return start and end of each match, (M, 2), int64. start: search from here on.

        Raises PatternTimeoutError beyond the time limit, CharrnnError beyond the memory limit.
        """
        if self._cheap is not None and len(text) <= SHORT_TEXT:
            spans = [match.span() for match in self._cheap.finditer(text, start)]
            return np.array(spans, np.int64).reshape(-1, 2)
        with self._lock:
            if self._pid != os.getpid():  # not started, or the parent's since a fork
                self._start()
            return np.frombuffer(self._ask(text, start), np.int64).reshape(-1, 2)

    def ends_with_match(self, text: str | bytes, start: int = 0) -> bool:
        """Return whether a match, not an empty one, ends where the text ends."""
        return any(begin < end == len(text) for begin, end in self.spans(text, start)[-2:].tolist())

    def _start(self) -> None:
        limits = [str(self.time_limit), str(MEMORY_LIMIT)]
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(MATCHER), *limits],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for this process alone
            )
        except OSError as error:
            raise CharrnnError(f"the process that matches expressions cannot be started: {error}") from None
        self._pid = os.getpid()
        weakref.finalize(self, _stop, self._process, self._pid)
        self._ask(self.expression, 0)

    def _ask(self, text: str | bytes, start: int) -> bytes:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
        try:
            self._process.stdin.write(struct.pack("<?qq", isinstance(text, bytes), start, len(data)) + data)
            self._process.stdin.flush()
            header = self._process.stdout.read(9)
            status, length = struct.unpack("<cq", header)
            answer = self._process.stdout.read(length)
        except (OSError, struct.error):
            raise self._failure() from None
        if status == b"e":
            raise PatternError(answer.decode("utf-8", "replace"))
        if status == b"m":
            raise CharrnnError(f"{self.expression!r} takes too much memory to match", "use a simpler expression")
        return answer

    def _failure(self) -> CharrnnError:
        code = self._process.wait()
        self._pid = 0  # start again next time
        if code == -signal.SIGALRM:
            return PatternTimeoutError(f"{self.expression!r} takes too long to match", "use a simpler expression")
        return CharrnnError(f"the process that matches {self.expression!r} ended with code {code}")


def _is_cheap(expression: str | bytes) -> bool:
    """Return whether matching takes at most about the cube of a text's length: no groups and two quantifiers."""
    text = expression.decode("latin-1") if isinstance(expression, bytes) else expression
    return "(" not in text and sum(map(text.count, "*+?{")) <= 2


def _stop(process: subprocess.Popen[bytes], pid: int) -> None:
    if pid != os.getpid():
        return
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
