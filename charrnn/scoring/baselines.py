"""Other models of a text, given the same training text: an n-gram and common compressors.

A frozen model stays as the training text left it. An adaptive one also learns from each character after it is scored.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from charrnn.errors import CharrnnError
from charrnn.progress import FractionProgress, StageProgress, no_progress
from charrnn.scoring.compressors import COMPRESSORS, Compressor
from charrnn.scoring.ngram import ORDER, TRAINING_CHARACTERS, ngram_levels
from charrnn.scoring.score import Score
from charrnn.text.encoded_text import EncodedText
from charrnn.text.vocabulary import Vocabulary


@dataclass(frozen=True)
class Baseline:
    """The score of another model on the same text.

    frozen, adaptive: bits per character, None where the model has no such mode. seconds: learning the training text
    included. missing: why there is no score.
    """

    name: str
    about: str
    frozen: float | None
    adaptive: float | None
    seconds: float
    missing: str | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def given_part(training: EncodedText) -> EncodedText:
    """Return the part of a training text that baselines are given: the last `TRAINING_CHARACTERS`."""
    return training[max(0, len(training) - TRAINING_CHARACTERS) :]


def score_baselines(
    training: EncodedText, text: EncodedText, vocabulary: Vocabulary, progress: StageProgress = no_progress
) -> list[Baseline]:
    """Return the score of every baseline on a text, given the end of a training text.

    The n-gram scores the characters that the network scores. Compressors code all of them, as bytes of UTF-8; their
    bits are divided by the number of characters.
    """
    training = given_part(training)
    started = time.perf_counter()
    modes = ngram_levels(training, text, len(vocabulary), (False, True), progress=partial(progress, "n-gram"))
    frozen, adaptive = (Score(-np.log(levels[-1])).bits_per_character for levels in modes)
    seconds = time.perf_counter() - started
    ngram = Baseline("n-gram", f"contexts of up to {ORDER} characters", frozen, adaptive, seconds)
    before, after = _stored(training, vocabulary), _stored(text, vocabulary)
    return [ngram, *(_compressed(each, before, after, len(text), partial(progress, each.name)) for each in COMPRESSORS)]


def _compressed(
    compressor: Compressor, training: bytes, text: bytes, characters: int, progress: FractionProgress
) -> Baseline:
    started = time.perf_counter()
    try:
        found = compressor.bits_after(training, text, progress) / characters
    except CharrnnError as error:  # its package is not installed
        return Baseline(compressor.name, compressor.about, None, None, 0.0, error.hint or error.message)
    return Baseline(compressor.name, compressor.about, None, found, time.perf_counter() - started)


def _stored(text: EncodedText, vocabulary: Vocabulary) -> bytes:
    decoded = vocabulary.decode(text.ids)
    return decoded if isinstance(decoded, bytes) else decoded.encode("utf-8")
