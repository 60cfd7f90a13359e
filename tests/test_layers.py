"""The layers of the package: who may import whom. Read from the source."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

import charrnn

PACKAGE = Path(charrnn.__file__).parent
LAYERS = (
    ("errors", "units", "bootstrap", "progress"),
    ("options", "files", "extras"),
    ("settings",),
    ("text",),
    ("properties", "display"),
    ("model",),
    ("scoring",),
    ("sampling", "inspection", "training"),
    ("discovery",),
    ("causal",),
    ("explorer",),
    ("reading_model",),
    ("language_model",),
    ("inspected_model",),
    ("api",),
    ("cli",),
)
LAYER = {name: level for level, names in enumerate(LAYERS) for name in names}
OUTSIDE = {"__init__", "__main__"}  # the package's own front: they import lazily, from anywhere
MODULES = sorted(p for p in PACKAGE.rglob("*.py") if p.parent != PACKAGE or p.stem not in OUTSIDE)


def name_of(path: Path) -> str:
    """The dotted name below `charrnn`, such as `model.network`; a package by its own name."""
    parts = list(path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def trees() -> dict[str, ast.Module]:
    return {name_of(path): parsed(path) for path in MODULES}


def imports_of(name: str) -> set[str]:
    """The modules of the package that a module imports, wherever in the file."""
    found = set()
    for node in ast.walk(trees()[name]):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: imports are absolute"
            module = node.module or ""
            candidates = [f"{module}.{alias.name}" for alias in node.names]
            modules = [c if c.removeprefix("charrnn.") in trees() else module for c in candidates]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        else:
            continue
        found |= {module.removeprefix("charrnn.") for module in modules if module.startswith("charrnn.")}
    return found


def test_imports_come_from_lower_layers_or_the_same_package() -> None:
    wrong = []
    for name in trees():
        package = name.split(".")[0]
        others = {module.split(".")[0] for module in imports_of(name)} - {package}
        wrong += [f"{name} imports {other}" for other in others if LAYER[other] >= LAYER[package]]
    assert wrong == []


def test_no_import_cycles() -> None:
    imports = {name: imports_of(name) for name in trees()}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"a cycle: {' → '.join([*path, name])}"
        if name not in done:
            for other in imports.get(name, ()):
                visit(other, (*path, name))
            done.add(name)

    for name in imports:
        visit(name, ())


def test_every_module_has_a_docstring() -> None:
    every = {**trees(), "__init__": parsed(PACKAGE / "__init__.py")}
    assert [name for name, tree in every.items() if not ast.get_docstring(tree)] == []
