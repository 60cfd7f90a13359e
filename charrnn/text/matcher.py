"""The child process of `charrnn.text.patterns`, which finds the matches of one expression in several texts.

Arguments: seconds for each request, bytes of memory. A request is <is_bytes, start, length> and the text; the first
one's text is the expression. An answer is <status, length> and start and end of each match as int64. status: o, e
(followed by what is wrong with the expression) or m (out of memory).
"""

from __future__ import annotations

import contextlib
import re
import resource
import signal
import struct
import sys
from array import array


def main() -> None:
    """Serve requests until the input is closed. SIGALRM ends the process when its time is up."""
    seconds, memory = float(sys.argv[1]), int(sys.argv[2])
    with contextlib.suppress(ValueError, OSError):  # macOS has no such limit
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    pattern: re.Pattern[str] | re.Pattern[bytes] | None = None
    while header := sys.stdin.buffer.read(17):
        is_bytes, start, length = struct.unpack("<?qq", header)
        status, answer = b"o", b""
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            data = sys.stdin.buffer.read(length)
            text = data if is_bytes else data.decode("utf-8", "surrogatepass")
            if pattern is None:
                pattern = re.compile(text, re.MULTILINE)
            else:
                answer = find(pattern, text, start)
        except (re.error, RecursionError, OverflowError, ValueError) as error:
            status, answer = b"e", str(error).encode("utf-8", "replace")
        except MemoryError:
            status = b"m"
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.stdout.buffer.write(struct.pack("<cq", status, len(answer)) + answer)
        sys.stdout.buffer.flush()


def find(pattern: re.Pattern[str] | re.Pattern[bytes], text: str | bytes, start: int) -> bytes:
    """Return start and end of each match as int64."""
    spans = array("q")
    for match in pattern.finditer(text, start):  # type: ignore[arg-type]  # both are str, or both bytes
        spans.extend(match.span())
    return spans.tobytes()


if __name__ == "__main__":
    main()
