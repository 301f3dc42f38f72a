"""Pre-tokenizers of GGUF files: each splits by the patterns of its name, and an unknown one is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from checkpoint_texts import tokenizer_dict
from checkpoints import qwen3_config, random_tensors

from qwen3cpu.checkpoint.gguf_file import GgufFile
from qwen3cpu.checkpoint.readers.gguf_texts import read_gguf_texts
from qwen3cpu.checkpoint.readers.pre_tokenizers import PRE_TOKENIZERS, pre_tokenizer_name
from qwen3cpu.errors import CheckpointError

gguf = pytest.importorskip("gguf")
tokenizers = pytest.importorskip("tokenizers")
from gguf_models import write_gguf  # noqa: E402  needs the package

TEXT = "I'LLs pay 12345\n\n  x+=1;e\u0301t"
CUTS = {
    "qwen2": ["I", "'LL", "s", " pay", " ", *"12345", "\n\n", " ", " x", "+=", "1", ";e", "\u0301t"],
    "llama-bpe": ["I", "'LL", "s", " pay", " ", "123", "45", "\n\n", " ", " x", "+=", "1", ";e", "\u0301t"],
    "smollm": ["I", "'", "LLs", " pay", " ", *"12345", "\n\n ", " x", "+=", "1", ";", "e", "\u0301", "t"],
    "gpt-2": ["I", "'", "LLs", " pay", " 12345", "\n\n ", " x", "+=", "1", ";", "e", "\u0301", "t"],
    "qwen35": ["I", "'LL", "s", " pay", " ", *"12345", "\n\n", " ", " x", "+=", "1", ";e\u0301t"],
    "ufakzeka": ["I", "'LLs", " pay", " ", *"12345", "\n\n", " ", " x", "+=", "1", ";e", "\u0301t"],
    "gpt-4o": ["I'LL", "s", " pay", " ", "123", "45", "\n\n", " ", " x", "+=", "1", ";e\u0301t"],
    "deepseek-v3": ["I", "'LLs", " pay", " ", "123", "45", "\n\n", " ", " x", "+=", "1", ";e", "\u0301t"],
}


def written(path: Path, pre: str) -> dict[str, Any]:
    """tokenizer.json of a file with this pre-tokenizer."""
    config = qwen3_config(num_hidden_layers=1)

    def change(writer: Any) -> None:
        writer.kv_data[0]["tokenizer.ggml.pre"].value = pre

    write_gguf(path, config, dict(random_tensors(config)), change=change)
    return json.loads(read_gguf_texts(GgufFile(path)).tokenizer_json)


@pytest.mark.parametrize("pre", CUTS)
def test_cuts(tmp_path: Path, pre: str) -> None:
    tokenizer = tokenizers.Tokenizer.from_str(json.dumps(written(tmp_path / "model.gguf", pre)))
    cuts = tokenizer.pre_tokenizer.pre_tokenize_str(TEXT)
    assert [TEXT[start:stop] for _, (start, stop) in cuts] == CUTS[pre]


@pytest.mark.parametrize("pre", PRE_TOKENIZERS)
def test_every_one_is_read_by_the_library_and_found_again(tmp_path: Path, pre: str) -> None:
    tokenizer = written(tmp_path / "model.gguf", pre)
    library = tokenizers.Tokenizer.from_str(json.dumps(tokenizer))
    assert "".join(TEXT[start:stop] for _, (start, stop) in library.pre_tokenizer.pre_tokenize_str(TEXT)) == TEXT
    found = pre_tokenizer_name(tokenizer)
    assert found is not None
    assert PRE_TOKENIZERS[found][::2] == PRE_TOKENIZERS[pre][::2]


def test_names_of_other_tokenizers() -> None:
    assert pre_tokenizer_name(tokenizer_dict()) == "qwen2"
    digits = {"type": "Digits", "individual_digits": True}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    both = {"type": "Sequence", "pretokenizers": [digits, level]}
    assert pre_tokenizer_name({"pre_tokenizer": both, "normalizer": None}) == "smollm"
    assert pre_tokenizer_name({"pre_tokenizer": level}) == "gpt-2"
    assert pre_tokenizer_name({"pre_tokenizer": {**level, "add_prefix_space": True}}) is None
    assert pre_tokenizer_name({"pre_tokenizer": both, "normalizer": {"type": "Lowercase"}}) is None
    assert pre_tokenizer_name({"pre_tokenizer": None}) is None


def test_an_unknown_one_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"tokenizer\.ggml\.pre: expected one of qwen2, .*found 'tekken'"):
        written(tmp_path / "model.gguf", "tekken")
