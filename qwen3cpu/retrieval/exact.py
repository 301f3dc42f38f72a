"""Sums that come out the same on every machine: products of float32 are exact in float64, and fsum adds exactly."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def dot(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """The sum of products of two vectors, rounded once."""
    return math.fsum((first.astype(np.float64) * second.astype(np.float64)).tolist())


def norm(vector: NDArray[np.float32]) -> float:
    """The Euclidean length of a vector."""
    return math.sqrt(dot(vector, vector))
