"""Help, errors, and the commands train and evaluate."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch

from charrnn import __version__
from charrnn.cli import app
from charrnn.cli.app import COMMANDS
from charrnn.model.device import choose_precision, supported_precisions
from charrnn.model.lookup import open_run
from charrnn.model.run import Run
from charrnn.sampling.settings import SampleSettings
from charrnn.settings import ModelSettings, ReadSettings, TrainingSettings
from charrnn.training import planning
from tests.faults.test_stops import after_step

Program = Callable[..., tuple[int, str, str]]

SMALL = ("--hidden-size", "16", "--embedding-size", "8", "--batch-size", "4", "--seq-length", "20", "--device", "cpu")


def run_program(*arguments: str) -> int:
    """Run the program in this process and return its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "TIMING_SECONDS", 0.01)
        patch.setattr(sys, "argv", ["charrnn", *arguments])
        with pytest.raises(SystemExit) as ended:
            app.main()
    return ended.value.code or 0


@pytest.fixture
def program(capsys: pytest.CaptureFixture[str]) -> Program:
    """Run the program in this process. Returns exit code, stdout and stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        return run_program(*arguments), *capsys.readouterr()

    return run


@pytest.fixture
def text(home: Path, short_text: str) -> Path:
    path = home / "text.txt"
    path.write_text(short_text)
    return path


@pytest.fixture(scope="module")
def trained_runs(tmp_path_factory: pytest.TempPathFactory, short_text: str) -> Path:
    """The folder of a run called text, trained on text.txt."""
    home = tmp_path_factory.mktemp("trained")
    (home / "text.txt").write_text(short_text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHARRNN_HOME", str(home))
        patch.chdir(home)
        assert run_program("train", "text.txt", *SMALL, "--steps", "60", "--evaluations", "3") == 0
    return home / "checkpoints"


@pytest.fixture
def trained(trained_runs: Path, home: Path, text: Path) -> Run:
    shutil.copytree(trained_runs, home / "checkpoints")
    return open_run()


def assert_one_line(err: str, *words: str) -> None:
    assert err.startswith("charrnn: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1, err
    for word in words:
        assert word in err


# Help and errors


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: …"),
    ],
)
def test_out_of_memory_is_one_line(error: Exception, program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "app", Mock(side_effect=error))
    code, _, err = program("train")
    assert code == 1
    assert_one_line(err, "out of memory", "--hidden-size")


def test_bug_is_a_traceback(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "app", Mock(side_effect=RuntimeError("shapes do not fit")))
    with pytest.raises(RuntimeError, match="shapes"):
        program("train")


def test_help_loads_no_torch() -> None:
    code = """
import sys, typer
from charrnn.cli.app import app
heavy = {"torch", "numpy", "safetensors"}
for command in ((), *((name,) for name in typer.main.get_command(app).commands)):
    try: app([*command, "--help"], standalone_mode=False)
    except SystemExit: pass
    assert not heavy & set(sys.modules), (command, heavy & set(sys.modules))
    heavy = {"torch"}
"""
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_python_dash_m() -> None:
    done = subprocess.run([sys.executable, "-m", "charrnn", "--version"], check=True, capture_output=True, text=True)
    assert done.stdout == f"charrnn {__version__}\n"


def test_no_command_shows_help(program: Program) -> None:
    code, out, _ = program()
    assert code == 0
    for command in ("train", "sample", "inspect", "gates", "memory", "history", "evaluate", "runs", "corpora"):
        assert re.search(rf"\b{command}\b", out)


@pytest.mark.parametrize(
    ("command", "classes"),
    [("train", (ModelSettings, TrainingSettings, ReadSettings)), ("sample", (SampleSettings,))],
)
def test_help_shows_every_option(
    program: Program, monkeypatch: pytest.MonkeyPatch, command: str, classes: tuple
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    _, out, _ = program(command, "--help-all")
    for cls in classes:
        for option in cls.options().values():
            assert option.flag in out


NAMES = [command.__name__.removesuffix("_") for command, _ in COMMANDS]


@pytest.mark.parametrize(("command", "main_options"), list(zip(NAMES, (named for _, named in COMMANDS), strict=True)))
def test_help_fits_a_small_terminal(
    program: Program, monkeypatch: pytest.MonkeyPatch, command: str, main_options: str
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    _, out, _ = program(command, "--help")
    assert 5 < len(out.splitlines()) <= 24
    assert len(main_options.split()) <= 8
    for option in main_options.split():
        assert re.search(rf"{option}\b", out), option


def test_help_shows_no_types(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    for command in (*NAMES, "runs", "corpora"):
        _, out, _ = program(command, "--help-all" if command in NAMES and command != "import" else "--help")
        assert "--help" in out
        assert not re.search(r"<(str|int|float|list)", out), command
        assert "bool" not in out.lower(), command


@pytest.mark.parametrize("page", ["--help", "--help-all"])
def test_help_shows_which_options_take_a_value(program: Program, monkeypatch: pytest.MonkeyPatch, page: str) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    _, out, _ = program("inspect", page)
    assert max(map(len, out.splitlines())) <= 80
    for option in (r"--prove +N", r"--html +FILE", r"--cell +-c +CELL", r"--evidence {5,}", r"--json {5,}"):
        assert re.search(rf"{option} +[A-Z][a-z]", out), option


def test_help_shows_a_long_metavar_after_the_help(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    _, out, _ = program("evaluate", "--help-all")
    assert re.search(r"--checkpoint +VALUE +Checkpoint to load\. \[best\|last\|STEP\]", out)
    assert re.search(r"--newlines +keep\|lf +Line ends", out)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trian"], ["No such command 'trian'", "charrnn --help"]),
        (["train", "--layers", "many"], ["--layers", "charrnn train --help"]),
        (["train", "x", "--layers", "0"], ["--layers must be at least 1"]),
        (["train", "x", "--minutes", "0"], ["--minutes must be above 0"]),
        (["train", "x", "--minutes", "1", "--epochs", "2"], ["--epochs and --minutes exclude each other"]),
        (["train", "x", "--resume", "--init-from", "y"], ["--resume and --init-from exclude each other"]),
        (["train", "nosuch.txt"], ["nosuch"]),
        (["train"], ["no corpus given", "charrnn train python"]),
        (["train", "--resume"], ["built-in", "--init-from code"]),
        (["train", "text.txt", "--resume", "--name", "code"], ["built-in", "--init-from code"]),
        (["train", "text.txt", "--name", "code"], ["run code exists already"]),
        (["runs", "rm", "code", "--yes"], ["built-in"]),
        (["train", "text.txt", "--name", "../escape"], ["cannot be a run's name"]),
        (["train", "text.txt", "--init-from", "nobody"], ["no run called 'nobody'"]),
        (["train", "text.txt", "--device", "tpu"], ["--device must be one of"]),
        (["evaluate", "nobody"], ["no run called 'nobody'"]),
        (["gates", "--cell", "1"], ["No such option", "--cell", "charrnn gates --help"]),
        (["history"], ["Missing option", "--cell", "charrnn history --help"]),
        (["inspect", "--gates"], ["No such option", "--gates", "charrnn inspect --help"]),
        (["inspect", "--prove"], ["Option '--prove' requires an argument; see charrnn inspect --help"]),
        (["corpora", "--json=3"], ["Option '--json' does not take a value; see charrnn corpora --help"]),
    ],
)
def test_mistake_is_one_line_on_stderr(program: Program, text: Path, arguments: list[str], words: list[str]) -> None:
    code, out, err = program(*arguments)
    assert code in (1, 2)
    assert out == ""
    assert_one_line(err, *words)
    assert not Path("checkpoints").exists()


def test_error_message_is_safe(program: Program, home: Path) -> None:
    code, _, err = program("train", "\x1b]0;evil\x07\nsecond line")
    assert code == 2
    assert_one_line(err)
    assert "\x1b" not in err
    assert "\x07" not in err


# Train


def test_train(program: Program, text: Path) -> None:
    code, out, err = program("train", "text.txt", *SMALL, "--steps", "60", "--evaluations", "3")
    assert code == 0
    assert err == ""
    assert "\x1b" not in out
    assert "\r" not in out
    for word in ("corpus ", "model ", "plan ", "60 steps", "reason ", "validation loss", "nats", "bits per character"):
        assert word in out
    assert len(re.findall(r"^step +\d+ +train \d", out, re.MULTILINE)) == 3
    for command in ("charrnn sample text ", "charrnn inspect text --text text.txt", "charrnn evaluate text "):
        assert command in out
    run = open_run("text")
    assert run.checkpoint("last").progress.finished
    assert run.settings.training.steps == 60
    assert run.settings.model == ModelSettings(hidden_size=16, embedding_size=8, dropout=run.settings.model.dropout)


def test_second_run_gets_a_new_name(program: Program, trained: Run) -> None:
    code, _, _ = program("train", "text.txt", *SMALL, "--steps", "1")
    assert code == 0
    assert open_run("text-2").settings.training.steps == 1
    code, _, err = program("train", "text.txt", *SMALL, "--steps", "1", "--name", "text-2")
    assert code == 2
    assert_one_line(err, "run text-2 exists already", "--resume --name text-2")


def test_train_json(program: Program, text: Path) -> None:
    code, out, err = program("train", "text.txt", *SMALL, "--steps", "20", "--json")
    assert code == 0
    summary = json.loads(out)
    assert summary["step"] == 20
    assert summary["best_validation_nats"] == open_run().checkpoint("best").progress.best_nats
    assert summary["forecast"]["seconds"] > 0
    assert "validation" in err


def test_minutes_become_steps(program: Program, text: Path) -> None:
    code, out, _ = program("train", "text.txt", *SMALL, "--minutes", "0.02", "--warmup-steps", "5")
    assert code == 0
    run = open_run()
    steps = run.settings.training.steps
    planned = run.corrections[0].steps if run.corrections else steps
    assert f"plan    {planned:,} steps of" in out
    assert run.checkpoint("last").step == steps > 1


def test_steps_are_corrected(program: Program, text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "seconds_per_step", lambda *_, **__: 0.1)
    code, out, _ = program("train", "text.txt", *SMALL, "--minutes", "0.06", "--evaluations", "2")
    assert code == 0
    run = open_run()
    plan, *corrections = run.corrections
    first = next(one for one in corrections if not plan.steps / 1.25 < one.steps < plan.steps * 1.25)
    assert f"plan    {plan.steps:,} steps of" in out
    assert f"step {first.step:,}: now {first.steps:,} steps in total, so that the run still ends on time" in out
    steps = run.settings.training.steps
    assert f"steps            {steps:,} of {steps:,}" in out
    assert run.checkpoint("last").step == steps


def test_epochs_become_steps(program: Program, text: Path) -> None:
    assert program("train", "text.txt", *SMALL, "--epochs", "0.5")[0] == 0
    characters = int(0.9 * len(text.read_text()))
    assert open_run().settings.training.steps == round(0.5 * ((characters - 20) // 80))


def test_bytes(program: Program, home: Path) -> None:
    Path("noise.bin").write_bytes(bytes(range(256)) * 40)
    code, _, err = program("train", "noise.bin", *SMALL, "--steps", "3")
    assert code == 1
    assert_one_line(err, "not UTF-8", "offset 128", "--bytes")
    assert program("train", "noise.bin", *SMALL, "--steps", "3", "--bytes")[0] == 0
    assert open_run().vocabulary.kind == "bytes"
    assert bytes(open_run().held_out_text().ids) == (bytes(range(256)) * 40)[9216:]


@pytest.mark.parametrize("contents", ["", "a", "aaaaaaa", "ab"])
def test_short_corpus_is_one_line(program: Program, home: Path, contents: str) -> None:
    Path("tiny.txt").write_text(contents)
    code, _, err = program("train", "tiny.txt", *SMALL)
    assert code in (1, 2)
    assert_one_line(err)
    assert not Path("checkpoints/tiny").exists()


def test_init_from_extends_the_vocabulary(program: Program, trained: Run) -> None:
    Path("more.txt").write_text("ünïcödé " * 400)
    code, _, err = program("train", "more.txt", "--init-from", "text", "--steps", "1", "--learning-rate", "1e-12")
    assert code == 0, err
    run = open_run("more")
    assert run.vocabulary.characters[: len(trained.vocabulary)] == trained.vocabulary.characters
    assert len(run.vocabulary) > len(trained.vocabulary)
    child, parent = run.read_model(run.checkpoint("last")), trained.read_model(trained.checkpoint("best"))
    for name, weights in parent.items():
        kept = child[name][: len(weights)]
        assert (kept - weights).abs().max() < 1e-6, name
    code, _, err = program("train", "more.txt", "--init-from", "text", "--hidden-size", "99")
    assert code == 2
    assert_one_line(err, "--hidden-size 16, not 99")


# Resume


def test_ctrl_c_stops_and_saves(text: Path) -> None:
    """In a separate process."""
    command = [sys.executable, "-m", "charrnn", "train", "text.txt", *SMALL, "--steps", "100000"]
    command += ["--evaluations", "4000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        next(line for line in process.stdout if line.startswith("step"))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "")
    assert ", stopped" in out
    assert "charrnn train text.txt --resume --name text" in out
    assert 0 < open_run("text").checkpoint("last").step < 100000


def stopped(program: Program, *arguments: str, step: int) -> tuple[int, str, str]:
    """Train until a signal after this step."""
    with pytest.MonkeyPatch.context() as patch:
        after_step(step, partial(signal.raise_signal, signal.SIGTERM), patch)
        ended = program("train", *arguments)
    assert ended[0] == 143, ended[2]
    return ended


LONG = (*SMALL, "--steps", "100000", "--evaluations", "4000")


def test_resume_continues_from_the_last_step(program: Program, text: Path) -> None:
    stopped(program, "text.txt", *LONG, step=30)
    _, out, _ = stopped(program, "text.txt", "--resume", step=35)
    assert "resumed  at step 30 of 100,000" in out
    assert open_run("text").checkpoint("last").step == 35


def test_resume_refuses_changes(program: Program, text: Path) -> None:
    stopped(program, "text.txt", *LONG, step=2)
    Path("other.txt").write_text(text.read_text()[:-1])
    for arguments, words in (
        # Only corpora in corpora/ are opened without being named.
        (["--resume"], "charrnn train text.txt --resume --name text"),
        (["other.txt", "--resume"], "no run was trained on other as it is now; leave --resume out to start one"),
        (["other.txt", "--resume", "--name", "text"], "was trained on another text"),
        (["text.txt", "--resume", "--hidden-size", "17"], "--hidden-size 16, not 17"),
        (["text.txt", "--resume", "--learning-rate", "0.5"], "--learning-rate"),
        (["text.txt", "--resume", "--minutes", "3"], "--minutes would change them"),
    ):
        code, out, err = program("train", *arguments)
        assert (code, out) == (2, "")
        assert_one_line(err, words)


def test_resume_finds_the_corpus(program: Program, home: Path, text: Path) -> None:
    text.rename(home / "corpora" / "mine.txt")
    stopped(program, "mine", *LONG, step=2)
    assert "--hidden-size 16" in program("train", "--resume", "--hidden-size", "17")[2]
    _, out, err = stopped(program, "--resume", step=3)
    assert err == ""
    assert "resumed" in out


def test_finished_run_cannot_be_resumed(program: Program, trained: Run) -> None:
    code, _, err = program("train", "text.txt", "--resume")
    assert code == 2
    assert_one_line(err, "text is finished, at step 60", "--init-from text")


# Evaluate


def test_evaluate_matches_the_validation_loss(program: Program, trained: Run) -> None:
    code, out, _ = program("evaluate", "--json")
    figures = json.loads(out)
    assert code == 0
    assert figures["nats_per_character"] == pytest.approx(trained.checkpoint("best").progress.best_nats, abs=1e-6)
    assert figures["bits_per_character"] == pytest.approx(figures["nats_per_character"] * 1.442695, rel=1e-6)
    code, out, _ = program("evaluate", "text")
    assert f"{figures['nats_per_character']:.4f} nats per character" in out


def test_evaluate_per_line(program: Program, trained: Run, text: Path) -> None:
    Path("lines.txt").write_text("Fox and dog.\n\nThe lazy\nno newline at the end")
    code, out, _ = program("evaluate", "lines.txt", "--per-line", "--json", "--skip-unknown")
    assert code == 0
    figures = json.loads(out)
    lines = figures["lines"]
    assert [line["line"] for line in lines] == [1, 2, 3, 4]
    assert sum(line["characters"] for line in lines) == figures["characters"]
    total = sum(line["characters"] * line["nats_per_character"] for line in lines)
    assert total / figures["characters"] == pytest.approx(figures["nats_per_character"], rel=1e-6)
    code, out, _ = program("evaluate", "text", "lines.txt", "--per-line", "--skip-unknown")
    assert re.search(r"^ *\d+\.\d{3}  Fox and dog\.$", out, re.MULTILINE)


def test_evaluate_unknown_characters(program: Program, trained: Run) -> None:
    Path("strange.txt").write_text("the ☃ fox ☃")
    code, out, err = program("evaluate", "strange.txt")
    assert (code, out) == (1, "")
    assert_one_line(err, "☃", "U+2603", "use --skip-unknown to skip them")
    assert program("evaluate", "strange.txt", "--skip-unknown")[0] == 0


def test_evaluate_one_character(program: Program, trained: Run) -> None:
    Path("one.txt").write_text("t")
    code, _, err = program("evaluate", "one.txt")
    assert code == 1
    assert_one_line(err, "too short to score")


def test_broken_checkpoint_is_one_line(program: Program, trained: Run) -> None:
    for save in (trained.path / "checkpoints").iterdir():
        (save / "model.safetensors").write_bytes(b"\0" * 100)
    for command in (["evaluate"], ["sample"], ["inspect", "--cell", "1"]):
        code, out, err = program(*command)
        assert (code, out) == (1, "")
        assert_one_line(err, "model.safetensors")


# Precision and torchrun


def test_precision_may_change_on_resume(program: Program, text: Path) -> None:
    code, out, _ = program("train", "text.txt", *SMALL, "--steps", "20", "--name", "mine")
    chosen = choose_precision("auto", torch.device("cpu"), ModelSettings("lstm"))
    assert (code, open_run("mine").settings.training.precision) == (0, chosen)
    assert f", {chosen}\n" in out
    code, _, err = program("train", "text.txt", *SMALL, "--steps", "20", "--precision", "tf32")
    able = supported_precisions(torch.device("cpu"), "lstm")
    assert_one_line(err, f"cannot train in tf32; choose --precision from: {', '.join(able)}\n")
    assert code == 2
    unfinish(open_run("mine"))
    (other,) = set(able) - {chosen} or {chosen}  # the same if the device has only one
    code, out, err = program("train", "text.txt", "--resume", "--name", "mine", "--precision", other)
    assert code == 0, err
    assert f"in {other}" in out


def test_torchrun_restart_resumes(program: Program, text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "3")
    command = ("train", "text.txt", *SMALL, "--steps", "20", "--evaluations", "2")
    code, _, err = program(*command)
    assert code == 2
    assert_one_line(err, "--name")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert program(*command, "--name", "mine")[0] == 0  # the process had died before it created the run
    unfinish(open_run("mine"))
    code, out, err = program(*command, "--name", "mine", "--minutes", "1", "--json")
    assert code == 2, "steps and minutes exclude each other, after a restart too"
    code, out, err = program(*command, "--name", "mine")
    assert code == 0, err
    assert "at step 10 of 20" in out


def unfinish(run: Run) -> None:
    """Remove the last checkpoint, as if training had been killed before it."""
    shutil.rmtree(run.path / "checkpoints" / f"{run.checkpoint_steps()[-1]:08d}")


def test_screen_shows_where_weights_come_from(program: Program, trained: Run) -> None:
    arguments = ("--device", "cpu", "--steps", "2", "--init-from", trained.name, "--name", "child")
    code, out, err = program("train", "text.txt", *arguments)
    assert code == 0, err
    best = trained.checkpoint()
    nats = best.progress.validation_nats
    assert re.search(rf"weights +from {trained.name}, step {best.step}, validation loss {nats:.3f} nats", out)


def test_reason_names_the_planned_characters(program: Program, trained: Run) -> None:
    training = trained.settings.training
    read = training.steps * training.batch_size * training.seq_length
    assert trained.settings.origin.chosen_because.startswith(f"{read:,} characters, ")


def test_evaluate_names_the_training_text(program: Program, trained: Run, home: Path) -> None:
    _, out, _ = program("evaluate", trained.name, "text.txt")
    assert "the run was trained on this text" in out
    (home / "other.txt").write_text((home / "text.txt").read_text()[::-1])
    assert json.loads(program("evaluate", trained.name, "other.txt", "--json")[1])["is_training_text"] is False


@pytest.mark.parametrize(
    "command",
    [
        ["inspect", "--cell", "1", "-o", "new/folder/file.svg"],
        ["sample", "--length", "9", "-o", "new/folder/file.txt"],
        ["export", "new/folder/file.safetensors"],
    ],
)
def test_output_folder_is_created(program: Program, trained: Run, home: Path, command: list[str]) -> None:
    code, _, err = program(command[0], trained.name, *command[1:])
    assert code == 0, err
    assert (home / command[-1]).is_file()


# How a corpus is read


def trained_on_latin_1(program: Program, home: Path, text: str) -> str:
    """Train a run called `old` on a file in latin-1 with CRLF, stopped early. Returns what the screen shows."""
    (home / "old.txt").write_bytes(text.replace("the", "thé").replace("\n", "\r\n").encode("latin-1"))
    code, out, err = program("train", "old.txt", *SMALL, "--steps", "4", "--encoding", "latin-1", "--name", "old")
    assert code == 0, err
    return out


def test_file_in_another_encoding(program: Program, home: Path, short_text: str) -> None:
    assert "CRLF or CR converted to LF (--newlines keep leaves them)" in trained_on_latin_1(program, home, short_text)
    run = open_run("old")
    assert run.settings.corpus.decoding == ("iso8859-1", "lf")
    assert "é" in run.vocabulary.characters
    assert "\r" not in run.vocabulary.characters
    code, _, err = program("train", "old.txt", *SMALL, "--steps", "1")
    assert code == 1
    assert "old.txt is not UTF-8" in err
    assert "--encoding latin-1 reads it" in err


def test_commands_read_as_the_run_does(program: Program, home: Path, short_text: str) -> None:
    trained_on_latin_1(program, home, short_text)
    _, out, _ = program("evaluate", "old", "old.txt", "--json")
    assert json.loads(out)["is_training_text"]
    code, out, err = program("sample", "old", "--prime-file", "old.txt", "--length", "1")
    assert code == 0, err
    assert "thé" in out
    assert "\r" not in out
    (home / "new.txt").write_text("thé")
    code, _, err = program("sample", "old", "--prime-file", "new.txt", "--length", "1")
    assert code == 1
    assert "unknown characters" in err


def test_prime_in_another_encoding(program: Program, home: Path, trained: Run) -> None:
    (home / "latin.txt").write_bytes(b"caf\xe9 ")
    code, _, err = program("sample", "text", "--prime-file", "latin.txt")
    assert code == 1
    assert "convert it to utf-8, the encoding of the run's corpus" in err


@pytest.mark.parametrize(
    "command", [("inspect", "--cell", "1", "--length", "20"), ("gates",), ("history", "--cell", "1"), ("evaluate",)]
)
def test_commands_read_chosen_files(
    program: Program, home: Path, trained: Run, short_text: str, command: tuple[str, ...]
) -> None:
    (home / "src").mkdir()
    (home / "src" / "a.md").write_bytes(short_text.replace("\n", "\r\n").encode("utf-16"))
    (home / "src" / "b.py").write_text("# ünknown", encoding="utf-16")
    name, *options = command
    text = [] if name == "evaluate" else ["--text"]
    read = (name, "text", *text, "src", *options, "--encoding", "utf-16")
    code, _, err = program(*read, "--exclude", "*.py")
    assert code == 0, err
    assert "unknown characters" in program(*read)[2]
    assert "--include and --exclude" in program(*read, "--include", "*.tex")[2]


def test_evaluate_in_another_encoding(program: Program, home: Path, short_text: str) -> None:
    trained_on_latin_1(program, home, short_text)
    (home / "new.txt").write_text("A quick thé.\n")
    assert "unknown characters" in program("evaluate", "old", "new.txt")[2]
    code, out, _ = program("evaluate", "old", "new.txt", "--encoding", "utf-8", "--json")
    assert (code, json.loads(out)["characters"]) == (0, 12)
    code, _, err = program("evaluate", "old", "--encoding", "utf-8")
    assert code == 2
    assert "--encoding needs a text" in err


def test_resume_reads_as_the_run_does(program: Program, home: Path, short_text: str) -> None:
    trained_on_latin_1(program, home, short_text)
    for file in (home / "checkpoints" / "old" / "checkpoints").iterdir():
        if int(file.name) == 4:
            shutil.rmtree(file)
    code, _, err = program("train", "old.txt", "--resume", "--encoding", "cp1252")
    assert code == 2
    assert "old has --encoding iso8859-1, not cp1252" in err
    code, out, err = program("train", "old.txt", "--resume", "--encoding", "latin1", "--device", "cpu")
    assert code == 0, err
    assert "resumed" in out


def test_included_files_are_kept_with_the_run(program: Program, home: Path, short_text: str) -> None:
    (home / "src").mkdir()
    (home / "src" / "a.md").write_text(short_text)
    (home / "src" / "b.py").write_text(short_text)
    code, out, _ = program("train", "src", *SMALL, "--steps", "4", "--include", "*.md")
    assert code == 0
    assert "src/b.py (not included)" in " ".join(out.split())
    assert open_run("src").settings.corpus.include == ("*.md",)
    shutil.rmtree(home / "checkpoints" / "src" / "checkpoints" / "00000004")
    code, _, err = program("train", "src", "--resume", "--device", "cpu")
    assert code == 0, err


def test_nothing_included(program: Program, home: Path) -> None:
    (home / "src").mkdir()
    (home / "src" / "a.md").write_text("abc")
    code, _, err = program("train", "src", "--include", "*.py")
    assert code == 1
    assert "src holds no file that --include and --exclude choose" in err


@pytest.mark.parametrize("columns", ["9" * 5000, "²", "999999999999", "-1", "many"])
def test_help_ignores_an_invalid_width(program: Program, monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    code, out, err = program("--help")
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 1000


def test_a_run_that_read_little_shows_how_to_train_it_further(program: Program, text: Path) -> None:
    code, out, _ = program("train", "text.txt", *SMALL, "--steps", "2")
    assert code == 0
    assert "of the text: train it further" in out
    assert out.splitlines()[-1] == "  charrnn train text.txt --more-minutes 1 --name text"


def test_the_plan_says_that_the_last_file_alone_is_held_out(program: Program, text: Path) -> None:
    Path("poems.txt").write_text(text.read_text())
    out = program("train", "text.txt", "poems.txt", *SMALL, "--steps", "1")[1]
    assert re.search(r"last [\d,]+ of poems.txt held out", " ".join(out.split()))
    assert re.search(r"last [\d,]+ held out", program("train", "text.txt", *SMALL, "--steps", "1")[1])
