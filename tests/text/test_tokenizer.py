"""The tokenizer against the `tokenizers` library and against UTF-8: control tokens, streaming, refusals."""

from __future__ import annotations

import json
import logging
import os
import random
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from small_tokenizer import CONFIG, CONTROL_TOKENS, SPECIAL, byte_letters, edited, small, trained, with_vocabulary
from tokenizers import AddedToken

from qwen3cpu.errors import ArgumentError, CheckpointError
from qwen3cpu.text import bpe
from qwen3cpu.text.tokenizer import StreamDecoder, Tokenizer

SMALL = Tokenizer(small(), CONFIG, source="small")
LIBRARY = tokenizers.Tokenizer.from_buffer(small())
# Text with control tokens, pieces of them, characters of every length, and characters that NFC changes.
PIECES = st.sampled_from(
    [*CONTROL_TOKENS, "<|", "|>", "<think", ">", "e\u0301", "\u212b", "世界", "👋🏽", "\n\n", " ", "the 12 "]
)
TEXTS = st.lists(st.one_of(PIECES, st.text(max_size=8)), max_size=8).map("".join)


def both_tokenizers() -> list[Any]:
    """The small tokenizer, and the released one if it is available."""
    folder = os.environ.get("QWEN3CPU_QWEN3_TOKENIZER")
    released = pytest.param(
        folder, id="released", marks=pytest.mark.skipif(not folder, reason="QWEN3CPU_QWEN3_TOKENIZER names no folder")
    )
    return [pytest.param(None, id="small"), released]


@pytest.fixture(scope="module", params=both_tokenizers())
def pair(request: pytest.FixtureRequest) -> tuple[Tokenizer, tokenizers.Tokenizer]:
    """The tokenizers of qwen3cpu and of the library, from the same file."""
    if request.param is None:
        return SMALL, LIBRARY
    folder = Path(request.param)
    content = (folder / "tokenizer.json").read_bytes()
    config = json.loads((folder / "tokenizer_config.json").read_text())
    return Tokenizer(content, config, source=str(folder)), tokenizers.Tokenizer.from_buffer(content)


def random_text(rng: random.Random) -> str:
    """A random text like those of TEXTS."""
    pieces = [
        *CONTROL_TOKENS,
        "<|",
        "|>",
        "<think",
        "e\u0301",
        "世界",
        "👋🏽",
        "\n\n",
        "  ",
        "the 12 ",
        "don't",
        "\t\r\n",
    ]
    odd = [chr(rng.choice([rng.randrange(0x80), rng.randrange(0x80, 0xD800), rng.randrange(0xE000, 0x110000)]))]
    return "".join(rng.choice(pieces + odd) for _ in range(rng.randint(0, 12)))


def test_encoding_with_control_tokens_is_the_librarys(pair: tuple[Tokenizer, tokenizers.Tokenizer]) -> None:
    ours, library = pair
    rng = random.Random(1)
    for text in (random_text(rng) for _ in range(500)):
        expected = library.encode(text, add_special_tokens=False).ids
        assert ours.encode(text, control_tokens=True) == expected, repr(text)


def test_decoding_is_the_librarys(pair: tuple[Tokenizer, tokenizers.Tokenizer]) -> None:
    ours, library = pair
    rng = random.Random(2)
    for _ in range(500):
        ids = [rng.randrange(ours.size) for _ in range(rng.randint(0, 10))]
        for skip in (True, False):
            assert ours.decode(ids, skip_special_tokens=skip) == library.decode(ids, skip_special_tokens=skip), ids


def test_plain_encoding_has_no_control_token(pair: tuple[Tokenizer, tokenizers.Tokenizer]) -> None:
    ours, _ = pair
    rng = random.Random(3)
    for text in (random_text(rng) for _ in range(500)):
        ids = ours.encode(text)
        assert not set(ids) & set(ours.control_tokens.values()), repr(text)
        assert ours.decode(ids) == unicodedata.normalize("NFC", text)


def test_plain_encoding_of_text_without_spellings_is_the_librarys(pair: tuple[Tokenizer, tokenizers.Tokenizer]) -> None:
    ours, library = pair
    for text in ("", "Hello, world!", "e\u0301 Å 世界 👋🏽", "a\r\n\n  b\t1234", "don't < think > <| im_end |>"):
        assert ours.encode(text) == library.encode(text, add_special_tokens=False).ids


def test_streaming_random_ids(pair: tuple[Tokenizer, tokenizers.Tokenizer]) -> None:
    ours, _ = pair
    rng = random.Random(4)
    for _ in range(500):
        ids = [rng.randrange(ours.size) for _ in range(rng.randint(0, 20))]
        assert streamed(ours, ids) == ours.decode(ids), ids


def streamed(tokenizer: Tokenizer, ids: list[int]) -> str:
    decoder = StreamDecoder(tokenizer)
    return "".join([decoder.push(id_) for id_ in ids]) + decoder.finish()


@given(TEXTS)
def test_round_trip(text: str) -> None:
    normal = unicodedata.normalize("NFC", text)
    assert SMALL.decode(SMALL.encode(text)) == normal
    assert SMALL.encode(text, control_tokens=True) == LIBRARY.encode(text, add_special_tokens=False).ids


@given(TEXTS)
def test_stream_of_text_never_shows_half_a_character(text: str) -> None:
    ids = SMALL.encode(text)
    decoder = StreamDecoder(SMALL)
    shown = ""
    for id_ in ids:
        shown += decoder.push(id_)
        assert unicodedata.normalize("NFC", text).startswith(shown)
    assert decoder.finish() == ""
    assert shown == unicodedata.normalize("NFC", text)


BYTES = sorted(byte_letters())
BYTE_TOKENIZER = Tokenizer(with_vocabulary([bytes([byte]) for byte in BYTES]), {}, source="bytes")


@given(st.lists(st.sampled_from([0x41, 0x80, 0x9F, 0xBF, 0xC3, 0xE0, 0xE4, 0xED, 0xF0, 0xF4, 0x8F, 0xA0]), max_size=10))
def test_bytes_that_are_not_utf8(content: list[int]) -> None:
    ids = [BYTES.index(byte) for byte in content]
    expected = bytes(content).decode("utf-8", errors="replace")
    assert BYTE_TOKENIZER.decode(ids) == expected
    assert streamed(BYTE_TOKENIZER, ids) == expected


def test_four_byte_character_over_four_tokens() -> None:
    ids = [BYTES.index(byte) for byte in "👋".encode()]
    decoder = StreamDecoder(BYTE_TOKENIZER)
    assert [decoder.push(id_) for id_ in ids] == ["", "", "", "👋"]
    assert decoder.finish() == ""
    assert [decoder.push(id_) for id_ in ids[:3]] == ["", "", ""]
    assert decoder.finish() == "\ufffd"
    assert decoder.push(BYTES.index(0x41)) == "A", "finish() leaves the decoder ready for the next text"


def test_token_bytes_of_every_byte() -> None:
    assert [BYTE_TOKENIZER.token_bytes(id_) for id_ in range(len(BYTES))] == [bytes([byte]) for byte in BYTES]


def test_control_tokens_by_name() -> None:
    assert SMALL.size == LIBRARY.get_vocab_size() == max(LIBRARY.get_vocab().values()) + 1
    assert SMALL.special_ids == {LIBRARY.token_to_id(token) for token in SPECIAL}
    named = {"im_end": "<|im_end|>", "endoftext": "<|endoftext|>", "think": "<think>", "end_think": "</think>"}
    named |= {"tool_call": "<tool_call>", "end_tool_call": "</tool_call>"}
    for attribute, spelling in named.items():
        assert getattr(SMALL, attribute) == LIBRARY.token_to_id(spelling) == SMALL.id_of(spelling)
        assert SMALL.token_bytes(getattr(SMALL, attribute)) == spelling.encode()
    assert SMALL.id_of("no such token") is None
    assert SMALL.id_of("Ġthe") == LIBRARY.token_to_id("Ġthe") is not None
    assert SMALL.named_tokens == {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}


def test_special_tokens_are_skipped_and_others_kept() -> None:
    ids = SMALL.encode("<think>a</think><|im_end|>", control_tokens=True)
    assert SMALL.decode(ids) == "<think>a</think>"
    assert SMALL.decode(ids, skip_special_tokens=False) == "<think>a</think><|im_end|>"


def test_model_without_control_tokens() -> None:
    bare = Tokenizer(trained(added=[]), {}, source="bare")
    assert [bare.im_end, bare.endoftext, bare.think, bare.end_think, bare.tool_call, bare.end_tool_call] == [None] * 6
    assert bare.special_ids == frozenset()
    assert bare.decode(bare.encode("<think>", control_tokens=True)) == "<think>"


def test_named_token_is_special_even_if_the_file_does_not_say_so() -> None:
    added = [AddedToken("<|im_end|>", special=False, normalized=False)]
    tokenizer = Tokenizer(trained(added=added), {"eos_token": "<|im_end|>"}, source="test")
    assert tokenizer.special_ids == {tokenizer.im_end}


@pytest.mark.parametrize(
    "options", [{"lstrip": True}, {"rstrip": True}, {"single_word": True}, {"lstrip": True, "rstrip": True}], ids=str
)
def test_options_of_added_tokens(options: dict[str, bool]) -> None:
    added = [AddedToken("<x>", normalized=False, **options), AddedToken("<x>>", normalized=False)]
    content = trained(added=added)
    ours, library = Tokenizer(content, {}, source="test"), tokenizers.Tokenizer.from_buffer(content)
    for text in ("a <x> b", "a<x>b", "<x>", " <x>\n\n<x> ", "<x>><x>", "<x>a <x>>"):
        assert ours.encode(text, control_tokens=True) == library.encode(text).ids, text


def test_id_that_the_vocabulary_skips_has_no_bytes() -> None:
    content = json.loads(with_vocabulary([b"a", b"b"]))
    content["added_tokens"] = []
    content["model"]["vocab"] = {"a": 0, "b": 2}
    tokenizer = Tokenizer(json.dumps(content).encode(), {}, source="test")
    assert tokenizer.size == 3
    assert tokenizer.decode([0, 1, 2]) == "ab"


@pytest.mark.parametrize(
    ("text", "position"), [("\ud800", 0), ("ab\udfff", 2), ("👋\ud83d", 1), ("\udc4b\ud83d", 0)], ids=ascii
)
@pytest.mark.parametrize("control_tokens", [True, False])
def test_lone_surrogates_are_refused(text: str, position: int, control_tokens: bool) -> None:
    with pytest.raises(ArgumentError, match=rf"surrogate U\+{ord(text[position]):04X} at position {position}$"):
        SMALL.encode(text, control_tokens=control_tokens)


@pytest.mark.parametrize("text", [None, b"a", 1, ["a"]], ids=repr)
def test_only_text_is_encoded(text: Any) -> None:
    with pytest.raises(ArgumentError, match="expected a str, found"):
        SMALL.encode(text)


@pytest.mark.parametrize("id_", [-1, SMALL.size, 2**70, 1.0, "a", None, [0]], ids=repr)
def test_ids_that_do_not_exist(id_: Any) -> None:
    with pytest.raises(ArgumentError, match="token id: expected"):
        SMALL.token_bytes(id_)
    with pytest.raises(ArgumentError, match="token id: expected"):
        SMALL.decode([id_])
    with pytest.raises(ArgumentError, match="token id: expected"):
        StreamDecoder(SMALL).push(id_)


def test_byte_without_a_token_is_refused_not_dropped() -> None:
    content = json.loads(trained(added=[]))
    four = byte_letters()[4]
    content["model"]["vocab"] = {token: id_ for token, id_ in content["model"]["vocab"].items() if token != four}
    raw = json.dumps(content).encode()
    assert (
        tokenizers.Tokenizer.from_buffer(raw).decode(tokenizers.Tokenizer.from_buffer(raw).encode("a\x04b").ids) == "ab"
    )
    tokenizer = Tokenizer(raw, {}, source="test")
    assert tokenizer.decode(tokenizer.encode("a\x05b")) == "a\x05b"
    with pytest.raises(ArgumentError, match=r"found U\+0004 at position 1"):
        tokenizer.encode("a\x04b")


def test_control_token_that_merges_make_is_refused_as_text() -> None:
    content = json.loads(trained(added=[]))
    vocab, merges = content["model"]["vocab"], content["model"]["merges"]
    vocab["<!"], merges[:0] = len(vocab), [["<", "!"]]
    content["added_tokens"] = [
        {"id": vocab["<!"], "content": "<!", "special": True, "normalized": False}
        | {"single_word": False, "lstrip": False, "rstrip": False}
    ]
    tokenizer = Tokenizer(json.dumps(content).encode(), {}, source="test")
    assert tokenizer.encode("<!", control_tokens=True) == [vocab["<!"]]
    with pytest.raises(ArgumentError, match="plain text, found '<!'"):
        tokenizer.encode("a <!")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected a `tokenizers` file"),
        (b"{garbage", "expected a `tokenizers` file"),
        (b"{}", "expected a `tokenizers` file"),
        (edited(small(), decoder=None), "found model BPE with decoder NoneType"),
        (edited(small(), model={"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}), "found model WordLevel"),
        (edited(small(), model={**json.loads(small())["model"], "dropout": 0.1}), "no BPE dropout, found 0.1"),
    ],
    ids=["empty", "garbage", "object", "decoder", "model", "dropout"],
)
def test_bad_tokenizer_files(content: bytes, message: str) -> None:
    with pytest.raises(CheckpointError, match=f"^some folder: tokenizer.json: .*{message}"):
        Tokenizer(content, {}, source="some folder")


def test_a_named_token_that_is_no_string_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "qwen3cpu"):
        tokenizer = Tokenizer(small(), {"eos_token": 5, "bos_token": "<|im_start|>"}, source="some folder")
    assert tokenizer.named_tokens == {"bos_token": "<|im_start|>"}
    assert "tokenizer_config.json: eos_token: expected a string, ignoring int" in caplog.text


@pytest.mark.parametrize("table", [True, False])
@pytest.mark.parametrize("pattern", [r"(a+)+$", r"(a|aa)+$"])
def test_a_pre_tokenizer_that_runs_away(pattern: str, table: bool) -> None:
    described = json.loads(small())
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    described["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, described["pre_tokenizer"]]}
    if not table:
        described["model"]["unk_token"] = "a"  # then the library alone reads it
    tokenizer = Tokenizer(json.dumps(described).encode(), {}, source="some folder")
    assert type(tokenizer._bpe).__name__ == ("_TableBpe" if table else "_LibraryBpe")
    assert tokenizer.decode(tokenizer.encode("aaa")) == "aaa"
    with pytest.raises(ArgumentError, match="the tokenizers library says"):
        tokenizer.encode("a" * 40 + "!")


def test_panics_of_the_library_are_errors_of_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eleven million spaces and a letter cause a real panic, but that takes minutes."""
    panic = type("PanicException", (BaseException,), {"__module__": "pyo3_runtime"})
    tokenizer = Tokenizer(small(), {}, source="some folder")

    class Panics:
        def pre_tokenize_str(self, text: str) -> None:
            raise panic("called `Result::unwrap()` on an `Err` value")

    monkeypatch.setattr(tokenizer._bpe, "_pre_tokenizer", Panics())
    with pytest.raises(ArgumentError, match=r"the tokenizers library says: called `Result::unwrap"):
        tokenizer.encode("hello!")


def test_panics_of_the_library_are_errors_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    panic = type("PanicException", (BaseException,), {"__module__": "pyo3_runtime"})

    class Panics:
        @staticmethod
        def from_buffer(content: bytes) -> None:
            raise panic("index out of bounds")

    monkeypatch.setattr(bpe.tokenizers, "Tokenizer", Panics)
    with pytest.raises(CheckpointError, match=r"tokenizer\.json: expected a `tokenizers` file, found: index out"):
        Tokenizer(small(), {}, source="some folder")
