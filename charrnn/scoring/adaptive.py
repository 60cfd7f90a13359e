"""Scores that adapt to the text while it is read: dynamic evaluation, and a mixture with an adaptive n-gram."""

from __future__ import annotations

from functools import partial

from charrnn.model.network import CharRNN
from charrnn.progress import StageProgress
from charrnn.scoring.dynamic import choose_dynamics, dynamic_score
from charrnn.scoring.ngram import mixed_score, ngram_score
from charrnn.scoring.score import Score, score
from charrnn.text.encoded_text import EncodedText


def adaptive_score(
    network: CharRNN, text: EncodedText, training: EncodedText, *, dynamic: bool, mix: bool, progress: StageProgress
) -> Score:
    """Score a text while weights, an n-gram, or both learn from it.

    training: the text that the network was trained on. dynamic, mix: as for `Model.score`. progress: called with the
    name of a stage and the share of it that is done.
    """
    if dynamic:
        dynamics = choose_dynamics(network, training, partial(progress, "choosing the rate"))
        result = dynamic_score(network, text, dynamics, partial(progress, "dynamic score"))
    else:
        result = score(network, text, progress=partial(progress, "score"))
    if not mix:
        return result
    size = network.vocabulary_size
    ngram = ngram_score(training, text, size, adaptive=True, progress=partial(progress, "n-gram"))
    return mixed_score(result, ngram)
