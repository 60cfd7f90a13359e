"""Which of several properties that go together a cell really follows.

Each cell is regressed (ridge) on all properties and on the last two characters at once. Fitted on one half of the text,
judged on the other: what a property adds to R² when it is the last to come in is its own, unique share. One normal
equation serves all cells.

Shapes: N positions, D features, U cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from charrnn.discovery.statistics import scaled

RIDGE = 1e-3
"""The penalty, as a share of a standardised feature's own sum of squares."""
MOST_CHARACTERS = 100


@dataclass(frozen=True)
class Design:
    """Features (N, D), float32, about their mean, in units of `deviation` (D,); the columns that belong to each
    property; and the characters that have a column, at a position and before it."""

    features: np.ndarray
    deviation: np.ndarray
    columns: list[slice]
    characters: tuple[np.ndarray, np.ndarray]

    @classmethod
    def of(
        cls, values: Sequence[np.ndarray], ids: np.ndarray, before: np.ndarray, like: Design | None = None
    ) -> Design:
        """Of properties (N,) each, graded ones as they are and as ranks, and of the characters (N,) at a position and
        before it, the most frequent hundred each. like: the design whose characters and units to take over."""
        parts, columns = [], []
        for one in values:
            own = [one] if one.dtype == bool else [one, scaled(one)]
            columns.append(slice(len(parts), len(parts) + len(own)))
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
    return np.sort(found[np.argsort(-counts, kind="stable")][:MOST_CHARACTERS])


@dataclass(frozen=True)
class Moments:
    """What of cells a regression needs: products with features (D, U) and sums of squares (U,), about the mean."""

    products: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, design: Design, cells: np.ndarray) -> Moments:
        centerd = cells - cells.mean(axis=0)
        products = torch.from_numpy(design.features).T @ torch.from_numpy(np.ascontiguousarray(centerd))
        return cls(products.double().numpy(), np.einsum("nu,nu->u", centerd, centerd, dtype=np.float64))

    @classmethod
    def joined(cls, parts: Sequence[Moments]) -> Moments:
        """Of all cells, from those of some each."""
        return cls(np.concatenate([p.products for p in parts], axis=1), np.concatenate([p.squares for p in parts]))


def unique_shares(
    fitted: Design, fitted_cells: Moments, judged: Design, judged_cells: Moments, families: Sequence[str | None]
) -> np.ndarray:
    """What each property adds to R² (P, U) of each cell, beyond the characters and the properties of other families.

    families: of each property; those of one family, which contain one another, are not held against each other.
    """
    fit, judge = _gram(fitted), _gram(judged)
    fit[np.diag_indices_from(fit)] += RIDGE * len(fitted.features)
    shares = np.empty((len(families), judged_cells.products.shape[1]))
    explained: dict[tuple[int, ...], np.ndarray] = {}
    for place, family in enumerate(families):
        same_family = [k for k, other in enumerate(families) if k == place or (family is not None and other == family)]
        without = _all_but(len(fit), [fitted.columns[k] for k in same_family])
        among = np.sort(np.concatenate([without, np.arange(len(fit))[fitted.columns[place]]]))
        found = []
        for chosen in (among, without):
            key = tuple(chosen.tolist())
            if key not in explained:
                explained[key] = _explained(fit, fitted_cells, judge, judged_cells, chosen)
            found.append(explained[key])
        shares[place] = found[0] - found[1]
    return shares


def _gram(design: Design) -> np.ndarray:
    features = torch.from_numpy(design.features)
    return (features.T @ features).double().numpy()


def _all_but(number: int, skipped_step: Sequence[slice]) -> np.ndarray:
    kept = np.ones(number, bool)
    for columns in skipped_step:
        kept[columns] = False
    return np.flatnonzero(kept)


def _explained(fit: np.ndarray, fitted: Moments, judge: np.ndarray, judged: Moments, chosen: np.ndarray) -> np.ndarray:
    """R² (U,) on the judging half of a regression on some features (their places), fitted on the other half."""
    weights = np.linalg.solve(fit[np.ix_(chosen, chosen)], fitted.products[chosen])
    gained = 2 * (weights * judged.products[chosen]).sum(axis=0)
    spent = (weights * (judge[np.ix_(chosen, chosen)] @ weights)).sum(axis=0)
    return np.divide(gained - spent, judged.squares, out=np.zeros(len(judged.squares)), where=judged.squares > 0)
