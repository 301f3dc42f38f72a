"""mteb's own retrieval task on local texts gives the score that follows from the nearest texts."""

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mteb", reason="pip install 'qwen3cpu[mteb]'")

import mteb
from datasets import Dataset
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.types import PromptType

import qwen3cpu
from qwen3cpu.integrations.mteb import Qwen3CpuEncoder

pytestmark = pytest.mark.filterwarnings("ignore")  # of the library and what it imports

ASKED = json.loads((Path(__file__).parents[1] / "support" / "tiny_search.json").read_text(encoding="utf-8"))
INSTRUCTION = "Find the text that answers the question"


class LittleWorld(AbsTaskRetrieval):
    """Texts about the facts of the little world, and questions with one right text each."""

    metadata = TaskMetadata(
        name="LittleWorld",
        description="Facts of a little world",
        reference=None,
        dataset={"path": "local", "revision": "1"},
        type="Retrieval",
        category="t2t",
        modalities=["text"],
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
        main_score="ndcg_at_10",
        date=None,
        domains=None,
        task_subtypes=None,
        license=None,
        annotations_creators=None,
        dialect=None,
        sample_creation=None,
        bibtex_citation="",
        prompt={"query": INSTRUCTION},
    )

    def load_data(self, *args, **kwargs):
        texts = [{"id": f"t{place}", "text": text, "title": ""} for place, text in enumerate(ASKED["texts"])]
        questions = [{"id": f"q{place}", "text": each["question"]} for place, each in enumerate(ASKED["questions"])]
        right = {f"q{place}": {f"t{each['text']}": 1} for place, each in enumerate(ASKED["questions"])}
        data = {"corpus": Dataset.from_list(texts), "queries": Dataset.from_list(questions), "relevant_docs": right}
        self.dataset = {"default": {"test": {**data, "top_ranked": None}}}
        self.data_loaded = True


def test_a_local_retrieval_task():
    model = qwen3cpu.load("tiny-embedding", threads=1)
    result = mteb.evaluate(
        Qwen3CpuEncoder(model), LittleWorld(), cache=None, co2_tracker=False, show_progress_bar=False
    )
    ((scores,),) = [task.scores["test"] for task in result.task_results]
    questions = [each["question"] for each in ASKED["questions"]]
    cosines = model.embed(questions, kind="query", instruction=INSTRUCTION) @ model.embed(ASKED["texts"]).T
    right = cosines[np.arange(len(questions)), [each["text"] for each in ASKED["questions"]]]
    places = (cosines > right[:, None]).sum(1)
    assert scores["hit_rate_at_1"] == (places == 0).mean().round(5)
    expected = np.where(places < 10, 1 / np.log2(places + 2), 0).mean()
    assert scores["ndcg_at_10"] == pytest.approx(expected, abs=1e-5)  # rounded to five digits
    assert result.model_name == "qwen3cpu/tiny-embedding-q4"


def test_a_model_may_be_named():
    encoder = Qwen3CpuEncoder("tiny-embedding", dimensions=64, quant="q8", threads=1)
    assert encoder.mteb_model_meta.name == "qwen3cpu/tiny-embedding-q8"
    task = LittleWorld().metadata
    batches = [{"text": ["a", "b"]}, {"text": ["c"]}]
    found = encoder.encode(batches, task_metadata=task, hf_split="test", hf_subset="default", prompt_type=None)
    expected = encoder.model.embed(["a", "b", "c"], kind="query", instruction=INSTRUCTION, dimensions=64)
    assert (found == expected).all()
    documents = encoder.encode(
        batches, task_metadata=task, hf_split="test", hf_subset="default", prompt_type=PromptType.document
    )
    assert (documents == encoder.model.embed(["a", "b", "c"], dimensions=64)).all()
