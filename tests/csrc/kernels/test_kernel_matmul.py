"""Matrix products: every ISA equals the scalar oracle bit for bit; the oracle is within derived bounds of float64."""

import itertools

import numpy as np
import pytest
import quantized_oracle
from differences import Differences
from kernel_calls import (
    ACTIVATION_BLOCK,
    FLUSHED,
    ISAS,
    ORACLE,
    Kernel,
    Product,
    aligned,
    compiled,
    gamma,
    int8_inputs,
    kernels,
    pack,
    prepare,
    random_product,
    unpack,
)

from qwen3cpu import _native

FORMATS = list(_native.FORMATS)
TILE = 8
MANY = 36
"""Tokens: enough for every kernel of a format, including those that unpack the weights of q8 first, which need 32."""

# Every residue mod 32 below, across and above the blocks of 128 (q8) and 256 (q4).
COLUMNS = [*range(1, 66), *range(95, 98), *range(127, 130), *range(224, 301), 384, 511, 512, 513, 800]

every_fast_kernel = pytest.mark.parametrize("kernel", compiled("matmul"), ids=str)
every_kernel = pytest.mark.parametrize("kernel", compiled("matmul", oracle=True), ids=str)


def add_twins(differences: Differences, kernel: Kernel, product: Product, **case: object) -> None:
    """Compare a product of the kernel with the oracle's."""
    shape = {"rows": product.n_rows, "cols": product.cols, "tokens": product.tokens}
    differences.add(product.run(kernel.isa), product.run(ORACLE), **shape, **case)


@every_fast_kernel
def test_equals_oracle_at_every_column_tail(kernel: Kernel) -> None:
    with Differences(kernel) as differences:
        for cols in COLUMNS:
            add_twins(differences, kernel, random_product(kernel.name, 1 + cols % 17, cols, 1 + cols % 9))


@every_fast_kernel
def test_equals_oracle_for_every_count_of_rows_and_tokens(kernel: Kernel) -> None:
    with Differences(kernel) as differences:
        for n_rows, tokens in itertools.product([*range(1, 18), 40, 41], range(1, 10)):
            add_twins(differences, kernel, random_product(kernel.name, n_rows, 96, tokens))
        for n_rows, tokens in itertools.product([8, 16, 24, 40], range(10, 24)):
            add_twins(differences, kernel, random_product(kernel.name, n_rows, 288, tokens))


@every_fast_kernel
def test_equals_oracle_for_many_tokens(kernel: Kernel) -> None:
    with Differences(kernel) as differences:
        for tokens in (16, 23, 24, 25, 31, 32, 33, 48, 130, 256, 257, 271, 272, 300):
            add_twins(differences, kernel, random_product(kernel.name, 24, 288, tokens))


@every_fast_kernel
def test_equals_oracle_for_many_tokens_at_tails_of_rows_and_columns(kernel: Kernel) -> None:
    with Differences(kernel) as differences:
        for cols in COLUMNS[::3]:
            add_twins(differences, kernel, random_product(kernel.name, 1 + cols % 65, cols, MANY + cols % 7))


@every_kernel
def test_a_token_alone_equals_the_token_in_a_batch(kernel: Kernel) -> None:
    whole = random_product(kernel.name, 40, 320, MANY)
    together = whole.run(kernel.isa)
    parts = [*((t, 1) for t in range(MANY)), (0, 7), (3, 8), (5, 13), (20, 1), (0, 24), (3, 25)]
    with Differences(kernel) as differences:
        for first, n in parts:
            alone = whole.run(kernel.isa, tokens=(first, n))
            differences.add(alone, together[first : first + n], first_token=first, tokens=n)


@every_kernel
def test_tile_by_tile_equals_the_whole(kernel: Kernel) -> None:
    with Differences(kernel) as differences:
        for tokens in (1, 5, MANY):
            whole = random_product(kernel.name, 77, 160, tokens)
            together = whole.run(kernel.isa)
            for n in (1, 2, 3, 5, 7):
                for first in range(whole.tiles - n + 1):
                    part = whole.run(kernel.isa, tiles=(first, n))
                    expected = together[:, first * TILE : (first + n) * TILE]
                    differences.add(part, np.ascontiguousarray(expected), tokens=tokens, first_tile=first, tiles=n)


@every_kernel
def test_writes_nothing_outside_its_rows(kernel: Kernel) -> None:
    with Differences(kernel) as differences:
        for tokens in (1, 4, 11, MANY):
            whole = random_product(kernel.name, 21, 64, tokens)
            y = whole.run(kernel.isa, tiles=(1, 2), ldy=19)  # an odd ldy: rows of y are not aligned
            inside = whole.run(kernel.isa, tiles=(1, 2))
            untouched = np.full((tokens, 3), np.nan, np.float32)
            differences.add(y, np.concatenate([inside, untouched], 1), tokens=tokens)


@every_kernel
def test_rows_that_only_pad_are_zero(kernel: Kernel) -> None:
    y = random_product(kernel.name, 11, 70, 3).run(kernel.isa)
    assert (y[:, 11:] == 0).all()
    assert (y[:, :11] != 0).all()


# ---- hostile inputs


def q4_bytes(weight_format: str, cols: int, nibbles: np.ndarray, scales: np.ndarray, row_scale: float) -> np.ndarray:
    """One row tile of q4 or q4s whose 8 rows have the same nibbles [cols] and bytes of scales [groups]."""
    packed = aligned(_native.matrix_bytes(weight_format, TILE, cols))
    groups = -(-cols // 32)
    n = np.full(groups * 32, 8, np.uint8)
    n[:cols] = nibbles
    at = 0
    for first in range(0, groups, 8):
        here = min(8, groups - first)
        packed[at : at + here * TILE] = np.repeat(scales[first : first + here].astype(np.uint8), TILE)
        halves = n[first * 32 : (first + here) * 32].reshape(here, 2, 4, 1, 4)  # [group][low, high][vector][1][k]
        both = np.broadcast_to(halves[:, 0] | halves[:, 1] << 4, (here, 4, TILE, 4))
        packed[at + 64 : at + 64 + here * 128] = both.reshape(-1)
        at += 64 + here * 128
    packed[at:].view(np.float32)[:] = row_scale
    return packed


def q8_bytes(cols: int, q_values: np.ndarray, scale: float) -> np.ndarray:
    """One row tile whose 8 rows hold the same q [cols] (0..255)."""
    packed = aligned(_native.matrix_bytes("q8", TILE, cols))
    groups = -(-cols // 32)
    q = np.full(groups * 32, 128, np.uint8)
    q[:cols] = q_values
    at = 0
    for first in range(0, groups, 4):
        n = min(4, groups - first)
        packed[at : at + n * 16].view(np.float16)[:] = scale
        quads = np.broadcast_to(q[first * 32 : (first + n) * 32].reshape(n, 8, 1, 4), (n, 8, TILE, 4))
        packed[at + 64 : at + 64 + n * 256] = quads.reshape(-1)
        at += 64 + n * 256
    assert at == packed.size
    return packed


def extremes(cols: int, low: int, high: int) -> list[np.ndarray]:
    """Patterns of the two extreme values, including those that overflow pairs and whole groups of int16 sums."""
    k = np.arange(cols)
    return [
        np.full(cols, low),
        np.full(cols, high),
        np.where(k % 2 == 0, low, high),
        np.where(k % 4 < 2, low, high),
        np.where(k % 32 < 16, low, high),
        np.where(k // 32 % 2 == 0, low, high),
        np.where(np.random.default_rng(cols).random(cols) < 0.5, low, high),
    ]


def block_sums(terms: np.ndarray, row_scale: float) -> np.ndarray:
    """The expected outputs, from terms [tokens, cols] in units of the row scale, with input scales of 1."""
    y = np.zeros(len(terms), np.float32)
    for b in range(0, terms.shape[1], 256):  # fma(dot, 1, acc) is one rounded addition
        y += terms[:, b : b + 256].sum(1).astype(np.float32)
    return np.repeat((y * np.float32(row_scale))[:, None], TILE, 1)


def mixed(groups: int, *values: int) -> np.ndarray:
    """These values, assigned to groups at random."""
    return np.random.default_rng(groups).choice(values, groups)


@pytest.mark.parametrize("kernel", compiled("matmul", "q4", oracle=True), ids=str)
def test_q4_is_exact_at_the_extremes(kernel: Kernel) -> None:
    with Differences(kernel) as differences:
        for cols in (32, 256, 544):
            groups = cols // 32
            inputs = np.tile(extremes(cols, -127, 127), (MANY // 7, 1))
            x = int8_inputs("q4", inputs, 1.0)
            steps = [np.full(groups, 15), np.full(groups, 1), mixed(groups, 0, 1, 15)]
            zeros = [np.full(groups, 0), np.full(groups, 15), np.full(groups, 7), mixed(groups, 0, 15)]
            for (i, s), (j, z) in itertools.product(enumerate(steps), enumerate(zeros)):
                for pattern, nibbles in enumerate(extremes(cols, 0, 15)):
                    packed = q4_bytes("q4", cols, nibbles, s | z << 4, 0.5)
                    weights = np.repeat(s, 32) * (8 * (nibbles - 8) + 3 * (np.repeat(z, 32) - 7))
                    expected = block_sums(weights * inputs.astype(np.int64), 0.5)
                    y = Product("q4", packed, TILE, cols, x).run(kernel.isa)
                    differences.add(y, expected, cols=cols, steps=i, zeros=j, pattern=pattern)


@pytest.mark.parametrize("kernel", compiled("matmul", "q4s", oracle=True), ids=str)
def test_q4s_is_exact_at_the_extremes(kernel: Kernel) -> None:
    with Differences(kernel) as differences:
        for cols, scale in itertools.product([32, 256, 544], [-127, 1, 127]):
            inputs = np.tile(extremes(cols, -127, 127), (MANY // 7, 1))
            x = int8_inputs("q4s", inputs, 1.0)
            for pattern, nibbles in enumerate(extremes(cols, 0, 15)):
                packed = q4_bytes("q4s", cols, nibbles, np.full(cols // 32, scale % 256), 0.5)
                expected = block_sums((nibbles - 8) * scale * inputs.astype(np.int64), 0.5)
                y = Product("q4s", packed, TILE, cols, x).run(kernel.isa)
                differences.add(y, expected, cols=cols, scale=scale, pattern=pattern)


@pytest.mark.parametrize("kernel", compiled("matmul", "q4a32", "q4a64", "q4a128", oracle=True), ids=str)
def test_q4a_is_exact_at_the_extremes(kernel: Kernel) -> None:
    group = int(kernel.name.removeprefix("q4a"))
    with Differences(kernel) as differences:
        for cols, minimum in itertools.product([32, 256, 544], [-8, 0, 64]):
            inputs = np.tile(extremes(cols, -127, 127), (MANY // 7, 1))
            x = int8_inputs(kernel.name, inputs, 1.0)
            for pattern, nibbles in enumerate(extremes(cols, 0, 15)):
                packed = affine_bytes(kernel.name, np.tile(nibbles, (TILE, 1)), 0.5, minimum, group)
                expected = block_sums((nibbles + 2 * minimum) * inputs.astype(np.int64), 0.5)
                y = Product(kernel.name, packed, TILE, cols, x).run(kernel.isa)
                differences.add(y, expected, cols=cols, minimum=minimum, pattern=pattern)


def affine_bytes(weight_format: str, n: np.ndarray, scale: float, minimum: float, group: int) -> np.ndarray:
    """Levels [rows, cols] as a matrix with the same scale and minimum everywhere."""
    packed = aligned(_native.matrix_bytes(weight_format, *n.shape))
    groups = np.ones((len(n), -(-n.shape[1] // group)), np.float32)
    given = n.astype(np.uint8), groups * np.float32(scale), groups * np.float32(minimum)
    _native.write_affine_into(weight_format, *given, group, packed, len(n), 0, 1)
    return packed


@pytest.mark.parametrize("kernel", compiled("matmul", "q4", "q4s", oracle=True), ids=str)
def test_sums_of_a_block_that_no_float_holds_are_rounded_once(kernel: Kernel) -> None:
    """The sums of the blocks are odd and above 2^24, where floats are 2 and 4 apart: half of them are ties."""
    cols = 768
    scales, most = (np.full(24, 15), 15 * (8 * 7 - 21)) if kernel.name == "q4" else (np.full(24, 127), 127 * 7)
    rng = np.random.default_rng(11)
    inputs = np.where(rng.random((MANY, cols)) < 0.02, 126, 127)
    packed = q4_bytes(kernel.name, cols, np.full(cols, 15), scales, 1.0)
    terms = most * inputs.astype(np.int64)
    dots = terms.reshape(MANY, 3, 256).sum(2)
    assert (dots > 2**24).all()
    assert (dots != dots.astype(np.float32)).any()
    with Differences(kernel) as differences:
        y = Product(kernel.name, packed, TILE, cols, int8_inputs(kernel.name, inputs, 1.0)).run(kernel.isa)
        differences.add(y, block_sums(terms, 1.0))


@pytest.mark.parametrize("kernel", compiled("matmul", "q8", oracle=True), ids=str)
def test_q8_is_exact_at_the_extremes(kernel: Kernel) -> None:
    with Differences(kernel) as differences:
        for cols, bounds in itertools.product([32, 128, 416], [(1, 255), (0, 255), (0, 128)]):
            inputs = np.tile(extremes(cols, -127, 127), (MANY // 7, 1))
            x = int8_inputs("q8", inputs, 1.0)
            for pattern, weights in enumerate(extremes(cols, *bounds)):
                y = Product("q8", q8_bytes(cols, weights, 1.0), TILE, cols, x).run(kernel.isa)
                expected = ((weights - 128) * inputs.astype(np.int64)).sum(1)  # below 2^24: every float sum is exact
                expected = np.repeat(expected[:, None], TILE, 1).astype(np.float32)
                differences.add(y, expected, cols=cols, bounds=bounds, pattern=pattern)


def hostile_weights(kind: str, n_rows: int, cols: int) -> np.ndarray:
    rng = np.random.default_rng(5)
    w = rng.standard_normal((n_rows, cols)) * 0.02
    if kind == "zero blocks":
        w[:, 32:128] = 0
        w[3] = 0
    elif kind == "tiny":
        w *= 1e-36
    elif kind == "small half scales":
        w *= 1e-4
    elif kind == "outlier":
        w[::3, cols // 2] = 3e4
    elif kind == "mixed magnitudes":
        w *= 10.0 ** rng.integers(-30, 4, (n_rows, cols))
    return w.astype(np.float32)


@every_fast_kernel
def test_equals_oracle_on_hostile_values(kernel: Kernel) -> None:
    kinds = ("zero blocks", "tiny", "small half scales", "outlier", "mixed magnitudes")
    with Differences(kernel) as differences:
        for kind, magnitude in itertools.product(kinds, [0.0, 1e-38, 1.0, 1e30]):
            weights = hostile_weights(kind, 19, 300)
            x = (np.random.default_rng(6).standard_normal((MANY, 300)) * magnitude).astype(np.float32)
            x[:, 64:96] = 0
            hostile = Product(kernel.name, pack(kernel.name, weights), 19, 300, prepare(kernel.name, x))
            add_twins(differences, kernel, hostile, weights=kind, inputs=magnitude)


@every_kernel
def test_inputs_that_are_not_finite_never_give_finite_outputs(kernel: Kernel) -> None:
    ones = pack(kernel.name, np.ones((8, 64), np.float32))
    for bad in (np.nan, np.inf, -np.inf):
        x = np.ones((3, 64), np.float32)
        x[1, 40] = bad
        y = Product(kernel.name, ones, 8, 64, prepare(kernel.name, x, kernel.isa)).run(kernel.isa)
        assert not np.isfinite(y[1]).any(), bad
        assert np.isfinite(y[[0, 2]]).all(), bad


# ---- the oracle against float64


def exact_product(product: Product, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(y, bound on the oracle's error), float64 [tokens, rows], for the values that the kernel was given.

    Let u = 2^-24 and gamma(n) = n u / (1 - n u). A chain of n fused multiply-adds errs by at most gamma(n) times the
    sum of the magnitudes of its terms: every partial sum is rounded once, and the first term is in all n of them.

      f32, bf16  n = cols
      q8         n = groups; a term's scale product is rounded once more; float(dot) is exact (|dot| < 2^24)
      q4, q4s    n = blocks; float(dot) is rounded (|dot| may exceed 2^24), and so is the product with the row scale
      q4x2       as q4, with one more addition
      q4a        n = two terms for each group, whose parts of 32 are chains of their own; float(dot) is exact

    A result that is flushed to zero loses at most 2^-126 per operation.
    """
    if product.weight_format == "q4x2":
        size = _native.matrix_bytes("q4", product.n_rows, product.cols)
        parts = (product.packed[:size], product.packed[-size:])
        products = [exact_product(Product("q4", part, product.n_rows, product.cols, product.x), x) for part in parts]
        y, bound = (np.sum(each, axis=0) for each in zip(*products, strict=True))
        return y, bound + gamma(1) * (sum(np.abs(each) for each, _ in products) + bound)
    w = unpack(product.weight_format, product.packed, product.n_rows, product.cols).astype(np.float64)
    block = ACTIVATION_BLOCK[product.weight_format]
    if not block:
        x64 = x.astype(np.float64)
        return x64 @ w.T, gamma(product.cols) * (np.abs(x64) @ np.abs(w).T) + product.cols * FLUSHED
    q, scale, _ = product.x
    if product.weight_format.startswith("q4a"):
        return exact_affine_product(product, q[:, : product.cols].astype(np.float64), scale.astype(np.float64))
    x64 = q[:, : product.cols].astype(np.float64) * np.repeat(scale.astype(np.float64), block, 1)[:, : product.cols]
    n_blocks = -(-product.cols // block)
    dots = [x64[:, b * block : (b + 1) * block] @ w[:, b * block : (b + 1) * block].T for b in range(n_blocks)]
    roundings = n_blocks + (1 if block == 32 else 2)
    return sum(dots), gamma(roundings) * sum(np.abs(d) for d in dots) + n_blocks * FLUSHED


def exact_affine_product(product: Product, q: np.ndarray, scale_x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As exact_product, for q4a: inputs int8 [tokens, cols] and their scales [tokens, blocks]."""
    group, cols = int(product.weight_format.removeprefix("q4a")), product.cols
    parts = quantized_oracle.affine_parts(product.weight_format, product.packed, product.tiles, cols)
    n, scale, minimum = (part.reshape(-1, part.shape[-1])[: product.n_rows, :cols] for part in parts)
    y, magnitude = (np.zeros((len(q), product.n_rows)) for _ in range(2))
    for k in range(0, cols, group):
        here = slice(k, k + group)
        x = q[:, here] * np.repeat(scale_x, 32, 1)[:, :cols][:, here]
        for term in (x @ (n * scale)[:, here].T, x.sum(1)[:, None] * minimum[:, k]):
            y += term
            magnitude += np.abs(term)
    groups = -(-cols // group)
    return y, gamma(2 * groups + group // 32) * magnitude + groups * FLUSHED


@pytest.mark.parametrize("weight_format", FORMATS)
def test_oracle_is_as_good_as_its_roundings(weight_format: str) -> None:
    for cols in (1, 33, 256, 600, 2048):
        rng = np.random.default_rng(cols)
        weights = (rng.standard_normal((19, cols)) * 0.05).astype(np.float32)
        x = rng.standard_normal((4, cols)).astype(np.float32)
        product = Product(weight_format, pack(weight_format, weights), 19, cols, prepare(weight_format, x))
        if weight_format in ("q4", "q4s"):
            # unpack() multiplies every weight by the row scale and rounds, but the kernel does not. With powers of two
            # as row scales this is exact, so that only the kernel's own error remains.
            product.packed[-24 * 4 :].view(np.float32)[:] = 2.0**-10
        if weight_format == "q4x2":
            size = _native.matrix_bytes("q4", 19, cols)
            for part, end in enumerate((size, len(product.packed))):
                product.packed[end - 24 * 4 : end].view(np.float32)[:] = 2.0 ** -(10 + 4 * part)
        exact, bound = exact_product(product, x)
        y = product.run(ORACLE)[:, :19]
        assert (np.abs(y - exact) <= bound).all(), f"{cols} columns"
        assert np.abs(exact).max() > 100 * bound.max(), f"{cols} columns"


def test_quantised_inputs_of_every_isa_are_the_oracles() -> None:
    x = np.random.default_rng(3).standard_normal((4, 300)).astype(np.float32)
    for isa, name in itertools.product(ISAS, FORMATS):
        with Differences(f"inputs of {name} by {isa}") as differences:
            for mine, oracle in zip(prepare(name, x, isa), prepare(name, x), strict=True):
                differences.add(mine, oracle)


def test_the_registry_lists_every_format_for_every_isa() -> None:
    listed = {(isa, name) for isa, kind, name in kernels.rows() if kind == "matmul"}
    assert listed == {(isa, name) for isa, _ in _native.isas() for name in FORMATS}
