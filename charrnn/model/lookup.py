"""Find runs by name, and name new ones."""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from charrnn.errors import CharrnnError, UsageError
from charrnn.files import home_folder
from charrnn.model.run_format import CHECKPOINTS_FOLDER, RUN_FILE

if TYPE_CHECKING:
    from charrnn.model.run import Run

EXPORTED = ".safetensors"  # usual end of an exported run's name
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def runs_folder() -> Path:
    """Return the folder of all runs: checkpoints/ in $CHARRNN_HOME, or in the current directory."""
    return home_folder() / "checkpoints"


def run_names(folder: Path) -> list[str]:
    """Return the names of the runs in a folder, the one trained last first. Hidden folders are left out."""
    try:
        # Unlike Path.is_file, os.path.isfile returns False for a folder without permission.
        paths = [p for p in folder.iterdir() if p.name[0] != "." and os.path.isfile(p / RUN_FILE)]  # noqa: PTH113
    except OSError:
        return []
    return [p.name for p in sorted(paths, key=lambda p: (_time_trained(p), p.name), reverse=True)]


def _time_trained(path: Path) -> int:
    for place in (*(path / name for name in CHECKPOINTS_FOLDER.values()), path):
        with contextlib.suppress(OSError):
            return place.stat().st_mtime_ns
    return 0


def open_run(name: str | None = None, folder: Path | None = None) -> Run:
    """Return the run of a name or a path; None: the run trained last.

    folder: where names are looked up, by default `runs_folder()`. Raises CharrnnError where there is no such run.
    """
    from charrnn.model.run import Run  # loads PyTorch, which the completion of names does not need

    return Run(find_run(name, folder))


def find_run(name: str | None = None, folder: Path | None = None) -> Path:
    """Return the folder of a run, which may be damaged. Arguments and errors as for `open_run`."""
    folder = folder if folder is not None else runs_folder()
    names = run_names(folder)
    if name is None:
        if not names:
            raise CharrnnError(f"no run in {folder}", "train one first: charrnn train")
        return folder / names[0]
    is_path = os.sep in name or name.startswith(".")
    for path in [Path(name)] if is_path else [folder / name, Path(name)]:
        # Unlike Path.exists, os.path.exists returns False for a name that cannot be a path.
        if os.path.exists(path / RUN_FILE):  # noqa: PTH110
            return path
    if os.path.isfile(name) and name.endswith(EXPORTED):  # noqa: PTH113 - as above
        raise UsageError(f"{name} is a file, not a run", f"import it first: charrnn import {shlex.quote(name)}")
    similar = difflib.get_close_matches(name[:100], names, n=3, cutoff=0.3) or names[:3]
    more = ", …" if len(similar) < len(names) else ""
    hint = f"there are: {', '.join(similar)}{more}" if similar else "train one first: charrnn train"
    raise UsageError(f"no run called {name!r} in {folder}", hint)


class NameTakenError(UsageError):
    """A new run has the name of an existing one."""

    def __init__(self, name: str, hint: str = "choose another name"):
        super().__init__(f"there is a run {name} already", hint)


def check_new_name(name: str, folder: Path, hint: str = "choose another name") -> str:
    """Return the name. hint: what to do where it is taken.

    Raises NameTakenError, or UsageError unless it is made of letters, digits, `.`, `_` and `-`.
    """
    if not SAFE_NAME.fullmatch(name):
        raise UsageError(f"{name!r} cannot be a run's name", "use letters, digits, '.', '_' and '-'")
    if os.path.exists(folder / name):  # noqa: PTH110 - as above
        raise NameTakenError(name, hint)
    return name


def free_name(wanted: str, folder: Path) -> str:
    """Return a name close to `wanted` that is valid and not taken, adding -2, -3, … if necessary."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", wanted).strip("-._")[:80] or "run"
    number = 1
    while os.path.exists(folder / (name := stem if number == 1 else f"{stem}-{number}")):  # noqa: PTH110 - as above
        number += 1
    return name
