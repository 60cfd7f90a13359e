"""The house's order: who imports whom. Read from the source, so that a door opened the wrong way shows here."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import charrnn

PACKAGE = Path(charrnn.__file__).parent
FLOORS = {"": 0, "text": 1, "model": 2, "training": 3, "sampling": 3, "inspection": 4, "display": 5, "cli": 6}
ROOMS = sorted(
    p for p in PACKAGE.rglob("*.py") if p.parent != PACKAGE or p.stem in ("errors", "settings", "units", "files")
)


def wing_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else ""


def imported_wings(path: Path) -> set[tuple[str, str]]:
    """(wing, module) of every import from the package, wherever in the file it stands."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        modules = []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            modules = [node.module] if node.module != "charrnn" else [f"charrnn.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        for module in modules:
            first, _, rest = module.partition(".")
            if first == "charrnn" and rest and rest != "__version__":
                wing = rest.split(".")[0]
                found.add((wing if wing in FLOORS else "", rest))
    return found


@pytest.mark.parametrize("room", ROOMS, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_room_imports_only_from_floors_below_or_from_its_own_wing(room: Path) -> None:
    wing = wing_of(room)
    for other, module in imported_wings(room):
        assert other == wing or FLOORS[other] < FLOORS[wing], f"{wing or 'the ground floor'} imports {module}"


def test_rooms_of_one_wing_lean_on_each_other_in_one_direction() -> None:
    leans: dict[str, set[str]] = {}
    for room in ROOMS:
        wing = wing_of(room)
        name = f"{wing}.{room.stem}".lstrip(".")
        leans[name] = {module for other, module in imported_wings(room) if other == wing and module != wing}
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, f"a circle: {' → '.join([*way, name])}"
        if name not in done:
            for other in leans.get(name, ()):
                visit(other, (*way, name))
            done.add(name)

    for name in leans:
        visit(name, ())


def test_every_wing_says_in_a_docstring_what_lives_there() -> None:
    for wing in FLOORS:
        source = (PACKAGE / wing / "__init__.py").read_text(encoding="utf-8")
        assert ast.get_docstring(ast.parse(source)), wing


def test_nothing_is_ever_unpickled() -> None:
    words = ("pickle", "torch.load", "np.load", "numpy.load", "marshal", "shelve", "joblib", "dill")
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            imported = [a.name for a in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            for name in (called, *imported):
                assert not any(name == word or name.startswith(word + ".") for word in words), f"{path}: {name}"
