"""`charrnn sample`: generate text, character by character."""

from __future__ import annotations

import base64
import codecs
import json
import os
import re
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from charrnn.cli.options import (
    CheckpointOption,
    DeviceOption,
    RunArgument,
    SkipUnknownOption,
    help_of,
    with_settings,
)
from charrnn.errors import CharrnnError, ExitCode, UsageError
from charrnn.sampling.filters import FILTERS
from charrnn.sampling.settings import SampleSettings
from charrnn.settings import only_one_of, settings_from
from charrnn.units import bits

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from charrnn.api import Model
    from charrnn.text.vocabulary import Vocabulary

FLUSH_SECONDS = {"terminal": 0.05, "pipe": 0.5}
BLOCK = 4096  # characters of each text stacked into one array


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


def register(app: typer.Typer) -> None:
    app.command("sample", help=help_of(sample))(sample)


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
    shows control characters as signs. Several texts are printed one after the other, each ending with a newline; --json
    keeps them apart.

    [bold]charrnn sample --prime "ROMEO:" --length 400[/bold]  ·  [bold]charrnn sample --num 20 --stop "."[/bold]  ·
    [bold]head -c 500 play.txt | charrnn sample --prime -[/bold]
    """
    if "stop" in given:
        given["stop"] = [_unescaped(text) for text in given["stop"]]
    settings = settings_from(SampleSettings, given)
    _check_greedy(settings, given)
    only_one_of(prime=prime, prime_file=prime_file)
    if prime_file not in (None, "-") and not os.path.isfile(prime_file):  # noqa: PTH113 - Path.is_file may raise
        raise UsageError(f"there is no file {prime_file}", "check the path given to --prime-file")

    from charrnn.api import load
    from charrnn.display.terminal import is_terminal
    from charrnn.sampling.generate import fresh_seed

    model = load(run, checkpoint=checkpoint, device=device)
    prime_ids = model.vocabulary.encode(
        _read_prime(prime, prime_file, model.vocabulary),
        source="the prime",
        skip_unknown=skip_unknown,
        hint="use --skip-unknown to skip them",
    )
    if settings.seed is None:
        settings = settings.changed(seed=fresh_seed())
        if is_terminal(sys.stderr) and not settings.greedy and not as_json:
            _write(sys.stderr, f"{model.name} · seed {settings.seed}\n")
            sys.stderr.flush()
    drawn = model.generate(prime_ids, **settings.to_json())
    try:
        if as_json:
            _print_json(model, _collect(drawn, settings.num), prime_ids, settings)
        else:
            echoed = prime_ids[:0] if no_echo else prime_ids
            _print_texts(drawn, echoed, settings.num, _Output(model.vocabulary, raw))
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    except BrokenPipeError:
        raise
    except OSError as error:
        raise CharrnnError(f"standard output cannot be written: {error.strerror}") from None


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


def _read_prime(prime: str | None, prime_file: str | None, vocabulary: Vocabulary) -> str | bytes:
    as_bytes = vocabulary.kind == "bytes"
    source = "-" if prime == "-" else prime_file
    if source is not None:
        from charrnn.text.corpus import read_text

        return read_text(source, as_bytes=as_bytes)
    return os.fsencode(prime or "") if as_bytes else prime or ""


def _print_texts(drawn: Iterator[np.ndarray], echoed: np.ndarray, num: int, output: _Output) -> None:
    """Print the first text as it is generated, then the others, generated in parallel."""
    pending = _PendingTexts()
    output.start(1, num)
    try:
        output.put(echoed)
        for ids in drawn:
            if ids[0] >= 0:
                output.put(ids[:1])
            if num > 1:
                pending.add(ids)
    except KeyboardInterrupt:
        output.end(newline=num > 1)
        raise
    output.end(newline=num > 1)
    for stream in range(1, num):
        output.start(stream + 1, num)
        output.put(echoed)
        output.put(pending.text(stream))
        output.end(newline=True)


class _PendingTexts:
    """The characters generated for several texts so far."""

    def __init__(self) -> None:
        self._blocks: list[np.ndarray] = []
        self._latest: list[np.ndarray] = []

    def add(self, ids: np.ndarray) -> None:
        """Add one character of each text (num,); −1 for a text that has ended."""
        self._latest.append(ids)
        if len(self._latest) == BLOCK:
            self._stack()

    def text(self, stream: int) -> np.ndarray:
        """Return the ids (T,) of one text."""
        import numpy as np

        self._stack()
        ids = np.concatenate([np.empty(0, np.int32), *(block[stream] for block in self._blocks)])
        return ids[ids >= 0]

    def _stack(self) -> None:
        import numpy as np

        if self._latest:
            self._blocks.append(np.stack(self._latest, axis=1).astype(np.int32))
            self._latest = []


def _collect(drawn: Iterator[np.ndarray], num: int) -> list[np.ndarray]:
    pending = _PendingTexts()
    for ids in drawn:
        pending.add(ids)
    return [pending.text(stream) for stream in range(num)]


class _Output:
    """Writes ids to standard output: safe on a terminal, exact elsewhere, flushed often enough to watch."""

    def __init__(self, vocabulary: Vocabulary, raw: bool):
        from charrnn.display.terminal import is_terminal
        from charrnn.text.vocabulary import StreamDecoder

        self._vocabulary = vocabulary
        self._to_terminal = is_terminal(sys.stdout)
        self._headings = self._to_terminal and is_terminal(sys.stderr)
        self._decoder = None if raw or not self._to_terminal else StreamDecoder(vocabulary)
        self._interval = FLUSH_SECONDS["terminal" if self._to_terminal else "pipe"]
        self._pending: list[int] = []
        self._last_id: int | None = None
        self._flushed = time.monotonic()

    def start(self, number: int, total: int) -> None:
        """Print a heading before each of several texts if both streams go to a terminal."""
        if total > 1 and self._headings:
            _write(sys.stderr, f"── {number}/{total} ──\n")
            sys.stderr.flush()

    def put(self, ids: np.ndarray) -> None:
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
            _write(sys.stdout, self._decoder.end())
        ended = self._last_id is not None and self._vocabulary.text([self._last_id]) == "\n"
        if (self._to_terminal or newline) and not ended:
            sys.stdout.write("\n")
        sys.stdout.flush()
        self._last_id = None

    def _write_ids(self, ids: list[int]) -> None:
        if self._decoder is not None:
            _write(sys.stdout, self._decoder.feed(ids))
            return
        text = self._vocabulary.decode(ids)
        sys.stdout.flush()
        sys.stdout.buffer.write(text if isinstance(text, bytes) else text.encode("utf-8"))


def _write(stream: TextIO, text: str) -> None:
    from charrnn.display.terminal import write

    write(stream, text)


def _print_json(model: Model, texts: list[np.ndarray], prime: np.ndarray, settings: SampleSettings) -> None:
    """Print a line for each text, with its loss per character under the model at temperature 1."""
    import numpy as np

    vocabulary = model.vocabulary
    before = prime if len(prime) or model.run.document_separator else np.array([vocabulary.opening_id], prime.dtype)
    for stream, ids in enumerate(texts):
        text, nats = vocabulary.text(ids), None
        if len(ids):
            scored = model.score(np.concatenate([before, ids]))
            nats = float(scored.nats[-len(ids) :].mean(dtype=float))
        entry = {
            "run": model.name,
            "step": model.checkpoint.step,
            "seed": settings.seed,
            "stream": stream,
            "prime": vocabulary.text(prime),
            "text": text,
            "characters": len(ids),
            "stopped": text.endswith(settings.stop),
            "nats_per_character": nats,
            "bits_per_character": None if nats is None else bits(nats),
        }
        decoded = vocabulary.decode(ids)
        if isinstance(decoded, bytes):
            entry["base64"] = base64.b64encode(decoded).decode("ascii")
        print(json.dumps(entry), flush=True)
