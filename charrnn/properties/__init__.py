"""Properties of a text at each character: position in the line, inside quotes, in a comment.

To add a built-in property, add a function under `@register` to a module in `builtin`, or a module.
"""

from __future__ import annotations

import importlib
import pkgutil

from charrnn.properties import builtin

# In alphabetical order, and the control labels last. Seeds of a search depend on the order of the catalog.
for _module in pkgutil.iter_modules(builtin.__path__):
    importlib.import_module(f"{builtin.__name__}.{_module.name}")
importlib.import_module(f"{__name__}.controls")
