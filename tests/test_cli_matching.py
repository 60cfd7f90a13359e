"""`charrnn sample --matching`, --particles and --suffix."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import charrnn
from tests.untrained import invoke, make_run, refused

TEXT = "\n" + "abcdefghij 0123456789-"


@pytest.fixture
def run(home: Path) -> Path:
    make_run(home, TEXT)
    return home


def sample(*arguments: str) -> str:
    return invoke(*arguments, "--seed", "1", command="sample")


def test_texts_match(run: Path) -> None:
    printed = sample("--matching", r"\d{4}-\d\d-\d\d", "--num", "3")
    assert re.fullmatch(r"(\d{4}-\d\d-\d\d\n){3}", printed)
    assert printed.splitlines() == charrnn.load().sample(matching=r"\d{4}-\d\d-\d\d", n=3, seed=1)


def test_json_has_log_weights(run: Path) -> None:
    for arguments in ([], ["--particles", "4"]):
        printed = sample("--matching", "[a-e]{5}", "--num", "2", "--json", *arguments)
        entries = [json.loads(line) for line in printed.splitlines()]
        assert all(re.fullmatch("[a-e]{5}", one["text"]) and one["log_weight"] < 0 for one in entries)
    assert "log_weight" not in json.loads(sample("--length", "5", "--json"))


def test_suffix_is_printed_after_the_text(run: Path) -> None:
    arguments = ["--prime", "ab", "--suffix", "cd", "--matching", r"\d{3}", "--particles", "4"]
    assert re.fullmatch(r"ab\d{3}cd", sample(*arguments).rstrip("\n"))
    assert re.fullmatch(r"\d{3}", sample(*arguments, "--no-echo").rstrip("\n"))
    assert json.loads(sample(*arguments, "--json"))["suffix"] == "cd"


def test_stream_of_a_text_that_matches(run: Path) -> None:
    assert re.fullmatch(r"\d*", "".join(charrnn.load().stream(matching=r"\d*", seed=1)))


def test_mistakes(run: Path) -> None:
    message = refused("--matching", "x+", command="sample")
    assert message == "--matching 'x+': no text of the model's characters matches; the model has no character for x"
    assert "leave them out" in refused("--suffix", "a", "--color-by", "1", command="sample")
    assert "the suffix has unknown characters" in refused("--suffix", "é", command="sample")
