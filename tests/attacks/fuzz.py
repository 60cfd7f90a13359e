"""Random command lines, made from the parameters of the program's commands.

    python -m tests.attacks.fuzz 5000 [--seed N] [--only I]

prints each command line that breaks an invariant of `Sandbox.problems`, with the number that `--only` repeats.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import os
import pkgutil
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
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
from charrnn.settings import ModelSettings
from charrnn.training import planning
from tests.attacks.command_lines import DAMAGED, PROPERTIES, STDIN, TEXT, TINY, Generator, Line

SECONDS = 20.0  # of a core that a command line may take
WALL_SECONDS_PER_SECOND = 3  # for what waits, or shares the cores with other programs
CONTROL_TEXT = "".join(f"{character} Line \x1b[31mred\x1b]0;title\x07\n" for character in map(chr, range(700))) + TEXT
LAZY = ("rich.console", "rich.table", "rich.text", "rich.box", "rich.padding", "tqdm", "typer.rich_utils")
PATIENCE = 0.7  # before Ctrl-C, for a command line that may rightly take long, or wait for a writer of a FIFO
MEMORY = 3_000_000_000  # bytes that a command line may allocate
PROXY = "http://127.0.0.1:9"  # refuses connections
TRACEBACK = re.compile(r"Traceback \(most recent call last\)|Exception ignored|Fatal Python error")
INTERNAL = re.compile(r"\[Errno|<class '|object at 0x|NoneType|Traceback")
QUOTED = re.compile(r"\x1b(\[31mred|\]0;title|(?=[^\[\]]))")  # in a prepared text or name; a pipe gets them unchanged
RAW_WARNING = re.compile(r"^\S+:\d+: \w*Warning: |^\[W\d+ |^\w+Warning: ", re.MULTILINE)
BUILT_IN_NOTE = "no runs yet: using the built-in model"
REMOVING = (("runs", "rm"), ("runs", "rename"))  # the commands after which a run may be gone
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def snapshot(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return what changes with a file or folder, by path."""
    found = {}
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(root) / name
            status = path.lstat()
            changes = (0, 0) if name in folders else (status.st_size, status.st_mtime_ns)
            found[str(path.relative_to(folder))] = (status.st_mode, *changes)
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
            "empty.txt": "", "bom.txt": "\ufeff" + TEXT, "nul.txt": "a\0b" * 100,
            "crlf.txt": TEXT.replace("\n", "\r\n"), "one.txt": "L", "line.txt": TEXT.replace("\n", " "),
            "unreadable": TEXT, "same.txt": "LLLLLLLLL\n" * 2000, "control.txt": CONTROL_TEXT,
            "\x1b[31mred.txt": TEXT, "\udcff.txt": TEXT, "corpora/\x1b[31mred.txt": TEXT, "broken.py": "def f(:",
            "props.py": "".join(f"def {name}(text):\n    {body}\n" for name, body in PROPERTIES.items()),
        }  # fmt: skip
        for name, content in contents.items():
            (home / name).write_text(content, newline="")
        (home / "binary.bin").write_bytes(bytes(range(256)) * 50)
        (home / "unreadable").chmod(0)
        for name in ("fifo", "fifo.py"):
            os.mkfifo(home / name)
        (home / "loop").symlink_to("loop")
        (home / "full.html").symlink_to("/dev/full")

    def _make_runs(self) -> None:
        tiny = [word for pair in TINY.items() for word in pair]
        train = ["train", *tiny, "--steps", "6", "--evaluations", "2", "--keep", "every:2"]
        train += ["--val-fraction", "0.5", "--name"]
        for arguments in (
            [*train, "lstm", "text.txt", "--layers", "2"],
            [*train, "gru", "text.txt", "--model", "gru"],
            [*train, "documents", "text.txt", "--documents", "lines"],
            [*train, "bytes", "binary.bin", "--bytes"],
            [*train, "control", "control.txt"],
            [*train, "two-characters", "same.txt"],
            [*train, "found", "text.txt"],
            ["inspect", "found", "-p", r"the=\bthe \w+"],
        ):
            outcome = self.run(Line(tuple(arguments)))
            assert outcome.code == 0, outcome.err
        runs = self.home / "checkpoints"
        for name, (pattern, content) in DAMAGED.items():
            shutil.copytree(runs / "lstm", runs / name)
            for path in list((runs / name).glob(pattern)):
                path.write_bytes(content)
        (runs / "file").touch()
        (runs / "empty").mkdir()
        shutil.copytree(runs / "lstm", runs / "\x1b[31mred")

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
            except KeyboardInterrupt:  # before the program ran
                os._exit(130)
            finally:
                os._exit(99)
        ended, interrupted = os.pidfd_open(pid), False
        try:
            if line.may_take_long and not _wait(ended, patience + 2 * line.as_process):
                interrupted = True
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGINT)
            finished = _ends_in_time(pid, ended, seconds)
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
        if line.in_deleted_folder:
            os.environ["CHARRNN_HOME"] = str(self.home)
            os.chdir(tempfile.mkdtemp(dir=self.folder))
            Path.cwd().rmdir()
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
        elif code == 130 and not outcome.interrupted:
            found.append("130 without Ctrl-C")
        if code == 2 and out:
            found.append(f"stdout before a usage error: {out[:80]!r}")
        if TRACEBACK.search(err):
            lines = err.rstrip().splitlines()
            places = re.findall(r'File ".*/(charrnn/.*)", line (\d+)', err)
            found.append(f"traceback: {':'.join(places[-1]) if places else ''} {lines[-1][:160]}")
        elif code in (1, 2) and line.stderr == "file":
            own = [row for row in err.splitlines() if row.startswith("charrnn: ") and "charrnn: warning:" not in row]
            other = [row for row in err.splitlines() if row and not row.startswith(("charrnn: ", BUILT_IN_NOTE))]
            if len(own) != 1 or not err.endswith("\n"):
                found.append(f"{len(own)} error lines")
            elif len(own[0]) > 2100 or INTERNAL.search(own[0]):
                found.append(f"message: {own[0][:160]}")
            elif other and not (line.arguments[:1] == ("train",) and _is_json(line)):
                found.append(f"other lines on stderr: {other[0][:100]!r}")
        if RAW_WARNING.search(err):
            found.append(f"raw warning: {err[:200]!r}")
        colored = "FORCE_COLOR" in line.environment or any("--color" in argument for argument in line.arguments)
        if not colored and CONTROL.search(err):
            found.append(f"control character on stderr: {CONTROL.search(err)[0]!r}")
        quoted = any("\x1b" in argument for argument in line.arguments)
        if not colored and not quoted and "\x1b" in QUOTED.sub("", out) and line.arguments[:1] != ("sample",):
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
        words = " ".join([*line.arguments, *line.environment.values()])
        removed = line.arguments[:2] in REMOVING and not (self.home / "checkpoints" / "damaged").exists()
        for path in sorted(changed):
            name = Path(path).name
            if name.startswith(".aside") or not (path.startswith("checkpoints") or path.split("/")[0] in words):
                found.append(f"changed: {path}")
            elif path.startswith("checkpoints/damaged/") and not removed:
                found.append(f"changed a damaged run: {path}")
        for run in sorted({Path(path).parts[1] for path in changed if path.startswith("checkpoints/")} - {*DAMAGED}):
            path = self.home / "checkpoints" / run
            if line.arguments[:2] in REMOVING and not path.exists():
                continue
            try:
                Run(path).load_network("last")
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


def _ends_in_time(pid: int, pidfd: int, seconds: float) -> bool:
    """Return whether a process ends before it has used `seconds` of a core, or waited for several times that."""
    deadline = time.monotonic() + WALL_SECONDS_PER_SECOND * seconds
    while not _wait(pidfd, min(seconds, 0.25)):
        user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        if time.monotonic() > deadline or (int(user) + int(system)) / os.sysconf("SC_CLK_TCK") > seconds:
            return False
    return True


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
    command = getattr(command, "commands", {}).get("list", command)  # of `charrnn runs`
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
    sandbox: Sandbox, numbers: Iterable[int], seed: int, *, processes: float = 0.004, patience: float = PATIENCE,
    show: Callable[[str], object] = lambda text: None,
) -> Report:  # fmt: skip
    """Run command lines and check the invariants. show: called with each failure."""
    start, report, generator = time.perf_counter(), Report(), Generator(seed, processes)
    with contextlib.suppress(KeyboardInterrupt):  # report what was run
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
        sandbox = Sandbox(Path(folder).resolve())
        print(fuzz(sandbox, numbers, arguments.seed, show=lambda text: print(text, flush=True)))


if __name__ == "__main__":
    main()
