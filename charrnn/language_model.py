"""A trained language model: reads, samples and scores text."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from os import PathLike, fspath
from typing import Any, Self, overload

import numpy as np

from charrnn.causal.clamp import Clamp
from charrnn.causal.holds import Clamps, clampable_signal, parse_holds, resolve, schedule
from charrnn.causal.levels import claimed_levels
from charrnn.discovery.inputs import characters_of, language_of
from charrnn.discovery.subject import Subject
from charrnn.errors import CharrnnError, UsageError
from charrnn.inspection.recorded_trace import CellName, as_cell
from charrnn.model.checkpoint import Checkpoint
from charrnn.model.losses import Losses, losses_of
from charrnn.model.network import CharRNN, State, overflow_error, parameter_count
from charrnn.model.run import NoHeldOutTextError, Run
from charrnn.model.training_text import training_text
from charrnn.model.writer import save_copy
from charrnn.options import check_names
from charrnn.progress import StageProgress, no_progress
from charrnn.properties.catalog import Text
from charrnn.sampling.best import keep_best
from charrnn.sampling.conversation import Conversation
from charrnn.sampling.generate import Report, generate_states
from charrnn.sampling.novelty import Novelty, TrainingIndex
from charrnn.sampling.particles import Particles
from charrnn.sampling.settings import SampleSettings
from charrnn.sampling.stops import STOPPED
from charrnn.scoring.adaptive import adaptive_score
from charrnn.scoring.baselines import Baseline, score_baselines
from charrnn.scoring.comparison import Comparison, character_bits, compare_bits, shared_characters, shared_ids
from charrnn.scoring.dynamic import Dynamics, adapt, gradient_rms
from charrnn.scoring.explanation import Explanation, explain_score
from charrnn.scoring.score import Score, score
from charrnn.text.encoded_text import EncodedText
from charrnn.text.turns import READ, TurnFormat, guess_turns
from charrnn.text.vocabulary import Vocabulary
from charrnn.units import count

TextLike = str | PathLike[str] | np.ndarray | EncodedText | None
"""What a model reads: a str is the text itself, a path names a file or a corpus, an array holds ids; None is the run's
held-out text."""


@dataclass(frozen=True, eq=False, repr=False)
class LanguageModel:
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
        return f"{type(self).__name__}({self.name!r}, {self.shape}, step {count(self.checkpoint.step)}{loss}{held})"

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
        return self.network.settings.shape

    @property
    def parameters(self) -> int:
        """The number of weights."""
        return parameter_count(self.network.settings, len(self.vocabulary))

    @property
    def losses(self) -> list[Losses]:
        """The loss curve of the run, oldest first: (step, seconds, train_nats, validation_nats) of each evaluation."""
        return losses_of(self.run)

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
        "inside@100..300"}: h instead of c, at its median inside the property that a search found it to track, while
        characters 100 to 300 are generated. settings: fields of `SampleSettings`, such as length, temperature, top_k,
        top_p, repeat_penalty, best_of, greedy, stop (a str or several), lines, matching, suffix, particles,
        max_copy and seed; corpus as for `generate`. Bytes that are not UTF-8 become U+FFFD; `generate` yields exact
        ids.
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
        progress: StageProgress | None = None,
        report: Report | None = None,
        **settings: Any,
    ) -> Iterator[np.ndarray]:
        """Yield the ids (num,) of the next character of `num` texts; −1 for a text that has ended.

        settings: as for `sample`, with `num` for the number of texts. With `best_of`, the first character is yielded
        after all texts have been generated, with several particles or a suffix too. progress: of that, as for
        `discover`. corpus: as for `novelty`, where max_copy is set. report: called with the log-weights (num,) of the
        texts with `matching` or `suffix`, when all have ended.
        """
        ids, chosen = self._prime_ids(prime), self.sample_settings(**settings)
        if chosen.uses_particles:
            chosen = chosen.seeded()
            particles = Particles(chosen)
            candidates = chosen.changed(num=chosen.num * chosen.particle_count)
            drawn = (row for row, _ in self._generate_states(ids, clamp, candidates, particles=particles))
            return particles.texts(drawn, progress, report)
        candidates = chosen.changed(num=chosen.num * chosen.best_of)
        reported = report if chosen.best_of == 1 else None
        drawn = (row for row, _ in self._generate_states(ids, clamp, candidates, corpus, report=reported))
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
        if chosen.uses_particles:
            raise UsageError("--particles or --suffix and --color-by exclude each other", "leave out one of them")
        pairs = self._generate_states(self._prime_ids(prime), clamp, chosen, corpus)
        return ((ids, state[watched.layer - 1][part][:, watched.index].cpu().numpy()) for ids, state in pairs)

    def conversation(
        self, turns: TurnFormat | None = None, *, corpus: str | TrainingIndex | None = None, **settings: Any
    ) -> Conversation:
        """Return a conversation, as in `model.conversation(seed=1).say("hello")`: its state goes on from turn to turn.

        turns: how they are written; None: as `turn_format` says. settings, corpus: as for `generate`.
        """
        chosen = self.sample_settings(**settings)
        return Conversation(
            self.network,
            chosen,
            vocabulary=self.vocabulary,
            turns=turns or self.turn_format(),
            documents=self.run.document_separator,
            index=None if chosen.max_copy is None else self._training_index(corpus),
            form=self.run.settings.corpus.normalize,
        )

    def turn_format(self) -> TurnFormat:
        """Return how turns are written in the held-out text, as `guess_turns` finds it; lines if there is none."""
        if not self.run.has_held_out_text:
            return TurnFormat()
        return guess_turns(self.run.text(self.encode()[:READ].ids))

    def _prime_ids(self, prime: str | bytes | np.ndarray) -> np.ndarray:
        return prime if isinstance(prime, np.ndarray) else self.run.encode(prime, source="the prime")

    def _generate_states(
        self,
        prime: np.ndarray,
        clamp: Clamps,
        settings: SampleSettings,
        corpus: str | TrainingIndex | None = None,
        **details: Any,
    ) -> Iterator[tuple[np.ndarray, State]]:
        holds = resolve(parse_holds(clamp, self.network), self.class_medians)
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
            form=self.run.settings.corpus.normalize,
            **details,
        )

    def sample_settings(self, **settings: Any) -> SampleSettings:
        """Return settings of sampling, with the texts that they name in the normalization of the run.

        Raises UsageError for an unknown name or a wrong value.
        """
        check_names(settings, SampleSettings)
        return SampleSettings(**settings).normalized(self.run.settings.corpus.normalize)

    def class_medians(self, cell: CellName, signal: str = "auto") -> tuple[float, float]:
        """Return the median of a cell outside and inside the property that a search of the held-out text claims of it.

        Of a graded property, in its lowest and in its highest quarter. Raises CharrnnError where no search found one.
        """
        if not self.run.has_held_out_text:
            raise NoHeldOutTextError(self.name, f"give a value, as in {cell}=0.9")
        subject = Subject(self.run, self.original or self.network, self.encode())
        return claimed_levels(subject, as_cell(cell, self.network), clampable_signal(self.network, signal))

    def novelty(
        self, text: TextLike, *, corpus: str | TrainingIndex | None = None, progress: StageProgress | None = None
    ) -> Novelty:
        """Return the longest run of a text that occurs in the training text, and the share of n-grams that do not.

        corpus: the run's corpus, or its index; None: looked for in corpora/. progress: as for `discover`.
        Raises CharrnnError where the corpus is not on this machine.
        """
        return self._training_index(corpus, progress).novelty(self.encode(text).ids, progress)

    def training_index(self, corpus: str | None = None, *, progress: StageProgress | None = None) -> TrainingIndex:
        """Return the index that `novelty` and max_copy search, to use it several times. It is kept beside the corpus.

        corpus, progress, errors: as for `novelty`.
        """
        return TrainingIndex(training_text(self.run, corpus), progress)

    def _training_index(
        self, corpus: str | TrainingIndex | None, progress: StageProgress | None = None
    ) -> TrainingIndex:
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
        progress: StageProgress | None = None,
    ) -> Score:
        """Return the cross-entropy of a text: nats of each character, their mean, bits per character, perplexity.

        The text is read from a zero state; its first character is not scored, except in a run of documents.

        dynamic: a copy of the weights learns from each character after it is scored. mix: with an n-gram of the
        training text that learns along. corpus: the run's corpus, which both need; None: looked for in corpora/.
        progress: called with the name of a stage and the share of it that is done.
        Raises CharrnnError where the weights are so large that the scores are not finite, or the corpus is missing.
        """
        encoded = self.encode(text, skip_unknown=skip_unknown)
        report = progress or no_progress
        if not (dynamic or mix):
            result = score(self.network, encoded, progress=partial(report, "score"))
        else:
            if dynamic:
                self._refuse_clamps()
            training = self._training_text(corpus)
            result = adaptive_score(self.network, encoded, training, dynamic=dynamic, mix=mix, progress=report)
        if not np.isfinite(result.nats).all():
            raise overflow_error()
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
        progress: StageProgress | None = None,
    ) -> list[Baseline]:
        """Return what an n-gram, PPMd, bzip2 and xz need for a text, given the training text.

        corpus, progress: as for `score`. Raises CharrnnError where the corpus is missing.
        """
        encoded = self.encode(text, skip_unknown=skip_unknown)
        show = progress or no_progress
        return score_baselines(self._training_text(corpus), encoded, self.vocabulary, show)

    def explain(
        self,
        text: TextLike = None,
        *,
        score: Score | None = None,
        corpus: str | None = None,
        language: str | None = None,
        progress: StageProgress | None = None,
    ) -> Explanation:
        """Return where the bits of a text go: by class of character, by kind of error, and in which passages.

        score: to explain, of this text; None: that of the model as it is. corpus, progress: as for `score`; without
        the training text two of the oracles of errors take no part. language: as for `discover`.
        Raises CharrnnError where `corpus` is another text.
        """
        encoded = self.encode(text)
        scored = score or self.score(encoded, progress=progress)
        training = None
        with contextlib.suppress(CharrnnError) if corpus is None else contextlib.nullcontext():
            training = self._training_text(corpus)
        characters = characters_of(self.vocabulary, encoded.ids, language_of(self.run, language))
        return explain_score(scored, encoded, characters, training, self.vocabulary, progress or no_progress)

    def compare(
        self,
        other: LanguageModel,
        text: TextLike = None,
        *,
        score: Score | None = None,
        language: str | None = None,
        progress: StageProgress | None = None,
    ) -> Comparison:
        """Compare two models on the same text: bits per character by class, with intervals.

        text: None: the held-out text of this model. The other model reads it without the characters that it does not
        know; they are not compared. score, language, progress: as for `explain`.
        Raises CharrnnError where bytes are compared with characters, and the text is not UTF-8.
        """
        encoded = self.encode(text)
        characters = shared_characters(self.vocabulary, other.vocabulary, encoded.ids)
        reading = other.run.encoded_text(shared_ids(self.vocabulary, other.vocabulary, encoded.ids, characters))
        scores = score or self.score(encoded, progress=progress), other.score(reading, progress=progress)
        bits = [
            character_bits(characters, model.vocabulary, len(read), found)
            for model, read, found in zip((self, other), (encoded, reading), scores, strict=True)
        ]
        return compare_bits(Text(characters, language_of(self.run, language)), *bits)

    def _training_text(self, corpus: str | None) -> EncodedText:
        """Return the text that the run was trained on. Raises CharrnnError where it is not on this machine."""
        found = training_text(self.run, corpus)
        return self.run.encoded_text(found.ids, found.lengths)

    # Adaptation

    def adapt(self, text: TextLike, *, skip_unknown: bool = False, progress: StageProgress | None = None) -> Self:
        """Return a copy of the model whose weights have learned from a text, by the updates of dynamic evaluation.

        Gradients are normalized by those over the held-out text, or over the text itself where the run has none. The
        run stays as it is.
        progress: as for `score`. Raises CharrnnError where the text has nothing to predict.
        """
        self._refuse_clamps()
        title, encoded = self.read(text, skip_unknown=skip_unknown)
        usual = self.run.held_out_text() if self.run.has_held_out_text else encoded
        dynamics = Dynamics(gradient_rms(self.network, usual))
        show = partial(progress, "adapting") if progress else no_progress
        return replace(self, network=adapt(self.network, encoded, dynamics, show), adapted_to=title)

    def save_as(self, name: str) -> Self:
        """Save the weights as a new run in checkpoints/ with the settings and held-out text of this one; return it.

        Raises UsageError where the name is taken.
        """
        self._refuse_clamps()
        source = f"{self.name}, step {self.checkpoint.step}"
        because = f"the weights of {source}" + (f", adapted to {self.adapted_to}" if self.adapted_to else "")
        nats = self.score().mean if self.run.has_held_out_text else None
        copied = save_copy(self.run, self.checkpoint, self.network, name, because, nats)
        return type(self)(copied, copied.checkpoint(), self.network)

    def _refuse_clamps(self) -> None:
        if self.clamps:
            raise UsageError("the weights of a model with clamped cells cannot adapt", "adapt it, then clamp cells")
