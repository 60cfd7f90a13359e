"""The output of `charrnn sample`: texts as they are generated, or as JSON."""

from __future__ import annotations

import base64
import json
import sys
import time
from array import array
from typing import TYPE_CHECKING

from charrnn.cli.log_weights import LogWeights
from charrnn.cli.novelty import print_novelty
from charrnn.cli.progress import stage_bar
from charrnn.display.terminal import Terminal, WordWrap, is_terminal, safe_text, write
from charrnn.sampling.settings import SampleSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from charrnn.api import Model
    from charrnn.display.colored_stream import ColoredStream
    from charrnn.model.run import Run
    from charrnn.sampling.novelty import TrainingIndex

FLUSH_SECONDS = {"terminal": 0.05, "pipe": 0.5}


def print_texts(
    drawn: Iterator[tuple[np.ndarray, np.ndarray]],
    echoed: tuple[np.ndarray, np.ndarray],
    num: int,
    output: TextOutput,
    index: TrainingIndex | None,
    weights: LogWeights,
    *,
    newline: bool = False,
) -> None:
    """Print the first text as it is generated, then the others, generated in parallel.

    echoed: what to print before and after each. index: print the novelty of each text after it. newline: end a single
    text with a newline too.
    """
    import numpy as np

    from charrnn.sampling.novelty import NoveltyMeter

    prime, suffix = echoed
    meter = None if index is None else NoveltyMeter(index)
    others = [_Text() for _ in range(num - 1)]
    output.start(1, num)
    try:
        output.put(prime)
        for ids, values in drawn:
            if ids[0] >= 0:
                output.put(ids[:1], values[:1])
                if meter is not None:
                    meter.feed(ids[:1].tolist())
            _append(others, ids[1:], values[1:])
        output.put(suffix)
    except KeyboardInterrupt:
        output.end(newline=newline or num > 1)
        raise
    output.end(newline=newline or num > 1)
    weights.print(0)
    if meter is not None:
        print_novelty(meter.result())
    for number, text in enumerate(others, start=2):
        output.start(number, num)
        output.put(prime)
        output.put(text.ids, text.values)
        output.put(suffix)
        output.end(newline=True)
        weights.print(number - 1)
        if index is not None:
            with stage_bar() as progress:
                print_novelty(index.novelty(np.array(text.ids, np.int32), progress))


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


class TextOutput:
    """Writes ids to standard output: safe on a terminal, exact elsewhere, flushed often enough to watch.

    raw: write what the model generated, without signs for control characters or composed syllables.
    """

    def __init__(self, run: Run, raw: bool, colors: ColoredStream | None):
        self._vocabulary, self._colors, self._composes = run.vocabulary, colors, run.composes
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
            self._write_colored(self._decoder.end(), self._last_value)
            write(sys.stdout, self._colors.end(), styled=True)
            self._last_value = None
        elif self._decoder is not None:
            self._write_text(self._decoder.end())
            write(sys.stdout, self._wrap.end())
        ended = self._last_id is not None and self._vocabulary.text([self._last_id]) == "\n"
        if (self._to_terminal or newline) and not ended:
            sys.stdout.write("\n")
        sys.stdout.flush()
        self._last_id = None

    def _write_ids(self, ids: list[int], values: list[float | None]) -> None:
        if self._decoder is None:
            self._write_exactly(self._vocabulary.decode(ids))
        elif self._colors is None:
            self._write_text(self._decoder.feed(ids))
        else:
            for one, value in zip(ids, values, strict=True):  # a composed syllable comes with the character after it
                self._write_colored(self._decoder.feed([one]), self._last_value if self._composes else value)
                self._last_value = value

    def _write_colored(self, text: str, value: float | None) -> None:
        if text and self._colors is not None:
            write(sys.stdout, self._colors.feed(text, value), styled=True)

    def _write_text(self, text: str) -> None:
        if self._to_terminal:
            write(sys.stdout, self._wrap.feed(safe_text(text)))
        else:
            self._write_exactly(text)

    @staticmethod
    def _write_exactly(text: str | bytes) -> None:
        sys.stdout.flush()
        sys.stdout.buffer.write(text if isinstance(text, bytes) else text.encode("utf-8"))


def print_json(
    model: Model,
    drawn: Iterator[tuple[np.ndarray, np.ndarray]],
    prime: np.ndarray,
    settings: SampleSettings,
    index: TrainingIndex | None,
    weights: LogWeights,
    *,
    watched: bool,
    raw: bool,
) -> None:
    """Print a line for each text, with its loss under the model at temperature 1.

    watched: print values too. raw: the text as it was generated, without composed syllables.
    """
    import numpy as np

    from charrnn.sampling.stops import is_stopped

    vocabulary, texts = model.vocabulary, [_Text() for _ in range(settings.num)]
    as_text, form = vocabulary.text if raw else model.run.text, model.run.settings.corpus.normalize
    stops = model.sample_settings(**settings.to_json())
    for drawn_ids, values in drawn:
        _append(texts, drawn_ids, values)
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
            "stopped": len(ids) < settings.length or is_stopped(ids, stops, vocabulary, prime, form=form),
            "nats_per_character": None if score is None else score.mean,
            "bits_per_character": None if score is None else score.bits_per_character,
        }
        if settings.suffix is not None:
            entry["suffix"] = settings.suffix
        if (weight := weights.of(stream)) is not None:
            entry["log_weight"] = weight
        if watched:
            entry["values"] = [round(value, 4) for value in one.values]
        decoded = vocabulary.decode(ids)
        if isinstance(decoded, bytes):
            entry["base64"] = base64.b64encode(decoded).decode("ascii")
        if index is not None:
            entry["novelty"] = index.novelty(ids).to_json()
        print(json.dumps(entry), flush=True)
