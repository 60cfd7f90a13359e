"""The run that comes with charrnn, used where the user has no run. It is read-only."""

from __future__ import annotations

from pathlib import Path

from charrnn.errors import UsageError
from charrnn.model.run_format import RUN_FILE

BUILT_IN = "code"
"""Its name, which no other run can get."""
RESULTS_FOLDER = ".built-in"
"""In the folder of all runs: results about the built-in run, which is read-only."""


def built_in_path() -> Path | None:
    """Return the folder of the built-in run, or None where the installation lacks it.

    It is in the package, or in the checkout that an editable installation refers to.
    """
    package = Path(__file__).resolve().parent.parent
    paths = (folder / "checkpoints" / BUILT_IN for folder in (package, package.parent))
    return next((path for path in paths if (path / RUN_FILE).is_file()), None)


def is_built_in(path: Path) -> bool:
    """Return whether a folder is that of the built-in run."""
    return path.name == BUILT_IN and built_in_path() == path.resolve()


def refuse_built_in(path: Path, what: str, hint: str | None = None) -> None:
    """Raise UsageError where a folder is that of the built-in run. what: the action, as a participle."""
    if is_built_in(path):
        raise UsageError(f"{BUILT_IN} is the built-in model, which cannot be {what}", hint)
