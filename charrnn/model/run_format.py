"""The format of a run on disk: its number, its layout, and the migrations from older formats.

FORMAT.md describes the files. A run is never converted in place: it keeps the layout of the format it was created in,
and its JSON files are migrated whenever they are read.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from charrnn import __version__
from charrnn.errors import CharrnnError
from charrnn.units import shortened

FORMAT = 2
CHECKPOINTS_FOLDER = {1: "saves", 2: "checkpoints"}
RUN_FILE = "run.json"
PROGRESS_FILE = "progress.json"
UNNUMBERED = {PROGRESS_FILE: 1}  # files that had no format number in this format
VERSION = re.compile(r"[0-9A-Za-z.+-]{1,40}")

Json = dict[str, Any]
Change = Callable[[str, Json], Json]
"""(file name, content in one format) → content in the next format. The argument is not modified."""


def _from_format_1(file: str, content: Json) -> Json:
    """Move the version of charrnn from the origin to the top level of run.json."""
    origin = content.get("origin")
    if file != RUN_FILE or not isinstance(origin, dict) or "charrnn" not in origin:
        return content
    rest = {key: value for key, value in origin.items() if key != "charrnn"}
    return {**content, "origin": rest, "charrnn": origin["charrnn"]}


MIGRATIONS: dict[int, Change] = {1: _from_format_1}
"""Format → the change that leads to the next format."""


@dataclass(frozen=True)
class Migrated:
    """The content of a JSON file in the current format, and what wrote it: a format and a version of charrnn."""

    content: Json
    format: int
    writer: str

    @property
    def hint(self) -> str:
        """Advice for an error about an unknown key."""
        return f"{self.writer} wrote it, and this is charrnn {__version__}: use the newer one"


def with_version(content: Json) -> Json:
    """Return the content of a JSON file with the format and the version that write it."""
    return {"format": FORMAT, "charrnn": __version__, **content}


def migrate(file: str, data: Any, source: str) -> Migrated:
    """Return the content of a run's JSON file in the current format.

    file: its name in the run. source: its path, for errors. Raises CharrnnError for a newer format, or none.
    """
    number = data.get("format", UNNUMBERED.get(file)) if isinstance(data, dict) else None
    if type(number) is not int or number < 1:
        raise CharrnnError(f"{source} does not describe a run")
    if number > FORMAT:
        raise CharrnnError(
            f"{source} has format {shortened(number)}, and charrnn {__version__} reads formats up to {FORMAT}",
            f"{_writer(data)} wrote it: use that or a newer one",
        )
    for older in range(number, FORMAT):
        data = MIGRATIONS[older](file, data)
    content = {key: value for key, value in data.items() if key not in ("format", "charrnn")}
    return Migrated(content, number, _writer(data))


def _writer(data: Json) -> str:
    version = data.get("charrnn")
    known = isinstance(version, str) and VERSION.fullmatch(version)
    return f"charrnn {version}" if known else "an unknown version of charrnn"
