"""Unique R²: how much of a cell's variance a property explains that its confounds do not.

Each cell is regressed (ridge) on all properties and on the last two characters. A property's unique R² is what it adds
to R² as the last regressor, fitted on one half of the text and measured on the other. One normal equation serves all
cells.

Shapes: N positions, D features, P properties, U columns (one signal of one cell each).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from charrnn.discovery.statistics import ratio, scaled_ranks

RIDGE = 1e-3
"""The penalty, as a share of a standardized feature's sum of squares."""
MAX_CHARACTERS = 100


@dataclass(frozen=True)
class Design:
    """Regression features.

    features: (N, D) float32, centered, in units of `deviation`, (D,). columns: those of each property. characters: the
    ids that have a feature as the current and as the previous character.
    """

    features: np.ndarray
    deviation: np.ndarray
    columns: list[slice]
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
        columns: list[slice] = []
        for one in values:
            own = [one] if one.dtype == bool else [one, scaled_ranks(one)]
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
    return np.sort(found[np.argsort(-counts, kind="stable")][:MAX_CHARACTERS])


@dataclass(frozen=True)
class Moments:
    """What a regression needs of the cells: products with features (D, U), and sums of squares about the mean (U,)."""

    products: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, design: Design, cells: np.ndarray) -> Moments:
        centered = cells - cells.mean(axis=0)
        products = torch.from_numpy(design.features).T @ torch.from_numpy(np.ascontiguousarray(centered))
        return cls(products.double().numpy(), np.einsum("nu,nu->u", centered, centered, dtype=np.float64))

    @classmethod
    def joined(cls, parts: Sequence[Moments]) -> Moments:
        """Concatenate the moments of groups of cells."""
        return cls(np.concatenate([p.products for p in parts], axis=1), np.concatenate([p.squares for p in parts]))


def unique_shares(
    fitted: Design, fitted_cells: Moments, judged: Design, judged_cells: Moments, families: Sequence[str | None]
) -> np.ndarray:
    """Return the unique R² of each property, (P, U).

    families: of each property. Properties of the same family contain one another and are not used as confounds.
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


def _all_but(number: int, skipped: Sequence[slice]) -> np.ndarray:
    kept = np.ones(number, bool)
    for columns in skipped:
        kept[columns] = False
    return np.flatnonzero(kept)


def _explained(fit: np.ndarray, fitted: Moments, judge: np.ndarray, judged: Moments, chosen: np.ndarray) -> np.ndarray:
    """Return R² on the second half, (U,), of a regression on the chosen features, fitted on the first half."""
    weights = np.linalg.solve(fit[np.ix_(chosen, chosen)], fitted.products[chosen])
    gained = 2 * (weights * judged.products[chosen]).sum(axis=0)
    spent = (weights * (judge[np.ix_(chosen, chosen)] @ weights)).sum(axis=0)
    return ratio(gained - spent, judged.squares, valid=judged.squares > 0)
