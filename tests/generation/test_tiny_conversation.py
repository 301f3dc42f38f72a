"""Conversations with the embedded model, thinking, prepared, saved and resumed: the same as without a cache."""

import asyncio
import json
from pathlib import Path

import pytest

import qwen3cpu

HELDOUT = Path(__file__).parents[1] / "support" / "tiny_heldout.json"
QUESTIONS = [problem["question"] for problem in json.loads(HELDOUT.read_text())]
OPTIONS = {"temperature": 0.7, "max_new_tokens": 200}


@pytest.fixture(scope="module")
def forgetful():
    return qwen3cpu.load("tiny", prefix_cache=0)


@pytest.mark.parametrize("thinking", [True, False])
@pytest.mark.parametrize("prepare", ["idle", None])
def test_ten_turns_saved_in_the_middle(forgetful, tmp_path, thinking, prepare):
    model = qwen3cpu.load("tiny")
    chat = model.chat(prepare=prepare, thinking=thinking, **OPTIONS)
    for turn, question in enumerate(QUESTIONS[:10]):
        if turn == 5:
            chat.save(tmp_path / "chat.session")
            chat.close()
            chat = model.resume(tmp_path / "chat.session")
        result = chat.send(question, seed=turn)
        assert bool(result.reasoning) == thinking
        fresh = forgetful.generate(chat.messages[:-1], thinking=thinking, seed=turn, **OPTIONS)
        assert (result.token_ids, result.text, result.reasoning) == (fresh.token_ids, fresh.text, fresh.reasoning)
        assert turn == 0 or result.usage.cached_tokens > 0
        chat.wait_prepared()
    chat.close()


def test_many_askers_at_once(forgetful):
    model = qwen3cpu.load("tiny")
    expected = [forgetful.generate(question, seed=1, **OPTIONS).token_ids for question in QUESTIONS[:12]]

    async def main():
        return await asyncio.gather(*(model.agenerate(question, seed=1, **OPTIONS) for question in QUESTIONS[:12]))

    assert [result.token_ids for result in asyncio.run(main())] == expected
    model.engine.prefix_cache.clear()
    assert model.engine.native.kv_blocks_in_use() == 0
