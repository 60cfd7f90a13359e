"""metrics.jsonl: what a training logs, one JSON object a line."""

from __future__ import annotations

import contextlib
import json
import os
from io import FileIO
from pathlib import Path
from typing import Any

from charrnn.errors import CharrnnError
from charrnn.files import BLOCK, from_json_bytes, open_regular, read_bounded
from charrnn.model.manifest import LARGEST_JSON
from charrnn.units import file_size

METRICS_FILE = "metrics.jsonl"
LARGEST_METRICS = 64_000_000  # bytes
LARGEST_BACKLOG = 1_000_000  # bytes kept in memory while the disk refuses them


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the entries of a metrics file, oldest first. Lines cut short by a crash are skipped."""
    if not path.exists():
        return []
    entries = []
    for line in read_bounded(path, LARGEST_METRICS).split(b"\n")[:-1]:
        with contextlib.suppress(CharrnnError):
            entries.append(from_json_bytes(line, str(path)))
    return [entry for entry in entries if isinstance(entry, dict)]


class MetricsWriter:
    """Appends entries to a metrics file. Entries that the disk refuses are kept and written later."""

    def __init__(self, path: Path):
        """Open or create the file. Remove a last line that a crash cut short."""
        self._path = path
        if os.path.lexists(path):
            with open_regular(path, os.O_RDWR) as file:
                start, lines = _last_lines(file, path)
                os.ftruncate(file.fileno(), start + len(lines))
        self._file = open_regular(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._backlog = b""

    def log(self, event: str, **values: Any) -> None:
        """Append an entry."""
        line = json.dumps({"event": event, **values}, allow_nan=False) + "\n"
        if len(self._backlog) < LARGEST_BACKLOG:
            self._backlog += line.encode()
        self._write_backlog()

    def _write_backlog(self) -> None:
        file, end = self._file.fileno(), os.fstat(self._file.fileno()).st_size
        try:
            while self._backlog:
                count = os.write(file, self._backlog)
                self._backlog, end = self._backlog[count:], end + count
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(file, end)  # a failed write may have written a part

    def discard_after(self, step: int) -> None:
        """Remove the entries at the end of the file that belong to later steps."""
        with open_regular(self._path, os.O_RDWR) as file:
            start, lines = _last_lines(file, self._path)
            while lines:
                line_start = lines.rfind(b"\n", 0, -1) + 1
                if _step_of(lines[line_start:]) <= step:
                    break
                del lines[line_start:]
            os.ftruncate(file.fileno(), start + len(lines))

    def close(self) -> None:
        """Write what is left and close the file."""
        self._write_backlog()
        self._file.close()


def _last_lines(file: FileIO, path: Path) -> tuple[int, bytearray]:
    """Return the complete lines in the last LARGEST_METRICS bytes of a file, and the position where that part starts.

    Raises CharrnnError where one line is longer than that.
    """
    start = max(0, file.seek(0, os.SEEK_END) - LARGEST_METRICS)
    file.seek(start)
    data = bytearray()
    while block := file.read(BLOCK):
        data += block
    length = data.rfind(b"\n") + 1
    if start and not length:
        raise CharrnnError(f"{path} is damaged: it has a line of more than {file_size(LARGEST_METRICS)}", "rename it")
    return start, data[:length]


def _step_of(line: bytearray) -> int:
    try:
        step = json.loads(line)["step"] if len(line) <= LARGEST_JSON else 0
    except (ValueError, TypeError, KeyError, RecursionError):
        return 0
    return step if type(step) is int else 0
