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
                os.ftruncate(file.fileno(), _line_start(file, file.seek(0, os.SEEK_END)))
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
            end = file.seek(0, os.SEEK_END)
            while end > 0:
                start = _line_start(file, end - 1)
                file.seek(start)
                if end - start > LARGEST_JSON or _step_of(file.read(end - start)) <= step:
                    break
                end = start
            os.ftruncate(file.fileno(), end)

    def close(self) -> None:
        """Write what is left and close the file."""
        self._write_backlog()
        self._file.close()


def _line_start(file: FileIO, end: int) -> int:
    """Return where the line starts that contains the byte before `end`: after the last newline before it."""
    while end > 0:
        start = max(0, end - BLOCK)
        file.seek(start)
        newline = (file.read(end - start) or b"").rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def _step_of(line: bytes) -> int:
    try:
        step = json.loads(line)["step"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return 0
    return step if type(step) is int else 0
