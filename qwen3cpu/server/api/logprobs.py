"""Log-probabilities in the form of OpenAI's API, aligned with the text of the reply.

The entry of a token is released when the first character of the token has been sent. So a stream has the same entries
as a whole reply, and both end where a stop string has cut the text.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

from qwen3cpu.generation.results import Chunk, Result, TokenLogprob
from qwen3cpu.server.api.common import number
from qwen3cpu.text.output_splitter import OutputSplitter
from qwen3cpu.text.tokenizer import Tokenizer
from qwen3cpu.text.tool_calls import CallReader, MalformedCall

_UNSEEN = ("eos", "stop_token")
"""Values of `stopped_by` for answers that end with a token outside the text."""


class CompletionLogprobs:
    """`logprobs` of one choice of /v1/completions, where all tokens belong to the text.

    Each token has its offset in the text. Tokens that hold parts of one character share the offset of the character.
    Special tokens of an answer, which its text leaves out, have the offset of the text after them.

    Args:
        tokenizer: the tokenizer of the ids.
        left_out: bytes at the beginning of the answer that do not belong to the text.
    """

    def __init__(self, tokenizer: Tokenizer, *, left_out: int = 0) -> None:
        self._tokenizer = tokenizer
        self._offsets = _Offsets(left_out)
        self._waiting = _Waiting()

    def echo(self, prompt: Sequence[int], scores: Iterable[TokenLogprob], taken: bytes = b"") -> dict[str, list[Any]]:
        """Entries of an echoed prompt. Its first token has no value, because no token comes before it.

        Args:
            prompt: token ids.
            scores: the scores of all tokens but the first.
            taken: bytes after these ids that belong to the echoed text, and with which the answer's tokens begin.
        """
        offsets = [self._offsets.push(_bytes(self._tokenizer, token)) for token in prompt]
        self._waiting.begin_at(self._offsets.length_with(taken) if taken else self._offsets.end())
        listed = self._listed(zip(scores, offsets[1:], strict=True))
        first = {"tokens": _name(self._tokenizer, prompt[0]), "text_offset": offsets[0]}
        return {name: [first.get(name), *entries] for name, entries in listed.items()}

    def answer(self, chunk: Chunk) -> dict[str, list[Any]]:
        """Entries that the next chunk releases."""
        scores = chunk.logprobs or ()
        for place, score in enumerate(scores, 1):
            seen = score.token_id not in self._tokenizer.special_ids and not (
                place == len(scores) and _ends_unseen(chunk)
            )
            offset = self._offsets.push(_bytes(self._tokenizer, score.token_id) if seen else b"")
            self._waiting.add(score, offset)
        return self._listed(self._waiting.shown(chunk))

    def _listed(self, entries: Iterable[tuple[TokenLogprob, int]]) -> dict[str, list[Any]]:
        listed: dict[str, list[Any]] = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
        for score, offset in entries:
            listed["tokens"].append(_name(self._tokenizer, score.token_id))
            listed["token_logprobs"].append(number(score.logprob))
            listed["top_logprobs"].append(_by_name(self._tokenizer, score))
            listed["text_offset"].append(offset)
        return listed


class ContentLogprobs:
    """`logprobs.content` of one choice of /v1/chat/completions.

    It has the tokens of the content. Tokens of reasoning and of tool-call blocks, markers, special tokens, and newlines
    that the content leaves out are missing.

    Args:
        tokenizer: the tokenizer of the ids.
        in_thinking: whether the prompt ends inside a think block.
    """

    def __init__(self, tokenizer: Tokenizer, *, in_thinking: bool) -> None:
        self._tokenizer = tokenizer
        self._splitter = OutputSplitter(tokenizer, in_thinking=in_thinking)
        self._calls = CallReader(None)
        self._length = 0  # of the text that the splitter has returned
        self._waiting = _Waiting()

    def content(self, part: Chunk | Result) -> list[dict[str, Any]]:
        """Entries that the next part of the answer releases."""
        scores = part.logprobs or ()
        for place, score in enumerate(scores, 1):
            if not (place == len(scores) and _ends_unseen(part)):
                self._add(score)
        return [self._entry(score) for score, _ in self._waiting.shown(part)]

    def _add(self, score: TokenLogprob) -> None:
        splitter, token = self._splitter, score.token_id
        in_block = splitter.in_thinking or splitter.in_tool_call
        offset = self._length + len(splitter.held)
        for part in splitter.push(token):
            if part.kind == "text":
                self._length += len(part.text)
            elif part.kind != "reasoning":
                call = self._calls.read(part.text, closed=part.kind == "tool_call")
                self._length += len(call.text) if isinstance(call, MalformedCall) else 0
        if in_block:
            return
        if splitter.in_thinking or splitter.in_tool_call:
            # A block begins, so newlines that were held back are dropped.
            self._waiting.drop_from(self._length)
        elif token not in (*self._tokenizer.special_ids, self._tokenizer.end_think, self._tokenizer.end_tool_call):
            left_out = not score.text.strip("\n") and self._length + len(splitter.held) == offset
            if not left_out:
                self._waiting.add(score, offset)

    def _entry(self, score: TokenLogprob) -> dict[str, Any]:
        top = [self._one(each.token_id, each.logprob) for each in score.top]
        return {**self._one(score.token_id, score.logprob), "top_logprobs": top}

    def _one(self, token: int, logprob: float | None) -> dict[str, Any]:
        data = _bytes(self._tokenizer, token)
        text = _text(data)
        return {"token": _spelled(data) if text is None else text, "logprob": number(logprob), "bytes": list(data)}


class _Offsets:
    """The offsets of tokens, in characters, in the text that their bytes form together.

    Args:
        left_out: bytes at the beginning that do not belong to the text.
    """

    def __init__(self, left_out: int = 0) -> None:
        self._left_out = left_out
        self._complete = 0  # complete characters so far
        self._begun = b""  # bytes of an incomplete character

    def push(self, data: bytes) -> int:
        """The offset of the next token."""
        data, self._left_out = data[self._left_out :], max(0, self._left_out - len(data))
        # The token begins in the last character of the text up to its first byte.
        offset = self._complete + max(0, len((self._begun + data[:1]).decode(errors="replace")) - 1)
        text = (self._begun + data).decode(errors="replace")
        self._begun = _open_end(self._begun + data)
        self._complete += len(text) - bool(self._begun)
        return offset

    def length_with(self, data: bytes) -> int:
        """The length of the text with these bytes appended, which later tokens will bring."""
        return self._complete + len((self._begun + data).decode(errors="replace"))

    def end(self) -> int:
        """End the text, and return its length. A separate text follows."""
        self._complete, self._begun = self._complete + bool(self._begun), b""
        return self._complete


class _Waiting:
    """Entries whose text has not been sent yet."""

    def __init__(self) -> None:
        self._entries: deque[tuple[TokenLogprob, int]] = deque()
        self._shown = 0

    def begin_at(self, offset: int) -> None:
        """Set the length of the text that has been sent before."""
        self._shown = offset

    def add(self, score: TokenLogprob, offset: int) -> None:
        """Add the entry of a token that begins at `offset`."""
        self._entries.append((score, offset))

    def drop_from(self, offset: int) -> None:
        """Drop the entries of tokens that begin at `offset` or later."""
        while self._entries and self._entries[-1][1] >= offset:
            self._entries.pop()

    def shown(self, part: Chunk | Result) -> list[tuple[TokenLogprob, int]]:
        """The entries, with offsets, that the next part of an answer releases."""
        self._shown += len(part.text)
        result = part if isinstance(part, Result) else part.result
        ends = result is not None and result.stopped_by != "stop_string"
        out = []
        while self._entries and (ends or self._entries[0][1] < self._shown):
            out.append(self._entries.popleft())
        return out


def _ends_unseen(part: Chunk | Result) -> bool:
    """Whether the last token of a part has ended the answer and does not belong to its text."""
    result = part if isinstance(part, Result) else part.result
    return result is not None and result.stopped_by in _UNSEEN


def _open_end(data: bytes) -> bytes:
    """The bytes at the end that may be the start of a character."""
    for length in range(1, min(3, len(data)) + 1):
        end = data[-length:]
        try:
            end.decode()
        except UnicodeDecodeError as error:
            if error.reason == "unexpected end of data" and error.start == 0:
                return end
    return b""


def _bytes(tokenizer: Tokenizer, token: int) -> bytes:
    """The bytes of a token; none for ids that the tokenizer does not have."""
    return tokenizer.token_bytes(token) if token < tokenizer.size else b""


def _text(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _spelled(data: bytes, *, printable: str = "".join(map(chr, range(32, 127)))) -> str:
    r"""Bytes in OpenAI's spelling, such as `\xe2\x80`; printable ASCII is unchanged."""
    return "".join(
        "\\\\" if byte == 0x5C else chr(byte) if chr(byte) in printable else f"\\x{byte:02x}" for byte in data
    )


def _name(tokenizer: Tokenizer, token: int) -> str:
    r"""The text of a token, or `bytes:\xe2\x80` if it holds a part of a character."""
    data = _bytes(tokenizer, token)
    text = _text(data)
    return f"bytes:{_spelled(data)}" if text is None else text


def _by_name(tokenizer: Tokenizer, score: TokenLogprob) -> dict[str, float]:
    """The alternatives and the token itself, by name. If two tokens have the same text, one is spelled in bytes."""
    own = _name(tokenizer, score.token_id)
    found: dict[str, float] = {}
    for each in score.top:
        name = _name(tokenizer, each.token_id)
        if each.token_id != score.token_id and (name == own or name in found):
            name = f"bytes:{_spelled(_bytes(tokenizer, each.token_id), printable='')}"
        found[name] = number(each.logprob)
    found.setdefault(own, number(score.logprob))
    return found
