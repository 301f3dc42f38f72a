"""Makes messages with which a chat model answers a question from passages and cites them by number."""

from __future__ import annotations

from collections.abc import Sequence

from qwen3cpu.search.hits import Hit

_TASK = (
    "Answer the question from the numbered passages only. Name the passages that you used by their numbers, like [1]. "
    "If the passages do not have the answer, say so."
)


def answer_messages(question: str, hits: Sequence[Hit]) -> list[dict[str, str]]:
    """Return the messages for `Model.generate`, `Model.stream` or a chat."""
    numbered = "\n\n".join(f"[{number}] {hit.place}\n{hit.text}" for number, hit in enumerate(hits, 1))
    return [{"role": "user", "content": f"{_TASK}\n\n{numbered}\n\nQuestion: {question}"}]


def sources(hits: Sequence[Hit]) -> str:
    """Return a line for each passage, with its number in `answer_messages`."""
    return "\n".join(f"[{number}] {hit.place}" for number, hit in enumerate(hits, 1))
