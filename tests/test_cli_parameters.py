"""Errors of the library name parameters; the command line shows them as flags."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import charrnn
from charrnn.cli.parameters import with_flags
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
    ],
)
def test_parameters_become_flags(message: str, shown: str) -> None:
    assert with_flags(message, FLAGS) == shown


def test_library_names_the_parameter() -> None:
    with pytest.raises(UsageError, match=r"^`hidden_size` must be at least 1 and at most 65,536, not 0$"):
        charrnn.train("book.txt", hidden_size=0)


def test_no_error_of_the_library_names_a_flag() -> None:
    """Flags of torchrun aside: a library user has those, too."""
    package = Path(charrnn.__file__).parent
    for file in (file for file in package.rglob("*.py") if "cli" not in file.parts):
        source = file.read_text()
        calls = (one for one in ast.walk(ast.parse(source if "--" in source else "")) if isinstance(one, ast.Raise))
        texts = (one.value for call in calls for one in ast.walk(call) if isinstance(one, ast.Constant))
        wrong = [text for text in texts if isinstance(text, str) and "--" in text and "torchrun" not in text]
        assert not wrong, f"{file.name}: {wrong}"
