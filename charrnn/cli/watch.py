"""What a person sees while a run is trained: the plan, a bar, a line and a sample at each evaluation, the summary."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from tqdm import tqdm

from charrnn.display.plots import loss_curve
from charrnn.display.tables import key_values
from charrnn.display.terminal import Terminal, safe_text
from charrnn.errors import CharrnnError, ExitCode
from charrnn.sampling.settings import SampleSettings
from charrnn.units import amount, bits, count, duration

if TYPE_CHECKING:
    from charrnn.cli.tensorboard import Board
    from charrnn.model.checkpoint import Checkpoint
    from charrnn.model.network import CharRNN
    from charrnn.model.run import Run
    from charrnn.model.run_settings import RunSettings
    from charrnn.model.writer import RunWriter
    from charrnn.training.distributed import ProcessGroup
    from charrnn.training.events import Evaluated, Event, Finished, Requests
    from charrnn.training.setup import Ready

SAMPLE_CHARACTERS = 160


class Watch:
    """Draws the events of one training. Lines go to `out`; the bar, if there is a terminal, to stderr."""

    def __init__(self, out: TextIO):
        self._requests: Requests | None = None
        self._reader_has_gone = False
        self.out = _Lasting(out, self._reader_gone)
        self.terminal = Terminal.of(self.out)
        self.exit_code = ExitCode.SUCCESS
        self.training_curve: list[tuple[float, float]] = []
        self.evaluations: list[Evaluated] = []
        self.last_speed = 0.0
        self.board: Board | None = None
        self._forecast: dict[str, float | None] | None = None
        self._bar: tqdm | None = None

    def line(self, text: str, *, whole: bool = False) -> None:
        """Writes a line above the bar; several, where the terminal is narrow, unless it has to stay whole."""
        if self._bar is not None:
            self._bar.clear()
        for line in [text] if whole else self.terminal.wrap(text):
            self.terminal.write(line + "\n")
        self.out.flush()
        if self._bar is not None:
            self._bar.refresh()

    def begun(self, ready: Ready) -> None:
        """Says what was chosen, why, and how long it will take."""
        run, corpus = ready.writer.run, ready.corpus
        training, text = run.settings.training, run.settings.corpus
        validated = len(ready.validation_text)
        part = f", of which the first {count(validated)} are validated on" if validated < text.held_out else ""
        files = f" in {amount(len(corpus.files), 'file')}" if len(corpus.files) > 1 else ""
        no_text = amount(len(corpus.skipped_files), "that is no text", "that are no text")
        skipped_files = f", {no_text} passed over" if corpus.skipped_files else ""
        loss = "" if ready.nats is None else f", to about {ready.nats:.1f} nats"
        self._forecast = {"seconds": ready.length.seconds, "nats": ready.nats}
        rows = [
            (
                "corpus",
                f"{text.name}: {amount(text.characters, 'character')}{files}{skipped_files}, "
                f"{len(run.vocabulary)} different; the last {count(text.held_out)} held out{part}",
            ),
            ("model", _described(run)),
            (
                "plan",
                f"{amount(training.steps, 'step')} of {amount(training.batch_size, 'stream')} × "
                f"{amount(training.seq_length, 'character')} at rate {training.learning_rate:g}, "
                f"{amount(training.evaluations, 'evaluation')}: "
                f"about {duration(ready.length.seconds)}{loss}",
            ),
            ("because", run.settings.origin.chosen_because),
            ("device", f"{run.settings.origin.device}, {training.precision}"),
            ("run", str(run.path)),
        ]
        key_values(rows, self.terminal)
        self.line("")

    def resumed(self, run: Run, save: Checkpoint) -> None:
        """Says which run goes on, and where."""
        steps = f"at step {count(save.step)} of {count(run.settings.training.steps)}"
        steps += f", in {run.settings.training.precision}"
        key_values([("run", str(run.path)), ("model", _described(run)), ("resumed", steps)], self.terminal)
        self.line("")

    def run(self, ready: Ready, ranks: ProcessGroup) -> Finished:
        """Trains to the end, drawing what happens, and obeying signals."""
        from charrnn.training.events import Finished, Requests
        from charrnn.training.loop import train

        requests = self._requests = Requests(stop=self._reader_has_gone)
        writer, save = ready.writer, ready.checkpoint
        texts = ready.train_text, ready.validation_text
        total = writer.run.settings.training.steps
        with self._signals(requests), self._drawn_bar(total, save.step if save else 0):
            deadline = None if ready.length is None else ready.length.deadline
            events = train(
                ready.network,
                writer.run.settings.training,
                *texts,
                writer=writer,
                resume=save,
                requests=requests,
                group=ranks,
                deadline=deadline,
            )
            for event in events:
                self._show(event, writer)
                if isinstance(event, Finished):
                    finished = event
        if self._reader_has_gone:
            raise BrokenPipeError
        if finished.unsaved is not None:
            raise CharrnnError(
                f"the last state could not be saved: {finished.unsaved}",
                f"mend that; {writer.run.name} can be resumed from the save before it",
            )
        return finished

    def follow(self, settings: RunSettings, network: CharRNN, train_text: Any, ranks: ProcessGroup) -> None:
        """What a rank that is not the first does instead of `run`: trains, obeys signals and draws nothing."""
        from charrnn.training.events import Requests
        from charrnn.training.loop import train

        requests = Requests()
        with self._signals(requests):
            for _ in train(network, settings.training, train_text, train_text, requests=requests, group=ranks):
                pass

    def _reader_gone(self) -> None:
        """As in `charrnn train … | head`: what is trained is saved, and the program ends as others do there."""
        self._reader_has_gone = True
        if self._requests is not None:
            self._requests.stop = True

    @contextlib.contextmanager
    def _drawn_bar(self, total: int, initial: int) -> Iterator[None]:
        with tqdm(
            total=total,
            initial=initial,
            unit="step",
            disable=None,
            file=sys.stderr,
            dynamic_ncols=True,
            leave=False,
            bar_format="{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} {elapsed}<{remaining}{postfix}",
        ) as self._bar:
            yield
        self._bar = None

    @contextlib.contextmanager
    def _signals(self, requests: Requests) -> Iterator[None]:
        """Ctrl-C, SIGTERM and a closed terminal: stop after this step. A second Ctrl-C: at once. SIGUSR1: save.

        Signals that the caller has set to be ignored, as `nohup` does, stay so.
        """

        def stop(number: int, _: Any) -> None:
            if requests.stop and number == signal.SIGINT:
                raise KeyboardInterrupt
            requests.stop = True
            self.exit_code = codes[number]
            if number == signal.SIGINT:
                with contextlib.suppress(RuntimeError):  # where it came amid a write to the same stream
                    self.line("stopping after this step; press Ctrl-C again to stop at once, unsaved")

        def save(*_: Any) -> None:
            requests.checkpoint = True

        codes = {
            signal.SIGINT: ExitCode.INTERRUPTED,
            signal.SIGTERM: ExitCode.TERMINATED,
            signal.SIGHUP: ExitCode.HUNG_UP,
        }
        handlers = {signal.SIGUSR1: save, **dict.fromkeys(codes, stop)}
        before = {
            number: signal.signal(number, handler)
            for number, handler in handlers.items()
            if signal.getsignal(number) != signal.SIG_IGN
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _show(self, event: Event, writer: RunWriter) -> None:
        from charrnn.training import events

        if self.board is not None:
            self.board.show(event)
        match event:
            case events.StepsTaken():
                self.training_curve.append((event.step, event.nats))
                self.last_speed = event.characters_per_second
                if self._bar is not None:
                    speed = f"{event.characters_per_second / 1e3:.1f}k ch/s"
                    self._bar.set_postfix_str(f" {event.nats:.3f} nats {bits(event.nats):.2f} bpc {speed}", False)
                    self._bar.update(event.step - self._bar.n)
            case events.Evaluated():
                self.evaluations.append(event)
                self._show_evaluation(event, writer.run)
            case events.CheckpointFailed():
                self.line(f"not saved at step {count(event.step)}: {event.reason}; the save before it stays")
            case events.StepsCorrected():
                self.line(
                    f"planned again at the pace of the first {count(event.step)} steps: {count(event.steps)} in all"
                )
                if self._bar is not None:
                    self._bar.total = event.steps
                    self._bar.refresh()
            case events.Exploded():
                self.line(f"exploded; back to step {count(event.step)} with the learning rate × {event.rate_scale:g}")

    def _show_evaluation(self, event: Evaluated, run: Run) -> None:
        self.line(
            f"step {count(event.step):>7}  train {event.train_nats:.3f}  validation {event.validation_nats:.3f} nats"
            f" ({bits(event.validation_nats):.3f} bpc){'  best' if event.is_best else ''}  {duration(event.seconds)}"
        )
        if self.terminal.is_terminal:
            width = max(20, min(100, self.terminal.width - 2))
            for piece in _sample(event.network, run, event.step).strip("\n").split("\n"):
                for row in textwrap.wrap(safe_text(piece), width - 4, drop_whitespace=False) or [""]:
                    self.line(f"    {row}", whole=True)

    def summary(self, run: Run, finished: Finished) -> None:
        """What came out, the curve, and what to do next."""
        from charrnn.training.advice import advice

        progress, training = finished.progress, run.settings.training
        read = progress.step * training.batch_size * training.seq_length
        epochs = read / max(1, run.settings.corpus.characters - run.settings.corpus.held_out)
        rows = [("run", str(run.path)), ("model", _described(run))]
        if finished.train_nats is not None:
            rows.append(("training loss", _losses(finished.train_nats)))
        if progress.best_nats is not None:
            at = "" if progress.best_step == progress.step else f", at step {count(progress.best_step)}"
            rows.append(("validation loss", f"{_losses(progress.best_nats)}{at}"))
        stopped = {"done": "", "early": ", stopped early: validation had turned", "stopped": ", stopped"}
        rows.append(("steps", f"{count(progress.step)} of {count(training.steps)}{stopped[finished.reason]}"))
        rows.append(("read", f"{amount(read, 'character')}, {epochs:.1f} times the text"))
        if progress.seconds:
            rows.append(("time", f"{duration(progress.seconds)}, {count(read / progress.seconds)} characters a second"))
        self.line("")
        key_values(rows, self.terminal)
        curves = {
            "training": self.training_curve,
            "validation": [(e.step, e.validation_nats) for e in self.evaluations],
        }
        if len(self.training_curve) > 1:
            self.line("")
            width = min(100, self.terminal.width)
            rows = loss_curve(curves, width, unicode=self.terminal.unicode, colors=self.terminal.colors)
            self.terminal.write("".join(row + "\n" for row in rows), styled=True)
        held_out = run.settings.corpus.held_out
        said = advice(run.settings.model, finished, self.evaluations, training.steps, epochs, held_out)
        if said:
            self.line("")
            self.line(said)
        self.line("")
        self.line("next:")
        for command in _next_commands(run, finished):
            self.line(f"  {command}", whole=True)  # so that it can be copied

    def as_json(self, run: Run, finished: Finished) -> dict[str, Any]:
        """The summary for a program. Losses in nats per character; forecast: what was told before the first step."""
        progress = finished.progress
        return {
            "run": run.name,
            "path": str(run.path),
            "reason": finished.reason,
            "step": progress.step,
            "seconds": round(progress.seconds, 3),
            "train_nats": finished.train_nats,
            "best_validation_nats": progress.best_nats,
            "best_step": progress.best_step,
            "forecast": self._forecast,
            "model": run.settings.model.to_json(),
            "training": run.settings.training.to_json(),
        }


class _Lasting:
    """A stream whose far end may go away, when a terminal is closed or a pipe's reader ends; then it leads nowhere.

    Training has to outlast that. reader_gone: called where it was a pipe.
    """

    def __init__(self, stream: TextIO, reader_gone: Callable[[], None]):
        self._stream, self._gone = stream, reader_gone
        self.encoding, self.isatty, self.fileno = stream.encoding, stream.isatty, stream.fileno

    def write(self, text: str) -> None:
        with self._outlasted():
            self._stream.write(text)

    def flush(self) -> None:
        with self._outlasted():
            self._stream.flush()

    @contextlib.contextmanager
    def _outlasted(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            with Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), self.fileno())
            if isinstance(error, BrokenPipeError):
                self._gone()


def _described(run: Run) -> str:
    from charrnn.model.network import parameter_count

    model = run.settings.model
    parameters = parameter_count(model, len(run.vocabulary))
    return (
        f"{model.recurrence} {model.layers}×{model.hidden_size}, embedding {model.embedding_size}, "
        f"dropout {model.dropout:g}, {amount(parameters, 'parameter')}"
    )


def _losses(nats: float) -> str:
    return f"{nats:.4f} nats, {bits(nats):.4f} bits per character"


def _next_commands(run: Run, finished: Finished) -> list[str]:
    look = f"charrnn inspect {run.name} --cell {min(42, run.settings.model.hidden_size - 1)}"
    write = f"charrnn sample {run.name} --temperature 0.8"
    if finished.reason == "stopped":
        return [f"charrnn train {shlex.join(run.settings.corpus.named())} --resume --name {run.name}", write, look]
    return [write, look, f"charrnn evaluate {run.name} another.txt"]


def _sample(network: CharRNN, run: Run, step: int) -> str:
    from charrnn.sampling.generate import generate

    settings = SampleSettings(length=SAMPLE_CHARACTERS, temperature=0.8, seed=step)
    drawn = [ids[0] for ids in generate(network, settings, vocabulary=run.vocabulary, documents=run.document_separator)]
    return run.vocabulary.text(drawn)
