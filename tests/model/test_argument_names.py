"""Errors for wrong arguments name the argument that was probably meant, also for names of other libraries."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

import qwen3cpu
from qwen3cpu.arguments import LOADING, NEEDLESS, OTHER_NAMES, nearest
from qwen3cpu.checkpoint.tensors import QUANTS, Quant
from qwen3cpu.engine.formats import ACTIVATIONS, KV_FORMATS, Activations, KvFormat
from qwen3cpu.generation.options import ALIASES, NAMES


@pytest.fixture(scope="module")
def model() -> qwen3cpu.Model:
    return qwen3cpu.load("tiny")


def says(call: Callable[[], object]) -> str:
    with pytest.raises(qwen3cpu.ArgumentError) as caught:
        call()
    return str(caught.value)


def test_types_have_the_formats_of_the_registry() -> None:
    assert set(get_args(Quant)) == set(QUANTS)
    assert set(get_args(KvFormat)) == set(KV_FORMATS)
    assert get_args(Activations) == ACTIVATIONS


def test_load_keeps_its_signature() -> None:
    assert tuple(inspect.signature(qwen3cpu.load).parameters) == LOADING
    assert qwen3cpu.load.__doc__ is not None
    with pytest.raises(TypeError):
        qwen3cpu.load()  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("n_ctx", "it is called 'context' here"),
        ("n_threads", "it is called 'threads' here"),
        ("torch_dtype", "it is called 'quant' here"),
        ("cache_type_k", "it is called 'kv' here"),
        ("model_path", "it is called 'source' here"),
        ("contxt", "did you mean 'context'?"),
        ("temperature", "'temperature' is an argument of model.generate"),
        ("max_tokens", "'max_tokens' is an argument of model.generate"),
        ("num_predict", "'max_new_tokens' is an argument of model.generate"),
        ("n_gpu_layers", "qwen3cpu computes on CPUs only, so leave it out"),
        (
            "wings",
            "known are activations, adapters, cache, context, draft, drafts_from, kv, prefix_cache, progress, quant,",
        ),
    ],
)
def test_load(name: str, hint: str) -> None:
    assert says(lambda: qwen3cpu.load("tiny", **{name: 1})).startswith(f"load: unknown argument {name!r}; {hint}")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("temp", "it is called 'temperature' here"),
        ("n_predict", "it is called 'max_new_tokens' here"),
        ("response_format", "it is called 'schema' here"),
        ("n_ctx", "'context' is an argument of qwen3cpu.load"),
        ("threads", "'threads' is an argument of qwen3cpu.load"),
        ("temprature", "did you mean 'temperature'?"),
        ("stream", "model.stream gives an answer piece by piece"),
        ("wings", "known are "),
    ],
)
def test_options(model: qwen3cpu.Model, name: str, hint: str) -> None:
    for call in (model.generate, model.stream, model.chat):
        assert says(lambda call=call: _ran(call("2 + 2?", **{name: 1}))).startswith(f"unknown option {name!r}; {hint}")


def _ran(found: Any) -> None:
    if isinstance(found, qwen3cpu.Conversation):
        found.send("2 + 2?")


def test_aliases_are_no_errors(model: qwen3cpu.Model) -> None:
    assert model.generate("2 + 2?", max_tokens=1).usage.completion_tokens == 1


def test_pack(tmp_path: Path) -> None:
    found = says(lambda: qwen3cpu.pack("tiny", tmp_path / "x.qwen3", dtype="q4"))  # type: ignore[call-arg]
    assert found == "pack: unknown argument 'dtype'; it is called 'quant' here"


@pytest.mark.parametrize(
    ("quant", "meant"),
    [
        *[(name, "q4") for name in ("Q4", "q4_k_m", "Q4_K_S", "q4_0", "int4", "4bit", "nf4", "IQ4_XS", "q3_k_l", 4)],
        *[(name, "q8") for name in ("Q8_0", "int8", "8bit", "fp8", "q5_k_m", "Q6_K")],
        *[(name, "bf16") for name in ("BF16", "f16", "fp16", "bfloat16", "float16", 16)],
        *[(name, "f32") for name in ("fp32", "float32")],
        ("q4a12", "q4a128"),
    ],
)
def test_weight_formats(quant: Any, meant: str) -> None:
    found = says(lambda: qwen3cpu.load("tiny", quant=quant))
    assert found == f"quant: expected one of {', '.join(QUANTS)}, found {quant!r}; did you mean {meant!r}?"


@pytest.mark.parametrize(
    ("kv", "meant"), [("Q8", "q8"), ("q8_0", "q8"), ("q4_0", "q8"), ("bf16", "f16"), ("fp16", "f16")]
)
def test_kv_formats(kv: Any, meant: str) -> None:
    assert says(lambda: qwen3cpu.load("tiny", kv=kv)).endswith(f"found {kv!r}; did you mean {meant!r}?")


def test_a_format_that_is_like_none() -> None:
    assert says(lambda: qwen3cpu.load("tiny", quant="awq")).endswith("found 'awq'")  # type: ignore[arg-type]
    assert nearest("q99999999", QUANTS, by_bits=True) is None


def test_other_names_lead_to_arguments_that_there_are() -> None:
    ours = {*LOADING, *NAMES, *ALIASES}
    assert set(OTHER_NAMES.values()) <= ours
    assert not (set(OTHER_NAMES) | set(NEEDLESS)) & ours
    assert not set(OTHER_NAMES) & set(NEEDLESS)
