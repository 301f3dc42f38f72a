"""Loading, options and their defaults, prompts, logits and scores: allowed arguments, and errors for wrong ones."""

import checkpoints
import numpy as np
import pytest

import qwen3cpu
from qwen3cpu import (
    ArgumentError,
    CheckpointError,
    ConfigError,
    ContextLengthError,
    MessageError,
    Qwen3CpuError,
)
from qwen3cpu.checkpoint.config import GenerationDefaults
from qwen3cpu.generation.options import make_request

RELEASED = GenerationDefaults(do_sample=True, temperature=0.6, top_k=20, top_p=0.95)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return checkpoints.write_checkpoint(tmp_path_factory.mktemp("model")).folder


@pytest.fixture(scope="module")
def model(folder):
    return qwen3cpu.load(folder, quant="f32", threads=1)


def sampling(defaults=RELEASED, **options):
    return make_request(options, defaults, vocab_size=1000).sampling


# Loading


def test_load_says_what_it_has(folder):
    model = qwen3cpu.load(str(folder), threads=2)
    assert (model.quant, model.kv, model.context, model.threads) == ("q4", "f16", 512, 2)
    assert model.config.hidden_size == 64
    assert set(model.format_bytes) == {"q4", "q8", "q4x2", "vectors"}
    assert sum(model.format_bytes.values()) == model.weight_bytes
    assert model.kv_bytes_per_token == 2 * 2 * 2 * 32 * 2  # layers, keys and values, KV heads, head_dim, bytes
    assert qwen3cpu.load(folder, kv="f32").kv_bytes_per_token == 2 * model.kv_bytes_per_token
    assert qwen3cpu.load(folder, kv="q8").kv_bytes_per_token == 2 * 2 * 2 * (32 + 4)  # and a float scale for each
    assert str(folder) in repr(model)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"quant": "q5"}, ArgumentError, "f32, bf16, q8, q4"),
        ({"kv": "q4"}, ArgumentError, "f32, f16, q8.*q4"),
        ({"context": 1}, ArgumentError, "context"),
        ({"context": 1 << 31}, ArgumentError, "context: expected at most 33554432 positions"),
        ({"context": 513, "rope_scaling": {"rope_type": "default"}}, ArgumentError, "512.*513"),
        ({"context": "many"}, ArgumentError, "context"),
        ({"threads": 0}, ArgumentError, "threads"),
    ],
)
def test_load_refuses(folder, options, error, says):
    with pytest.raises(error, match=says):
        qwen3cpu.load(folder, **options)


def test_load_refuses_a_missing_folder_and_another_architecture(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere"):
        qwen3cpu.load(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="llama"):
        qwen3cpu.load(checkpoints.write_checkpoint(tmp_path, model_type="llama").folder)


def test_yarn_stretches_the_context(tmp_path):
    scaling = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 300}
    folder = checkpoints.write_checkpoint(tmp_path, rope_scaling=scaling).folder
    assert qwen3cpu.load(folder).context == 1200


def test_threads_may_be_changed(model):
    logits = model.logits([1, 2, 3])
    model.threads = 3
    assert model.threads == 3
    assert (model.logits([1, 2, 3]) == logits).all()
    model.threads = 1
    with pytest.raises(ArgumentError, match="threads"):
        model.threads = 0


# Options


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("temprature", "temperature"),
        ("max_new_token", "max_new_tokens"),
        ("topk", "top_k"),
        ("enable_thinkin", "thinking"),
    ],
)
def test_an_unknown_option_names_the_nearest(model, name, near):
    with pytest.raises(ArgumentError, match=f"unknown option '{name}'.*{near}"):
        model.generate("hello", **{name: 1})


def test_an_option_like_no_other_lists_all(model):
    with pytest.raises(ArgumentError, match=r"xyzzy.*max_new_tokens"):
        model.generate("hello", xyzzy=1)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 1.5}, "top_p"),
        ({"top_k": -1}, "top_k"),
        ({"min_p": 2}, "min_p"),
        ({"typical_p": 2}, "typical_p"),
        ({"typ_p": -1}, "typical_p"),
        ({"top_n_sigma": -1}, "top_n_sigma"),
        ({"xtc_threshold": 2}, "xtc_threshold"),
        ({"dry_base": 0.5}, "dry_base"),
        ({"dry_sequence_breakers": ":"}, "dry_sequence_breakers"),
        ({"repetition_penalty": 0}, "repetition_penalty"),
        ({"presence_penalty": 5}, "presence_penalty"),
        ({"logit_bias": {5000: 1.0}}, "5000"),
        ({"logit_bias": [1]}, "logit_bias"),
        ({"seed": -1}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"max_new_tokens": 0}, "max_new_tokens.*at least 1.*0"),
        ({"max_new_tokens": 2.0}, "max_new_tokens"),
        ({"max_new_tokens": True}, "max_new_tokens"),
        ({"thinking": "yes"}, "thinking"),
        ({"thinking": 1}, "thinking"),
        ({"thinking_budget": -1}, "thinking_budget"),
        ({"stop": ""}, "stop"),
        ({"stop": ["a", 1]}, "stop"),
        ({"stop": 5}, "stop"),
        ({"stop_token_ids": [10**9]}, r"stop_token_ids\[0\].*1000000000"),
        ({"stop_token_ids": 5}, "stop_token_ids"),
        ({"logprobs": -1}, "logprobs"),
        ({"logprobs": 10**9}, "logprobs"),
        ({"n": 0}, "n: "),
        ({"n": 1025}, "n: expected a whole number from 1 to 1024, found 1025"),
        ({"num_return_sequences": 2**31}, "n: expected a whole number from 1 to 1024"),
        ({"deadline": 10**400}, "deadline: expected a number of seconds above 0, found an integer of 1329 bits"),
        ({"n": True}, "n: "),
        ({"raw": 1}, "raw"),
        ({"ignore_eos": "no"}, "ignore_eos"),
        ({"max_tokens": 3, "max_new_tokens": 3}, "max_new_tokens.*twice"),
        ({"thinking": True, "enable_thinking": True}, "thinking.*twice"),
        ({"do_sample": False, "temperature": 0.5}, "do_sample"),
        ({"do_sample": True, "temperature": 0}, "do_sample"),
        ({"tools": [{"name": "f"}], "raw": True}, "tools"),
        ({"tools": "f"}, "tools"),
    ],
)
def test_bad_options_are_refused_at_the_call(model, options, says):
    for call in (model.generate, model.stream):
        with pytest.raises(ArgumentError, match=says):
            call("hello", **options)


def test_bad_options_of_the_other_calls(model):
    with pytest.raises(ArgumentError, match="n: "):
        model.generate_batch(["hello"], n=2)
    with pytest.raises(ArgumentError, match="most_running"):
        model.generate_batch(["hello"], most_running=0)
    with pytest.raises(ArgumentError, match="list of prompts"):
        model.generate_batch("hello")
    with pytest.raises(ArgumentError, match="temperature"):
        model.chat(temperature=-1)
    with pytest.raises(ArgumentError, match="top"):
        model.score("hello world", top=-1)


def test_aliases():
    request = make_request(
        {"max_tokens": 5, "enable_thinking": False, "stop_strings": ["x"], "repeat_penalty": 1.5, "top_logprobs": 2},
        RELEASED,
        vocab_size=10,
    )
    assert (request.max_new_tokens, request.thinking, request.stop, request.logprobs) == (5, False, ("x",), 2)
    assert request.sampling.repetition_penalty == 1.5


def test_none_is_not_given():
    assert make_request(dict.fromkeys(["temperature", "stop", "seed", "n", "thinking"]), RELEASED, vocab_size=10) == (
        make_request({}, RELEASED, vocab_size=10)
    )


# Sampling defaults


def test_the_released_file_gives_the_values_for_thinking_and_the_authors_those_without():
    thinking, plain = sampling(), sampling(thinking=False)
    assert (thinking.temperature, thinking.top_p, thinking.top_k) == (0.6, 0.95, 20)
    assert (plain.temperature, plain.top_p, plain.top_k) == (0.7, 0.8, 20)
    assert sampling(thinking_budget=0) == plain


def test_without_a_file_the_authors_values_hold():
    assert sampling(GenerationDefaults()) == sampling()
    assert sampling(GenerationDefaults(), thinking=False) == sampling(thinking=False)


def test_a_file_with_its_own_values_speaks_for_both_modes():
    own = GenerationDefaults(temperature=0.2, top_p=0.5, repetition_penalty=1.05)
    for thinking in (True, False):
        found = sampling(own, thinking=thinking)
        assert (found.temperature, found.top_p, found.repetition_penalty, found.top_k) == (0.2, 0.5, 1.05, 20)


def test_the_caller_comes_first():
    for thinking in (True, False):
        found = sampling(thinking=thinking, temperature=1.1, top_p=0.3, top_k=0)
        assert (found.temperature, found.top_p, found.top_k) == (1.1, 0.3, 0)


def test_do_sample():
    greedy = GenerationDefaults(do_sample=False, temperature=0.6)
    assert sampling(greedy).temperature == 0
    assert sampling(greedy, do_sample=True).temperature == 0.6
    assert sampling(greedy, temperature=0.9).temperature == 0.9
    assert sampling(do_sample=False).temperature == 0


# Prompts


@pytest.mark.parametrize(
    ("prompt", "error", "says"),
    [
        ([], ArgumentError, "empty"),
        ([1, -1], ArgumentError, r"prompt\[1\].*-1"),
        ([1, 10**6], ArgumentError, r"prompt\[1\].*1000000"),
        ([1, 2.0], ArgumentError, r"prompt\[1\].*2.0"),
        ([True], ArgumentError, r"prompt\[0\].*True"),
        (["a"], ArgumentError, r"prompt\[0\].*'a'"),
        (5, ArgumentError, "prompt.*int"),
        (None, ArgumentError, "prompt.*NoneType"),
        (b"hello", ArgumentError, "prompt.*bytes"),
        ({"role": "user", "content": "x"}, ArgumentError, "prompt.*dict"),
        ([{"role": "robot", "content": "x"}], MessageError, r"messages\[0\].*robot"),
        ([{"role": "user"}], MessageError, r"messages\[0\]"),
        ([{"role": "user", "content": "x"}, 7], MessageError, r"messages\[1\]"),
        ("lone \ud800", ArgumentError, "surrogate"),
        (np.zeros((2, 2), dtype=np.int64), ArgumentError, "prompt"),
    ],
)
def test_bad_prompts(model, prompt, error, says):
    with pytest.raises(error, match=says):
        model.generate(prompt, max_new_tokens=1)


def test_an_empty_text_is_a_message_but_no_raw_prompt(model):
    assert model.generate("", max_new_tokens=1).usage.prompt_tokens > 1
    with pytest.raises(ArgumentError, match="empty"):
        model.generate("", raw=True)
    with pytest.raises(ArgumentError, match="raw"):
        model.generate([{"role": "user", "content": "x"}], raw=True)


@pytest.mark.parametrize("kind", [list, tuple, np.array, lambda ids: np.array(ids, dtype=np.int16), iter])
def test_ids_of_any_kind(model, kind):
    assert model.generate(kind([5, 6, 7]), seed=1, max_new_tokens=5).token_ids == (
        model.generate([5, 6, 7], seed=1, max_new_tokens=5).token_ids
    )


def test_control_tokens_in_a_message_are_text(model):
    honest = model.generate("x", max_new_tokens=1).usage.prompt_tokens
    forged = model.generate("<|im_end|>", max_new_tokens=1).usage.prompt_tokens
    assert forged == honest - 1 + len(model.tokenizer.encode("<|im_end|>"))
    assert len(model.tokenizer.encode("<|im_end|>")) > 1
    assert model.generate("<|im_end|>", raw=True, max_new_tokens=1).usage.prompt_tokens == 1


def test_render(model):
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    start = "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nu<|im_end|>\n"
    assert model.render(messages) == start + "<|im_start|>assistant\n"
    assert model.render(messages, thinking=False) == start + "<|im_start|>assistant\n<think>\n\n</think>\n\n"
    assert model.render(messages, add_generation_prompt=False) == start
    assert '{"name": "f"' in model.render(messages, tools=[{"name": "f"}])
    with pytest.raises(MessageError, match="list of messages"):
        model.render("u")


# Numbers


def test_logits_are_those_of_the_engine_in_pieces(model):
    ids = [(7 * i) % model.config.vocab_size for i in range(400)]
    logits = model.logits(ids)
    assert logits.shape == (400, model.config.vocab_size)
    assert logits.dtype == np.float32
    short = model.logits(ids[:100])
    assert (logits[:100] == short).all()


def test_score_is_the_log_softmax_of_logits(model):
    ids = [3, 1, 4, 1, 5, 9, 2, 6]
    logits = model.logits(ids).astype(np.float64)
    expected = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    scores = model.score(ids, top=3)
    assert [entry.token_id for entry in scores] == ids[1:]
    for position, entry in enumerate(scores):
        assert entry.logprob == pytest.approx(expected[position, ids[position + 1]], abs=1e-9)
        best = np.argsort(-expected[position, : model.tokenizer.size], kind="stable")[:3]
        assert [top.token_id for top in entry.top] == best.tolist()
    assert model.score("hello world") == model.score(model.tokenizer.encode("hello world"))


def test_bad_ids_for_numbers(model):
    with pytest.raises(ArgumentError, match=r"ids.*none"):
        model.logits([])
    with pytest.raises(ArgumentError, match="found a str"):
        model.logits("hello")
    with pytest.raises(ArgumentError, match="at least two tokens, found 1"):
        model.score("h")
    with pytest.raises(ContextLengthError, match=r"\b513\b.*\b512\b"):
        model.logits([1] * 513)
    assert model.logits([1] * 512).shape[0] == 512


def test_every_error_has_one_root():
    for name in qwen3cpu.__all__:
        kind = getattr(qwen3cpu, name)
        if isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, Warning):
            assert issubclass(kind, Qwen3CpuError)
    assert issubclass(ArgumentError, ValueError)


def test_the_version_is_that_of_the_project():
    from pathlib import Path

    project = Path(__file__).parents[2] / "pyproject.toml"
    if not project.exists():
        pytest.skip("not in a source tree")
    assert f'version = "{qwen3cpu.__version__}"' in project.read_text()
