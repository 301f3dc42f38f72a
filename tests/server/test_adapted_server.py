"""Adapters in the server: names, several at once, loading and unloading while it runs."""

import json
import threading

import checkpoints
import pytest
from lora_adapters import KINDS, write_adapter

import qwen3cpu
from qwen3cpu.server.models.catalog import Catalog
from qwen3cpu.server.models.offers import LoadOptions, StoredModel

LOAD, UNLOAD, CHAT = "/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/v1/chat/completions"
QUESTION = "hello there " * 8
OPTIONS = {"max_tokens": 12, "temperature": 1.2, "seed": 5}
ADAPTERS = ("plain", "dora", "saved")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return checkpoints.write_checkpoint(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def root(base, tmp_path_factory):
    """A folder of adapters."""
    found = tmp_path_factory.mktemp("adapters")
    for seed, name in enumerate(ADAPTERS):
        write_adapter(found / name, base.config, KINDS[name], seed=seed)
    return found


def load(base, root, names=ADAPTERS):
    return qwen3cpu.load(base.folder, quant="f32", threads=1, adapters={name: root / name for name in names})


@pytest.fixture(scope="module")
def alone(base, root):
    """Answers by name of the adapter; "base" for the model's own."""
    model = load(base, root)
    options = {**OPTIONS, "max_new_tokens": OPTIONS["max_tokens"]}
    del options["max_tokens"]
    messages = [{"role": "user", "content": QUESTION}]
    found = {name: model.generate(messages, adapter=name, **options) for name in ADAPTERS}
    found["base"] = model.generate(messages, **options)
    raw = {name: model.generate(QUESTION, adapter=name, raw=True, **options).text for name in ADAPTERS}
    assert len({result.text + result.reasoning for result in found.values()}) == len(found)
    return found, raw


def said(choice):
    return (choice["message"].get("reasoning_content") or ""), (choice["message"]["content"] or "")


def ask(running, model):
    reply = running.chat(QUESTION, model=model, **OPTIONS)
    return said(reply["choices"][0])


def expected(alone, name):
    return alone[0][name].reasoning, alone[0][name].text


@pytest.fixture
def running(serve, base, root):
    return serve(load(base, root), model_name="base", adapters_dir=root)


# Names


@pytest.mark.parametrize("form", ["{}", "base:{}", "{}:latest"])
def test_an_adapter_is_asked_by_its_name(running, alone, form):
    assert ask(running, "base") == expected(alone, "base")
    for name in ADAPTERS:
        asked = form.format(name)
        reply = running.chat(QUESTION, model=asked, **OPTIONS)
        assert said(reply["choices"][0]) == expected(alone, name)
        assert reply["model"] == asked
    fingerprints = {running.chat("x", model=name, max_tokens=1)["system_fingerprint"] for name in ("base", *ADAPTERS)}
    assert len(fingerprints) == 4


def test_every_api_takes_adapters(running, alone):
    texts, raw = alone
    name, result = "plain", texts["plain"]
    reply = running.ok("/v1/completions", model=name, prompt=QUESTION, **OPTIONS)
    assert (reply["model"], reply["choices"][0]["text"]) == (name, raw[name])
    events, _ = running.events(CHAT, model=name, messages=[{"role": "user", "content": QUESTION}], **OPTIONS)
    deltas = [event["choices"][0]["delta"] for event in events if event["choices"]]
    assert "".join(delta.get("content") or "" for delta in deltas) == result.text
    assert {event["model"] for event in events} == {name}
    body = {"model": name, "input": QUESTION, "max_output_tokens": 12, "temperature": 1.2, "seed": 5}
    reply = running.ok("/v1/responses", **body)
    assert reply["model"] == name
    body = {"model": name, "messages": [{"role": "user", "content": QUESTION}], "max_tokens": 12, "temperature": 1.0}
    assert running.ok("/v1/messages", **body)["model"] == name
    options = {"num_predict": 12, "temperature": 1.2, "seed": 5}
    body = {"messages": [{"role": "user", "content": QUESTION}], "options": options, "stream": False}
    reply = running.ok("/api/chat", model=name, **body)
    assert (reply["message"].get("thinking") or "", reply["message"]["content"]) == expected(alone, name)
    reply = running.ok("/api/generate", model=name, prompt=QUESTION, raw=True, options=options, stream=False)
    assert reply["response"] == raw[name]
    assert running.ok("/tokenize", model=name, prompt="ab") == running.ok("/tokenize", model="base", prompt="ab")
    assert running.http.get("/tokenizer_info", params={"model": name}).status_code == 200


def test_models_are_listed_with_adapters(running):
    listed = running.http.get("/v1/models").json()["data"]
    assert [(each["id"], each.get("parent")) for each in listed] == [
        ("base", None),
        *((name, "base") for name in ADAPTERS),
    ]
    for name in ("plain", "base:plain"):
        card = running.http.get(f"/v1/models/{name}").json()
        assert (card["id"], card["parent"]) == (name, "base")
    assert running.http.get("/v1/models/nobody").status_code == 404
    error = running.refused(CHAT, {"model": "plian", "messages": [{"role": "user", "content": "x"}]}, 404)
    assert "did you mean 'plain'" in error["message"]


def test_two_adapters_at_once(running, alone):
    found = {}

    def run(place, name):
        found[place] = ask(running, name)

    names = ["base", *ADAPTERS] * 3
    threads = [threading.Thread(target=run, args=each) for each in enumerate(names)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[place] for place in range(len(names))] == [expected(alone, name) for name in names]


# Loading and unloading


def test_loading_and_unloading(serve, base, root, alone):
    running = serve(load(base, root, ()), model_name="base", adapters_dir=root)
    running.refused(CHAT, {"model": "plain", "messages": [{"role": "user", "content": "x"}]}, 404)
    for path in ("plain", str(root / "plain")):
        response = running.post(LOAD, {"lora_name": "mine", "lora_path": path})
        assert (response.status_code, response.text) == (200, "Success: LoRA adapter 'mine' added successfully.")
        assert response.headers["content-type"].startswith("text/plain")
        assert ask(running, "mine") == expected(alone, "plain")
        assert (
            "already been loaded" in running.refused(LOAD, {"lora_name": "mine", "lora_path": "dora"}, 400)["message"]
        )
        assert running.post(LOAD, {"lora_name": "mine", "lora_path": "dora", "load_inplace": True}).status_code == 200
        assert ask(running, "mine") == expected(alone, "dora")
        response = running.post(UNLOAD, {"lora_name": "mine"})
        assert (response.status_code, response.text) == (200, "Success: LoRA adapter 'mine' removed successfully.")
        running.refused(CHAT, {"model": "mine", "messages": [{"role": "user", "content": "x"}]}, 404)
        running.refused(UNLOAD, {"lora_name": "mine"}, 404)
    assert "found the model" in running.refused(UNLOAD, {"lora_name": "base"}, 404)["message"]
    assert "no model has" in running.refused(LOAD, {"lora_name": "base", "lora_path": "plain"}, 400)["message"]
    running.refused(LOAD, {"lora_name": "nobody:x", "lora_path": "plain"}, 404)


def test_unloading_while_it_is_used(running, alone):
    body = {"model": "plain", "messages": [{"role": "user", "content": QUESTION}], **OPTIONS, "stream": True}
    text, unloaded = "", False
    with running.http.stream("POST", CHAT, json=body) as response:
        for line in response.iter_lines():
            if line.startswith("data: {"):
                if not unloaded:
                    assert running.post(UNLOAD, {"lora_name": "plain"}).status_code == 200
                    assert running.post(LOAD, {"lora_name": "plain", "lora_path": "dora"}).status_code == 200
                    unloaded = True
                for choice in json.loads(line[6:])["choices"]:
                    text += choice["delta"].get("content") or ""
    assert text == alone[0]["plain"].text
    assert ask(running, "plain") == expected(alone, "dora")


@pytest.fixture
def outside(root, tmp_path, base):
    """Paths that lead out of the folder of adapters."""
    secret = write_adapter(tmp_path / "secret", base.config, KINDS["plain"])
    (root / "link").symlink_to(secret)
    linked = root / "linked_file"
    linked.mkdir()
    (linked / "adapter_config.json").symlink_to(secret / "adapter_config.json")
    (linked / "adapter_model.safetensors").symlink_to(secret / "adapter_model.safetensors")
    (root / "circle").symlink_to(root / "circle")
    yield [
        str(secret),
        "link",
        "linked_file",
        "circle",
        f"../{secret.name}",
        "..",
        ".",
        "",
        "/",
        "plain/../..",
        "nobody",
        "plain\0",
        "x" * 5000,
    ]
    for path in (root / "link", root / "circle", *linked.iterdir()):
        path.unlink()
    linked.rmdir()


def test_only_what_is_in_the_folder(running, outside):
    for path in outside:
        error = running.refused(LOAD, {"lora_name": "new", "lora_path": path}, 400)
        assert error["message"].startswith("lora_path: expected an adapter inside the folder of adapters"), path
        assert error["param"] == "lora_path"


def test_without_a_folder_nothing_is_loaded(serve, base, root):
    running = serve(load(base, root, ("plain",)), model_name="base")
    for path, body in ((LOAD, {"lora_name": "x", "lora_path": "plain"}), (UNLOAD, {"lora_name": "plain"})):
        assert "--adapters-dir" in running.refused(path, body, 403)["message"]


@pytest.mark.parametrize("body", [{}, {"lora_name": "x"}, {"lora_name": 1, "lora_path": "plain"}, {"lora_nam": "x"}])
def test_wrong_bodies(running, body):
    running.refused(LOAD, body, 400)


def test_a_damaged_adapter_is_refused(running, root):
    broken = root / "broken"
    broken.mkdir()
    try:
        (broken / "adapter_config.json").write_text("{}")
        error = running.refused(LOAD, {"lora_name": "broken", "lora_path": "broken"}, 400)
        assert error["message"].startswith("broken/adapter_config.json: peft_type: expected")
        assert error["param"] == "lora_path"
    finally:
        (broken / "adapter_config.json").unlink()
        broken.rmdir()


# Several models


def test_adapters_of_a_model_that_comes_and_goes(serve, base, root, alone, tmp_path):
    folder = str(base.folder)
    adapters = {name: str(root / name) for name in ADAPTERS}
    gone = write_adapter(tmp_path / "gone", base.config, KINDS["one"])
    options = LoadOptions(quant="f32", threads=1)
    offers = [
        StoredModel("base", folder, LoadOptions(quant="f32", threads=1, adapters={**adapters, "gone": str(gone)})),
        StoredModel("other", folder, LoadOptions(quant="f32", threads=1, adapters={"plain": adapters["dora"]})),
        StoredModel("third", folder, options),
    ]
    running = serve(Catalog(offers), adapters_dir=root, model_keep_alive=0)
    names = [each["id"] for each in running.http.get("/v1/models").json()["data"]]
    assert names == ["base", "other", "third", *ADAPTERS, "gone", "other:plain"]
    assert running.post(LOAD, {"lora_name": "third:mine", "lora_path": "saved"}).status_code == 200
    for _ in range(2):
        assert ask(running, "plain") == expected(alone, "plain")
        assert ask(running, "other:plain") == expected(alone, "dora")
        assert ask(running, "mine") == expected(alone, "saved")
        (gone / "adapter_config.json").unlink(missing_ok=True)  # the model works without it
    assert running.refused(CHAT, {"model": "gone", "messages": [{"role": "user", "content": "x"}]}, 404)
