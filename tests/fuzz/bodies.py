"""Damaged requests: valid bodies of every endpoint, damaged at one to three places and sent to a server."""

from __future__ import annotations

import random
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import checkpoints
import httpx
from mutations import as_json, damage_bytes, damage_json
from retrieval_models import write_embedding_model, write_scoring_model
from starlette.applications import Starlette

from qwen3cpu.server.app import make_app
from qwen3cpu.server.models.catalog import Catalog
from qwen3cpu.server.models.memory import model_bytes
from qwen3cpu.server.models.offers import LoadOptions, StoredModel
from qwen3cpu.server.serve import HttpServer, listen
from qwen3cpu.server.settings import Settings

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
SCHEMA = {
    "type": "object",
    "properties": {
        "a": {"type": "integer", "minimum": 0},
        "b": {"enum": ["x", "y"]},
        "c": {"type": "array", "uniqueItems": True},
    },
}
CHAT: dict[str, Any] = {"model": "m", "max_tokens": 2, "messages": [{"role": "user", "content": "hello"}]}
CALLED = [
    {"role": "system", "content": "be brief"},
    {"role": "user", "content": [{"type": "text", "text": "hello"}]},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"B"}'}}],
    },
    {"role": "tool", "tool_call_id": "c1", "content": "20 C"},
]
OPTIONS = {"num_predict": 2, "num_ctx": 99, "temperature": 0.7, "repeat_penalty": 1.1, "seed": 1, "stop": ["x"]}
SHORT = {"num_predict": 2}
BLOCKS = [
    {"role": "user", "content": [{"type": "text", "text": "hello", "cache_control": {"type": "ephemeral"}}]},
    {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "x"},
            {"type": "text", "text": "yes"},
            {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "B"}},
        ],
    },
    {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "20"}], "is_error": True},
            {"type": "document", "title": "d", "source": {"type": "text", "media_type": "text/plain", "data": "a"}},
        ],
    },
]
CUSTOM = {"name": "weather", "input_schema": TOOL["function"]["parameters"], "type": "custom"}
MESSAGES = "/v1/messages"
EMBEDDINGS = ("/v1/embeddings", "/api/embed", "/api/embeddings")
RERANK = ("/v1/rerank", "/v2/rerank", "/rerank")
BODIES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("/v1/chat/completions", CHAT),
    ("/v1/chat/completions", {**CHAT, "stream": True, "stream_options": {"include_usage": True}}),
    ("/v1/chat/completions", {**CHAT, "messages": CALLED, "tools": [TOOL], "tool_choice": "auto"}),
    ("/v1/chat/completions", {**CHAT, "tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}}),
    (
        "/v1/chat/completions",
        {**CHAT, "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}},
    ),
    (
        "/v1/chat/completions",
        {
            **CHAT,
            "temperature": 0.7,
            "top_p": 0.9,
            "top_k": 20,
            "min_p": 0.0,
            "top_n_sigma": 2.0,
            "typical_p": 0.9,
            "xtc_probability": 0.5,
            "xtc_threshold": 0.1,
            "dry_multiplier": 0.8,
            "dry_base": 1.75,
            "dry_allowed_length": 2,
            "dry_penalty_last_n": -1,
            "dry_sequence_breakers": ["\n", ":"],
            "seed": 1,
            "n": 2,
            "stop": ["x"],
            "logprobs": True,
            "top_logprobs": 3,
            "logit_bias": {"5": 1.0},
            "presence_penalty": 0.1,
            "frequency_penalty": 0.1,
            "repetition_penalty": 1.1,
            "reasoning_effort": "low",
            "chat_template_kwargs": {"enable_thinking": False},
        },
    ),
    ("/v1/completions", {"model": "m", "prompt": "hello", "max_tokens": 2, "echo": True, "logprobs": 2}),
    ("/v1/completions", {"prompt": ["hello", "world"], "max_tokens": 1, "stream": True, "suffix": None}),
    ("/v1/completions", {"prompt": [[1, 2], [3]], "max_tokens": 1, "best_of": 1}),
    ("/v1/responses", {"model": "m", "input": "hello", "max_output_tokens": 2, "instructions": "be brief"}),
    (
        "/v1/responses",
        {
            "max_output_tokens": 2,
            "input": [{"role": "user", "content": [{"type": "input_text", "text": "hello"}]}],
            "tools": [{"type": "function", **TOOL["function"]}],
            "text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA}},
            "reasoning": {"effort": "low"},
            "stream": True,
        },
    ),
    (
        "/api/chat",
        {
            "model": "m",
            "messages": CALLED,
            "tools": [TOOL],
            "think": "low",
            "keep_alive": 9,
            "options": OPTIONS,
        },
    ),
    ("/api/chat", {"messages": [{**CALLED[1], "images": []}], "format": SCHEMA, "options": SHORT, "stream": False}),
    ("/api/chat", {"messages": [*CHAT["messages"], {"role": "assistant", "content": "a"}], "options": SHORT}),
    (
        "/api/generate",
        {
            "prompt": "hello",
            "system": "be brief",
            "context": [1, 2],
            "think": False,
            "logprobs": True,
            "options": SHORT,
        },
    ),
    ("/api/generate", {"prompt": "hello", "raw": True, "format": "json", "stream": False, "options": SHORT}),
    (MESSAGES, {"model": "m", "max_tokens": 2, "messages": BLOCKS, "system": "be brief", "tools": [CUSTOM]}),
    (
        MESSAGES,
        {
            "max_tokens": 3,
            "messages": BLOCKS[:1],
            "system": [{"type": "text", "text": "be brief"}],
            "thinking": {"type": "enabled", "budget_tokens": 2},
            "tools": [CUSTOM, {"type": "web_search_20250305", "name": "web_search"}],
            "tool_choice": {"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
            "stop_sequences": ["x"],
            "metadata": {"user_id": "me"},
            "stream": True,
        },
    ),
    (
        MESSAGES,
        {
            "max_tokens": 2,
            "messages": [*BLOCKS[:1], {"role": "assistant", "content": "a"}],
            "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}},
            "thinking": {"type": "adaptive", "display": "summarized"},
        },
    ),
    (MESSAGES + "/count_tokens", {"messages": BLOCKS, "tools": [CUSTOM], "tool_choice": {"type": "any"}}),
    ("/api/show", {"model": "m", "verbose": True}),
    ("/api/generate", {"model": "m", "prompt": "", "keep_alive": 0}),
    ("/api/chat", {"model": "m:latest", "messages": [], "keep_alive": "5m"}),
    ("/api/pull", {"model": "owner/name", "stream": False}),
    (EMBEDDINGS[1], {"model": "embedding", "input": ["hello", ""], "dimensions": 9, "options": {"num_ctx": 9}}),
    (EMBEDDINGS[2], {"model": "embedding", "prompt": "hello", "keep_alive": 0}),
    (EMBEDDINGS[0], {"model": "embedding", "input": "hello"}),
    (EMBEDDINGS[0], {"input": ["hello", "", "a b"], "encoding_format": "base64", "dimensions": 9, "user": "me"}),
    (EMBEDDINGS[0], {"input": [[1, 2, 3], [4]], "kind": "query", "instruction": "find", "normalize": False}),
    (EMBEDDINGS[0], {"input": [1, 2, 3], "input_type": "search_query", "truncate": True}),
    (
        RERANK[0],
        {"model": "scoring", "query": "hello", "documents": ["a", "b"], "top_n": 1, "return_documents": True},
    ),
    (RERANK[1], {"query": "hello", "documents": [{"text": "a"}, "b"], "max_tokens_per_doc": 3, "instruction": "find"}),
    (RERANK[2], {"query": "hello", "texts": ["a", "b"], "raw_scores": True, "return_text": True, "truncate": True}),
    ("/tokenize", {"prompt": "hello", "return_token_strs": True}),
    ("/tokenize", {"messages": CHAT["messages"]}),
    ("/detokenize", {"tokens": [1, 2, 3]}),
    ("/apply-template", {"messages": CALLED, "tools": [TOOL]}),
)
OPENAI_ERROR = b'{"error":{"message":'
ERRORS = {"/api/": b'{"error":"', MESSAGES: b'{"type":"error","error":{"type":"'}
"""Prefix of a path -> beginning of its errors, for errors that do not have OpenAI's form."""
FOREIGN_KEYS = (
    *("think", "options", "keep_alive", "cache_prompt", "repeat_penalty", "guided_json", "guided_regex", "functions"),
    *("regex", "choices", "grammar", "guided_choice", "guided_grammar", "structured_outputs"),
    *("thinking", "reasoning", "prediction", "echo", "truncation", "response_format", "max_tokens", "max_new_tokens"),
    *(
        "seed",
        "stop",
        "n",
        "top_logprobs",
        "tools",
        "tool_choice",
        "name",
        "content",
        "type",
        "$ref",
        "anyOf",
        "pattern",
    ),
    *("input", "inputs", "input_type", "truncate", "encoding_format", "dimensions", "documents", "texts", "query"),
    *("images", "template", "suffix", "system", "raw", "context", "format", "num_predict", "num_ctx", "logprobs"),
    *("stop_sequences", "output_config", "input_schema", "tool_use_id", "source", "budget_tokens", "signature"),
    *("top_k", "return_text", "task", "normalized", "truncate_prompt_tokens", "embedding_types"),
    *("", " a", "a ", "\r\n", "\ud800"),
)


class Bodies:
    """A server in this process with a model for each task, and its client. Memory allows two models at a time.

    Args:
        folder: an empty one, for the models.
    """

    def __init__(self, folder: Path) -> None:
        write_embedding_model(folder / "embedding")
        write_scoring_model(folder / "scoring", (300, 40))
        checkpoints.write_checkpoint(folder / "m")
        contexts = {"m": 200, "embedding": 200, "scoring": 400}
        offers = [
            StoredModel(name, str(folder / name), LoadOptions(quant="f32", context=context, threads=1))
            for name, context in contexts.items()
        ]
        settings = Settings(memory=1 << 40)
        settings = replace(settings, memory=5 * max(model_bytes(each.describe(), settings) for each in offers) // 2)
        self._served = _Served(make_app(Catalog(offers), settings))

    def send_damaged(self, rng: random.Random) -> None:
        """Send one damaged body."""
        path, body = rng.choice(BODIES)
        data = as_json(damage_json(body, rng, FOREIGN_KEYS))
        if rng.random() < 0.05:
            data = damage_bytes(data, rng)
        self.send(path, data)

    def send(self, path: str, data: bytes) -> None:
        """Send a body to the server. Raises AssertionError for a wrong answer, such as a 5xx."""
        response = self._served.http.post(path, content=data, headers={"content-type": "application/json"})
        status, answer = response.status_code, response.content
        shown = f"{path} {data[:3000]!r}: {status} {answer[:500]!r}"
        assert status < 500, shown
        if status >= 400:
            begins = [begin for beginning, begin in ERRORS.items() if path.startswith(beginning)]
            assert answer.startswith(begins[0] if begins else OPENAI_ERROR), shown
        # A stream that has begun reports an error in its lines.
        assert b"internal error" not in answer, shown
        assert b"Traceback" not in answer, shown

    def close(self) -> None:
        """Stop the server."""
        self._served.close()


class _Served:
    """Runs an application in a server."""

    def __init__(self, app: Starlette) -> None:
        listener = listen("127.0.0.1", 0)
        self._server = HttpServer(app, grace=5)
        self._server.config.timeout_keep_alive = 3600  # a fuzzer may pause for longer than the default of five seconds
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listener]}, daemon=True)
        self._thread.start()
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=600)

    def close(self) -> None:
        self.http.close()
        self._server.should_exit = True
        self._thread.join()
