"""Find runs by name, and name new ones. Where there is none, the built-in run is found."""

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
from charrnn.model.built_in import BUILT_IN, RESULTS_FOLDER, built_in_path, is_built_in
from charrnn.model.run_format import CHECKPOINTS_FOLDER, RUN_FILE

if TYPE_CHECKING:
    from charrnn.model.run import Run

EXPORTED = ".safetensors"  # usual end of an exported run's name
MAX_LISTED = 20  # names in the message about an unknown one
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def runs_folder() -> Path:
    """Return the folder of all runs: checkpoints/ in $CHARRNN_HOME, or in the current directory."""
    return home_folder() / "checkpoints"


def run_names(folder: Path) -> list[str]:
    """Return the names of the runs in a folder, the one trained last first.

    Hidden folders are left out, and so is the built-in run, which is in the folder of a checkout.
    """
    try:
        # Unlike Path.is_file, os.path.isfile returns False for a folder without permission.
        paths = [p for p in folder.iterdir() if p.name[0] != "." and os.path.isfile(p / RUN_FILE)]  # noqa: PTH113
    except OSError:
        return []
    paths = [path for path in paths if not is_built_in(path)]
    return [p.name for p in sorted(paths, key=lambda p: (_time_trained(p), p.name), reverse=True)]


def all_run_names() -> list[str]:
    """Return the names of the user's runs, the one trained last first, and then of the built-in run."""
    names = run_names(runs_folder())
    return names if built_in_path() is None or BUILT_IN in names else [*names, BUILT_IN]


def results_folder(run: Path) -> Path:
    """Return where findings about a run are kept: in its folder, or if it is built in, in a folder beside all runs."""
    return runs_folder() / RESULTS_FOLDER / run.name if is_built_in(run) else run


def _time_trained(path: Path) -> int:
    for place in (*(path / name for name in CHECKPOINTS_FOLDER.values()), path):
        with contextlib.suppress(OSError):
            return place.stat().st_mtime_ns
    return 0


def open_run(name: str | None = None, folder: Path | None = None) -> Run:
    """Return the run of a name or a path; None: the run trained last, or where there is none, the built-in run.

    folder: where names are looked up, by default `runs_folder()`. Raises CharrnnError where there is no such run.
    """
    from charrnn.model.run import Run  # loads PyTorch, which the completion of names does not need

    return Run(find_run(name, folder))


def find_run(name: str | None = None, folder: Path | None = None) -> Path:
    """Return the folder of a run, which may be damaged. Arguments and errors as for `open_run`."""
    names = all_run_names() if folder is None else run_names(folder)
    built_in = built_in_path() if folder is None else None
    folder = folder if folder is not None else runs_folder()
    if name is None:
        if not names:
            raise CharrnnError(f"no run in {folder}", "train one first: charrnn train")
        name = names[0]
    is_path = os.sep in name or name.startswith(".")
    paths = [Path(name)] if is_path else [folder / name, Path(name)]
    for path in [*paths, built_in] if built_in is not None and name == BUILT_IN else paths:
        # Unlike Path.exists, os.path.exists returns False for a name that cannot be a path.
        if os.path.exists(path / RUN_FILE):  # noqa: PTH110
            return path
    if os.path.isfile(name) and name.endswith(EXPORTED):  # noqa: PTH113 - as above
        raise UsageError(f"{name} is a file, not a run", f"import it first: charrnn import {shlex.quote(name)}")
    raise UsageError(f"no run called {name!r} in {folder}", _other_names(name, names))


def _other_names(name: str, names: list[str]) -> str:
    """Return the hint about a name that no run has. names: of the runs there are."""
    if not names:
        return "train one first: charrnn train"
    if similar := difflib.get_close_matches(name[:100], names, n=1):
        return f"did you mean {similar[0]!r}?"
    more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    return f"there are: {', '.join(names[:MAX_LISTED])}{more}"


def or_another_run(run: Run) -> str:
    """Return the end of a hint that names another run with held-out text, the one trained last; empty without one."""
    for name in all_run_names():
        with contextlib.suppress(CharrnnError):
            other = open_run(name)
            if other.has_held_out_text and other.path.resolve() != run.path.resolve():
                return f", or another run, such as {name!r}"
    return ""


class NameTakenError(UsageError):
    """A new run has the name of an existing one."""

    def __init__(self, name: str, hint: str = "choose another name"):
        super().__init__(f"run {name} exists already", hint)


def check_new_name(name: str, folder: Path, hint: str = "choose another name") -> str:
    """Return the name. hint: what to do where it is taken.

    Raises NameTakenError, or UsageError unless it is made of letters, digits, `.`, `_` and `-`.
    """
    if not SAFE_NAME.fullmatch(name):
        raise UsageError(f"{name!r} cannot be a run's name", "use letters, digits, '.', '_' and '-'")
    if _is_taken(name, folder):
        raise NameTakenError(name, hint)
    return name


def _is_taken(name: str, folder: Path) -> bool:
    return name == BUILT_IN or os.path.exists(folder / name)  # noqa: PTH110 - as above


def free_name(wanted: str, folder: Path) -> str:
    """Return a name close to `wanted` that is valid and not taken, adding -2, -3, … if necessary."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", wanted).strip("-._")[:80] or "run"
    number = 1
    while _is_taken(name := stem if number == 1 else f"{stem}-{number}", folder):
        number += 1
    return name
