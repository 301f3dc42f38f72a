"""Vectors of texts: the same bits in any batch, the end token, limits, and refused arguments."""

import asyncio
import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from retrieval_models import write_embedding_model

import qwen3cpu
from qwen3cpu import _native
from qwen3cpu.errors import ArgumentError, ConfigError, ContextLengthError
from qwen3cpu.retrieval import passes

WORDS = ("sky", "blue", "the", "number", "hello", "world", "is", "你好", "é", "!", "\n")


def texts_of_all_lengths(count: int, seed: int = 0) -> list[str]:
    """Texts of 0 to 200 words."""
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, size=int(rng.integers(0, 200) ** 2 / 200))) for _ in range(count)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("embedding") / "model"
    write_embedding_model(path, max_position_embeddings=1024)
    return path


@pytest.fixture(scope="module", params=["f32", "q8", "q4"])
def model(folder, request):
    return qwen3cpu.load(folder, quant=request.param, threads=2)


def test_a_vector_is_the_same_alone_in_any_batch_and_with_any_threads(model, monkeypatch):
    texts = texts_of_all_lengths(60)
    expected = model.embed(texts)
    for kind in ("query", "document"):
        together = model.embed(texts, kind=kind)
        alone = np.stack([model.embed(text, kind=kind) for text in texts])
        assert (together == alone).all()
    assert (model.embed(texts[::-1])[::-1] == expected).all()
    for window, tokens, kv_bytes in ((1, 1, 0), (7, 64, 1 << 30), (1000, 100_000, 1 << 30), (60, 512, 1 << 18)):
        monkeypatch.setattr(passes, "WINDOW", window)
        monkeypatch.setattr(passes, "PASS_TOKENS", tokens)
        monkeypatch.setattr(passes, "KV_BYTES", kv_bytes)
        assert (model.embed(texts) == expected).all()
    for threads in (1, 3):
        model.threads = threads
        assert (model.embed(texts) == expected).all()
    model.threads = 2


def test_a_vector_is_the_same_beside_other_threads(model):
    texts = texts_of_all_lengths(40)
    expected = model.embed(texts)
    found = {}

    def work(number: int) -> None:
        found[number] = model.embed(texts[number:] + texts[:number])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, vectors in found.items():
        assert (np.roll(vectors, number, axis=0) == expected).all()


def test_a_vector_is_the_same_on_every_instruction_set(folder):
    code = (
        "import sys, qwen3cpu; m = qwen3cpu.load(sys.argv[1], quant='q4', threads=1);"
        "print(m.embed(['the sky is blue', 'hello'], kind='query').tobytes().hex())"
    )
    found = {}
    for isa in [name for name, runs in _native.isas() if runs]:
        environment = {**os.environ, "QWEN3CPU_ISA": isa}
        command = [sys.executable, "-c", code, folder]
        found[isa] = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    assert len(set(found.values())) == 1, list(found)


def test_all_memory_is_given_back(model):
    before = model.engine.kv_blocks_in_use
    windows = model.embed_stream(texts_of_all_lengths(600))
    next(windows)
    windows.close()
    with pytest.raises(ContextLengthError):
        model.embed(["a", "number " * 5000])
    assert model.engine.kv_blocks_in_use == before


def test_texts_are_read_as_they_are_needed(model):
    read = []

    def texts():
        for number in range(10_000):
            read.append(number)
            yield f"number {number}"

    windows = model.embed_stream(texts())
    assert next(windows).shape == (passes.WINDOW, 64)
    assert len(read) <= 2 * passes.WINDOW
    windows.close()


def test_an_end_token_that_is_there_is_not_added_again(model):
    end = model.tokenizer.endoftext
    ids = model.tokenizer.encode("hello world")
    expected = model.embed("hello world")
    for same in ("hello world<|endoftext|>", ids, [*ids, end]):
        assert (model.embed([same])[0] == expected).all()
    assert (model.embed("<|endoftext|>") == model.embed("")).all()


def test_control_tokens_in_a_text_are_text(model):
    assert (model.embed("<|im_end|>") != model.embed([[model.tokenizer.im_end]])[0]).any()


def test_one_text_gives_one_vector_and_none_give_none(model):
    assert model.embed("a").shape == (64,)
    assert model.embed(["a"]).shape == (1, 64)
    assert model.embed([]).shape == (0, 64)
    assert model.embed([], dtype="binary", dimensions=20).shape == (0, 3)
    assert model.embed(iter(["a", "b"])).shape == (2, 64)


def test_a_text_over_the_context_is_cut_only_when_that_is_asked_for(model):
    text = "number " * 3000
    with pytest.raises(ContextLengthError, match=r"texts\[1\]: expected at most 1023 tokens, found"):
        model.embed(["a", text])
    ids = model.tokenizer.encode(text)[:1023]
    assert (model.embed(text, truncate=True) == model.embed([ids])[0]).all()
    with pytest.raises(ContextLengthError, match="at least"):
        model.embed("x" * 50_000_000)
    with pytest.raises(ContextLengthError, match="instruction: expected at most 1023 tokens"):
        model.embed("a", kind="query", instruction=text, truncate=True)


def test_asyncio_gives_the_same(model):
    texts = texts_of_all_lengths(20)

    async def both():
        return await asyncio.gather(model.aembed(texts), model.aembed(texts[0], kind="query"))

    several, one = asyncio.run(both())
    assert (several == model.embed(texts)).all()
    assert (one == model.embed(texts[0], kind="query")).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "passage"}, "kind: expected one of query, document, found 'passage'"),
        ({"instruction": "find"}, "instruction: expected none with kind='document'"),
        ({"kind": "query", "instruction": 3}, "instruction: expected a str, found int"),
        ({"dimensions": 0}, "dimensions: expected a number of dimensions from 1 to 64, found 0"),
        ({"dimensions": 65}, "dimensions: expected a number of dimensions from 1 to 64, found 65"),
        ({"dtype": "float16"}, "dtype: expected one of float32, int8, binary, found 'float16'"),
        ({"normalize": 1}, "normalize: expected True or False, found 1"),
        ({"truncate": "yes"}, "truncate: expected True or False, found 'yes'"),
        ({"dimension": 3}, "unknown option 'dimension'; did you mean 'dimensions'?"),
    ],
)
def test_wrong_options_are_named(model, options, message):
    with pytest.raises(ArgumentError, match="^" + message.replace("?", r"\?")):
        model.embed(["a"], **options)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (3, "texts: expected texts, found int"),
        (b"a", "texts: expected texts, found bytes"),
        (["a", 3], r"texts\[1\]: expected a str or token ids, found int"),
        ([[1, "a"]], r"texts\[0\]\[1\]: expected a token id"),
        ([[10**6]], r"texts\[0\]\[0\]: expected a token id"),
        (["\ud800"], r"texts\[0\]: expected Unicode text"),
    ],
)
def test_wrong_texts_are_named(model, texts, message):
    with pytest.raises(ArgumentError, match=message):
        model.embed(texts)


def test_an_embedding_model_does_not_write_text(model):
    for call in (
        lambda: model.generate("a"),
        lambda: model.generate_batch(["a"]),
        lambda: next(model.stream("a")),
        lambda: model.chat().say("a"),
        lambda: model.logits([1, 2]),
        lambda: model.score("a b c"),
    ):
        with pytest.raises(ArgumentError, match=r"expected a model that writes text, .* use model\.embed"):
            call()
    with pytest.raises(ArgumentError, match="expected a model made for reranking, found one made for embedding"):
        model.rerank("a", ["b"])


def test_a_model_that_writes_text_embeds_when_that_is_asked_for():
    tiny = qwen3cpu.load("tiny", threads=1)
    with pytest.raises(ArgumentError, match=r"expected a model made for embedding, .*task='embedding'"):
        tiny.embed("a")
    assert qwen3cpu.load("tiny", threads=1, task="embedding").embed("a").shape == (tiny.config.hidden_size,)
    with pytest.raises(ArgumentError, match="task: expected one of generation, embedding, reranking, found 'search'"):
        qwen3cpu.load("tiny", task="search")


def test_a_packed_file_keeps_what_the_model_is_for(folder, tmp_path):
    qwen3cpu.pack(folder, tmp_path / "model.qwen3", quant="q8")
    packed = qwen3cpu.load(tmp_path / "model.qwen3")
    assert packed.task == "embedding"
    plain = qwen3cpu.load(folder, quant="q8")
    texts = texts_of_all_lengths(10)
    assert (packed.embed(texts, kind="query") == plain.embed(texts, kind="query")).all()


def test_a_file_is_packed_for_a_task(tmp_path):
    from checkpoints import write_checkpoint

    folder = write_checkpoint(tmp_path / "plain").folder
    qwen3cpu.pack(folder, tmp_path / "model.qwen3", quant="q8", task="embedding")
    assert qwen3cpu.load(tmp_path / "model.qwen3").task == "embedding"
    with pytest.raises(ArgumentError, match="task: expected 'embedding', which its files say, found 'reranking'"):
        qwen3cpu.load(tmp_path / "model.qwen3", task="reranking")
    write_embedding_model(tmp_path / "embedding")
    with pytest.raises(ArgumentError, match="task: expected 'embedding', which its files say, found 'reranking'"):
        qwen3cpu.pack(tmp_path / "embedding", tmp_path / "other.qwen3", task="reranking")


@pytest.mark.parametrize(
    ("file", "values", "message"),
    [
        ("1_Pooling/config.json", {"pooling_mode": "mean"}, "pooling_mode: expected 'lasttoken'"),
        ("1_Pooling/config.json", {"pooling_mode_mean_tokens": True}, "pooling_mode: expected 'lasttoken'"),
        ("modules.json", [{"type": "a.Transformer", "path": ""}, {"type": "a.Dense", "path": "2"}], "found Dense"),
        ("modules.json", {"a": 1}, "expected a list of modules"),
        ("modules.json", [{"type": "a.Pooling", "path": "../x"}], "expected modules with `type` and `path`"),
        ("config_sentence_transformers.json", {"prompts": ["a"]}, "prompts: expected an object of strings"),
    ],
)
def test_files_that_ask_for_something_else_are_refused_by_name(tmp_path, file, values, message):
    write_embedding_model(tmp_path / "model")
    (tmp_path / "model" / file).write_text(json.dumps(values))
    with pytest.raises(ConfigError, match=message):
        qwen3cpu.load(tmp_path / "model")
