"""No string drives a terminal: each arrives there as its safe form."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charrnn.display.terminal import safe_text
from tests.terminal.test_pty import SEQUENCES, assert_nothing_drives_the_terminal

WRITER = """
import json, sys
from charrnn.display.terminal import write
for line in sys.stdin:
    for codes in json.loads(line):
        write(sys.stdout, "".join(map(chr, codes)) + "\\n")
    sys.stdout.flush()
"""
BATCH = 50

anything = st.characters() | st.characters(categories=["Cs"])
pieces = (
    st.sampled_from(SEQUENCES) | st.text(anything, max_size=5) | st.text(st.characters(max_codepoint=0x9F), max_size=5)
)
# A pty changes newlines and may expand tabs.
strings = st.lists(pieces, max_size=5).map(lambda parts: "".join(parts).replace("\n", "").replace("\t", ""))


class Terminal:
    """A program that writes texts to a pseudo-terminal, and the other end of it."""

    def __init__(self, writer: subprocess.Popen[str], master: int):
        self._writer, self._master = writer, master

    def shows(self, texts: list[str]) -> list[str]:
        print(json.dumps([[ord(c) for c in text] for text in texts]), file=self._writer.stdin, flush=True)
        received = b""
        while received.count(b"\r\n") < len(texts):
            received += os.read(self._master, 65536)
        return received.decode().removesuffix("\r\n").split("\r\n")


@contextlib.contextmanager
def terminal() -> Iterator[Terminal]:
    master, slave = pty.openpty()
    environment = {**os.environ, "LANG": "C.UTF-8", "PYTHONUTF8": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", WRITER], stdin=subprocess.PIPE, stdout=slave, text=True, env=environment
    ) as writer:
        os.close(slave)
        try:
            yield Terminal(writer, master)
        finally:
            writer.stdin.close()
            writer.wait(timeout=30)
            os.close(master)


def check(batches: int) -> None:
    with terminal() as there:

        @settings(max_examples=batches, suppress_health_check=list(HealthCheck))
        @given(st.lists(strings, min_size=BATCH, max_size=BATCH))
        def nothing_drives_it(texts: list[str]) -> None:
            received = there.shows(texts)
            assert received == [safe_text(text) for text in texts]
            for line in received:
                assert_nothing_drives_the_terminal(line)

        nothing_drives_it()


def test_any_string() -> None:
    check(20)


@pytest.mark.slow
def test_any_hundred_thousand_strings() -> None:
    check(100_000 // BATCH)
