"""Gumbel noise, with which an argmax is a draw from a softmax."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

CHARACTERS_AT_ONCE = 256
NUMBERS_AT_ONCE = 1 << 20


class GumbelNoise:
    """Standard Gumbel noise (N, V), one array for each character.

    argmax(logits + noise) is a draw from softmax(logits) (Gumbel 1954; Maddison et al. 2014, arXiv 1411.0030). Noise
    belongs to a character of the vocabulary, so small changes of the logits change few draws.
    generators: one for each stream, on the CPU, so a stream's draws do not depend on the device or on other streams.
    characters, numbers: upper bounds of what is drawn at once; they do not change the noise.
    """

    def __init__(
        self,
        generators: Sequence[np.random.Generator],
        vocabulary_size: int,
        device: torch.device,
        *,
        characters: int = CHARACTERS_AT_ONCE,
        numbers: int = NUMBERS_AT_ONCE,
    ):
        self._generators, self._vocabulary_size, self._device = generators, vocabulary_size, device
        self._at_once = max(1, min(characters, numbers // (len(generators) * vocabulary_size)))
        self._drawn: Iterator[Tensor] = iter(())

    def next(self, remaining: int) -> Tensor:
        """Return the noise (N, V) of the next character. remaining: upper bound of the characters to come."""
        noise = next(self._drawn, None)
        if noise is None:
            self._drawn = iter(self._draw(min(self._at_once, remaining)).unbind())
            noise = next(self._drawn)
        return noise

    def _draw(self, characters: int) -> Tensor:
        noise = np.empty((characters, len(self._generators), self._vocabulary_size), np.float32)
        for stream, generator in enumerate(self._generators):
            noise[:, stream] = generator.standard_exponential((characters, self._vocabulary_size))
        np.maximum(noise, np.finfo(np.float32).tiny, out=noise)  # the logarithm of zero is infinite
        np.log(noise, out=noise)
        return torch.from_numpy(np.negative(noise, out=noise)).to(self._device)
