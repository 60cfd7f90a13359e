"""Shell completion, through the protocol that typer's scripts use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest
import shellingham

from charrnn.cli.app import app
from charrnn.cli.completion import bash_words
from charrnn.errors import UsageError

CODE = """
import contextlib, io, json, os, sys
from charrnn.cli.app import app

found = []
for words in json.load(sys.stdin):
    os.environ.update(COMP_WORDS=words.replace(" ", "\\n"), COMP_CWORD=str(words.count(" ")))
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
        app(prog_name="charrnn")
    found.append(out.getvalue().splitlines())
assert "torch" not in sys.modules
print(json.dumps(found))
"""
COMPLETED = {
    "charrnn sample pl": {"plays"},
    "charrnn runs p": {"plays", "python-2"},
    "charrnn train --init-from py": {"python-2"},
    "charrnn train mi": {"mine.txt"},
    "charrnn train shake": {"shakespeare"},
    "charrnn inspect plays --cell 1": {"1:7", "1:30"},
    "charrnn inspect python-2 --cell 1": set(),
    "charrnn inspect missing --cell 1": set(),
    "charrnn history plays --property line": {"line position", "lines into the speech"},
    "charrnn history plays --property hash": set(),
    "charrnn history plays --property t": {"tag depth"},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("plays", "python-2"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
        (tmp_path / "checkpoints" / name / "run.json").write_text("{}")
    evidence = [
        {"cell": "1:7", "property_name": "line position", "rank_correlation": 0.5},
        {"cell": "1:30", "property_name": "in string", "rank_correlation": 0.9},
        {"cell": "1:31", "property_name": "comma parity", "rank_correlation": 0.9},
    ]
    findings = {"evidence": evidence, "controls": ["comma parity"]}
    (tmp_path / "checkpoints/plays/findings").mkdir()
    (tmp_path / "checkpoints/plays/findings/a-b.json").write_text(json.dumps(findings))
    (tmp_path / "corpora").mkdir()
    (tmp_path / "corpora/mine.txt").write_text("text")
    return tmp_path


def test_completion(folder: Path) -> None:
    environment = {**os.environ, "CHARRNN_HOME": str(folder), "_CHARRNN_COMPLETE": "complete_bash"}
    command, lines = [sys.executable, "-c", CODE], json.dumps(list(COMPLETED))
    done = subprocess.run(command, input=lines, env=environment, cwd=folder, capture_output=True, text=True)
    assert done.stderr == ""
    found = (set(lines) - {""} for lines in json.loads(done.stdout))
    assert dict(zip(COMPLETED, found, strict=True)) == COMPLETED


@pytest.mark.parametrize(
    ("words", "joined", "printed"),
    [
        ("inspect -c 1 : 4", "inspect -c 1:4", "42 7"),
        ("inspect -c 1 :", "inspect -c 1:", "42 7"),
        ("inspect -c 1 : ", "inspect -c 1: ", "1:42 1:7"),
        ("inspect -c 1:4", "inspect -c 1:4", "1:42 1:7"),  # ":" is not in COMP_WORDBREAKS
        ("inspect -c 1", "inspect -c 1", "1:42 1:7"),
    ],
)
def test_words_that_bash_split(words: str, joined: str, printed: str, capsys: pytest.CaptureFixture[str]) -> None:
    environment = {"COMP_WORDS": words.replace(" ", "\n"), "COMP_CWORD": str(words.count(" "))}
    with bash_words(environment):
        print("1:42\n1:7")
    assert environment["COMP_WORDS"].split("\n") == joined.split(" ")
    assert environment["COMP_CWORD"] == str(joined.count(" "))
    assert capsys.readouterr().out.split() == printed.split()


PROGRAM = f"""#!{sys.executable}
from charrnn.cli.app import main
main()
"""


def test_completion_in_bash(folder: Path) -> None:
    program = folder / "charrnn"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    (folder / "rc").write_text(f"PATH={folder}:$PATH PS1='ready> '\nbind 'set enable-bracketed-paste off'\n")
    root = Path(__file__).parent.parent
    environment = {**os.environ, "CHARRNN_HOME": str(folder), "PYTHONPATH": str(root), "TERM": "dumb"}
    bash = pexpect.spawn("bash", ["--noprofile", "--rcfile", "rc", "-i"], cwd=folder, env=environment, timeout=60)
    bash.setwinsize(24, 200)
    bash.expect_exact("ready> ")
    bash.sendline('eval "$(charrnn --show-completion)"')
    bash.expect_exact("ready> ")
    for typed, completed in [("plays --cell 1:3", "0 "), ("pl", "ays "), ("plays -p 'line p", "osition' ")]:
        bash.send(f"charrnn inspect {typed}\t")
        bash.expect_exact(f"charrnn inspect {typed}{completed}")
        bash.sendcontrol("u")
    bash.send("charrnn inspect -p inside\\ par\t")
    bash.expect_exact("inside\\ parentheses ")
    bash.close()


def test_completion_without_a_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    for found in ("dash", None):

        def detect(found: str | None = found) -> tuple[str, str]:
            if found is None:
                raise shellingham.ShellDetectionFailure
            return found, f"/bin/{found}"

        monkeypatch.setattr(shellingham, "detect_shell", detect)
        for flag in ("--show-completion", "--install-completion"):
            with pytest.raises(UsageError, match=rf"{flag}: .*(no shell|dash has no).*; run it from bash"):
                app([flag], standalone_mode=False)
