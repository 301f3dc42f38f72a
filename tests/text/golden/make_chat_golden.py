"""Render conversations of many shapes with transformers, for test_chat_golden.py to compare with.

    python make_chat_golden.py FOLDER

FOLDER holds tokenizer.json and tokenizer_config.json of a released Qwen3 model. Writes beside itself chat_qwen3.json
(conversations, the text and, where no message spells a control token, the ids) and qwen3_chat_template.jinja.
"""

from __future__ import annotations

import itertools
import json
import random
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
Message = dict[str, Any]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": 'The weather <now> & "here", in °C',
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Name of the city, e.g. Zürich or 東京"},
                "days": {"type": ["integer", "null"], "minimum": 1, "default": None},
            },
            "required": ["city"],
        },
    },
}
ADD = {"name": "add", "description": "a + b", "parameters": {"type": "object", "properties": {"a": {"type": "number"}}}}
UNICODE = "Grüße, 世界! \U0001f44b\U0001f3fd e\u0301 \u200d \u00a0 Ω\n\tمرحبا"


def user(content: Any) -> Message:
    return {"role": "user", "content": content}


def system(content: Any) -> Message:
    return {"role": "system", "content": content}


def assistant(content: Any, **fields: Any) -> Message:
    return {"role": "assistant", "content": content, **fields}


def tool(content: Any, **fields: Any) -> Message:
    return {"role": "tool", "content": content, **fields}


def call(name: str, arguments: Any) -> Message:
    return {"id": f"call_{name}", "type": "function", "function": {"name": name, "arguments": arguments}}


def chosen() -> dict[str, list[Message]]:
    """Conversations written by hand, one for each branch of the template and each odd value."""
    zurich, tokyo = call("get_weather", {"city": "Zürich"}), call("get_weather", {"city": "東京", "days": 2})
    as_text = call("get_weather", '{"city": "Zürich",  "days": null}')
    ask = user("How is the weather?")
    return {
        "one question": [user("Hi")],
        "empty question": [user("")],
        "empty system": [system(""), user("Hi")],
        "white space": [system("  \n"), user("\n\n a \n"), assistant("\n\n b \n"), user("\t")],
        "system": [system("You are terse."), user("Hi")],
        "system alone": [system("You are terse.")],
        "system in the middle": [user("a"), assistant("b"), system("Be brief."), user("c")],
        "two systems": [system("a"), system("b"), user("c")],
        "unicode": [system(UNICODE), user(UNICODE), assistant(UNICODE, reasoning_content=UNICODE), user(UNICODE)],
        "history": [user("1"), assistant("2"), user("3"), assistant("4"), user("5")],
        "ends with an answer": [user("1"), assistant("2")],
        "ends with an empty answer": [user("1"), assistant("")],
        "answer first": [assistant("Hello!"), user("Hi")],
        "no user": [system("s"), assistant("a")],
        "reasoning in history": [user("1"), assistant("2", reasoning_content="\nhm\n\n"), user("3")],
        "reasoning at the end": [user("1"), assistant("\n\n2", reasoning_content="\nhm\n\n")],
        "empty reasoning": [user("1"), assistant("2", reasoning_content="")],
        "reasoning None": [user("1"), assistant("2", reasoning_content=None)],
        "reasoning in the content": [user("1"), assistant("<think>\nhm\n</think>\n\n2"), user("3")],
        "reasoning in the last content": [user("1"), assistant("<think>\nhm\n</think>\n\n2")],
        "empty reasoning in the content": [user("1"), assistant("<think>\n\n</think>\n\n2")],
        "unopened reasoning": [user("1"), assistant("hm\n</think>\n\n2")],
        "unclosed reasoning": [user("1"), assistant("<think>\nhm"), user("2")],
        "reasoning twice": [user("1"), assistant("<think>a</think>b<think>c</think>d")],
        "both kinds of reasoning": [user("1"), assistant("<think>a</think>b", reasoning_content="c")],
        "think in a question": [user("What does <think> mean? </think>"), assistant("a"), user("/no_think b")],
        "control tokens everywhere": [
            system("<|im_start|>system"),
            user("<|im_end|>\n<|im_start|>assistant\n<think>"),
            assistant("<|endoftext|></tool_call>", reasoning_content="<tool_call><|im_end|>"),
            user("<|vision_start|><|fim_prefix|>"),
        ],
        "pieces of control tokens": [
            user("<|im_"),
            assistant("im_end|>"),
            user("<"),
            assistant(">"),
            user("<|im_end|"),
        ],
        "one call": [ask, assistant("", tool_calls=[zurich]), tool("20 °C")],
        "call without content": [
            ask,
            assistant(None, tool_calls=[zurich], reasoning_content="hm"),
            tool("20"),
            user("ok"),
        ],
        "call without content or reasoning": [ask, assistant(None, tool_calls=[zurich]), tool("20 °C")],
        "call with text": [ask, assistant("I look.", tool_calls=[zurich]), tool("20 °C")],
        "call with reasoning": [ask, assistant("", tool_calls=[zurich], reasoning_content="hm"), tool("20 °C")],
        "call with reasoning in the content": [
            ask,
            assistant("<think>\nhm\n</think>\n\n", tool_calls=[zurich]),
            tool("20"),
        ],
        "text and reasoning before a result": [
            ask,
            assistant("<think>\nhm\n</think>\n\nOK", tool_calls=[zurich]),
            tool("20"),
        ],
        "arguments as text": [ask, assistant("", tool_calls=[as_text]), tool("20 °C")],
        "arguments empty": [ask, assistant("", tool_calls=[call("now", {}), call("now", "")]), tool("")],
        "flat call": [ask, assistant("", tool_calls=[{"name": "add", "arguments": {"a": 1e100, "b": [None, True]}}])],
        "no calls": [user("1"), assistant("2", tool_calls=[]), user("3")],
        "several calls": [ask, assistant("x", tool_calls=[zurich, tokyo, as_text]), tool("1"), tool("2"), tool("3")],
        "calls in turn": [
            ask,
            assistant("", tool_calls=[zurich], reasoning_content="first"),
            tool("20 °C"),
            assistant("And the other.", tool_calls=[tokyo], reasoning_content="second"),
            tool(""),
            assistant("Done.", reasoning_content="third"),
            user("Thanks"),
        ],
        "calls in turn, open": [
            ask,
            assistant("", tool_calls=[zurich], reasoning_content="first"),
            tool("20 °C"),
            assistant("And the other.", tool_calls=[tokyo], reasoning_content="second"),
            tool(UNICODE, name="get_weather", tool_call_id="call_1"),
        ],
        "final answer after results": [ask, assistant("", tool_calls=[zurich]), tool("1"), tool("2"), assistant("3")],
        "results first": [tool("1"), tool("2"), user("3")],
        "result that spells its tags": [ask, assistant("", tool_calls=[zurich]), tool("</tool_response><|im_end|>")],
        "arguments that spell control tokens": [
            ask,
            assistant("", tool_calls=[call("say", {"</tool_call>": "<|im_end|>"}), call("say", '{"x": "<think>"}')]),
            tool("ok"),
        ],
        "result as a user": [
            ask,
            assistant("", tool_calls=[zurich], reasoning_content="hm"),
            user("<tool_response>\n20\n</tool_response>"),
        ],
        "almost a result as a user": [ask, assistant("a", reasoning_content="hm"), user("<tool_response>20 ")],
    }


def generated(count: int) -> dict[str, list[Message]]:
    """Random conversations out of the same pieces."""
    rng = random.Random(20)
    texts = ["", "a", "Zeile 1\nZeile 2\n", UNICODE, " b ", "</think>x", "<think>\ny\n</think>\n\nz", "{{ a }}", "\n"]

    def answer() -> Message:
        fields: Message = {}
        if rng.random() < 0.4:
            fields["reasoning_content"] = rng.choice(texts)
        if rng.random() < 0.5:
            arguments = [{}, {"x": UNICODE, "y": {"z": [1, 2.5, None]}}, '{"a":1}', {"t": "<tool_call>"}]
            fields["tool_calls"] = [call(rng.choice("fg"), rng.choice(arguments)) for _ in range(rng.randint(1, 3))]
        return assistant(rng.choice(texts), **fields)

    def turn() -> list[Message]:
        steps = [user(rng.choice(texts))]
        for _ in range(rng.choice([0, 1, 1, 2])):
            steps.append(answer())
            steps += [tool(rng.choice(texts)) for _ in range(rng.choice([0, 0, 1, 2]))]
        return steps

    return {
        f"random {n}": [*([system(rng.choice(texts))] if rng.random() < 0.5 else []), *turn(), *turn(), *turn()]
        for n in range(count)
    }


def cases() -> list[dict[str, Any]]:
    """Every conversation, with switches and tools going round, so that each branch meets each of them."""
    switches = itertools.cycle(itertools.product([True, False], [True, False]))
    tools = itertools.cycle([None, [WEATHER], [WEATHER, ADD], None, []])
    made = []
    for name, messages in (chosen() | generated(40)).items():
        for _ in range(2):
            thinking, add_generation_prompt = next(switches)
            made.append(
                {
                    "name": name,
                    "messages": messages,
                    "tools": next(tools),
                    "thinking": thinking,
                    "add_generation_prompt": add_generation_prompt,
                }
            )
    return made


def main(folder: str) -> None:
    from jinja2 import UndefinedError
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    spellings = list(tokenizer.get_added_vocab())
    rendered = []
    for case in cases():
        options = {
            "tools": case["tools"],
            "enable_thinking": case["thinking"],
            "add_generation_prompt": case["add_generation_prompt"],
        }
        messages = case["messages"]
        try:
            text = tokenizer.apply_chat_template(messages, tokenize=False, **options)
        except UndefinedError:
            # transformers cannot render a call without content that has no reasoning either; "" is what it stands for.
            messages = [{**message, "content": message["content"] or ""} for message in messages]
            text = tokenizer.apply_chat_template(messages, tokenize=False, **options)
        ids = None
        given = json.dumps([case["messages"], case["tools"]], ensure_ascii=False)
        if not any(spelling in given for spelling in spellings):
            ids = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False, **options)
        rendered.append(case | {"text": text, "ids": ids})
    lines = ",\n".join(json.dumps(case, ensure_ascii=True) for case in rendered)
    (HERE / "chat_qwen3.json").write_text(f"[\n{lines}\n]\n")
    (HERE / "qwen3_chat_template.jinja").write_text(tokenizer.chat_template)
    print(f"{len(rendered)} cases, {sum(case['ids'] is not None for case in rendered)} with ids")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
