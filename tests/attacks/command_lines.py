"""Random command lines, drawn from the parameters of the program's commands, so new options are covered at once."""

from __future__ import annotations

import random
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import typer

from charrnn.cli.app import app
from charrnn.options import Option
from charrnn.sampling.settings import SampleSettings
from charrnn.settings import InspectSettings, ModelSettings, TrainingSettings

TEXT = "".join(f'Line {n}: "the {w}" (of {n}) sat.\n' for n, w in enumerate(["cat", "dog", "owl", "fox"] * 200))

WEIGHTS = {
    (): 3,
    ("train",): 25,
    ("sample",): 20,
    ("chat",): 5,
    ("inspect",): 20,
    ("gates",): 7,
    ("history",): 9,
    ("evaluate",): 10,
    ("runs",): 4,
    ("corpora",): 3,
    ("corpora", "get"): 2,
}
EXCLUDED = {"--install-completion", "--show-completion"}  # Typer's own; they depend on the parent process
TINY = {"--hidden-size": "6", "--embedding-size": "4", "--batch-size": "2", "--seq-length": "8", "--device": "cpu"}

PREPARED = ("lstm", "gru", "documents", "bytes", "found", "control", "two-characters")
DAMAGED = {
    "damaged": ("checkpoints/*/model.safetensors", b"damaged"),
    "damaged-last": ("checkpoints/00000006/model.safetensors", b""),
    "damaged-settings": ("run.json", b"[]"),
    "damaged-text": ("held_out.bin", b"\xff"),
    "damaged-vocabulary": ("vocabulary.json", b'{"kind": "bytes"}'),
    "damaged-metrics": ("metrics.jsonl", b'{"event": NaN}\n\xff\n[]\n{"event": "evaluation", "step": "x"}'),
    "damaged-progress": ("checkpoints/*/progress.json", b"{}"),
}
"""Damaged copies of lstm: the files that are replaced, and their content."""
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
    "text.txt/", "control.txt", "\x1b[31mred.txt", "\udcff.txt", "nul.txt", "crlf.txt", "one.txt", "line.txt",
    "/proc/self/mem", "same.txt",
]  # fmt: skip
BIG = ["64", "65536", "100000", "1000000", "9999999999", "1000000000000", "1e6", "1e9", "9223372036854775807"]
NUMBERS = [
    "0", "1", "2", "-1", "-0", "1.5", "0.5", "1e-320", "1e309", "-1e309", "nan", "inf", "-inf", "2147483648",
    "4294967296", "9223372036854775808", "18446744073709551616", "9" * 5000, "٣", "１２", "1_000", "0x10", "+1", " 1 ",
    "1e2", "", "NaN", "1e999999999", "00", "1,000", "½", "0.1", "1e-9", "0.999999999999",
]  # fmt: skip
STRINGS = [
    "", " ", "-", "--", "a", "the", "\n", "a\nb", "\r", "\t", "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "\x9b31m",
    "\x7f", "\u202eabc", "\ufeff", "\u2028", "\udcff", "a\udc80\udcfe", "é", "🙂", "x" * 120_000, "é" * 50_000, ".",
    "..", "../outside/evil", "/dev/null", "%s%n", "{}", "{0}", "[red]x[/red]", "[/]", "[bold", "true", "None", "null",
    "'", '"', ";", "*", "[", "~", "~nobody", "$HOME", "*.txt", "files/*", "files/**", "\\", "\\n", "\\x", "\\u12",
    "=", "a=b", ":", "1:", ":1", "0:0", "-h", "--json", "CON", "a/b", "a b", "٣", "lstm:1", "@file", "Line 1",
    "\u0301", "\U0010ffff", "\ud7ff",
]  # fmt: skip
VALID = {
    "run": [*PREPARED, *PREPARED, *DAMAGED, "file", "empty", "\x1b[31mred", "lstm/", "checkpoints/lstm",
            "./checkpoints/gru"],
    "init_from": [*PREPARED, *DAMAGED],
    "name": ["new", "new-2", "x.y_z", "lstm", "gru", "damaged"],
    "text": [*FILES, *["text.txt", "files/a.txt", "-"] * 8],
    "prime_file": [*FILES, *["text.txt", "files/a.txt", "-"] * 8],
    "corpus": [*FILES, "prose", "*.txt", "files/*", *["text.txt"] * 40],
    "cell": ["0", "1", "5", "1:2", "2:3", "2:0", "1:5", "6", "3:1", "0:1"],
    "layer": ["1", "2"],
    "property": [r"the=\bthe \w+", "inside quotes", "line position", *(f"props.py:{name}" for name in PROPERTIES),
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
    {"CHARRNN_HOME": "missing"}, {"CHARRNN_HOME": "text.txt"}, {"CHARRNN_HOME": "fifo"}, {"CHARRNN_HOME": "\udcff"},
    {"CHARRNN_HOME": "/dev/null"}, {"CHARRNN_HOME": "x" * 5000}, {"TMPDIR": "missing"},
    {"TERM": "dumb"}, {"TERM": ""}, {"PYTHONUTF8": "1"}, {"COLORTERM": "truecolor"},
]  # fmt: skip

VALID["property"] += [f"p={expression}" for expression in EXPRESSIONS[:20]]
VALID["documents"] += EXPRESSIONS[:12]
VALID["names"] = VALID["run"]
VALID["properties"] = VALID["property_name"] = VALID["property"]
STDIN = {"null": b"", "text": TEXT.encode()[:300], "binary": bytes(range(256)), "newline": b"\n", "closed": b""}


@dataclass(frozen=True)
class Line:
    """A command line and the surroundings it runs in.

    stdin: a key of `STDIN`. stdout, stderr: file, closed or full. as_process: in a new interpreter.
    """

    arguments: tuple[str, ...]
    stdin: str = "null"
    stdout: str = "file"
    stderr: str = "file"
    environment: dict[str, str] = field(default_factory=dict)
    in_deleted_folder: bool = False
    as_process: bool = False

    def __str__(self) -> str:
        words = [word if len(word) < 300 else f"{word[:40]}…({len(word):,})" for word in self.arguments]
        shell = " ".join(shlex.quote(ascii(word)[1:-1] if not word.isprintable() else word) for word in words)
        kinds = {"stdin": self.stdin, "stdout": self.stdout, "stderr": self.stderr}
        streams = [f"{name}={kind}" for name, kind in kinds.items() if kind not in ("null", "file")]
        streams += ["in a deleted folder"] * self.in_deleted_folder
        settings = [f"{name}={ascii(value)[1:-1][:60]}" for name, value in self.environment.items()]
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

    def __init__(self, seed: int, processes: float = 0.004):
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
        deleted, as_process = draw.random() < 0.01, draw.random() < self._processes
        return Line(tuple(arguments), stdin, stdout, stderr, environment, deleted, as_process)

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
