"""Rendering against transformers: stored renderings of the released template, and live ones if it is installed."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from small_tokenizer import CONFIG, CONTROL_TOKENS, small

from qwen3cpu.text.chat_template import ChatTemplate
from qwen3cpu.text.tokenizer import Tokenizer

GOLDEN = Path(__file__).parent / "golden"
TEMPLATE = (GOLDEN / "qwen3_chat_template.jinja").read_text(encoding="utf-8")
CASES: list[dict[str, Any]] = json.loads((GOLDEN / "chat_qwen3.json").read_text(encoding="utf-8"))
SMALL = Tokenizer(small(), CONFIG, source="small")
CHAT = ChatTemplate(TEMPLATE, SMALL, source="small")


def name_of(case: dict[str, Any]) -> str:
    """The name of the conversation, with its switches."""
    tools = "none" if case["tools"] is None else len(case["tools"])
    return f"{case['name']}-thinking={case['thinking']}-prompt={case['add_generation_prompt']}-tools={tools}"


def options_of(case: dict[str, Any]) -> dict[str, Any]:
    """The keyword arguments of render and encode."""
    return {name: case[name] for name in ("tools", "thinking", "add_generation_prompt")}


@pytest.fixture(scope="module")
def released() -> tuple[Tokenizer, ChatTemplate]:
    """The released tokenizer and template from the folder that QWEN3CPU_QWEN3_TOKENIZER names."""
    value = os.environ.get("QWEN3CPU_QWEN3_TOKENIZER")
    if not value:
        pytest.skip("QWEN3CPU_QWEN3_TOKENIZER does not name a folder with the released tokenizer")
    config = json.loads((Path(value) / "tokenizer_config.json").read_text(encoding="utf-8"))
    tokenizer = Tokenizer((Path(value) / "tokenizer.json").read_bytes(), config, source=value)
    return tokenizer, ChatTemplate(config["chat_template"], tokenizer, source=value)


def test_there_are_enough_conversations() -> None:
    assert len({json.dumps(case["messages"]) for case in CASES}) >= 60


class Renderings:
    """Compares every stored conversation with its result; at the end of `with` it fails and lists the differences."""

    SHOWN = 3

    def __init__(self) -> None:
        self.compared, self.wrong = 0, list[str]()

    def __enter__(self) -> Renderings:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            assert self.compared >= len(CASES)
            shown = "\n\n".join(self.wrong[: self.SHOWN])
            assert not self.wrong, f"{len(self.wrong)} of {self.compared} differ\n\n{shown}"

    def add(self, case: dict[str, Any], found: object, expected: object) -> None:
        self.compared += 1
        if found != expected:
            self.wrong.append(f"{name_of(case)}:\nexpected {expected!r}\nfound    {found!r}")


def test_render() -> None:
    with Renderings() as renderings:
        for case in CASES:
            renderings.add(case, CHAT.render(case["messages"], **options_of(case)), case["text"])


def test_encode_decodes_to_what_is_rendered() -> None:
    with Renderings() as renderings:
        for case in CASES:
            ids = CHAT.encode(case["messages"], **options_of(case))
            normal = tokenizers.normalizers.NFC().normalize_str(case["text"])
            renderings.add(case, SMALL.decode(ids, skip_special_tokens=False), normal)


def test_ids_of_released_tokenizer(released: tuple[Tokenizer, ChatTemplate]) -> None:
    tokenizer, chat = released
    with Renderings() as renderings:
        for case in CASES:
            ids = chat.encode(case["messages"], **options_of(case))
            if case["ids"] is not None:
                renderings.add(case, ids, case["ids"])
            normal = tokenizers.normalizers.NFC().normalize_str(case["text"])
            renderings.add(case, tokenizer.decode(ids, skip_special_tokens=False), normal)


def test_control_tokens_are_those_that_the_template_wrote() -> None:
    with Renderings() as renderings:
        for case in CASES:
            marked = "".join(released_template(case))
            written = marked
            for token in CONTROL_TOKENS:
                written = written.replace(WRITTEN + token, token)
            assert written == case["text"], f"{name_of(case)}: the oracle is the template"
            ids: list[int] = []
            for n, piece in enumerate(marked.split(WRITTEN)):
                token = next((token for token in CONTROL_TOKENS if n > 0 and piece.startswith(token)), "")
                ids += [SMALL.control_tokens[token]] if token else []
                ids += SMALL.encode(piece.removeprefix(token))
            renderings.add(case, CHAT.encode(case["messages"], **options_of(case)), ids)


WRITTEN = "\ue000"
"""The mark before each control token that the oracle writes itself."""
START, END = f"{WRITTEN}<|im_start|>", f"{WRITTEN}<|im_end|>"
THINK, END_THINK = f"{WRITTEN}<think>", f"{WRITTEN}</think>"
CALL, END_CALL = f"{WRITTEN}<tool_call>", f"{WRITTEN}</tool_call>"
RESPONSE, END_RESPONSE = f"{WRITTEN}<tool_response>", f"{WRITTEN}</tool_response>"
TOOLS_BEFORE = (
    "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
    "You are provided with function signatures within <tools></tools> XML tags:\n<tools>"
)
TOOLS_AFTER = (
    "\n</tools>\n\nFor each function call, return a json object with function name and arguments within "
    f'{CALL}{END_CALL} XML tags:\n{CALL}\n{{"name": <function-name>, "arguments": <args-json-object>}}\n{END_CALL}'
)


def released_template(case: dict[str, Any]) -> Iterator[str]:
    """The released template in Python: an oracle for which control tokens the template wrote."""
    messages = [message | {"content": message["content"] or ""} for message in case["messages"]]
    opening = messages[0]["content"] if messages[0]["role"] == "system" else None
    if case["tools"]:
        schemas = "".join("\n" + json.dumps(tool, ensure_ascii=False) for tool in case["tools"])
        before = "" if opening is None else opening + "\n\n"
        yield f"{START}system\n{before}{TOOLS_BEFORE}{schemas}{TOOLS_AFTER}{END}\n"
    elif opening is not None:
        yield f"{START}system\n{opening}{END}\n"
    queries = [n for n, message in enumerate(messages) if message["role"] == "user" and not is_response(message)]
    last_query = queries[-1] if queries else len(messages) - 1
    for n, message in enumerate(messages):
        if message["role"] == "user" or (message["role"] == "system" and n > 0):
            yield f"{START}{message['role']}\n{message['content']}{END}\n"
        elif message["role"] == "assistant":
            yield from assistant_message(message, after_query=n > last_query, is_last=n == len(messages) - 1)
        elif message["role"] == "tool":
            roles = [None, *(other["role"] for other in messages), None]
            yield f"{START}user" if roles[n] != "tool" else ""
            yield f"\n{RESPONSE}\n{message['content']}\n{END_RESPONSE}"
            yield f"{END}\n" if roles[n + 2] != "tool" else ""
    if case["add_generation_prompt"]:
        yield f"{START}assistant\n" + ("" if case["thinking"] else f"{THINK}\n\n{END_THINK}\n\n")


def is_response(message: dict[str, Any]) -> bool:
    """A tool's result in a user's message."""
    content: str = message["content"]
    return content.startswith("<tool_response>") and content.endswith("</tool_response>")


def assistant_message(message: dict[str, Any], *, after_query: bool, is_last: bool) -> Iterator[str]:
    """One assistant message of the released template."""
    content, reasoning = message["content"], message.get("reasoning_content")
    if reasoning is None:
        before, found, _ = content.partition("</think>")
        reasoning = before.rstrip("\n").split("<think>")[-1].lstrip("\n") if found else ""
        content = content.split("</think>")[-1].lstrip("\n") if found else content
    yield f"{START}assistant\n"
    if after_query and (is_last or reasoning):
        stripped, answer = reasoning.strip("\n"), content.lstrip("\n")
        yield f"{THINK}\n{stripped}\n{END_THINK}\n\n{answer}"
    else:
        yield content
    for n, tool_call in enumerate(message.get("tool_calls") or []):
        function = tool_call.get("function", tool_call)
        arguments = function["arguments"]
        if not isinstance(arguments, str):
            arguments = json.dumps(arguments, ensure_ascii=False)
        yield "\n" if content or n > 0 else ""
        yield f'{CALL}\n{{"name": "{function["name"]}", "arguments": {arguments}}}\n{END_CALL}'
    yield f"{END}\n"


def transformers_tokenizer(template: str) -> Any:
    """A transformers tokenizer with the small vocabulary and a template."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformers = pytest.importorskip("transformers")
        return transformers.PreTrainedTokenizerFast(
            tokenizer_object=tokenizers.Tokenizer.from_buffer(small()),
            eos_token="<|im_end|>",
            pad_token="<|endoftext|>",
            chat_template=template,
        )


def test_live_renderings_are_the_stored_ones() -> None:
    reference = transformers_tokenizer(TEMPLATE)
    compared = 0
    for case in CASES:
        options = options_of(case)
        options["enable_thinking"] = options.pop("thinking")
        if any(message["content"] is None for message in case["messages"]):
            continue  # transformers versions differ: some refuse it
        assert reference.apply_chat_template(case["messages"], tokenize=False, **options) == case["text"], case["name"]
        compared += 1
    assert compared > 150


OTHER_TEMPLATES = {
    "loop controls": "{% for m in messages %}{% if m.role == 'tool' %}{% continue %}{% endif %}"
    "{% if loop.index > 3 %}{% break %}{% endif %}[{{ m.content }}]{% endfor %}",
    "generation tag": "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}<|im_end|>"
    "{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}",
    "json": "{{ messages | tojson }}{{ tools | tojson(indent=2) }}{{ messages[0] | tojson(sort_keys=true) }}"
    "{{ messages | tojson(ensure_ascii=true, separators=(',', ':')) }}",
    "named tokens": "{{ eos_token }}{{ bos_token is defined }}{{ pad_token }}{{ unk_token }}{{ documents is none }}",
    "blocks": "  {% if true %}\n  a\n  {% endif %}\n  {%- set x %}\n b <|im_end|>\n{% endset %}{{ x | trim }}\n"
    "{# c #}\n d\n",
    "macro": "{% macro say(m, end='<|im_end|>') %}<|im_start|>{{ m.role }}\n{{ m.content }}{{ end }}{% endmacro %}"
    "{% for m in messages %}{{ say(m) }}{% endfor %}",
    "namespace and slices": "{% set ns = namespace(n=0, last=none) %}{% for m in messages[::-1] %}"
    "{% set ns.n = ns.n + 1 %}{% set ns.last = m %}{% endfor %}{{ ns.n }}"
    "{{ ns.last.role }}{{ dict(a=1) }}{{ messages[1:] | length }}",
    "escapes": "{{ messages[0].content | e }}{{ '<&>' }}{{ messages[0].content | upper }}",
}


@pytest.mark.parametrize("name", OTHER_TEMPLATES)
def test_other_templates_render_as_in_transformers(name: str) -> None:
    template = OTHER_TEMPLATES[name]
    reference, chat = transformers_tokenizer(template), ChatTemplate(template, SMALL, source="test")
    for case in CASES[:120]:
        if any(message["content"] is None or "reasoning_content" in message for message in case["messages"]):
            continue  # some versions add alias keys, which `messages | tojson` would show
        expected = reference.apply_chat_template(
            case["messages"], tools=case["tools"], enable_thinking=True, add_generation_prompt=True, tokenize=False
        )
        assert chat.render(case["messages"], tools=case["tools"]) == expected
