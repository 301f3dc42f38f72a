"""Long texts: their ids do not change when they are split, and too long ones are refused before they are encoded."""

from __future__ import annotations

import json
import random

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

import qwen3cpu
from qwen3cpu.errors import ContextLengthError
from qwen3cpu.text.pieces import PIECE, can_be_cut, pieces
from qwen3cpu.text.tokenizer import LONG_PIECE, Tokenizer

ALPHABET = "abZ1é你ア한\u0301\u1100\u1161 \n\r\t.,;:!?'s-。，\u3000👋"


@pytest.fixture(scope="module")
def tiny():
    return qwen3cpu.load("tiny", threads=1)


@given(st.text(alphabet=ALPHABET, max_size=120), st.integers(1, 20))
def test_pieces_have_the_ids_of_the_whole(tiny, text, size):
    cut = list(pieces(text, size))
    assert "".join(cut) == text
    assert [id_ for piece in cut for id_ in tiny.tokenizer.encode(piece)] == tiny.tokenizer.encode(text)


@given(st.text(max_size=200))
def test_no_text_has_fewer_tokens_than_the_bound(tiny, text):
    assert tiny.tokenizer.least_tokens(text) <= len(tiny.tokenizer.encode(text))


QWEN = {
    "normalizer": {"type": "NFC"},
    "pre_tokenizer": {
        "type": "Sequence",
        "pretokenizers": [
            {
                "type": "Split",
                "pattern": {
                    "Regex": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
                    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
                },
                "behavior": "Isolated",
                "invert": False,
            },
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
        ],
    },
}
GPT2 = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
SMOL = {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, GPT2]}
KNOWN = [QWEN, {"normalizer": None, "pre_tokenizer": SMOL}]


@pytest.mark.parametrize("file", KNOWN, ids=["Qwen", "SmolLM"])
@given(text=st.one_of(st.text(ALPHABET, max_size=120), st.text(max_size=120)), size=st.integers(1, 20))
def test_no_word_of_a_known_tokenizer_spans_a_cut(file, text, size):
    assert can_be_cut(file)
    model = {"type": "BPE", "vocab": {}, "merges": []}
    library = tokenizers.Tokenizer.from_str(json.dumps({"version": "1.0", "added_tokens": [], "model": model, **file}))

    def words(part):
        normal = part if library.normalizer is None else library.normalizer.normalize_str(part)
        return [word for word, _ in library.pre_tokenizer.pre_tokenize_str(normal)]

    assert [word for piece in pieces(text, size) for word in words(piece)] == words(text)


@pytest.mark.parametrize(
    "line",
    [
        "  x = (1) \n",
        "مَرحبًا بالعالم ",
        "สวัสดีชาวโลก ",
        "안녕하세요 세계 ",
        "नमस्ते दुनिया ",
        "if (a) {\n\t\treturn f(b);\n}\n",
        "你好，世界。",
        "aGVsbG8gd29ybGQ0NTY3+/x8Zz",
        "31415",
    ],
)
def test_texts_of_any_script_are_cut(line):
    found = list(pieces(line * 40_000))
    assert max(map(len, found)) <= PIECE + len(line)


def test_only_a_tokenizer_that_is_known_is_cut():
    for change in (
        lambda file: file.update(normalizer={"type": "Lowercase"}),
        lambda file: file.update(pre_tokenizer=None),
        lambda file: file["pre_tokenizer"]["pretokenizers"].pop(),
        lambda file: file["pre_tokenizer"]["pretokenizers"].pop(0),
        lambda file: file["pre_tokenizer"]["pretokenizers"][0].update(pattern={"Regex": r"\s+"}),
        lambda file: file["pre_tokenizer"]["pretokenizers"][1].update(add_prefix_space=True),
        lambda file: file.update(pre_tokenizer=GPT2),
        lambda file: file.update(pre_tokenizer={**SMOL, "pretokenizers": [{"type": "Digits"}, GPT2]}),
        lambda file: file.update(pre_tokenizer={**SMOL, "pretokenizers": [{"type": "Punctuation"}, GPT2]}),
    ):
        other = json.loads(json.dumps(QWEN))
        change(other)
        assert not can_be_cut(other)


def test_a_long_text_is_watched_between_its_pieces(tiny):
    text = " ".join(random.Random(1).choices(("river", "stone", "cloud"), k=PIECE))
    seen: list[int] = []
    ids = tiny.tokenizer.encode(text, watch=seen.append)
    assert len(seen) == len(list(pieces(text))) - 1 > 3
    assert seen == sorted(seen)
    assert seen[-1] < len(ids)

    def stop(count: int) -> None:
        raise InterruptedError(count)

    with pytest.raises(InterruptedError):
        tiny.tokenizer.encode(text, watch=stop)


@pytest.mark.parametrize("raw", [True, False])
def test_a_text_that_cannot_fit_is_refused_before_it_is_encoded(tiny, raw, monkeypatch):
    encoded = []
    encode = Tokenizer._encode_plain
    monkeypatch.setattr(Tokenizer, "_encode_plain", lambda self, text: encoded.append(text) or encode(self, text))
    longest = tiny.tokenizer.longest_token
    words = "river " * (tiny.context * longest)
    with pytest.raises(ContextLengthError, match=rf"no token has more than {longest} bytes.*{tiny.context} positions"):
        tiny.generate(words, raw=raw)
    assert not encoded
    # A text that might fit is encoded until the context is full.
    might_fit = words[: tiny.context * longest * 2 // 3]
    with pytest.raises(ContextLengthError, match=rf"more than \d+ tokens, the context holds {tiny.context} positions"):
        tiny.generate(might_fit, raw=raw)
    assert sum(map(len, encoded)) < len(might_fit)


def test_a_very_long_piece_is_told_before_it_becomes_a_list(tiny):
    counts = []
    ids = tiny.tokenizer.encode("qz" * LONG_PIECE, watch=counts.append)
    assert counts == [len(ids)]
    assert len(ids) > LONG_PIECE
