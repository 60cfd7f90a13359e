"""What the last few characters alone tell: of any property, and of the next character.

Of a property P_k(y | last k characters) for k = 1…K, each interpolated with the one below it: (Σ y + P_{k−1}) / (n + 1)
over the n places of the training text with the same last k characters, so that a context never seen falls back on a
shorter one. It is the rival that a cell has to beat.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

LONGEST = 8


class Contexts:
    """The last 1…K characters before every position of two texts, as numbers that are equal where those are.

    train (M,), test (N,): ids of the text that expectations are fitted on, and of the one they are wanted for.
    """

    def __init__(self, train: np.ndarray, test: np.ndarray, longest: int = LONGEST):
        self._cut = len(train)
        separate = np.full(longest, -1, np.int64)  # no context reaches back over the texts' beginnings
        joined = np.concatenate([train.astype(np.int64), separate, test.astype(np.int64)])
        _, current = np.unique(joined, return_inverse=True)
        symbols = int(current.max()) + 1
        self._contexts, context = [], current.astype(np.int64)
        for length in range(1, longest + 1):
            if length > 1:
                earlier = np.concatenate([np.zeros(length - 1, np.int64), current[: 1 - length]])
                _, context = np.unique(context * symbols + earlier, return_inverse=True)
            self._contexts.append((context[: self._cut], context[self._cut + longest :], int(context.max()) + 1))

    def expectations(self, values: np.ndarray) -> Iterator[np.ndarray]:
        """For each k in turn the expected value (N,), float64, of a property with these values (M,) in training."""
        values = values.astype(np.float64)
        expected: np.ndarray | float = values.mean()
        for train, test, number in self._contexts:
            count = np.bincount(train, minlength=number)[test]
            total = np.bincount(train, values, minlength=number)[test]
            expected = (total + expected) / (count + 1)
            yield expected

    def nats(self) -> Iterator[float]:
        """For k = 1…K − 1 in turn what a character of the test text costs after its last k, in nats: interpolated by
        how many different ones have followed (Witten & Bell 1991, method C)."""
        joined, symbols = self._contexts[0], self._contexts[0][2]
        probability = (np.bincount(joined[0], minlength=symbols)[joined[1][1:]] + 1) / (self._cut + symbols)
        for (train, test, number), (longer, longer_test, longer_number) in itertools.pairwise(self._contexts):
            _, first = np.unique(longer[1:], return_index=True)
            followers = np.bincount(train[first], minlength=number)[test[:-1]]
            count = np.bincount(train[:-1], minlength=number)[test[:-1]]
            together = np.bincount(longer[1:], minlength=longer_number)[longer_test[1:]]
            seen = count > 0
            mixed = (together + followers * probability) / np.maximum(count + followers, 1)
            probability = np.where(seen, mixed, probability)
            yield -float(np.log(probability).mean())
