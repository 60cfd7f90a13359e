"""The texts of `charrnn sample`: as they are drawn, and as they are printed."""

from __future__ import annotations

import base64
import json
import sys
import time
from array import array
from typing import TYPE_CHECKING, Any

from charrnn.cli.novelty import print_novelty
from charrnn.cli.stderr import say
from charrnn.display.terminal import Terminal, WordWrap, is_terminal, write
from charrnn.progress import progress_bar
from charrnn.sampling.settings import SampleSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np

    from charrnn.api import Model
    from charrnn.display.colored_stream import ColoredStream
    from charrnn.model.run import Run
    from charrnn.sampling.novelty import TrainingIndex

FLUSH_SECONDS = {"terminal": 0.05, "pipe": 0.5}


class Drawn:
    """N texts as a model generates them: an iterator over ids (N,) and the values (N,) of a cell.

    color_by: the cell, as `--color-by` names it; None: the values are zeros. index: of the training text, for max_copy.
    log_weights: of the texts, in nats, once they have ended; empty unless they match an expression.
    """

    def __init__(
        self,
        model: Model,
        prime: np.ndarray,
        settings: SampleSettings,
        *,
        clamp: Sequence[str],
        color_by: str | None,
        index: TrainingIndex | None,
    ):
        self.prime, self.settings = prime, settings
        self.log_weights: list[float] = []
        given: dict[str, Any] = {"clamp": clamp, "corpus": index, **settings.to_json()}
        self._pairs = self._plain(model, given) if color_by is None else self._watched(model, color_by, given)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return self._pairs

    def _plain(self, model: Model, given: dict[str, Any]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        import numpy as np

        zeros = np.zeros(self.settings.num)
        with progress_bar() as bar:
            ids = model.generate(self.prime, progress=bar, report=self._weigh, **given)
            if self.settings.best_of > 1 or self.settings.uses_particles:  # chosen when all have been generated
                ids = iter(list(ids))
        return ((one, zeros) for one in ids)

    def _watched(self, model: Model, color_by: str, given: dict[str, Any]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        cell, _, part = color_by.partition(".")
        recurrence, signal = model.network.recurrence, part or "auto"
        pairs = model.watch(cell, self.prime, signal=signal, **given)
        return ((ids, recurrence.displayed(recurrence.find_signal(signal), values)) for ids, values in pairs)

    def _weigh(self, values: np.ndarray) -> None:
        self.log_weights = values.tolist()


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


def print_texts(
    drawn: Drawn, output: TextOutput, index: TrainingIndex | None, *, echo: bool = True, newline: bool = False
) -> None:
    """Print the first text as it is generated, then the others, generated in parallel.

    index: to print the novelty of each text after it. echo: print the prime before each text, and the suffix after it.
    newline: end a single text with a newline too.
    """
    import numpy as np

    from charrnn.sampling.novelty import NoveltyMeter

    settings, num = drawn.settings, drawn.settings.num
    prime = drawn.prime if echo else drawn.prime[:0]
    suffix = output.run.encode(settings.suffix if echo and settings.suffix else "")
    meter = None if index is None else NoveltyMeter(index)
    others = [_Text() for _ in range(num - 1)]
    output.start(1, num)
    output.put(prime)
    try:
        for ids, values in drawn:
            if ids[0] >= 0:
                output.put(ids[:1], values[:1])
                if meter is not None:
                    meter.feed(ids[:1].tolist())
            _append(others, ids[1:], values[1:])
        output.put(suffix)
    finally:
        output.end(newline=newline or num > 1)
    _print_log_weight(drawn, 0)
    if meter is not None:
        print_novelty(meter.result())
    for number, text in enumerate(others, start=1):
        output.start(number + 1, num)
        output.put(prime)
        output.put(text.ids, text.values)
        output.put(suffix)
        output.end(newline=True)
        _print_log_weight(drawn, number)
        if index is not None:
            with progress_bar() as bar:
                print_novelty(index.novelty(np.array(text.ids, np.int32), bar))


def _print_log_weight(drawn: Drawn, number: int) -> None:
    """Print the log-weight of a text on standard error, if that is a terminal."""
    if drawn.log_weights and is_terminal(sys.stderr):
        say(f"log-weight {drawn.log_weights[number]:.2f} nats")


class TextOutput:
    """Writes ids to standard output: safe on a terminal, exact elsewhere, flushed often enough to watch.

    raw: write what the model generated, without signs for control characters or composed syllables.
    """

    def __init__(self, run: Run, raw: bool, colors: ColoredStream | None):
        self.run, self._colors = run, colors
        self._to_terminal = is_terminal(sys.stdout)
        self._headings = self._to_terminal and is_terminal(sys.stderr)
        is_exact = raw or not (self._to_terminal or colors or run.composes)
        self._decoder = None if is_exact else run.stream_decoder()
        terminal = Terminal.of(sys.stdout)
        self._wrap = WordWrap(terminal.width, terminal.program)
        self._last_value: float | None = None
        self._interval = FLUSH_SECONDS["terminal" if self._to_terminal else "pipe"]
        self._pending: list[int] = []
        self._values: list[float | None] = []
        self._last_id: int | None = None
        self._flushed = time.monotonic()

    def start(self, number: int, total: int) -> None:
        """Print a heading before each of several texts if both streams go to a terminal."""
        if total > 1 and self._headings:
            say(f"── {number}/{total} ──")

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
            self._write_colored(self._decoder.end(), self._last_value)
            write(sys.stdout, self._colors.end(), styled=True)
            self._last_value = None
        elif self._decoder is not None:
            self._write_text(self._decoder.end())
            write(sys.stdout, self._wrap.end())
        ended = self._last_id is not None and self.run.vocabulary.text([self._last_id]) == "\n"
        if (self._to_terminal or newline) and not ended:
            sys.stdout.write("\n")
        sys.stdout.flush()
        self._last_id = None

    def _write_ids(self, ids: list[int], values: list[float | None]) -> None:
        if self._decoder is None:
            self._write_exactly(self.run.vocabulary.decode(ids))
        elif self._colors is None:
            self._write_text(self._decoder.feed(ids))
        else:
            for one, value in zip(ids, values, strict=True):  # a composed syllable comes with the character after it
                self._write_colored(self._decoder.feed([one]), self._last_value if self.run.composes else value)
                self._last_value = value

    def _write_colored(self, text: str, value: float | None) -> None:
        if text and self._colors is not None:
            write(sys.stdout, self._colors.feed(text, value), styled=True)

    def _write_text(self, text: str) -> None:
        if self._to_terminal:
            write(sys.stdout, self._wrap.feed(text))
        else:
            self._write_exactly(text)

    @staticmethod
    def _write_exactly(text: str | bytes) -> None:
        sys.stdout.flush()
        sys.stdout.buffer.write(text if isinstance(text, bytes) else text.encode("utf-8"))


def print_json(drawn: Drawn, model: Model, index: TrainingIndex | None, *, watched: bool, raw: bool) -> None:
    """Print a line for each text, with its loss under the model at temperature 1.

    index: to add the novelty. watched: add the values of the cell. raw: the text as generated, without composed
    syllables.
    """
    import numpy as np

    from charrnn.sampling.stops import is_stopped

    vocabulary, prime, settings = model.vocabulary, drawn.prime, drawn.settings
    as_text, form = vocabulary.text if raw else model.run.text, model.run.settings.corpus.normalize
    texts, stops = [_Text() for _ in range(settings.num)], model.sample_settings(**settings.to_json())
    for drawn_ids, values in drawn:
        _append(texts, drawn_ids, values)
    document = prime[model.continued_document(prime) :]  # stop conditions do not see those before
    for stream, one in enumerate(texts):
        ids = np.array(one.ids, np.int32)
        score = model.score_continuation(prime, ids) if len(ids) else None
        entry = {
            "run": model.name,
            "step": model.checkpoint.step,
            "seed": settings.seed,
            "temperature": settings.temperature,
            "stream": stream,
            "prime": as_text(prime),
            "text": as_text(ids),
            "characters": len(ids),
            "stopped": len(ids) < settings.length or is_stopped(ids, stops, vocabulary, document, form=form),
            "nats_per_character": None if score is None else score.mean,
            "bits_per_character": None if score is None else score.bits_per_character,
        }
        if settings.suffix is not None:
            entry["suffix"] = settings.suffix
        if drawn.log_weights:
            entry["log_weight"] = drawn.log_weights[stream]
        if watched:
            entry["values"] = [round(value, 4) for value in one.values]
        decoded = vocabulary.decode(ids)
        if isinstance(decoded, bytes):
            entry["base64"] = base64.b64encode(decoded).decode("ascii")
        if index is not None:
            entry["novelty"] = index.novelty(ids).to_json()
        print(json.dumps(entry), flush=True)
