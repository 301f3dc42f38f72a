"""`activations="int16"`: what it changes besides the products, which test_int16_inputs.py and others check."""

import json
import os
import subprocess
import sys

import checkpoints
import numpy as np
import pytest
from lora_adapters import write_all

import qwen3cpu
from qwen3cpu import _native
from qwen3cpu.batch.about import about_model
from qwen3cpu.cli.main import main
from qwen3cpu.server.scheduling.service import Service
from qwen3cpu.server.settings import Settings

PROMPT = np.random.default_rng(0).integers(checkpoints.ODD_SHAPE["vocab_size"], size=_native.KV_BLOCK + 9).tolist()


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return checkpoints.write_checkpoint(tmp_path_factory.mktemp("base"), **checkpoints.ODD_SHAPE)


@pytest.fixture(scope="module")
def adapters(base, tmp_path_factory):
    return write_all(tmp_path_factory.mktemp("adapters"), base.config)


def load(folder, **options):
    return qwen3cpu.load(folder, **{"quant": "q8", "threads": 1, "activations": "int16", **options})


def test_an_unknown_kind_is_refused(base):
    with pytest.raises(qwen3cpu.ArgumentError, match="activations: expected one of int8, int16, found 'int32'"):
        load(base.folder, activations="int32")


def test_float_weights_have_the_same_logits(base):
    for quant in ("f32", "bf16"):
        int8, int16 = (load(base.folder, quant=quant, activations=each).logits(PROMPT) for each in ("int8", "int16"))
        assert np.array_equal(int8, int16)


def test_what_results_depend_on_names_it(base):
    int8, int16 = (load(base.folder, activations=each) for each in ("int8", "int16"))
    assert (int8.activations, int16.activations) == ("int8", "int16")
    assert "activations" not in about_model(int8), "jobs that were begun before there was a choice go on"
    assert about_model(int16)["activations"] == "int16"
    for model, expected in ((int8, "-q8-f16"), (int16, "-q8-f16-int16")):
        assert Service(model, Settings()).fingerprint.endswith(expected)


def test_the_flag_of_the_command_line(base, capsys):
    assert main(["inspect", str(base.folder), "--quant", "q8", "--activations", "int16"]) == 0
    assert "activations    int16" in capsys.readouterr().out


def test_adapters_in_one_batch_are_as_alone(base, adapters):
    model = load(base.folder, quant="q4", threads=2, adapters=adapters)
    names = [None, *adapters]
    alone = {name: model.logits(PROMPT, adapter=name) for name in names}
    batch = [
        (model.engine.new_sequence(None if name is None else model.adapters[name].adapter), PROMPT, range(len(PROMPT)))
        for name in names
    ]
    for name, logits in zip(names, model.engine.forward(batch), strict=True):
        assert np.array_equal(logits, alone[name]), name


def test_answers_with_drafts_are_those_without(base):
    model = load(base.folder, quant="q4")
    prompt = PROMPT[:20] * 3
    for temperature in (0.0, 1.0):
        options = {"max_new_tokens": 40, "temperature": temperature, "seed": 3, "ignore_eos": True}
        off, on = (model.generate(prompt, speculate=each, **options) for each in (False, True))
        assert off.token_ids == on.token_ids


SCRIPT = """
import hashlib, json, sys
import qwen3cpu
folder, prompt = json.loads(sys.argv[1])
for quant in ("q8", "q4", "q4a32"):
    model = qwen3cpu.load(folder, quant=quant, threads=1, activations="int16")
    print(hashlib.sha256(model.logits(prompt).tobytes()).hexdigest())
"""


def test_every_instruction_set_gives_the_same_bits(base):
    found = {}
    for isa, usable in _native.isas():
        if usable:
            done = subprocess.run(
                [sys.executable, "-c", SCRIPT, json.dumps([str(base.folder), PROMPT])],
                env={**os.environ, "QWEN3CPU_ISA": isa},
                check=True,
                capture_output=True,
                text=True,
            )
            found[isa] = done.stdout.split()
    assert len(set(found["scalar"])) == 3
    assert all(digests == found["scalar"] for digests in found.values())
