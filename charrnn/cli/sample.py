"""`charrnn sample`: text from a trained run, a character at a time."""

from __future__ import annotations

import base64
import json
import os
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from charrnn.cli.options import (
    CheckpointOption,
    DeviceOption,
    RunArgument,
    SkipUnknownOption,
    flowing,
    only_one_of,
    with_settings,
)
from charrnn.errors import CharrnnError, ExitCode, UsageError
from charrnn.sampling.filters import FILTERS
from charrnn.sampling.settings import SampleSettings
from charrnn.settings import settings_from
from charrnn.units import bits

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from charrnn.model.run import Run
    from charrnn.text.vocabulary import Vocabulary

PRIME = "What comes before"
OUTPUT = "Output"
SECONDS_BETWEEN_FLUSHES = {"terminal": 0.05, "pipe": 0.5}
BLOCK = 4096  # characters of each text kept in one array, while it waits for its turn


def register(app: typer.Typer) -> None:
    app.command("sample", help=flowing(sample))(sample)


@with_settings(SampleSettings)
def sample(
    run: RunArgument = None,
    prime: Annotated[
        str | None,
        typer.Option(help="Text to go on from; - reads it from standard input.", metavar="TEXT", rich_help_panel=PRIME),
    ] = None,
    prime_file: Annotated[
        str | None,
        typer.Option(help="The same from a file, last newline and all.", metavar="FILE|-", rich_help_panel=PRIME),
    ] = None,
    no_echo: Annotated[
        bool, typer.Option("--no-echo", help="Write only what follows the prime.", rich_help_panel=PRIME)
    ] = False,
    skip_unknown: SkipUnknownOption = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line for each text.", rich_help_panel=OUTPUT)
    ] = False,
    raw: Annotated[
        bool,
        typer.Option(
            "--raw", help="Exact characters on a terminal too, also those that drive it.", rich_help_panel=OUTPUT
        ),
    ] = False,
    checkpoint: CheckpointOption = "best",
    device: DeviceOption = "auto",
    *,
    given: dict[str, Any],
) -> None:
    """Write text with a trained model, as it comes.

    Without a prime the text begins as if a line were beginning. A pipe or a
    file gets the exact characters; on a terminal, those that would drive it are
    shown as signs. Several texts follow one another, each ended with a newline
    if it has none of its own; --json keeps them apart.

    [bold]charrnn sample --prime "ROMEO:" --length 400[/bold]  ·  [bold]charrnn sample --num 20 --stop "."[/bold]  ·
    [bold]head -c 500 play.txt | charrnn sample --prime -[/bold]
    """
    settings = settings_from(SampleSettings, given)
    _check_greedy(settings, given)
    only_one_of(prime=prime, prime_file=prime_file)
    # os.path says no, rather than fail, where that is no path.
    if prime_file not in (None, "-") and not os.path.isfile(prime_file):  # noqa: PTH113
        raise UsageError(f"there is no file {prime_file}", "check the path given to --prime-file")

    from charrnn.display.terminal import is_terminal
    from charrnn.model.device import choose_device
    from charrnn.model.lookup import open_run
    from charrnn.sampling.generate import fresh_seed, generate

    opened = open_run(run)
    vocabulary = opened.vocabulary
    prime_ids = vocabulary.encode(
        _prime_text(prime, prime_file, vocabulary),
        source="the prime",
        skip_unknown=skip_unknown,
        hint="use --skip-unknown to leave them out",
    )
    network, save = opened.load_network(checkpoint, choose_device(device))
    if settings.seed is None:
        settings = settings.changed(seed=fresh_seed())
        if is_terminal(sys.stderr) and not settings.greedy and not as_json:
            _write(sys.stderr, f"{opened.name} · seed {settings.seed}\n")
            sys.stderr.flush()
    drawn = generate(network, settings, prime_ids, vocabulary=vocabulary, documents=opened.document_separator)
    try:
        if as_json:
            about = {"run": opened.name, "step": save.step, "seed": settings.seed}
            _write_json(about, _finished(drawn, settings.num), prime_ids, network, opened, settings)
        else:
            echoed = prime_ids[:0] if no_echo else prime_ids
            _write_texts(drawn, echoed, settings.num, _Output(vocabulary, raw))
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    except BrokenPipeError:
        raise
    except OSError as error:
        raise CharrnnError(f"standard output cannot be written: {error.strerror}") from None


def _check_greedy(settings: SampleSettings, given: dict[str, Any]) -> None:
    """Raises UsageError where --greedy would make what else was asked for meaningless."""
    if not settings.greedy:
        return
    options = settings.options()
    for name in FILTERS:
        if name in given:
            flag = options[name].flag
            raise UsageError(f"--greedy and {flag} exclude each other", "greedy always takes the likeliest character")
    if settings.num > 1:
        raise UsageError("--greedy writes the same text every time", "leave out --num, or --greedy")


def _prime_text(prime: str | None, prime_file: str | None, vocabulary: Vocabulary) -> str | bytes:
    as_bytes = vocabulary.kind == "bytes"
    source = "-" if prime == "-" else prime_file
    if source is not None:
        from charrnn.text.corpus import read_text

        return read_text(source, as_bytes=as_bytes)
    return os.fsencode(prime or "") if as_bytes else prime or ""


def _write_texts(drawn: Iterator[np.ndarray], echoed: np.ndarray, num: int, output: _Output) -> None:
    """The first text as it comes; the others, drawn beside it, after it in order."""
    waiting = _Waiting()
    output.begin(1, num)
    try:
        output.put(echoed)
        for ids in drawn:
            if ids[0] >= 0:
                output.put(ids[:1])
            if num > 1:
                waiting.add(ids)
    except KeyboardInterrupt:
        output.end(is_one_of_several=num > 1)
        raise
    output.end(is_one_of_several=num > 1)
    for stream in range(1, num):
        output.begin(stream + 1, num)
        output.put(echoed)
        output.put(waiting.text(stream))
        output.end(is_one_of_several=True)


class _Waiting:
    """What several streams have drawn, until it can be shown."""

    def __init__(self) -> None:
        self._blocks: list[np.ndarray] = []
        self._latest: list[np.ndarray] = []

    def add(self, ids: np.ndarray) -> None:
        """One character of each stream, (N,), −1 where there is none."""
        self._latest.append(ids)
        if len(self._latest) == BLOCK:
            self._stack()

    def text(self, stream: int) -> np.ndarray:
        """All ids of a stream (T,)."""
        import numpy as np

        self._stack()
        ids = np.concatenate([np.empty(0, np.int32), *(block[stream] for block in self._blocks)])
        return ids[ids >= 0]

    def _stack(self) -> None:
        import numpy as np

        if self._latest:
            self._blocks.append(np.stack(self._latest, axis=1).astype(np.int32))
            self._latest = []


class _Output:
    """Ids to standard output: safe on a terminal, exact anywhere else; often enough to be watched, not more often."""

    def __init__(self, vocabulary: Vocabulary, raw: bool):
        from charrnn.display.terminal import is_terminal
        from charrnn.text.vocabulary import StreamDecoder

        self._vocabulary = vocabulary
        self._to_terminal = is_terminal(sys.stdout)
        self._headed = self._to_terminal and is_terminal(sys.stderr)
        self._decoder = None if raw or not self._to_terminal else StreamDecoder(vocabulary)
        self._interval = SECONDS_BETWEEN_FLUSHES["terminal" if self._to_terminal else "pipe"]
        self._pending: list[int] = []
        self._last_id: int | None = None
        self._flushed = time.monotonic()

    def begin(self, number: int, of: int) -> None:
        """A heading before each of several texts, where a person sees both streams."""
        if of > 1 and self._headed:
            _write(sys.stderr, f"── {number}/{of} ──\n")
            sys.stderr.flush()

    def put(self, ids: np.ndarray) -> None:
        """Ids (T,) of the text at hand."""
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

    def end(self, *, is_one_of_several: bool) -> None:
        """The text is over: the terminal's prompt, or the next text, begins a new line."""
        self.flush()
        if self._decoder is not None:
            _write(sys.stdout, self._decoder.end())
        ended = self._last_id is not None and self._vocabulary.text([self._last_id]) == "\n"
        if (self._to_terminal or is_one_of_several) and not ended:
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


def _finished(drawn: Iterator[np.ndarray], num: int) -> list[np.ndarray]:
    waiting = _Waiting()
    for ids in drawn:
        waiting.add(ids)
    return [waiting.text(stream) for stream in range(num)]


def _write_json(
    about: dict[str, Any],
    texts: list[np.ndarray],
    prime: np.ndarray,
    network: Any,
    run: Run,
    settings: SampleSettings,
) -> None:
    """A line for each text: what it is, and how many nats a character it costs the model itself (temperature 1)."""
    import numpy as np

    from charrnn.scoring.score import score

    vocabulary = run.vocabulary
    before = prime if len(prime) or run.document_separator else np.array([vocabulary.opening_id], prime.dtype)
    for stream, ids in enumerate(texts):
        text, nats = vocabulary.text(ids), None
        if len(ids):
            scored = score(network, run.encoded_text(np.concatenate([before, ids])))
            nats = float(scored.nats[-len(ids) :].mean(dtype=float))
        entry = {
            **about,
            "stream": stream,
            "prime": vocabulary.text(prime),
            "text": text,
            "characters": len(ids),
            "stopped": settings.stop is not None and text.endswith(settings.stop),
            "nats_per_character": nats,
            "bits_per_character": None if nats is None else bits(nats),
        }
        if vocabulary.kind == "bytes":
            entry["base64"] = base64.b64encode(vocabulary.decode(ids)).decode("ascii")
        print(json.dumps(entry), flush=True)
