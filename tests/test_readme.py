"""What the README tells people to type exists, and what it shows lies there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from charrnn.cli.app import app
from charrnn.cli.runs import LIST
from tests.readme import RESULTS, replaced, with_results

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(?:sh|console)\n(.*?)```", README, re.DOTALL)
COMMANDS = sorted({m[1].strip() for block in BLOCKS for m in re.finditer(r"(?:^|/|\s)(charrnn [^|&#<\n]+)", block)})


def test_every_command_in_the_readme_has_the_options_it_is_given() -> None:
    parsers = typer.main.get_command(app).commands
    for command in COMMANDS:
        _, name, *words = shlex.split(command)
        parser = parsers[name]
        if inner := getattr(parser, "commands", {}):
            parser = inner.get(words[0] if words else LIST, inner.get(LIST, parser))
        known = {flag for p in parser.params for flag in (*p.opts, *p.secondary_opts)}
        assert {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)} <= known, command


def test_there_are_commands_in_the_readme_for_every_command_of_the_program() -> None:
    shown = {shlex.split(command)[1] for command in COMMANDS}
    assert shown >= set(typer.main.get_command(app).commands)


def test_every_file_that_the_readme_links_to_is_there() -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", README) + re.findall(r'src="(?!https?:)([^"]+)"', README)
    assert links
    for link in links:
        assert (ROOT / link).exists(), link


def test_results_are_those_of_the_benchmarks() -> None:
    assert with_results(README, RESULTS.read_text(encoding="utf-8")) == README


def test_a_figure_that_is_not_found_is_not_replaced() -> None:
    assert replaced("a 1 b 2", "b ", r"\d", "3") == "a 1 b 3"
    with pytest.raises(SystemExit, match="2 places"):
        replaced("a 1 a 2", "a ", r"\d", "3")


def test_both_set_up_lines_are_single_lines_for_a_fresh_clone() -> None:
    lines = [line for line in README.splitlines() if line.startswith("python3 -m venv ")]
    assert len(lines) == 2
    assert "charrnn train python" in lines[0]
    assert "[test]" in lines[1]
    assert "pytest" in lines[1]
