"""charrnn.model.run_format and FORMAT.md"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import charrnn.model
from charrnn.errors import CharrnnError
from charrnn.model.checkpoint import Progress
from charrnn.model.lookup import runs_folder
from charrnn.model.run_format import migrate, with_version
from charrnn.model.run_settings import CorpusIdentity, Correction, Origin
from charrnn.options import Option, Settings
from charrnn.settings import ModelSettings, TrainingSettings
from tests.test_run import new_run, save

PAGE = Path(charrnn.model.__file__).with_name("FORMAT.md").read_text(encoding="utf-8")
TYPES = {int: "integer", float: "number", str: "string", bool: "boolean"}


def row(option: Option) -> str:
    kind = "list of strings" if option.repeatable else TYPES[option.value_type]
    kind += " or null" if option.optional else ""
    return f"| `{option.name}` | {kind} | `{json.dumps(option.default)}` | {option.help} |\n"


@pytest.mark.parametrize("settings", [ModelSettings, TrainingSettings, CorpusIdentity, Origin, Progress])
def test_page_describes_every_setting(settings: type[Settings]) -> None:
    rows = "".join(row(option) for option in settings.options().values())
    assert rows in PAGE


def test_page_describes_every_file(tmp_path: Path) -> None:
    with new_run(tmp_path) as writer:
        save(writer, 1200)
        writer.correct_steps([Correction(0, 2000, 10)])
    names = [path.name for path in writer.run.path.rglob("*")]
    assert len(names) > 10
    assert [name for name in names if name not in PAGE] == []
    assert runs_folder().name in PAGE


# Migrations


@pytest.mark.parametrize("content", [{}, {"origin": {}}, {"origin": [1]}, {"origin": "charrnn"}])
def test_format_1_without_a_version_is_migrated(content: dict[str, object]) -> None:
    assert migrate("run.json", {"format": 1, **content}, "file").content == content


def test_format_1_is_migrated() -> None:
    stored = {"format": 1, "model": {}, "origin": {"charrnn": "0.1.0", "device": "cpu"}}
    migrated = migrate("run.json", stored, "file")
    assert stored["origin"] == {"charrnn": "0.1.0", "device": "cpu"}
    assert migrated.content == {"model": {}, "origin": {"device": "cpu"}}
    assert (migrated.format, migrated.writer) == (1, "charrnn 0.1.0")


def test_progress_without_a_format_is_format_1() -> None:
    assert migrate("progress.json", {"step": 1}, "file").format == 1


def test_current_format_is_read_as_it_is() -> None:
    assert migrate("run.json", with_version({"model": {}}), "file").content == {"model": {}}


@pytest.mark.parametrize("data", [[], {}, {"format": None}, {"format": True}, {"format": 0}, {"format": "2"}])
def test_content_without_a_format_is_refused(data: object) -> None:
    with pytest.raises(CharrnnError, match="file does not describe a run"):
        migrate("run.json", data, "file")


@pytest.mark.parametrize("version", [None, 1, "x" * 100, "\x1b[2J"])
def test_invalid_version_is_not_shown(version: object) -> None:
    with pytest.raises(CharrnnError, match="an unknown version of charrnn wrote it"):
        migrate("run.json", {"format": 99, "charrnn": version}, "file")
