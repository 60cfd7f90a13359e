"""Shell completion, through the protocol that typer's scripts use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import sys
from charrnn.cli.app import app
try: app(prog_name="charrnn")
finally: assert "torch" not in sys.modules
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("plays", "python-2"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
        (tmp_path / "checkpoints" / name / "run.json").write_text("{}")
    evidence = [
        {"cell": "1:7", "property_name": "line position", "rank_correlation": 0.5},
        {"cell": "1:30", "property_name": "in string", "rank_correlation": 0.9},
    ]
    (tmp_path / "checkpoints/plays/findings").mkdir()
    (tmp_path / "checkpoints/plays/findings/a-b.json").write_text(json.dumps({"evidence": evidence}))
    (tmp_path / "corpora").mkdir()
    (tmp_path / "corpora/mine.txt").write_text("text")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("charrnn sample pl", {"plays"}),
        ("charrnn runs p", {"plays", "python-2"}),
        ("charrnn train --init-from py", {"python-2"}),
        ("charrnn train mi", {"mine.txt"}),
        ("charrnn train shake", {"shakespeare"}),
        ("charrnn inspect plays --cell 1", {"1:7", "1:30"}),
        ("charrnn inspect python-2 --cell 1", set()),
        ("charrnn inspect missing --cell 1", set()),
        ("charrnn history plays --property line", {"line position", "lines into the speech"}),
    ],
)
def test_completion(words: str, completed: set[str], folder: Path) -> None:
    environment = {"_CHARRNN_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    environment = {**os.environ, "CHARRNN_HOME": str(folder), **environment}
    done = subprocess.run([sys.executable, "-c", CODE], env=environment, cwd=folder, capture_output=True, text=True)
    assert set(done.stdout.splitlines()) - {""} == completed, done.stderr
    assert "AssertionError" not in done.stderr
