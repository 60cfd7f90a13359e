"""Packages that serve some users only, imported where they are used."""

from __future__ import annotations

import importlib
from typing import Any

from charrnn.errors import CharrnnError


def import_extra(package: str, purpose: str) -> Any:
    """Return an optional package. Raises CharrnnError, with the command that installs it, where it is missing."""
    try:
        return importlib.import_module(package)
    except ImportError:
        raise CharrnnError(f"{purpose} needs {package}", f"pip install {package}") from None
