"""A folder with several models, and functions that tests of servers with several models share."""

import threading
from contextlib import contextmanager

from checkpoints import write_checkpoint
from retrieval_models import write_embedding_model, write_scoring_model

import qwen3cpu
from qwen3cpu.server.models.offers import LoadOptions

CHAT, GENERATE = "/v1/chat/completions", "/api/generate"
QUESTION = [{"role": "user", "content": "hello"}]
OPTIONS = LoadOptions(quant="q8", context=256, threads=1)


def write_models(sources, folder):
    """Write two packed models that generate, one that embeds, and one that scores."""
    for seed, name in enumerate(("a", "b")):
        write_checkpoint(sources / name, seed=seed)
        qwen3cpu.pack(sources / name, folder / f"{name}.qwen3", "q8", threads=1)
    write_embedding_model(sources / "vectors")
    qwen3cpu.pack(sources / "vectors", folder / "vectors.qwen3", "q8", threads=1)
    write_scoring_model(folder / "scores-reranker", (5, 6))


@contextmanager
def in_use(server, model):
    """Keeps a model in use by an answer that makes no step."""
    server.ok(GENERATE, model=model, prompt="")
    (held,) = server.lender.loaded()
    gate, batch = threading.Event(), held.service.scheduler._batch
    advance = batch.advance
    batch.advance = lambda: gate.wait() and advance()
    body = {"model": model, "messages": QUESTION, "stream": True, "ignore_eos": True}
    try:
        with server.http.stream("POST", CHAT, json=body) as response:
            assert response.status_code == 200
            yield
    finally:
        gate.set()
