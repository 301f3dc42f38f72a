"""With an adapter too, a token's logits depend on its own sequence only, bit for bit.

They do not depend on other sequences and their adapters, the cuts of the prompt, the number of threads or the
instruction set. Everything is compared with the prompt in one piece, alone, on one thread.
"""

import json
import os
import subprocess
import sys

import checkpoints
import numpy as np
import pytest
from lora_adapters import KINDS, write_adapter, write_all

import qwen3cpu
from qwen3cpu import _native

SHAPE = checkpoints.ODD_SHAPE | {"num_hidden_layers": 2}
LENGTH = _native.KV_BLOCK + 23
QUANTS = ("f32", "bf16", "q8", "q4", "q4a32")


def ids(length, seed):
    return np.random.default_rng(seed).integers(SHAPE["vocab_size"], size=length).tolist()


PROMPT = ids(LENGTH, seed=0)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return checkpoints.write_checkpoint(tmp_path_factory.mktemp("base"), **SHAPE)


@pytest.fixture(scope="module")
def paths(base, tmp_path_factory):
    return write_all(tmp_path_factory.mktemp("adapters"), base.config)


@pytest.fixture(scope="module", params=QUANTS)
def model(request, base, paths):
    return qwen3cpu.load(base.folder, quant=request.param, threads=1, adapters=paths)


@pytest.fixture(scope="module")
def expected(model):
    """Logits [LENGTH, vocab_size] by name of the adapter, None for the model alone."""
    model.threads = 1
    found = {name: model.logits(PROMPT, adapter=name) for name in [None, *model.adapters]}
    assert all(np.isfinite(logits).all() for logits in found.values())
    assert len({logits.tobytes() for logits in found.values()}) == len(found), "each adapter changes something else"
    return found


def adapter_of(model, name):
    return None if name is None else model.adapters[name].adapter


def test_the_model_alone_is_as_without_adapters(model, base, expected):
    plain = qwen3cpu.load(base.folder, quant=model.quant, threads=1)
    assert np.array_equal(plain.logits(PROMPT), expected[None])


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("piece", [1, 7, 64])
def test_cuts_and_threads_change_nothing(model, expected, threads, piece):
    model.threads = threads
    engine = model.engine
    for name, logits in expected.items():
        sequence = engine.new_sequence(adapter_of(model, name))
        for start in range(0, LENGTH, piece):
            part = PROMPT[start : start + piece]
            (rows,) = engine.forward([(sequence, part, range(len(part)))])
            assert np.array_equal(rows, logits[start : start + piece]), name


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("wanted", [[LENGTH - 1], [0, 5, LENGTH - 1], range(LENGTH), []])
def test_all_adapters_in_one_batch(model, expected, threads, wanted):
    model.threads = threads
    engine = model.engine
    names = [*expected, *reversed(expected)]
    order = np.random.default_rng(3).permutation(len(names))
    batch = [(engine.new_sequence(adapter_of(model, names[i])), PROMPT, wanted) for i in order]
    for i, rows in zip(order, engine.forward(batch), strict=True):
        assert np.array_equal(rows, expected[names[i]][list(wanted)]), names[i]


def test_sixteen_adapters_decode_in_one_batch(base, tmp_path):
    kinds = list(KINDS.values())
    paths = {
        f"a{n}": write_adapter(tmp_path / str(n), base.config, kinds[n % len(kinds)], seed=100 + n) for n in range(16)
    }
    model = qwen3cpu.load(base.folder, quant="q4", threads=2, adapters=paths)
    alone = {}
    for name in paths:
        alone[name] = model.logits(PROMPT, adapter=name)
    sequences = [model.engine.new_sequence(model.adapters[name].adapter) for name in paths]
    model.engine.forward([(sequence, PROMPT[:-20], []) for sequence in sequences])
    for place in range(LENGTH - 20, LENGTH):
        rows = model.engine.forward([(sequence, [PROMPT[place]], [0]) for sequence in sequences])
        for name, row in zip(paths, rows, strict=True):
            assert np.array_equal(row[0], alone[name][place])


SCRIPT = """
import hashlib, json, sys
import qwen3cpu
folder, quant, paths, prompt = json.loads(sys.argv[1])
model = qwen3cpu.load(folder, quant=quant, threads=1, adapters=paths)
print(json.dumps({name: hashlib.sha256(model.logits(prompt, adapter=name).tobytes()).hexdigest() for name in paths}))
"""


@pytest.mark.parametrize("quant", ["f32", "q4"])
def test_every_instruction_set_gives_the_same_bits(base, paths, quant):
    """DoRA's norms too, which are made when an adapter is loaded."""
    argument = json.dumps([str(base.folder), quant, {name: str(path) for name, path in paths.items()}, PROMPT])
    found = {}
    for isa, usable in _native.isas():
        if usable:
            done = subprocess.run(
                [sys.executable, "-c", SCRIPT, argument],
                env={**os.environ, "QWEN3CPU_ISA": isa},
                check=True,
                capture_output=True,
                text=True,
            )
            found[isa] = json.loads(done.stdout)
    assert "scalar" in found
    assert all(digests == found["scalar"] for digests in found.values())
