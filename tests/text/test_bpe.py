"""The table of vocabulary and merges: the same ids as the library, and unusual files left to the library."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from typing import Any

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from small_tokenizer import CONTROL_TOKENS, small, trained

from qwen3cpu import _native
from qwen3cpu.errors import CheckpointError
from qwen3cpu.text import bpe

TABLE, LIBRARY = bpe._open_table(small()), bpe._open_library(small(), "test")
Edit = Callable[[dict[str, Any]], object]


def rewritten(change: Edit, **options: Any) -> bytes:
    """The small tokenizer.json after a change."""
    content = json.loads(small())
    change(content)
    return json.dumps(content, **options).encode()


def is_table(content: bytes) -> bool:
    return isinstance(bpe.open_tokenizer_json(content, "test").bpe, bpe._TableBpe)


def test_says_what_the_library_says() -> None:
    assert TABLE is not None
    assert TABLE.size == LIBRARY.size
    assert {id_: str(token) for id_, token in TABLE.added.items()} == {
        id_: str(token) for id_, token in LIBRARY.added.items()
    }
    assert {token.content for token in TABLE.added.values()} == set(CONTROL_TOKENS)
    assert TABLE.bpe.missing_bytes == LIBRARY.bpe.missing_bytes == frozenset()
    assert TABLE.bpe.normalize("e\u0301") == LIBRARY.bpe.normalize("e\u0301") == "é"
    for id_ in range(-1, TABLE.size + 2):
        expected = LIBRARY.bpe.token_bytes(id_) if id_ >= 0 else None
        assert TABLE.bpe.token_bytes(id_) == expected, id_
    vocabulary = tokenizers.Tokenizer.from_buffer(small()).get_vocab(with_added_tokens=False)
    assert len(vocabulary) > 300
    for token in [*vocabulary, "no such token", "the", " the", "世", ""]:
        assert TABLE.bpe.id_of(token) == LIBRARY.bpe.id_of(token) == vocabulary.get(token), token


@given(st.one_of(st.text(), st.text(alphabet="the wasr\n 世👋é", max_size=60)))
def test_ids_are_the_librarys(text: str) -> None:
    assert TABLE is not None
    assert list(TABLE.bpe.encode(text)) == list(LIBRARY.bpe.encode(text))


@pytest.mark.parametrize("word", ["a" * 5000, "the" * 3000, "=" * 4097, "世" * 2000, "ab" * 2500])
def test_long_words(word: str) -> None:
    assert TABLE is not None
    assert list(TABLE.bpe.encode(word)) == list(LIBRARY.bpe.encode(word))


def random_merges(rng: random.Random) -> bytes:
    """A tokenizer with merges in random order over a small alphabet, so that they compete everywhere."""
    content = json.loads(trained(added=[]))
    tokens, merges = list("abc"), []
    for _ in range(40):
        left, right = rng.choice(tokens), rng.choice(tokens)
        if left + right not in tokens and len(left + right) < 12:
            tokens.append(left + right)
            merges.append([left, right])
        elif [left, right] not in merges and left + right in tokens:
            merges.append([left, right])
    rng.shuffle(merges)
    rng.shuffle(tokens)
    content["model"] |= {"vocab": {token: id_ for id_, token in enumerate(tokens)}, "merges": merges}
    return json.dumps(content).encode()


def test_competing_merges_are_the_librarys() -> None:
    rng = random.Random(5)
    for _ in range(60):
        content = random_merges(rng)
        table, library = bpe._open_table(content), bpe._open_library(content, "test")
        assert table is not None
        for _ in range(40):
            text = "".join(rng.choices("abc", k=rng.randint(0, 40)))
            assert list(table.bpe.encode(text)) == list(library.bpe.encode(text)), (content, text)


def legacy_merges(content: dict[str, Any]) -> None:
    content["model"]["merges"] = [" ".join(pair) for pair in content["model"]["merges"]]


def merges_first(content: dict[str, Any]) -> None:
    merges = content["model"].pop("merges")
    content["model"] = {"merges": merges, **content["model"]}


def shuffled_vocabulary(content: dict[str, Any]) -> None:
    vocab = list(content["model"]["vocab"].items())
    random.Random(0).shuffle(vocab)
    content["model"]["vocab"] = dict(vocab)


@pytest.mark.parametrize("change", [legacy_merges, merges_first, shuffled_vocabulary])
@pytest.mark.parametrize("options", [{}, {"ensure_ascii": False}, {"indent": 2}, {"separators": (",", ":")}], ids=str)
def test_ways_to_write_the_same_file(change: Edit, options: dict[str, Any]) -> None:
    content = rewritten(change, **options)
    assert is_table(content)
    text = "the weather in the town, 世界 👋🏽 \\ \" user's 12\n\n"
    expected = tokenizers.Tokenizer.from_buffer(small()).encode(text, add_special_tokens=False).ids
    assert list(bpe.open_tokenizer_json(content, "test").bpe.encode(text)) == expected


UNUSUAL: dict[str, Edit] = {
    "a gap in the ids": lambda c: c["model"]["vocab"].update(zz=99_999),
    "a token outside the byte alphabet": lambda c: c["model"]["vocab"].update({"▁": len(c["model"]["vocab"])}),
    "an unknown token": lambda c: c["model"].update(unk_token="a"),
    "a suffix": lambda c: c["model"].update(end_of_word_suffix="</w>"),
    "ignore_merges": lambda c: c["model"].update(ignore_merges=True),
    "no pre-tokenizer": lambda c: c.update(pre_tokenizer=None),
    "other ids of added tokens": lambda c: c["added_tokens"][0].update(id=c["added_tokens"][0]["id"] + 100),
    "an added token twice": lambda c: c["added_tokens"].append(c["added_tokens"][0]),
    "a merge twice": lambda c: c["model"]["merges"].append(c["model"]["merges"][0]),
}


@pytest.mark.parametrize("change", UNUSUAL.values(), ids=UNUSUAL)
def test_unusual_files_are_left_to_the_library(change: Edit) -> None:
    content = rewritten(change)
    library = tokenizers.Tokenizer.from_buffer(content)
    opened = bpe.open_tokenizer_json(content, "test")
    assert isinstance(opened.bpe, bpe._LibraryBpe)
    assert opened.added.keys() == library.get_added_tokens_decoder().keys()
    text = "the weather, 世界\n"
    assert list(opened.bpe.encode(text)) == library.encode(text, add_special_tokens=False).ids


def with_escaped_key(content: bytes, key: str) -> bytes:
    """The file with an escape in the first `key`, which is the same JSON."""
    plain, escaped = f'"{key}"'.encode(), f'"{key[:-1]}\\u{ord(key[-1]):04x}"'.encode()
    assert plain in content
    return content.replace(plain, escaped, 1)


@pytest.mark.parametrize("key", ["model", "vocab", "merges", "added_tokens", "pre_tokenizer", "type"])
def test_keys_with_escapes_mean_what_they_spell(key: str) -> None:
    content = with_escaped_key(small(), key)
    assert json.loads(content) == json.loads(small())
    text = "the weather, 世界\n"
    assert list(bpe.open_tokenizer_json(content, "test").bpe.encode(text)) == list(LIBRARY.bpe.encode(text))


@pytest.mark.parametrize("escaped", [0, 1])
def test_a_model_that_stands_twice_is_the_librarys_choice(escaped: int) -> None:
    """One of the two keys has an escape, and the two models give different ids."""
    other = json.loads(small())["model"]
    turned = {id_: token for token, id_ in other["vocab"].items()}
    other["vocab"] = {token: len(turned) - 1 - id_ for id_, token in turned.items()}
    keys = ['"model"', '"mod\\u0065l"']
    first, second = keys if escaped else reversed(keys)
    content = small().replace(b'"model"', f"{first}: {json.dumps(other)}, {second}".encode(), 1)
    text = "the weather"
    expected = tokenizers.Tokenizer.from_buffer(content).encode(text, add_special_tokens=False).ids
    assert list(bpe.open_tokenizer_json(content, "test").bpe.encode(text)) == expected


@pytest.mark.parametrize("content", ['"', "\\", '\\"', '"}', 'a"b\\', '{"a": ["\\\\"]}'])
def test_strings_with_escapes_are_skipped_whole(content: str) -> None:
    """Parts other than vocabulary and merges are not read, whatever their strings contain."""

    def change(file: dict[str, Any]) -> None:
        file["added_tokens"][0]["content"] = content + "<x>"

    file = rewritten(change)
    opened = bpe.open_tokenizer_json(file, "test")
    assert isinstance(opened.bpe, bpe._TableBpe)
    library = tokenizers.Tokenizer.from_buffer(file)
    assert {id_: str(token) for id_, token in opened.added.items()} == {
        id_: str(token) for id_, token in library.get_added_tokens_decoder().items()
    }


BROKEN: dict[str, Edit] = {
    "a merge of unknown tokens": lambda c: c["model"]["merges"].append(["no", "such"]),
    "a merge that gives no token": lambda c: c["model"]["merges"].append(['"', "\\"]),
    "a merge of three": lambda c: c["model"]["merges"].append(["a", "b", "c"]),
    "a merge of one word": lambda c: c["model"].update(merges=["th"]),
    "a merge of three words": lambda c: c["model"].update(merges=["t h e"]),
    "an id that is no number": lambda c: c["model"]["vocab"].update(zz="1"),
    "an id that is negative": lambda c: c["model"]["vocab"].update(zz=-1),
    "an id that is a fraction": lambda c: c["model"]["vocab"].update(zz=1.5),
    "no vocabulary": lambda c: c["model"].pop("vocab"),
    "a vocabulary that is a list": lambda c: c["model"].update(vocab=[]),
    "merges that are an object": lambda c: c["model"].update(merges={}),
}


@pytest.mark.parametrize("change", BROKEN.values(), ids=BROKEN)
def test_broken_files_are_reported_by_the_library(change: Edit) -> None:
    content = rewritten(change)
    assert _native.Bpe.read(content) is None
    with pytest.raises(Exception) as theirs:  # noqa: PT011  the library raises bare Exception
        tokenizers.Tokenizer.from_buffer(content)
    with pytest.raises(CheckpointError, match=re.escape(str(theirs.value))):
        bpe.open_tokenizer_json(content, "test")


def test_no_damaged_file_crashes() -> None:
    """A file cut at any place or with any byte changed is refused, or read as the library reads it."""
    whole = small()
    rng = random.Random(6)
    for end in [*range(40), *(rng.randrange(len(whole)) for _ in range(1500))]:
        assert _native.Bpe.read(whole[:end]) is None, end
    accepted = 0
    for _ in range(1500):
        damaged = bytearray(whole)
        at = rng.randrange(len(whole))
        damaged[at] = rng.choice(b'"\\{}[],: 0a\x00\xff\xc4')
        found = bpe._open_table(bytes(damaged))
        if found is not None:
            accepted += 1
            library = bpe._open_library(bytes(damaged), "test")
            assert library.size == found.size
            for text in ("the weather in town", "世界 system"):
                assert list(found.bpe.encode(text)) == list(library.bpe.encode(text)), (at, damaged[at])
    assert accepted > 50, "otherwise the comparison proves nothing"


def test_a_tokenizer_json_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library sees a usual file once, and without vocabulary and merges."""
    seen: list[bytes] = []
    from_buffer = tokenizers.Tokenizer.from_buffer

    class Counting:
        @staticmethod
        def from_buffer(content: bytes) -> tokenizers.Tokenizer:
            seen.append(content)
            return from_buffer(content)

    monkeypatch.setattr(bpe.tokenizers, "Tokenizer", Counting)
    assert is_table(small())
    assert [json.loads(content)["model"]["vocab"] for content in seen] == [{}]
    assert json.loads(seen[0])["model"]["merges"] == []


def test_every_byte_is_written_with_its_own_letter() -> None:
    """Also the bytes that UTF-8 never has, because the table contains bytes."""
    found = _native.Bpe.read(small())
    assert found is not None
    table, _ = found
    for letter, byte in bpe._BYTE_OF_CHARACTER.items():
        id_ = table.find(bytes([byte]))
        assert table.encode([letter]).tolist() == ([] if id_ is None else [id_]), byte


def test_words_outside_the_byte_alphabet_and_ids_outside_the_vocabulary() -> None:
    found = _native.Bpe.read(small())
    assert found is not None
    table, rest = found
    assert json.loads(rest)["model"] == json.loads(small())["model"] | {"vocab": {}, "merges": []}
    assert table.encode(["a", "\u4e16", "b", ""]).tolist() == table.encode(["ab"[:1], "b"]).tolist()
    assert table.find(b"no such token") is None
    with pytest.raises(IndexError):
        table.token(table.size)
