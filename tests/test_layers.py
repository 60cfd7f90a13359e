"""The layers of the package: who may import whom. Read from the source."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

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


NAMES = {name_of(path) for path in MODULES}


def imports_of(path: Path) -> set[str]:
    """The modules of the package that a module imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            module = node.module or ""
            candidates = [f"{module}.{alias.name}" for alias in node.names]
            modules = [c if c.removeprefix("charrnn.") in NAMES else module for c in candidates]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        else:
            continue
        found |= {module.removeprefix("charrnn.") for module in modules if module.startswith("charrnn.")}
    return found


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_come_from_lower_layers_or_the_same_package(path: Path) -> None:
    package = name_of(path).split(".")[0]
    for module in imports_of(path):
        other = module.split(".")[0]
        assert other == package or LAYER[other] < LAYER[package], f"{package} imports {module}"


def test_no_import_cycles() -> None:
    imports = {name_of(path): imports_of(path) for path in MODULES}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"a cycle: {' → '.join([*path, name])}"
        if name not in done:
            for other in imports.get(name, ()):
                visit(other, (*path, name))
            done.add(name)

    for name in imports:
        visit(name, ())


@pytest.mark.parametrize("path", [PACKAGE / "__init__.py", *MODULES], ids=lambda p: name_of(p) or "charrnn")
def test_every_module_has_a_docstring(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def test_nothing_is_unpickled() -> None:
    words = ("pickle", "torch.load", "numpy.load", "marshal", "shelve", "joblib", "dill")
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            imported = [a.name for a in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            for name in (called, *imported):
                assert not any(name == word or name.startswith(word + ".") for word in words), f"{path}: {name}"
