"""A conversation between a person and a model, in which the state of the network is carried over."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from charrnn.errors import UsageError
from charrnn.model.network import CharRNN, State
from charrnn.sampling.generate import generate_states
from charrnn.sampling.novelty import TrainingIndex
from charrnn.sampling.registry import FilterChain, SampleContext
from charrnn.sampling.settings import SampleSettings
from charrnn.sampling.stops import Stops
from charrnn.text.documents import DocumentSeparator
from charrnn.text.normalization import normalized
from charrnn.text.turns import TurnFormat
from charrnn.text.vocabulary import Vocabulary

LONGEST_UNDO = 1000  # turns
LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True)
class _Turn:
    """A person's line (T,), and what was before it: the state, and the characters of the conversation."""

    line: np.ndarray
    state: State | None
    characters: int


class Conversation:
    """Answers lines, each from the state after the latest answer.

    An answer ends with the end of a turn, at a stop condition of the settings, or after their `length`. The next one
    reads the rest of the turn's end first. Answer number n since the seed was set is drawn from that seed + n, so the
    same lines get the same answers, and a line that is said again gets another one.

    settings: without `num`, `best_of`, `matching` and `suffix`. documents, index: as for `generate`. form: of the text
    that the network was trained on, as for `charrnn.text.normalization.normalized`.
    Raises CharrnnError where the vocabulary lacks a character of the turns or the settings.
    """

    def __init__(
        self,
        network: CharRNN,
        settings: SampleSettings,
        *,
        vocabulary: Vocabulary,
        turns: TurnFormat,
        documents: DocumentSeparator | None = None,
        index: TrainingIndex | None = None,
        form: str = "none",
    ):
        if settings.num > 1 or settings.best_of > 1 or settings.matching is not None or settings.suffix is not None:
            hint = "leave out `num`, `best_of`, `matching` and `suffix`"
            raise UsageError("a conversation has one text, whose turns end by themselves", hint)
        self._network, self._vocabulary, self._documents, self._index = network, vocabulary, documents, index
        self._form, self._composes = form, form == "jamo"
        self.settings, self.turns = self._checked(settings), turns
        self._you, self._reply, self._end = (
            vocabulary.encode(normalized(text, form), source=f"`{name}`", hint="the model cannot read it")
            for name, text in (("you", turns.you), ("reply", turns.reply), ("turn_end", turns.end))
        )
        self._ids = array("i")
        self._state: State | None = None
        self._turns: deque[_Turn] = deque(maxlen=LONGEST_UNDO)
        self._answers = 0

    @property
    def text(self) -> str | bytes:
        """All that has been read and generated; bytes from a vocabulary of bytes."""
        text = self._vocabulary.decode(np.array(self._ids))
        return normalized(text, "nfc") if self._composes and isinstance(text, str) else text

    @property
    def state(self) -> State | None:
        """The state of the network after the latest answer; None before the first line."""
        return self._state

    def change(self, **settings: Any) -> None:
        """Change settings for the answers to come. Raises CharrnnError where they cannot be applied."""
        self.settings = self._checked(self.settings.changed(**settings))
        if "seed" in settings:
            self._answers = 0

    def say(self, line: str) -> str:
        """Return the answer to a line. Raises CharrnnError as `answer` does."""
        text = self._vocabulary.text(list(self.answer(line)))
        return normalized(text, "nfc") if self._composes else text

    def answer(self, line: str | bytes | np.ndarray) -> Iterator[int]:
        """Read a line and yield the ids of the answer. An answer that is not consumed to its end stops there.

        line: text, or ids (T,). Raises CharrnnError where it has unknown characters, and as `generate` does.
        """
        if isinstance(line, np.ndarray):
            return self._answer(line)
        line = normalized(line, self._form) if isinstance(line, str) else line
        return self._answer(self._vocabulary.encode(line, source="the line"))

    def undo(self) -> np.ndarray | None:
        """Go back to before the latest line. Return its ids (T,), or None where no line is left."""
        if not self._turns:
            return None
        turn = self._turns.pop()
        self._state = turn.state
        del self._ids[turn.characters :]
        return turn.line

    def _answer(self, line: np.ndarray) -> Iterator[int]:
        read = np.concatenate([self._missing_end(), self._you, line, self._end, self._reply]).astype(np.int64)
        settings, turn = self._next_settings(), _Turn(line, self._state, len(self._ids))
        drawn = generate_states(
            self._network,
            settings,
            read if self._state is None else read[None],
            vocabulary=self._vocabulary,
            state=self._state,
            documents=self._documents,
            index=self._index,
            form=self._form,
            history=np.array(self._ids, np.int64),
        )
        for number, (ids, state) in enumerate(drawn):
            if number == 0:
                self._turns.append(turn)
                self._ids.extend(read.tolist())
            self._ids.append(int(ids[0]))
            self._state = state
            yield int(ids[0])

    def _checked(self, settings: SampleSettings) -> SampleSettings:
        """Return the normalized settings. Raises CharrnnError where they name a character that the vocabulary lacks."""
        settings = settings.normalized(self._form)
        nothing = np.empty((1, 0), np.int64)
        Stops(settings, self._vocabulary, nothing)
        FilterChain(SampleContext(settings, self._vocabulary, nothing, self._network.device))
        return settings

    def _next_settings(self) -> SampleSettings:
        """Return the settings of the next answer."""
        seed, stop = self.settings.seed, self.settings.stop
        if seed is not None:
            seed = (seed + self._answers) % (LARGEST_SEED + 1)
        self._answers += 1
        ends = (normalized(self.turns.end, self._form),) if self.turns.end else ()
        return self.settings.changed(seed=seed, stop=(*stop, *ends))

    def _missing_end(self) -> np.ndarray:
        """Return what the latest answer lacks of the end of a turn."""
        if not self._ids:
            return self._end[:0]
        for length in range(len(self._end), 0, -1):
            if self._ids[-length:].tolist() == self._end[:length].tolist():
                return self._end[length:]
        return self._end
