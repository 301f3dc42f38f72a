"""The largest logits found by the first part of the head: they are the exact logits, and none is missing."""

import checkpoints
import numpy as np
import pytest
from lora_adapters import write_adapter

import qwen3cpu
from qwen3cpu.engine.batch import MOST_TOP, BatchItem
from qwen3cpu.errors import EngineError
from qwen3cpu.generation.options import Request
from qwen3cpu.loading.random_weights import _tokenizer_json

SHAPE = {"hidden_size": 100, "intermediate_size": 171, "num_hidden_layers": 2, "vocab_size": 20_011}
PROMPT = np.random.default_rng(0).integers(300, size=150).tolist()


def write(folder, tokens=SHAPE["vocab_size"], **options):
    """Write a model with this many tokens."""
    checkpoints.write_checkpoint(folder, **SHAPE, **options)
    (folder / "tokenizer.json").write_bytes(_tokenizer_json(tokens))
    return folder


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "own head"])
def folder(request, tmp_path_factory):
    return write(tmp_path_factory.mktemp("top"), tie_word_embeddings=request.param)


@pytest.fixture(scope="module")
def model(folder):
    return qwen3cpu.load(folder, quant="q4", threads=1, prefix_cache=0)


def rows_of(engine, output, ids=PROMPT, adapter=None, top=MOST_TOP):
    sequence = engine.new_sequence(adapter)
    (rows,) = engine.forward([BatchItem(sequence, ids, range(len(ids)), output, top)])
    return rows


def largest(row, count):
    """The ids of the largest logits, best first; of equal ones the lower id first."""
    return np.argsort(-row, kind="stable")[:count].tolist()


@pytest.mark.parametrize("count", [1, 2, 20, MOST_TOP])
def test_the_largest_are_there_and_the_others_are_the_very_logits_or_nothing(model, count):
    size = model.tokenizer.size
    assert 0 < SHAPE["vocab_size"] - size < 20
    every, top = (rows_of(model.engine, output, top=count)[:, :size] for output in ("logits", "top_logits"))
    there = np.isfinite(top)
    assert (top[there] == every[there]).all()
    assert np.isneginf(top[~there]).all()
    assert there.mean() < 0.25
    for row, whole in zip(top, every, strict=True):
        assert largest(row, count) == largest(whole, count)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_and_neighbours_change_nothing(model, threads):
    expected = rows_of(model.engine, "top_logits")
    model.engine.threads = threads
    try:
        one, other, hidden, plain = (model.engine.new_sequence() for _ in range(4))
        batch = [
            BatchItem(plain, PROMPT[:20], [19], "logits"),
            BatchItem(one, PROMPT, range(len(PROMPT)), "top_logits"),
            BatchItem(hidden, PROMPT[:9], [3, 8], "hidden"),
            BatchItem(other, PROMPT[:70], [69], "top_logits"),
        ]
        found = model.engine.forward(batch)
    finally:
        model.engine.threads = 1
    assert (found[1] == expected).all()
    assert (found[3][0] == expected[69]).all()
    assert (found[0][0] == rows_of(model.engine, "logits")[19]).all()
    assert (found[2] == rows_of(model.engine, "hidden")[[3, 8]]).all()


def test_pieces_change_nothing(model):
    expected = rows_of(model.engine, "top_logits")
    sequence = model.engine.new_sequence()
    for place, token in enumerate(PROMPT[:40]):
        (row,) = model.engine.forward([BatchItem(sequence, [token], [0], "top_logits")])
        assert (row[0] == expected[place]).all()


def test_rows_without_a_token_are_not_among_the_largest(tmp_path):
    """The rows after the tokenizer's tokens would be the largest of all."""
    config = checkpoints.qwen3_config(tie_word_embeddings=False, **SHAPE)
    tensors = dict(checkpoints.random_tensors(config))
    tensors["lm_head.weight"][15_001:] *= 30
    folder = write(tmp_path, 15_001, tensors=tensors, tie_word_embeddings=False)
    model = qwen3cpu.load(folder, quant="q4", threads=1, prefix_cache=0)
    size = model.tokenizer.size
    assert size <= 15_001
    every, top = (rows_of(model.engine, output)[:, :size] for output in ("logits", "top_logits"))
    assert np.isfinite(top).mean() < 0.25
    for row, whole in zip(top, every, strict=True):
        assert largest(row, MOST_TOP) == largest(whole, MOST_TOP)


def test_where_all_are_alike_every_logit_is_there(tmp_path):
    config = checkpoints.qwen3_config(tie_word_embeddings=False, **SHAPE)
    tensors = dict(checkpoints.random_tensors(config))
    tensors["lm_head.weight"][:] = tensors["lm_head.weight"][0]
    folder = write(tmp_path, tensors=tensors, tie_word_embeddings=False)
    model = qwen3cpu.load(folder, quant="q4", threads=1, prefix_cache=0)
    every, top = (rows_of(model.engine, output)[:, : model.tokenizer.size] for output in ("logits", "top_logits"))
    assert (every == top).all()


@pytest.mark.parametrize("quant", ["q8", "bf16"])
def test_a_head_of_one_part_gives_every_logit(folder, quant):
    engine = qwen3cpu.load(folder, quant=quant, threads=1, prefix_cache=0).engine
    assert (rows_of(engine, "top_logits", PROMPT[:5]) == rows_of(engine, "logits", PROMPT[:5])).all()


def test_an_adapter_of_the_head_has_every_logit(folder, tmp_path):
    config = checkpoints.qwen3_config(**SHAPE)
    adapters = {}
    for name, target in (("head", "lm_head"), ("layers", "q_proj")):
        adapters[name] = write_adapter(tmp_path / name, config, {"r": 4, "target_modules": [target]}, seed=3)
    model = qwen3cpu.load(folder, quant="q4", threads=1, prefix_cache=0, adapters=adapters)
    for name in adapters:
        adapter = model.adapters.get_adapter(name)
        every, top = (rows_of(model.engine, output, PROMPT[:9], adapter) for output in ("logits", "top_logits"))
        there = np.isfinite(top)
        assert (top[there] == every[there]).all()
        assert there.all() == (name == "head")


@pytest.mark.parametrize(
    ("options", "top"),
    [
        ({"temperature": 0}, 1),
        ({}, 20),
        ({"top_k": MOST_TOP, "temperature": 2.0, "top_p": 0.9, "min_p": 0.01}, MOST_TOP),
        ({"top_k": MOST_TOP + 1}, None),
        ({"top_k": 0}, None),
        ({"logprobs": True}, None),
        ({"presence_penalty": 0.5}, None),
        ({"frequency_penalty": 0.5}, None),
        ({"repetition_penalty": 1.1}, None),
        ({"logit_bias": {5: 1.0}}, None),
        ({"dry_multiplier": 0.5}, None),
        ({"xtc_probability": 0.5}, None),
        ({"typical_p": 0.9}, None),
        ({"top_n_sigma": 1.0}, None),
        ({"processors": [lambda ids, logits: None]}, None),
        ({"temperature": 0, "presence_penalty": 1.0}, None),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else str(value),
)
def test_what_an_answer_needs_of_the_logits(model, monkeypatch, options, top):
    assert model.answerer.request(**options).top == top
    found = model.generate(PROMPT[:30], seed=3, max_new_tokens=25, ignore_eos=True, **options)
    monkeypatch.setattr(Request, "top", None)
    assert (
        model.generate(PROMPT[:30], seed=3, max_new_tokens=25, ignore_eos=True, **options).token_ids == found.token_ids
    )


@pytest.mark.parametrize("top", [0, -1, MOST_TOP + 1])
def test_a_wrong_count_is_refused(model, top):
    with pytest.raises(EngineError, match=f"expected the largest 1 to {MOST_TOP} logits, found {top}"):
        rows_of(model.engine, "top_logits", PROMPT[:3], top=top)


def test_an_unknown_output_is_refused(model):
    with pytest.raises(EngineError, match="expected the output logits, top_logits or hidden, found all"):
        rows_of(model.engine, "all", PROMPT[:3])
