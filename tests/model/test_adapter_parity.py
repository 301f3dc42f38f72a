"""Logits with adapters of every kind, in float32, against peft on transformers."""

import warnings

import checkpoints
import numpy as np
import pytest
from lora_adapters import KINDS, write_adapter

import qwen3cpu

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

TOLERANCE = 2e-4
LENGTH = 60


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "own_head"])
def written(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    return checkpoints.write_checkpoint(folder, dtype="float32", tie_word_embeddings=request.param)


@pytest.fixture(scope="module")
def model(written):
    return qwen3cpu.load(written.folder, quant="f32", kv="f32", threads=1)


def reference_logits(written, adapter, ids):
    torch.set_num_threads(1)
    base = transformers.AutoModelForCausalLM.from_pretrained(
        written.folder, dtype=torch.float32, attn_implementation="eager"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapted = peft.PeftModel.from_pretrained(base, adapter).eval()
    with torch.no_grad():
        return adapted(torch.from_numpy(ids)[None], use_cache=False).logits[0].numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_those_of_peft(written, model, tmp_path, kind):
    ids = np.random.default_rng(1).integers(written.config["vocab_size"], size=LENGTH)
    adapter = write_adapter(tmp_path / kind, written.config, KINDS[kind], seed=list(KINDS).index(kind))
    expected = reference_logits(written, adapter, ids)
    plain = model.logits(ids)
    assert np.abs(expected - plain).max() > 1, "the adapter changes something"
    model.adapters.load(kind, adapter)
    try:
        assert np.abs(model.logits(ids, adapter=kind) - expected).max() <= TOLERANCE
    finally:
        model.adapters.unload(kind)
    assert np.array_equal(model.logits(ids), plain)


def test_what_peft_saves_is_read(written, model, tmp_path):
    """Its own file, with all the settings and copies of embedding and head that PEFT writes into it."""
    base = transformers.AutoModelForCausalLM.from_pretrained(written.folder, dtype=torch.float32)
    torch.manual_seed(5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = peft.LoraConfig(r=6, target_modules=["embed_tokens", "lm_head", "q_proj"], init_lora_weights=False)
        adapted = peft.get_peft_model(base, config)
        adapted.save_pretrained(tmp_path)
    ids = np.random.default_rng(1).integers(written.config["vocab_size"], size=LENGTH)
    with torch.no_grad():
        expected = adapted.eval()(torch.from_numpy(ids)[None]).logits[0].numpy()
    named = model.adapters.load("saved", tmp_path)
    try:
        assert np.abs(model.logits(ids, adapter="saved") - expected).max() <= TOLERANCE
        # The copies of the model's own embedding and head are not kept.
        assert named.adapter.nbytes < 100_000
    finally:
        model.adapters.unload("saved")
