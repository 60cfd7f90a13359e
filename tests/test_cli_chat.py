"""`charrnn chat` and `charrnn sample --interactive` in pipes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from charrnn.cli.app import app
from charrnn.text.vocabulary import Vocabulary
from tests.test_cli_sample import LETTERS, write_run
from tests.untrained import invoke, make_run, refused

Chat = Callable[..., tuple[str, str]]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    write_run("letters", LETTERS, home / "checkpoints")
    write_run("bytes", Vocabulary.of_bytes(), home / "checkpoints")
    make_run(home, "USER: hi\nBOT: good day\n" * 9, name="dialogue")
    return home


@pytest.fixture
def chat(runs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Chat:
    """Run `charrnn chat` with lines from a pipe, and return standard output and error."""
    monkeypatch.setenv("CHARRNN_HOME", str(runs))
    monkeypatch.chdir(tmp_path)

    def call(lines: str | bytes, *arguments: str) -> tuple[str, str]:
        command = ["chat", *(arguments or ("letters",)), "--length", "30", "--seed", "1"]
        result = CliRunner().invoke(app, command, input=lines, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout, result.stderr

    return call


TURN = ("letters", "--turn-end", r"\n")


def test_each_line_gets_an_answer(chat: Chat) -> None:
    out, said = chat("abc\ndef", *TURN)
    first, _ = chat("abc\r\n", *TURN)
    assert out.startswith(first)
    assert len(out) > len(first)
    assert out.endswith("\n")
    assert said == ""


def test_unknown_characters_are_named(chat: Chat) -> None:
    out, said = chat("aXbXc\n", *TURN)
    assert out == chat("abc\n", *TURN)[0]
    assert said == "left out, because the model does not know it: 'X' U+0058 (2 times, first at character 1)\n"
    out, said = chat("XY\n\n", *TURN)
    assert out == ""


def test_bytes_that_are_not_text(chat: Chat) -> None:
    assert chat(b"a\xffb\n", *TURN)[0] == chat(b"ab\n", *TURN)[0]
    chat("abc\n/save a.txt\n", "bytes")
    chat(b"\xff\n/save b.txt\n", "bytes")
    assert Path("a.txt").read_bytes().startswith(b"abc")
    assert Path("b.txt").read_bytes().startswith(b"\xff")


def test_turns_of_the_held_out_text(chat: Chat) -> None:
    out, _ = chat("hi\n/save\n", "dialogue")
    assert Path("dialogue-chat.txt").read_text(encoding="utf-8") == f"USER: hi\nBOT: {out}"
    out, _ = chat("hi\n/save other.txt\n", "dialogue", "--you", "", "--reply", r"B:\n")
    assert Path("other.txt").read_text(encoding="utf-8").startswith("hi\nB:\n")


def test_undo_and_retry(chat: Chat) -> None:
    plain, _ = chat("ab\ncd\n", *TURN)
    again, said = chat("ab\nef\n/undo\n/seed 2\ncd\n/save undone.txt\n", *TURN)
    first, _ = chat("ab\n", *TURN)
    assert "taken back: 'ef'" in said
    assert again.startswith(first)
    assert again.endswith(plain.removeprefix(first))
    assert Path("undone.txt").read_text(encoding="utf-8") == f"ab\n{first}cd\n{plain.removeprefix(first)}".rstrip("\n")
    out, _ = chat("ab\n/retry\n", *TURN)
    assert out.removeprefix(first) != first
    assert "there is no line to take back" in chat("/undo\n")[1]
    assert "there is no answer to take back" in chat("/retry\n")[1]


def test_settings_change(chat: Chat) -> None:
    _, said = chat(
        "/temp 0.5\n/temperature\n/top-k 3\n/greedy maybe\n/temperature hot\n/length 0.5\n/ban a\n/top-k off\n"
    )
    assert said.splitlines()[:3] == ["temp 0.5", "temperature 0.5", "top-k 3"]
    assert "/greedy must be on or off, not 'maybe'" in said
    assert "/temperature must be a number or two" in said
    assert "/length must be a whole number, not '0.5'" in said
    assert said.endswith("ban a\ntop-k 0\n")
    assert "a" not in chat("/ban a\nbc\n")[0]


def test_help_and_quit(chat: Chat) -> None:
    out, said = chat("/help\n/quit\nabc\n")
    assert out == ""
    assert {"/temperature", "/undo", "/save", "/quit"} <= set(said.split())


def test_unknown_commands(chat: Chat) -> None:
    assert "there is no command /nothing; /help" in chat("/nothing\n")[1]
    for option in ("num", "max-copy", "matching"):
        assert chat(f"/{option} 3\n")[1] == f"--{option} cannot be changed in a conversation\n"
    assert chat("/undo 2\n/quit \n/nothing")[1] == "/undo takes no value; leave out '2'\n"
    make = chat("//ab\n", *TURN)
    assert "'/' U+002F" in make[1]
    assert make[0] == chat("ab\n", *TURN)[0]


def test_save_does_not_overwrite(chat: Chat) -> None:
    Path("kept.txt").write_text("kept")
    saves = ["ab", "/save kept.txt", "/save new.txt", "cd", "/save new.txt", "/save kept.txt/a", "/save ~no-one/a"]
    said = chat("".join(f"{line}\n" for line in saves), *TURN)[1]
    assert "kept.txt exists already; name another file" in said
    assert Path("kept.txt").read_text() == "kept"
    assert said.count("written to new.txt") == 2
    assert "cd\n" in Path("new.txt").read_text(encoding="utf-8")
    assert "kept.txt/a cannot be written" in said
    assert "~no-one/a is in no home folder" in said


def test_mistakes(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARRNN_HOME", str(runs))
    assert "--you has unknown characters" in refused("letters", "--you", "X", command="chat")
    assert "--greedy and --temperature exclude each other" in refused(
        "letters", "--greedy", "--temperature", "1", command="chat"
    )
    assert "no run" in refused("nowhere", command="chat")


def test_errors_do_not_end_the_conversation(chat: Chat) -> None:
    out, said = chat("/stop X\n/stop\nab\n/stop b\n/stop off\n/stop\n", *TURN)
    assert said.startswith("the stop text has unknown characters")
    assert said.splitlines()[1:] == ["stop off", "stop b", "stop off", "stop off"]
    assert out


def test_what_stays_fixed_is_named_as_a_flag(chat: Chat, runs: Path) -> None:
    pairs = "a\nb\naab\n\nbba"  # each of the three characters follows each
    (runs / "corpora").mkdir()
    (runs / "corpora" / "a.txt").write_text(2 * pairs)
    make_run(runs, pairs, name="pairs", corpus=2 * pairs)
    said = chat("a\n", "pairs", "--max-copy", "1", "--turn-end", r"\n")[1]
    assert said.endswith("; allow more with --max-copy, or use fewer filters\n")


# sample --interactive


def test_each_line_is_a_prime(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARRNN_HOME", str(runs))
    options = ("letters", "--length", "20")
    out = invoke(*options, "--seed", "4", "--interactive", standard_input="ab\nXc\nX\n\n", command="sample")
    texts = [
        invoke(*options, "--seed", seed, "--prime", prime, command="sample").rstrip("\n") + "\n"
        for seed, prime in (("4", "ab"), ("5", "c"), ("7", ""))
    ]
    assert out == "".join(texts)


def test_interactive_mistakes(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARRNN_HOME", str(runs))
    assert "--prime and --interactive exclude each other" in refused("-i", "--prime", "a", command="sample")
    assert "cannot both read standard input" in refused("-i", "--adapt", "-", command="sample")
