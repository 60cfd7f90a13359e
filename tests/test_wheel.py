"""The wheel and the sdist, built and installed elsewhere: every command works without the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import charrnn
from charrnn.model.built_in import BUILT_IN
from tests.test_built_in import LARGEST_WHEEL

CHECKOUT = Path(charrnn.__file__).parent.parent
COMMANDS = (
    "sample --length 300 --temperature 0.7 --seed 1",
    "inspect",
    "inspect --cell {cell}",
    "inspect --all --evidence",
    "inspect --text text.py --characters 20000",
    "ablate --cell {cell}",
    "memory",
    "gates",
    "history --cell {cell}",
    "evaluate text.py",
    "sample --clamp {cell}=inside --length 100",
    "runs",
    f"runs show {BUILT_IN}",
    f"export {BUILT_IN} shared.safetensors --half",
    "import shared.safetensors --name copy",
    "sample copy --length 20",
    f"train text.py --init-from {BUILT_IN} --steps 2 --name mine",
    "corpora",
)


def python(*arguments: str, path: Path, folder: Path) -> str:
    """Run Python with a folder of packages first on its path, and return what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(path)}
    environment.pop("CHARRNN_HOME", None)
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{arguments}: {done.stderr[-2000:]}"
    return done.stdout + done.stderr


@pytest.mark.slow
def test_commands_work_without_the_checkout(tmp_path: Path) -> None:
    """Needs a network, for the build tool."""
    tools, dist, site, empty = (tmp_path / name for name in ("tools", "dist", "site", "empty"))
    empty.mkdir()
    python("-m", "pip", "install", "--quiet", "--target", str(tools), "hatchling", path=tools, folder=tmp_path)
    python("-m", "hatchling", "build", "--directory", str(dist), "--target", "sdist", path=tools, folder=CHECKOUT)
    (sdist,) = dist.glob("*.tar.gz")
    wheel = ("-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(dist))
    python(*wheel, str(sdist), path=tools, folder=tmp_path)
    (wheel_file,) = dist.glob("*.whl")
    assert wheel_file.stat().st_size < LARGEST_WHEEL
    install = ("-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site))
    python(*install, str(wheel_file), path=tools, folder=tmp_path)
    assert str(site) in python("-c", "import charrnn; print(charrnn.__file__)", path=site, folder=empty)

    best = "import charrnn; print(next(iter(charrnn.load('code').discover())).cell)"
    cell = python("-c", best, path=site, folder=empty).strip()
    (empty / "text.py").write_text("".join(f"def f{k}(x):\n    return 'a' + (x * {k})\n" for k in range(1000)))
    before = set(site.rglob("*"))
    for command in COMMANDS:
        arguments = command.format(cell=cell).split()
        python("-m", "charrnn", *arguments, path=site, folder=empty)
    written = {path for path in set(site.rglob("*")) - before if "__pycache__" not in path.parts}
    assert written == set()
