"""Unique R²: how much of a cell's variance a property explains that its confounds do not.

Each cell is regressed (ridge) on all properties and on the last two characters. A property's unique R² is what it adds
to R² as the last regressor. It is fitted on one half of the text and measured on the other. One normal
equation serves all cells.

Shapes: N positions, D features, P properties, U columns (one signal of one cell each).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from charrnn.discovery.ranks import Strata, scaled_ranks
from charrnn.discovery.statistics import ratio

RIDGE = 1e-3
"""The penalty, as a share of a standardized feature's sum of squares."""
MAX_CHARACTERS = 100
COLUMNS_AT_A_TIME = 256


@dataclass(frozen=True)
class Design:
    """Regression features.

    features: (N, D) float32, centered, in units of `deviation`, (D,). columns: those of each property. characters: the
    ids that have a feature as the current and as the previous character.
    """

    features: np.ndarray
    deviation: np.ndarray
    columns: list[range]
    characters: tuple[np.ndarray, np.ndarray]

    @classmethod
    def of(
        cls, values: Sequence[np.ndarray], ids: np.ndarray, before: np.ndarray, like: Design | None = None
    ) -> Design:
        """Make features of properties, (N,) each, and of the current and previous ids, (N,) each.

        Graded properties enter as values and as ranks; of the ids the hundred most frequent enter. like: a design whose
        characters and units are used.
        """
        parts: list[np.ndarray] = []
        columns: list[range] = []
        single = Strata.single(len(ids))
        for one in values:
            own = [one] if one.dtype == bool else [one, scaled_ranks(one, single)]
            columns.append(range(len(parts), len(parts) + len(own)))
            parts += own
        characters = (_most_frequent(ids), _most_frequent(before)) if like is None else like.characters
        for shown, chosen in zip((ids, before), characters, strict=True):
            parts += [shown == one for one in chosen]
        features = np.stack([part.astype(np.float32) for part in parts], axis=1)
        features -= features.mean(axis=0)
        deviation = features.std(axis=0) if like is None else like.deviation
        return cls(features / np.where(deviation > 0, deviation, 1), deviation, columns, characters)


def _most_frequent(ids: np.ndarray) -> np.ndarray:
    found, counts = np.unique(ids, return_counts=True)
    return np.sort(found[np.argsort(-counts, kind="stable")][:MAX_CHARACTERS])


@dataclass(frozen=True)
class Moments:
    """What a regression needs of the cells: products with features (D, U), and sums of squares about the mean (U,)."""

    products: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, design: Design, *cells: np.ndarray) -> Moments:
        """Sum products of features with arrays of columns (N, …), side by side, in double precision."""
        features = torch.from_numpy(design.features).double().T
        products, squares = [], []
        for values in cells:
            for first in range(0, values.shape[1], COLUMNS_AT_A_TIME):
                part = torch.from_numpy(values[:, first : first + COLUMNS_AT_A_TIME]).double()
                part -= part.mean(dim=0)
                products.append(features @ part)
                squares.append(part.square().sum(dim=0))
        return cls(torch.cat(products, dim=1).numpy(), torch.cat(squares).numpy())


def unique_r_squared(halves: Sequence[tuple[Design, Moments]], families: Sequence[str | None]) -> np.ndarray:
    """Return the unique R² of each property, fitted on the first half and measured on each, (halves, P, U).

    families: of each property. Properties of the same family contain one another and are not used as confounds.
    """
    select, fitted = halves[0]
    grams = [_gram(design) for design, _ in halves]
    penalized = grams[0] + RIDGE * len(select.features) * np.eye(len(grams[0]))
    number = len(penalized)

    @cache
    def r_squared(features: tuple[int, ...]) -> np.ndarray:
        """Return R², (halves, U), of a regression on these features."""
        square, rows = np.ix_(features, features), list(features)
        weights = np.linalg.solve(penalized[square], fitted.products[rows])
        found = []
        for gram, (_, cells) in zip(grams, halves, strict=True):
            explained = (weights * (2 * cells.products[rows] - gram[square] @ weights)).sum(axis=0)
            found.append(ratio(explained, cells.squares, valid=cells.squares > 0))
        return np.stack(found)

    unique = np.empty((len(halves), len(families), len(fitted.squares)))
    for k, family in enumerate(families):
        own = set(select.columns[k])
        relatives = [other for other, name in enumerate(families) if family is not None and name == family]
        dropped = own.union(*(select.columns[other] for other in relatives))
        with_it = tuple(feature for feature in range(number) if feature in own or feature not in dropped)
        without = tuple(feature for feature in range(number) if feature not in dropped)
        unique[:, k] = r_squared(with_it) - r_squared(without)
    return unique


def _gram(design: Design) -> np.ndarray:
    features = torch.from_numpy(design.features)
    return (features.T @ features).double().numpy()
