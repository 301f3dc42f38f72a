"""A model with experts behind the server: many answers at the same time are those of each alone."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import qwen3cpu

FOLDER = Path(__file__).parents[1] / "support" / "tiny_experts"
TOOL = {
    "type": "function",
    "function": {
        "name": "add",
        "parameters": {
            "type": "object",
            "properties": {name: {"type": "integer", "minimum": 0, "maximum": 99} for name in "ab"},
            "required": ["a", "b"],
            "additionalProperties": False,
        },
    },
}


def test_answers_beside_others(serve):
    alone = qwen3cpu.load(FOLDER, "q4", threads=1, cache=False)
    questions = [f"What is {number} + {3 * number}?" for number in range(11, 27)]
    expected = [alone.generate(text, seed=5, max_new_tokens=60, speculate=False) for text in questions]
    running = serve(qwen3cpu.load(FOLDER, "q4", threads=2, cache=False))
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda text: running.chat(text, seed=5, max_tokens=60), questions))
    for reply, one in zip(replies, expected, strict=True):
        assert reply["choices"][0]["message"]["content"] == one.text
        assert reply["usage"]["completion_tokens"] == len(one.token_ids)


def test_forced_calls_of_a_tool(serve):
    running = serve(qwen3cpu.load(FOLDER, "q4", threads=1, cache=False))
    template = {"enable_thinking": False}
    reply = running.chat(tools=[TOOL], tool_choice="required", chat_template_kwargs=template, seed=1, max_tokens=300)
    calls = reply["choices"][0]["message"]["tool_calls"]
    assert calls
    for call in calls:
        assert call["function"]["name"] == "add"
        assert all(0 <= number <= 99 for number in json.loads(call["function"]["arguments"]).values())
