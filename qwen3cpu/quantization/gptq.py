"""Rounding one matrix to q4 so that its outputs change least, given the second moments of its inputs.

GPTQ (arXiv 2210.17323): columns are rounded one after another, and those that come later make up for the error so far.
The loops over columns are `_native.round_columns`; here are the factor of the moments and the products between runs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from operator import iadd
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qwen3cpu import _native

_GROUP: Final = 32


@dataclass(frozen=True)
class Rounding:
    """How a matrix is rounded.

    damping: share of the mean second moment that is added to each, so that few tokens do not make some directions look
    free. largest_first: round the groups, and the columns in them, in the order of their moments.
    shared: of experts. The moments of each begin with those of so many average tokens of its layer, for each column of
    the inputs. An expert sees a part of the text only: what none of its tokens shows would look free.
    """

    damping: float = 0.01
    largest_first: bool = True
    shared: float = 0.25


class InputMoments:
    """The second moments of the inputs of one or several matrices, in the form that rounding uses.

    moments: X'X of the inputs X [tokens, cols], symmetric, finite.
    """

    def __init__(self, moments: NDArray[np.float32], rounding: Rounding) -> None:
        self.order = column_order(moments.diagonal(), rounding)
        """int32 [cols padded to whole groups]: the columns in the order in which they are rounded."""
        self.factor = inverse_factor(damped(moments, self.order, rounding.damping)).astype(np.float32)
        """Upper triangular U, U' U the inverse of the damped moments in this order."""


def round_matrix(weights: NDArray[np.float32], inputs: InputMoments, out: NDArray[np.uint8], *, threads: int) -> float:
    """Round weights [rows, cols] into out, uint8 [matrix_bytes("q4", rows, cols)].

    Returns the loss tr(E M E'), E what rounding changed and M the damped moments. It is the same for any number of
    threads.
    """
    rows, cols = weights.shape
    order, factor = inputs.order, inputs.factor
    w = np.zeros((rows, order.size), np.float32)
    w[:, order < cols] = weights[:, order[order < cols]]
    _native.start_rounding(np.ascontiguousarray(weights), out, threads)
    loss = 0.0
    for first in range(0, order.size, _native.MOST_RUN_COLUMNS):
        last = min(first + _native.MOST_RUN_COLUMNS, order.size)
        own = np.ascontiguousarray(factor[first:last, first:last])
        errors = np.empty((rows, last - first), np.float32)
        here = np.arange(last - first, dtype=np.int32)
        _native.round_columns(w[:, first:last], here, order[first:last], own, out, cols, errors, threads)
        loss += float(np.einsum("ij,ij->", errors, errors, dtype=np.float64))
        if last < order.size:
            w[:, last:] -= errors @ factor[first:last, last:]
    return loss


def inverse_factor(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The upper triangular U with U' U = matrix^-1, for a positive definite matrix [n, n]."""
    # With the order of rows and columns reversed: matrix = R R', R upper triangular, and U is the inverse of R.
    lower = np.linalg.cholesky(matrix[::-1, ::-1])
    return _inverse_upper(np.ascontiguousarray(lower[::-1, ::-1]))


def _inverse_upper(upper: NDArray[np.float64]) -> NDArray[np.float64]:
    # In halves down to small pieces: products of halves run at BLAS's speed and take a third of a general inverse's.
    n = len(upper)
    if n <= 64:
        small: NDArray[np.float64] = np.triu(np.linalg.inv(upper))
        return small
    half = n // 2
    out = np.zeros_like(upper)
    out[:half, :half] = _inverse_upper(upper[:half, :half])
    out[half:, half:] = _inverse_upper(upper[half:, half:])
    out[:half, half:] = -(out[:half, :half] @ upper[:half, half:]) @ out[half:, half:]
    return out


def column_order(sizes: NDArray[np.float32], rounding: Rounding) -> NDArray[np.int32]:
    """The columns in the order in which they are rounded, a group's 32 side by side, padded to whole groups.

    sizes: their second moments.
    """
    cols = len(sizes)
    groups = np.arange(-(-cols // _GROUP) * _GROUP, dtype=np.int32).reshape(-1, _GROUP)
    if rounding.largest_first:
        size = np.zeros(groups.size)
        size[:cols] = sizes
        by_group = size.reshape(groups.shape)
        within = np.argsort(-by_group, axis=1, kind="stable")
        groups = np.take_along_axis(groups, within, 1)[np.argsort(-by_group.sum(1), kind="stable")]
    return np.ascontiguousarray(groups.reshape(-1))


def damped(moments: NDArray[np.float32], order: NDArray[np.int32], damping: float) -> NDArray[np.float64]:
    """Moments in the given order plus damping * their mean; padding has the mean alone."""
    cols = len(moments)
    mean = float(moments.diagonal().mean(dtype=np.float64)) or 1.0
    out = np.zeros((order.size, order.size))
    present = np.flatnonzero(order < cols)
    out[np.ix_(present, present)] = moments[np.ix_(order[present], order[present])]
    added = np.where(order < cols, damping * mean, mean)
    out[np.diag_indices(order.size)] += added
    return out


def second_moments(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """X'X of inputs X [tokens, cols]. NumPy makes this product with BLAS's syrk."""
    product: NDArray[np.float32] = inputs.T @ inputs
    return product


def sum_of_moments(parts: Iterable[NDArray[np.float32]]) -> NDArray[np.float32]:
    """X'X of inputs that come in parts, one or more."""
    total: NDArray[np.float32] = reduce(iadd, map(second_moments, parts))
    return total


def with_share(
    own: NDArray[np.float32], everything: NDArray[np.float32], rows: int, shared: float
) -> NDArray[np.float32]:
    """Moments of an expert's inputs, and of `shared` average ones for each column of the `rows` of its whole layer."""
    moments: NDArray[np.float32] = own + np.float32(shared * len(own) / rows) * everything
    return moments
