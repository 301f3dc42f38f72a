"""Attention to a block of keys and values, writing into it, and the exponential inside."""

import itertools

import numpy as np
import pytest
from differences import Differences
from kernel_calls import FLUSHED, ORACLE, Kernel, U, compiled, gamma, kernels

from qwen3cpu import _native
from qwen3cpu.errors import EngineError

BLOCK = _native.KV_BLOCK
EXP_ROUNDINGS = 4
"""The exponential is within 4 roundings (2 units in the last place); test_exponential_is_accurate checks it."""

State = tuple[np.ndarray, np.ndarray, np.ndarray]


def start(n_rows: int, dim: int) -> State:
    """(max, sum, out) of rows before their first key."""
    return np.full(n_rows, -np.inf, np.float32), np.zeros(n_rows, np.float32), np.zeros((n_rows, dim), np.float32)


def rounded(kv: str, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The stored form of keys or values [positions, dim]: numbers, and scales [positions], or none."""
    if kv == "q8":
        return rounded_to_int8(x)
    with np.errstate(over="ignore"):
        return x.astype({"f32": np.float32, "f16": np.float16}[kv]), np.empty(0, np.float32)


def rounded_to_int8(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rounded with every operation in float32 and in the contract's order; results below FLUSHED are 0."""
    x = np.where(np.abs(x) < FLUSHED, np.float32(0), x)
    with np.errstate(all="ignore"):
        amax = np.abs(x).max(1)
        inverse = np.float32(127) / amax
        usable = np.isfinite(amax) & np.isfinite(inverse)
        q = np.where(usable[:, None], np.rint(x * inverse[:, None]), 0).astype(np.int8)
        scale = amax / np.float32(127)
    scale[np.isfinite(amax) & (~usable | (scale < FLUSHED))] = 0
    return q, scale


def pack_block(kv: str, keys: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The planes of [64, dim] keys and values as bytes: k [8 groups][dim][8 positions], v [64][dim], then scales."""
    (k, k_scales), (v, v_scales) = rounded(kv, keys), rounded(kv, values)
    k = np.ascontiguousarray(k.reshape(8, 8, -1).transpose(0, 2, 1))
    return (
        np.frombuffer(k.tobytes() + k_scales.tobytes(), np.uint8),
        np.frombuffer(v.tobytes() + v_scales.tobytes(), np.uint8),
    )


def as_stored(kv: str, x: np.ndarray) -> np.ndarray:
    """The values of the stored numbers, in float64."""
    numbers, scales = rounded(kv, x)
    return numbers.astype(np.float64) * (scales.astype(np.float64)[:, None] if len(scales) else 1)


def block(kv: str, dim: int, seed: int = 0, spread: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng([seed, dim])
    keys = (rng.standard_normal((BLOCK, dim)) * spread).astype(np.float32)
    return pack_block(kv, keys, rng.standard_normal((BLOCK, dim)).astype(np.float32))


def queries(n_rows: int, dim: int, seed: int = 1) -> np.ndarray:
    return (np.random.default_rng([seed, n_rows, dim]).standard_normal((n_rows, dim)) / np.sqrt(dim)).astype(np.float32)


every_fast_kernel = pytest.mark.parametrize("kernel", compiled("attend"), ids=str)
every_kernel = pytest.mark.parametrize("kernel", compiled("attend", oracle=True), ids=str)


def add_states(differences: Differences, found: State, expected: State, **case: object) -> None:
    """Compare the results of attention: maxima, sums and outputs."""
    for part, mine, theirs in zip(("max", "sum", "out"), found, expected, strict=True):
        differences.add(mine, theirs, **case, part=part)


@every_fast_kernel
def test_equals_oracle(kernel: Kernel) -> None:
    with Differences(kernel) as differences:
        for dim, n_rows in itertools.product([8, 24, 64, 72, 128], [1, 2, 3, 5, 6, 7, 16, 35, 130]):
            q = queries(n_rows, dim)
            counts = np.random.default_rng(dim).integers(0, BLOCK + 1, (3, n_rows)).astype(np.int32)
            counts[1] = BLOCK
            mine = theirs = start(n_rows, dim)
            for b, count in enumerate(counts):
                k, v = block(kernel.name, dim, b)
                mine = kernels.attend(kernel.isa, kernel.name, q, k, v, count, *mine)
                theirs = kernels.attend(ORACLE, kernel.name, q, k, v, count, *theirs)
                add_states(differences, mine, theirs, dim=dim, rows=n_rows, block=b)


@every_fast_kernel
def test_equals_oracle_for_every_count(kernel: Kernel) -> None:
    q, planes = queries(2, 40), block(kernel.name, 40)
    with Differences(kernel) as differences:
        for first in range(BLOCK + 1):
            for second in {first, max(first - 1, 0)}:  # a shared load of both rows, and one row after the other
                rest = (kernel.name, q, *planes, np.array([first, second], np.int32), *start(2, 40))
                mine, theirs = (kernels.attend(isa, *rest) for isa in (kernel.isa, ORACLE))
                add_states(differences, mine, theirs, counts=(first, second))


@every_kernel
def test_positions_at_or_above_count_do_not_enter(kernel: Kernel) -> None:
    q, count = queries(7, 24), np.array([1, 8, 9, 20, 20, 37, 37], np.int32)
    with Differences(kernel) as differences:
        for garbage in (np.nan, np.inf, -6e4):
            keys, values = np.random.default_rng(2).standard_normal((2, BLOCK, 24)).astype(np.float32)
            found = []
            for _ in range(2):
                planes = pack_block(kernel.name, keys, values)
                found.append(kernels.attend(kernel.isa, kernel.name, q, *planes, count, *start(7, 24)))
                keys[37:], values[37:] = garbage, garbage
            clean, dirty = found
            add_states(differences, dirty, clean, garbage=garbage)


@every_kernel
def test_a_row_alone_equals_the_row_among_others(kernel: Kernel) -> None:
    q, (k, v) = queries(19, 64), block(kernel.name, 64)
    count = np.random.default_rng(4).integers(0, BLOCK + 1, 19).astype(np.int32)
    together = kernels.attend(kernel.isa, kernel.name, q, k, v, count, *start(19, 64))
    with Differences(kernel) as differences:
        for row in range(19):
            own = slice(row, row + 1)
            alone = kernels.attend(kernel.isa, kernel.name, q[own], k, v, count[own], *start(1, 64))
            add_states(differences, alone, tuple(np.ascontiguousarray(x[own]) for x in together), row=row)


@every_kernel
def test_a_row_without_positions_stays_as_it_is(kernel: Kernel) -> None:
    q, (k, v) = queries(3, 16), block(kernel.name, 16)
    state = (np.float32([1, 2, 3]), np.float32([4, 5, 6]), np.ones((3, 16), np.float32))
    after = kernels.attend(kernel.isa, kernel.name, q, k, v, np.zeros(3, np.int32), *state)
    with Differences(kernel) as differences:
        add_states(differences, after, state)


@every_fast_kernel
def test_equals_oracle_on_hostile_scores(kernel: Kernel) -> None:
    """All scores equal, scores far apart (exponentials of 0 and 1 only), and scores that overflow half keys' range."""
    q, count = queries(4, 32) * 8, np.array([64, 64, 13, 1], np.int32)
    with Differences(kernel) as differences:
        for spread in (0.0, 50.0, 3000.0):
            mine = theirs = start(4, 32)
            for b in range(3):
                k, v = block(kernel.name, 32, b, spread)
                mine = kernels.attend(kernel.isa, kernel.name, q, k, v, count, *mine)
                theirs = kernels.attend(ORACLE, kernel.name, q, k, v, count, *theirs)
            add_states(differences, mine, theirs, spread=spread)
            assert all(np.isfinite(x).all() for x in mine), f"spread {spread}"


HOSTILE = {
    "zeros": lambda x: x * 0,
    "one outlier": lambda x: np.where(np.arange(x.shape[1]) == 3, np.float32(6e4), x),
    "denormals": lambda x: x * np.float32(1e-39),
    "as small as a scale can be": lambda x: x * np.float32(1e-36),
    "as large as a float can be": lambda x: np.sign(x) * np.float32(3.4e38),
    "infinity": lambda x: np.where(np.arange(x.shape[1]) == 5, np.float32(np.inf), x),
    "NaN": lambda x: np.where(np.arange(x.shape[1]) == 5, np.float32(np.nan), x),
}
"""Changes of keys or values [positions, dim]."""


def callers(*names: str, oracle: bool = False) -> list[tuple[str, str]]:
    """(isa, KV format): sets that together call every function that stores or attends."""
    both = [*compiled("attend", *names, oracle=oracle), *compiled("store", *names, oracle=oracle)]
    return sorted({(kernel.isa, kernel.name) for kernel in both})


def store_all(isa: str, kv: str, keys: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The planes of [64, dim] keys and values, written by the kernels."""
    k, v = empty_planes(kv, keys.shape[1])
    for slot in range(BLOCK):
        kernels.store(isa, kv, keys[slot], values[slot], slot, k, v)
    return k, v


@pytest.mark.parametrize(("isa", "kv"), callers())
def test_equals_oracle_on_hostile_positions(isa: str, kv: str) -> None:
    """Both kernels store and attend to them among ordinary positions, with few rows and many."""
    q = queries(13, 40)
    with Differences(f"{kv} of {isa}") as differences:
        for kind, where in itertools.product(HOSTILE, ("keys", "values")):
            rng = np.random.default_rng(11)
            data = {name: rng.standard_normal((BLOCK, 40)).astype(np.float32) for name in ("keys", "values")}
            data[where][5::7] = HOSTILE[kind](data[where][5::7])
            planes, expected_planes = (store_all(name, kv, **data) for name in (isa, ORACLE))
            for plane, mine, theirs in zip(("keys", "values"), planes, expected_planes, strict=True):
                differences.add(mine, theirs, hostile=where, kind=kind, plane=plane)
            for n_rows in (1, 2, 13):
                rest = (np.full(n_rows, 61, np.int32), *start(n_rows, 40))
                mine = kernels.attend(isa, kv, q[:n_rows], *planes, *rest)
                theirs = kernels.attend(ORACLE, kv, q[:n_rows], *expected_planes, *rest)
                add_states(differences, mine, theirs, hostile=where, kind=kind, rows=n_rows)


@pytest.mark.parametrize(("isa", "kv"), callers("q8", oracle=True))
def test_what_int8_cannot_hold_shows_in_every_output(isa: str, kv: str) -> None:
    for kind, where in itertools.product(("infinity", "NaN"), (0, 1)):
        data = np.random.default_rng(12).standard_normal((2, BLOCK, 16)).astype(np.float32)
        data[where, 9:10] = HOSTILE[kind](data[where, 9:10])
        planes = store_all(isa, kv, *data)
        before = kernels.attend(isa, kv, queries(2, 16), *planes, np.int32([9, 9]), *start(2, 16))
        after = kernels.attend(isa, kv, queries(2, 16), *planes, np.int32([10, 10]), *start(2, 16))
        assert np.isfinite(before[2]).all(), (kind, where)
        assert np.isnan(after[2] / after[1][:, None]).all(), (kind, where)


def exact_attention(
    q: np.ndarray, keys: list[np.ndarray], values: list[np.ndarray], counts: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """(out / sum, bound on the kernel's error) of one query row, float64.

    Let u = 2^-24. A score errs by `d = gamma(dim + 1) * sum|q k|`, where the 1 is for the key's scale. The exponent
    `s - m` errs by the scores' errors and one rounding, `u * |s - m|`. So a weight has the relative error
    `e = expm1(2 d + u |s - m|) + EXP_ROUNDINGS * u`.

    A block's weight is multiplied by up to `blocks` corrections, each an exponential with the same error. It is rounded
    once per position and block in its sum, and once with the value's scale. Numerator and denominator each err by that,
    relative to sum(w |v|) and sum(w). A weight that is flushed to zero may belong to an int8 value of 127.
    """
    k64 = np.concatenate([k[:n] for k, n in zip(keys, counts, strict=True)])
    v64 = np.concatenate([v[:n] for v, n in zip(values, counts, strict=True)])
    scores = k64 @ q
    weights = np.exp(scores - scores.max())
    score_error = (gamma(len(q) + 1) * (np.abs(k64) @ np.abs(q))).max()
    spread = scores.max() - scores.min()
    one_exp = np.expm1(2 * score_error + U * spread) + EXP_ROUNDINGS * U
    relative = (1 + one_exp) ** (len(counts) + 1) * (1 + U) ** (2 * len(scores) + 2 * len(counts) + 1) - 1
    out = weights @ v64 / weights.sum()
    size = weights @ np.abs(v64) / weights.sum()
    return out, (2 * relative * size + 128 * len(scores) * FLUSHED) / (1 - relative)


@pytest.mark.parametrize("kv", _native.KV_FORMATS)
def test_oracle_is_as_good_as_its_roundings(kv: str) -> None:
    dim, n_rows = 64, 5
    q = queries(n_rows, dim)
    for counts, spread in itertools.product([[1], [64], [64, 64, 17]], [1.0, 4.0]):
        rng = np.random.default_rng(7)
        keys = [(rng.standard_normal((BLOCK, dim)) * spread).astype(np.float32) for _ in counts]
        values = [rng.standard_normal((BLOCK, dim)).astype(np.float32) for _ in counts]
        state = start(n_rows, dim)
        for k, v, n in zip(keys, values, counts, strict=True):
            state = kernels.attend(ORACLE, kv, q, *pack_block(kv, k, v), np.full(n_rows, n, np.int32), *state)
        stored_keys, stored_values = ([as_stored(kv, x) for x in arrays] for arrays in (keys, values))
        for row in range(n_rows):
            exact, bound = exact_attention(q[row].astype(np.float64), stored_keys, stored_values, counts)
            out = state[2][row].astype(np.float64) / state[1][row]
            assert (np.abs(out - exact) <= bound).all(), (counts, spread, row)


# ---- the exponential: with one key of score 0 and others of score x < 0, sum - 1 and out are exponentials


def exponentials(isa: str, x: np.ndarray) -> np.ndarray:
    """exp(x) for 56 values x <= 0, computed by the attention kernel: value p is 1 in dimension p only."""
    keys, values = np.zeros((BLOCK, 64), np.float32), np.eye(BLOCK, dtype=np.float32)
    keys[1:57, 0] = x
    q = np.zeros((1, 64), np.float32)
    q[0, 0] = 1
    out: np.ndarray = kernels.attend(isa, "f32", q, *pack_block("f32", keys, values), np.int32([57]), *start(1, 64))[2]
    return out[0, 1:57]


@pytest.mark.parametrize("kernel", compiled("attend", "f32", oracle=True), ids=str)
def test_exponential_is_accurate(kernel: Kernel) -> None:
    """Within 2 ulp down to -87, exactly 0 below, exactly 1 at 0."""
    rng = np.random.default_rng(8)
    for scale in (1e-6, 0.1, 1.0, 10.0, 87.0):
        for _ in range(40):
            x = -(rng.random(56) * scale).astype(np.float32)
            exact = np.exp(x.astype(np.float64))
            ulp = np.spacing(exact.astype(np.float32)).astype(np.float64)
            assert (np.abs(exponentials(kernel.isa, x) - exact) <= 2 * ulp).all()
    special = np.full(56, -np.inf, np.float32)
    special[:6] = [0.0, -0.0, -87.0, np.nextafter(np.float32(-87), np.float32(-88)), -1e30, -3.4e38]
    result = exponentials(kernel.isa, special)
    assert (result[:2] == 1).all()
    assert result[2] > FLUSHED
    assert (result[3:] == 0).all()


# ---- writing


def empty_planes(kv: str, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Planes of keys and of values in which every byte is 7."""
    k, v = np.full((2, kernels.kv_plane_bytes(kv, dim)), 7, np.uint8)
    return k, v


@pytest.mark.parametrize("kernel", compiled("store", oracle=True), ids=str)
def test_store_writes_one_position_rounded_to_nearest_even(kernel: Kernel) -> None:
    kv = kernel.name
    with Differences(kernel) as differences:
        for dim, slot in itertools.product([8, 72, 128], [0, 7, 8, 63]):
            rng = np.random.default_rng(dim)
            key, value = (rng.standard_normal((2, dim)) * 10.0 ** rng.integers(-8, 4, (2, dim))).astype(np.float32)
            key[:8] = [0.0, -0.0, 1 + 2**-11, 1 + 3 * 2**-11, 65519.0, 6e-8, 2.0**-25, 2.0**-14]
            value[:4] = [-1e-7, -65504.0, 2.0**-24 * 1.5, 6.1e-5]
            written = empty_planes(kv, dim)
            kernels.store(kernel.isa, kv, key, value, slot, *written)
            # The block has this position and 63 of garbage: only the bytes of this position differ from 7.
            only_this = np.where(np.arange(BLOCK)[:, None] == slot, 1, 0)
            wanted = pack_block(kv, (only_this * key).astype(np.float32), (only_this * value).astype(np.float32))
            its_bytes = where_a_position_lies(kv, dim, slot)
            for plane, mine, theirs, own in zip(("keys", "values"), written, wanted, its_bytes, strict=True):
                expected = np.full_like(mine, 7)
                expected[own] = theirs[own]
                differences.add(mine, expected, dim=dim, slot=slot, plane=plane)


def where_a_position_lies(kv: str, dim: int, slot: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of a position's bytes in the planes of keys and of values, from the layout's description."""
    size = {"f32": 4, "f16": 2, "q8": 1}[kv]
    first_bytes = (
        ((slot // 8 * dim + np.arange(dim)) * 8 + slot % 8) * size,
        (slot * dim + np.arange(dim)) * size,
    )
    scale = 64 * dim + 4 * slot + np.arange(4 if kv == "q8" else 0)
    k, v = (np.concatenate([(first[:, None] + np.arange(size)).ravel(), scale]) for first in first_bytes)
    return k, v


def test_bytes_of_a_plane() -> None:
    for dim in (8, 72, 128):
        assert {kv: kernels.kv_plane_bytes(kv, dim) for kv in _native.KV_FORMATS} == {
            "f32": BLOCK * dim * 4,
            "f16": BLOCK * dim * 2,
            "q8": BLOCK * (dim + 4),
        }


INT8_POSITIONS = [
    ([127, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, -0.0], [127, 0, 2, 2, 0, -2, -2, 0], 1.0),  # ties to even
    ([-254, 127, 1, 3, 0.99, -1, 5, 0], [-127, 64, 0, 2, 0, 0, 2, 0], 2.0),
    ([0.0] * 8, [0] * 8, 0.0),
    ([1e-39, -1e-39, 0, 0, 0, 0, 0, 0], [0] * 8, 0.0),  # denormals are zeros
    ([3e-37, 0, 0, 0, 0, 0, 0, 0], [0] * 8, 0.0),  # 127 / amax is not a float
    ([1, np.inf, 0, 0, 0, 0, 0, 0], [0] * 8, np.inf),
    ([1, np.nan, -np.inf, 0, 0, 0, 0, 0], [0] * 8, np.nan),
    ([3.4e38, 1, 0, 0, 0, 0, 0, -3.4e38], [127, 0, 0, 0, 0, 0, 0, -127], np.float32(3.4e38) / np.float32(127)),
]
"""(stored values, their int8, their scale)"""


@pytest.mark.parametrize("kernel", compiled("store", "q8", oracle=True), ids=str)
def test_int8_positions(kernel: Kernel) -> None:
    with Differences(kernel) as differences:
        for x, q, scale in INT8_POSITIONS:
            k, v = empty_planes("q8", 8)
            kernels.store(kernel.isa, "q8", np.float32(x), np.float32(x), 9, k, v)
            stored = (
                k[: 64 * 8].view(np.int8).reshape(8, 8, 8)[1, :, 1],
                v[: 64 * 8].view(np.int8).reshape(64, 8)[9],
            )
            for name, plane, numbers in zip(("keys", "values"), (k, v), stored, strict=True):
                differences.add(numbers, np.int8(q), x=x, plane=name)
                differences.add(plane[64 * 8 :].view(np.float32)[9:10], np.float32([scale]), scale_of=x, plane=name)


@pytest.mark.parametrize("kernel", compiled("store", "f16", oracle=True), ids=str)
def test_what_half_cannot_hold_becomes_infinite_not_wrong(kernel: Kernel) -> None:
    k, v = np.zeros((8, 8, 8), np.uint16), np.zeros((BLOCK, 8), np.uint16)
    value = np.float32([65520.0, -1e9, np.inf, np.nan, 65519.0, 0, 0, 0])
    kernels.store(kernel.isa, "f16", value, value, 3, k, v)
    for stored in (k[0, :, 3], v[3]):
        halves = np.ascontiguousarray(stored).view(np.float16)
        assert halves[0] == np.inf
        assert halves[1] == -np.inf
        assert halves[2] == np.inf
        assert np.isnan(halves[3])
        assert halves[4] == 65504


def test_bytes_of_the_kv_formats_are_those_of_a_plane() -> None:
    assert {kv: _native.kv_format_bytes(kv) for kv in _native.KV_FORMATS} == {
        "f32": (4, 0),
        "f16": (2, 0),
        "q8": (1, 4),
    }
    for kv in _native.KV_FORMATS:
        value, scale = _native.kv_format_bytes(kv)
        assert kernels.kv_plane_bytes(kv, 96) == _native.KV_BLOCK * (96 * value + scale)


def test_an_unknown_kv_format_is_refused() -> None:
    with pytest.raises(EngineError, match="unknown KV format"):
        _native.kv_format_bytes("q2")
