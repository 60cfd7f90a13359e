"""charrnn.model.manage; `charrnn runs show`, `rename` and `rm`"""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from charrnn.cli.app import app
from charrnn.errors import CharrnnError
from charrnn.model.lookup import open_run, run_names, runs_folder
from charrnn.model.manage import remove_run, rename_run, run_size
from charrnn.model.writer import RunWriter
from tests.untrained import invoke, make_run, refused


@pytest.fixture(autouse=True)
def two(home: Path) -> None:
    for name in ("old", "other"):
        make_run(home, "some text\n" * 3, name=name, saves=(1, 3))


def names() -> set[str]:
    return set(run_names(runs_folder()))


def test_remove() -> None:
    remove_run("old")
    assert names() == {"other"}
    assert [path.name for path in runs_folder().iterdir()] == ["other"]


def test_remove_a_damaged_run() -> None:
    (runs_folder() / "old" / "run.json").write_text("{")
    remove_run("old")
    assert names() == {"other"}


def test_run_in_training_stays() -> None:
    with RunWriter.open(open_run("old")):
        for change in (lambda: remove_run("old"), lambda: rename_run("old", "new")):
            with pytest.raises(CharrnnError, match="another process is training old"):
                change()
    assert names() == {"old", "other"}


def test_links_are_not_followed(home: Path) -> None:
    (home / "precious").mkdir()
    (home / "precious" / "file").write_text("kept")
    (runs_folder() / "old" / "link").symlink_to(home / "precious")
    (runs_folder() / "alias").symlink_to(runs_folder() / "other")
    remove_run("old")
    assert (home / "precious" / "file").read_text() == "kept"
    with pytest.raises(CharrnnError, match="is a link to a run elsewhere"):
        remove_run("alias")
    assert open_run("other").checkpoint_steps() == [1, 3]


def test_unknown_runs() -> None:
    for change in (lambda: remove_run("oder"), lambda: rename_run("oder", "new")):
        with pytest.raises(CharrnnError, match="no run called 'oder'"):
            change()


def test_rename() -> None:
    assert rename_run("old", "new") == runs_folder() / "new"
    assert names() == {"new", "other"}
    assert open_run("new").checkpoint().step == 3


@pytest.mark.parametrize("name", ["other", "../up", ".hidden", "", "a/b", "a" * 101])
def test_names_that_a_run_cannot_get(name: str) -> None:
    with pytest.raises(CharrnnError, match=r"already|cannot be a run's name"):
        rename_run("old", name)
    assert names() == {"old", "other"}


def test_size_counts_all_files() -> None:
    path = runs_folder() / "old"
    before = run_size(path)
    (path / "notes").write_bytes(b"x" * 1000)
    (path / "link").symlink_to("/usr/bin/env")
    assert 1000 <= run_size(path) - before < 1100


# Commands


def test_name_of_a_removed_folder_is_made_safe() -> None:
    (runs_folder() / "old").rename(runs_folder() / "\x1b[31mred")
    result = CliRunner().invoke(app, ["runs", "rm", "\x1b[31mred", "--yes"], catch_exceptions=False)
    assert names() == {"other"}
    assert "␛[31mred" in result.stderr and "\x1b" not in result.stderr


def test_nothing_is_removed_unasked() -> None:
    assert "add --yes" in refused("rm", "old", command="runs")
    assert "no run called" in refused("rm", "old", "oder", "--yes", command="runs")
    assert names() == {"old", "other"}
    invoke("rm", "old", "other", "old", "--yes", command="runs")
    assert names() == set()


def test_rename_command() -> None:
    invoke("rename", "old", "new", command="runs")
    assert names() == {"new", "other"}
    assert "run other exists already; choose another name" in refused("rename", "new", "other", command="runs")


def test_names_still_list() -> None:
    for arguments in (["old"], ["list", "old"], ["old", "--json"]):
        out = invoke(*arguments, command="runs")
        assert "old" in out
        assert "other" not in out
    sizes = {entry["run"]: entry["bytes"] for entry in json.loads(invoke("--json", command="runs"))}
    for name in ("old", "other"):
        assert sizes[name] == run_size(runs_folder() / name)


def test_show() -> None:
    with RunWriter.open(open_run("old")) as writer:
        for step in (1, 2):
            writer.log("evaluation", step=step, train_nats=2.0, validation_nats=3.0 - step, seconds=1.0)
    out = invoke("show", "old", command="runs")
    assert "`charrnn export` leaves them out" in out
    assert "step 1, step 3" in out
    assert re.search("created +2020-01-01 00:00 UTC", out)
    assert "validation" in out
    told = json.loads(invoke("show", "old", "--json", command="runs"))
    assert [one["step"] for one in told["checkpoints"]] == [1, 3]
    assert told["held_out_bytes"] == 30
    assert datetime.fromisoformat(told["created"])
