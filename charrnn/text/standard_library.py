"""The source code of the running interpreter's standard library, which every machine has."""

from __future__ import annotations

import os
import sysconfig
import tokenize
from pathlib import Path

from charrnn.text.download import FetchError

NOT_LIBRARY = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}


def source_files() -> dict[str, Path]:
    """Return path below the library → file of its Python files, in ascending order. Links to folders are not followed.

    Raises FetchError where this Python keeps no source.
    """
    root = Path(sysconfig.get_path("stdlib"))
    found: dict[str, Path] = {}
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in NOT_LIBRARY]
        paths = (Path(folder, name) for name in files if name.endswith(".py"))
        found |= {path.relative_to(root).as_posix(): path for path in paths if path.is_file()}
    if not found:
        raise FetchError(f"this Python keeps no source in {root}")
    return dict(sorted(found.items()))


def read_source(path: Path) -> str:
    """Return the text of a Python file, ending in a newline; nothing where its encoding is unknown or wrong."""
    try:
        with tokenize.open(path) as source:
            text = source.read()
    except (SyntaxError, UnicodeError):
        return ""
    return text if not text or text.endswith("\n") else f"{text}\n"


def text_from(first: str, characters: int) -> str:
    """Return the text of the files from `first` on, a path below the library, cut to a number of characters.

    Other versions of Python may lack `first`: only the order of the paths counts. Raises FetchError where this Python
    keeps no source.
    """
    texts: list[str] = []
    missing = characters
    for name, path in source_files().items():
        if name >= first and missing > 0:
            texts.append(read_source(path)[:missing])
            missing -= len(texts[-1])
    return "".join(texts)
