"""Stop conditions: what ends a text before its length is reached.

Shapes: N streams, P characters of the prime.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from charrnn.errors import CharrnnError, UsageError
from charrnn.sampling.settings import SampleSettings
from charrnn.text.normalization import normalized
from charrnn.text.patterns import Pattern, PatternError, PatternTimeoutError
from charrnn.text.vocabulary import Vocabulary

STOPPED = -1  # the id of a stream whose text has ended
SEARCHED = 1000  # characters in which `stop_regex` finds a match
PRIME_SEARCHED = 10_000  # characters of the prime in which `until_balanced` finds what is open
BRACKETS = {"(": ")", "[": "]", "{": "}", "“": "”", "«": "»"}
QUOTE, ESCAPE = '"', "\\"


class _Condition(Protocol):
    def update(self, drawn: np.ndarray) -> np.ndarray:
        """Take in the drawn ids (N,), `STOPPED` for none. Return which streams meet the condition, (N,) bool."""


class Stops:
    """Ends the text of a stream after it has met one of the conditions of the settings.

    prime: ids (N, P). form: of the training text, as for `generate`.
    Raises CharrnnError where a condition cannot be met by the vocabulary.
    """

    def __init__(self, settings: SampleSettings, vocabulary: Vocabulary, prime: np.ndarray, *, form: str = "none"):
        streams = len(prime)
        self._conditions: list[_Condition] = []
        if settings.stop:
            self._conditions.append(_Texts([_stop_ids(text, vocabulary) for text in settings.stop], streams))
        if settings.lines is not None:
            self._conditions.append(_Lines(settings.lines, vocabulary, streams))
        if settings.until_balanced:
            self._conditions.append(_Balanced(vocabulary, prime))
        self._conditions += [_Regex(expression, vocabulary, streams, form) for expression in settings.stop_regex]
        self._stopped = np.zeros(streams, bool)
        self.all_stopped = False

    def update(self, drawn: np.ndarray) -> None:
        """Take in the drawn ids (N,). Those of texts that ended earlier become `STOPPED`."""
        if not self._conditions:
            return
        drawn[self._stopped] = STOPPED
        for condition in self._conditions:
            self._stopped |= condition.update(drawn)
        self.all_stopped = bool(self._stopped.all())


def is_stopped(
    ids: np.ndarray, settings: SampleSettings, vocabulary: Vocabulary, prime: np.ndarray, *, form: str = "none"
) -> bool:
    """Return whether a condition ends a text of ids (T,) after the prime (P,). form: as for `generate`."""
    stops = Stops(settings, vocabulary, prime[None], form=form)
    for one in ids.astype(np.int64):
        stops.update(np.array([one]))
    return stops.all_stopped


class _Texts:
    """Met by one of several texts, each as ids."""

    def __init__(self, texts: list[np.ndarray], streams: int):
        self._texts = texts
        self._latest = np.full((streams, max(map(len, texts))), STOPPED)

    def update(self, drawn: np.ndarray) -> np.ndarray:
        self._latest[:, :-1] = self._latest[:, 1:]
        self._latest[:, -1] = drawn
        met = np.zeros(len(drawn), bool)
        for ids in self._texts:
            met |= (self._latest[:, -len(ids) :] == ids).all(axis=1)
        return met


class _Lines:
    """Met by a number of newlines."""

    def __init__(self, number: int, vocabulary: Vocabulary, streams: int):
        newline = vocabulary.encode("\n", skip_unknown=True)
        if not len(newline):
            raise CharrnnError("the model knows no newline, so `lines` cannot end a text", "use `stop`")
        self._number, self._newline = number, int(newline[0])
        self._generated = np.zeros(streams, np.int64)

    def update(self, drawn: np.ndarray) -> np.ndarray:
        self._generated += drawn == self._newline
        return self._generated >= self._number


class _Regex:
    """Met by a match, not an empty one, in the last `SEARCHED` characters."""

    def __init__(self, expression: str, vocabulary: Vocabulary, streams: int, form: str):
        try:
            self._pattern = Pattern(expression if form == "none" else normalized(expression, "nfc"))
        except PatternError as error:
            raise UsageError(f"`stop_regex` {expression!r} is not a regular expression ({error})") from None
        self._texts = [""] * streams
        self._vocabulary, self._form = vocabulary, "nfc" if form in ("nfd", "jamo") else "none"

    def update(self, drawn: np.ndarray) -> np.ndarray:
        return np.array([self._is_met(stream, one) for stream, one in enumerate(drawn.tolist())])

    def _is_met(self, stream: int, drawn: int) -> bool:
        if drawn == STOPPED:
            return False
        # One character more than is searched tells whether a line starts there.
        text = self._texts[stream] + self._vocabulary.text([drawn])
        text = self._texts[stream] = normalized(text, self._form)[-SEARCHED - 1 :]
        try:
            spans = self._pattern.spans(text, max(0, len(text) - SEARCHED))
        except PatternTimeoutError as error:
            raise UsageError(f"`stop_regex`: {error.message}", error.hint) from None
        return bool((spans[:, 0] < spans[:, 1]).any())


class _Balanced:
    """Met when the last open bracket or quote is closed.

    Inside straight quotes brackets do not count, and a backslash escapes the next character. Single quotes never
    count, because apostrophes look the same. A bracket that closes another one than the last closes those in between.
    """

    def __init__(self, vocabulary: Vocabulary, prime: np.ndarray):
        symbols = [vocabulary.text([one]) for one in range(len(vocabulary))]
        counted = {*BRACKETS, *BRACKETS.values(), QUOTE, ESCAPE}
        self._counted = {one: symbol for one, symbol in enumerate(symbols) if symbol in counted}
        if not self._counted:
            raise CharrnnError("the model knows no brackets or double quotes for `until_balanced`", "use `stop`")
        self._open: list[list[str]] = [[] for _ in prime]
        self._escaped = [False] * len(prime)
        for column in prime.T[-PRIME_SEARCHED:]:
            self.update(column)

    def update(self, drawn: np.ndarray) -> np.ndarray:
        return np.array([self._is_met(stream, one) for stream, one in enumerate(drawn.tolist())])

    def _is_met(self, stream: int, drawn: int) -> bool:
        closers = self._open[stream]
        symbol, was_escaped = self._counted.get(drawn), self._escaped[stream]
        self._escaped[stream] = False
        if symbol is None or was_escaped:
            return False
        if closers and closers[-1] == QUOTE and symbol != QUOTE:
            self._escaped[stream] = symbol == ESCAPE
        elif symbol in closers:  # a straight quote closes the one that is open
            del closers[len(closers) - 1 - closers[::-1].index(symbol) :]
            return not closers
        elif symbol == QUOTE or symbol in BRACKETS:
            closers.append(BRACKETS.get(symbol, QUOTE))
        return False


def _stop_ids(text: str, vocabulary: Vocabulary) -> np.ndarray:
    if not text:
        raise CharrnnError("the stop text is empty", "give it at least one character")
    hint = "the model cannot generate it; choose another stop text"
    return vocabulary.encode(text, source="the stop text", hint=hint).astype(np.int64)
