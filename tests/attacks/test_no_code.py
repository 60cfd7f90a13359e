"""Nothing that is read is run: the package's own source is searched for what could."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import charrnn

PACKAGE = Path(charrnn.__file__).parent
MODULES = {
    "pickle",
    "cPickle",
    "marshal",
    "shelve",
    "dill",
    "cloudpickle",
    "joblib",
    "yaml",
    "ctypes",
    "code",
    "codeop",
}
CALLS = {"eval", "exec", "compile", "__import__", "torch.load", "torch.jit.load", "torch.hub.load", "torch.package",
         "numpy.load", "np.load", "os.system", "os.popen", "subprocess.run", "subprocess.Popen"}  # fmt: skip
# A property that the user names as FILE.py:function is the user's own code.
RUNS_WHAT_THE_USER_NAMES = {"properties/user_properties.py"}
# Matches expressions of strangers: starts this Python with a file of the package.
STARTS_PYTHON = {"text/patterns.py": {"subprocess.Popen"}}
# How the C library keeps freed memory is set by a call of its own, with constants.
CALLS_THE_C_LIBRARY = {"model/device.py": {"ctypes", "ctypes.CDLL"}}


def found(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{name.name}" for name in node.names)
        elif isinstance(node, ast.Call):
            yield ast.unparse(node.func)


def test_nothing_in_the_package_unpickles_evaluates_or_starts_programs() -> None:
    sources = sorted(PACKAGE.rglob("*.py"))
    assert len(sources) > 20
    for path in sources:
        name = str(path.relative_to(PACKAGE))
        names = set(found(path)) - CALLS_THE_C_LIBRARY.get(name, set()) - STARTS_PYTHON.get(name, set())
        assert not {name for name in names if name.partition(".")[0] in MODULES or name in CALLS}, path
        loads_code = {name for name in names if name.startswith(("importlib.util", "runpy"))}
        assert not loads_code or name in RUNS_WHAT_THE_USER_NAMES, path
