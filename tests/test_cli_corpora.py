"""`charrnn corpora`."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from charrnn.cli import corpora
from charrnn.cli.progress import transfer_bar
from charrnn.display.terminal import Terminal
from charrnn.errors import CharrnnError, UsageError
from charrnn.text import catalog
from charrnn.text.catalog import Entry
from charrnn.text.download import FetchError


class Written:
    """A source of the catalog that writes a given text."""

    origin, size = "https://example.org/a/rather/long/address/that/must/not/be/cut/text-of-the-year-1603.txt", 1_234_567

    def write(self, file, progress, opener):
        file.write(b"to be")
        progress(5, 5)


class Gone:
    origin, size = "https://example.org/gone", None

    def write(self, file, progress, opener):
        raise FetchError("the server answers 404 Not Found")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CHARRNN_HOME", raising=False)
    entries = {
        "play": Entry("play", "A play of five acts and of very many words", Written()),
        "gone": Entry("gone", "A text that is no longer there", Gone()),
    }
    monkeypatch.setattr(catalog, "CORPORA", entries)
    return tmp_path


def ran(*arguments: str):
    app = typer.Typer()
    app.callback()(lambda: None)
    app.add_typer(corpora.corpora_app, name="corpora")
    return CliRunner().invoke(app, ["corpora", *arguments])


def put(name: str, text: str = "mine") -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(text)


def test_list_has_catalog_and_folder():
    put("corpora/play.txt", "to be")
    put("corpora/diary.txt")
    put("corpora/books/one.txt")
    put("corpora/README.md")
    result = ran()
    assert result.exit_code == 0
    lines = [line.split() for line in result.stdout.splitlines()]
    assert [line[0] for line in lines if line[0].isalpha()] == ["corpus", "play", "gone", "books", "diary"]
    assert lines[2][1:4] == ["5", "B", "here"]
    assert lines[3][1:3] == ["?", "-"]
    assert lines[5][1:4] == ["4", "B", "here"]
    assert lines[5][-1] == str(Path("corpora/diary.txt"))


def test_list_in_a_pipe():
    result = ran()
    assert Written.origin in result.stdout
    assert "\x1b" not in result.stdout
    header, _, *lines = result.stdout.splitlines()
    assert all(line[header.index("source") - 2 :].startswith("  https://") for line in lines)


def test_list_json():
    put("corpora/diary.txt")
    entries = json.loads(ran("--json").stdout)
    assert [(e["name"], e["present"], e["size"]) for e in entries] == [
        ("play", False, 1_234_567),
        ("gone", False, None),
        ("diary", True, 4),
    ]
    assert entries[0]["origin"] == Written.origin
    assert entries[2]["path"] == str(Path("corpora/diary.txt"))


@pytest.mark.parametrize("width", [20, 40, 71, 72, 100])
@pytest.mark.parametrize("colors", ["none", "truecolor"])
def test_list_fits_any_width(width, colors, monkeypatch):
    put("corpora/a [red]name[ red].txt")
    stream = io.StringIO()
    terminal = Terminal(is_terminal=True, colors=colors, width=width, unicode=True, stream=stream)
    monkeypatch.setattr(Terminal, "of", lambda stream, color="auto": terminal)
    assert ran().exit_code == 0
    drawn = stream.getvalue()
    assert ("\x1b[" in drawn) == (colors != "none")
    plain = "".join(part.partition("m")[2] if number else part for number, part in enumerate(drawn.split("\x1b[")))
    assert all(len(line) <= width for line in plain.splitlines())
    squeezed = "".join(plain.split())
    for entry in corpora.list_entries(Path("corpora")):
        for cell in (entry.name, entry.description or "", entry.origin or "", entry.path or ""):
            if cell != entry.path or entry.origin is None:
                assert "".join(cell.split()) in squeezed


@pytest.mark.skipif(os.name != "posix", reason="POSIX has such names")
def test_file_name_is_safe():
    put("corpora/\x1b[31m\n\u202e.txt")
    result = ran()
    assert "\x1b" not in result.stdout
    assert "\u202e" not in result.stdout
    assert len(result.stdout.splitlines()) == 5


@pytest.mark.skipif(os.name != "posix", reason="POSIX has links that lead nowhere")
def test_broken_link():
    Path("corpora").mkdir()
    Path("corpora/play.txt").symlink_to("nowhere")
    assert ran().exit_code == 0


def test_get():
    result = ran("get", "play", "play.txt")
    assert result.exit_code == 0
    assert result.stdout == f"{Path('corpora/play.txt')}\n" * 2
    assert Path("corpora/play.txt").read_text() == "to be"


def test_get_uses_charrnn_home(monkeypatch, tmp_path):
    monkeypatch.setenv("CHARRNN_HOME", str(tmp_path / "home"))
    assert ran("get", "play").stdout == f"{tmp_path / 'home' / 'corpora' / 'play.txt'}\n"


def test_get_unknown_name():
    result = ran("get", "play", "plya")
    assert isinstance(result.exception, UsageError)
    assert str(result.exception) == "the catalog has no corpus 'plya'; choose from play, gone"
    assert not Path("corpora").exists()


def test_get_unavailable_corpus():
    result = ran("get", "gone")
    assert isinstance(result.exception, CharrnnError)
    assert "https://example.org/gone: the server answers 404 Not Found" in str(result.exception)
    assert str(Path("corpora/gone.txt")) in result.exception.hint


def test_json_is_for_the_list():
    assert isinstance(ran("--json", "get", "play").exception, UsageError)


class Screen(io.StringIO):
    def isatty(self):
        return True


def test_transfer_bar_needs_a_terminal(monkeypatch):
    for stream, drawn in ((Screen(), True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stderr", stream)
        with transfer_bar("play") as progress:
            assert stream.getvalue() == ""
            for done in (400, 1000):
                progress(done, 1000)
        assert ("play" in stream.getvalue()) == drawn


def test_transfer_bar_restarts(monkeypatch):
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    with transfer_bar() as progress:
        progress(1000, 1000)
        progress(5, 2000)
        progress(1000, 2000)
    assert "/1.00k" in screen.getvalue()
    assert "/2.00k" in screen.getvalue()


def test_import_is_light():
    code = "import sys, charrnn.cli.corpora; print({'torch', 'numpy', 'rich.table', 'tqdm'} & set(sys.modules))"
    root = Path(corpora.__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
