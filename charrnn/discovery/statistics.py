"""Rank correlations of cells with properties.

For labels y and scaled ranks u of a cell's values (see `ranks`) let W = Σ_t (y_t − mean of y in t's stratum)². Then

    binary y    2·AUC − 1 = 2 Σ y_t u_t / W         AUC within strata, weighted n₁ᵥn₀ᵥ/n_v (van Elteren 1960)
    graded y    ρ = Σ r_t u_t / √(W · Σ u_t²)       r: ranks of y, scaled as u is; W that of r. Spearman's ρ for one
                                                    stratum. Σ u_t² over the strata in which y is not constant

Both are called *rank correlation* here: −1 to 1, 0 by chance, AUC = (1 + rank correlation)/2. (For binary y it is the
rank-biserial correlation.) It is linear in the labels. The scores of all cells for all properties, permuted labels and
pseudo-labels are therefore matrix products.

Graded labels that are permuted keep their ranks over all positions, because ranks within strata would have to be
computed again for each permutation. Scores compared with such a baseline are measured the same way
(`permutable_rank_correlation`).

Shapes: N positions, U columns (one signal of one cell each), P properties, V strata.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch

from charrnn.discovery.ranks import Labels, Ranked, Strata, in_order

Number = TypeVar("Number", float, np.ndarray)


def within_squares(numbers: np.ndarray, strata: Strata) -> np.ndarray:
    """Return W: the sum of squares of labels (P, N), float32, about each stratum's mean, (P, V)."""
    squares, sums = (strata.sums(rows).astype(np.float64) for rows in (np.square(numbers), numbers))
    within = squares - sums**2 / strata.sizes
    return np.where(within > 1e-6 * squares, within, 0)


def rank_correlation(cells: Ranked, labels: Labels) -> np.ndarray:
    """Return rank correlations of properties and columns, (P, U); 0 of a property constant in all strata."""
    spreads = within_squares(labels.numbers, cells.strata)
    squares = (spreads > 0).astype(np.float64) @ cells.squares.T
    return _normalized(_products(cells, labels), spreads.sum(axis=1), squares, labels.graded)


def permutable_rank_correlation(cells: Ranked, labels: Labels) -> np.ndarray:
    """Return rank correlations (P, U) as the permutation baselines measure them, with Σ u² over all strata."""
    spreads = within_squares(labels.numbers, cells.strata).sum(axis=1)
    squares = np.tile(cells.squares.sum(axis=1), (len(spreads), 1))
    return _normalized(_products(cells, labels), spreads, squares, labels.graded)


def _products(cells: Ranked, labels: Labels) -> np.ndarray:
    products: np.ndarray = (torch.from_numpy(labels.numbers) @ torch.from_numpy(cells.ranks).T).double().numpy()
    return products


def _normalized(products: np.ndarray, spreads: np.ndarray, squares: np.ndarray, graded: np.ndarray) -> np.ndarray:
    """Normalize Σ y u, (P, U). spreads: W, (P,). squares: Σ u², (P, U). graded: (P,)."""
    scale = np.where(graded[:, None], np.sqrt(spreads[:, None] * squares), spreads[:, None] / 2)
    return ratio(products, scale, valid=scale > 1e-6)


def ratio(numerator: np.ndarray, denominator: np.ndarray, *, valid: np.ndarray, otherwise: float = 0.0) -> np.ndarray:
    """Divide element by element where `valid`, and return `otherwise` elsewhere."""
    quotient: np.ndarray = np.divide(numerator, denominator, out=np.full(numerator.shape, otherwise), where=valid)
    return quotient


def auc(rank_correlation: Number) -> Number:
    """Convert the rank correlation with a binary property to the area under the ROC curve."""
    return (1 + rank_correlation) / 2


def pearson(x: np.ndarray, y: np.ndarray) -> float:
    """Return Pearson's correlation of values (N,); 0 where one is constant."""
    x, y = x - x.mean(), y - y.mean()
    scale = np.sqrt((x.astype(np.float64) ** 2).sum() * (y**2).sum())
    return float(y @ x / scale) if scale > 0 else 0.0


def best_threshold(column: np.ndarray, labels: np.ndarray) -> float:
    """Return the threshold on a column (N,) with the best balanced accuracy for labels (N,).

    It lies halfway between two values of the column, which is expected to be larger where the label is true.
    """
    order = in_order(column)[1]
    truth, ordered = labels[order], column[order].astype(np.float64)
    ends = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(order) - 1)
    below = np.cumsum(truth)[ends] / max(truth.sum(), 1)
    rejected = np.cumsum(~truth)[ends] / max((~truth).sum(), 1)
    best = ends[np.argmax((1 - below + rejected) / 2)]
    return float(ordered[best] + ordered[min(best + 1, len(ordered) - 1)]) / 2


def balanced_accuracy(column: np.ndarray, labels: np.ndarray, threshold: float) -> float:
    """Return the balanced accuracy of `column > threshold` for labels (N,)."""
    above = column > threshold
    return float((above[labels].mean() + (~above[~labels]).mean()) / 2)
