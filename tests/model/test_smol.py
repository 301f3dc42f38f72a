"""A trained model of 135 million parameters in all four formats: parity, perplexity, divergence and English.

Random weights hide what a trained model shows: outliers, sharp attention, and errors that only add up to nonsense.
"""

import json

import numpy as np
import pytest
from prose import PROSE
from quantized_oracle import QuantizedOracle

import qwen3cpu
from qwen3cpu.loading.open import open_checkpoint

pytestmark = pytest.mark.smol

FORMATS = ("f32", "bf16", "q8", "q4")


def log_softmax(logits):
    """The log softmax in float64."""
    logits = logits.astype(np.float64)
    logits = logits - logits.max(1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


@pytest.fixture(scope="module")
def models(smolqwen3):
    """Format -> loaded model."""
    return {quant: qwen3cpu.load(smolqwen3, quant=quant, cache=False, context=1024) for quant in FORMATS}


@pytest.fixture(scope="module")
def prose_ids(models):
    return np.array(models["f32"].tokenizer.encode(PROSE))


@pytest.fixture(scope="module")
def logprobs(models, prose_ids):
    """Format -> log-probabilities of every next token of PROSE, [tokens - 1, vocab_size]."""
    return {quant: log_softmax(model.logits(prose_ids)[:-1]) for quant, model in models.items()}


def perplexity(logprobs, ids):
    """The perplexity of ids[1:]."""
    return float(np.exp(-logprobs[np.arange(len(ids) - 1), ids[1:]].mean()))


def divergence(p, q):
    """KL(p || q) at each position, in nats, of log-probabilities [positions, vocab_size]."""
    return (np.exp(p) * (p - q)).sum(1)


def test_f32_equals_transformers(smolqwen3, prose_ids):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")

    torch.set_num_threads(1)
    reference = transformers.Qwen3ForCausalLM.from_pretrained(
        smolqwen3, dtype=torch.float32, attn_implementation="eager"
    )
    with torch.no_grad():
        theirs = reference(torch.from_numpy(prose_ids)[None]).logits[0].numpy()
    ours = qwen3cpu.load(smolqwen3, quant="f32", kv="f32", cache=False).logits(prose_ids)
    assert (np.abs(ours - theirs).max(1) <= 2e-4 * np.abs(theirs).max(1)).all()


def test_bf16_is_the_checkpoint_itself(logprobs):
    # The file holds bfloat16, and both formats multiply it with float inputs in the same order.
    assert (logprobs["bf16"] == logprobs["f32"]).all()


def test_perplexity_of_prose(logprobs, prose_ids):
    plain = perplexity(logprobs["f32"], prose_ids)
    # A model of this size that knows English is far below a unigram model's hundreds. A broken layer gives thousands.
    assert plain < 30
    assert perplexity(logprobs["q8"], prose_ids) == pytest.approx(plain, rel=0.01)


@pytest.mark.parametrize("quant", ["q8", "q4"])
def test_divergence_is_what_the_format_predicts(smolqwen3, logprobs, prose_ids, quant):
    # The oracle on the unpacked weights, with inputs rounded to 8 bits, has rounding noise of the same size.
    checkpoint = open_checkpoint(smolqwen3, quant, threads=1, cache=False)
    config = json.loads((smolqwen3 / "config.json").read_text(encoding="utf-8"))
    oracle = QuantizedOracle(config, checkpoint.matrices, checkpoint.vectors)
    expected = log_softmax(oracle.logits(prose_ids)[:-1])
    predicted = divergence(logprobs["bf16"], expected)
    found = divergence(logprobs["bf16"], logprobs[quant])
    assert found.min() > -1e-9
    assert found.mean() == pytest.approx(predicted.mean(), rel=0.15)
    assert perplexity(logprobs[quant], prose_ids) == pytest.approx(perplexity(expected, prose_ids), rel=0.05)


@pytest.fixture(scope="module")
def exact_cache(smolqwen3, prose_ids):
    """Log-probabilities with bf16 weights and an f32 cache."""
    model = qwen3cpu.load(smolqwen3, quant="bf16", kv="f32", cache=False)
    return log_softmax(model.logits(prose_ids)[:-1])


def test_f16_cache_costs_nothing(logprobs, exact_cache):
    assert divergence(exact_cache, logprobs["bf16"]).mean() < 1e-5


def test_q8_cache_costs_less_than_q8_weights(smolqwen3, logprobs, exact_cache, prose_ids):
    # Both round to 8 bits: the cache only the inputs of attention, the weights every product of the model.
    model = qwen3cpu.load(smolqwen3, quant="bf16", kv="q8", cache=False)
    cache = log_softmax(model.logits(prose_ids)[:-1])
    weights = divergence(logprobs["bf16"], logprobs["q8"])
    assert 0 < divergence(exact_cache, cache).mean() < weights.mean()
    assert perplexity(cache, prose_ids) == pytest.approx(perplexity(exact_cache, prose_ids), rel=0.01)


@pytest.mark.parametrize("quant", FORMATS)
def test_capital_of_france(models, quant):
    result = models[quant].generate("The capital of France is", raw=True, temperature=0, max_new_tokens=8)
    assert "Paris" in result.text


@pytest.mark.parametrize("quant", FORMATS)
def test_answers_a_chat(models, quant):
    question = [{"role": "user", "content": "What is the capital of France?"}]
    result = models[quant].generate(question, temperature=0, max_new_tokens=60)
    assert "Paris" in result.text
    assert result.finish_reason == "stop"
    assert "<|im" not in result.text


@pytest.mark.parametrize("quant", FORMATS)
def test_writes_sensible_english(models, prose_ids, logprobs, quant):
    # The checkpoint itself is the judge: in f32 it must find every answer more likely than prose written by people.
    # Such a small model sometimes falls into a loop or says almost nothing, in any format: one answer of six may.
    judge = models["f32"]
    poor = 0
    for question in (
        "Write a short story about a dog who finds a letter.",
        "Explain in simple words why the sky is blue.",
    ):
        messages = [{"role": "user", "content": question}]
        prompt = judge.tokenizer.encode(judge.render(messages), control_tokens=True)
        for result in models[quant].generate(
            messages, n=3, temperature=0.7, top_p=0.8, top_k=20, seed=1, max_new_tokens=70
        ):
            ids = np.array([*prompt, *result.token_ids])
            scored = log_softmax(judge.logits(ids)[len(prompt) - 1 : -1])
            answer = ids[len(prompt) :]
            assert np.exp(-scored[np.arange(len(answer)), answer].mean()) < perplexity(logprobs["f32"], prose_ids)
            poor += len(answer) < 20 or len(set(answer.tolist())) < len(answer) / 3
    assert poor <= 1
