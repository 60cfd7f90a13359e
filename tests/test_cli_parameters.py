"""Errors of the library name parameters; the command line shows them as flags."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import charrnn
from charrnn.cli.app import app
from charrnn.cli.parameters import flags_of, with_flags
from charrnn.errors import UsageError

FLAGS = {
    "seq_length": "--seq-length",
    "as_bytes": "--bytes",
    "name": "--name",
    "text": "--text",
    "minutes": "--minutes",
}


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("lower `seq_length`", "lower --seq-length"),
        ("use `as_bytes=True`", "use --bytes"),
        ("use `minutes=10.5`", "use --minutes 10.5"),
        ("as in `name='k'`", "as in --name k"),
        ("as in `name='a; rm b'`", "as in --name 'a; rm b'"),
        ("as in `text=Path('FILE')`", "as in --text FILE"),
        ("`steps` is no option here", "`steps` is no option here"),
        ("`charrnn export` wrote it", "`charrnn export` wrote it"),
        ("the run's `name` is '`name`', not \"`name`'s\"", "the run's --name is '`name`', not \"`name`'s\""),
        ("`text` 'is a long `name`…; lower `minutes`", "--text 'is a long `name`…; lower --minutes"),
    ],
)
def test_parameters_become_flags(message: str, shown: str) -> None:
    assert with_flags(message, FLAGS) == shown


def test_library_names_the_parameter() -> None:
    with pytest.raises(UsageError, match=r"^`hidden_size` must be at least 1 and at most 65,536, not 0$"):
        charrnn.train("book.txt", hidden_size=0)


def texts_of_errors() -> Iterator[tuple[str, str]]:
    """Yield the name of each file of the library, and each text in one of its `raise` statements."""
    package = Path(charrnn.__file__).parent
    for file in (file for file in package.rglob("*.py") if "cli" not in file.parts):
        source = file.read_text()
        calls = (one for one in ast.walk(ast.parse(source if "raise " in source else "")) if isinstance(one, ast.Raise))
        for one in (one for call in calls for one in ast.walk(call) if isinstance(one, ast.Constant)):
            if isinstance(one.value, str):
                yield file.name, one.value


def parameters_of_commands(command: Any) -> Iterator[str]:
    """Yield the parameters that a command, or one of its subcommands, has a flag for."""
    yield from flags_of(command.params)
    for one in getattr(command, "commands", {}).values():
        yield from parameters_of_commands(one)


def test_errors_of_the_library_name_parameters_that_have_flags() -> None:
    known = {*parameters_of_commands(typer.main.get_command(app))}
    named = {(file, name) for file, text in texts_of_errors() for name in re.findall(r"`([a-z]\w*)[=`]", text)}
    assert len(named) > 20
    assert {(file, name) for file, name in named if name not in known} == set()


def test_no_error_of_the_library_names_a_flag() -> None:
    """Flags of torchrun aside: a library user has those, too."""
    wrong = [(file, text) for file, text in texts_of_errors() if "--" in text and "torchrun" not in text]
    assert wrong == []
