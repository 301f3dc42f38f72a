"""Ray Data: rows from the nodes of a cluster are those of one process, even if nodes are lost."""

import json
import subprocess
import sys
from threading import Thread
from time import sleep

import numpy as np
import pytest

pytest.importorskip("ray.data", reason="pip install 'qwen3cpu[ray]'")

import pyarrow.parquet as pq
import ray
from cli_runs import environment
from ray_clusters import NODE, add_node, kill, ray_cluster, workers

import qwen3cpu
from qwen3cpu.batch import run_file
from qwen3cpu.errors import ArgumentError
from qwen3cpu.generation.line_seed import line_seed
from qwen3cpu.integrations import ray_data
from qwen3cpu.integrations.ray_data import content_key, folder

pytestmark = pytest.mark.filterwarnings("ignore")  # of the library and what it imports

SHORT = {"max_new_tokens": 8, "thinking": False}
ONE = {"model": "tiny", "key": "id", "actors": 1}
SYSTEM = {"role": "system", "content": "You answer in one word. " * 8}


@pytest.fixture(scope="module")
def cluster():
    with ray_cluster(2) as found:
        yield found


@pytest.fixture(scope="module")
def tiny():
    return qwen3cpu.load("tiny", threads=1)


def questions(count):
    return [{"id": f"r{number}", "prompt": f"What is {number} + 1?"} for number in range(count)]


def texts(rows, key="id"):
    """Key of a row -> its text. Each key must occur once."""
    found = {row[key]: row["text"] for row in rows}
    assert len(found) == len(rows)
    return found


def answered(model, rows, seed, **options):
    return {row["id"]: model.generate(row["prompt"], seed=line_seed(seed, row["id"]), **options).text for row in rows}


def test_wrong_rows_have_an_error_and_the_others_an_answer(cluster, tiny):
    rows = questions(12)
    rows[3]["prompt"] = None
    rows[5]["id"] = None
    rows[8]["prompt"] = "word " * (2 * tiny.context)
    dataset = ray.data.from_items(rows)
    output = {"text": "text", "result": "whole", "error": "why"}
    found = ray_data.generate(dataset, **ONE, output=output, **SHORT).take_all()
    by_prompt = {row["prompt"]: row for row in found}
    assert len(found) == len(rows)
    for number, why in ((3, "prompt: expected text"), (5, "id: expected a key"), (8, "tokens")):
        row = by_prompt[rows[number]["prompt"]]
        assert row["text"] is None
        assert why in row["why"]
    good = [row for number, row in enumerate(rows) if number not in (3, 5, 8)]
    assert {row["id"]: by_prompt[row["prompt"]]["text"] for row in good} == answered(tiny, good, 0, **SHORT)
    assert json.loads(by_prompt[rows[0]["prompt"]]["whole"])["usage"]["completion_tokens"] <= 8


def test_messages_schemas_keys_that_are_numbers_and_order(cluster, tiny):
    schema = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 99}}, "required": ["n"]}
    rows = [{"id": number, "chat": [SYSTEM, {"role": "user", "content": f"{number} and one?"}]} for number in range(40)]
    context = ray.data.DataContext.get_current().copy()
    context.execution_options.preserve_order = True
    with ray.data.DataContext.current(context):
        dataset = ray.data.from_items(rows, override_num_blocks=3)
        answers = ray_data.generate(dataset, **ONE, column="chat", schema=schema, block_rows=8, thinking=False)
        found = answers.take_all()
    assert [row["id"] for row in found] == list(range(40))
    for row in found:
        assert isinstance(json.loads(row["text"])["n"], int)
    for row in rows[:3]:
        alone = tiny.generate(row["chat"], seed=line_seed(0, row["id"]), schema=schema, thinking=False)
        assert found[row["id"]]["text"] == alone.text


def test_without_keys_equal_prompts_have_equal_answers(cluster, tiny):
    rows = [{"prompt": f"What is {number % 5}?"} for number in range(20)]
    dataset = ray.data.from_items(rows, override_num_blocks=4)
    found = ray_data.generate(dataset, model="tiny", actors=1, seed=3, block_rows=3, **SHORT).take_all()
    for row in found:
        assert row["text"] == tiny.generate(row["prompt"], seed=line_seed(3, content_key(row["prompt"])), **SHORT).text
    assert len(found) == 20


def test_vectors(cluster):
    rows = [{"text": f"text {number}"} for number in range(30)]
    rows[4]["text"] = None
    dataset = ray.data.from_items(rows)
    found = ray_data.embed(
        dataset, model="tiny-embedding", actors=1, kind="query", dimensions=32, block_rows=7
    ).take_all()
    model = qwen3cpu.load("tiny-embedding", threads=1)
    assert len(found) == 30
    for row in found:
        if row["text"] is None:
            assert row["vector"] is None
            assert "expected a str" in row["error"]
        else:
            expected = model.embed(row["text"], kind="query", dimensions=32)
            assert np.array_equal(np.asarray(row["vector"], np.float32), expected)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"max_new_token": 3}, "max_new_tokens"),
        ({"n": 2}, "n: expected none"),
        ({"column": "text"}, "column: expected one of id, prompt"),
        ({"output": ["words"]}, "output: expected names among"),
        ({"output": {"text": "prompt"}}, "output: expected names of new columns"),
        ({"cpus": 64}, "cpus: expected a node with 64 CPUs"),
        ({"kv_bytes": 1 << 60}, "memory: expected a node"),
        ({"load": {"threads": 2}}, "load: expected no threads"),
        ({"model": "tiny-embedding"}, "model: expected one made for generation"),
        ({"block_rows": 0}, "block_rows"),
    ],
)
def test_mistakes_are_told_at_once(cluster, arguments, told):
    dataset = ray.data.from_items(questions(2))
    with pytest.raises(ArgumentError, match=told):
        ray_data.generate(dataset, **{"model": "tiny", **arguments})


DRIVER = """
import sys, json, ray, ray.data
from qwen3cpu.integrations import ray_data
ray.init(address=sys.argv[1], logging_level="ERROR", log_to_driver=False)
rows = json.loads(sys.argv[2])
dataset = ray.data.from_items(rows, override_num_blocks=3)
ray_data.generate_to(dataset, sys.argv[3], model="tiny", key="id", seed=7, block_rows=10, max_new_tokens=8,
                     thinking=False, actors=1)
"""


def test_a_killed_driver_goes_on(cluster, tiny, tmp_path):
    rows, folder = questions(200), tmp_path / "answers"
    arguments = [sys.executable, "-c", DRIVER, cluster.address, json.dumps(rows), folder]
    process = subprocess.Popen(arguments, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    parts = tmp_path / "answers.part"
    while len(list(parts.glob("*.parquet"))) < 3 and process.poll() is None:
        sleep(0.01)
    process.kill()
    assert process.wait() == -9
    assert not folder.exists()
    # A node that was given up may still write finished rows, in a part with other rows.
    (first, *_) = sorted(parts.glob("*.parquet"))
    twin = first.with_name("part-0.parquet")
    twin.write_bytes(first.read_bytes())
    twin.with_name(f"{twin.name}.keys").write_bytes(first.with_name(f"{first.name}.keys").read_bytes())

    dataset = ray.data.from_items(rows, override_num_blocks=5)
    job = {**ONE, "seed": 7, **SHORT}
    with pytest.raises(ArgumentError, match="another seed"):
        ray_data.generate_to(dataset, folder, **{**job, "seed": 8})
    summary = ray_data.generate_to(dataset, folder, block_rows=16, **job)
    assert summary.rows == 200
    assert 30 <= summary.kept < 200
    assert texts(pq.read_table(folder).to_pylist()) == answered(tiny, rows, 7, **SHORT)
    assert not parts.exists()
    again = ray_data.generate_to(dataset, folder, **job)
    assert (again.rows, again.errors, again.kept) == (200, 0, 200)


def test_a_folder_of_jsonl_and_what_it_refuses(cluster, tiny, tmp_path):
    rows, folder = questions(20), tmp_path / "answers"
    job = {**ONE, "file_format": "jsonl", **SHORT}
    dataset = ray.data.from_items(rows)
    with pytest.raises(ArgumentError, match="found 1 rows with the same id"):
        ray_data.generate_to(ray.data.from_items([*rows, rows[0]]), folder, **job)
    with pytest.raises(ArgumentError, match="id: expected a key"):
        ray_data.generate_to(ray.data.from_items([*rows, {"id": None, "prompt": "x"}]), folder, **job)
    assert not list(tmp_path.iterdir())
    rows[2]["prompt"] = None
    summary = ray_data.generate_to(ray.data.from_items(rows), folder, block_rows=8, **job)
    assert (summary.rows, summary.errors, summary.kept) == (20, 1, 0)
    lines = [json.loads(line) for path in folder.glob("*.jsonl") for line in path.read_text().splitlines()]
    good = [row for row in rows if row["prompt"]]
    assert texts([line for line in lines if line["error"] is None]) == answered(tiny, good, 0, **SHORT)
    with pytest.raises(ArgumentError, match="another rows"):
        ray_data.generate_to(dataset, folder, **job)
    assert ray_data.generate_to(dataset, folder, restart=True, **job).errors == 0
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(ArgumentError, match="expected no such folder"):
        ray_data.generate_to(dataset, other, restart=True, **job)


def test_vectors_in_a_folder(cluster, tmp_path):
    rows = [{"text": f"text {number}"} for number in range(30)]
    summary = ray_data.embed_to(ray.data.from_items(rows), tmp_path / "vectors", model="tiny-embedding", actors=1)
    assert (summary.rows, summary.errors) == (30, 0)
    table = pq.read_table(tmp_path / "vectors")
    expected = qwen3cpu.load("tiny-embedding", threads=1).embed(table["text"].to_pylist())
    assert np.array_equal(np.array(table["vector"].to_pylist(), np.float32), expected)


@pytest.mark.heavy
def test_two_nodes_of_three_are_killed(tmp_path, tiny):
    rows, folder = questions(5000), tmp_path / "answers"
    options = {"max_new_tokens": 16, "thinking": False}
    lines = ({"custom_id": row["id"], "prompt": row["prompt"]} for row in rows)
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    run_file(tiny, tmp_path / "in.jsonl", tmp_path / "out.jsonl", seed=7, **options)
    with (tmp_path / "out.jsonl").open() as file:
        expected = {line["custom_id"]: line["result"] for line in map(json.loads, file)}
    output = ("text", "reasoning", "token_ids", "seed", "finish_reason", "prompt_tokens", "completion_tokens")
    with ray_cluster(3) as cluster:
        job = {"model": "tiny", "key": "id", "seed": 7, "output": output, "block_rows": 50, **options}
        dataset = ray.data.from_items(rows, override_num_blocks=8)
        summaries = []
        thread = Thread(target=lambda: summaries.append(ray_data.generate_to(dataset, folder, **job)))
        thread.start()
        for finished in (33, 66):
            while (count := len(list(tmp_path.glob("answers.part/*.parquet")))) < finished and thread.is_alive():
                sleep(0.01)
            assert finished <= count < 100
            kill(cluster, workers(cluster)[0])
            add_node(cluster, **NODE)
        thread.join()
    assert [(each.rows, each.errors, each.kept) for each in summaries] == [(5000, 0, 0)]
    found = pq.read_table(folder).to_pylist()
    assert len(found) == len({row["id"] for row in found}) == 5000
    for row in found:
        result = expected[row["id"]]
        told = {**result, **result["usage"]}
        assert {name: row[name] for name in output} == {name: told[name] for name in output}


def test_a_number_that_json_has_not_is_refused():
    with pytest.raises(ArgumentError, match="expected 'parquet' for values that JSON has not"):
        folder._json_line({"x": float("nan")})
