"""llama.cpp, if it is installed, splits texts as we do, and reads what `export` writes."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from checkpoints import EXPERTS, qwen3_config, random_tensors, write_checkpoint

import qwen3cpu
from qwen3cpu.checkpoint.readers.pre_tokenizers import PRE_TOKENIZERS
from qwen3cpu.loading.gguf_export import GGUF_TYPES, export_gguf

gguf = pytest.importorskip("gguf")
llama_cpp = pytest.importorskip("llama_cpp")
from gguf_models import write_gguf  # noqa: E402  needs the package

pytestmark = pytest.mark.heavy
SHAPE = {"hidden_size": 128, "intermediate_size": 256, "head_dim": 32, "moe_intermediate_size": 64}
TEXT = "I'LLs pay 12345 for it's\n\n  x+=1;  Stra\u00dfe \u4e16\u754c\t\u0661\u0662 don't YOU'RE the sky...\r\n" * 3


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Any:
    silence = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(silence, ctypes.c_void_p(0))
    return silence


def tokenizer(path: Path) -> Callable[[str], list[int]]:
    """llama.cpp's tokenizer of a file."""
    parameters = llama_cpp.llama_model_default_params()
    parameters.vocab_only = True
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), parameters)
    assert model, f"llama.cpp does not load {path}"
    vocab = llama_cpp.llama_model_get_vocab(model)

    def encode(text: str) -> list[int]:
        data = text.encode()
        ids = (llama_cpp.llama_token * (len(data) + 8))()
        count = llama_cpp.llama_tokenize(vocab, data, len(data), ids, len(ids), False, False)
        return list(ids[:count])

    return encode


@pytest.mark.parametrize("pre", PRE_TOKENIZERS)
def test_texts_are_cut_alike(tmp_path: Path, pre: str) -> None:
    config = qwen3_config(num_hidden_layers=1)

    def change(writer: Any) -> None:
        writer.kv_data[0]["tokenizer.ggml.pre"].value = pre

    write_gguf(tmp_path / "model.gguf", config, dict(random_tensors(config)), change=change)
    ours = qwen3cpu.load(tmp_path / "model.gguf", quant="f32", threads=1).tokenizer
    assert tokenizer(tmp_path / "model.gguf")(TEXT) == ours.encode(TEXT)


@pytest.mark.parametrize("more", [{}, EXPERTS], ids=["dense", "experts"])
@pytest.mark.parametrize("kind", GGUF_TYPES)
def test_an_exported_model_is_loaded_whole(tmp_path: Path, kind: str, more: dict[str, Any]) -> None:
    """llama.cpp refuses a file with too few or too many tensors."""
    write_checkpoint(tmp_path / "model", **{**more, **SHAPE})
    export_gguf(tmp_path / "model", tmp_path / "model.gguf", kind)
    model = llama_cpp.Llama(str(tmp_path / "model.gguf"), n_ctx=64, n_threads=1, verbose=False)
    folder = qwen3cpu.load(tmp_path / "model", quant="bf16", threads=1)
    ids = folder.tokenizer.encode("the sky is blue")
    assert model.tokenize(b"the sky is blue", add_bos=False) == ids
    model.eval(ids)
    assert model.metadata["tokenizer.chat_template"] == (tmp_path / "model" / "chat_template.jinja").read_text()
    assert model.n_vocab() == folder.config.vocab_size


@pytest.mark.parametrize("more", [{}, EXPERTS], ids=["dense", "experts"])
def test_an_exported_model_says_the_same(tmp_path: Path, more: dict[str, Any]) -> None:
    """24 greedy tokens. llama.cpp rounds the inputs of matrices to bfloat16, which changes no largest logit here."""
    write_checkpoint(tmp_path / "model", **{**more, **SHAPE})
    export_gguf(tmp_path / "model", tmp_path / "model.gguf")
    theirs = llama_cpp.Llama(str(tmp_path / "model.gguf"), n_ctx=64, n_threads=1, verbose=False, logits_all=True)
    ours = qwen3cpu.load(tmp_path / "model", quant="f32", kv="f32", threads=1)
    ids = ours.tokenizer.encode("the sky is blue and the cat sat on 12345")
    theirs.eval(ids)
    for _ in range(24):
        said = int(theirs.scores[theirs.n_tokens - 1].argmax())
        assert said == int(ours.logits(ids)[-1].argmax())
        ids.append(said)
        theirs.eval([said])
