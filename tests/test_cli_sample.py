"""`charrnn sample`: output to a pipe, to a terminal and as JSON, and mistakes."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner

from charrnn.cli import sampled_text
from charrnn.cli.app import app
from charrnn.display.terminal import STYLE
from charrnn.errors import CharrnnError, ExitCode, UsageError
from charrnn.model.checkpoint import Progress
from charrnn.model.lookup import open_run
from charrnn.model.network import CharRNN
from charrnn.model.run_settings import CorpusIdentity, Origin, RunSettings
from charrnn.model.writer import RunWriter
from charrnn.sampling import registry
from charrnn.scoring.score import score
from charrnn.settings import ModelSettings, TrainingSettings
from charrnn.text.encoded_text import EncodedText
from charrnn.text.vocabulary import Vocabulary

LETTERS = Vocabulary.of("\nabcdefghijé")
HOSTILE = Vocabulary.of("\x1b[2J\x9b\u202e\x7f")


def write_run(name: str, vocabulary: Vocabulary, folder: Path, bias: list[float] | None = None) -> None:
    """Write a run with random weights, or with a bias, a network that always predicts these logits."""
    shape = ModelSettings(hidden_size=9, embedding_size=4)
    network = CharRNN(shape, len(vocabulary))
    network.initialize(torch.Generator().manual_seed(1))
    with torch.no_grad():
        network.output.weight *= 10 if bias is None else 0
        if bias is not None:
            network.output.bias.copy_(torch.tensor(bias))
    settings = RunSettings(shape, TrainingSettings(), CorpusIdentity(name=name), Origin.here("none", "a test"))
    with RunWriter.create(name, settings, vocabulary, b"", folder) as writer:
        writer.save(Progress(step=40, validation_nats=2.0), dict(network.state_dict()), {})


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    folder = home / "checkpoints"
    write_run("letters", LETTERS, folder)
    write_run("bytes", Vocabulary.of_bytes(), folder)
    write_run("accents", Vocabulary.of_bytes(), folder, [9.0 if b in "é".encode() else -9.0 for b in range(256)])
    write_run("hostile", HOSTILE, folder, [0.0] * len(HOSTILE))
    write_run("huge", LETTERS, folder, [3e38] + [-3e38] * (len(LETTERS) - 1))
    return home


@pytest.fixture
def run(runs: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., bytes]:
    """Run `charrnn sample` and return the bytes written to a pipe."""
    monkeypatch.setenv("CHARRNN_HOME", str(runs))

    def call(*arguments: str, stdin: bytes = b"") -> bytes:
        result = CliRunner().invoke(app, ["sample", *arguments], input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.stdout_bytes

    return call


@pytest.fixture
def terminal(runs: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run `charrnn sample` on a pseudo-terminal and return what it received."""
    monkeypatch.setenv("CHARRNN_HOME", str(runs))

    def call(*arguments: str) -> str:
        master, slave = os.openpty()
        received: list[bytes] = []
        reader = threading.Thread(target=read_to_the_end, args=(master, received))
        reader.start()
        with open(slave, "w", encoding="utf-8", newline="") as out, monkeypatch.context() as patch:  # noqa: PTH123
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", out)
            typer.main.get_command(app)(["sample", *arguments], standalone_mode=False)
        reader.join()
        os.close(master)
        return b"".join(received).decode().replace("\r\n", "\n")

    return call


def read_to_the_end(terminal: int, received: list[bytes]) -> None:
    with contextlib.suppress(OSError):  # on Linux: the other end is closed
        while piece := os.read(terminal, 1 << 16):
            received.append(piece)


# Pipe


def test_pipe_gets_only_the_text(run: Callable[..., bytes]) -> None:
    text = run("letters", "--length", "300", "--seed", "1").decode()
    assert len(text) == 300
    assert set(text) <= set(LETTERS.characters)


def test_same_seed(run: Callable[..., bytes]) -> None:
    first = run("letters", "--length", "50", "--seed", "7")
    assert run("letters", "--length", "50", "--seed", "7") == first
    assert run("letters", "--length", "50", "--seed", "8") != first
    assert run("letters", "--length", "50") != run("letters", "--length", "50")


def test_no_echo(run: Callable[..., bytes]) -> None:
    whole = run("letters", "--length", "20", "--seed", "1", "--prime", "abé").decode()
    assert whole.startswith("abé")
    assert len(whole) == 23
    assert run("letters", "--length", "20", "--seed", "1", "--prime", "abé", "--no-echo").decode() == whole[3:]


def test_prime_sources(run: Callable[..., bytes], tmp_path: Path) -> None:
    prime = "abcé\n"
    file = tmp_path / "prime.txt"
    file.write_text(prime, encoding="utf-8")
    expected = run("letters", "--seed", "1", "--prime", prime)
    assert run("letters", "--seed", "1", "--prime", "-", stdin=prime.encode()) == expected
    assert run("letters", "--seed", "1", "--prime-file", "-", stdin=prime.encode()) == expected
    assert run("letters", "--seed", "1", "--prime-file", str(file)) == expected


def test_stdin_is_not_read(run: Callable[..., bytes]) -> None:
    assert run("letters", "--seed", "1", stdin=b"abc") == run("letters", "--seed", "1")


def test_zero_length(run: Callable[..., bytes]) -> None:
    assert run("letters", "--length", "0", "--prime", "abc") == b"abc"


def test_bytes_are_exact(run: Callable[..., bytes]) -> None:
    text = run("bytes", "--length", "400", "--seed", "1", "--temp", "5", "--prime", "é\udcff")
    assert text.startswith(b"\xc3\xa9\xff")
    assert len(text) == 403
    with pytest.raises(UnicodeDecodeError):
        text.decode()


def test_pipe_gets_control_characters(run: Callable[..., bytes]) -> None:
    text = run("hostile", "--length", "200", "--seed", "1").decode()
    assert len(text) == 200
    assert set(text) == set(HOSTILE.characters)


def test_texts_end_with_one_newline(run: Callable[..., bytes]) -> None:
    alone = [run("letters", "--length", "30", "--seed", "5", "--num", "1").decode()]
    several = run("letters", "--length", "30", "--seed", "5", "--num", "3").decode()
    assert several.startswith(alone[0] if alone[0].endswith("\n") else alone[0] + "\n")
    lines = run("letters", "--seed", "5", "--num", "8", "--stop", "\n", "--length", "3000").decode()
    assert lines.count("\n") == 8
    assert lines.endswith("\n")


def test_texts_match_json(run: Callable[..., bytes]) -> None:
    options = ("letters", "--seed", "5", "--num", "3", "--length", "40", "--prime", "ab", "--stop", "c")
    texts = [json.loads(line)["text"] for line in run(*options, "--json").splitlines()]
    assert len(set(texts)) == 3
    assert run(*options).decode() == "".join(f"ab{text}\n" for text in texts)


@pytest.mark.parametrize(
    ("given", "stop"), [(r"\n", "\n"), (r"\x61", "a"), (r"\u00e9", "é"), (r"b\n", "b\n"), ("c", "c")]
)
def test_stop_text_with_escapes(run: Callable[..., bytes], given: str, stop: str) -> None:
    options = ("letters", "--seed", "5", "--length", "3000")
    assert run(*options, "--stop", given) == run(*options, "--stop", stop)
    assert run(*options, "--stop", given).decode().endswith(stop)


@pytest.mark.parametrize("given", [r"\\n", r"\x6", r"\alpha"])
def test_other_backslashes_are_text(runs: Path, monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("CHARRNN_HOME", str(runs))
    result = CliRunner().invoke(app, ["sample", "letters", "--stop", given])
    assert isinstance(result.exception, CharrnnError)
    assert result.exception.message.startswith("the stop text has unknown characters: '\\\\'")


def test_stop_is_repeatable(run: Callable[..., bytes]) -> None:
    options = ("letters", "--seed", "5", "--num", "8", "--length", "3000", "--json", "--stop", r"\n", "--stop", "a")
    entries = [json.loads(line) for line in run(*options).splitlines()]
    assert {entry["text"][-1] for entry in entries} == {"\n", "a"}
    assert all(entry["stopped"] and not {"\n", "a"} & set(entry["text"][:-1]) for entry in entries)


@pytest.mark.parametrize(
    "arguments",
    [("sample", "huge"), ("sample", "huge", "--json"), ("evaluate", "huge", "TEXT"),
     ("inspect", "huge", "--cell", "1", "--text", "TEXT", "--top")],
    ids=" ".join,
)  # fmt: skip
def test_huge_weights(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]) -> None:
    monkeypatch.setenv("CHARRNN_HOME", str(runs))
    (tmp_path / "text").write_text("abcabc")
    result = CliRunner().invoke(app, [str(tmp_path / "text") if each == "TEXT" else each for each in arguments])
    assert isinstance(result.exception, CharrnnError)
    assert "network overflows" in result.exception.message
    assert result.stdout == ""


# JSON


def test_json(run: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("letters", "--seed", "3", "--length", "25", "--num", "2", "--prime", "aé", "--json")
    entries = [json.loads(line) for line in run(*options).decode("ascii").splitlines()]
    assert [entry["stream"] for entry in entries] == [0, 1]
    network, _ = open_run("letters").load_network()
    for entry in entries:
        assert entry.keys() >= {"run", "step", "seed", "prime", "text", "characters", "stopped"}
        assert (entry["run"], entry["step"], entry["seed"], entry["prime"]) == ("letters", 40, 3, "aé")
        assert entry["characters"] == len(entry["text"]) == 25
        assert not entry["stopped"]
        nats = score(network, EncodedText(LETTERS.encode("aé" + entry["text"]))).nats[1:].mean()
        assert entry["nats_per_character"] == pytest.approx(nats, rel=1e-5)
        assert entry["bits_per_character"] == pytest.approx(nats / 0.6931471805599453, rel=1e-5)


def test_json_of_stopped_and_empty_texts(run: Callable[..., bytes]) -> None:
    stopped = json.loads(run("letters", "--seed", "1", "--stop", "a", "--length", "1000", "--json"))
    assert stopped["stopped"]
    assert stopped["text"].index("a") == stopped["characters"] - 1
    empty = json.loads(run("letters", "--length", "0", "--json"))
    assert (empty["text"], empty["characters"], empty["nats_per_character"]) == ("", 0, None)


def test_json_of_bytes(run: Callable[..., bytes]) -> None:
    options = ("bytes", "--seed", "1", "--length", "500", "--temp", "10")
    line = run(*options, "--json").decode("ascii")
    assert base64.b64decode(json.loads(line)["base64"]) == run(*options)
    hostile = run("hostile", "--seed", "1", "--length", "200", "--json").decode("ascii")
    assert set(json.loads(hostile)["text"]) == set(HOSTILE.characters)
    for printed in (line, hostile):
        assert re.fullmatch(r"[ -~]*\n", printed)


# Terminal


def test_terminal_gets_safe_text(terminal: Callable[..., str]) -> None:
    shown = terminal("hostile", "--length", "300", "--seed", "1")
    assert not set("\x1b\x9b\u202e\x7f") & set(shown)
    assert all(sign in shown for sign in ("␛", "\\x9b", "\\u202e", "␡"))


def test_raw(terminal: Callable[..., str]) -> None:
    assert set(HOSTILE.characters) <= set(terminal("hostile", "--length", "300", "--seed", "1", "--raw"))


def test_terminal_ends_with_a_newline(terminal: Callable[..., str]) -> None:
    shown = terminal("letters", "--length", "40", "--seed", "1", "--stop", "\n")
    assert not shown.endswith("\n\n")
    assert terminal("letters", "--length", "0", "--seed", "1", "--prime", "abc") == "abc\n"
    assert terminal("letters", "--length", "0", "--seed", "1", "--prime", "abc\n") == "abc\n"


def test_terminal_gets_whole_characters(terminal: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampled_text, "FLUSH_SECONDS", {"terminal": 0.0, "pipe": 0.0})
    assert terminal("accents", "--length", "0", "--seed", "1", "--prime", "éé") == "éé\n"
    shown = terminal("accents", "--length", "60", "--seed", "1", "--no-echo")
    assert "é" in shown
    assert "\\x" not in shown


def test_terminal_shows_the_seed(terminal: Callable[..., str]) -> None:
    shown = terminal("letters", "--length", "40")
    told, text = re.match(r"letters · seed (\d+)\n(.*)", shown, re.DOTALL).groups()
    assert terminal("letters", "--length", "40", "--seed", told) == text


def test_terminal_shows_headings(terminal: Callable[..., str]) -> None:
    shown = terminal("letters", "--length", "10", "--seed", "2", "--num", "3")
    assert re.findall(r"^── (\d)/3 ──$", shown, re.MULTILINE) == ["1", "2", "3"]


@contextlib.contextmanager
def endless_text(runs: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "charrnn", "sample", "letters", "--length", "1000000000"],
        env={**os.environ, "CHARRNN_HOME": str(runs), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pipesize=4096,  # the program waits when it is full
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def test_ctrl_c_is_silent(runs: Path) -> None:
    with endless_text(runs) as process:
        assert len(process.stdout.read(1000)) == 1000
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert said == b""
    assert process.returncode == ExitCode.INTERRUPTED


def test_closed_pipe_is_silent(runs: Path) -> None:
    with endless_text(runs) as process:
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) != 0


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="no files for descriptors")
def test_prime_from_a_pipe(run: Callable[..., bytes]) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"abc")
    os.close(writer)
    try:
        assert run("letters", "--prime-file", f"/dev/fd/{reader}", "--length", "5").startswith(b"abc")
    finally:
        os.close(reader)


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--prime", "ab!?!"), r"the prime has unknown characters: '!' U\+0021 .*--skip-unknown"),
        (("--stop", "x"), "the stop text has unknown characters"),
        (("--stop", ""), "the stop text is empty"),
        (("--checkpoint", "41"), "no checkpoint '41'.*best, last, 40"),
        (("--prime-file", "nowhere.txt"), "no file nowhere.txt"),
        (("--prime", "a", "--prime-file", "b"), "--prime and --prime-file exclude each other"),
        (("--greedy", "--temp", "1"), "--greedy and --temperature exclude each other"),
        (("--greedy", "--top-k", "3"), "--greedy and --top-k exclude each other"),
        (("--greedy", "--num", "2"), "--greedy always generates the same text"),
        (("--temperature", "0"), "--temperature must be at least 0.01 .*; for the most likely character, use --greedy"),
        (
            ("--temperature", "-1"),
            "--temperature must be at least 0.01 .*; for the most likely character, use --greedy",
        ),
        (("--temperature", "200"), "--temperature must be at least 0.01 and at most 100, not 200.0$"),
        (("--top-p", "0"), "--top-p must be above 0"),
        (("--length", "-1"), "--length must be at least 0"),
        (("--seed", str(2**64)), "--seed must be at least 0 and at most"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_mistake_is_one_line(run: Callable[..., bytes], arguments: tuple[str, ...], said: str) -> None:
    with pytest.raises(CharrnnError, match=said):
        run("letters", *arguments)


def test_skip_unknown(run: Callable[..., bytes]) -> None:
    options = ("letters", "--seed", "1", "--length", "20")
    assert run(*options, "--prime", "a!b?", "--skip-unknown") == run(*options, "--prime", "ab")


def test_unknown_run(run: Callable[..., bytes]) -> None:
    with pytest.raises(UsageError, match=r"'leters'.*letters"):
        run("leters")


def test_checkpoint_by_step(run: Callable[..., bytes]) -> None:
    assert run("letters", "--seed", "1", "--checkpoint", "40") == run("letters", "--seed", "1", "--checkpoint", "last")


def test_greedy_needs_no_seed(run: Callable[..., bytes]) -> None:
    assert run("letters", "--greedy") == run("letters", "--greedy")


def test_filter_from_outside_the_package(run: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """A registered filter gets a flag, help, bounds, and a conflict with --greedy."""
    monkeypatch.setitem(registry.FILTERS, "drop_first", None)  # unregisters it at the end

    @registry.register(0, off=0, help="Never generate the first characters of the vocabulary.", at_least=0, at_most=5)
    def drop_first(logits: torch.Tensor, number: int) -> torch.Tensor:
        return logits.index_fill(-1, torch.arange(number), registry.EXCLUDED)

    assert "--drop-first" in CliRunner().invoke(app, ["sample", "--help-all"], env={"COLUMNS": "100"}).output
    options = ("letters", "--seed", "1", "--length", "300")
    assert set(LETTERS.characters[:4]) & set(run(*options).decode())
    assert not set(LETTERS.characters[:4]) & set(run(*options, "--drop-first", "4").decode())
    with pytest.raises(UsageError, match="--drop-first must be at least 0 and at most 5"):
        run("letters", "--drop-first", "6")
    with pytest.raises(UsageError, match="--greedy and --drop-first exclude each other"):
        run("letters", "--drop-first", "2", "--greedy")


def test_help() -> None:
    result = CliRunner().invoke(app, ["sample", "--help-all"], env={"COLUMNS": "100", "NO_COLOR": "1"})
    assert result.exit_code == 0
    for flag in ("--length", "--temperature", "--temp", "--top-k", "--top-p", "--min-p", "--greedy", "--num", "--stop",
                 "--seed", "--prime", "--prime-file", "--no-echo", "--skip-unknown", "--checkpoint", "--device",
                 "--raw", "--json"):  # fmt: skip
        assert re.search(rf"(?<!\S){flag}\b", result.output.replace(",", " ")), flag
    assert "1,000" in result.output
    assert "0.8" in result.output


# Cells


def test_clamp_changes_only_its_range(run: Callable[..., bytes]) -> None:
    free = run("letters", "--length", "60", "--seed", "7")
    assert run("letters", "--length", "60", "--seed", "7", "--clamp", "1:3=9@61..90") == free
    held = run("letters", "--length", "60", "--seed", "7", "--clamp", "1:3=-9@31..60", "--clamp", "1:4.h=1@31..60")
    assert held[:30] == free[:30]
    assert held != free


def test_coloring_keeps_the_text(run: Callable[..., bytes], terminal: Callable[..., str]) -> None:
    common = ("letters", "--length", "200", "--seed", "7", "--prime", "abc")
    assert run(*common, "--color-by", "1:3") == run(*common)
    assert STYLE.sub("", run(*common, "--color-by", "1:3", "--color", "256").decode()) == run(*common).decode()
    colored = terminal(*common, "--color-by", "1:3", "--color", "256", "--background", "dark")
    legend, _, text = colored.partition("\n")
    assert STYLE.sub("", legend).startswith("letters · tanh(c) of cell 1:3 −1")
    assert text != STYLE.sub("", text) == terminal(*common)


def test_values_in_json(run: Callable[..., bytes]) -> None:
    entry = json.loads(run("letters", "--length", "20", "--seed", "7", "--color-by", "1:3.h", "--json"))
    assert len(entry["values"]) == 20
    assert all(-1 <= value <= 1 for value in entry["values"])


@pytest.mark.parametrize("clamp", ["1:3=inside", "1:3=nan", "1:3.h=2", "1:3=0@9..2", "3:1=0"])
def test_wrong_clamp(run: Callable[..., bytes], clamp: str) -> None:
    with pytest.raises(CharrnnError):
        run("letters", "--clamp", clamp)


def test_novelty_needs_the_corpus(run: Callable[..., bytes], runs: Path) -> None:
    result = CliRunner().invoke(app, ["sample", "letters", "--novelty"])
    assert isinstance(result.exception, CharrnnError)
    assert str(result.exception).startswith("the text that letters was trained on is not in ")
