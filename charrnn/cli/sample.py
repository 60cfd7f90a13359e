"""`charrnn sample`: generate text, character by character."""

from __future__ import annotations

import base64
import codecs
import json
import os
import re
import sys
import time
from array import array
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli.options import (
    CheckpointOption,
    DeviceOption,
    RunArgument,
    SkipUnknownOption,
    with_settings,
)
from charrnn.display.terminal import Terminal, WordWrap, is_terminal, safe_text, write
from charrnn.errors import CharrnnError, ExitCode, UsageError
from charrnn.sampling.filters import FILTERS
from charrnn.sampling.settings import SampleSettings
from charrnn.settings import only_one_of, settings_from

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from charrnn.api import Model
    from charrnn.model.run import Run
    from charrnn.text.vocabulary import Vocabulary

FLUSH_SECONDS = {"terminal": 0.05, "pipe": 0.5}


PrimeOption = Annotated[
    str | None, typer.Option(help="Text to continue; - reads standard input.", metavar="TEXT", rich_help_panel="Prime")
]
PrimeFileOption = Annotated[
    str | None, typer.Option(help="File with the text to continue.", metavar="FILE|-", rich_help_panel="Prime")
]
NoEchoOption = Annotated[bool, typer.Option("--no-echo", help="Do not print the prime.", rich_help_panel="Prime")]
JsonLinesOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object per text, one per line.", rich_help_panel="Output")
]
RawOption = Annotated[
    bool, typer.Option("--raw", help="Print control characters unchanged on a terminal too.", rich_help_panel="Output")
]


@with_settings(SampleSettings)
def sample(
    run: RunArgument = None,
    prime: PrimeOption = None,
    prime_file: PrimeFileOption = None,
    no_echo: NoEchoOption = False,
    skip_unknown: SkipUnknownOption = False,
    as_json: JsonLinesOption = False,
    raw: RawOption = False,
    checkpoint: CheckpointOption = "best",
    device: DeviceOption = "auto",
    *,
    given: dict[str, Any],
) -> None:
    """Generate text from a trained model.

    Without a prime, the text starts at the beginning of a line. A pipe or a file gets the exact characters; a terminal
    shows control characters as signs, and breaks lines between words. Several texts are printed one after the other,
    each ending with a newline; --json keeps them apart.

    [bold]charrnn sample --prime "ROMEO:" --length 400[/bold]
    [bold]charrnn sample --num 20 --stop "."[/bold]
    [bold]head -c 500 play.txt | charrnn sample --prime -[/bold]
    """
    if "stop" in given:
        given["stop"] = [_unescaped(text) for text in given["stop"]]
    settings = settings_from(SampleSettings, given)
    _check_greedy(settings, given)
    only_one_of(prime=prime, prime_file=prime_file)
    # A pipe, as in --prime-file <(command), is a file too. Path.exists may raise.
    if prime_file not in (None, "-") and (not os.path.exists(prime_file) or os.path.isdir(prime_file)):  # noqa: PTH110, PTH112
        raise UsageError(f"there is no file {prime_file}", "check the path given to --prime-file")

    from charrnn.api import load
    from charrnn.sampling.generate import fresh_seed

    model = load(run, checkpoint=checkpoint, device=device)
    prime_ids = model.vocabulary.encode(
        _read_prime(prime, prime_file, model.run),
        source="the prime",
        skip_unknown=skip_unknown,
        hint="use --skip-unknown to skip them",
    )
    if settings.seed is None:
        settings = settings.changed(seed=fresh_seed())
        if is_terminal(sys.stderr) and not settings.greedy and not as_json:
            write(sys.stderr, f"{model.name} · seed {settings.seed}\n")
            sys.stderr.flush()
    drawn = model.generate(prime_ids, **settings.to_json())
    try:
        if as_json:
            _print_json(model, drawn, prime_ids, settings)
        else:
            echoed = prime_ids[:0] if no_echo else prime_ids
            _print_texts(drawn, echoed, settings.num, _Output(model.vocabulary, raw))
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None


def _unescaped(text: str) -> str:
    r"""Replace the escapes that a shell passes on, such as `\n`. Other backslashes stay."""
    escape = r"\\(?:[ntr\\]|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4})"
    return re.sub(escape, lambda match: codecs.decode(match[0], "unicode_escape"), text)


def _check_greedy(settings: SampleSettings, given: dict[str, Any]) -> None:
    """Raise UsageError if --greedy makes another option meaningless."""
    if not settings.greedy:
        return
    options = SampleSettings.options()
    for name in FILTERS:
        if name in given:
            flag = options[name].flag
            raise UsageError(f"--greedy and {flag} exclude each other", "greedy always takes the most likely character")
    if settings.num > 1:
        raise UsageError("--greedy always generates the same text", "leave out --num or --greedy")


def _read_prime(prime: str | None, prime_file: str | None, run: Run) -> str | bytes:
    as_bytes = run.vocabulary.kind == "bytes"
    source = "-" if prime == "-" else prime_file
    if source is not None:
        from charrnn.text.corpus import read_text
        from charrnn.text.vocabulary import NotTextError

        reading = run.read_settings()
        try:
            return read_text(source, as_bytes=as_bytes, reading=reading)
        except NotTextError as error:
            hint = f"convert it to {reading.encoding}, the encoding of the run's corpus"
            raise CharrnnError(error.message, hint) from None
    return os.fsencode(prime or "") if as_bytes else prime or ""


def _print_texts(drawn: Iterator[np.ndarray], echoed: np.ndarray, num: int, output: _Output) -> None:
    """Print the first text as it is generated, then the others, generated in parallel."""
    others = [array("i") for _ in range(num - 1)]
    output.start(1, num)
    try:
        output.put(echoed)
        for ids in drawn:
            if ids[0] >= 0:
                output.put(ids[:1])
            _append(others, ids[1:])
    except KeyboardInterrupt:
        output.end(newline=num > 1)
        raise
    output.end(newline=num > 1)
    for number, text in enumerate(others, start=2):
        output.start(number, num)
        output.put(echoed)
        output.put(text)
        output.end(newline=True)


def _append(texts: list[array[int]], ids: np.ndarray) -> None:
    """Append one character to each text; −1 stands for none."""
    for text, one in zip(texts, ids.tolist(), strict=True):
        if one >= 0:
            text.append(one)


class _Output:
    """Writes ids to standard output: safe on a terminal, exact elsewhere, flushed often enough to watch."""

    def __init__(self, vocabulary: Vocabulary, raw: bool):
        from charrnn.text.vocabulary import StreamDecoder

        self._vocabulary = vocabulary
        self._to_terminal = is_terminal(sys.stdout)
        self._headings = self._to_terminal and is_terminal(sys.stderr)
        self._decoder = None if raw or not self._to_terminal else StreamDecoder(vocabulary)
        self._wrap = WordWrap(Terminal.of(sys.stdout).width)
        self._interval = FLUSH_SECONDS["terminal" if self._to_terminal else "pipe"]
        self._pending: list[int] = []
        self._last_id: int | None = None
        self._flushed = time.monotonic()

    def start(self, number: int, total: int) -> None:
        """Print a heading before each of several texts if both streams go to a terminal."""
        if total > 1 and self._headings:
            write(sys.stderr, f"── {number}/{total} ──\n")
            sys.stderr.flush()

    def put(self, ids: np.ndarray | array[int]) -> None:
        """Write ids (T,) of the current text."""
        self._pending += ids.tolist()
        if time.monotonic() - self._flushed >= self._interval:
            self.flush()

    def flush(self) -> None:
        if self._pending:
            self._last_id = self._pending[-1]
            self._write_ids(self._pending)
            self._pending = []
        sys.stdout.flush()
        self._flushed = time.monotonic()

    def end(self, *, newline: bool) -> None:
        """End the text, with a newline on a terminal or if asked, unless the text ends with one."""
        self.flush()
        if self._decoder is not None:
            self._write_wrapped(self._decoder.end())
            write(sys.stdout, self._wrap.end())
        ended = self._last_id is not None and self._vocabulary.text([self._last_id]) == "\n"
        if (self._to_terminal or newline) and not ended:
            sys.stdout.write("\n")
        sys.stdout.flush()
        self._last_id = None

    def _write_ids(self, ids: list[int]) -> None:
        if self._decoder is not None:
            self._write_wrapped(self._decoder.feed(ids))
            return
        text = self._vocabulary.decode(ids)
        sys.stdout.flush()
        sys.stdout.buffer.write(text if isinstance(text, bytes) else text.encode("utf-8"))

    def _write_wrapped(self, text: str) -> None:
        write(sys.stdout, self._wrap.feed(safe_text(text)))


def _print_json(model: Model, drawn: Iterator[np.ndarray], prime: np.ndarray, settings: SampleSettings) -> None:
    """Print a line for each text, with its loss under the model at temperature 1."""
    import numpy as np

    vocabulary, texts = model.vocabulary, [array("i") for _ in range(settings.num)]
    for drawn_ids in drawn:
        _append(texts, drawn_ids)
    for stream, ids in enumerate(np.array(one, np.int32) for one in texts):
        text = vocabulary.text(ids)
        score = model.score_continuation(prime, ids) if len(ids) else None
        entry = {
            "run": model.name,
            "step": model.checkpoint.step,
            "seed": settings.seed,
            "stream": stream,
            "prime": vocabulary.text(prime),
            "text": text,
            "characters": len(ids),
            "stopped": text.endswith(settings.stop),
            "nats_per_character": None if score is None else score.mean,
            "bits_per_character": None if score is None else score.bits_per_character,
        }
        decoded = vocabulary.decode(ids)
        if isinstance(decoded, bytes):
            entry["base64"] = base64.b64encode(decoded).decode("ascii")
        print(json.dumps(entry), flush=True)
