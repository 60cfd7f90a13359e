"""Random command lines end with the right exit code, one line of error, and no change where they have no business."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from tests.attacks.command_lines import Generator, Line, commands
from tests.attacks.fuzz import Sandbox, fuzz


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    return Sandbox(tmp_path_factory.mktemp("fuzz"))


def test_20_command_lines(sandbox: Sandbox) -> None:
    report = fuzz(sandbox, range(20), seed=1, patience=0.2)
    assert not report.problems, str(report)
    assert report.codes[0] > 3, str(report)


@pytest.mark.slow
def test_5000_command_lines(folder: Path) -> None:
    report = fuzz(Sandbox(folder), range(5000), seed=2)
    print(report)
    assert not report.problems, str(report)


def test_every_option_is_fuzzed() -> None:
    generator = Generator(1)
    missing = {(path, one.opts[0]) for path, parameters in commands() for one in parameters if one.opts[0][0] == "-"}
    for number in itertools.count():
        words = generator.line(number).arguments
        missing -= {(words[:n], word.partition("=")[0]) for n in range(3) for word in words[n:]}
        if not missing:
            return
        assert number < 5000, missing


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("raise KeyError('x')", "traceback:  KeyError: 'x'"),
        ("import time; time.sleep(60)", "hangs"),
        ("import sys; sys.exit(3)", "exit code 3"),
        ("import sys; sys.exit(1)", "0 error lines"),
        ("import warnings; warnings.warn('old', FutureWarning)", "raw warning"),
        ("print('{\"a\": NaN}')", "stdout is not JSON"),
        ("print('\\x1b[1mbold')", "escape sequence on stdout"),
        ("open('made', 'w').close()", "changed: made"),
        ("open('../outside/made', 'w').close()", "something outside changed"),
        ("import shutil; shutil.rmtree('checkpoints/lstm/checkpoints')", "run no longer loads"),
    ],
)
def test_broken_invariants_are_found(
    code: str, problem: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.attacks.fuzz.program", lambda: exec(code, {}))
    line = Line(("runs", "--json"))
    found = sandbox.problems(line, sandbox.run(line, seconds=0.5))
    assert any(problem in one for one in found), found
