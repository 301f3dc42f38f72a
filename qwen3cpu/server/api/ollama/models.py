"""What Ollama's clients ask about models: GET /api/tags, /api/ps, /api/version, and POST /api/show."""

from __future__ import annotations

import hashlib
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from qwen3cpu._version import VERSION
from qwen3cpu.server.api.arrival import Arrival
from qwen3cpu.server.api.common import DEFAULT_TAG
from qwen3cpu.server.api.json_output import json_response
from qwen3cpu.server.api.ollama.bodies import OllamaShow
from qwen3cpu.server.api.ollama.durations import FOREVER, date
from qwen3cpu.server.api.reply import read_model_body
from qwen3cpu.server.scheduling.service import Service

OLLAMA_VERSION = "0.13.0"
"""Of the Ollama that has what is here. Clients refuse servers that are too old."""
FAMILY = "qwen3"


async def tags(http: HttpRequest) -> Response:
    """GET /api/tags."""
    service: Service = http.app.state.service
    return json_response({"models": [{**_card(service), "modified_at": date(http.app.state.started)}]})


async def ps(http: HttpRequest) -> Response:
    """GET /api/ps: the model stays in memory."""
    service: Service = http.app.state.service
    running = {"expires_at": FOREVER, "size_vram": 0, "context_length": service.model.context}
    return json_response({"models": [{**_card(service), **running}]})


async def version(http: HttpRequest) -> Response:
    """GET /api/version."""
    return json_response({"version": OLLAMA_VERSION, "qwen3cpu": VERSION})


async def show(http: HttpRequest) -> Response:
    """POST /api/show."""
    service: Service = http.app.state.service
    body = await read_model_body(http, Arrival(http), OllamaShow, None)
    model = service.model
    return json_response(
        {
            "modelfile": f"FROM {body.model or service.settings.model_name}\n",
            "parameters": _parameters(service),
            "template": model.chat_template or "",
            "details": _details(service),
            "model_info": _info(service),
            "capabilities": _capabilities(service),
            "modified_at": date(http.app.state.started),
        }
    )


def _card(service: Service) -> dict[str, Any]:
    name = service.settings.model_name
    # In Ollama every name has a tag, and clients compare names with it.
    tagged = name if ":" in name else name + DEFAULT_TAG
    digest = hashlib.sha256(f"{service.model.fingerprint} {service.model.quant}".encode()).hexdigest()
    details = _details(service)
    return {
        "name": tagged,
        "model": tagged,
        "size": service.model.weight_bytes,
        "digest": digest,
        "details": details,
    }


def _details(service: Service) -> dict[str, Any]:
    return {
        "parent_model": "",
        "format": "qwen3cpu",
        "family": FAMILY,
        "families": [FAMILY],
        "parameter_size": _short(service.model.config.parameters()),
        "quantization_level": service.model.quant.upper(),
    }


def _short(count: int) -> str:
    """A number as Ollama writes that of parameters: 1.7B, 596.05M."""
    for unit, name, digits in ((10**9, "B", 1), (10**6, "M", 2), (10**3, "K", 0)):
        if count >= unit:
            return f"{count / unit:.{digits}f}{name}"
    return str(count)


def _parameters(service: Service) -> str:
    """The defaults of the model's authors, a line each."""
    defaults = service.model.generation_defaults
    values = {
        "min_p": defaults.min_p,
        "num_predict": defaults.max_new_tokens,
        "repeat_penalty": defaults.repetition_penalty,
        "temperature": defaults.temperature,
        "top_k": defaults.top_k,
        "top_p": defaults.top_p,
    }
    return "\n".join(f"{name:<30} {value:g}" for name, value in values.items() if value is not None)


def _info(service: Service) -> dict[str, Any]:
    model, config = service.model, service.model.config
    return {
        "general.architecture": FAMILY,
        "general.basename": service.settings.model_name,
        "general.parameter_count": config.parameters(),
        f"{FAMILY}.attention.head_count": config.num_attention_heads,
        f"{FAMILY}.attention.head_count_kv": config.num_key_value_heads,
        f"{FAMILY}.attention.key_length": config.head_dim,
        f"{FAMILY}.attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        f"{FAMILY}.attention.value_length": config.head_dim,
        f"{FAMILY}.block_count": config.num_hidden_layers,
        # What a request may have, which may be less than the model was trained for.
        f"{FAMILY}.context_length": model.context,
        f"{FAMILY}.embedding_length": config.hidden_size,
        f"{FAMILY}.feed_forward_length": config.intermediate_size,
        f"{FAMILY}.rope.freq_base": config.rope_theta,
        f"{FAMILY}.vocab_size": config.vocab_size,
    }


def _capabilities(service: Service) -> list[str]:
    """What requests may ask of the model, as Ollama names it."""
    if service.model.task != "generation":
        return ["embedding"] if service.model.task == "embedding" else []
    tokenizer = service.model.tokenizer
    tools = tokenizer.tool_call is not None and service.model.has_chat_template
    return ["completion", *(["tools"] if tools else []), *(["thinking"] if tokenizer.think is not None else [])]
