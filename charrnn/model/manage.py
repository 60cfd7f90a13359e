"""Remove and rename runs, and tell how much space they take. Links are neither followed nor removed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from charrnn.errors import CharrnnError
from charrnn.files import is_real_folder, remove_folder, sync_folder
from charrnn.model.built_in import refuse_built_in
from charrnn.model.lock import lock_run
from charrnn.model.lookup import check_new_name, find_run


def remove_run(name: str, folder: Path | None = None) -> Path:
    """Remove a run with all files in its folder, also a damaged one. Return where it was.

    name, folder: as for `open_run`. Raises CharrnnError where there is no such run, a process trains it, or the system
    refuses.
    """
    with _locked(find_run(name, folder)) as path:
        remove_folder(path)
        if path.exists():
            raise CharrnnError(f"{path} cannot be removed", "check the permissions of the folder that it is in")
    return path


def rename_run(old: str, new: str, folder: Path | None = None) -> Path:
    """Rename a run, within the folder that it is in. Return its new path.

    old, folder: as for `open_run`. Raises CharrnnError where there is no such run, a process trains it, the new name
    is taken or not valid, or the system refuses.
    """
    with _locked(find_run(old, folder)) as path:
        renamed = path.with_name(check_new_name(new, path.parent))
        try:
            path.rename(renamed)
            sync_folder(path.parent)
        except OSError as error:
            raise CharrnnError(f"{path} cannot be renamed: {error.strerror or error}") from None
    return renamed


def run_size(path: Path) -> int:
    """Return the bytes that the files in a run's folder take; 0 for what cannot be read."""
    total = 0
    for parent, _, names in os.walk(path):  # does not follow links to folders
        for name in names:
            with contextlib.suppress(OSError):
                total += (Path(parent) / name).lstat().st_size
    return total


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[Path]:
    """Hold the lock of a run. Raises CharrnnError where another process holds it, or the folder is a link."""
    path = Path(os.path.normpath(path))
    refuse_built_in(path, "changed")
    if not is_real_folder(path):
        raise CharrnnError(f"{path} is a link to a run elsewhere", "change or remove the link itself")
    try:
        lock = lock_run(path)
    except OSError as error:
        raise CharrnnError(f"{path} cannot be changed: {error.strerror or error}") from None
    with lock:
        yield path
