"""The schemas of responses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
NUMBER: Schema = {"type": "number"}
FLAG: Schema = {"type": "boolean"}
ANY_OBJECT: Schema = {"type": "object"}
TEXT_OR_NULL: Schema = {"type": ["string", "null"]}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _only(*values: str | bool) -> Schema:
    return {"enum": list(values)}


def _named(name: str) -> Schema:
    """A reference to a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def _object(required: Mapping[str, Schema], **optional: Schema) -> Schema:
    """An object with these fields; others are allowed."""
    return {"type": "object", "properties": {**required, **optional}, "required": list(required)}


INTS = _list({"type": "integer"})
NUMBERS = _list(NUMBER)
FINISH_DETAILS = _object({"type": _only("loop", "schema")})
DETAILS = {"finish_details": FINISH_DETAILS, "schema_errors": _list(TEXT)}
HEAD = {"id": TEXT, "created": COUNT, "model": TEXT, "system_fingerprint": TEXT}
CALL = _object(
    {"id": TEXT, "type": _only("function"), "function": _object({"name": TEXT, "arguments": TEXT})}, index=COUNT
)
OLLAMA_CALL = _object({"id": TEXT, "function": _object({"index": COUNT, "name": TEXT, "arguments": ANY_OBJECT})})
FINISH = ("stop", "length", "tool_calls", "function_call")
OLLAMA_TIMES = dict.fromkeys(("total_duration", "load_duration", "prompt_eval_duration", "eval_duration"), COUNT)
OLLAMA_END = {
    "done_reason": _only("stop", "length", "load", "unload"),
    "prompt_eval_count": COUNT,
    "eval_count": COUNT,
    "seed": COUNT,
    **OLLAMA_TIMES,
    **DETAILS,
}
OLLAMA_DETAILS = _object(
    {
        "parent_model": TEXT,
        "format": TEXT,
        "family": TEXT,
        "families": _list(TEXT),
        "parameter_size": TEXT,
        "quantization_level": TEXT,
    }
)
OLLAMA_CARD = {"name": TEXT, "model": TEXT, "size": COUNT, "digest": TEXT, "details": OLLAMA_DETAILS}

REPLIES: dict[str, Schema] = {
    "Usage": _object(
        {"prompt_tokens": COUNT, "completion_tokens": COUNT, "total_tokens": COUNT},
        prompt_tokens_details=_object({"cached_tokens": COUNT}),
        completion_tokens_details=_object({"reasoning_tokens": COUNT}),
    ),
    "ChatCompletion": _object(
        {
            **HEAD,
            "object": _only("chat.completion"),
            "seed": COUNT,
            "choices": _list(
                _object(
                    {
                        "index": COUNT,
                        "message": _object(
                            {"role": _only("assistant"), "content": TEXT_OR_NULL, "refusal": {"type": "null"}},
                            reasoning_content=TEXT,
                            tool_calls=_list(CALL),
                            function_call=ANY_OBJECT,
                        ),
                        "logprobs": {"type": ["object", "null"]},
                        "finish_reason": _only(*FINISH),
                    },
                    **DETAILS,
                )
            ),
            "usage": _named("Usage"),
        }
    ),
    "ChatCompletionChunk": _object(
        {
            **HEAD,
            "object": _only("chat.completion.chunk"),
            "choices": _list(
                _object(
                    {
                        "index": COUNT,
                        "delta": _object(
                            {},
                            role=_only("assistant"),
                            content=TEXT,
                            reasoning_content=TEXT,
                            tool_calls=_list(CALL),
                            function_call=ANY_OBJECT,
                        ),
                        "logprobs": {"type": ["object", "null"]},
                        "finish_reason": {"enum": [*FINISH, None]},
                    },
                    **DETAILS,
                )
            ),
        },
        usage=_named("Usage"),
        seed=COUNT,
    ),
    "Completion": _object(
        {
            **HEAD,
            "object": _only("text_completion"),
            "choices": _list(
                _object(
                    {
                        "index": COUNT,
                        "text": TEXT,
                        "logprobs": {"type": ["object", "null"]},
                        "finish_reason": {"enum": ["stop", "length", None]},
                    },
                    **DETAILS,
                )
            ),
        },
        usage=_named("Usage"),
    ),
    "Response": _object(
        {
            "id": TEXT,
            "object": _only("response"),
            "created_at": COUNT,
            "status": _only("in_progress", "completed", "incomplete", "failed"),
            "error": {"type": ["object", "null"]},
            "incomplete_details": {"type": ["object", "null"]},
            "model": TEXT,
            "output": _list(
                _object(
                    {"id": TEXT, "type": _only("reasoning", "message", "function_call"), "status": TEXT},
                    content=_list(ANY_OBJECT),
                    role=_only("assistant"),
                    call_id=TEXT,
                    name=TEXT,
                    arguments=TEXT,
                )
            ),
            "seed": COUNT,
            "usage": {
                "anyOf": [
                    _object({"input_tokens": COUNT, "output_tokens": COUNT, "total_tokens": COUNT}),
                    {"type": "null"},
                ]
            },
        },
        schema_errors=_list(TEXT),
    ),
    "ResponseEvent": _object({"type": TEXT, "sequence_number": COUNT}, response=_named("Response")),
    "Message": _object(
        {
            "id": TEXT,
            "type": _only("message"),
            "role": _only("assistant"),
            "model": TEXT,
            "content": _list(
                _object(
                    {"type": _only("thinking", "text", "tool_use")},
                    text=TEXT,
                    thinking=TEXT,
                    signature=TEXT,
                    id=TEXT,
                    name=TEXT,
                    input=ANY_OBJECT,
                )
            ),
            "stop_reason": _only(
                "end_turn", "tool_use", "stop_sequence", "max_tokens", "model_context_window_exceeded"
            ),
            "stop_sequence": TEXT_OR_NULL,
            "usage": _object(
                {
                    "input_tokens": COUNT,
                    "cache_creation_input_tokens": COUNT,
                    "cache_read_input_tokens": COUNT,
                    "output_tokens": COUNT,
                }
            ),
            "seed": COUNT,
        },
        **DETAILS,
    ),
    "MessageEvent": _object(
        {
            "type": _only(
                "message_start",
                "content_block_start",
                "content_block_delta",
                "content_block_stop",
                "message_delta",
                "message_stop",
                "ping",
                "error",
            )
        }
    ),
    "MessageTokens": _object({"input_tokens": COUNT}),
    "Embeddings": _object(
        {
            "object": _only("list"),
            "data": _list(
                _object(
                    {"object": _only("embedding"), "index": COUNT, "embedding": {"anyOf": [NUMBERS, TEXT]}},
                )
            ),
            "model": TEXT,
            "usage": _object({"prompt_tokens": COUNT, "total_tokens": COUNT}),
        }
    ),
    "Ranking": {
        "anyOf": [
            _object(
                {
                    "id": TEXT,
                    "object": _only("list"),
                    "model": TEXT,
                    "results": _list(
                        _object({"index": COUNT, "relevance_score": NUMBER}, document=_object({"text": TEXT}))
                    ),
                    "usage": _object({"prompt_tokens": COUNT, "total_tokens": COUNT}),
                    "meta": ANY_OBJECT,
                }
            ),
            _list(_object({"index": COUNT, "score": NUMBER}, text=TEXT)),
        ]
    },
    "ModelCard": _object(
        {
            "id": TEXT,
            "object": _only("model"),
            "created": COUNT,
            "owned_by": TEXT,
            "max_model_len": COUNT,
            "quantization": TEXT,
            "parameters": COUNT,
            "task": _only("generation", "embedding", "reranking"),
            "loaded": FLAG,
        },
        thinking=FLAG,
        dimensions=COUNT,
        parent=TEXT,
    ),
    "ModelList": _object({"object": _only("list"), "data": _list(_named("ModelCard"))}),
    "OllamaMessage": _object(
        {
            "model": TEXT,
            "created_at": TEXT,
            "message": _object(
                {"role": _only("assistant"), "content": TEXT}, thinking=TEXT, tool_calls=_list(OLLAMA_CALL)
            ),
            "done": FLAG,
        },
        logprobs=_list(ANY_OBJECT),
        **OLLAMA_END,
    ),
    "OllamaAnswer": _object(
        {"model": TEXT, "created_at": TEXT, "response": TEXT, "done": FLAG},
        thinking=TEXT,
        context=INTS,
        logprobs=_list(ANY_OBJECT),
        **OLLAMA_END,
    ),
    "OllamaVectors": _object(
        {
            "model": TEXT,
            "embeddings": _list(NUMBERS),
            "total_duration": COUNT,
            "load_duration": COUNT,
            "prompt_eval_count": COUNT,
        }
    ),
    "OllamaVector": _object({"embedding": NUMBERS}),
    "OllamaModels": _object({"models": _list(_object({**OLLAMA_CARD, "modified_at": TEXT}))}),
    "OllamaRunning": _object(
        {
            "models": _list(
                _object({**OLLAMA_CARD, "expires_at": TEXT, "size_vram": COUNT, "context_length": COUNT}),
            )
        }
    ),
    "OllamaModel": _object(
        {
            "modelfile": TEXT,
            "parameters": TEXT,
            "template": TEXT,
            "details": OLLAMA_DETAILS,
            "model_info": ANY_OBJECT,
            "capabilities": _list(_only("completion", "tools", "thinking", "embedding")),
            "modified_at": TEXT,
        }
    ),
    "OllamaVersion": _object({"version": TEXT, "qwen3cpu": TEXT}),
    "PullProgress": _object({}, status=TEXT, digest=TEXT, total=COUNT, completed=COUNT, error=TEXT),
    "Tokens": _object({"tokens": INTS, "count": COUNT, "max_model_len": COUNT}, token_strs=_list(TEXT)),
    "Detokenized": _object({"prompt": TEXT, "text": TEXT}),
    "Rendered": _object({"prompt": TEXT}),
    "TokenizerInfo": _object(
        {
            "tokenizer_class": TEXT,
            "bos_token": TEXT_OR_NULL,
            "eos_token": TEXT_OR_NULL,
            "pad_token": TEXT_OR_NULL,
            "model_max_length": COUNT,
        }
    ),
    "RenderedText": _object(
        {
            "blocks": _list(_object({"line": COUNT, "nodes": {"type": "array"}})),
            "open_line": COUNT,
            "definitions": TEXT,
        }
    ),
    "ExtractedText": _object({"text": TEXT, "pages": COUNT, "cut": {"type": "boolean"}}),
    "PageTools": _object({"tools": _list(ANY_OBJECT), "ask": {"type": "boolean"}}),
    "ToolResult": _object({"result": TEXT, "failed": {"type": "boolean"}}),
    "Health": _object(
        {"status": _only("ok", "stopped", "shutting down")}, task=_only("generation", "embedding", "reranking")
    ),
    "Error": _object({"error": _object({"message": TEXT, "type": TEXT, "param": TEXT_OR_NULL, "code": TEXT_OR_NULL})}),
    "AnthropicError": _object({"type": _only("error"), "error": _object({"type": TEXT, "message": TEXT})}),
    "OllamaError": _object({"error": TEXT}),
}
"""Name -> schema, for `components.schemas`."""
