"""`line_seed` never changes: these seeds were computed with other tools (`printf ... | sha256sum`)."""

import hashlib

import pytest

from qwen3cpu.generation.line_seed import line_seed


@pytest.mark.parametrize(
    ("base", "key", "text"),
    [
        (0, 1, b"[0,1]"),
        (0, "1", b'[0,"1"]'),
        (7, "request-1", b'[7,"request-1"]'),
        (2**53 - 1, "gr\u00f6\u00dfe \U0001f600", b'[9007199254740991,"gr\\u00f6\\u00dfe \\ud83d\\ude00"]'),
        (0, 'a"b\n', b'[0,"a\\"b\\n"]'),
        (0, "\ud800", b'[0,"\\ud800"]'),
    ],
)
def test_it_is_the_first_53_bits_of_the_sum(base, key, text):
    digits = hashlib.sha256(text).hexdigest()
    assert line_seed(base, key) == int(digits[:14], 16) >> 3


def test_known_values_stay():
    assert [line_seed(0, 1), line_seed(0, "1"), line_seed(7, "request-1")] == KNOWN


KNOWN = [2471587031175126, 6344976222267915, 155902280812125]
