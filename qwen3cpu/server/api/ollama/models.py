"""Endpoints of Ollama's API about models: GET /api/tags, /api/ps, /api/version, and POST /api/show."""

from __future__ import annotations

import contextlib
import hashlib
from time import time
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from qwen3cpu._version import VERSION
from qwen3cpu.loading.describe import Description
from qwen3cpu.server.api.arrival import Arrival
from qwen3cpu.server.api.asked_model import read_model_body
from qwen3cpu.server.api.calling import shows_tools
from qwen3cpu.server.api.json_output import json_response
from qwen3cpu.server.api.ollama.bodies import OllamaShow
from qwen3cpu.server.api.ollama.durations import FOREVER, date
from qwen3cpu.server.models.catalog import DEFAULT_TAG
from qwen3cpu.server.models.held import HeldModel
from qwen3cpu.server.models.lender import Lender
from qwen3cpu.server.models.offers import Offer

OLLAMA_VERSION = "0.13.0"
"""The version of Ollama whose API this is. Clients refuse servers that are too old."""
FAMILY = "qwen3"


async def tags(http: HttpRequest) -> Response:
    """GET /api/tags: the models that are offered, loaded or not."""
    lender: Lender = http.app.state.lender
    offers = await Arrival(http).work(lender.catalog.readable)
    return json_response({"models": [{**_card(offer), "modified_at": _modified(http, offer)} for offer in offers]})


async def ps(http: HttpRequest) -> Response:
    """GET /api/ps: the models that are in memory."""
    lender: Lender = http.app.state.lender
    return json_response({"models": [_running(lender, held) for held in lender.loaded()]})


async def version(http: HttpRequest) -> Response:
    """GET /api/version."""
    return json_response({"version": OLLAMA_VERSION, "qwen3cpu": VERSION})


async def show(http: HttpRequest) -> Response:
    """POST /api/show."""
    body, offer, about = await read_model_body(http, Arrival(http), OllamaShow, None)
    return json_response(
        {
            "modelfile": f"FROM {body.model or offer.name}\n",
            "parameters": _parameters(about),
            "template": about.chat_template or "",
            "details": _details(about),
            "model_info": _info(offer.name, about),
            "capabilities": _capabilities(about),
            "modified_at": _modified(http, offer),
        }
    )


def _card(offer: Offer) -> dict[str, Any]:
    """The card of a model that has been described."""
    about = offer.describe()
    # In Ollama every name has a tag, and clients compare names with it.
    tagged = offer.name if ":" in offer.name else offer.name + DEFAULT_TAG
    digest = hashlib.sha256(f"{about.fingerprint} {about.quant}".encode()).hexdigest()
    details = _details(about)
    return {
        "name": tagged,
        "model": tagged,
        "size": about.weight_bytes,
        "digest": digest,
        "details": details,
    }


def _running(lender: Lender, held: HeldModel) -> dict[str, Any]:
    left = lender.seconds_left(held)
    expires = FOREVER if left is None else date(time() + left)
    context = held.offer.describe().context
    return {
        **_card(held.offer),
        "size": held.size(),
        "expires_at": expires,
        "size_vram": 0,
        "context_length": context,
    }


def _modified(http: HttpRequest, offer: Offer) -> str:
    """The time when the model's file was changed; for a model outside the folder, when the server started."""
    seconds = float(http.app.state.started)
    if offer.path is not None:
        with contextlib.suppress(OSError):
            seconds = offer.path.stat().st_mtime
    return date(seconds)


def _details(about: Description) -> dict[str, Any]:
    return {
        "parent_model": "",
        "format": "qwen3cpu",
        "family": FAMILY,
        "families": [FAMILY],
        "parameter_size": _short(about.config.parameters()),
        "quantization_level": about.quant.upper(),
    }


def _short(count: int) -> str:
    """A number of parameters in Ollama's form: 1.7B, 596.05M."""
    for unit, name, digits in ((10**9, "B", 1), (10**6, "M", 2), (10**3, "K", 0)):
        if count >= unit:
            return f"{count / unit:.{digits}f}{name}"
    return str(count)


def _parameters(about: Description) -> str:
    """The defaults of the model's authors, one on each line."""
    defaults = about.defaults
    values = {
        "min_p": defaults.min_p,
        "num_predict": defaults.max_new_tokens,
        "repeat_penalty": defaults.repetition_penalty,
        "temperature": defaults.temperature,
        "top_k": defaults.top_k,
        "top_p": defaults.top_p,
    }
    return "\n".join(f"{name:<30} {value:g}" for name, value in values.items() if value is not None)


def _info(name: str, about: Description) -> dict[str, Any]:
    config = about.config
    return {
        "general.architecture": FAMILY,
        "general.basename": name,
        "general.parameter_count": config.parameters(),
        f"{FAMILY}.attention.head_count": config.num_attention_heads,
        f"{FAMILY}.attention.head_count_kv": config.num_key_value_heads,
        f"{FAMILY}.attention.key_length": config.head_dim,
        f"{FAMILY}.attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        f"{FAMILY}.attention.value_length": config.head_dim,
        f"{FAMILY}.block_count": config.num_hidden_layers,
        # The context of requests, which may be shorter than the model was trained for.
        f"{FAMILY}.context_length": about.context,
        f"{FAMILY}.embedding_length": config.hidden_size,
        f"{FAMILY}.feed_forward_length": config.intermediate_size,
        f"{FAMILY}.rope.freq_base": config.rope_theta,
        f"{FAMILY}.vocab_size": config.vocab_size,
    }


def _capabilities(about: Description) -> list[str]:
    """The abilities of the model, under Ollama's names."""
    if about.task != "generation":
        return ["embedding"] if about.task == "embedding" else []
    tools = about.calls and shows_tools(about.chat_template)
    return ["completion", *(["tools"] if tools else []), *(["thinking"] if about.thinks else [])]
