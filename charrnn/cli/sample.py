"""`charrnn sample`: generate text, character by character."""

from __future__ import annotations

import base64
import codecs
import contextlib
import json
import os
import re
import sys
import time
from array import array
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli.background import output_terminal
from charrnn.cli.completion import complete_cell
from charrnn.cli.novelty import CorpusOption, NoveltyOption, print_novelty, training_index
from charrnn.cli.options import (
    CheckpointOption,
    DeviceOption,
    RunArgument,
    SkipUnknownOption,
    with_settings,
)
from charrnn.cli.progress import stage_bar
from charrnn.display.terminal import Terminal, WordWrap, is_terminal, safe_text, write
from charrnn.errors import CharrnnError, ExitCode, UsageError
from charrnn.sampling.registry import FILTERS
from charrnn.sampling.settings import SampleSettings
from charrnn.settings import InspectSettings, only_one_of, settings_from

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np

    from charrnn.api import Model
    from charrnn.display.colored_stream import ColoredStream
    from charrnn.model.run import Run
    from charrnn.sampling.best import Progress
    from charrnn.sampling.novelty import TrainingIndex
    from charrnn.text.vocabulary import Vocabulary

ESCAPED = ("stop", "ban", "bias", "dry_sequence_breaker")
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
OutputOption = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Write to this file.", metavar="FILE", rich_help_panel="Output"),
]
RawOption = Annotated[
    bool, typer.Option("--raw", help="Print control characters unchanged on a terminal too.", rich_help_panel="Output")
]
CELLS = "Cells"
AdaptOption = Annotated[
    str | None,
    typer.Option(help="Let the weights learn from a text first.", metavar="FILE|-", rich_help_panel="Adaptation"),
]
SaveAsOption = Annotated[
    str | None,
    typer.Option(help="Keep the adapted model as a run of this name.", metavar="NAME", rich_help_panel="Adaptation"),
]
ClampOption = Annotated[
    list[str] | None,
    typer.Option(
        help="Hold a cell at a value, or at its mean inside or outside the property that `charrnn inspect` found; "
        "@100..300: only for these characters of each text. 1:42.h: h instead of c. Repeatable.",
        metavar="CELL=VALUE|inside|outside[@FIRST..LAST]",
        rich_help_panel=CELLS,
    ),
]
ColorByOption = Annotated[
    str | None,
    typer.Option(
        help="Color each character by the value of a cell after reading it; 1:42.h: by h.",
        metavar="CELL",
        rich_help_panel=CELLS,
        autocompletion=complete_cell,
    ),
]
_APPEARANCE = InspectSettings.options()
ColorOption = Annotated[
    str,
    typer.Option(
        help=_APPEARANCE["color"].help, metavar="|".join(_APPEARANCE["color"].choices or ()), rich_help_panel=CELLS
    ),
]
BackgroundOption = Annotated[
    str, typer.Option(help="Background that the colors start from.", metavar="auto|dark|light", rich_help_panel=CELLS)
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
    output: OutputOption = None,
    novelty: NoveltyOption = False,
    corpus: CorpusOption = None,
    adapt: AdaptOption = None,
    save_as: SaveAsOption = None,
    clamp: ClampOption = None,
    color_by: ColorByOption = None,
    color: ColorOption = "auto",
    background: BackgroundOption = "auto",
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
    [bold]charrnn sample --adapt letters.txt --save-as letters[/bold]
    [bold]charrnn sample --clamp 1:42=inside@100..300 --color-by 1:42[/bold]
    [bold]charrnn sample --max-copy 40 --novelty[/bold]
    """
    settings = settings_from(SampleSettings, {name: _unescaped(name, value) for name, value in given.items()})
    _check_greedy(settings, given)
    appearance = InspectSettings(color=color, background=background)
    only_one_of(prime=prime, prime_file=prime_file)
    if save_as is not None and adapt is None:
        raise UsageError("--save-as keeps an adapted model", "name a text with --adapt")
    if adapt == "-" and "-" in (prime, prime_file):
        raise UsageError("the prime and --adapt cannot both read standard input")
    only_one_of(raw=raw or None, color_by=color_by)
    only_one_of(output=output, color_by=color_by)
    # A pipe, as in --prime-file <(command), is a file too. Path.exists may raise.
    if prime_file not in (None, "-") and (not os.path.exists(prime_file) or os.path.isdir(prime_file)):  # noqa: PTH110, PTH112
        raise UsageError(f"there is no file {prime_file}", "check the path given to --prime-file")

    from charrnn.api import load
    from charrnn.sampling.generate import fresh_seed

    model = load(run, checkpoint=checkpoint, device=device)
    if adapt is not None:
        model = _adapted(model, adapt, save_as, skip_unknown=skip_unknown)
    prime_ids = model.vocabulary.encode(
        _read_prime(prime, prime_file, model.run),
        source="the prime",
        skip_unknown=skip_unknown,
        hint="use --skip-unknown to skip them",
    )
    index = training_index(model, corpus, needed=novelty or settings.max_copy is not None)
    compared = index if novelty else None
    seeded = settings if settings.seed is not None else settings.changed(seed=fresh_seed())
    colors = None if color_by is None or as_json else _colored_stream(model, color_by, appearance)
    with stage_bar() as bar:
        drawn = _drawn(model, prime_ids, color_by, clamp or (), seeded, index, bar)
        if settings.best_of > 1:  # the best is known when all have been generated
            drawn = iter(list(drawn))
    if is_terminal(sys.stderr) and not as_json:
        facts = [f"seed {seeded.seed}"] if settings.seed is None and not settings.greedy else []
        facts += [colors.legend] if colors is not None and is_terminal(sys.stdout) else []
        if facts:
            write(sys.stderr, " · ".join([model.name, *facts]) + "\n", styled=True)
            sys.stderr.flush()
    try:
        with contextlib.nullcontext() if output is None else _redirected(output):
            if as_json:
                _print_json(model, drawn, prime_ids, seeded, compared, watched=color_by is not None)
            else:
                echoed = prime_ids[:0] if no_echo else prime_ids
                _print_texts(drawn, echoed, seeded.num, _Output(model.vocabulary, raw, colors), compared)
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None


@contextlib.contextmanager
def _redirected(path: Path) -> Iterator[None]:
    """Write standard output to a file, exactly as to a pipe."""
    try:
        file = path.open("w", encoding="utf-8", newline="")
    except OSError as error:
        raise CharrnnError(f"{path} cannot be written: {error.strerror}") from None
    with file, contextlib.redirect_stdout(file):
        yield
    print(f"written to {safe_text(str(path))}", file=sys.stderr)


def _unescaped(name: str, value: Any) -> Any:
    r"""Replace the escapes that a shell passes on, such as `\n`, in an option of characters. Other backslashes stay."""
    if name not in ESCAPED:
        return value
    if isinstance(value, list):
        return [_unescaped(name, one) for one in value]
    escape = r"\\(?:[ntr\\]|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4})"
    return re.sub(escape, lambda match: codecs.decode(match[0], "unicode_escape"), value)


def _adapted(model: Model, text: str, name: str | None, *, skip_unknown: bool) -> Model:
    """Return the model adapted to a text, kept as a run if it gets a name."""
    from charrnn.model.lookup import NameTakenError, check_new_name, runs_folder

    if name is not None:
        try:
            check_new_name(name, runs_folder())
        except NameTakenError as error:
            raise UsageError(error.message, "choose another name for --save-as") from None
    with stage_bar() as bar:
        adapted = model.adapt(Path(text), skip_unknown=skip_unknown, progress=bar)
    return adapted if name is None else adapted.save_as(name)


def _check_greedy(settings: SampleSettings, given: dict[str, Any]) -> None:
    """Raise UsageError if --greedy makes another option meaningless."""
    if not settings.greedy:
        return
    options = SampleSettings.options()
    for one in (one for entry in FILTERS.values() if not entry.greedy for one in entry.settings):
        if one.name in given:
            flag = options[one.name].flag
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


def _drawn(
    model: Model,
    prime: np.ndarray,
    color_by: str | None,
    clamp: Sequence[str],
    settings: SampleSettings,
    index: TrainingIndex | None,
    progress: Progress,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Return an iterator of ids (N,) and the values (N,) of the cell to color by, zeros if none."""
    import numpy as np

    if color_by is None:
        zeros = np.zeros(settings.num)
        generated = model.generate(prime, clamp=clamp, corpus=index, progress=progress, **settings.to_json())
        return ((ids, zeros) for ids in generated)
    cell, _, signal = color_by.partition(".")
    recurrence, signal = model.network.recurrence, signal or "auto"
    pairs = model.watch(cell, prime, signal=signal, clamp=clamp, corpus=index, **settings.to_json())
    return ((ids, recurrence.displayed(recurrence.find_signal(signal), values)) for ids, values in pairs)


def _colored_stream(model: Model, color_by: str, appearance: InspectSettings) -> ColoredStream | None:
    """Return what colors text by a cell; None where the output has no colors."""
    from charrnn.display.colored_stream import ColoredStream

    cell, _, signal = color_by.partition(".")
    view = model.trace(length=2_000).show(cell, signal=signal or "auto").views[0].part(0, 0)
    terminal = output_terminal(appearance.color, appearance.background)
    return None if terminal.colors == "none" else ColoredStream(view, terminal)


def _print_texts(
    drawn: Iterator[tuple[np.ndarray, np.ndarray]],
    echoed: np.ndarray,
    num: int,
    output: _Output,
    index: TrainingIndex | None,
) -> None:
    """Print the first text as it is generated, then the others, generated in parallel.

    index: print the novelty of each text after it.
    """
    first = array("i")  # stays empty without an index, so that memory does not grow
    others = [_Text() for _ in range(num - 1)]
    output.start(1, num)
    try:
        output.put(echoed)
        for ids, values in drawn:
            if ids[0] >= 0:
                output.put(ids[:1], values[:1])
                if index is not None:
                    first.append(int(ids[0]))
            _append(others, ids[1:], values[1:])
    except KeyboardInterrupt:
        output.end(newline=num > 1)
        raise
    output.end(newline=num > 1)
    if index is not None:
        print_novelty(first, index)
    for number, text in enumerate(others, start=2):
        output.start(number, num)
        output.put(echoed)
        output.put(text.ids, text.values)
        output.end(newline=True)
        if index is not None:
            print_novelty(text.ids, index)


class _Text:
    """Generated ids with the value of a cell after each."""

    def __init__(self) -> None:
        self.ids, self.values = array("i"), array("d")


def _append(texts: list[_Text], ids: np.ndarray, values: np.ndarray) -> None:
    """Append one character to each text; −1 stands for none."""
    for text, one, value in zip(texts, ids.tolist(), values.tolist(), strict=True):
        if one >= 0:
            text.ids.append(one)
            text.values.append(value)


class _Output:
    """Writes ids to standard output: safe on a terminal, exact elsewhere, flushed often enough to watch."""

    def __init__(self, vocabulary: Vocabulary, raw: bool, colors: ColoredStream | None):
        from charrnn.text.vocabulary import StreamDecoder

        self._vocabulary, self._colors = vocabulary, colors
        self._to_terminal = is_terminal(sys.stdout)
        self._headings = self._to_terminal and is_terminal(sys.stderr)
        self._decoder = None if raw or not (self._to_terminal or colors) else StreamDecoder(vocabulary)
        self._wrap = WordWrap(Terminal.of(sys.stdout).width)
        self._interval = FLUSH_SECONDS["terminal" if self._to_terminal else "pipe"]
        self._pending: list[int] = []
        self._values: list[float | None] = []
        self._last_id: int | None = None
        self._flushed = time.monotonic()

    def start(self, number: int, total: int) -> None:
        """Print a heading before each of several texts if both streams go to a terminal."""
        if total > 1 and self._headings:
            write(sys.stderr, f"── {number}/{total} ──\n")
            sys.stderr.flush()

    def put(self, ids: np.ndarray | array[int], values: np.ndarray | array[float] | None = None) -> None:
        """Write ids (T,) of the current text. values: (T,) to color them by; None: no color."""
        self._pending += ids.tolist()
        self._values += [None] * len(ids) if values is None else values.tolist()
        if time.monotonic() - self._flushed >= self._interval:
            self.flush()

    def flush(self) -> None:
        if self._pending:
            self._last_id = self._pending[-1]
            self._write_ids(self._pending, self._values)
            self._pending, self._values = [], []
        sys.stdout.flush()
        self._flushed = time.monotonic()

    def end(self, *, newline: bool) -> None:
        """End the text, with a newline on a terminal or if asked, unless the text ends with one."""
        self.flush()
        if self._decoder is not None and self._colors is not None:
            self._write_colored(self._decoder.end(), None)
            write(sys.stdout, self._colors.end(), styled=True)
        elif self._decoder is not None:
            self._write_wrapped(self._decoder.end())
            write(sys.stdout, self._wrap.end())
        ended = self._last_id is not None and self._vocabulary.text([self._last_id]) == "\n"
        if (self._to_terminal or newline) and not ended:
            sys.stdout.write("\n")
        sys.stdout.flush()
        self._last_id = None

    def _write_ids(self, ids: list[int], values: list[float | None]) -> None:
        if self._decoder is None:
            text = self._vocabulary.decode(ids)
            sys.stdout.flush()
            sys.stdout.buffer.write(text if isinstance(text, bytes) else text.encode("utf-8"))
        elif self._colors is None:
            self._write_wrapped(self._decoder.feed(ids))
        else:
            for one, value in zip(ids, values, strict=True):
                self._write_colored(self._decoder.feed([one]), value)

    def _write_colored(self, text: str, value: float | None) -> None:
        if text and self._colors is not None:
            write(sys.stdout, self._colors.feed(text, value), styled=True)

    def _write_wrapped(self, text: str) -> None:
        write(sys.stdout, self._wrap.feed(safe_text(text)))


def _print_json(
    model: Model,
    drawn: Iterator[tuple[np.ndarray, np.ndarray]],
    prime: np.ndarray,
    settings: SampleSettings,
    index: TrainingIndex | None,
    *,
    watched: bool,
) -> None:
    """Print a line for each text, with its loss under the model at temperature 1. watched: print values too."""
    import numpy as np

    from charrnn.sampling.stops import is_stopped

    vocabulary, texts = model.vocabulary, [_Text() for _ in range(settings.num)]
    for drawn_ids, values in drawn:
        _append(texts, drawn_ids, values)
    for stream, one in enumerate(texts):
        ids = np.array(one.ids, np.int32)
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
            "stopped": len(ids) < settings.length or is_stopped(ids, settings, vocabulary, prime),
            "nats_per_character": None if score is None else score.mean,
            "bits_per_character": None if score is None else score.bits_per_character,
        }
        if watched:
            entry["values"] = [round(value, 4) for value in one.values]
        decoded = vocabulary.decode(ids)
        if isinstance(decoded, bytes):
            entry["base64"] = base64.b64encode(decoded).decode("ascii")
        if index is not None:
            entry["novelty"] = index.novelty(ids).to_json()
        print(json.dumps(entry), flush=True)
