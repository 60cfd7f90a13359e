"""A trained language model: reads, scores and samples text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, overload

import numpy as np

from charrnn.causal.holds import Clamps, clampable_signal, parse_holds, resolve, schedule
from charrnn.causal.levels import claimed_levels
from charrnn.discovery.subject import Subject
from charrnn.errors import UsageError
from charrnn.inspection.recorded_trace import CellName, as_cell
from charrnn.model.network import State
from charrnn.model.run import NoHeldOutTextError
from charrnn.model.training_text import training_text
from charrnn.options import check_names
from charrnn.progress import StageProgress, no_progress
from charrnn.reading_model import ReadingModel, TextLike
from charrnn.sampling.best import keep_best
from charrnn.sampling.conversation import Conversation
from charrnn.sampling.generate import LONGEST_END, Report, generate_states
from charrnn.sampling.novelty import Novelty, TrainingIndex
from charrnn.sampling.particles import Particles
from charrnn.sampling.settings import SampleSettings
from charrnn.sampling.stops import STOPPED
from charrnn.text.turns import READ, TurnFormat, guess_turns


class LanguageModel(ReadingModel):
    """A trained model that samples text."""

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
        num = 1 if n is None else n
        replace(SampleSettings.options()["num"], name="n").check(num)
        texts: list[list[int]] = [[] for _ in range(num)]
        for drawn in self.generate(prime, num=num, clamp=clamp, **settings):
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
        progress: StageProgress = no_progress,
        report: Report | None = None,
        **settings: Any,
    ) -> Iterator[np.ndarray]:
        """Yield the ids (num,) of the next character of `num` texts; −1 for a text that has ended.

        A model of documents continues the last document of the prime, or begins another where that has ended.

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
            raise UsageError("the values of a cell are not known with `best_of`", "leave it out")
        if chosen.uses_particles:
            raise UsageError("the values of a cell are not known with `particles` or `suffix`", "leave them out")
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

    def continued_document(self, prime: np.ndarray) -> int:
        """Return where the document begins that continues a prime (P,); P if the last one has ended."""
        documents = self.run.document_separator
        if documents is None or not len(prime):
            return 0
        if documents.is_end(self.vocabulary.text(prime[-LONGEST_END:].tolist())):
            return len(prime)
        return int(self.run.encoded_text(prime).starts[-1])

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
        begin = self.continued_document(prime)
        return generate_states(
            network,
            settings,
            prime[begin:],
            vocabulary=self.vocabulary,
            state=state,
            documents=self.run.document_separator,
            later=later,
            index=None if settings.max_copy is None else self._training_index(corpus),
            form=self.run.settings.corpus.normalize,
            history=prime[:begin],
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
        self, text: TextLike, *, corpus: str | TrainingIndex | None = None, progress: StageProgress = no_progress
    ) -> Novelty:
        """Return the longest run of a text that occurs in the training text, and the share of n-grams that do not.

        corpus: the run's corpus, or its index; None: looked for in corpora/. progress: as for `discover`.
        Raises CharrnnError where the corpus is not on this machine.
        """
        return self._training_index(corpus, progress).novelty(self.encode(text).ids, progress)

    def training_index(self, corpus: str | None = None, *, progress: StageProgress = no_progress) -> TrainingIndex:
        """Return the index that `novelty` and max_copy search, to use it several times. It is kept beside the corpus.

        corpus, progress, errors: as for `novelty`.
        """
        return TrainingIndex(training_text(self.run, corpus), progress)

    def _training_index(
        self, corpus: str | TrainingIndex | None, progress: StageProgress = no_progress
    ) -> TrainingIndex:
        return corpus if isinstance(corpus, TrainingIndex) else self.training_index(corpus, progress=progress)
