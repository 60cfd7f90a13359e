"""Train on a corpus with given options: the entry point of the Python API and the command line."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from charrnn.errors import CharrnnError, UsageError
from charrnn.model.built_in import refuse_built_in
from charrnn.model.device import choose_device
from charrnn.model.lookup import open_run, run_names, runs_folder
from charrnn.model.network import CharRNN
from charrnn.model.run import Run
from charrnn.model.run_settings import RunSettings
from charrnn.progress import FractionProgress, no_progress
from charrnn.settings import ReadSettings
from charrnn.text.corpus import Corpus, load_corpus
from charrnn.text.sources import STDIN
from charrnn.text.vocabulary import Vocabulary
from charrnn.training.distributed import ProcessGroup, may_restart, process_group, restart_count
from charrnn.training.events import Event, Requests
from charrnn.training.loop import train
from charrnn.training.options import TrainOptions
from charrnn.training.setup import (
    PreparedRun,
    corpus_specs,
    prepare_new_run,
    prepare_resume,
    refuse_changes,
    split_corpus,
)

Loader = Callable[[Sequence[str], bool, ReadSettings], Corpus]
"""Loads a corpus from its specs, as bytes or as characters that are read in some way."""


@dataclass(frozen=True)
class TrainingSession:
    """A prepared run and the processes that train it."""

    prepared: PreparedRun
    group: ProcessGroup

    @property
    def run(self) -> Run:
        """The run, on the first process; only that one has it."""
        if self.prepared.writer is None:
            raise ValueError("only the first process of a group has the run")
        return self.prepared.writer.run

    def events(
        self, requests: Requests | None = None, *, validation_progress: FractionProgress = no_progress
    ) -> Iterator[Event]:
        """Train to the end and yield what happens.

        requests: set its flags to request a stop or a checkpoint. validation_progress: as for `loop.train`.
        """
        prepared = self.prepared
        return train(
            prepared.network,
            prepared.settings.training,
            prepared.train_text,
            prepared.validation_text,
            writer=prepared.writer,
            resume=prepared.checkpoint,
            requests=requests,
            group=self.group,
            deadline=None if prepared.plan is None else prepared.plan.deadline,
            validation_progress=validation_progress,
        )


@contextlib.contextmanager
def training_session(
    corpus: Corpus | Sequence[str] | None, options: TrainOptions, *, load: Loader | None = None
) -> Iterator[TrainingSession]:
    """Prepare a new run, or the resumption of one, and hold its lock until the context ends.

        with training_session(["shakespeare.txt"], TrainOptions(minutes=2)) as session:
            for event in session.events():
                print(event)

    Where torchrun started several processes, each of them calls this with the same arguments. They join a group, and
    the first one prepares the run. After a restart by torchrun a run that exists is resumed.

    corpus: a corpus, or its specs as `load_corpus` takes them; None to resume with the run's own. load: loads the
    corpus, for example with a progress bar; `load_corpus` if None.
    Raises CharrnnError where the corpus cannot be read, or the run cannot be created or resumed.
    """
    load = load or _load
    with process_group(options.device) as group:
        if group.is_first:
            try:
                prepared, specs = _prepare(corpus, options, load, group)
            except BaseException:
                with contextlib.suppress(CharrnnError):
                    group.broadcast_object(None)  # the other processes wait for a description of the run
                raise
            settings, vocabulary = prepared.settings.to_json(), prepared.corpus.vocabulary.to_json()
            group.broadcast_object({"settings": settings, "vocabulary": vocabulary, "specs": list(specs)})
        else:
            prepared = _join(options.device, group)
        with prepared.writer or contextlib.nullcontext():
            yield TrainingSession(prepared, group)


def _prepare(
    corpus: Corpus | Sequence[str] | None, options: TrainOptions, load: Loader, group: ProcessGroup
) -> tuple[PreparedRun, Sequence[str]]:
    """Return the run, and the specs of its corpus."""
    specs = corpus.specs if isinstance(corpus, Corpus) else corpus or []
    resumes = options.resume or options.extension is not None or _is_restart(options.name)
    if not specs and not resumes:
        raise UsageError("no corpus given", "name one, such as: charrnn train python")
    if not group.is_single and STDIN in specs:
        raise UsageError("several ranks need a corpus that each of them can read", "name a file")
    if not resumes:
        loaded = corpus if isinstance(corpus, Corpus) else load(specs, options.as_bytes, _reading(options))
        return prepare_new_run(loaded, options, started=time.perf_counter(), group=group), specs
    option = options.extension or "`resume=True`"

    def text(run: Run, named: Sequence[str]) -> Corpus:
        reading = run.settings.corpus.reading
        return corpus if isinstance(corpus, Corpus) else load(named, run.vocabulary.kind == "bytes", reading)

    found = None
    if options.name is None and specs and STDIN not in specs:
        run, found = _newest_run_of(lambda run: text(run, specs), option)
    else:
        run = open_run(options.name)
    refuse_built_in(run.path, "resumed", f"train it further with `init_from={run.name!r}`")
    if restart_count():  # the command line is that of the new run, and its length may be given
        options = dataclasses.replace(options, epochs=None, minutes=None, more_minutes=None, more_steps=None)
    refuse_changes(run, options)
    specs = specs or corpus_specs(run, option)
    return prepare_resume(run, found or text(run, specs), options, group=group), specs


def _newest_run_of(text: Callable[[Run], Corpus], option: str) -> tuple[Run, Corpus | None]:
    """Return the run trained last on a text, and the text; without any run, the built-in one.

    text: returns the text as a run reads it. option: the argument that resumes or extends the run, for the error.
    """
    read: dict[tuple[str, ReadSettings], Corpus] = {}
    unread: dict[tuple[str, ReadSettings], CharrnnError] = {}
    damaged: list[CharrnnError] = []
    for name in run_names(runs_folder()):
        try:
            run = open_run(name)
        except CharrnnError as error:
            damaged.append(error)
            continue
        how = (run.vocabulary.kind, run.settings.corpus.reading)
        if how in unread:
            continue
        try:
            corpus = read[how] = read.get(how) or text(run)
        except CharrnnError as error:  # another run may read the text in another way
            unread[how] = error
            continue
        if corpus.sha256 == run.settings.corpus.sha256:
            return run, corpus
    for corpus in read.values():
        besides = f"; one cannot be opened: {damaged[0].message}" if damaged else ""
        raise UsageError(
            f"no run was trained on {corpus.name} as it is now{besides}", f"leave {option} out to start one"
        )
    for failed in (*unread.values(), *damaged):
        raise failed
    return open_run(), None


def _reading(options: TrainOptions) -> ReadSettings:
    """Return how the corpus of a new run is read: normalized as for the run whose weights it starts from."""
    reading = options.reading
    if options.init_from is None or options.as_bytes or "normalize" in options.settings:
        return reading
    return reading.changed(normalize=open_run(options.init_from).settings.corpus.normalize)


def _load(specs: Sequence[str], as_bytes: bool, reading: ReadSettings) -> Corpus:
    return load_corpus(specs, as_bytes=as_bytes, **reading.to_json())


def _is_restart(name: str | None) -> bool:
    """Return whether torchrun restarted the program after it had created the run."""
    if name is None and may_restart():
        raise UsageError("a restart needs to know which run to resume", "give it a `name`")
    return restart_count() > 0 and name in run_names(runs_folder())


def _join(device_name: str, group: ProcessGroup) -> PreparedRun:
    """Prepare the run that the first process describes."""
    device = choose_device(device_name)
    description = group.serve_timing(device)
    if description is None:
        raise CharrnnError("the first rank could not prepare the run", "see its message")
    settings = RunSettings.from_json(description["settings"], "the first rank")
    vocabulary = Vocabulary.from_json(description["vocabulary"], "the first rank")
    corpus = load_corpus(description["specs"], vocabulary=vocabulary, **settings.corpus.reading.to_json())
    if corpus.sha256 != settings.corpus.sha256:
        raise CharrnnError(f"rank {group.rank} reads another text as {corpus.name} than the first rank does")
    network = CharRNN(settings.model, len(vocabulary)).to(device)
    return PreparedRun(settings, network, corpus, *split_corpus(corpus, settings.training))
