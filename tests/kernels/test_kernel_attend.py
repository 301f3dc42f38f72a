"""Attention to a block of keys and values, writing into it, and the exponential inside."""

import numpy as np
import pytest
from kernel_calls import FLUSHED, U, gamma, kernels, rows, same_bits

BLOCK = 64
STORED = {"f32": np.float32, "f16": np.uint16}
EXP_ROUNDINGS = 4
"""The exponential is within 4 roundings (2 units in the last place); test_exponential_is_accurate checks it."""

State = tuple[np.ndarray, np.ndarray, np.ndarray]


def start(n_rows: int, dim: int) -> State:
    """(max, sum, out) of rows that have seen no key."""
    return np.full(n_rows, -np.inf, np.float32), np.zeros(n_rows, np.float32), np.zeros((n_rows, dim), np.float32)


def pack_block(kv: str, keys: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[64, dim] keys and values in the layout of a block: k [8 groups][dim][8 positions], v [64][dim]."""
    dim = keys.shape[1]
    k = np.ascontiguousarray(keys.reshape(8, 8, dim).transpose(0, 2, 1))
    if kv == "f16":
        return k.astype(np.float16).view(np.uint16), values.astype(np.float16).view(np.uint16)
    return k, values.copy()


def as_stored(kv: str, x: np.ndarray) -> np.ndarray:
    return x.astype(np.float16).astype(np.float64) if kv == "f16" else x.astype(np.float64)


def block(kv: str, dim: int, seed: int = 0, spread: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng([seed, dim])
    keys = (rng.standard_normal((BLOCK, dim)) * spread).astype(np.float32)
    return pack_block(kv, keys, rng.standard_normal((BLOCK, dim)).astype(np.float32))


def queries(n_rows: int, dim: int, seed: int = 1) -> np.ndarray:
    return (np.random.default_rng([seed, n_rows, dim]).standard_normal((n_rows, dim)) / np.sqrt(dim)).astype(np.float32)


def same_state(a: State, b: State) -> bool:
    return all(same_bits(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize(("isa", "kv"), rows("attend"))
@pytest.mark.parametrize("dim", [8, 24, 64, 72, 128])
@pytest.mark.parametrize("n_rows", [1, 2, 3, 5, 6, 7, 16, 33])
def test_equals_oracle(isa: str, kv: str, dim: int, n_rows: int) -> None:
    q = queries(n_rows, dim)
    counts = np.random.default_rng(dim).integers(0, BLOCK + 1, (3, n_rows)).astype(np.int32)
    counts[1] = BLOCK
    mine = theirs = start(n_rows, dim)
    for b, count in enumerate(counts):
        k, v = block(kv, dim, b)
        mine = kernels.attend(isa, kv, q, k, v, count, *mine)
        theirs = kernels.attend("scalar", kv, q, k, v, count, *theirs)
        assert same_state(mine, theirs)


@pytest.mark.parametrize(("isa", "kv"), rows("attend"))
def test_equals_oracle_for_every_count(isa: str, kv: str) -> None:
    q, (k, v) = queries(2, 40), block(kv, 40)
    for first in range(BLOCK + 1):
        for second in {first, max(first - 1, 0)}:  # a shared load of both rows, and one row after the other
            count = np.array([first, second], np.int32)
            mine = kernels.attend(isa, kv, q, k, v, count, *start(2, 40))
            assert same_state(mine, kernels.attend("scalar", kv, q, k, v, count, *start(2, 40)))


@pytest.mark.parametrize(("isa", "kv"), rows("attend", oracle=True))
@pytest.mark.parametrize("garbage", [np.nan, np.inf, -6e4])
def test_positions_at_or_above_count_do_not_enter(isa: str, kv: str, garbage: float) -> None:
    rng = np.random.default_rng(2)
    keys, values = rng.standard_normal((2, BLOCK, 24)).astype(np.float32)
    q, count = queries(7, 24), np.array([1, 8, 9, 20, 20, 37, 37], np.int32)
    clean = kernels.attend(isa, kv, q, *pack_block(kv, keys, values), count, *start(7, 24))
    keys[37:], values[37:] = garbage, garbage
    dirty = kernels.attend(isa, kv, q, *pack_block(kv, keys, values), count, *start(7, 24))
    assert same_state(clean, dirty)


@pytest.mark.parametrize(("isa", "kv"), rows("attend", oracle=True))
def test_a_row_alone_equals_the_row_among_others(isa: str, kv: str) -> None:
    q, (k, v) = queries(19, 64), block(kv, 64)
    count = np.random.default_rng(4).integers(0, BLOCK + 1, 19).astype(np.int32)
    together = kernels.attend(isa, kv, q, k, v, count, *start(19, 64))
    for row in range(19):
        alone = kernels.attend(isa, kv, q[row : row + 1], k, v, count[row : row + 1], *start(1, 64))
        assert same_state(alone, tuple(np.ascontiguousarray(x[row : row + 1]) for x in together))


@pytest.mark.parametrize(("isa", "kv"), rows("attend", oracle=True))
def test_a_row_without_positions_stays_as_it_is(isa: str, kv: str) -> None:
    q, (k, v) = queries(3, 16), block(kv, 16)
    state = (np.float32([1, 2, 3]), np.float32([4, 5, 6]), np.ones((3, 16), np.float32))
    after = kernels.attend(isa, kv, q, k, v, np.zeros(3, np.int32), *state)
    assert same_state(after, state)


@pytest.mark.parametrize(("isa", "kv"), rows("attend"))
@pytest.mark.parametrize("spread", [0.0, 50.0, 3000.0])
def test_equals_oracle_on_hostile_scores(isa: str, kv: str, spread: float) -> None:
    """All scores equal, scores far apart (exponentials of 0 and 1 only), and scores that overflow half keys' range."""
    q, count = queries(4, 32) * 8, np.array([64, 64, 13, 1], np.int32)
    mine = theirs = start(4, 32)
    for b in range(3):
        k, v = block(kv, 32, b, spread)
        mine = kernels.attend(isa, kv, q, k, v, count, *mine)
        theirs = kernels.attend("scalar", kv, q, k, v, count, *theirs)
    assert same_state(mine, theirs)
    assert all(np.isfinite(x).all() for x in mine)


def exact_attention(
    q: np.ndarray, keys: list[np.ndarray], values: list[np.ndarray], counts: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """(out / sum, bound on the kernel's error) of one query row, float64.

    With u = 2^-24: a score errs by d = gamma(dim) * sum|q k|; the exponent s - m errs by the scores' errors and one
    rounding, u * |s - m|; so a weight errs relatively by e = expm1(2 d + u |s - m|) + EXP_ROUNDINGS * u. A block's
    weight is multiplied by up to `blocks` corrections, each an exponential with the same error, and passes one rounding
    per position and block in its sum. Numerator and denominator each err by that, relative to sum(w |v|) and sum(w).
    """
    k64 = np.concatenate([k[:n] for k, n in zip(keys, counts, strict=True)])
    v64 = np.concatenate([v[:n] for v, n in zip(values, counts, strict=True)])
    scores = k64 @ q
    weights = np.exp(scores - scores.max())
    score_error = (gamma(len(q)) * (np.abs(k64) @ np.abs(q))).max()
    spread = scores.max() - scores.min()
    one_exp = np.expm1(2 * score_error + U * spread) + EXP_ROUNDINGS * U
    relative = (1 + one_exp) ** (len(counts) + 1) * (1 + U) ** (2 * len(scores) + 2 * len(counts)) - 1
    out = weights @ v64 / weights.sum()
    size = weights @ np.abs(v64) / weights.sum()
    return out, (2 * relative * size + len(scores) * FLUSHED) / (1 - relative)


@pytest.mark.parametrize("kv", ["f32", "f16"])
@pytest.mark.parametrize("counts", [[1], [64], [64, 64, 17]])
@pytest.mark.parametrize("spread", [1.0, 4.0])
def test_oracle_is_as_good_as_its_roundings(kv: str, counts: list[int], spread: float) -> None:
    rng = np.random.default_rng(7)
    dim, n_rows = 64, 5
    q = queries(n_rows, dim)
    keys = [(rng.standard_normal((BLOCK, dim)) * spread).astype(np.float32) for _ in counts]
    values = [rng.standard_normal((BLOCK, dim)).astype(np.float32) for _ in counts]
    state = start(n_rows, dim)
    for k, v, n in zip(keys, values, counts, strict=True):
        state = kernels.attend("scalar", kv, q, *pack_block(kv, k, v), np.full(n_rows, n, np.int32), *state)
    stored_keys, stored_values = ([as_stored(kv, x) for x in arrays] for arrays in (keys, values))
    for row in range(n_rows):
        exact, bound = exact_attention(q[row].astype(np.float64), stored_keys, stored_values, counts)
        assert (np.abs(state[2][row].astype(np.float64) / state[1][row] - exact) <= bound).all()


# ---- the exponential: with one key of score 0 and others of score x < 0, sum - 1 and out are exponentials


def exponentials(isa: str, x: np.ndarray) -> np.ndarray:
    """exp(x) for 56 values x <= 0 as the attention kernel computes it: value p is 1 in dimension p only."""
    keys, values = np.zeros((BLOCK, 64), np.float32), np.eye(BLOCK, dtype=np.float32)
    keys[1:57, 0] = x
    q = np.zeros((1, 64), np.float32)
    q[0, 0] = 1
    out: np.ndarray = kernels.attend(isa, "f32", q, *pack_block("f32", keys, values), np.int32([57]), *start(1, 64))[2]
    return out[0, 1:57]


@pytest.mark.parametrize("isa", [isa for isa, kv in rows("attend", oracle=True) if kv == "f32"])
def test_exponential_is_accurate(isa: str) -> None:
    """Within 2 ulp down to -87, exactly 0 below, exactly 1 at 0."""
    rng = np.random.default_rng(8)
    for scale in (1e-6, 0.1, 1.0, 10.0, 87.0):
        for _ in range(40):
            x = -(rng.random(56) * scale).astype(np.float32)
            exact = np.exp(x.astype(np.float64))
            ulp = np.spacing(exact.astype(np.float32)).astype(np.float64)
            assert (np.abs(exponentials(isa, x) - exact) <= 2 * ulp).all()
    special = np.full(56, -np.inf, np.float32)
    special[:6] = [0.0, -0.0, -87.0, np.nextafter(np.float32(-87), np.float32(-88)), -1e30, -3.4e38]
    result = exponentials(isa, special)
    assert (result[:2] == 1).all()
    assert result[2] > FLUSHED
    assert (result[3:] == 0).all()


# ---- writing


@pytest.mark.parametrize(("isa", "kv"), rows("store", oracle=True))
@pytest.mark.parametrize("dim", [8, 72, 128])
def test_store_writes_one_position_rounded_to_nearest_even(isa: str, kv: str, dim: int) -> None:
    rng = np.random.default_rng(dim)
    key, value = (rng.standard_normal((2, dim)) * 10.0 ** rng.integers(-8, 4, (2, dim))).astype(np.float32)
    key[:8] = [0.0, -0.0, 1 + 2**-11, 1 + 3 * 2**-11, 65519.0, 6e-8, 2.0**-25, 2.0**-14]
    value[:4] = [-1e-7, -65504.0, 2.0**-24 * 1.5, 6.1e-5]
    for slot in (0, 7, 8, 63):
        k = np.full((8, dim, 8), 7, STORED[kv])
        v = np.full((BLOCK, dim), 7, STORED[kv])
        kernels.store(isa, kv, key, value, slot, k, v)
        wanted = [x.astype(np.float16).view(np.uint16) if kv == "f16" else x.view(np.uint32) for x in (key, value)]
        stored = [np.ascontiguousarray(x).view(wanted[0].dtype) for x in (k[slot // 8, :, slot % 8], v[slot])]
        assert (stored[0] == wanted[0]).all()
        assert (stored[1] == wanted[1]).all()
        k[slot // 8, :, slot % 8] = 7
        v[slot] = 7
        assert (k == 7).all()
        assert (v == 7).all()


@pytest.mark.parametrize("isa", [isa for isa, kv in rows("store", oracle=True) if kv == "f16"])
def test_what_half_cannot_hold_becomes_infinite_not_wrong(isa: str) -> None:
    k, v = np.zeros((8, 8, 8), np.uint16), np.zeros((BLOCK, 8), np.uint16)
    value = np.float32([65520.0, -1e9, np.inf, np.nan, 65519.0, 0, 0, 0])
    kernels.store(isa, "f16", value, value, 3, k, v)
    for stored in (k[0, :, 3], v[3]):
        halves = np.ascontiguousarray(stored).view(np.float16)
        assert halves[0] == np.inf
        assert halves[1] == -np.inf
        assert halves[2] == np.inf
        assert np.isnan(halves[3])
        assert halves[4] == 65504
