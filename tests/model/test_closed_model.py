"""`Model.close`: every later use raises an error that names the model, and the memory is freed."""

import gc
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest
from checkpoints import write_checkpoint
from lora_adapters import KINDS, model_shape, write_adapter

import qwen3cpu
from qwen3cpu import ClosedModelError
from qwen3cpu.system.use_lock import InUseError, alone_with


@pytest.fixture
def model(tmp_path):
    folder = write_checkpoint(tmp_path / "model", max_position_embeddings=4096).folder
    return qwen3cpu.load(folder, quant="f32", threads=1)


USES = {
    "generate": lambda model: model.generate("x"),
    "stream": lambda model: next(model.stream("x")),
    "generate_batch": lambda model: model.generate_batch(["x"]),
    "run": lambda model: model.run("x", tools=[]),
    "chat": lambda model: model.chat(),
    "resume": lambda model: model.resume("x"),
    "embed": lambda model: model.embed("x"),
    "rerank": lambda model: model.rerank("x", ["y"]),
    "logits": lambda model: model.logits([1, 2]),
    "score": lambda model: model.score([1, 2]),
    "render": lambda model: model.render([{"role": "user", "content": "x"}]),
    "adapters": lambda model: model.adapters.load("a", "b"),
    "tokenizer": lambda model: model.tokenizer,
    "threads": lambda model: model.threads,
    "source": lambda model: model.source,
    "setting threads": lambda model: setattr(model, "threads", 1),
    "with": lambda model: model.__enter__(),
    "pickle": lambda model: model.__reduce__(),
}


@pytest.mark.parametrize("use", USES)
def test_every_use_names_the_model(model, use):
    source = model.source
    model.close()
    with pytest.raises(ClosedModelError) as refused:
        USES[use](model)
    assert str(refused.value) == f"{source}: expected an open model, found one that was closed; load it again"


def test_closing_twice_and_with(model):
    with model as same:
        assert same is model
        assert len(model.generate("x", max_new_tokens=2).token_ids) > 0
    model.close()
    assert repr(model).endswith("model: closed>")
    assert "closed" in model._repr_html_()
    assert not hasattr(model, "__deepcopy__")


def test_with_closes_after_an_error(model):
    with pytest.raises(KeyError), model:
        raise KeyError
    with pytest.raises(ClosedModelError):
        model.generate("x")


def test_answers_and_conversations_that_are_running(model):
    chunks = model.stream("x", max_new_tokens=50, ignore_eos=True)
    next(chunks)
    chat = model.chat(max_new_tokens=4)
    chat.send("hello")
    said = list(chat.messages)
    sent = chat.stream("again")
    next(sent)
    model.close()
    for running in (chunks, sent):
        with pytest.raises(ClosedModelError):
            next(running)
        assert next(running, None) is None
    assert chat.messages[: len(said)] == said
    with pytest.raises(ClosedModelError):
        chat.send("x")
    chat.close()


def test_an_answer_of_another_thread_ends(model):
    begun, errors = threading.Event(), []

    def answer():
        try:
            for _ in model.stream("x", max_new_tokens=4000, ignore_eos=True):
                begun.set()
        except ClosedModelError as error:
            errors.append(error)

    threads = [threading.Thread(target=answer) for _ in range(3)]
    for thread in threads:
        thread.start()
    begun.wait()
    model.close()
    for thread in threads:
        thread.join()
    assert len(errors) == 3


def weights_of(model):
    """References to the memory of all weights."""
    checkpoint = model._checkpoint
    return [
        *(weakref.ref(matrix.data) for matrix in checkpoint.matrices.values()),
        *(weakref.ref(vector) for vector in checkpoint.vectors.values()),
        weakref.ref(model.engine.native),
    ]


def test_the_memory_of_the_weights_is_given_back(model, tmp_path):
    """Also while a conversation, an unfinished answer and an adapter in use still exist."""
    write_adapter(tmp_path / "adapter", model_shape(model), KINDS["plain"])
    model.adapters.load("a", tmp_path / "adapter")
    chat = model.chat(adapter="a", max_new_tokens=3, prepare="idle")
    chat.send("hello")
    chat.wait_prepared()
    chunks = model.stream("x", adapter="a", max_new_tokens=9, ignore_eos=True)
    next(chunks)
    references = weights_of(model)
    assert all(reference() is not None for reference in references)
    model.close()
    gc.collect()
    assert [reference() for reference in references] == [None] * len(references)
    assert chat.cached_tokens == 0


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="the system does not list the mapped files")
def test_a_packed_file_is_mapped_no_more(model, tmp_path):
    qwen3cpu.pack(model.source, tmp_path / "small.qwen3", quant="q8")
    packed = qwen3cpu.load(tmp_path / "small.qwen3", threads=1)
    packed.generate("x", max_new_tokens=2)
    assert "small.qwen3" in Path("/proc/self/maps").read_text()
    packed.close()
    gc.collect()
    assert "small.qwen3" not in Path("/proc/self/maps").read_text()


def test_its_files_may_be_removed(model, tmp_path):
    folder = tmp_path / "model"
    with pytest.raises(InUseError), alone_with([folder]):
        pass
    model.close()
    with alone_with([folder]):
        pass


def test_another_model_of_the_same_checkpoint_stays(model):
    other = qwen3cpu.load(model.source, quant="f32", threads=1)
    expected = other.logits([1, 2, 3])
    model.close()
    assert np.array_equal(other.logits([1, 2, 3]), expected)
