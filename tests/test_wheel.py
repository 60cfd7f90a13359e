"""The wheel, built from the sdist and installed in a fresh environment: every command works without the checkout."""

from __future__ import annotations

import os
import subprocess
import venv
from pathlib import Path

import pytest
import typer

import charrnn
from charrnn.cli.app import app
from charrnn.model.built_in import BUILT_IN
from tests.test_built_in import LARGEST_WHEEL

pytestmark = pytest.mark.slow

CHECKOUT = Path(charrnn.__file__).parent.parent
COMMANDS = (
    "--version",
    "sample --length 300 --temperature 0.7 --seed 1",
    "sample --clamp CELL=inside --length 100",
    "chat --length 20",
    "inspect",
    "inspect --cell CELL",
    "inspect --cell CELL --output cell.svg",
    "inspect --html cells.html",
    "inspect --all --evidence",
    "inspect --text text.py --characters 20000",
    "ablate --cell CELL",
    "steer --cell CELL --texts 2 --length 100",
    "memory",
    "gates",
    "history --cell CELL",
    "evaluate text.py",
    "runs",
    f"runs show {BUILT_IN}",
    f"export {BUILT_IN} shared.safetensors --half",
    "import shared.safetensors --name copy",
    "sample copy --length 20",
    f"train text.py --init-from {BUILT_IN} --steps 2 --name mine",
    "corpora",
)
BEST = "import charrnn; print(next(iter(charrnn.load('code').discover())).cell)"


def run(*command: str | Path, folder: Path, keys: str = "") -> str:
    """Run a program that finds no module of the checkout, and return its standard output."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "CHARRNN_HOME")}
    done = subprocess.run(command, cwd=folder, env=environment, input=keys, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stderr[-2000:]}"
    return done.stdout


def new_environment(folder: Path) -> Path:
    """Create a virtual environment and return the folder of its programs."""
    venv.create(folder, with_pip=True)
    return folder / ("Scripts" if os.name == "nt" else "bin")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the sdist. Needs a network, for the build tool."""
    folder = tmp_path_factory.mktemp("build")
    tools = new_environment(folder / "tools")
    run(tools / "pip", "install", "--quiet", "hatchling", folder=folder)
    run(tools / "hatchling", "build", "--directory", folder, "--target", "sdist", folder=CHECKOUT)
    (sdist,) = folder.glob("*.tar.gz")
    wheel = ("wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder)
    run(tools / "pip", *wheel, sdist, folder=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment in which the wheel and its dependencies are installed. Needs a network."""
    folder = tmp_path_factory.mktemp("installed")
    programs = new_environment(folder / "environment")
    run(programs / "pip", "install", "--quiet", wheel, folder=folder)
    return programs


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text, in which all commands run."""
    folder = tmp_path_factory.mktemp("empty")
    (folder / "text.py").write_text("".join(f"def f{k}(x):\n    return 'a' + (x * {k})\n" for k in range(1000)))
    return folder


@pytest.fixture(scope="module")
def cell(programs: Path, empty: Path) -> str:
    return run(programs / "python", "-c", BEST, folder=empty).strip()


def test_wheel_is_small(wheel: Path) -> None:
    assert wheel.stat().st_size < LARGEST_WHEEL


def test_every_command_is_tried() -> None:
    assert {line.split()[0] for line in COMMANDS} >= set(typer.main.get_command(app).commands)


@pytest.mark.parametrize("line", COMMANDS)
def test_command_works_without_the_checkout(line: str, programs: Path, empty: Path, cell: str) -> None:
    """It writes nothing into the installation."""
    place = run(programs / "python", "-c", "import charrnn; print(charrnn.__path__[0])", folder=empty).strip()
    assert Path(place).is_relative_to(programs.parent)
    before = set(Path(place).rglob("*"))
    run(programs / "charrnn", *line.replace("CELL", cell).split(), folder=empty, keys="hello\n")
    assert {path for path in Path(place).rglob("*") if "__pycache__" not in path.parts} <= before
