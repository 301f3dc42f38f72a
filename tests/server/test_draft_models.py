"""Models of a server with draft models: the same answers, counted memory, and no waiting."""

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import checkpoints
import httpx
import pytest
from cli_runs import run_here
from drafters import Free
from running import Started

import qwen3cpu
from qwen3cpu.engine.model_drafts import DraftModel
from qwen3cpu.server.models.catalog import Catalog
from qwen3cpu.server.models.memory import model_bytes
from qwen3cpu.server.models.offers import LoadOptions, StoredModel, described
from qwen3cpu.server.settings import Settings

QUESTIONS = ["What is 17 + 25?", "Tell me a story.", "Anna has 3 apples and buys 4. How many has she?"]
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A model, one with the same tokenizer, and one with another."""
    found = {}
    for seed, name in enumerate(("large", "small")):
        found[name] = checkpoints.write_checkpoint(tmp_path_factory.mktemp(name), seed=seed).folder
    found["foreign"] = "tiny"
    return {name: str(folder) for name, folder in found.items()}


def keen(model, monkeypatch):
    """Makes passes of the small model count as free, so that all its drafts are checked. Nothing else drafts."""
    monkeypatch.setattr(DraftModel, "least_chance", property(lambda self: 0.0))
    model.engine.pass_times = Free()
    around = model.answerer.surroundings
    model.answerer.surroundings = replace(around, make_drafters=lambda: around.make_drafters()[-1:])
    return model


def ask(server, text, **body):
    """An answer without its times and ids."""
    reply = server.chat(text, seed=3, max_tokens=60, chat_template_kwargs={"enable_thinking": False}, **body)
    return reply["choices"], reply["usage"]


def test_answers_are_those_without(serve, monkeypatch):
    plain = serve(qwen3cpu.load("tiny", threads=1))
    expected = [ask(plain, text) for text in QUESTIONS]
    model = keen(qwen3cpu.load("tiny", threads=1, draft="tiny"), monkeypatch)
    drafted = serve(model)
    assert [ask(drafted, text) for text in QUESTIONS] == expected
    accepted = drafted.scheduler.stats.accepted
    assert accepted > 0
    assert [ask(drafted, text, speculate=False) for text in QUESTIONS] == expected
    assert drafted.scheduler.stats.accepted == accepted
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda text: ask(drafted, text), QUESTIONS * 4))
    assert [choices for choices, _ in together] == [choices for choices, _ in expected * 4]


def submitted(caller, model, **limits):
    """The results of two jobs of equal length that were submitted before the first step."""
    made = caller(model=model, **limits)
    made.gate.clear()
    jobs = [made.submit([3, 4, 5 + n], max_new_tokens=25, ignore_eos=True, seed=n) for n in range(2)]
    made.gate.set()
    return [made.results(job)[0] for job in jobs]


def test_nothing_is_drafted_while_somebody_else_waits(caller, folders, monkeypatch):
    model = keen(qwen3cpu.load(folders["large"], quant="f32", threads=1, draft=folders["large"]), monkeypatch)
    alone = [
        model.generate([3, 4, 5 + n], max_new_tokens=25, ignore_eos=True, seed=n, speculate=False) for n in range(2)
    ]
    side_by_side = submitted(caller, model)
    assert [each.token_ids for each in side_by_side] == [each.token_ids for each in alone]
    assert [each.timings.drafted for each in side_by_side] == [0, 0]
    assert model.draft_model.engine.native.counters()["calls"] == 0
    in_turn = submitted(caller, model, parallel=1)
    assert [each.token_ids for each in in_turn] == [each.token_ids for each in alone]
    assert in_turn[0].timings.drafted == 0
    assert in_turn[1].timings.drafted > 0


def test_an_answer_without_drafts_is_not_held_up_either(caller, folders, monkeypatch):
    model = keen(qwen3cpu.load(folders["large"], quant="f32", threads=1, draft=folders["large"]), monkeypatch)
    made = caller(model=model)
    made.gate.clear()
    jobs = [
        made.submit([3, 4, 5], max_new_tokens=25, ignore_eos=True, speculate=speculate) for speculate in (True, False)
    ]
    made.gate.set()
    assert [made.results(job)[0].timings.drafted for job in jobs] == [0, 0]


def test_the_draft_counts_and_leaves_memory_with_its_model(serve, folders):
    options = LoadOptions(quant="f32", context=256, threads=1)
    names = ("a", "b")
    sizes = {}
    for drafts in ({}, dict.fromkeys(names, folders["small"])):
        offers = [StoredModel(name, folders["large"], replace(options, drafts=drafts)) for name in names]
        sizes[bool(drafts)] = model_bytes(offers[0].describe(), Settings(memory=1 << 30))
    small = qwen3cpu.load(folders["small"], threads=1)
    loaded = described(qwen3cpu.load(folders["large"], quant="f32", context=256, threads=1, draft=folders["small"]))
    assert loaded.draft.weight_bytes == small.weight_bytes
    assert offers[0].describe().draft_bytes == sizes[True] - sizes[False] > small.weight_bytes

    server = serve(Catalog(offers), memory=sizes[True] + 1000, kv_bytes=None, model_name="")
    server.ok("/api/generate", model="a", prompt="hello", stream=False, options={"num_predict": 5})
    (running,) = server.http.get("/api/ps").json()["models"]
    held = server.lender.loaded()[0]
    engine = weakref.ref(held.service.model.draft_model.engine)
    weights = held.service.model.weight_bytes + held.service.model.draft_model.weight_bytes
    assert weights < running["size"] <= server.lender.bytes == sizes[True]
    del held
    server.ok("/api/generate", model="b", prompt="hello", stream=False, options={"num_predict": 5})
    assert [each.offer.name for each in server.lender.loaded()] == ["b"]
    gc.collect()
    assert engine() is None


def test_what_does_not_fit_with_its_draft_is_refused(serve, folders):
    options = LoadOptions(quant="f32", context=256, threads=1, drafts={"a": folders["small"]})
    offers = [StoredModel(name, folders["large"], options) for name in ("a", "b")]
    needed = model_bytes(offers[0].describe(), Settings(memory=1 << 30))
    server = serve(Catalog(offers), memory=needed - 1, kv_bytes=None, model_name="")
    error = server.refused(CHAT, {"model": "a", "messages": [{"role": "user", "content": "hello"}]}, 507)
    assert f"needs {needed} bytes for weights and KV cache, {offers[0].describe().draft_bytes} of them" in str(error)
    server.ok("/api/generate", model="b", prompt="hello", stream=False, options={"num_predict": 5})


def test_a_wrong_draft_of_a_later_model_is_an_error_of_that_model(serve, folders):
    options = LoadOptions(quant="f32", context=256, threads=1, drafts={"b": folders["foreign"]})
    server = serve(Catalog([StoredModel(name, folders["large"], options) for name in ("a", "b")]), model_name="")
    response = server.post(CHAT, {"model": "b", "messages": [{"role": "user", "content": "hello"}]})
    assert response.status_code >= 400
    assert "draft: expected a model with the tokenizer of" in response.text
    server.ok("/api/generate", model="a", prompt="hello", stream=False, options={"num_predict": 5})


def test_the_command():
    model = qwen3cpu.load("tiny", threads=1)
    expected = model.generate(QUESTIONS[0], seed=1, max_new_tokens=30, thinking=False)
    started = Started("--model", "tiny", "--draft", "tiny")
    try:
        body = {"messages": [{"role": "user", "content": QUESTIONS[0]}], "max_tokens": 30, "seed": 1}
        body["chat_template_kwargs"] = {"enable_thinking": False}
        reply = httpx.post(f"{started.url}{CHAT}", json=body, timeout=120).json()
        assert reply["choices"][0]["message"]["content"] == expected.text
    finally:
        started.end()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--draft", "SMALL"), "draft: expected a model with the tokenizer of tiny, found another in"),
        (("--draft", "tiny-embedding"), "expected a model that writes text"),
        (
            ("--draft", "other=tiny"),
            "expected [NAME=]MODEL with one of the models (tiny), once for each, found 'other=",
        ),
        (("--draft", "tiny", "--draft", "tiny=tiny"), "once for each, found 'tiny=tiny'"),
        (("--draft", "tiny="), "found 'tiny='"),
        (("--draft", "no/such-folder/at-all"), "no/such-folder/at-all"),
    ],
)
def test_bad_flags(folders, flags, words):
    flags = [folders["small"] if flag == "SMALL" else flag for flag in flags]
    done = run_here("serve", "--model", "tiny", "--threads", "1", "--port", "0", *flags)
    assert done.returncode == 2
    assert words in done.stderr


def test_drafts_come_from_a_file_too(serve, tmp_path):
    model = qwen3cpu.load("tiny", threads=1)
    expected = model.generate(QUESTIONS[0], seed=3, max_new_tokens=60, thinking=False)
    qwen3cpu.write_drafts("tiny", [expected.text], tmp_path / "answers")
    options = LoadOptions(threads=1, drafts_from={"tiny": str(tmp_path / "answers")})
    server = serve(Catalog([StoredModel("tiny", "tiny", options)]), model_name="")
    choices, _ = ask(server, QUESTIONS[0])
    assert choices[0]["message"]["content"] == expected.text


def test_models_of_a_folder_have_drafts_by_name(folders, tmp_path):
    qwen3cpu.pack(folders["large"], tmp_path / "large.qwen3", "q8", threads=1)
    catalog = Catalog([], tmp_path, LoadOptions(context=256, threads=1, drafts={"large": folders["small"]}))
    assert catalog.find("large").describe().draft is not None
    model = catalog.find("large").load()
    assert model.draft_model.source == folders["small"]
