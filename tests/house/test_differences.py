"""The comparison of many cases notices a wrong bit, type or shape, and an empty comparison."""

import numpy as np
import pytest
from differences import Differences


def compared(found, expected):
    with Differences("kernel") as differences:
        differences.add(np.float32([1, 2]), np.float32([1, 2]), n=1)
        differences.add(found, expected, n=2)


@pytest.mark.parametrize(("found", "expected"), [([0.0, np.nan], [0.0, np.nan]), ([1, 2], [1, 2])])
def test_equal_bits_pass(found, expected):
    compared(np.float32(found), np.float32(expected))
    compared(np.int8([3]), np.int8([3]))


def test_a_difference_is_named_with_its_case_and_place():
    with pytest.raises(AssertionError) as caught:
        compared(np.float32([[1, 2], [3, 4.5]]), np.float32([[1, 2], [3, 4]]))
    assert str(caught.value).splitlines() == [
        "kernel: 1 of 2 cases differ",
        "  n=2: 1 of 4 differ, the first at (1, 1): expected 4.0 (0x40800000), found 4.5 (0x40900000)",
    ]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (np.float32([-0.0]), np.float32([0.0])),
        (np.float32([np.nan]), np.float32([np.inf])),
        (np.int8([1]), np.int8([2])),
        (np.int8([1]), np.int16([1])),
        (np.float32([1]), np.float32([1, 1])),
    ],
)
def test_what_is_not_the_same_fails(found, expected):
    with pytest.raises(AssertionError, match="kernel"):
        compared(found, expected)


def test_nothing_compared_fails():
    with pytest.raises(AssertionError, match="nothing was compared"), Differences("kernel"):
        pass


def test_another_error_is_not_hidden():
    differences = Differences("kernel")
    differences.add(np.int8([1]), np.int8([2]))
    with pytest.raises(ZeroDivisionError), differences:
        raise ZeroDivisionError
