"""Random command lines, made from the parameters of the program's commands.

    python -m tests.attacks.fuzz 5000 [--seed N] [--only I]

prints each command line that breaks an invariant, with the number that `--only` repeats. A new option is covered as soon
as it exists. `Sandbox.problems` states the invariants.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import os
import pkgutil
import random
import re
import resource
import select
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import typer

import charrnn
from charrnn.__main__ import main as program
from charrnn.cli.app import app
from charrnn.model.network import CharRNN
from charrnn.model.run import Run
from charrnn.sampling.settings import SampleSettings
from charrnn.settings import InspectSettings, ModelSettings, Option, TrainingSettings
from charrnn.training import planning

SECONDS = 20.0  # that a command line may take
LAZY = ("rich.console", "rich.table", "rich.text", "rich.box", "rich.padding", "tqdm", "typer.rich_utils")
PATIENCE = 0.7  # before Ctrl-C, for a command line that may rightly take long, or wait for a writer of a FIFO
MEMORY = 3_000_000_000  # bytes that a command line may allocate
PROXY = "http://127.0.0.1:9"  # refuses connections
TEXT = "".join(f"Line {n}: \"the {w}\" (of {n}) sat.\n" for n, w in enumerate(["cat", "dog", "owl", "fox"] * 200))

WEIGHTS = {
    (): 3,
    ("train",): 25,
    ("sample",): 20,
    ("inspect",): 20,
    ("gates",): 7,
    ("history",): 9,
    ("evaluate",): 10,
    ("runs",): 4,
    ("corpora",): 3,
    ("corpora", "get"): 2,
}
EXCLUDED = {"--install-completion"}  # changes the files of the user's shell
TINY = {"--hidden-size": "6", "--embedding-size": "4", "--batch-size": "2", "--seq-length": "8", "--device": "cpu"}

PREPARED = ("lstm", "gru", "documents", "bytes", "found", "damaged")
PROPERTIES = {
    "good": "return [c.isupper() for c in text]",
    "numbers": "return [float(i) for i in range(len(text))]",
    "nan": "return [float('nan')] * len(text)",
    "huge": "return [10 ** 400] * len(text)",
    "short": "return [1]",
    "words": "return ['x'] * len(text)",
    "none": "return None",
    "raises": "raise ValueError('broken\\n\\x1b[31mred')",
    "exits": "raise SystemExit(77)",
    "prints": "print('printed'); return [c == 'a' for c in text]",
}
CATASTROPHIC = ["(.*)*Q", "(a|aa)+$", r"(\w+\s?)*Q"]
EXPRESSIONS = [
    "[aeiou]", r"\d+", "^", "$", "", "(?=a)", r"\b", "(?i)THE", "x{99999999999999999999}", "(" * 3000 + ")" * 3000,
    "(" * 90 + ")" * 90, "[", "(?P<a>", "*", r"\1", "(?(1)a|b)", "[[a]]", "(?i:a)(?-i:b)", "a" * 1001, r"\N{DASH}",
    "(?<=a+)b", "[\udcff]", r"\x", "((((((((a){9}){9}){9}){9}){9}){9}){9}){9}", "a||b", "[a&&b]", "(?x) a # b",
]  # fmt: skip
FILES = [
    "text.txt", "-", "files", "empty.txt", "binary.bin", "fifo", "loop", "unreadable", "missing.txt", "/dev/null",
    "/dev/full", "/dev/zero", "files/a.txt", "bom.txt", "checkpoints", "corpora/prose.txt", "checkpoints/lstm/run.json",
    "text.txt/", "socket", "nul.txt", "crlf.txt", "one.txt", "/proc/self/mem", "line.txt",
]  # fmt: skip
BIG = ["64", "65536", "100000", "1000000", "9999999999", "1000000000000", "1e6", "1e9", "9223372036854775807"]
NUMBERS = [
    "0", "1", "2", "-1", "-0", "1.5", "0.5", "1e-320", "1e309", "-1e309", "nan", "inf", "-inf", "2147483648", "4294967296",
    "9223372036854775808", "18446744073709551616", "9" * 5000, "٣", "１２", "1_000", "0x10", "+1", " 1 ", "1e2", "", "NaN",
    "1e999999999", "00", "1,000", "½", "0.1", "1e-9", "0.999999999999",
]  # fmt: skip
STRINGS = [
    "", " ", "-", "--", "a", "the", "\n", "a\nb", "\r", "\t", "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "\x9b31m", "\x7f",
    "\u202eabc", "\ufeff", "\u2028", "\udcff", "a\udc80\udcfe", "é", "🙂", "x" * 120_000, "é" * 50_000, ".", "..", "../outside/evil",
    "/dev/null", "%s%n", "{}", "{0}", "[red]x[/red]", "[/]", "[bold", "true", "None", "null", "'", '"', ";", "*", "[", "~",
    "~nobody", "$HOME", "*.txt", "files/*", "files/**", "\\", "\\n", "\\x", "\\u12", "=", "a=b", ":", "1:", ":1", "0:0", "-h", "--json",
    "CON", "a/b", "a b", "٣", "lstm:1", "@file", "Line 1", "\u0301", "\U0010ffff", "\ud7ff",
]  # fmt: skip
VALID = {
    "run": [*PREPARED, "checkpoints/lstm", "./checkpoints/gru"],
    "init_from": [*PREPARED],
    "name": ["new", "new-2", "x.y_z", "lstm", "gru", "damaged"],
    "text": [*FILES, *["text.txt", "files/a.txt", "-"] * 8],
    "prime_file": [*FILES, *["text.txt", "files/a.txt", "-"] * 8],
    "corpus": [*FILES, "prose", "*.txt", "files/*", *["text.txt"] * 40],
    "cell": ["0", "1", "5", "1:2", "2:3", "2:0", "1:5", "6", "3:1", "0:1"],
    "layer": ["1", "2"],
    "property": ["vowels=[aeiou]", "inside quotes", "line position", *(f"props.py:{name}" for name in PROPERTIES),
                 "props.py:missing", "missing.py:f", "broken.py:f", "fifo:f", "fifo.py:f", "folder.py:f", "="],
    "language": ["python", "none", "c", "nothing"],
    "output": ["out.html", "out.json", "out.csv", "out.npz", "out.svg", "out.txt", "out.png", "files", "out", ".html",
               "missing/out.html", "/dev/null", "folder.html", "full.html"],
    "keep": ["every:1", "every:2", "every:3"],
    "documents": ["lines", "files", "\\n", "\\n\\n", "sat"],
    "signal": ["auto", "c", "h", "forget", "input", "output", "update", "reset", "candidate"],
    "checkpoint": ["best", "last", "0", "2", "4", "6"],
    "palette": ["blue-red", "purple-orange", "karpathy"],
    "like": ["the", "cat", "\"the", "Line 1: ", "sat.\n"],
    "prime": ["the", "Line", "-", "", "L"],
    "stop": ["the", ".", "\n", "\\n", "sat"],
}  # fmt: skip
ENVIRONMENTS: list[dict[str, str]] = [
    {"COLUMNS": "1"}, {"COLUMNS": "20"}, {"COLUMNS": "100000"}, {"COLUMNS": "0"}, {"COLUMNS": "x"}, {"LC_ALL": "C"},
    {"FORCE_COLOR": "1"}, {"NO_COLOR": "1"}, {"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"},
    {"TERM": "dumb"}, {"TERM": ""}, {"PYTHONUTF8": "1"}, {"COLORTERM": "truecolor"},
]  # fmt: skip

VALID["property"] += [f"p={expression}" for expression in EXPRESSIONS[:20]]
VALID["documents"] += EXPRESSIONS[:12]
VALID["names"] = VALID["run"]
VALID["properties"] = VALID["property_name"] = VALID["property"]
STDIN = {"null": b"", "text": TEXT.encode()[:300], "binary": bytes(range(256)), "newline": b"\n", "closed": b""}
TRACEBACK = re.compile(r"Traceback \(most recent call last\)|Exception ignored|Fatal Python error")
RAW_WARNING = re.compile(r"^\S+:\d+: \w*Warning: |^\[W\d+ |^\w+Warning: ", re.MULTILINE)
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Line:
    """A command line and the surroundings it runs in.

    stdin: a key of `STDIN`. stdout, stderr: file, closed or full. as_process: in an interpreter of its own.
    """

    arguments: tuple[str, ...]
    stdin: str = "null"
    stdout: str = "file"
    stderr: str = "file"
    environment: dict[str, str] = field(default_factory=dict)
    as_process: bool = False

    def __str__(self) -> str:
        words = [word if len(word) < 300 else f"{word[:40]}…({len(word):,})" for word in self.arguments]
        shell = " ".join(shlex.quote(ascii(word)[1:-1] if not word.isprintable() else word) for word in words)
        streams = [f"{name}={kind}" for name, kind in
                   (("stdin", self.stdin), ("stdout", self.stdout), ("stderr", self.stderr)) if kind not in ("null", "file")]  # fmt: skip
        settings = [f"{name}={value}" for name, value in self.environment.items()]
        return " ".join([*settings, "charrnn", shell, *(f"[{stream}]" for stream in streams)])

    @property
    def may_take_long(self) -> bool:
        words = {part for argument in self.arguments for part in (argument, argument.partition("=")[2])}
        if words & {*BIG, *CATASTROPHIC, "fifo"} or any(word.partition("=")[2] in CATASTROPHIC for word in words):
            return True
        return self.arguments[:1] == ("train",) and not {a.partition("=")[0] for a in self.arguments} & {"--steps"}


# Generate


def commands(command: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], list[Any]]]:
    """Yield each command's names and its parameters."""
    command = command or typer.main.get_command(app)
    yield path, [one for one in command.params if not {*one.opts} & EXCLUDED]
    for name, sub in getattr(command, "commands", {}).items():
        yield from commands(sub, (*path, name))


def settings_options() -> dict[str, Option]:
    classes = (ModelSettings, TrainingSettings, InspectSettings, SampleSettings)
    return {name: option for cls in classes for name, option in cls.options().items()}


class Generator:
    """Draws command lines. The same seed and number give the same line."""

    def __init__(self, seed: int, processes: float = 0.02):
        self._seed, self._processes = seed, processes
        self._commands = dict(commands())
        self._options = settings_options()

    def line(self, number: int) -> Line:
        draw = random.Random(f"{self._seed}/{number}")
        paths = list(self._commands)
        path = draw.choices(paths, [WEIGHTS.get(path, 5) for path in paths])[0]
        arguments = self._arguments(draw, path)
        reads = any(argument == "-" or argument.endswith("=-") for argument in arguments)
        stdin = draw.choices(list(STDIN), [1, 6, 1, 1, 1] if reads else [30, 1, 1, 1, 2])[0]
        stdout, stderr = (draw.choices(["file", "closed", "full"], [w, 1, 1])[0] for w in (40, 80))
        environment = draw.choice(ENVIRONMENTS) if draw.random() < 0.25 else {}
        return Line(tuple(arguments), stdin, stdout, stderr, environment, draw.random() < self._processes)

    def _arguments(self, draw: random.Random, path: tuple[str, ...]) -> list[str]:
        parameters, validity = self._commands[path], draw.choice([1.0, 0.97, 0.7])
        positional = [one for one in parameters if one.param_type_name == "argument"]
        options = [one for one in parameters if one.param_type_name == "option"]
        groups: list[list[str]] = []
        for one in positional:
            if one.nargs == -1:
                count = draw.choices([0, 1, 2, 3], [1, 10, 3, 1] if path != ("runs",) else [5, 5, 3, 1])[0]
            else:
                count = int(draw.random() < 0.8)
            groups += [[self._value(draw, one, validity)] for _ in range(count)]
        chosen = draw.sample(options, min(len(options), int(draw.expovariate(0.35))))
        chosen += [one for one in options if one not in chosen and (
            (one.required and draw.random() < 0.9) or ("--length" in one.opts and draw.random() < 0.7)
            or ("--cell" in one.opts and draw.random() < 0.4))]  # fmt: skip
        if chosen and draw.random() < 0.08:
            chosen.append(draw.choice(chosen))
        if path == ("train",) and draw.random() < 0.9:
            given = {flag for one in chosen for flag in one.opts}
            groups += [[flag, value] for flag, value in TINY.items() if flag not in given]
            if not given & {"--steps", "--epochs", "--minutes"}:
                groups.append(["--steps", "2"])
        groups += [self._option(draw, one, validity) for one in chosen]
        if draw.random() < 0.03:
            groups.append([draw.choice(["--", "--nothing", "-x", "-", "", "--json=1", "--help", "-h", "---", "-1"])])
        draw.shuffle(groups)
        arguments = [*path, *(word for group in groups for word in group)]
        if draw.random() < 0.01:
            arguments.insert(draw.randrange(len(arguments) + 1), draw.choice(STRINGS))
        return [argument.replace("\0", "") for argument in arguments]

    def _option(self, draw: random.Random, one: Any, validity: float) -> list[str]:
        flag = draw.choice(one.opts)
        if one.is_flag:
            return [f"{flag}={draw.choice(['1', '', 'true'])}"] if draw.random() < 0.03 else [flag]
        if draw.random() < 0.01:
            return [flag]
        value = self._value(draw, one, validity)
        return [f"{flag}={value}"] if flag.startswith("--") and draw.random() < 0.4 else [flag, value]

    def _value(self, draw: random.Random, one: Any, validity: float) -> str:
        """Return a valid value, one at a bound, or a hostile one."""
        numeric = one.type_descriptor.annotation in (int, float)
        if draw.random() < validity:
            return draw.choice(self._valid(one))
        chance = draw.random()
        if chance < 0.5:
            if numeric:
                return draw.choice([*self._bounds(one), *BIG])
            if one.name in ("documents", "properties", "property_name"):
                prefix = "" if one.name == "documents" else draw.choice(["p=", "p=", "p=", "=", ""])
                return prefix + draw.choice([*EXPRESSIONS, *CATASTROPHIC])
            return draw.choice(self._valid(one)) + draw.choice(["", " ", "\n", "x", "\x1b[1m", "/", "é", "\udcff"])
        if numeric or chance < 0.55:
            return draw.choice(NUMBERS)
        return draw.choice([*STRINGS, *FILES])

    def _valid(self, one: Any) -> list[str]:
        if one.name in VALID:
            return VALID[one.name]
        if one.metavar and "|" in one.metavar:
            return one.metavar.split("|")
        return {int: ["1", "2", "3", "10"], float: ["0.1", "0.5", "0.9", "1"]}.get(
            one.type_descriptor.annotation, STRINGS
        )

    def _bounds(self, one: Any) -> list[str]:
        option = self._options.get(one.name)
        bounds = [one.min, one.max]
        if option is not None:
            bounds += [option.at_least, option.at_most, option.above, option.below]
        numbers = [number for bound in bounds if bound is not None for number in (bound - 1, bound, bound + 1)]
        return [f"{number}" for number in numbers] or ["0"]


# Run


def snapshot(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return what changes with a file or folder, by path."""
    found = {}
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(root, name)
            status = os.lstat(path)
            is_folder = name in folders
            found[os.path.relpath(path, folder)] = (
                status.st_mode, 0 if is_folder else status.st_size, 0 if is_folder else status.st_mtime_ns)  # fmt: skip
    return found


@dataclass
class Outcome:
    """code: None if the program was killed. hung: it had not ended in time. interrupted: Ctrl-C was sent."""

    code: int | None
    out: bytes
    err: str
    seconds: float
    interrupted: bool


class Sandbox:
    """A folder with home/, where the program runs, and outside/, which it must leave alone."""

    def __init__(self, folder: Path):
        self.folder, self.home = folder, folder / "home"
        self._streams = folder / "streams"
        self._pristine = folder / "pristine"
        for path in (self.home, self._streams, folder / "outside", folder / "user", folder / "tmp"):
            path.mkdir()
        (folder / "outside" / "kept.txt").write_text("important")
        self._write_files()
        _import_everything()
        self._make_runs()
        subprocess.run(["cp", "-a", self.home, self._pristine], check=True)
        self._before = snapshot(self.home)
        self._outside = self._snapshot_outside()

    def _write_files(self) -> None:
        home = self.home
        for name in ("corpora", "files", "folder.py", "folder.html"):
            (home / name).mkdir()
        contents = {
            "text.txt": TEXT, "corpora/prose.txt": TEXT[::-1], "files/a.txt": TEXT[:400], "files/b.txt": TEXT[400:900],
            "empty.txt": "", "bom.txt": "\ufeff" + TEXT, "nul.txt": "a\0b" * 100, "crlf.txt": TEXT.replace("\n", "\r\n"),
            "one.txt": "L", "line.txt": TEXT.replace("\n", " "), "unreadable": TEXT, "broken.py": "def f(:",
            "props.py": "".join(f"def {name}(text):\n    {body}\n" for name, body in PROPERTIES.items()),
        }  # fmt: skip
        for name, content in contents.items():
            (home / name).write_text(content, newline="")
        (home / "binary.bin").write_bytes(bytes(range(256)) * 8)
        (home / "unreadable").chmod(0)
        for name in ("fifo", "fifo.py"):
            os.mkfifo(home / name)
        (home / "loop").symlink_to("loop")
        (home / "full.html").symlink_to("/dev/full")

    def _make_runs(self) -> None:
        tiny = [word for pair in TINY.items() for word in pair]
        train = ["train", "text.txt", *tiny, "--steps", "6", "--evaluations", "2", "--keep", "every:2", "--val-fraction", "0.5",
                 "--name"]  # fmt: skip
        for arguments in (
            [*train, "lstm", "--layers", "2"],
            [*train, "gru", "--model", "gru"],
            [*train, "documents", "--documents", "lines"],
            [*train, "bytes", "--bytes"],
            [*train, "found"],
            ["inspect", "found", "-p", "vowels=[aeiou]"],
        ):
            outcome = self.run(Line(tuple(arguments)))
            assert outcome.code == 0, outcome.err
        runs = self.home / "checkpoints"
        shutil.copytree(runs / "lstm", runs / "damaged")
        for path in (runs / "damaged").rglob("model.safetensors"):
            path.write_bytes(b"damaged")

    def _snapshot_outside(self) -> dict[str, Any]:
        return {name: snapshot(self.folder / name) for name in ("outside", "user", "tmp")} | {
            "": {path.name for path in self.folder.iterdir()}
        }

    def run(self, line: Line, *, seconds: float = SECONDS, patience: float = PATIENCE) -> Outcome:
        """Run a command line in a forked process, or as a program."""
        for name in ("out", "err", "in"):
            (self._streams / name).write_bytes(STDIN[line.stdin] if name == "in" else b"")
        start = time.perf_counter()
        pid = os.fork()
        if pid == 0:
            try:
                self._child(line)
            finally:
                os._exit(99)
        ended, interrupted = os.pidfd_open(pid), False
        try:
            if line.may_take_long and not _wait(ended, patience + 2 * line.as_process):
                interrupted = True
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGINT)
            finished = _wait(ended, seconds)
        finally:
            os.close(ended)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
        return Outcome(
            os.waitstatus_to_exitcode(status) if finished else None,
            (self._streams / "out").read_bytes(),
            (self._streams / "err").read_text(errors="surrogateescape"),
            time.perf_counter() - start,
            interrupted,
        )

    def _child(self, line: Line) -> None:
        os.setsid()
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.chdir(self.home)
        os.environ.pop("CHARRNN_HOME", None)
        own = {"HOME": "user", "TMPDIR": "tmp"}
        os.environ.update({name: str(self.folder / value) for name, value in own.items()})
        os.environ.update({"https_proxy": PROXY, "http_proxy": PROXY, **line.environment})
        _redirect(0, self._streams / "in", line.stdin)
        _redirect(1, self._streams / "out", line.stdout)
        _redirect(2, self._streams / "err", line.stderr)
        if line.as_process:
            os.environ["PYTHONPATH"] = str(Path(__file__).parents[2])
            command = [sys.executable, "-m", "charrnn", *line.arguments]
            os.execv(sys.executable, command)
        os._exit(_main(line))

    def problems(self, line: Line, outcome: Outcome) -> list[str]:
        """Return the invariants that a command line broke, and restore the folder."""
        code, out, err = outcome.code, outcome.out.decode(errors="replace"), outcome.err
        found = []
        if code is None:
            found.append("hangs after Ctrl-C" if outcome.interrupted else "hangs")
        elif code not in (0, 1, 2, 130):
            found.append(f"exit code {code}")
        if TRACEBACK.search(err):
            lines = err.rstrip().splitlines()
            places = re.findall(r'File ".*/(charrnn/.*)", line (\d+)', err)
            found.append(f"traceback: {':'.join(places[-1]) if places else ''} {lines[-1][:160]}")
        elif code in (1, 2) and line.stderr == "file":
            own = [row for row in err.splitlines() if row.startswith("charrnn: ") and "charrnn: warning:" not in row]
            other = [row for row in err.splitlines() if row and not row.startswith("charrnn: ")]
            if len(own) != 1 or not err.endswith("\n"):
                found.append(f"{len(own)} error lines")
            elif other and not (line.arguments[:1] == ("train",) and _is_json(line)):
                found.append(f"other lines on stderr: {other[0][:100]!r}")
        if RAW_WARNING.search(err):
            found.append(f"raw warning: {err[:200]!r}")
        colored = "FORCE_COLOR" in line.environment or any("--color" in argument for argument in line.arguments)
        if not colored and CONTROL.search(err):
            found.append(f"control character on stderr: {CONTROL.search(err)[0]!r}")
        if not colored and "\x1b" in out and (line.arguments[:1] != ("sample",) or _is_json(line)):
            found.append("escape sequence on stdout")
        if code == 0 and line.stdout == "file" and _is_json(line) and not _parses(out):
            found.append(f"stdout is not JSON: {out[:80]!r}")
        return found + self._changed(line)

    def _changed(self, line: Line) -> list[str]:
        """Return what changed wrongly in the folder, and restore it."""
        found = []
        if (outside := self._snapshot_outside()) != self._outside:
            found.append("something outside changed")
            self._outside = outside
        after = snapshot(self.home)
        if after == self._before:
            return found
        changed = {path for path in {*after, *self._before} if after.get(path) != self._before.get(path)}
        words = " ".join(line.arguments)
        for path in sorted(changed):
            name = Path(path).name
            if name.startswith(".aside") or not (path.startswith("checkpoints") or path.split("/")[0] in words):
                found.append(f"changed: {path}")
            elif path.startswith("checkpoints/damaged/"):
                found.append(f"changed a damaged run: {path}")
        for run in sorted({Path(path).parts[1] for path in changed if path.startswith("checkpoints/")} - {"damaged"}):
            try:
                Run(self.home / "checkpoints" / run).load_network("last")
            except Exception as error:
                found.append(f"run no longer loads: {type(error).__name__} {error}")
        shutil.rmtree(self.home)
        subprocess.run(["cp", "-a", self._pristine, self.home], check=True)
        self._before = snapshot(self.home)
        return found


def _import_everything() -> None:
    """Import what commands import lazily, so that each forked process need not."""
    for module in pkgutil.walk_packages(charrnn.__path__, "charrnn."):
        importlib.import_module(module.name)
    for name in LAZY:
        importlib.import_module(name)
    typer.main.get_command(app).commands["gates"].make_context("gates", [])
    network = CharRNN(ModelSettings(hidden_size=4), 5)
    network.initialize(torch.Generator())
    torch.optim.AdamW(network.parameters())  # imports much of PyTorch


def _wait(pidfd: int, seconds: float) -> bool:
    return bool(select.select([pidfd], [], [], seconds)[0])


def _redirect(number: int, path: Path, kind: str) -> None:
    if kind == "closed":
        with contextlib.suppress(OSError):
            os.close(number)
        return
    name = {"full": "/dev/full"}.get(kind, path)
    handle = os.open(name, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_APPEND)
    if handle != number:
        os.dup2(handle, number)
        os.close(handle)


def _main(line: Line) -> int:
    """Run the program like a new interpreter, and return its exit code."""
    encoding = os.environ.get("PYTHONIOENCODING", "utf-8")
    sys.stdin = None if line.stdin == "closed" else io.TextIOWrapper(open(0, "rb", closefd=False), encoding)  # noqa: SIM115
    sys.stdout = None if line.stdout == "closed" else io.TextIOWrapper(open(1, "wb", closefd=False), encoding)  # noqa: SIM115
    sys.stderr = None if line.stderr == "closed" else io.TextIOWrapper(  # type: ignore[assignment]
        open(2, "wb", closefd=False), encoding, "backslashreplace", line_buffering=True)  # noqa: SIM115  # fmt: skip
    importlib.reload(warnings)  # undo what pytest changed
    warnings.resetwarnings()
    for ignored in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
        warnings.simplefilter("ignore", ignored)
    sys.argv = ["charrnn", *line.arguments]
    planning.TIMING_SECONDS = 0.01

    code: Any = 0
    try:
        program()
    except SystemExit as ended:
        code = ended.code or 0
    except KeyboardInterrupt:
        code = 96
    except BaseException:
        code = 1
        with contextlib.suppress(OSError, AttributeError):
            traceback.print_exc()
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        code = 120
    with contextlib.suppress(OSError, AttributeError):
        sys.stderr.flush()
    return code if isinstance(code, int) else 98


def _is_json(line: Line) -> bool:
    """Return whether a command line asks for JSON, and not for help."""
    words = [argument for argument in line.arguments if argument in ("--json", "--help", "-h", "--version")]
    if "--json" not in words or len(words) > 1:
        return False
    command = typer.main.get_command(app)
    arguments = list(line.arguments)
    while getattr(command, "commands", None) and arguments and arguments[0] in command.commands:
        command = command.commands[arguments.pop(0)]
    try:
        return bool(command.make_context("charrnn", arguments, resilient_parsing=True).params.get("as_json"))
    except Exception:
        return False


def _parses(out: str) -> bool:
    def refuse(name: str) -> None:
        raise ValueError(name)

    for documents in ([out], out.splitlines()):
        with contextlib.suppress(ValueError):
            for document in documents:
                json.loads(document, parse_constant=refuse)
            return bool(documents)
    return False


@dataclass
class Report:
    """problems: problem → the command lines that have it."""

    lines: int = 0
    seconds: float = 0.0
    slowest: tuple[float, str] = (0.0, "")
    codes: Counter[int | None] = field(default_factory=Counter)
    problems: dict[str, list[str]] = field(default_factory=dict)

    def __str__(self) -> str:
        rows = [f"{self.lines:,} command lines in {self.seconds:.0f} s; exit codes {dict(self.codes)}"]
        rows.append(f"slowest: {self.slowest[0]:.1f} s, {self.slowest[1]}")
        for problem, lines in sorted(self.problems.items(), key=lambda item: -len(item[1])):
            rows += [f"{len(lines)} × {problem}", *(f"    {line}" for line in lines[:3])]
        return "\n".join(rows)


def fuzz(
    folder: Path, numbers: Iterable[int], seed: int, *, processes: float = 0.02, patience: float = PATIENCE,
    show: Callable[[str], object] = lambda text: None,
) -> Report:  # fmt: skip
    """Run command lines and check the invariants. show: called with each failure."""
    start, report = time.perf_counter(), Report()
    sandbox, generator = Sandbox(folder), Generator(seed, processes)
    for number in numbers:
        line = generator.line(number)
        outcome = sandbox.run(line, patience=patience)
        problems = sandbox.problems(line, outcome)
        report.lines += 1
        report.codes[outcome.code] += 1
        report.slowest = max(report.slowest, (outcome.seconds, str(line)))
        for problem in problems:
            report.problems.setdefault(problem, []).append(f"{number}: {line}")
        if problems:
            show(f"{number}: {line}\n    {problems}\n    exit code {outcome.code}, {outcome.seconds:.1f} s\n"
                 + "".join(f"    | {row}\n" for row in outcome.err[-1500:].splitlines()[-12:]))  # fmt: skip
    report.seconds = time.perf_counter() - start
    return report


def memory_folder() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("lines", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    numbers = range(arguments.lines) if arguments.only is None else [arguments.only]
    with tempfile.TemporaryDirectory(dir=memory_folder()) as folder:
        print(fuzz(Path(folder).resolve(), numbers, arguments.seed, show=lambda text: print(text, flush=True)))


if __name__ == "__main__":
    main()
