"""A table with one row for each route of the server."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel

from qwen3cpu.server.api.anthropic.bodies import MessagesBody
from qwen3cpu.server.api.apply_template import TemplateBody
from qwen3cpu.server.api.bodies import ChatBody, CompletionBody
from qwen3cpu.server.api.detokenize import DetokenizeBody
from qwen3cpu.server.api.lora import LoadLoraBody, UnloadLoraBody
from qwen3cpu.server.api.ollama.bodies import (
    OllamaChat,
    OllamaDelete,
    OllamaEmbed,
    OllamaEmbeddings,
    OllamaGenerate,
    OllamaPull,
    OllamaShow,
)
from qwen3cpu.server.api.responses_input import ResponsesBody
from qwen3cpu.server.api.search_bodies import EmbeddingsBody, RerankBody
from qwen3cpu.server.api.tokenize import TokenizeBody
from qwen3cpu.server.page.endpoints import ExtractBody, RenderBody
from qwen3cpu.server.page.tools import CallBody

JSON = "application/json"
EVENTS = "text/event-stream"
LINES = "application/x-ndjson"
TEXT = "text/plain"


@dataclass(frozen=True)
class Operation:
    """A route.

    Attributes:
        method: the HTTP method.
        path: in the form of Starlette's routes.
        tag: the group of the route.
        summary: what it does, in a line.
        reply: name of the schema of the response; None: the response has no JSON.
        body: the model of the request's body; None: it has no body.
        stream: (media type, name of the schema of an event or a line) of a response that is streamed.
        media_type: the media type of the response.
        query: parameter in the query -> what it means.
        uses_model: whether the request waits for a model.
    """

    method: str
    path: str
    tag: str
    summary: str
    reply: str | None
    body: type[BaseModel] | None = None
    stream: tuple[str, str] | None = None
    media_type: str = JSON
    query: tuple[tuple[str, str], ...] = ()
    uses_model: bool = False


def _answer(path: str, tag: str, summary: str, body: type[BaseModel], reply: str, *stream: str) -> Operation:
    """A row for a POST that a model answers."""
    kind = (stream[0], stream[1]) if stream else None
    return Operation("POST", path, tag, summary, reply, body, kind, uses_model=True)


OPENAI, ANTHROPIC, OLLAMA, RERANKERS, TOKENS, SERVER = "OpenAI", "Anthropic", "Ollama", "Rerankers", "Tokens", "Server"
TAGS = {
    OPENAI: "These routes answer OpenAI's clients: answers, vectors and models.",
    ANTHROPIC: "These routes answer Anthropic's clients.",
    OLLAMA: "These routes answer Ollama's clients: answers, vectors and models.",
    RERANKERS: "These routes score documents, in the forms of Cohere, Jina and TEI.",
    TOKENS: "These routes convert between texts and tokens.",
    SERVER: "These routes are about the server itself and its chat page.",
}
"""Tag -> what its routes have in common."""
RERANK = "Score documents for a query"

OPERATIONS = (
    _answer(
        "/v1/chat/completions",
        OPENAI,
        "Answer a conversation",
        ChatBody,
        "ChatCompletion",
        EVENTS,
        "ChatCompletionChunk",
    ),
    _answer("/v1/completions", OPENAI, "Continue a text", CompletionBody, "Completion", EVENTS, "Completion"),
    _answer("/v1/responses", OPENAI, "Answer a conversation", ResponsesBody, "Response", EVENTS, "ResponseEvent"),
    _answer("/v1/embeddings", OPENAI, "Make vectors of texts", EmbeddingsBody, "Embeddings"),
    Operation("GET", "/v1/models", OPENAI, "List the models", "ModelList"),
    Operation("GET", "/v1/models/{model:path}", OPENAI, "Describe a model", "ModelCard"),
    Operation(
        "POST",
        "/v1/load_lora_adapter",
        OPENAI,
        "Load an adapter; needs --adapters-dir",
        None,
        LoadLoraBody,
        media_type=TEXT,
        uses_model=True,
    ),
    Operation(
        "POST",
        "/v1/unload_lora_adapter",
        OPENAI,
        "Unload an adapter; needs --adapters-dir",
        None,
        UnloadLoraBody,
        media_type=TEXT,
    ),
    _answer("/v1/messages", ANTHROPIC, "Answer a conversation", MessagesBody, "Message", EVENTS, "MessageEvent"),
    _answer("/v1/messages/count_tokens", ANTHROPIC, "Count the tokens of a prompt", MessagesBody, "MessageTokens"),
    _answer("/api/chat", OLLAMA, "Answer a conversation", OllamaChat, "OllamaMessage", LINES, "OllamaMessage"),
    _answer("/api/generate", OLLAMA, "Answer a prompt", OllamaGenerate, "OllamaAnswer", LINES, "OllamaAnswer"),
    _answer("/api/embed", OLLAMA, "Make vectors of texts", OllamaEmbed, "OllamaVectors"),
    _answer("/api/embeddings", OLLAMA, "Make the vector of a text", OllamaEmbeddings, "OllamaVector"),
    Operation("GET", "/api/tags", OLLAMA, "List the models", "OllamaModels"),
    Operation("GET", "/api/ps", OLLAMA, "List the models in memory", "OllamaRunning"),
    Operation("POST", "/api/show", OLLAMA, "Describe a model", "OllamaModel", OllamaShow),
    Operation("GET", "/api/version", OLLAMA, "Return the versions of the API and of the server", "OllamaVersion"),
    Operation(
        "POST",
        "/api/pull",
        OLLAMA,
        "Fetch a model from the Hugging Face hub; needs --manage-models",
        "PullProgress",
        OllamaPull,
        (LINES, "PullProgress"),
    ),
    Operation("DELETE", "/api/delete", OLLAMA, "Delete a model; needs --manage-models", None, OllamaDelete),
    _answer("/v1/rerank", RERANKERS, RERANK, RerankBody, "Ranking"),
    _answer("/v2/rerank", RERANKERS, RERANK, RerankBody, "Ranking"),
    _answer("/rerank", RERANKERS, RERANK, RerankBody, "Ranking"),
    _answer("/tokenize", TOKENS, "Convert a text to token ids", TokenizeBody, "Tokens"),
    _answer("/detokenize", TOKENS, "Convert token ids to a text", DetokenizeBody, "Detokenized"),
    _answer("/apply-template", TOKENS, "Convert messages to a text with the chat template", TemplateBody, "Rendered"),
    Operation(
        "GET",
        "/tokenizer_info",
        TOKENS,
        "Describe a model's tokenizer",
        "TokenizerInfo",
        query=(("model", "The name of a model. Without it, the first one is used."),),
        uses_model=True,
    ),
    Operation("GET", "/", SERVER, "Send the chat page", None, media_type="text/html"),
    Operation("GET", "/assets/{name}", SERVER, "Send a file of the chat page", None, media_type="text/javascript"),
    Operation(
        "POST", "/page/render", SERVER, "Render Markdown for the chat page, as nested lists", "RenderedText", RenderBody
    ),
    Operation("GET", "/page/tools", SERVER, "List the operator's tools for the chat page", "PageTools"),
    Operation("POST", "/page/tools/call", SERVER, "Call one of these tools", "ToolResult", CallBody),
    Operation("POST", "/page/extract", SERVER, "Read the text of a PDF file", "ExtractedText", ExtractBody),
    Operation("GET", "/health", SERVER, "Tell whether the server takes requests; the status is 503 if not", "Health"),
    Operation("GET", "/metrics", SERVER, "Return counters and times for Prometheus", None, media_type=TEXT),
    Operation("GET", "/openapi.json", SERVER, "Return this document", None),
)
"""All routes. A test compares them with those of the application."""
