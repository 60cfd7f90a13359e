"""Choose files below a folder by glob patterns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import PurePath

NOT_INCLUDED, EXCLUDED = "not included", "excluded"
FILTERED = (NOT_INCLUDED, EXCLUDED)


def filter_reason(path: PurePath, include: Sequence[str], exclude: Sequence[str], *, is_folder: bool) -> str | None:
    """Return why a path below a folder is left out; None if it is read. `include` does not apply to folders."""
    if any(matches(path, pattern) for pattern in exclude):
        return EXCLUDED
    if include and not is_folder and not any(matches(path, pattern) for pattern in include):
        return NOT_INCLUDED
    return None


def matches(path: PurePath, pattern: str) -> bool:
    """Return whether a pattern matches a path below a folder, or a folder on the way to it.

    A pattern without a slash matches any name. In others `**` matches any number of folders.
    """
    parts = [part for part in re.split("/+", pattern) if part not in ("", ".")]
    if "/" not in pattern.rstrip("/"):
        parts = ["**", *parts]
    reached = _skip_folders(parts, {0})  # positions in the pattern after the names so far
    for name in path.parts:
        if len(parts) in reached:
            break
        following = {at for at in reached if parts[at] == "**"}
        following |= {at + 1 for at in reached if parts[at] != "**" and fnmatchcase(name, parts[at])}
        reached = _skip_folders(parts, following)
    return len(parts) in reached and bool(pattern)


def _skip_folders(parts: Sequence[str], positions: Iterable[int]) -> set[int]:
    """Add the positions behind each `**`, which may match no folder."""
    reached = set(positions)
    for at, part in enumerate(parts):
        if at in reached and part == "**":
            reached.add(at + 1)
    return reached
