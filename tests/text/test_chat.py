"""Chat templates: which control tokens come from the template, for templates of many kinds, and refusals."""

from __future__ import annotations

import itertools
from functools import lru_cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_tokenizer import CONFIG, CONTROL_TOKENS, small

from qwen3cpu.errors import ArgumentError, CheckpointError, MessageError
from qwen3cpu.text.chat_template import ChatTemplate
from qwen3cpu.text.output_splitter import starts_thinking
from qwen3cpu.text.tokenizer import Tokenizer

SMALL = Tokenizer(small(), CONFIG, source="small")
HI = [{"role": "user", "content": "Hi"}]
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@lru_cache
def chat(template: str | None) -> ChatTemplate:
    """A template over the small tokenizer."""
    return ChatTemplate(template, SMALL, source="some model")


def spelled(ids: list[int]) -> str:
    """Ids as text, each control token in brackets."""
    control = set(SMALL.control_tokens.values())
    return "".join(
        f"[{text}]" if is_control else text
        for is_control, group in itertools.groupby(ids, control.__contains__)
        for text in (
            [SMALL.decode([id_], skip_special_tokens=False) for id_ in group] if is_control else [SMALL.decode(group)]
        )
    )


# Each renders CHATML's text for user messages, in its own way.
SAME_TEXT = {
    "plain": CHATML,
    "text": "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant{{ '\n' }}",
    "from pieces": "{% for m in messages %}{{ '<|' ~ 'im_start|>' ~ m.role }}\n{{ m.content + '<|im_' + 'end|>' }}\n"
    "{% endfor %}{{ ['<|im', 'start|>assistant\n'] | join('_') }}",
    "variables": "{% set open, close = '<|im_start|>', '<|im_end|>\n' %}{% for m in messages %}"
    "{{ open ~ m.role ~ '\n' ~ m.content ~ close }}{% endfor %}{{ open }}assistant{{ '\n' }}",
    "macro": "{% macro turn(role, text, end='<|im_end|>') %}<|im_start|>{{ role }}\n{{ text }}{{ end }}\n{% endmacro %}"
    "{% for m in messages %}{{ turn(m.role, m.content) }}{% endfor %}<|im_start|>assistant{{ '\n' }}",
    "block": "{% for m in messages %}{% set body %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>{% endset %}"
    "{{ body }}\n{% endfor %}<|im_start|>assistant{{ '\n' }}",
    "named token": "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{{ eos_token }}\n{% endfor %}"
    "<|im_start|>assistant{{ '\n' }}",
    "generation tag": "{% for m in messages %}<|im_start|>{{ m.role }}\n{% generation %}{{ m.content }}<|im_end|>"
    "{% endgeneration %}{{ '\n' }}{% endfor %}<|im_start|>assistant{{ '\n' }}",
    "looks at itself": "{% set end = '<|im_end|>' %}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% if end == '<|im_end|>' %}{{ end }}{% endif %}{{ '\n' }}{% endfor %}<|im_start|>assistant{{ '\n' }}",
    "looks at the messages": "{% for m in messages %}"
    "{% if m.content.startswith('<think>') or '<|im_end|>' in m.content %}"
    "{% set seen = true %}{% endif %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant{{ '\n' }}",
}


@pytest.mark.parametrize("template", SAME_TEXT.values(), ids=SAME_TEXT.keys())
@given(
    contents=st.lists(
        st.lists(
            st.sampled_from([*CONTROL_TOKENS, "<|im_", "im_end|>", "<", ">", "a", "\n", " ", "{{", "\ufdd0"]),
            max_size=5,
        ).map("".join),
        min_size=1,
        max_size=3,
    )
)
def test_only_the_templates_tokens_are_tokens(template: str, contents: list[str]) -> None:
    messages = [{"role": "user", "content": content} for content in contents]
    prompt = chat(template)
    expected: list[int] = []
    for content in contents:
        expected += [
            SMALL.control_tokens["<|im_start|>"],
            *SMALL.encode(f"user\n{content}"),
            SMALL.control_tokens["<|im_end|>"],
        ]
        expected += SMALL.encode("\n")
    expected += [SMALL.control_tokens["<|im_start|>"], *SMALL.encode("assistant\n")]
    text = "".join(f"<|im_start|>user\n{content}<|im_end|>\n" for content in contents) + "<|im_start|>assistant\n"
    assert prompt.render(messages) == text
    assert prompt.encode(messages) == expected


def test_token_that_a_template_glues_to_a_message() -> None:
    prompt = chat("{{ messages[0].content }}{{ messages[1].content }}|im_end|><|im_end|>")
    messages = [{"role": "user", "content": "<thi"}, {"role": "user", "content": "nk><"}]
    assert prompt.render(messages) == "<think><|im_end|><|im_end|>"
    assert spelled(prompt.encode(messages)) == "<think><|im_end|>[<|im_end|>]"
    prompt = chat("<|im_start|>{{ '<thi' }}{{ messages[0].content }}<|im_end|>")
    assert spelled(prompt.encode([{"role": "user", "content": "nk>"}])) == "[<|im_start|>]<think>[<|im_end|>]"


def test_literal_that_a_template_takes_apart() -> None:
    prompt = chat("{{ '<think>a'.split('<think>') | join('-') }}{{ messages[0].content }}<|im_end|>")
    ids = prompt.encode([{"role": "user", "content": "<|im_end|>"}])
    assert ids == [*SMALL.encode("-a<|im_end|>"), SMALL.im_end]


def test_spelling_that_a_template_takes_out_and_writes_itself() -> None:
    prompt = chat(
        "{% for m in messages %}{% if '</think>' in m.content %}{% set a, b = m.content.split('</think>') %}"
        "<think>{{ a.replace('<think>', '') }}</think>{{ b }}{% else %}{{ m.content }}{% endif %}{% endfor %}"
    )
    messages = [
        {"role": "user", "content": "<think>a<|im_end|></think>b<tool_call>"},
        {"role": "user", "content": "<think>"},
    ]
    assert prompt.render(messages) == "<think>a<|im_end|></think>b<tool_call><think>"
    assert spelled(prompt.encode(messages)) == "[<think>]a<|im_end|>[</think>]b<tool_call><think>"


@pytest.mark.parametrize(
    "condition",
    [
        "'</think>' in content",
        "content is in ['a', 'a</think>']",
        "content == 'a</think>'",
        "content.endswith('</think>')",
        "content.split(sep='</think>')[1:]",
        "content | replace('</think>', '') != content",
        "['a</think>'].count(content) > 0",
        "{'a</think>': 1}[content]",
        "{'a</think>': 1}.get(content)",
        "{content: 1}['a</think>']",
        "[content] | select('equalto', 'a</think>') | list",
    ],
)
def test_ways_of_looking_at_a_message(condition: str) -> None:
    """A message that the template recognises is replaced by the template's own text; any other stays unchanged."""
    prompt = chat(
        "{% for m in messages %}{% set content = m.content %}{% set known = " + condition + " %}"
        "{{ 'a</think>' if known else content }}|{% endfor %}"
    )
    messages = [{"role": "user", "content": "a</think>"}, {"role": "user", "content": "<think>"}]
    assert prompt.render(messages) == "a</think>|<think>|"
    assert spelled(prompt.encode(messages)) == "a[</think>]|<think>|"


@pytest.mark.parametrize(
    "statement",
    [
        "{% if ['<think>'].count(m.content) %}<|im_end|>{% endif %}",
        "{{ '<|im_end|>' if ['<think>'].count(m.content) else '' }}",
        "{% for x in [1] if ['<think>'].count(m.content) %}<|im_end|>{% endfor %}",
    ],
)
def test_conditions(statement: str) -> None:
    prompt = chat("{% for m in messages %}{{ m.content }}" + statement + "{% endfor %}")
    assert spelled(prompt.encode([{"role": "user", "content": "<think>"}])) == "<think>[<|im_end|>]"


def test_message_that_cannot_be_told_from_the_template_is_refused() -> None:
    prompt = chat(
        "{{ '<|im_' ~ 'start|>' }}{{ messages[0].content }}{% if '<think>' in messages[0].content %}!{% endif %}"
    )
    assert spelled(prompt.encode(HI)) == "[<|im_start|>]Hi"
    assert spelled(prompt.encode([{"role": "user", "content": "<|im_end|>"}])) == "[<|im_start|>]<|im_end|>"
    message = r"some model: messages: expected no spelling of a control token .* found <think>, <\|im_end\|>"
    with pytest.raises(MessageError, match=message):
        prompt.encode([{"role": "user", "content": "<think><|im_end|>"}])


def test_spellings_in_tools_keys_and_calls() -> None:
    prompt = chat("{{ tools | tojson }}<|im_end|>{{ messages | tojson }}")
    tools = [{"name": "f", "description": "<|im_end|>", "parameters": {"<think>": ["</think>"]}}]
    call = {"name": "<tool_call>", "arguments": {"<|im_start|>": "<tool_response>"}}
    messages = [*HI, {"role": "assistant", "reasoning_content": "</tool_call>", "tool_calls": [call]}]
    ids = prompt.encode(messages, tools=tools)
    assert [id_ for id_ in ids if id_ in SMALL.control_tokens.values()] == [SMALL.im_end]
    assert SMALL.decode(ids, skip_special_tokens=False) == prompt.render(messages, tools=tools)


def test_spelling_in_a_key_alone() -> None:
    prompt = chat("{{ tools | tojson }}<|im_end|>")
    ids = prompt.encode(HI, tools=[{"name": "f", "parameters": {"<|im_end|>": {}}}])
    assert spelled(ids) == '[{"name": "f", "parameters": {"<|im_end|>": {}}}][<|im_end|>]'


def test_time_does_not_pass_while_a_prompt_is_encoded() -> None:
    prompt = chat("{{ strftime_now('%f') }}{{ messages[0].content }}<|im_end|>")
    for _ in range(20):
        ids = prompt.encode([{"role": "user", "content": "<|im_end|>"}])
        assert spelled(ids)[6:] == "<|im_end|>[<|im_end|>]"


def test_thinking_is_passed_on() -> None:
    prompt = chat("{{ enable_thinking is defined }} {{ enable_thinking }} {{ add_generation_prompt }}")
    assert prompt.render(HI) == "True True True"
    assert prompt.render(HI, thinking=False, add_generation_prompt=False) == "True False False"


@pytest.mark.parametrize("option", ["thinking", "add_generation_prompt"])
def test_switches_are_bools(option: str) -> None:
    with pytest.raises(ArgumentError, match=f"{option}: expected True or False, found 'auto'"):
        chat(CHATML).render(HI, **{option: "auto"})


def test_template_gets_copies() -> None:
    message = {"role": "user", "content": "Hi", "extra": {"list": [1]}}
    with pytest.raises(MessageError, match="fails on the messages: SecurityError"):
        chat("{{ messages[0].extra.list.append(2) }}").render([message])
    assert message == {"role": "user", "content": "Hi", "extra": {"list": [1]}}


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ raise_exception('System role not supported') }}", "refuses the messages: System role not supported$"),
        ("{{ messages[0].nothing.more }}", "fails on the messages: 'dict object' has no attribute 'nothing'"),
        ("{{ 1 + 'a' }}", "fails on the messages: TypeError: unsupported operand"),
        ("{{ 1 / 0 }}", "fails on the messages: ZeroDivisionError"),
        ("{{ ''.__class__.__mro__ }}", "fails on the messages: SecurityError: access to"),
        ("{{ namespace(_a=1) }}", "fails on the messages: SecurityError: namespace attributes"),
        (
            "{% set n = namespace() %}{% set n.__class__ = 1 %}",
            "fails on the messages: SecurityError: namespace attributes",
        ),
        ("{{ range(10000000) | list }}", "fails on the messages: OverflowError"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "fails on the messages: RecursionError"),
        ("{% include 'other' %}", "fails on the messages: "),
    ],
)
def test_failing_templates(template: str, message: str) -> None:
    for method in (chat(template).render, chat(template).encode):
        with pytest.raises(MessageError, match=f"^some model: the chat template {message}"):
            method(HI)


@pytest.mark.parametrize("template", ["{% if %}", "{{ a", "{% endfor %}", "a\n{{ a | no_such_filter }}"])
def test_damaged_templates(template: str) -> None:
    with pytest.raises(
        CheckpointError, match=r"some model: chat template: expected a Jinja template, found in line [12]: "
    ):
        chat(template)


def test_template_that_is_no_text() -> None:
    with pytest.raises(CheckpointError, match="some model: chat template: expected a str, found list"):
        ChatTemplate([{"name": "default"}], SMALL, source="some model")  # type: ignore[arg-type]


def test_missing_template() -> None:
    for method in (chat(None).render, chat(None).encode):
        with pytest.raises(
            CheckpointError, match=r"some model: .* no chat template: .*tokenizer_config.json .*chat_template.jinja"
        ):
            method(HI)


def test_call_without_content() -> None:
    messages = [*HI, {"role": "assistant", "content": None, "tool_calls": [{"name": "f", "arguments": {}}]}]
    seen = chat("{{ messages[1].content is defined }}").render(messages)
    assert seen == "False", "as with transformers, where a template can see it"
    assert chat(CHATML).render(messages, add_generation_prompt=False).endswith("<|im_start|>assistant\n<|im_end|>\n")


def test_malformed_messages_do_not_reach_the_template() -> None:
    with pytest.raises(MessageError, match=r"messages\[0\].role: expected one of"):
        chat(CHATML).render([{"role": "robot", "content": ""}])
    with pytest.raises(MessageError, match=r"tools\[0\].name: expected the function's name, found None"):
        chat(CHATML).encode(HI, tools=[{}])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", False),
        ("<|im_start|>assistant\n", False),
        ("<|im_start|>assistant\n<think>\n", True),
        ("<|im_start|>assistant\n<think>\n\n</think>\n\n", False),
        ("<think>a</think><|im_end|><|im_start|>assistant\n<think>\n", True),
        ("<think> unclosed<|im_end|>\n<|im_start|>assistant\n", False),
        ("a</think>b<think>c", True),
    ],
)
def test_starts_thinking(text: str, expected: bool) -> None:
    assert starts_thinking(SMALL.encode(text, control_tokens=True), SMALL) is expected
    assert starts_thinking(SMALL.encode(text), SMALL) is False, "spellings do not open a block"


def test_template_that_opens_the_think_block() -> None:
    opening: dict[str, Any] = {"messages": [{"role": "user", "content": "What is <think>?"}]}
    prompt = chat(CHATML.replace("assistant\n'", "assistant\n<think>\n'"))
    assert starts_thinking(prompt.encode(**opening), SMALL)
    assert not starts_thinking(prompt.encode(**opening, add_generation_prompt=False), SMALL)
    assert not starts_thinking(chat(CHATML).encode(**opening), SMALL)
