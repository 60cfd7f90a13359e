"""A trained model that reads text: encodes and scores it, and adapts to it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from functools import partial
from os import PathLike, fspath
from typing import Any, Self

import numpy as np

from charrnn.causal.clamp import Clamp
from charrnn.discovery.inputs import characters_of, language_of
from charrnn.errors import CharrnnError, UsageError
from charrnn.model.checkpoint import Checkpoint
from charrnn.model.lookup import or_another_run
from charrnn.model.losses import Losses, losses_of
from charrnn.model.network import CharRNN, overflow_error, parameter_count
from charrnn.model.run import NoHeldOutTextError, Run
from charrnn.model.training_text import training_text
from charrnn.model.writer import save_copy
from charrnn.progress import StageProgress, no_progress
from charrnn.properties.catalog import Text
from charrnn.scoring.adaptive import adaptive_score
from charrnn.scoring.baselines import Baseline, score_baselines
from charrnn.scoring.comparison import Comparison, character_bits, compare_bits, shared_characters, shared_ids
from charrnn.scoring.dynamic import Dynamics, adapt, gradient_rms
from charrnn.scoring.explanation import Explanation, explain_score
from charrnn.scoring.score import Score, score
from charrnn.text.encoded_text import EncodedText
from charrnn.text.vocabulary import Vocabulary
from charrnn.units import count

TextLike = str | PathLike[str] | np.ndarray | EncodedText | None
"""What a model reads: a str is the text itself, a path names a file or a corpus, an array holds ids; None is the run's
held-out text."""


@dataclass(frozen=True, eq=False, repr=False)
class ReadingModel:
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
            try:
                return "held-out text", self.run.held_out_text()
            except NoHeldOutTextError as error:
                error.hint = f"{error.hint}{or_another_run(self.run)}"
                raise
        if isinstance(text, EncodedText):
            return "text", text
        if isinstance(text, np.ndarray):
            return "text", self.run.encoded_text(text)
        if isinstance(text, str):
            return "text", self.run.encoded_text(self.run.encode(text, skip_unknown=skip_unknown))
        spec = fspath(text)
        return "standard input" if spec == "-" else spec, self.run.read(spec, skip_unknown=skip_unknown, **reading)

    # Scoring

    def score(
        self,
        text: TextLike = None,
        *,
        skip_unknown: bool = False,
        dynamic: bool = False,
        mix: bool = False,
        corpus: str | None = None,
        progress: StageProgress = no_progress,
    ) -> Score:
        """Return the cross-entropy of a text: nats of each character, their mean, bits per character, perplexity.

        The text is read from a zero state; its first character is not scored, except in a run of documents.

        dynamic: a copy of the weights learns from each character after it is scored. mix: with an n-gram of the
        training text that learns along. corpus: the run's corpus, which both need; None: looked for in corpora/.
        progress: called with the name of a stage and the share of it that is done.
        Raises CharrnnError where the weights are so large that the scores are not finite, or the corpus is missing.
        """
        encoded = self.encode(text, skip_unknown=skip_unknown)
        if not (dynamic or mix):
            result = score(self.network, encoded, progress=partial(progress, "score"))
        else:
            if dynamic:
                self._refuse_clamps()
            training = self._training_text(corpus)
            result = adaptive_score(self.network, encoded, training, dynamic=dynamic, mix=mix, progress=progress)
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
        progress: StageProgress = no_progress,
    ) -> list[Baseline]:
        """Return what an n-gram, PPMd, bzip2 and xz need for a text, given the training text.

        corpus, progress: as for `score`. Raises CharrnnError where the corpus is missing.
        """
        encoded = self.encode(text, skip_unknown=skip_unknown)
        return score_baselines(self._training_text(corpus), encoded, self.vocabulary, progress)

    def explain(
        self,
        text: TextLike = None,
        *,
        score: Score | None = None,
        corpus: str | None = None,
        language: str | None = None,
        progress: StageProgress = no_progress,
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
        return explain_score(scored, encoded, characters, training, self.vocabulary, progress)

    def compare(
        self,
        other: ReadingModel,
        text: TextLike = None,
        *,
        score: Score | None = None,
        language: str | None = None,
        progress: StageProgress = no_progress,
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

    def adapt(self, text: TextLike, *, skip_unknown: bool = False, progress: StageProgress = no_progress) -> Self:
        """Return a copy of the model whose weights have learned from a text, by the updates of dynamic evaluation.

        Gradients are normalized by those over the held-out text, or over the text itself where the run has none. The
        run stays as it is.
        progress: as for `score`. Raises CharrnnError where the text has nothing to predict.
        """
        self._refuse_clamps()
        title, encoded = self.read(text, skip_unknown=skip_unknown)
        if not encoded.predicted:
            raise CharrnnError(f"{title} is too short to learn from", "give a longer text")
        usual = self.run.held_out_text() if self.run.has_held_out_text else encoded
        dynamics = Dynamics(gradient_rms(self.network, usual))
        show = partial(progress, "adapting")
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
