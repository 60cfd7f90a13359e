"""The package does not execute what it reads: its source is searched for calls that could."""

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
# Properties named as FILE.py:function are the user's code.
EXECUTES_USER_CODE = {"properties/user_properties.py"}
# Matches regular expressions in a child process, which is a module of the package.
STARTS_PYTHON = {"text/patterns.py": {"subprocess.Popen"}}
# Sets an option of the C library's allocator.
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


def test_package_executes_no_data() -> None:
    sources = sorted(PACKAGE.rglob("*.py"))
    assert len(sources) > 20
    for path in sources:
        name = str(path.relative_to(PACKAGE))
        names = set(found(path)) - CALLS_THE_C_LIBRARY.get(name, set()) - STARTS_PYTHON.get(name, set())
        assert not {name for name in names if name.partition(".")[0] in MODULES or name in CALLS}, path
        loads_code = {name for name in names if name.startswith(("importlib.util", "runpy"))}
        assert not loads_code or name in EXECUTES_USER_CODE, path
