"""How opaque each pixel of a band is: closed-form matting.

A. Levin, D. Lischinski, Y. Weiss, "A Closed-Form Solution to Natural Image Matting" (PAMI 2008). Within any 3x3 window
the opacity is taken to be a linear function of the colour; what is left of it after the best such function in every
window is a quadratic form with the matting Laplacian (equation 12), which the known pixels around the band then settle.

pymatting offers the same, but its import costs 13 seconds of CPU (numba), and its matrix 1.3 kB for every pixel of a
picture, in the band or not. Here only the band has rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy import sparse

_EPSILON = 1e-5
"""What keeps a window of one colour from being fitted exactly (the paper's epsilon, for colours in [0, 1])."""

_PRIOR = 3e-4
"""How much the given first guess counts. It decides where colours say nothing, and is too weak to hide a hair."""

_ITERATIONS = 400
_TOLERANCE = 1e-4

_WINDOW = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]


def solve(
    colors: NDArray[np.float64], guess: NDArray[np.float64], unknown: NDArray[np.bool_], prior: float = _PRIOR
) -> NDArray[np.float64]:
    """Opacities float64 [n] in [0, 1] of the n unknown pixels, in the order of `np.flatnonzero(unknown)`.

    colors:  float64 [h, w, 3] in [0, 1]. guess: float64 [h, w] in [0, 1], exact where `unknown` (bool [h, w]) is
    False. Conjugate gradients with a Jacobi preconditioner; all sums are numpy's, so that the number of threads
    changes nothing.
    """
    from scipy import sparse

    at = np.flatnonzero(unknown)
    if not at.size or min(unknown.shape) < 3:
        return guess.ravel()[at]
    weights, diagonal = _laplacian(colors, unknown)
    width = unknown.shape[1]
    rank = np.full(unknown.size, -1, dtype=np.int32)
    rank[at] = np.arange(at.size, dtype=np.int32)
    start = guess.ravel()[at]
    right = prior * start
    columns = np.full((at.size, weights.shape[1]), -1, dtype=np.int32)
    for k in range(weights.shape[1]):
        dy, dx = divmod(k, 5)
        there = at + (dy - 2) * width + (dx - 2)
        used = weights[:, k] != 0
        place = np.where(used, there, at)
        columns[:, k] = np.where(used, rank[place], -1)
        known = used & (columns[:, k] < 0)
        right[known] -= weights[known, k] * guess.ravel()[place[known]]
    kept = columns >= 0
    lengths = np.concatenate([[0], np.cumsum(kept.sum(1))]).astype(np.int32)
    matrix = sparse.csr_matrix((weights[kept], columns[kept], lengths), shape=(at.size, at.size))
    matrix = matrix + sparse.diags_array(np.full(at.size, prior), format="csr")
    found = _conjugate_gradients(matrix, right, start, 1 / (diagonal + prior))
    return np.clip(found, 0, 1)


def _laplacian(
    colors: NDArray[np.float64], unknown: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The rows of the matting Laplacian for unknown pixels: float64 [n, 25] by 5x5 neighbour, and its diagonal [n]."""
    height, width = unknown.shape
    near = np.zeros((height, width), dtype=bool)
    for dy, dx in _WINDOW:  # centres of the windows that hold an unknown pixel
        near[1:-1, 1:-1] |= unknown[1 + dy : height - 1 + dy, 1 + dx : width - 1 + dx]
    rank = np.full(unknown.size, -1, dtype=np.int32)
    at = np.flatnonzero(unknown)
    rank[at] = np.arange(at.size, dtype=np.int32)
    weights = np.zeros((at.size, 25))
    flat = colors.reshape(-1, 3)
    centers = np.flatnonzero(near)
    for first in range(0, centers.size, 1 << 15):  # windows at a time: what they need is 700 bytes each
        part = centers[first : first + (1 << 15)]
        pixels = np.stack([part + dy * width + dx for dy, dx in _WINDOW])
        shades = flat[pixels]
        shades -= shades.mean(0)
        spread = np.einsum("kni,knj->nij", shades, shades) / 9
        spread[:, [0, 1, 2], [0, 1, 2]] += _EPSILON / 9
        scaled = np.einsum("nij,knj->kni", np.linalg.inv(spread), shades)
        for a, (ya, xa) in enumerate(_WINDOW):
            row = rank[pixels[a]]
            own = row >= 0
            rows = row[own]
            for b, (yb, xb) in enumerate(_WINDOW):
                alike = np.einsum("ni,ni->n", scaled[a][own], shades[b][own])
                weights[rows, (yb - ya + 2) * 5 + xb - xa + 2] += float(a == b) - (1 + alike) / 9
    return weights, weights[:, 12].copy()


def _conjugate_gradients(
    matrix: sparse.csr_matrix, right: NDArray[np.float64], start: NDArray[np.float64], inverse: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Solve matrix @ x = right from `start` on; `inverse` is one over the matrix's diagonal."""
    found = start.copy()
    left = right - matrix @ found
    enough = _TOLERANCE * max(float(np.sqrt((right * right).sum())), 1e-12)
    scaled = inverse * left
    step = scaled.copy()
    size = float((left * scaled).sum())
    for _ in range(_ITERATIONS):
        if float(np.sqrt((left * left).sum())) <= enough or size <= 0:
            break
        product = matrix @ step
        length = size / float((step * product).sum())
        found += length * step
        left -= length * product
        scaled = inverse * left
        size, before = float((left * scaled).sum()), size
        step *= size / before
        step += scaled
    return found
