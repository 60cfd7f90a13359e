"""Predict a property, or the next character, from the last few characters alone: the baseline for a cell.

P_k(y | last k characters) is interpolated with P_{k−1}: (Σ y + P_{k−1}) / (n + 1) over the n positions of the training
text with the same last k characters. So an unseen context falls back on a shorter one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

LONGEST = 8


class _Order(NamedTuple):
    """The context of one length at each position of the training text (M,) and of the test text (N,), as numbers.

    counts: how often the context of each test position occurs in the training text, (N,).
    """

    train: np.ndarray
    test: np.ndarray
    contexts: int
    counts: np.ndarray


class Contexts:
    """The last 1…K characters at every position of two texts. train: (M,) and test: (N,), ids."""

    def __init__(self, train: np.ndarray, test: np.ndarray, longest: int = LONGEST):
        self._train_length = len(train)
        separators = np.full(longest, -1, np.int64)  # no context crosses from one text to the other
        both = np.concatenate([train.astype(np.int64), separators, test.astype(np.int64)])
        _, current = np.unique(both, return_inverse=True)
        symbols = int(current.max()) + 1
        self._orders: list[_Order] = []
        context = current.astype(np.int64)
        for length in range(1, longest + 1):
            if length > 1:
                earlier = np.concatenate([np.zeros(length - 1, np.int64), current[: 1 - length]])
                _, context = np.unique(context * symbols + earlier, return_inverse=True)
            after = len(train) + longest
            known, asked, contexts = context[: len(train)], context[after:], int(context.max()) + 1
            self._orders.append(_Order(known, asked, contexts, np.bincount(known, minlength=contexts)[asked]))

    def expectations(self, values: np.ndarray) -> Iterator[np.ndarray]:
        """Yield for each k the expected value (N,), float64, of a property with these values (M,) in training."""
        values = values.astype(np.float64)
        expected = np.full(len(self._orders[0].test), values.mean())
        for train, test, contexts, counts in self._orders:
            total = np.bincount(train, values, minlength=contexts)[test]
            expected = (total + expected) / (counts + 1)
            yield expected

    def nats(self) -> Iterator[float]:
        """Yield for each k < K the cross-entropy of the test text given the last k characters, in nats per character.

        Interpolated by the number of different successors (Witten & Bell 1991, method C).
        """
        unigrams = self._orders[0]
        counts = np.bincount(unigrams.train, minlength=unigrams.contexts)[unigrams.test[1:]]
        probability = (counts + 1) / (self._train_length + unigrams.contexts)
        for order, longer in itertools.pairwise(self._orders):
            _, first = np.unique(longer.train[1:], return_index=True)
            successors = np.bincount(order.train[first], minlength=order.contexts)[order.test[:-1]]
            count = np.bincount(order.train[:-1], minlength=order.contexts)[order.test[:-1]]
            together = np.bincount(longer.train[1:], minlength=longer.contexts)[longer.test[1:]]
            mixed = (together + successors * probability) / np.maximum(count + successors, 1)
            probability = np.where(count > 0, mixed, probability)
            yield -float(np.log(probability).mean())
