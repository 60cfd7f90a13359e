"""The recurrences, by name. To add a built-in one, add a module with a class under `@register`."""

from __future__ import annotations

import importlib
import pkgutil

from charrnn.model.recurrences.base import RECURRENCES, Recurrence, find_recurrence, register

__all__ = ["RECURRENCES", "Recurrence", "find_recurrence", "register"]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
