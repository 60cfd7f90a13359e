"""The Python interface: `load` a trained model or `train` one, then sample, score, trace, and search its cells.

    import charrnn

    model = charrnn.load("shakespeare")
    model.sample("ROMEO:", length=200, temperature=0.7, seed=1)
    model.score("To be, or not to be").bits_per_character
    model.trace("Hello (world)").show("1:42")

The command line is built on this module. Nothing here prints or changes the process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from os import PathLike, fspath
from typing import Any, overload

import numpy as np

from charrnn.causal.ablation import CONTROLS
from charrnn.causal.cache import ablate_run, earlier_ablations, fitted_property
from charrnn.causal.clamp import Clamp, clamped
from charrnn.causal.effects import Ablation
from charrnn.causal.holds import Clamps, clampable_signal, parse_holds, resolve, schedule
from charrnn.causal.levels import Levels, measure_levels
from charrnn.causal.reach import Memory, measure_memory
from charrnn.causal.steered import Steering
from charrnn.causal.steering import LENGTH, TEXTS, steer
from charrnn.discovery.cache import earlier_findings, search_run
from charrnn.discovery.evidence import Evidence
from charrnn.discovery.excerpts import Excerpt, typical_excerpt
from charrnn.discovery.findings import Findings
from charrnn.discovery.history import History, cell_history
from charrnn.discovery.inputs import as_characters, characters_of, language_of
from charrnn.discovery.profile import CellProfile, Contradiction, cell_profile, contradictions
from charrnn.discovery.span_match import SpanMatch, find_occurrences, match_span
from charrnn.discovery.study import Effort, Progress
from charrnn.errors import CharrnnError, UsageError
from charrnn.inspection.gates import GateSaturation, gate_saturation, warm_up
from charrnn.inspection.gradients import POSITIONS, SHARE_LAGS, GradientShare, gradient_share
from charrnn.inspection.recorded_trace import CellName, Trace, as_cell
from charrnn.model.checkpoint import Checkpoint
from charrnn.model.device import choose_device
from charrnn.model.lookup import open_run
from charrnn.model.network import CharRNN, State, overflow_error, parameter_count
from charrnn.model.run import NoHeldOutTextError, Run
from charrnn.model.training_text import training_text
from charrnn.model.writer import save_copy
from charrnn.properties.catalog import Property, Text, property_titled
from charrnn.properties.user_properties import find_property
from charrnn.sampling.best import keep_best
from charrnn.sampling.generate import generate_states
from charrnn.sampling.novelty import Novelty, TrainingIndex
from charrnn.sampling.settings import SampleSettings
from charrnn.sampling.stops import STOPPED
from charrnn.scoring.baselines import Baseline, score_baselines
from charrnn.scoring.dynamic import Dynamics, adapt, choose_dynamics, dynamic_score, gradient_rms
from charrnn.scoring.ngram import mixed_score, ngram_score
from charrnn.scoring.score import Score, ignore_progress, score
from charrnn.settings import SEARCH_SEED, SEARCHED_CHARACTERS, check_names
from charrnn.text.encoded_text import EncodedText
from charrnn.text.normalization import normalized
from charrnn.text.vocabulary import Vocabulary
from charrnn.training.events import Event, Requests
from charrnn.training.options import TrainOptions
from charrnn.training.session import training_session
from charrnn.units import count

TextLike = str | PathLike[str] | np.ndarray | EncodedText | None
"""What a model reads: a str is the text itself, a path names a file or a corpus, an array holds ids; None is the run's
held-out text."""

GATE_CHARACTERS, HISTORY_CHARACTERS, PROFILE_CHARACTERS, LEVEL_CHARACTERS = 50_000, 100_000, 20_000, 100_000
"""Characters of a text, at most, that `gates`, `history`, `profile` and `steer` read."""


def load(name: str | PathLike[str] | None = None, *, checkpoint: str = "best", device: str = "auto") -> Model:
    """Return a trained model.

    name: of a run in checkpoints/, or its folder; None: the run trained last. checkpoint: "best", "last", or a step.
    device: "auto", "cpu", "cuda" or "mps".
    Raises UsageError where there is no such run, checkpoint or device, CharrnnError where the run is damaged.
    """
    run = open_run(None if name is None else fspath(name))
    network, loaded = run.load_network(checkpoint, choose_device(device))
    return Model(run, loaded, network)


def train(
    corpus: str | PathLike[str] | Sequence[str | PathLike[str]] = (),
    *,
    name: str | None = None,
    minutes: float | None = None,
    epochs: float | None = None,
    resume: bool = False,
    init_from: str | None = None,
    as_bytes: bool = False,
    device: str = "auto",
    on_event: Callable[[Event], object] | None = None,
    requests: Requests | None = None,
    **settings: Any,
) -> Model:
    """Train a model and return it with its best weights; the run is kept in checkpoints/.

    corpus: files, folders, glob patterns or names of corpora. name: of the run. minutes, epochs, or `steps` among the
    settings: the length of the run. resume: continue the run `name` (or the newest). init_from: a run whose weights
    to start from. on_event: called with each event of `charrnn.training.events`. requests: to stop, or to ask for a
    checkpoint, from another thread. settings: fields of `ModelSettings` and `TrainingSettings`, those left out are
    chosen for the corpus and the device; and of `ReadSettings`: encoding, newlines, include, exclude.
    Raises UsageError for settings out of bounds, CharrnnError where training cannot start or continue.
    """
    specs = [corpus] if isinstance(corpus, str | PathLike) else list(corpus)
    options = TrainOptions(settings, epochs, minutes, name, resume, init_from, as_bytes, device)
    with training_session([fspath(spec) for spec in specs], options) as session:
        for event in session.events(requests):
            if on_event is not None:
                on_event(event)
    return load(session.run.path, device=device)


@dataclass(frozen=True, eq=False, repr=False)
class Model:
    """A trained network with its vocabulary and the run it comes from.

    network: in evaluation mode. original: the network before cells were clamped.
    adapted_to: the text that the weights have learned from since they were loaded.
    """

    run: Run
    checkpoint: Checkpoint
    network: CharRNN
    clamps: tuple[Clamp, ...] = ()
    original: CharRNN | None = None
    adapted_to: str | None = None

    def __repr__(self) -> str:
        progress = self.checkpoint.progress
        loss = "" if progress.validation_nats is None else f", {progress.validation_nats:.3f} nats"
        held = "".join(f", {one.signal} of {one.cell} = {one.value:g}" for one in self.clamps)
        return f"Model({self.name!r}, {self.shape}, step {count(self.checkpoint.step)}{loss}{held})"

    @property
    def name(self) -> str:
        """The name of the run."""
        return self.run.name

    @property
    def vocabulary(self) -> Vocabulary:
        """The characters the model knows, by id."""
        return self.run.vocabulary

    @property
    def shape(self) -> str:
        """Recurrence, layers and hidden size, such as `lstm 1×384`."""
        settings = self.network.settings
        return f"{settings.recurrence} {settings.layers}×{settings.hidden_size}"

    @property
    def parameters(self) -> int:
        """The number of weights."""
        return parameter_count(self.network.settings, len(self.vocabulary))

    def encode(self, text: TextLike = None, *, skip_unknown: bool = False) -> EncodedText:
        """Return a text as the ids that the network reads; as documents where the run was trained on documents.

        skip_unknown: leave out characters that the vocabulary lacks.
        Raises CharrnnError where there is no such text, or it holds unknown characters.
        """
        return self.read(text, skip_unknown=skip_unknown)[1]

    def read(self, text: TextLike = None, *, skip_unknown: bool = False, **reading: Any) -> tuple[str, EncodedText]:
        """Return the title of a text, and the text as `encode` does.

        reading: fields of `ReadSettings` for a file or folder, where they differ from those of the run.
        """
        if text is None:
            return "held-out text", self.run.held_out_text()
        if isinstance(text, EncodedText):
            return "text", text
        if isinstance(text, np.ndarray):
            return "text", self.run.encoded_text(text)
        if isinstance(text, str):
            return "text", self.run.encoded_text(self.run.encode(text, skip_unknown=skip_unknown))
        spec = fspath(text)
        return "standard input" if spec == "-" else spec, self.run.read(spec, skip_unknown=skip_unknown, **reading)

    # Sampling

    @overload
    def sample(self, prime: str = "", *, n: None = None, clamp: Clamps = (), **settings: Any) -> str: ...
    @overload
    def sample(self, prime: str = "", *, n: int, clamp: Clamps = (), **settings: Any) -> list[str]: ...

    def sample(self, prime: str = "", *, n: int | None = None, clamp: Clamps = (), **settings: Any) -> str | list[str]:
        """Return text that continues a prime; the prime is not repeated.

        n: how many texts, as a list; None: one str. clamp: cells to hold, as in {"1:42": 0.9} or {"1:42.h":
        "inside@100..300"}: h instead of c, at its mean inside the property that a search found it to track, while
        characters 100 to 300 are generated. settings: fields of `SampleSettings`, such as length, temperature, top_k,
        top_p, repeat_penalty, best_of, greedy, stop (a str or several), lines, max_copy and seed; corpus as for
        `generate`. Bytes that are not UTF-8 become U+FFFD; `generate` yields exact ids.
        Raises CharrnnError where the prime or the stop text holds characters that the vocabulary lacks.
        """
        texts: list[list[int]] = [[] for _ in range(n or 1)]
        for drawn in self.generate(prime, num=n or 1, clamp=clamp, **settings):
            for ids, one in zip(texts, drawn.tolist(), strict=True):
                if one != STOPPED:
                    ids.append(one)
        decoded = [self.run.text(ids) for ids in texts]
        return decoded[0] if n is None else decoded

    def stream(self, prime: str = "", **settings: Any) -> Iterator[str]:
        """Yield text that continues a prime, a character at a time. settings: as for `sample`."""
        decoder = self.run.stream_decoder()
        for drawn in self.generate(prime, **settings):
            if text := decoder.feed(drawn):
                yield text
        if text := decoder.end():
            yield text

    def generate(
        self,
        prime: str | bytes | np.ndarray = "",
        *,
        clamp: Clamps = (),
        corpus: str | TrainingIndex | None = None,
        progress: Progress | None = None,
        **settings: Any,
    ) -> Iterator[np.ndarray]:
        """Yield the ids (num,) of the next character of `num` texts; −1 for a text that has ended.

        settings: as for `sample`, with `num` for the number of texts. With `best_of`, the first character is yielded
        after all texts have been generated. progress: of that, as for `discover`. corpus: as for `novelty`, where
        max_copy is set.
        """
        ids, chosen = self._prime_ids(prime), self.sample_settings(**settings)
        candidates = chosen.changed(num=chosen.num * chosen.best_of)
        drawn = (row for row, _ in self._generate_states(ids, clamp, candidates, corpus))
        if chosen.best_of == 1:
            return drawn
        return keep_best(drawn, chosen, lambda text: self.score_continuation(ids, text).bits_per_character, progress)

    def watch(
        self,
        cell: CellName,
        prime: str | bytes | np.ndarray = "",
        *,
        signal: str = "auto",
        clamp: Clamps = (),
        corpus: str | TrainingIndex | None = None,
        **settings: Any,
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield ids as `generate` does, and the value (num,) that a cell has after reading them.

        signal: part of the state; "auto": c of an LSTM, else h. corpus: as for `generate`.
        """
        watched, recurrence = as_cell(cell, self.network), self.network.recurrence
        part = tuple(recurrence.state_parts).index(clampable_signal(self.network, signal))
        chosen = self.sample_settings(**settings)
        if chosen.best_of > 1:
            raise UsageError("--best-of and --color-by exclude each other", "leave out one of them")
        pairs = self._generate_states(self._prime_ids(prime), clamp, chosen, corpus)
        return ((ids, state[watched.layer - 1][part][:, watched.index].cpu().numpy()) for ids, state in pairs)

    def _prime_ids(self, prime: str | bytes | np.ndarray) -> np.ndarray:
        return prime if isinstance(prime, np.ndarray) else self.run.encode(prime, source="the prime")

    def _generate_states(
        self, prime: np.ndarray, clamp: Clamps, settings: SampleSettings, corpus: str | TrainingIndex | None
    ) -> Iterator[tuple[np.ndarray, State]]:
        holds = resolve(parse_holds(clamp, self.network), self.class_means)
        network, state, later = schedule(self.original or self.network, self.clamps, holds)
        return generate_states(
            network,
            settings,
            prime,
            vocabulary=self.vocabulary,
            state=state,
            documents=self.run.document_separator,
            later=later,
            index=None if settings.max_copy is None else self._training_index(corpus),
            composes=self.run.composes,
        )

    def sample_settings(self, **settings: Any) -> SampleSettings:
        """Return settings of sampling, with the texts that they name in the normalization of the run.

        Raises UsageError for an unknown name or a wrong value.
        """
        check_names(settings, SampleSettings)
        return SampleSettings(**settings).normalized(self.run.settings.corpus.normalize)

    def class_means(self, cell: CellName, signal: str = "auto") -> tuple[float, float]:
        """Return the mean of a cell outside and inside the property that a search of the held-out text claims of it.

        Of a graded property, in its lowest and in its highest quarter. Raises CharrnnError where no search found one.
        """
        if not self.run.has_held_out_text:
            raise NoHeldOutTextError(self.name, f"give a value, as in {cell}=0.9")
        claimed = _claimed_property(self.claim(cell))
        if claimed is None:
            raise CharrnnError(
                f"no search has found what cell {cell} tracks, so its mean inside is unknown",
                f"run `charrnn inspect {self.name}` first, or give a value",
            )
        levels = self._levels(cell, clampable_signal(self.network, signal), self.encode(), claimed)
        return levels.outside, levels.inside

    def _levels(self, cell: CellName, signal: str, encoded: EncodedText, one: Property | None) -> Levels:
        encoded = encoded[:LEVEL_CHARACTERS]
        truth = None if one is None else one.of(self.characters(encoded))
        return measure_levels(self.original or self.network, encoded, as_cell(cell, self.network), signal, truth)

    def novelty(
        self, text: TextLike, *, corpus: str | TrainingIndex | None = None, progress: Progress | None = None
    ) -> Novelty:
        """Return the longest run of a text that occurs in the training text, and the share of n-grams that do not.

        corpus: the run's corpus, or its index; None: looked for in corpora/. progress: as for `discover`.
        Raises CharrnnError where the corpus is not on this machine.
        """
        return self._training_index(corpus, progress).novelty(self.encode(text).ids, progress)

    def training_index(self, corpus: str | None = None, *, progress: Progress | None = None) -> TrainingIndex:
        """Return the index that `novelty` and max_copy search, to use it several times. It is kept beside the corpus.

        corpus, progress, errors: as for `novelty`.
        """
        return TrainingIndex(training_text(self.run, corpus), progress)

    def _training_index(self, corpus: str | TrainingIndex | None, progress: Progress | None = None) -> TrainingIndex:
        return corpus if isinstance(corpus, TrainingIndex) else self.training_index(corpus, progress=progress)

    # Reading

    def score(
        self,
        text: TextLike = None,
        *,
        skip_unknown: bool = False,
        dynamic: bool = False,
        mix: bool = False,
        corpus: str | None = None,
        progress: Progress | None = None,
    ) -> Score:
        """Return the cross-entropy of a text: nats of each character, their mean, bits per character, perplexity.

        The text is read from a zero state; its first character is not scored, except in a run of documents.

        dynamic: a copy of the weights learns from each character after it is scored. mix: with an n-gram of the
        training text that learns along. corpus: the run's corpus, which both need; None: looked for in corpora/.
        progress: called with the name of a stage and the share of it that is done.
        Raises CharrnnError where the weights are so large that the scores are not finite, or the corpus is missing.
        """
        encoded = self.encode(text, skip_unknown=skip_unknown)
        show = progress or (lambda stage, fraction: None)
        training = self._training_text(corpus) if dynamic or mix else None
        if training is not None and dynamic:
            self._refuse_clamps()
            dynamics = choose_dynamics(self.network, training, partial(show, "choosing the rate"))
            result = dynamic_score(self.network, encoded, dynamics, partial(show, "dynamic score"))
        else:
            result = score(self.network, encoded, progress=partial(show, "score"))
        if not np.isfinite(result.nats).all():
            raise overflow_error()
        if training is not None and mix:
            size = len(self.vocabulary)
            ngram = ngram_score(training, encoded, size, adaptive=True, progress=partial(show, "n-gram"))
            result = mixed_score(result, ngram)
        return result

    def score_continuation(self, prime: np.ndarray, ids: np.ndarray) -> Score:
        """Return the cross-entropy of ids (T,) that continue a prime, as `generate` yields them.

        Without a prime they follow the character that a text starts after.
        """
        opened = len(prime) or self.run.document_separator is not None
        before = prime if opened else np.array([self.vocabulary.opening_id], prime.dtype)
        return Score(self.score(np.concatenate([before, ids])).nats[-len(ids) :])

    def baselines(
        self,
        text: TextLike = None,
        *,
        skip_unknown: bool = False,
        corpus: str | None = None,
        progress: Progress | None = None,
    ) -> list[Baseline]:
        """Return what an n-gram, PPMd, bzip2 and xz need for a text, given the training text.

        corpus, progress: as for `score`. Raises CharrnnError where the corpus is missing.
        """
        encoded = self.encode(text, skip_unknown=skip_unknown)
        show = progress or (lambda stage, fraction: None)
        return score_baselines(self._training_text(corpus), encoded, self.vocabulary, show)

    def _training_text(self, corpus: str | None) -> EncodedText:
        """Return the text that the run was trained on. Raises CharrnnError where it is not on this machine."""
        found = training_text(self.run, corpus)
        return self.run.encoded_text(found.ids, found.lengths)

    # Adaptation

    def adapt(self, text: TextLike, *, skip_unknown: bool = False, progress: Progress | None = None) -> Model:
        """Return a copy of the model whose weights have learned from a text, by the updates of dynamic evaluation.

        Gradients are normalized by those over the held-out text, or over the text itself where the run has none. The
        run stays as it is.
        progress: as for `score`. Raises CharrnnError where the text has nothing to predict.
        """
        self._refuse_clamps()
        title, encoded = self.read(text, skip_unknown=skip_unknown)
        usual = self.run.held_out_text() if self.run.has_held_out_text else encoded
        dynamics = Dynamics(gradient_rms(self.network, usual))
        show = partial(progress, "adapting") if progress else ignore_progress
        return replace(self, network=adapt(self.network, encoded, dynamics, show), adapted_to=title)

    def save_as(self, name: str) -> Model:
        """Save the weights as a new run in checkpoints/ with the settings and held-out text of this one; return it.

        Raises UsageError where the name is taken.
        """
        self._refuse_clamps()
        source = f"{self.name}, step {self.checkpoint.step}"
        because = f"the weights of {source}" + (f", adapted to {self.adapted_to}" if self.adapted_to else "")
        nats = self.score().mean if self.run.has_held_out_text else None
        copied = save_copy(self.run, self.checkpoint, self.network, name, because, nats)
        return Model(copied, copied.checkpoint(), self.network)

    def _refuse_clamps(self) -> None:
        if self.clamps:
            raise UsageError("the weights of a model with clamped cells cannot adapt", "adapt it, then clamp cells")

    def trace(
        self,
        text: TextLike = None,
        *,
        start: int = 0,
        length: int | None = None,
        skip_unknown: bool = False,
        title: str | None = None,
    ) -> Trace:
        """Return every signal of every cell at each character of a text.

        start: the first character recorded; the network reads up to 10,000 characters before it. length: how many are
        recorded; None: all that follow. title: what the text is called.
        """
        read_title, encoded = self.read(text, skip_unknown=skip_unknown)
        stop = None if length is None else start + length
        facts = {"run": f"{self.name} (step {count(self.checkpoint.step)})", "model": self.shape}
        return Trace(self.network, self.vocabulary, encoded, start, stop, title or read_title, facts)

    # Intervention

    def clamp(self, cell: CellName, value: float, signal: str = "h") -> Model:
        """Return a copy of the model in which one cell is held at a value after every character.

        signal: "h", or "c" of an LSTM. Clamps add up. Raises UsageError where there is no such
        cell or signal, the value is out of bounds, or the cell is already held.
        """
        clamps = (*self.clamps, Clamp(as_cell(cell, self.network), value, signal))
        original = self.original or self.network
        network, _ = clamped(original, clamps)
        return replace(self, network=network, clamps=clamps, original=original)

    def ablate(
        self,
        cell: CellName,
        property: str | Property | None = None,
        *,
        text: TextLike = None,
        signal: str = "auto",
        language: str | None = None,
        characters: int = SEARCHED_CHARACTERS,
        controls: int = CONTROLS,
        seed: int = SEARCH_SEED,
        again: bool = False,
        progress: Progress | None = None,
    ) -> Ablation:
        """Measure what holding a cell at the value of the opposite class costs where a property begins and ends.

        property: as for `discover`; None: what a search claims of the cell, else what the cell fits best there; without
        an earlier search one is made. signal: to hold, "c" of an LSTM or "h"; "auto": the former where there is one.
        controls: cells of the layer to compare with, at most. Other arguments as for `discover`.
        The ablation is kept beside the run. Raises UsageError for a cell or signal that does not exist, CharrnnError
        where the text has too few events.
        """
        tested = as_cell(cell, self.network)
        signal = clampable_signal(self.network, signal)
        encoded = self.encode(text)
        if property is None:
            searched = self.earlier_findings(encoded)
            searched = searched or [self.discover((), encoded, language=language, progress=progress)]
            property = fitted_property(searched, tested)
        chosen = find_property(property) if isinstance(property, str) else property
        return ablate_run(
            self.run,
            self.network,
            encoded,
            tested,
            chosen,
            signal=signal,
            language=language,
            controls=controls,
            effort=Effort(characters=characters, seed=seed),
            again=again,
            progress=progress,
        )

    def prove(self, findings: Findings, number: int, text: TextLike = None, **details: Any) -> list[Ablation]:
        """Ablate the best `number` named cells of findings. text: that was searched. details: as for `ablate`."""
        encoded = self.encode(text)
        chosen = [(one, known) for one in findings if (known := property_titled(one.property_name)) is not None]
        return [self.ablate(one.cell, known, text=encoded, **details) for one, known in chosen[:number]]

    def earlier_ablations(self, text: TextLike = None) -> list[Ablation]:
        """Return the ablations made on this text, the latest first."""
        return earlier_ablations(self.run, self.network, self.encode(text))

    def steer(
        self,
        cell: CellName,
        property: str | None = None,
        *,
        text: TextLike = None,
        signal: str = "auto",
        language: str | None = None,
        texts: int = TEXTS,
        length: int = LENGTH,
        seed: int = SEARCH_SEED,
        progress: Progress | None = None,
    ) -> Steering:
        """Generate texts with a cell held at five values, and measure what changes in them.

        property: as for `discover`; None: what a search claims of the cell; without a claim there are no baselines.
        text: gives the values and what the texts continue. texts: for each value. Other arguments as for `ablate`.
        Raises UsageError for a cell or signal that does not exist, CharrnnError where the text is too short.
        """
        steered, encoded = as_cell(cell, self.network), self.encode(text)
        signal = clampable_signal(self.network, signal)
        tracked = find_property(property) if property is not None else _claimed_property(self.claim(cell, encoded))
        return steer(
            self.network,
            encoded[:LEVEL_CHARACTERS],
            steered,
            tracked,
            signal=signal,
            vocabulary=self.vocabulary,
            language=language_of(self.run, language),
            documents=self.run.document_separator,
            texts=texts,
            length=length,
            seed=seed,
            progress=progress,
        )

    # Cells

    def discover(
        self,
        properties: Sequence[str] = (),
        text: TextLike = None,
        *,
        language: str | None = None,
        corpus: str | None = None,
        characters: int = SEARCHED_CHARACTERS,
        seed: int = SEARCH_SEED,
        again: bool = False,
        progress: Progress | None = None,
    ) -> Findings:
        """Search for cells that track a property of the text. The findings are kept beside the run.

        properties: names from the catalog, NAME=REGEX, or FILE.py:function; none: the whole catalog. language: of the
        text, as Pygments calls it; None: guessed; "none": not source code. corpus: the run's corpus, which the 5-gram
        baseline is fitted on; None: looked for in corpora/. characters: of the text, at most. again: repeat a search
        that was made before. progress: called with the name of a stage and the share of it that is done.
        Raises CharrnnError where the text is too short, or none of the properties can be tested in it.
        """
        chosen = [find_property(name) for name in properties]
        effort = Effort(characters=characters, seed=seed)
        encoded = self.encode(text)
        return search_run(
            self.run,
            self.network,
            encoded,
            chosen,
            language=language,
            corpus=corpus,
            effort=effort,
            again=again,
            progress=progress,
        )

    def claim(self, cell: CellName, text: TextLike = None) -> Evidence | None:
        """Return the evidence of the latest search of this text that named a cell; None if none did."""
        name = str(as_cell(cell, self.network))
        claims = (found.claim_about(name) for found in self.earlier_findings(text))
        return next((claim for claim in claims if claim is not None), None)

    def earlier_findings(self, text: TextLike = None) -> list[Findings]:
        """Return the findings of earlier searches of this text, the latest first."""
        return earlier_findings(self.run, self.network, self.encode(text))

    def gates(self, text: TextLike = None, *, characters: int = GATE_CHARACTERS) -> list[GateSaturation]:
        """Return for every gate the share of characters at which each cell saturates it, on either side.

        characters: of the text, at most. Raises CharrnnError where the recurrence has no gates.
        """
        return gate_saturation(self.network, self.encode(text)[:characters])

    def memory(self, text: TextLike = None, *, positions: int = POSITIONS, progress: Progress | None = None) -> Memory:
        """Return how far back the network remembers: gradient norms over 200 characters, and the effective context.

        positions: at which the loss is backpropagated, spread over the text. progress: as for `discover`.
        Raises CharrnnError for a text of fewer than 1,000 characters.
        """
        return measure_memory(self.network, self.encode(text), positions=positions, progress=progress)

    def gradient_share(
        self, text: TextLike = None, *, lags: Sequence[int] = SHARE_LAGS, positions: int = POSITIONS
    ) -> GradientShare:
        """Return which cells carry the gradient of the loss back over these numbers of characters.

        Raises CharrnnError for a text of fewer than 1,000 characters.
        """
        return gradient_share(self.network, self.encode(text), lags=lags, positions=positions)

    def history(
        self,
        cell: CellName,
        property: str | None = None,
        *,
        text: TextLike = None,
        signal: str = "auto",
        language: str | None = None,
        characters: int = HISTORY_CHARACTERS,
    ) -> History:
        """Return the rank correlation of a cell with a property at each checkpoint of the run.

        property: as for `discover`; None: what a search claims of the cell, else the cell itself at the last one.
        """
        encoded = self.encode(text)
        chosen = find_property(property) if property is not None else _claimed_property(self.claim(cell, encoded))
        encoded = encoded[:characters]
        device = self.network.output.weight.device
        return cell_history(
            lambda step: self.run.load_network(str(step), device)[0],
            self.run.checkpoint_steps(),
            encoded,
            as_cell(cell, self.network),
            self.network.recurrence.find_signal(signal),
            None if chosen is None else chosen.of(self.characters(encoded, language)),
            None if chosen is None else chosen.title,
        )

    def profile(
        self,
        cell: CellName,
        text: TextLike = None,
        *,
        signal: str = "auto",
        passages: int = 2,
        characters: int = PROFILE_CHARACTERS,
    ) -> CellProfile:
        """Return what a cell does over the first `characters` of a text.

        passages: of each kind: where the cell is highest, lowest, at a quantile, and at random.
        """
        encoded = self.encode(text)
        tracked = _claimed_property(self.claim(cell, encoded))
        encoded = encoded[:characters]
        claimed = None if tracked is None else (tracked.title, tracked.of(self.characters(encoded)))
        return cell_profile(
            self.network, encoded, as_cell(cell, self.network), signal, passages=passages, claimed=claimed
        )

    def contradictions(
        self, cell: CellName, text: TextLike = None, *, characters: int = PROFILE_CHARACTERS
    ) -> list[Contradiction]:
        """Return where a cell most contradicts the binary property that a search claims of it; none without a claim."""
        encoded = self.encode(text)
        claim = self.claim(cell, encoded)
        tracked = _claimed_property(claim)
        if claim is None or tracked is None or tracked.kind != "binary":
            return []
        encoded = encoded[:characters]
        return contradictions(self.network, encoded, self.characters(encoded), claim, tracked)

    def excerpt(
        self,
        cell: CellName,
        property: str | None = None,
        text: TextLike = None,
        *,
        signal: str = "auto",
        characters: int = PROFILE_CHARACTERS,
    ) -> Excerpt | None:
        """Return a typical piece of text around an episode of a property, with the values of a cell.

        property: as for `discover`; None: what a search claims of the cell. None where no search claims anything, or
        the property does not change in the first `characters` of the text.
        """
        encoded = self.encode(text)
        tracked = find_property(property) if property is not None else _claimed_property(self.claim(cell, encoded))
        if tracked is None:
            return None
        encoded = encoded[:characters]
        signal, first = self.network.recurrence.find_signal(signal), warm_up(len(encoded))
        values = self.trace(encoded)[cell, signal]
        positions, truth = np.arange(len(encoded)), tracked.of(self.characters(encoded))
        positions, ids, values, truth = (part[first:] for part in (positions, encoded.ids, values, truth))
        symbols = self.vocabulary.symbols
        return typical_excerpt(self.network.recurrence, signal, positions, ids, values, truth, symbols)

    def match_span(self, span: str, text: TextLike = None, *, characters: int = SEARCHED_CHARACTERS) -> SpanMatch:
        """Return the cells that are on throughout a piece of the text and off around it, and where else they are on.

        Raises CharrnnError where the first `characters` of the text do not contain the span.
        """
        encoded = self.encode(text)[:characters]
        sought = as_characters(self.vocabulary, normalized(span, self.run.settings.corpus.normalize))
        occurrences = find_occurrences(sought, self.characters(encoded).characters) if sought else []
        if not occurrences:
            raise CharrnnError(
                f"{span!r} does not occur in the first {count(len(encoded))} characters of this text",
                "copy a piece out of it",
            )
        return match_span(self.network, encoded, occurrences, len(sought))

    def characters(self, encoded: EncodedText, language: str | None = None) -> Text:
        """Return a text as the characters that properties are computed from, one for each id."""
        return characters_of(self.vocabulary, encoded.ids, language_of(self.run, language))


def _claimed_property(claim: Evidence | None) -> Property | None:
    """Return the property of the catalog that a claim is about."""
    if claim is None:
        return None
    return property_titled(claim.property_name)
