"""Adapters in every entry point: an answer is the same alone and together with others."""

import asyncio

import checkpoints
import numpy as np
import pytest
from drafters import Mixture, drafting, timeless
from lora_adapters import KINDS, write_adapter

import qwen3cpu
from qwen3cpu import _native

OPTIONS = {"max_new_tokens": 24, "ignore_eos": True, "temperature": 0.9, "seed": 3}
PROMPT = "hello world " * 20
ADAPTERS = ("plain", "dora", "saved")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return checkpoints.write_checkpoint(tmp_path_factory.mktemp("base"), max_position_embeddings=2048)


@pytest.fixture(scope="module")
def paths(base, tmp_path_factory):
    root = tmp_path_factory.mktemp("adapters")
    return {name: write_adapter(root / name, base.config, KINDS[name], seed=7) for name in ADAPTERS}


def load(base, paths, **options):
    return qwen3cpu.load(base.folder, threads=1, adapters=paths, **{"quant": "q8", "prefix_cache": 0, **options})


@pytest.fixture(scope="module")
def model(base, paths):
    return load(base, paths)


@pytest.fixture(scope="module")
def alone(model):
    """The answer with each adapter, None for the model without one."""
    found = {name: model.generate(PROMPT, adapter=name, **OPTIONS) for name in (None, *ADAPTERS)}
    assert len({tuple(result.token_ids) for result in found.values()}) == len(found)
    return found


# Entry points


@pytest.mark.parametrize("name", [None, *ADAPTERS])
def test_every_entry_point_gives_the_same_answer(model, alone, name):
    expected = alone[name].token_ids
    options = {**OPTIONS, "adapter": name}
    assert [chunk.result for chunk in model.stream(PROMPT, **options)][-1].token_ids == expected
    assert model.generate_batch([PROMPT, "x"], **options)[0].token_ids == expected
    assert asyncio.run(model.agenerate(PROMPT, **options)).token_ids == expected
    assert model.chat(**options).send(PROMPT).token_ids == expected
    assert model.run(PROMPT, tools=[], **options).steps[-1].token_ids == expected
    assert model.generate(PROMPT, n=2, **options)[0].token_ids == expected
    ids = model.answerer.encode(PROMPT, model.answerer.request(PROMPT))
    logits = model.logits(ids, adapter=name)
    own = model.logits(ids)
    assert np.array_equal(logits, own) == (name is None)
    scores = model.score(ids, adapter=name)
    assert (scores == model.score(ids)) == (name is None)


@pytest.mark.parametrize("wrong", ["nobody", "", 3, ["plain"]])
def test_an_unknown_name_is_refused(model, wrong):
    for call in (model.generate, model.score, model.chat):
        with pytest.raises(qwen3cpu.ArgumentError, match=r"adapter: expected the name of a loaded adapter .*plain"):
            call(PROMPT, adapter=wrong)
    with pytest.raises(qwen3cpu.ArgumentError, match="adapter"):
        model.logits([1, 2], adapter=wrong)


def test_a_turn_may_take_another_adapter(model):
    chat = model.chat(**OPTIONS, adapter="plain")
    first = chat.send("hello")
    messages = list(chat.messages)
    second = chat.send("again", adapter="dora")
    prompt = [*messages, {"role": "user", "content": "again"}]
    assert second.token_ids == model.generate(prompt, adapter="dora", **OPTIONS).token_ids
    assert second.usage.cached_tokens == 0
    assert first.token_ids == model.generate("hello", adapter="plain", **OPTIONS).token_ids


def test_the_history_is_made_ready_with_the_adapter(model):
    chat = model.chat(**OPTIONS, adapter="plain", prepare="idle")
    chat.send(PROMPT)
    chat.wait_prepared()
    warm = chat.send("more")
    cold = model.chat(**OPTIONS, adapter="plain")
    cold.send(PROMPT)
    assert warm.token_ids == cold.send("more").token_ids
    assert warm.usage.cached_tokens > _native.KV_BLOCK
    chat.close()


# In company


@pytest.mark.parametrize("prefix_cache", [0, 1 << 30])
@pytest.mark.parametrize("chunk", [1, 30, 256])
def test_answers_of_several_adapters_in_one_batch(base, paths, alone, prefix_cache, chunk):
    from qwen3cpu.generation.answer import Answer
    from qwen3cpu.generation.batch import Batch

    model = load(base, paths, prefix_cache=prefix_cache)
    names = [None, *ADAPTERS] * 2
    batch = Batch(model.engine, chunk=chunk)
    answers = []
    for index, name in enumerate(names):
        request = model.answerer.request(PROMPT, adapter=name, **OPTIONS)
        ids = model.answerer.encode(PROMPT, request)
        answers.append(Answer(model.answerer.surroundings, ids, request, index=index))
    for answer in answers:
        batch.add(answer)
    while len(batch):
        batch.step()
    for name, answer in zip(names, answers, strict=True):
        assert answer.result.token_ids == alone[name].token_ids, name


def test_the_prefix_cache_mixes_no_adapters(base, paths, alone):
    model = load(base, paths, prefix_cache=1 << 30)
    for _ in range(2):
        for name, expected in alone.items():
            assert model.generate(PROMPT, adapter=name, **OPTIONS).token_ids == expected.token_ids
    cached = model.generate(PROMPT, adapter="plain", **OPTIONS).usage.cached_tokens
    assert cached >= _native.KV_BLOCK
    # The same contents under another name share the prefix; other contents under the same name do not.
    model.adapters.load("twin", paths["plain"])
    assert model.generate(PROMPT, adapter="twin", **OPTIONS).usage.cached_tokens == cached
    model.adapters.unload("twin")
    model.adapters.load("twin", paths["dora"])
    assert model.generate(PROMPT, adapter="twin", **OPTIONS).token_ids == alone["dora"].token_ids


@pytest.mark.parametrize("name", ADAPTERS)
def test_drafts_change_nothing(model, alone, name):
    ids = model.answerer.encode(PROMPT, model.answerer.request(PROMPT))
    with drafting(model, Mixture([[*ids, *alone[name].token_ids]])):
        found = model.generate(PROMPT, adapter=name, **OPTIONS)
    assert timeless(found) == timeless(alone[name])


# Names come and go


def test_an_adapter_that_is_in_use_may_be_unloaded(base, paths, alone):
    model = load(base, paths)
    stream = model.stream(PROMPT, adapter="plain", **OPTIONS)
    next(stream)
    model.adapters.unload("plain")
    with pytest.raises(qwen3cpu.ArgumentError, match="plain"):
        model.generate(PROMPT, adapter="plain", **OPTIONS)
    model.adapters.load("plain", paths["dora"])
    assert list(stream)[-1].result.token_ids == alone["plain"].token_ids
    assert model.generate(PROMPT, adapter="plain", **OPTIONS).token_ids == alone["dora"].token_ids


def test_adapters_are_names_with_paths(base, paths):
    for wrong in (list(paths), "plain", 3):
        with pytest.raises(qwen3cpu.ArgumentError, match="adapters: expected names with paths, found"):
            load(base, wrong)


def test_names_are_checked(base, paths):
    model = load(base, paths)
    for name in ("", "a:b", "a b", "x" * 201, None, "a\n"):
        with pytest.raises(qwen3cpu.ArgumentError, match="expected a name"):
            model.adapters.load(name, paths["plain"])
    with pytest.raises(qwen3cpu.ArgumentError, match="'plain'"):
        model.adapters.load("plain", paths["dora"])
    with pytest.raises(qwen3cpu.ArgumentError, match="'gone'"):
        model.adapters.unload("gone")
    assert list(model.adapters) == list(ADAPTERS)
    assert model.adapters["plain"].path == str(paths["plain"])
    assert model.adapters.nbytes == sum(named.adapter.nbytes for named in model.adapters.values())


# Sessions


def test_a_session_goes_on_with_its_adapter(base, paths, tmp_path):
    model = load(base, paths)
    chat = model.chat(adapter="plain", **OPTIONS)
    chat.send("hello " * 30)
    chat.save(tmp_path / "chat")
    expected = chat.send("more").token_ids
    resumed = load(base, paths).resume(tmp_path / "chat")
    again = resumed.send("more")
    assert again.token_ids == expected
    assert again.usage.cached_tokens > 0
    other = load(base, {"renamed": paths["plain"]})
    assert other.resume(tmp_path / "chat", adapter="renamed").send("more").token_ids == expected


@pytest.mark.parametrize(
    ("names", "options", "expected"),
    [
        ((), {}, "was saved with the adapter 'plain'"),
        (
            ("plain", "dora"),
            {"adapter": "dora"},
            "another adapter: expected an adapter whose SHA-256 .*found 'dora'",
        ),
        (("plain",), {"adapter": None}, "another adapter: .*found no adapter"),
    ],
)
def test_a_session_is_refused_without_its_adapter(base, paths, tmp_path, names, options, expected):
    chat = load(base, paths).chat(adapter="plain", **OPTIONS)
    chat.send("hello")
    chat.save(tmp_path / "chat")
    with pytest.raises(qwen3cpu.SessionError, match=expected):
        load(base, {name: paths[name] for name in names}).resume(tmp_path / "chat", **options)


def test_a_turn_with_another_adapter_leaves_nothing_to_save(base, paths, tmp_path):
    model = load(base, paths)
    chat = model.chat(adapter="plain", **OPTIONS)
    chat.save(tmp_path / "empty")
    assert model.resume(tmp_path / "empty").send("hello").token_ids == chat.send("hello").token_ids
    chat.send("more", adapter="dora")
    chat.save(tmp_path / "chat")
    resumed = model.resume(tmp_path / "chat")
    assert resumed.cached_tokens == 0
    assert resumed.send("again").token_ids == chat.send("again").token_ids


def test_a_session_without_an_adapter_does_not_get_one(base, paths, tmp_path):
    model = load(base, paths)
    chat = model.chat(**OPTIONS)
    chat.send("hello")
    chat.save(tmp_path / "chat")
    with pytest.raises(qwen3cpu.SessionError, match="expected no adapter, found 'plain'"):
        model.resume(tmp_path / "chat", adapter="plain")
