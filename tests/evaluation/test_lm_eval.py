"""lm-eval finds the model class, and its results on tasks from local files equal those computed with the model."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from checkpoints import write_checkpoint

import qwen3cpu
from qwen3cpu.errors import ArgumentError

pytest.importorskip("lm_eval")
pytestmark = pytest.mark.filterwarnings("ignore")  # of the harness and what it imports

HELDOUT = json.loads((Path(__file__).parents[1] / "support" / "tiny_heldout.json").read_text(encoding="utf-8"))[:12]
CHOICES = [
    {"question": each["question"], "choices": [each["answer"], str(int(each["answer"]) + 13)], "label": 0}
    for each in HELDOUT
    if each["answer"].isdecimal()
]
PAIRS = [("the sky is", " blue"), ("the sky is ", "blue"), ("the sky is", " a number"), ("", "hello")]
TEXTS = ["the sky is blue", "hello world and you " * 30, "number"]


class Request:
    """A request as the harness makes it."""

    def __init__(self, *args: Any) -> None:
        self.args = args


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("model"), max_position_embeddings=64).folder


@pytest.fixture(scope="module")
def lm(folder: Path) -> Any:
    from qwen3cpu.lm_eval import Qwen3CpuLM

    return Qwen3CpuLM(pretrained=str(folder), quant="f32", threads=1, batch_size=3)


def score(model: qwen3cpu.Model, ids: list[int], last: int) -> float:
    return sum(each.logprob or 0.0 for each in model.score(ids)[-last:])


def test_is_registered() -> None:
    from lm_eval.api.registry import get_model

    from qwen3cpu.lm_eval import Qwen3CpuLM

    assert get_model("qwen3cpu") is Qwen3CpuLM
    assert get_model("dummy").__name__ == "DummyLM", "the harness's own models are found beside it"


def test_loglikelihood(lm: Any) -> None:
    encode = lm.model.tokenizer.encode
    pairs = [
        ("the sky is", " blue"),
        ("the sky is ", "blue"),
        ("the sky is", " a number"),
        ("", "hello"),
        ("x" * 80, "y"),
    ]
    found = lm.loglikelihood([Request(*pair) for pair in pairs], disable_tqdm=True)
    blue = encode("the sky is blue")
    expected = score(lm.model, blue, len(blue) - len(encode("the sky is")))
    assert found[0][0] == expected
    assert found[1][0] == expected, "the space at the end of a context belongs to the continuation"
    assert found[3][0] == score(lm.model, [lm.prefix_token_id, *encode("hello")], len(encode("hello")))
    assert found[4][0] == score(lm.model, encode("x" * 80 + "y")[-65:], 1), "the end of a context that is too long"
    assert all(isinstance(greedy, bool) for _, greedy in found)


def test_agrees_with_the_harness_class_for_transformers(lm: Any, folder: Path) -> None:
    """Tokens, prefix and windows are the same; f32 sums have another order."""
    for package in ("torch", "transformers", "accelerate"):
        pytest.importorskip(package)
    from lm_eval.models.huggingface import HFLM

    theirs = HFLM(pretrained=str(folder), dtype="float32", device="cpu", batch_size=1, max_length=64)
    pairs = [Request(*pair) for pair in PAIRS]
    for (ours, greedy), (value, their_greedy) in zip(
        lm.loglikelihood(pairs, disable_tqdm=True), theirs.loglikelihood(pairs, disable_tqdm=True), strict=True
    ):
        assert ours == pytest.approx(value, rel=1e-3)
        assert greedy == their_greedy
    texts = [Request(text) for text in TEXTS]
    rolling = lm.loglikelihood_rolling(texts, disable_tqdm=True)
    assert rolling == pytest.approx(theirs.loglikelihood_rolling(texts, disable_tqdm=True), rel=1e-3)
    history = [{"role": "user", "content": "the sky"}]
    assert lm.chat_template(True) == theirs.chat_template(True)
    assert lm.tok_encode(lm.apply_chat_template(history)) == theirs.tok_encode(lm.apply_chat_template(history))


def test_rolling_windows_cover_the_text(lm: Any) -> None:
    """Each token is predicted once, with as much context before it as possible."""
    encode = lm.model.tokenizer.encode
    found = lm.loglikelihood_rolling([Request(text) for text in TEXTS], disable_tqdm=True)
    for text, value in zip(TEXTS, found, strict=True):
        ids = [lm.prefix_token_id, *encode(text)]
        expected, first = 0.0, 1
        while first < len(ids):
            last = min(first + 64, len(ids))
            expected += score(lm.model, ids[max(last - 65, 0) : last], last - first)
            first = last
        assert value == pytest.approx(expected, rel=1e-12)
    assert len(encode(TEXTS[1])) > 64


def test_generate_until(lm: Any) -> None:
    requests = [
        Request("the sky", {"until": ["\n\n"], "max_gen_toks": 5}),
        Request("hello world", {"until": "\n\n", "max_gen_toks": 5}),
        Request("the sky", {"until": [], "do_sample": True, "temperature": 1.0, "max_new_tokens": 5}),
        Request("x" * 100, {"until": [""], "max_gen_toks": 5}),
    ]
    found = lm.generate_until(requests, disable_tqdm=True)
    options = {"raw": True, "temperature": 0, "max_new_tokens": 5}
    assert found[0] == lm.model.generate("the sky", stop="\n\n", **options).text
    assert found[1] == lm.model.generate("hello world", stop="\n\n", **options).text
    assert found == lm.generate_until(requests, disable_tqdm=True), "sampled answers are repeatable, too"
    with pytest.raises(ArgumentError, match=r"generation_kwargs: .*found 'num_beams'"):
        lm.generate_until([Request("the", {"num_beams": 4})], disable_tqdm=True)
    with pytest.raises(ArgumentError, match="max_gen_toks"):
        lm.generate_until([Request("the", {"max_gen_toks": 64})], disable_tqdm=True)


def test_chat_template(lm: Any) -> None:
    history = [{"role": "system", "content": "a"}, {"role": "user", "content": "the sky"}]
    assert lm.apply_chat_template(history) == lm.model.render(history, thinking=False)
    open_answer = lm.apply_chat_template(
        [*history, {"role": "assistant", "content": "is"}], add_generation_prompt=False
    )
    assert open_answer.endswith("<|im_start|>assistant\nis")
    ids = lm.tok_encode(lm.apply_chat_template(history))
    assert ids[0] == lm.model.tokenizer.control_tokens["<|im_start|>"]
    assert lm.chat_template(True) == lm.model.chat_template
    assert lm.chat_template(False) is None


def write_task(folder: Path, name: str, documents: list[dict[str, Any]], settings: str) -> None:
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(each) + "\n" for each in documents))
    (folder / f"{name}.yaml").write_text(
        f"task: {name}\ndataset_path: json\ndataset_kwargs:\n  data_files:\n    test: {folder / name}.jsonl\n"
        f"test_split: test\n{settings}"
    )


def run_harness(folder: Path, tasks: str, *arguments: str, model_args: str) -> dict[str, Any]:
    """Run the harness's command line in a process of its own, and return the results that it writes."""
    command = [sys.executable, "-m", "qwen3cpu.lm_eval", "run", "--model", "qwen3cpu", "--model_args", model_args]
    command += ["--tasks", tasks, "--include_path", str(folder), "--output_path", str(folder / "out"), *arguments]
    offline = {"HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    done = subprocess.run(command, env={**os.environ, **offline}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    (written,) = (folder / "out").rglob("results_*.json")
    found: dict[str, Any] = json.loads(written.read_text())
    return found


def test_tasks_from_local_files_on_the_embedded_model(tmp_path: Path) -> None:
    """Chat template, thinking, all three kinds of requests: the scores equal those computed with the model."""
    write_task(
        tmp_path,
        "local_choices",
        CHOICES,
        "output_type: multiple_choice\ndoc_to_text: question\ndoc_to_choice: choices\ndoc_to_target: label\n"
        'target_delimiter: ""\nmetric_list:\n  - metric: acc\n',
    )
    write_task(
        tmp_path,
        "local_answers",
        HELDOUT,
        "output_type: generate_until\ndoc_to_text: question\ndoc_to_target: '{{answer}}.'\n"
        "generation_kwargs:\n  until: []\n  max_gen_toks: 200\n"
        "metric_list:\n  - metric: exact_match\n    aggregation: mean\n    higher_is_better: true\n",
    )
    write_task(
        tmp_path,
        "local_text",
        [{"text": each["question"]} for each in HELDOUT],
        "output_type: loglikelihood_rolling\ndoc_to_text: ''\ndoc_to_target: text\n"
        "metric_list:\n  - metric: byte_perplexity\n",
    )
    found = run_harness(
        tmp_path,
        "local_choices,local_answers,local_text",
        "--apply_chat_template",
        model_args="pretrained=tiny,quant=q8,threads=2,enable_thinking=True",
    )
    results = found["results"]
    model = qwen3cpu.load("tiny", quant="q8")
    encode = model.tokenizer.encode

    def prompt(question: str) -> list[int]:
        return encode(model.render([{"role": "user", "content": question}], thinking=True), control_tokens=True)

    def likelihood(each: dict[str, Any], choice: str) -> float:
        return score(model, prompt(each["question"]) + encode(choice), len(encode(choice)))

    right = [likelihood(each, each["choices"][0]) > likelihood(each, each["choices"][1]) for each in CHOICES]
    assert results["local_choices"]["acc,none"] == pytest.approx(sum(right) / len(right))
    answers = [model.generate(prompt(each["question"]), temperature=0, max_new_tokens=200).text for each in HELDOUT]
    exact = [answer == each["answer"] + "." for answer, each in zip(answers, HELDOUT, strict=True)]
    assert results["local_answers"]["exact_match,none"] == pytest.approx(sum(exact) / len(exact))
    assert sum(exact) >= 8, "it finds most answers by thinking"
    total = 0.0
    end = model.tokenizer.control_tokens["<|im_end|>"]
    for each in HELDOUT:
        total += score(model, [end, *encode(each["question"])], len(encode(each["question"])))
    bytes_of = sum(len(each["question"].encode()) for each in HELDOUT)
    assert results["local_text"]["byte_perplexity,none"] == pytest.approx(math.exp(-total / bytes_of), rel=1e-9)
    assert found["config"]["model_source"] == "tiny"
    assert found["config"]["model_dtype"] == "q8"


def test_the_extra_is_named_when_the_harness_is_missing() -> None:
    code = "import sys\nsys.modules['lm_eval'] = None\nimport qwen3cpu.lm_eval"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "pip install 'qwen3cpu[lm-eval]'" in done.stderr.splitlines()[-1]
