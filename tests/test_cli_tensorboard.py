"""`charrnn train --tensorboard`, with a fake of the optional package."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from charrnn.cli.app import app
from charrnn.errors import CharrnnError
from charrnn.model.lookup import open_run

SMALL = ("--hidden-size", "8", "--embedding-size", "4", "--batch-size", "4", "--seq-length", "20", "--device", "cpu")
TRAIN = ("train", "text.txt", *SMALL, "--steps", "40", "--evaluations", "2", "--tensorboard")


class Written:
    """A fake torch.utils.tensorboard.SummaryWriter that records its calls."""

    made: list[Written] = []  # noqa: RUF012

    def __init__(self, folder: str, purge_step: int):
        self.folder, self.purge_step, self.closed = folder, purge_step, False
        self.scalars: dict[str, list[tuple[int, float]]] = {}
        Written.made.append(self)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.scalars.setdefault(name, []).append((step, value))

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def text(home: Path, short_text: str) -> None:
    (home / "text.txt").write_text(short_text)


def ran(*arguments: str) -> Any:
    return CliRunner().invoke(app, arguments)


def test_scalars(text: None, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Written
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    monkeypatch.setattr(Written, "made", [])
    assert ran(*TRAIN).exit_code == 0
    (board,) = Written.made
    run = open_run()
    assert (board.folder, board.purge_step, board.closed) == (str(run.path / "tensorboard"), 1, True)
    assert set(board.scalars) == {"nats/training", "nats/validation", "learning rate", "characters per second"}
    measured = [(m["step"], m["validation_nats"]) for m in run.metrics() if m["event"] == "evaluation"]
    assert board.scalars["nats/validation"] == measured
    assert [step for step, _ in board.scalars["learning rate"]][-1] == 40


def test_missing_package(text: None, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    result = ran(*TRAIN)
    assert isinstance(result.exception, CharrnnError)
    assert "pip install tensorboard" in str(result.exception)
    assert not (home / "checkpoints").exists()
