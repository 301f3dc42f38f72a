"""Answers that follow a regular expression, a list or a grammar: each matches it to the character."""

import ast
import asyncio
import re

import pytest
from drafters import KINDS, drafting, timeless
from scripted_models import script, write_scripted

import qwen3cpu
from qwen3cpu.generation.constraints import given_form

pytest.importorskip("llguidance", reason="constraints need the extra [schema]")

QUESTION = "What is 17 + 25?"
HOT = {"temperature": 5.0, "top_k": 0, "top_p": 1.0, "max_new_tokens": 200}
EXPRESSIONS = [
    r"[A-Z][a-z]{2,8}, [0-9]{2}/[0-9]{2}",
    r"(yes|no)( \(.{3,9}\))?",
    "a/b\\/c\n[/\n]{2}\\\\",
    r"(?i)strasse|[α-ω]{2,4}",
    r"^[^\n]{1,20}$",
    r"\s{0,3}[0-9]+\s{0,3}",
]
CHOICES = ["yes", "no", "no, never", "\n", 'ä/"[]\\', "", "日本"]
LARK = """
start: sum  # a comment with & and ~
sum: product (("+" | "-") product)*
product: atom ("*" atom)*
atom: NUMBER | "(" sum ")"
NUMBER: /[1-9][0-9]{0,2}/
"""
GBNF = """
root ::= product (("+" | "-") product)*
product ::= atom ("*" atom){0,3}
atom ::= [1-9] [0-9]{0,2} | "\\u0028" root ")"
"""


@pytest.fixture(scope="module")
def tiny():
    return qwen3cpu.load("tiny", threads=1, prefix_cache=0)


def is_sum(text):
    """Whether Python's own parser reads a text as a sum."""
    nodes = {type(node) for node in ast.walk(ast.parse(text, mode="eval"))}
    allowed = (ast.Expression, ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Constant)
    return nodes <= set(allowed) and re.fullmatch(r"[-+*()0-9]+", text) is not None


@pytest.mark.parametrize("expression", EXPRESSIONS)
@pytest.mark.parametrize("thinking", [True, False])
def test_a_regular_expression_matches_the_whole_answer(tiny, random_model, expression, thinking):
    options = [{"temperature": 0, "max_new_tokens": 200}, *({**HOT, "seed": seed} for seed in range(5))]
    finished = 0
    for each in options:
        if not thinking or each["temperature"]:
            result = tiny.generate(QUESTION, regex=expression, thinking=thinking, thinking_budget=8, **each)
            finished += result.finish_reason == "stop"
            if result.finish_reason == "stop":
                assert re.fullmatch(expression, result.text)
        result = random_model.generate("Q", raw=True, thinking=False, regex=expression, **each | {"max_new_tokens": 90})
        finished += result.finish_reason == "stop"
        assert result.finish_reason == "length" or re.fullmatch(expression, result.text)
    assert finished


@pytest.mark.parametrize("thinking", [True, False])
def test_the_answer_is_one_of_the_choices(tiny, random_model, thinking):
    bare = [choice for choice in CHOICES if choice != "\n"]
    for seed in range(12):
        assert tiny.generate(QUESTION, choices=bare, seed=seed, thinking=thinking, **HOT).text in bare
    found = {
        random_model.generate("Q", raw=True, thinking=False, choices=CHOICES, seed=seed, **HOT).text
        for seed in range(60)
    }
    assert found == set(CHOICES)
    assert tiny.generate(QUESTION, choices=["42"], thinking=thinking, seed=1).text == "42"


@pytest.mark.parametrize("grammar", [LARK, GBNF], ids=["lark", "gbnf"])
@pytest.mark.parametrize("thinking", [True, False])
def test_a_grammar_is_followed(tiny, grammar, thinking):
    results = [tiny.generate(QUESTION, grammar=grammar, seed=seed, thinking=thinking) for seed in range(8)]
    greedy = tiny.generate(QUESTION, grammar=grammar, thinking=False, temperature=0)
    texts = [each.text for each in (*results, greedy) if each.finish_reason == "stop"]
    assert len(texts) > 4
    assert [text for text in texts if not is_sum(text)] == []
    assert greedy.schema_errors is None


def test_line_breaks_after_thinking_are_none_of_the_answer(tmp_path):
    """They are not shown, so an expression does not count them. Without a think block it counts all line breaks."""
    follows = script(["Q", "<think>", "a", "</think>", "\n", "\n"], ["X", "\n"], ["W", "\n"])
    model = qwen3cpu.load(write_scripted(tmp_path, follows), quant="f32", threads=1)
    options = {"raw": True, "temperature": 0}
    result = model.generate("Q", regex=r"\n*[XY]\n?", **options)
    assert re.fullmatch(r"\n*[XY]\n?", result.text)
    assert (result.reasoning, result.text.lstrip("\n")) == ("a", result.text)
    assert model.generate("W", regex=r"\n{3}X\n", thinking=False, **options).text == "\n\n\nX\n"
    only = model.generate("Q", regex=r"\nX", **options)
    assert (only.stopped_by, only.text) == ("schema", "")
    assert only.schema_errors == ("the answer ended early: the grammar allows no token here",)


@pytest.mark.parametrize("form", [{"regex": EXPRESSIONS[0]}, {"choices": CHOICES}, {"grammar": LARK}], ids=str)
def test_company_and_drafts_change_nothing(tiny, form):
    prompts = [QUESTION, "What is 1 + 1?", "Is 3 more than 2?"]
    options = {**form, "seed": 5, "max_new_tokens": 60, "temperature": 1.5}
    alone = [tiny.generate(prompt, **options) for prompt in prompts]
    together = tiny.generate_batch(prompts, **options)
    assert [each.token_ids for each in together] == [each.token_ids for each in alone]
    assert tiny.generate(QUESTION, **options).token_ids == alone[0].token_ids
    streamed = list(tiny.stream(QUESTION, **options))
    assert "".join(chunk.text for chunk in streamed) == alone[0].text
    known = [[*tiny.answerer.encode(QUESTION, tiny.answerer.request(QUESTION)), *alone[0].token_ids]]
    for kind in KINDS:
        with drafting(tiny, kind(known)):
            assert timeless(tiny.generate(QUESTION, **options)) == timeless(alone[0])


def test_conversations_and_the_asynchronous_forms(tiny):
    assert tiny.chat().send("Is 3 more than 2?", choices=["yes", "no"], thinking=False).text in ("yes", "no")
    options = {"regex": "[a-f]{6}", "seed": 3}
    result = asyncio.run(tiny.agenerate(QUESTION, **options))
    assert result.text == tiny.generate(QUESTION, **options).text

    async def streamed():
        return "".join([chunk.text async for chunk in tiny.astream(QUESTION, **options)])

    assert asyncio.run(streamed()) == result.text
    assert re.fullmatch("[a-f]{6}", result.text)


def test_tools_beside_a_form(tiny):
    """As with a schema, the model answers or calls. If it has to call, the form does not apply."""
    tools = [{"name": "now", "parameters": {"type": "object", "properties": {}, "additionalProperties": False}}]
    free = [tiny.generate(QUESTION, tools=tools, choices=["ja"], seed=seed) for seed in range(4)]
    assert all(each.text == "ja" or each.tool_calls for each in free)
    forced = tiny.generate(QUESTION, tools=tools, choices=["ja"], tool_choice="required", seed=1)
    assert forced.tool_calls[0].name == "now"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"regex": 5}, "regex: expected a string, found int"),
        ({"regex": "ab(c"}, "regex: character 3 of the expression: unclosed group"),
        ({"regex": "(?=a)b"}, "regex: character 1 of the expression: look-around.* not supported"),
        ({"regex": r"\bab"}, "regex: lookarounds not supported yet"),
        ({"regex": r"(a)\1"}, "regex: character 4 of the expression: backreferences are not supported"),
        ({"regex": r"[^\s\S]"}, "^regex: nothing matches it$"),
        ({"regex": "\ud800"}, "regex: .*half a surrogate pair at 0"),
        ({"regex": "x" * 70_000}, "regex: expected at most 65536 characters, found 70000"),
        ({"choices": []}, "choices: expected at least one string, found an empty list"),
        ({"choices": "ab"}, "choices: expected a list of strings, found str"),
        ({"choices": ["a", 1]}, r"choices\[1\]: expected a string, found int"),
        ({"choices": ["\udfff"]}, r"choices\[0\]: .*half a surrogate pair"),
        ({"choices": ["a"] * 10_001}, "choices: expected at most 10000, found 10001"),
        ({"grammar": b"start: x"}, "grammar: expected a string, found bytes"),
        ({"grammar": ""}, "grammar: no start rule"),
        ({"grammar": "start: foo"}, r'grammar: at 1\(8\): unknown name: "foo"'),
        ({"grammar": 'start "a"'}, r"grammar: 1\(7\): Expected token ':'"),
        ({"grammar": "start: start"}, "^grammar: nothing matches it$"),
        ({"grammar": 'root ::= "a'}, "grammar: Unexpected end of input at line 1"),
        ({"grammar": 'main ::= "a"'}, "grammar: No 'root' rule found"),
        ({"grammar": 'root ::= "\\q"'}, "grammar: Invalid escape sequence .q at line 1"),
        ({"grammar": "root ::= root"}, "^grammar: nothing matches it$"),
        ({"regex": "a", "choices": ["a"]}, "^choices: expected one of .*, found regex and choices$"),
        ({"schema": {}, "grammar": "x"}, "^grammar: expected one of .*, found schema and grammar$"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_followed(tiny, options, words):
    with pytest.raises(qwen3cpu.ArgumentError, match=words):
        tiny.answerer.request(**options)


@pytest.mark.parametrize(
    ("grammar", "words"),
    [
        ('start: A\nA: "a" &  "b"', "grammar: line 2, column 8: not supported: intersections"),
        ("start: A\nA: ~ /b/", "grammar: line 2, column 4: not supported: complements"),
        ("start: @answer", "line 1, column 8: not supported: references"),
        ("start: @whole", "line 1, column 8: not supported: references"),
        ("start: <|im_end|>", "line 1, column 8: not supported: tokens"),
        ("start: <[5]>", "line 1, column 8: not supported: tokens"),
        ('start: %json {"multipleOf": 99999999}', "line 1, column 8: not supported: the directive '%json'"),
        ('start: % json {"multipleOf": 99999999}', "line 1, column 8: not supported: the directive '% json'"),
        ('start: %lark { start: "a" }', "not supported: the directive '%lark'"),
        ('%llguidance {"allow_invalid_utf8": true}\nstart: "a"', "line 1, column 1: .*'%llguidance'"),
        ('start: x\nx[stop="a"]: /b/', "line 2, column 1: not supported: attributes"),
        ("start: x\n  !x [max_tokens=3]: /b/", "line 2, column 1: not supported: attributes"),
        ('start: "\\"" & "b"', "line 1, column 13: not supported: intersections"),
        ("start: /[/]&/ & /b/", "not supported: intersections"),
        ('start: "a" // & "\n  & "b"', "line 2, column 3: not supported: intersections"),
        ("root ::= " + "(" * 5000, "grammar: expected less nesting"),
        ("\n".join(f'r{i} ::= r{i + 1} | "a"' for i in range(1500)), "at most 1000 rules, found 1500"),
        ("start: " + "(" * 5000 + '"a"' + ")" * 5000, "grammar: .*too deeply nested"),
        ("\n".join(["start: A0", *(f"A{i}: A{i + 1} A{i + 1}" for i in range(60)), 'A60: "x"']), "too big"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_grammars_without_a_bound_are_refused(tiny, grammar, words):
    """Each of the refused signs can make llguidance work for minutes, or stands for something no answer can have."""
    with pytest.raises(qwen3cpu.ArgumentError, match=words):
        tiny.answerer.request(grammar=grammar)


@pytest.mark.parametrize(
    "grammar",
    [
        'start: "a&b~c@d<e" /[&~@<\\/]+/ // & ~\n',
        "start: A %ignore / /\n%import common.INT -> A",
        '%llguidance {}\nstart: "a"',
    ],
)
def test_signs_in_texts_and_comments_are_none(grammar):
    with_lines = grammar.replace(" %ignore", "\n%ignore")
    assert given_form({"grammar": with_lines}).lark == with_lines


@pytest.mark.parametrize(
    "form",
    [
        {"regex": "((a{1000}){1000}){1000}"},
        {"regex": "(((((.{0,99}){0,99}){0,99}){0,99}){0,99}){0,99}"},
        {"regex": "[ab]*a[ab]{900}"},
        {"regex": "a{100000000}b"},
        {"regex": "(" * 5000 + "a" + ")" * 5000},
        {"regex": "(.*a){300}b"},
        {"choices": [f"{'x' * n}{n}" for n in range(300)]},
        {"grammar": "start: a0\n" + "\n".join(f"a{i}: a{i + 1} a{i + 1}" for i in range(60)) + '\na60: "x"'},
        {"grammar": 'start: "a"{1000000}'},
        {"grammar": 'start: s\ns: s s | "a" | '},
        {"grammar": 'start: "a" start'},
        {"grammar": "start: A | B\nA: /(a{9973})*/\nB: /(a{9967})*/"},
        {"grammar": "start: (" + " | ".join(f"A{i}" for i in range(900)) + ")*\n"
         + "\n".join(f"A{i}: /[a-z]*{i}/" for i in range(900))},
        {"grammar": "\n".join(["root ::= r900", *(f"r{i} ::= r{i - 1}" for i in range(900, 0, -1)), 'r0 ::= "a"'])},
    ],
    ids=lambda form: str(form)[:50],
)  # fmt: skip
def test_hostile_ones_end(tiny, form):
    """They are refused, or ended by the limit of a step. The test fails if one hangs."""
    (kind,) = form
    try:
        result = tiny.generate("1", thinking=False, seed=1, max_new_tokens=12, **form)
    except qwen3cpu.ArgumentError as error:
        told = str(error)
    else:
        told = f"{kind}: {result.stopped_by}"
    assert re.match(f"{kind}: (eos|max_new_tokens|schema|.*(too|nest|fuel|limit))", told)


def test_optional_parts_of_lark_are_no_attributes(tiny):
    grammar = 'start: a [b] ["c"]\na: "a"\nb: "b"'
    found = {tiny.generate("1", thinking=False, grammar=grammar, seed=seed, **HOT).text for seed in range(40)}
    assert found == {"a", "ab", "ac", "abc"}


def test_without_llguidance(tiny, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "llguidance", None)
    monkeypatch.delitem(sys.modules, "llguidance.gbnf_to_lark", raising=False)
    with pytest.raises(qwen3cpu.ArgumentError, match=r"grammar: needs llguidance.*qwen3cpu\[schema\]"):
        tiny.answerer.request(grammar='root ::= "a"')


@pytest.mark.parametrize(
    ("text", "accepted"),
    [
        ("\\u0041", "A"),
        ("\\u00e4", "ä"),
        ("\\U0001f600", "\U0001f600"),
        ("\\x41", "A"),
        ("\\\\u", "\\u"),
        ("\\u000a", "\n"),
    ],
)
def test_escapes_of_gbnf(tiny, text, accepted):
    for grammar in (f'root ::= "{text}"', f"root ::= [{text}]" if len(accepted) == 1 else f'root ::= ("{text}")'):
        assert tiny.generate("1", thinking=False, seed=1, grammar=grammar).text == accepted


def test_a_form_of_each_kind_is_a_grammar_of_its_own():
    assert given_form({}) is None
    assert given_form({"regex": None}, schema={}) is None
    assert given_form({"choices": ["b", "a", "b"]}).lark == "start: /b|a/"
    assert given_form({"choices": {"b", "a"}}).lark == "start: /a|b/"
