"""Packages that serve some users only, imported where they are used."""

from __future__ import annotations

import importlib
from typing import Any

from charrnn.errors import CharrnnError


def import_extra(package: str, purpose: str, distribution: str | None = None) -> Any:
    """Return an optional package. Raises CharrnnError, with the command that installs it, where it is missing.

    distribution: the name on PyPI, if it is another than the package's.
    """
    try:
        return importlib.import_module(package)
    except ImportError:
        name = distribution or package
        raise CharrnnError(f"{purpose} needs {name}", f"pip install {name}") from None
