"""Search in a folder: splits files into passages, keeps their vectors in an index file, and answers with sources."""

from qwen3cpu.search.answering import answer_messages, sources
from qwen3cpu.search.hits import Hit, Skipped, Update
from qwen3cpu.search.index import INDEX_NAME, SearchIndex

__all__ = ["INDEX_NAME", "Hit", "SearchIndex", "Skipped", "Update", "answer_messages", "sources"]
