"""charrnn.text.patterns"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import CharrnnError
from charrnn.text.patterns import Pattern, PatternError, PatternTimeoutError

EXPRESSIONS = [r"\n\n+", r"^a$", r"(?<=a)b", r"\w+", r"[^\W\d]\b", r"(a)\1", r"", r"(?i)É", r"\s", r"."]
PATTERNS = {expression: Pattern(expression) for expression in EXPRESSIONS}


@given(st.sampled_from(EXPRESSIONS), st.text("aab\né \u0301𝄞\ud800", max_size=60), st.integers(0, 5))
def test_matches_are_those_of_re(expression: str, text: str, start: int) -> None:
    expected = [list(match.span()) for match in re.compile(expression, re.MULTILINE).finditer(text, start)]
    assert PATTERNS[expression].spans(text, start).tolist() == expected


@given(st.sampled_from(EXPRESSIONS), st.text("aab\n", max_size=20), st.integers(0, 5))
def test_ends_with_match(expression: str, text: str, start: int) -> None:
    matches = re.compile(expression, re.MULTILINE).finditer(text, start)
    expected = any(match.start() < match.end() == len(text) for match in matches)
    assert PATTERNS[expression].ends_with_match(text, start) == expected


@pytest.mark.parametrize("expression", [r"\n\n+", "(a+)+b"])
def test_short_and_long_texts_agree(expression: str) -> None:
    """Short texts may be matched without a process."""
    text = "aaab\n\n\n" * 12
    pattern = Pattern(expression)
    assert pattern.spans(text).tolist() == pattern.spans(text + "x" * 100).tolist()


@pytest.mark.parametrize("expression", ["[ab]+[a]+\n", ".*.*x", "a{1,99}b*c", "a*|a*"])
def test_expressions_matched_without_a_process_are_fast(expression: str) -> None:
    """An expression without groups and with two quantifiers takes at most cubic time."""
    start = time.process_time()
    Pattern(expression).spans("a" * 100)
    assert time.process_time() - start < 1


def test_matches_in_bytes() -> None:
    assert Pattern(rb"\xff+\n").spans(b"a\xff\xff\nb").tolist() == [[1, 4]]


def test_a_long_text() -> None:
    assert len(Pattern("b").spans("ab" * 500_000)) == 500_000


@pytest.mark.parametrize("expression", ["(", "*", "a{99999999999}", "(?P<n>", rb"\u000a", "(" * 500 + ")" * 500])
def test_invalid_expression(expression: str | bytes) -> None:
    with pytest.raises(PatternError):
        Pattern(expression)


def test_long_expression() -> None:
    with pytest.raises(PatternError, match="longer than 1,000 characters"):
        Pattern("a" * 420_000)


def test_timeout_in_any_thread() -> None:
    outcomes: list[str] = []

    def match() -> None:
        pattern = Pattern("(a+)+b", time_limit=0.3)
        start = time.monotonic()
        with pytest.raises(PatternTimeoutError, match="takes too long"):
            pattern.spans("a" * 60)
        outcomes.append("timeout" if time.monotonic() - start < 10 else "late")
        outcomes.append(str(pattern.spans("aab").tolist()))  # usable again

    thread = threading.Thread(target=match)
    thread.start()
    thread.join()
    assert outcomes == ["timeout", "[[0, 3]]"]


def test_timeout_of_a_compilation() -> None:
    with pytest.raises(PatternTimeoutError):
        Pattern("(?i)" + "[\0-\U0010ffff]" * 190, time_limit=0.05)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charrnn.text.patterns.MEMORY_LIMIT", 100_000_000)
    pattern = Pattern("(a)")
    with pytest.raises(CharrnnError, match="too much memory"):
        pattern.spans("a" * 20_000_000)
    assert pattern.spans("ba").tolist() == [[1, 2]]


def test_the_caller_keeps_its_signals() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGALRM, signal.SIGINT, signal.SIGCHLD)}
    with pytest.raises(PatternTimeoutError):
        Pattern("(a+)+b", time_limit=0.1).spans("a" * 60)
    assert {number: signal.getsignal(number) for number in before} == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_no_process_is_left() -> None:
    """Neither when a pattern is dropped nor when the program ends."""
    code = (
        "import gc; from charrnn.text.patterns import Pattern\n"
        "p = Pattern('(a)'); q = Pattern('(b)'); print(p._process.pid, q._process.pid); del p; gc.collect()"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    for pid in done.stdout.split():
        assert subprocess.run(["ps", "-p", pid], capture_output=True).returncode == 1


def test_ambiguous_set_raises_no_warning() -> None:
    assert Pattern("[[a]").spans("[a").tolist() == [[0, 1], [1, 2]]
