"""Arguments of wrong types: every call names the argument, what it expects and what it found."""

import asyncio

import numpy as np
import pytest

import qwen3cpu
from qwen3cpu.batch import run_file
from qwen3cpu.errors import ArgumentError, Qwen3CpuError

ARRAY = np.array([1, 2])
HUGE = 10**5000
"""Python refuses to write so many digits."""
NO_PATHS = [None, 5, b"a", "", "\0", "\ud800", "x" * 100_000]


@pytest.fixture(scope="module")
def tiny():
    return qwen3cpu.load("tiny", threads=1)


@pytest.fixture(scope="module")
def embedder():
    return qwen3cpu.load("tiny-embedding", threads=1)


def message_of(call):
    """The message of the package's error that a call raises; "" without one. Other errors are not caught."""
    try:
        call()
    except Qwen3CpuError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("option", sorted({*qwen3cpu.Options.__annotations__, "n"}))
def test_options(tiny, option):
    """Each option takes a value or refuses it in a message of a few lines."""
    for value in (ARRAY, HUGE, list(range(100_000)), object()):
        options = {option: value} if option.startswith("max_") else {option: value, "max_new_tokens": 1}
        assert len(message_of(lambda options=options: tiny.generate("a", **options))) < 500


def test_ids_may_be_arrays(tiny):
    ids = np.array([990, 988])
    assert tiny.generate("17 + 5?", stop_token_ids=ids, temperature=0, thinking=False).text == (
        tiny.generate("17 + 5?", stop_token_ids=[990, 988], temperature=0, thinking=False).text
    )


@pytest.mark.parametrize("prompt", [None, 5, np.array(1), {"a": 1}, object()], ids=lambda each: type(each).__name__)
def test_prompts_and_texts(tiny, embedder, prompt):
    calls = [tiny.generate, tiny.stream, tiny.score, tiny.logits, tiny.generate_batch, tiny.render]
    calls += [lambda p: asyncio.run(tiny.agenerate(p)), lambda p: tiny.run(p, tools=[]), tiny.chat().send]
    calls += [lambda p: tiny.generate_batch([p]), lambda p: embedder.embed([p]), embedder.embed, embedder.embed_stream]
    calls += [tiny.tokenizer.decode, tiny.tokenizer.id_of]
    for call in calls:
        with pytest.raises(ArgumentError, match=r"expected .*, found"):
            call(prompt)


@pytest.mark.parametrize("value", [ARRAY, HUGE, True, object()], ids=["array", "huge", "true", "object"])
@pytest.mark.parametrize("name", ["quant", "kv", "task", "activations", "cache", "context", "progress", "threads"])
def test_load(name, value):
    if name == "cache" and value is True:
        return
    with pytest.raises(ArgumentError, match=f"{name}: expected"):
        qwen3cpu.load("tiny", **{name: value})


def test_other_calls(tiny, embedder, tmp_path):
    for name in ("kind", "dtype", "normalize", "truncate", "dimensions", "progress"):
        with pytest.raises(ArgumentError, match=f"{name}: expected"):
            embedder.embed("a", **{name: ARRAY})
    for name in ("quant", "calibrate", "low_disk", "progress"):
        with pytest.raises(ArgumentError, match=f"{name}: expected"):
            qwen3cpu.pack("tiny", tmp_path / "a", **{name: ARRAY})
    with pytest.raises(ArgumentError, match="draft: expected a loaded model, found NoneType"):
        tiny.draft_with(None)
    for texts in (None, "text", b"text", 5):
        with pytest.raises(ArgumentError, match="texts: expected a list of texts, found"):
            qwen3cpu.write_drafts("tiny", texts, tmp_path / "a")
    lines = tmp_path / "lines.jsonl"
    lines.write_text('{"prompt": "a"}\n')
    for name, value in {"progress": 7, "kv_bytes": "a", "restart": ARRAY, "model_name": 5}.items():
        with pytest.raises(ArgumentError, match=f"{name}: expected"):
            run_file(tiny, lines, tmp_path / "out", **{name: value})
    with pytest.raises(ArgumentError, match="model: expected a loaded model, found NoneType"):
        run_file(None, lines, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [lines]


@pytest.mark.parametrize("path", NO_PATHS, ids=lambda path: ascii(path)[:8])
def test_paths(tiny, tmp_path, path):
    lines = tmp_path / "lines.jsonl"
    lines.write_text('{"prompt": "a"}\n')
    calls = {
        "path": [lambda: qwen3cpu.pack("tiny", path), lambda: qwen3cpu.write_drafts("tiny", ["a"], path)],
        "out": [lambda: qwen3cpu.merge("tiny", "adapter", path)],
        "adapters": [lambda: tiny.adapters.load("a", path)],
        "input": [lambda: run_file(tiny, path, tmp_path / "out")],
        "output": [lambda: run_file(tiny, lines, path)],
        "drafts_from": [] if path is None else [lambda: tiny.draft_from(path)],
    }
    for name, those in calls.items():
        for call in those:
            with pytest.raises(ArgumentError, match=f"^{name}: expected a path"):
                call()
    assert 0 < len(message_of(lambda: qwen3cpu.load(path))) < 500


def test_names_that_are_too_long(tiny, tmp_path):
    long = tmp_path / ("x" * 300)
    lines = tmp_path / "lines.jsonl"
    lines.write_text('{"prompt": "a"}\n')
    for call in (
        lambda: qwen3cpu.pack("tiny", long),
        lambda: qwen3cpu.write_drafts("tiny", ["a"], long),
        lambda: run_file(tiny, lines, long),
        lambda: run_file(tiny, long, tmp_path / "out"),
        lambda: tiny.draft_from(long),
        lambda: tiny.adapters.load("a", long),
        lambda: qwen3cpu.load(long),
    ):
        with pytest.raises(Qwen3CpuError):
            call()
