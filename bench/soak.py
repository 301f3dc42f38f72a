"""Load a server with requests of all kinds for a given time, and report leaks, losses, delays and wrong answers.

    python bench/soak.py --minutes 60                        # the embedded model
    python bench/soak.py --minutes 10 --model FOLDER
    python bench/soak.py --warm-up 25000 --minutes 20 --beside tiny-embedding --memory 24M    # two that take turns
    python bench/soak.py --flood                             # a one-token chat during 2 MB texts and hostile schemas

The server runs in a process of its own with a small KV cache, so that answers are preempted. Every answer with a seed
is compared with the answer that the same request got alone at the start. After each tenth of the time the load pauses
for a moment. The memory at rest is what the server keeps; under load its memory varies with the 2 MB texts in flight.
If two models take turns, the chat model is loaded again before each rest. Exit code 1: memory at rest grew, an open
file or a KV block is left over, or there was a 5xx or a wrong answer.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import socket
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Any

import httpx
from serve import wait_until_ready
from soak_requests import HOSTILE_SCHEMAS, seeded_bodies, told

from qwen3cpu.bench.machine import Machine
from qwen3cpu.system.progress_bar import Progress

MOST_GROWTH = 1.02
"""Most memory at rest after the last tenth of the time, divided by that after the first."""
TENTHS = 10
REST_SECONDS = 25.0
"""Seconds without a request, because a server returns free pages every ten seconds."""
# Endpoints of all APIs that take messages and stream answers to them.
STREAMS = ("/v1/chat/completions", "/v1/messages", "/api/chat")
WORDS = ("river", "stone", "cloud", "lamp", "tree", "road", "wind", "door", "glass", "bread")


@dataclass
class Record:
    """The results so far."""

    requests: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    longest: dict[str, float] = field(default_factory=dict)
    """Seconds of the slowest request of a kind."""
    memory: list[tuple[float, int]] = field(default_factory=list)
    """(seconds since the start, bytes of resident memory) of the server, under load."""
    at_rest: list[tuple[int, int]] = field(default_factory=list)
    """(bytes of resident memory, open files) after each tenth of the time."""


def total(lines: list[str], name: str) -> int:
    """The sum of a metric over all models."""
    found = (line.rsplit(" ", 1) for line in lines if line.startswith((f"{name} ", f"{name}{{")))
    return sum(int(float(value)) for _, value in found)


class Load:
    """The clients of one server.

    Args:
        url: of the server.
        process: its process id, for memory and open files.
        record: receives the results.
        beside: a model of the same server that makes vectors, or None.
    """

    def __init__(self, url: str, process: int, record: Record, beside: str | None) -> None:
        self._http = httpx.AsyncClient(base_url=url, timeout=600, limits=httpx.Limits(max_connections=200))
        self._process = process
        self._record = record
        self._beside = beside
        self._vectors: list[tuple[str, list[float]]] = []
        self._expected: list[tuple[dict[str, Any], str]] = []
        self._start = monotonic()

    async def prepare(self) -> None:
        """Send every seeded request alone. Requests with tools go only to a model that can call them."""
        for body in seeded_bodies():
            response = await self._http.post("/v1/chat/completions", json=body)
            if response.status_code == 400 and "tools" in body:
                continue  # the model has no tokens for calls of tools
            self._expected.append((body, told(response.raise_for_status().json())))
        for number in range(8 if self._beside else 0):
            text = " ".join(random.Random(number).choices(WORDS, k=10 * number + 1))
            response = await self._http.post("/v1/embeddings", json={"input": text, "model": self._beside})
            self._vectors.append((text, response.raise_for_status().json()["data"][0]["embedding"]))

    async def run(self, seconds: float, warm_up: int) -> None:
        """Run all kinds of clients for `seconds`, after `warm_up` requests, with a rest after each tenth."""
        self._start = monotonic()
        kinds = [self._seeded] * 6 + [self._stream] * 3 + [self._cancel] * 3
        kinds += [self._long_prompt, self._text_endpoints, self._nonsense, self._flood, self._hostile]
        kinds += [self._vector] if self._beside else []
        rngs = [random.Random(number) for number in range(len(kinds))]

        async def client(kind: Any, rng: random.Random, end: float) -> None:
            while monotonic() < end:
                started = monotonic()
                await kind(rng)
                name = kind.__name__.strip("_")
                self._record.requests[name] += 1
                self._record.longest[name] = max(self._record.longest.get(name, 0.0), monotonic() - started)

        with Progress("Warming up", None):
            while (missing := warm_up - self._record.requests.total()) > 0:
                end = monotonic() + min(10.0, missing / 10)
                await asyncio.gather(*(client(kind, rng, end) for kind, rng in zip(kinds, rngs, strict=True)))
        self._start = monotonic()
        with Progress("Soaking", round(seconds), unit="s") as progress:
            shown = 0

            async def watch(end: float) -> None:
                nonlocal shown
                while (now := monotonic()) < end:
                    self._record.memory.append((now - self._start, self._memory()))
                    progress.advance(round(now - self._start) - shown)
                    shown = round(now - self._start)
                    await asyncio.sleep(min(max(1.0, seconds / 500), end - now))

            for tenth in range(1, TENTHS + 1):
                end = self._start + seconds * tenth / TENTHS
                clients = (client(kind, rng, end) for kind, rng in zip(kinds, rngs, strict=True))
                await asyncio.gather(watch(end), *clients)
                rest = monotonic()
                await self._settle()
                await asyncio.sleep(REST_SECONDS)
                files = len(list(Path(f"/proc/{self._process}/fd").iterdir()))
                self._record.at_rest.append((self._memory(), files))
                self._start += monotonic() - rest

    async def _settle(self) -> None:
        """If two models take turns, load the chat model again, so that memory at rest is always that of this model."""
        if self._beside:
            await self._post("/v1/embeddings", {"input": WORDS[0], "model": self._beside})
            await self.one_token()

    def _memory(self) -> int:
        """Bytes of the server's resident memory."""
        status = Path(f"/proc/{self._process}/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS:"))

    async def leaked_blocks(self) -> int:
        """Blocks of the KV cache that neither an answer nor the prefix cache holds, once all is quiet."""
        for _ in range(100):
            lines = (await self._http.get("/metrics")).text.splitlines()
            leaked = total(lines, "qwen3cpu_kv_blocks_in_use") - total(lines, "qwen3cpu_kv_blocks_cached")
            if leaked == 0 and total(lines, "qwen3cpu_answers_running") == 0:
                return 0
            await asyncio.sleep(0.1)
        return leaked

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _post(self, path: str, body: Any, **options: Any) -> httpx.Response | None:
        try:
            response = await self._http.post(path, json=body, **options)
        except httpx.HTTPError as error:
            self._record.statuses[0] += 1
            self._record.wrong.append(f"{path}: {type(error).__name__}: {error}")
            return None
        self._record.statuses[response.status_code] += 1
        if response.status_code >= 500 and response.status_code != 503:
            self._record.wrong.append(f"{path}: {response.status_code} {response.text[:300]}")
        return response

    async def _seeded(self, rng: random.Random) -> None:
        body, expected = rng.choice(self._expected)
        response = await self._post("/v1/chat/completions", body)
        if response is not None and response.status_code == 200 and told(response.json()) != expected:
            self._record.wrong.append(f"seed {body['seed']}: expected {expected[:300]}, found {response.text[:300]}")

    async def _vector(self, rng: random.Random) -> None:
        text, expected = rng.choice(self._vectors)
        response = await self._post("/v1/embeddings", {"input": text, "model": self._beside})
        found = response.json()["data"][0]["embedding"] if response is not None and response.is_success else expected
        if found != expected:
            self._record.wrong.append(f"another vector for {text[:100]!r}")
        await asyncio.sleep(0.2)

    async def _stream(self, rng: random.Random) -> None:
        text = " ".join(rng.choices(WORDS, k=rng.randrange(1, 30)))
        body = {"messages": [{"role": "user", "content": text}], "max_tokens": 40}
        await self._read_stream(rng.choice(STREAMS), body, None)

    async def _cancel(self, rng: random.Random) -> None:
        """Hang up in the middle of an answer."""
        body = {"messages": [{"role": "user", "content": rng.choice(WORDS)}], "max_tokens": 400, "ignore_eos": True}
        await self._read_stream(rng.choice(STREAMS), body, rng.randrange(0, 20))

    async def _read_stream(self, path: str, body: dict[str, Any], most: int | None) -> None:
        try:
            async with self._http.stream("POST", path, json={**body, "stream": True}) as response:
                self._record.statuses[response.status_code] += 1
                count = 0
                async for line in response.aiter_lines():
                    count += line.startswith(("data:", "{"))
                    if most is not None and count > most:
                        return
        except httpx.HTTPError as error:
            self._record.wrong.append(f"stream: {type(error).__name__}: {error}")

    async def _long_prompt(self, rng: random.Random) -> None:
        prompt = [rng.randrange(100, 300) for _ in range(rng.randrange(200, 450))]
        await self._post("/v1/completions", {"prompt": prompt, "max_tokens": 2, "logprobs": 1, "echo": True})
        await asyncio.sleep(0.2)

    async def _text_endpoints(self, rng: random.Random) -> None:
        text = " ".join(rng.choices(WORDS, k=500))
        response = await self._post("/tokenize", {"prompt": text, "return_token_strs": True})
        if response is not None and response.status_code == 200:
            await self._post("/detokenize", {"tokens": response.json()["tokens"]})
        await asyncio.sleep(0.2)

    async def _nonsense(self, rng: random.Random) -> None:
        """Send bodies that must be refused."""
        body = rng.choice(({}, {"messages": []}, {"messages": 1}, {"messages": [{"role": "x"}]}, [1], {"prompt": None}))
        await self._post(rng.choice((*STREAMS, "/v1/completions", "/v1/responses", "/api/generate")), body)
        await asyncio.sleep(0.05)

    async def _flood(self, rng: random.Random) -> None:
        """Send a text far longer than the context."""
        body = {"messages": [{"role": "user", "content": rng.choice(WORDS) * 400_000}], "max_tokens": 1}
        await self._post("/v1/chat/completions", body)
        await asyncio.sleep(1.0)

    async def _hostile(self, rng: random.Random) -> None:
        """Send a schema that is designed to take long."""
        schema = {**rng.choice(HOSTILE_SCHEMAS), "title": str(rng.random())}
        kind = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}
        body = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 8, "response_format": kind}
        await self._post("/v1/chat/completions", body)
        await asyncio.sleep(1.0)

    async def one_token(self) -> float:
        """Seconds of a chat of one token."""
        start = monotonic()
        body = {"messages": [{"role": "user", "content": "What is 1 + 1?"}], "max_tokens": 1}
        await self._post("/v1/chat/completions", body)
        return monotonic() - start

    async def beside_a_flood(self, texts: int, schemas: int, chats: int) -> tuple[list[float], list[float]]:
        """Seconds of one-token chats, alone and together with clients that send 2 MB texts and hostile schemas."""
        alone = [await self.one_token() for _ in range(chats)]
        done = asyncio.Event()
        rngs = [random.Random(number) for number in range(texts + schemas)]

        async def client(number: int) -> None:
            kind = self._flood if number < texts else self._hostile
            while not done.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await kind(rngs[number])

        clients = [asyncio.create_task(client(number)) for number in range(texts + schemas)]
        await asyncio.sleep(1.0)
        beside = []
        for _ in range(chats):
            beside.append(await self.one_token())
            await asyncio.sleep(0.3)
        done.set()
        await asyncio.gather(*clients)
        return alone, beside


def report(record: Record, leaked: int, seconds: float) -> tuple[dict[str, Any], bool]:
    """The figures, and whether there was no fault. seconds: duration of the load."""
    tenths = [
        [resident for at, resident in record.memory if number * seconds <= TENTHS * at < (number + 1) * seconds]
        for number in range(TENTHS)
    ]
    at_rest = [resident for resident, _ in record.at_rest]
    growth = at_rest[-1] / at_rest[0]
    fives = {status: count for status, count in record.statuses.items() if status >= 500 and status != 503}
    figures = {
        "requests": dict(record.requests),
        "statuses": {str(status): count for status, count in sorted(record.statuses.items())},
        "longest_seconds": {name: round(value, 3) for name, value in record.longest.items()},
        "memory_mb_at_rest": [round(resident / 1e6, 1) for resident in at_rest],
        "memory_growth": round(growth, 4),
        "open_files_at_rest": [files for _, files in record.at_rest],
        "memory_mb_by_tenths": [round(median(values) / 1e6, 1) for values in tenths],
        "least_mb_by_tenths": [round(min(values) / 1e6, 1) for values in tenths],
        "largest_mb_by_tenths": [round(max(values) / 1e6, 1) for values in tenths],
        "leaked_blocks": leaked,
        "wrong": record.wrong[:20],
        "wrong_count": len(record.wrong),
    }
    return figures, growth <= MOST_GROWTH and leaked == 0 and not record.wrong and not fives


async def soak(url: str, process: int, args: argparse.Namespace) -> bool:
    """Load the server, print the figures."""
    record = Record()
    load = Load(url, process, record, args.beside)
    about = {name: getattr(args, name) for name in ("beside", "memory", "kv_memory", "warm_up")}
    about |= {"machine": Machine.here().__dict__, "model": Path(args.model).name}
    await load.prepare()
    if args.flood:
        alone, beside = await load.beside_a_flood(12, 6, 20)
        figures = {"alone_seconds": _spread(alone), "beside_seconds": _spread(beside), "wrong": record.wrong}
        print(json.dumps({**about, **figures}, indent=1))
        await load.close()
        return not record.wrong
    await load.run(args.minutes * 60, args.warm_up)
    leaked = await load.leaked_blocks()
    await load.close()
    figures, well = report(record, leaked, args.minutes * 60)
    print(json.dumps({**about, "minutes": args.minutes, **figures}, indent=1))
    return well


def _spread(values: list[float]) -> dict[str, float]:
    return {"least": min(values), "median": median(values), "largest": max(values)}


def main() -> int:
    """Start a server, load it; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--warm-up", type=int, default=0, metavar="N", help="requests before the time begins")
    parser.add_argument("--kv-memory", default="16M", help="of the server (default: %(default)s, little for `tiny`)")
    parser.add_argument("--beside", metavar="MODEL", help="an embedding model in the same server")
    parser.add_argument("--memory", metavar="SIZE", help="of all models; when two do not fit, they take turns")
    parser.add_argument("--flood", action="store_true", help="measure a one-token chat during floods instead")
    parser.add_argument("--log", default=os.devnull, help="file for the server's output (default: none)")
    args = parser.parse_args()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "qwen3cpu", "serve", "--queue", "256", "--port", str(port)]
    flags = [("--model", args.model), ("--model", args.beside), ("--memory", args.memory)]
    for name, value in [*flags, ("--kv-memory", args.kv_memory)]:
        command += [name, value] if value else []
    with open(args.log, "wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(url, server)
        return 0 if asyncio.run(soak(url, server.pid, args)) else 1
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    sys.exit(main())
