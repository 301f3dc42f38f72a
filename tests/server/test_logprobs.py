"""Log-probabilities are aligned with the text: fragments of characters, special tokens, stop strings, blocks."""

import codecs

import pytest
from dictation import dictate
from hypothesis import given
from hypothesis import strategies as st
from small_tokenizer import CONFIG, with_vocabulary

from qwen3cpu.generation.results import TokenLogprob
from qwen3cpu.server.api.logprobs import CompletionLogprobs
from qwen3cpu.text.tokenizer import Tokenizer

COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"
TEXT = "a👋🏽世<|im_end|>\\ é🎉"


def data_of(name):
    """The bytes of a token by its name."""
    if not name.startswith("bytes:"):
        return name.encode()
    return codecs.escape_decode(name.removeprefix("bytes:"))[0]


def offsets_of(pieces):
    """The offset of each piece, which begins in the last character of the text up to its first byte."""
    before, offsets = b"", []
    for piece in pieces:
        offsets.append(max(0, len((before + piece[:1]).decode(errors="replace")) - bool(piece)))
        before += piece
    return offsets


@pytest.fixture(scope="module")
def bytewise(random_model):
    """Every byte of a character beyond ASCII is a token."""
    assert len(random_model.tokenizer.encode("👋")) == 4
    return random_model


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("as_ids", [False, True])
def test_an_echo_lines_up_with_its_text(serve, bytewise, stream, as_ids):
    ids = bytewise.tokenizer.encode(TEXT, control_tokens=True)
    body = {
        "prompt": [ids, ids] if as_ids else [TEXT, TEXT],
        "echo": True,
        "logprobs": 5,
        "max_tokens": 6,
        "seed": 1,
        "n": 2,
    }
    server = serve(bytewise)
    if stream:
        parts = [event["choices"][0] for event in server.events(COMPLETIONS, **body)[0]]
    else:
        parts = server.ok(COMPLETIONS, **body)["choices"]
    for choice in range(4):
        own = [part for part in parts if part["index"] == choice]
        text = "".join(part["text"] for part in own)
        tokens, values, tops, offsets = (
            [entry for part in own for entry in part["logprobs"][name]]
            for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset")
        )
        pieces = [data_of(name) for name in tokens]
        assert [bytewise.tokenizer.token_bytes(token) for token in ids] == pieces[: len(ids)]
        assert text.startswith(TEXT)
        assert offsets[: len(ids)] == offsets_of(pieces[: len(ids)])
        assert all(
            text[offset:].startswith(name)
            for name, offset in zip(tokens[: len(ids)], offsets, strict=False)
            if "bytes:" not in name
        )
        assert (values[0], tops[0]) == (None, None)
        for name, value, top in zip(tokens[1:], values[1:], tops[1:], strict=True):
            assert len(top) in (5, 6), "no alternative is lost"
            assert top[name] == value, "a token shows its own value"
        best = [score.top[0].token_id for score in bytewise.score(ids, top=1)]
        greedy = [value == max(top.values()) for value, top in zip(values, tops, strict=True) if top]
        assert greedy[: len(best)] == [token == other for token, other in zip(ids[1:], best, strict=True)]


PIECES = [
    b"\xf0\x9f",
    b"\x91",
    b"\x8b",
    "👋".encode(),
    b"\xf0",
    b"\xe4\xb8",
    b"\x96",
    b"a",
    b" b",
    b"\xc3",
    b"\xa9",
    b"\\",
]
TOKENIZER = Tokenizer(with_vocabulary(PIECES), CONFIG, source="pieces")


@given(st.lists(st.integers(0, len(PIECES) - 1), min_size=1, max_size=12))
def test_offsets_of_any_tokens(ids):
    scores = [TokenLogprob(token, "", -1.0) for token in ids[1:]]
    listed = CompletionLogprobs(TOKENIZER).echo(ids, scores)
    pieces = [PIECES[token] for token in ids]
    assert [data_of(name) for name in listed["tokens"]] == pieces
    assert listed["text_offset"] == offsets_of(pieces)


def test_ids_without_a_token_have_no_text(serve, random_model):
    unknown = random_model.tokenizer.size
    assert unknown < random_model.config.vocab_size
    ids = [5, unknown, 6]
    (choice,) = serve(random_model).ok(COMPLETIONS, prompt=ids, echo=True, logprobs=1, max_tokens=1)["choices"]
    assert len(choice["logprobs"]["tokens"]) == len(ids) + 1


@pytest.mark.parametrize(
    ("said", "stop", "expected"),
    [
        ("one 👋 two", "👋", "one "),
        ("one 👋 two", "o", ""),
        ("one 👋 two", "e 👋 t", "on"),
        ("one 👋 two", "two and more", "one 👋 two"),
        ("a<|im_start|>👋b", "b", "a👋"),
        ("17 + 25 = 42.", "+ 25 = 4", "17 "),
    ],
)
@pytest.mark.parametrize("echo", [False, True])
def test_entries_end_where_a_stop_string_cuts(monkeypatch, serve, tiny, said, stop, expected, echo):
    server = serve(tiny)
    body = {"prompt": "x", "stop": stop, "logprobs": 2, "max_tokens": 40, "echo": echo, "ignore_eos": False}
    dictate(monkeypatch, tiny, said, said)
    (whole,) = server.ok(COMPLETIONS, **body)["choices"]
    parts = [event["choices"][0] for event in server.events(COMPLETIONS, **body)[0]]
    text, listed = whole["text"], whole["logprobs"]
    assert text == "x" * echo + expected
    for name, entries in listed.items():
        assert [entry for part in parts for entry in part["logprobs"][name]] == entries
    shown = b"".join(data_of(name) for name in listed["tokens"] if not name.startswith("<|"))
    cut = stop in said
    assert shown.startswith(text.encode())
    assert all(offset < len(text) for offset in listed["text_offset"]) is cut
    if not cut:
        assert (listed["tokens"][-1], listed["text_offset"][-1]) == ("<|im_end|>", len(text))
    told = 0
    for part in parts:
        told += len(part["text"])
        assert all(offset < told for offset in part["logprobs"]["text_offset"]) or part["finish_reason"]


CALL = '<tool_call>\n{"name": "f", "arguments": {"a": "</tool_call>"}}\n</tool_call>'


@pytest.mark.parametrize(
    ("said", "stop", "content"),
    [
        ("<think>\nso 👋\n</think>\n\n42 👋.", None, "42 👋."),
        ("<think>\nso 👋\n</think>\n\n42 👋. And more", "👋", "42 "),
        ("<think>\nso\n</think>\n\n42 is it, and more", "s it, a", "42 i"),
        (f"I look.\n\n{CALL}", None, "I look."),
        (f"I look.\n{CALL}\nSo 👋", "👋", "I look.So "),
        (f"{CALL}\nSo 👋", None, "So 👋"),
        ("a\n\nb\n", None, "a\n\nb\n"),
    ],
)
def test_content_of_a_chat_is_what_its_entries_say(monkeypatch, serve, tiny, said, stop, content):
    server = serve(tiny)
    body = {"messages": [{"role": "user", "content": "x"}], "logprobs": True, "top_logprobs": 2, "stop": stop, "n": 2}
    dictate(monkeypatch, tiny, *[said] * 4)
    for choice in server.ok(CHAT, **body)["choices"]:
        assert (choice["message"]["content"] or "") == content
        entries = choice["logprobs"]["content"]
        check_content(entries, content, stop)
    events = [event["choices"][0] for event in server.events(CHAT, **body)[0]]
    for index in range(2):
        own = [event for event in events if event["index"] == index]
        assert [e for event in own if event["logprobs"] for e in event["logprobs"]["content"]] == entries
        assert "".join(event["delta"].get("content") or "" for event in own) == content


def check_content(entries, content, stop):
    # One token is ".\n", and only its full stop is in the content.
    said = b"".join(bytes(entry["bytes"]) for entry in entries).replace(b".\nSo", b".So")
    if stop is None:
        assert said == content.encode()
    assert said.startswith(content.encode())
    assert len(said) - len(entries[-1]["bytes"]) < len(content.encode()), (
        "the last token, too, has a part in the content"
    )
    for entry in entries:
        text = entry["token"]
        assert bytes(entry["bytes"]) == (codecs.escape_decode(text)[0] if "\\x" in text else text.encode())


def test_a_malformed_block_is_content_without_entries(monkeypatch, serve, tiny):
    dictate(monkeypatch, tiny, "a<tool_call>\n7\n</tool_call>\nb👋z")
    body = {"messages": [{"role": "user", "content": "x"}], "logprobs": True, "stop": "z"}
    (choice,) = serve(tiny).ok(CHAT, **body)["choices"]
    assert choice["message"]["content"] == "a<tool_call>\n7\n</tool_call>b👋"
    assert b"".join(bytes(entry["bytes"]) for entry in choice["logprobs"]["content"]) == "ab👋".encode()


def test_an_ordinary_stop_token_is_no_content(monkeypatch, serve, tiny):
    ids = tiny.tokenizer.encode("17")
    dictate(monkeypatch, tiny, ids)
    body = {"messages": [{"role": "user", "content": "x"}], "logprobs": True, "stop_token_ids": ids[-1:]}
    (choice,) = serve(tiny).ok(CHAT, **body)["choices"]
    said = b"".join(bytes(entry["bytes"]) for entry in choice["logprobs"]["content"])
    assert said.decode() == choice["message"]["content"] == tiny.tokenizer.decode(ids[:-1])
