"""Measure a server: the throughput of several streams and of one, and a stream's gaps while a long prompt runs.

    python bench/serve.py --model FOLDER [--streams 8] [--tokens 64] [--prompt 4000] [--json]

The server runs in a process of its own, as users run it; figures are those of a client on the same machine.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import socket
import subprocess
import sys
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any

import httpx

from qwen3cpu.bench.machine import Machine

WORDS = ("river", "stone", "cloud", "lamp", "tree", "road", "wind", "door")


@dataclass
class Stream:
    """When the events of one answer arrived, in seconds of perf_counter."""

    asked: float
    arrivals: list[float]

    @property
    def gaps(self) -> list[float]:
        """Seconds between one token and the next."""
        return [later - earlier for earlier, later in zip(self.arrivals, self.arrivals[1:], strict=False)]


async def ask(http: httpx.AsyncClient, prompt: list[int], tokens: int, seed: int = 0) -> Stream:
    """Stream a completion of exactly `tokens` tokens. With log-probabilities, every token makes an event."""
    body = {"prompt": prompt, "max_tokens": tokens, "seed": seed, "ignore_eos": True, "stream": True, "logprobs": 0}
    stream = Stream(perf_counter(), [])
    async with http.stream("POST", "/v1/completions", json=body) as response:
        if response.status_code != 200:
            raise SystemExit((await response.aread()).decode())
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                stream.arrivals.append(perf_counter())
    return stream


def prompt_of(length: int, number: int) -> list[int]:
    """Token ids that have no beginning in common with those of another number."""
    return [100 + (7 * place + 131 * number) % 800 for place in range(length)]


async def throughput(http: httpx.AsyncClient, streams: int, tokens: int, number: int) -> float:
    """Tokens a second of several streams together, from the first token of any to the last of all."""
    found = await asyncio.gather(*(ask(http, prompt_of(16, number + i), tokens, i) for i in range(streams)))
    begin = min(stream.arrivals[0] for stream in found)
    end = max(stream.arrivals[-1] for stream in found)
    return (sum(len(stream.arrivals) for stream in found) - streams) / (end - begin)


async def gaps_beside_a_prompt(http: httpx.AsyncClient, length: int, number: int) -> dict[str, float]:
    """The longest gap of a running stream while a prompt is processed, and the seconds of the prompt."""
    body = {"prompt": prompt_of(8, number), "max_tokens": 4000, "ignore_eos": True, "stream": True, "logprobs": 0}
    arrivals: list[float] = []
    async with http.stream("POST", "/v1/completions", json=body) as response:
        lines = response.aiter_lines()
        async for line in lines:
            if line.startswith("data: {"):
                arrivals.append(perf_counter())
                if len(arrivals) == 8:
                    break
        prompt = asyncio.create_task(ask(http, prompt_of(length, number + 1), 1))
        async for line in lines:
            if line.startswith("data: {"):
                arrivals.append(perf_counter())
            if prompt.done():
                break
    joined = await prompt
    during = [
        later - earlier
        for earlier, later in itertools.pairwise(arrivals)
        if later > joined.asked and earlier < joined.arrivals[0]
    ]
    return {
        "longest_gap_seconds": max(during),
        "tokens_meanwhile": float(len(during)),
        "prompt_seconds": joined.arrivals[0] - joined.asked,
    }


async def measure(url: str, args: argparse.Namespace) -> dict[str, Any]:
    """All figures, for a server that is ready."""
    async with httpx.AsyncClient(base_url=url, timeout=3600) as http:
        await throughput(http, 1, 8, 900)  # touches pages and starts threads
        one, several = [], []
        for run in range(args.runs):
            one.append(await throughput(http, 1, args.tokens, 100 * run))
            several.append(await throughput(http, args.streams, args.tokens, 100 * run + 10))
        gaps = [await gaps_beside_a_prompt(http, args.prompt, 10_000 + 10 * run) for run in range(args.runs)]
    ratios = [together / alone for together, alone in zip(several, one, strict=True)]
    return {
        "machine": asdict(Machine.here()),
        "model": args.model,
        "streams": args.streams,
        "one_stream_tokens_per_second": one,
        "all_streams_tokens_per_second": several,
        "ratio": ratios,
        "prompt_tokens": args.prompt,
        "beside_a_prompt": gaps,
    }


def wait_until_ready(url: str, server: subprocess.Popen[bytes]) -> None:
    """Return when the server answers."""
    while True:
        if server.poll() is not None:
            raise SystemExit(f"the server ended with exit code {server.returncode}")
        try:
            httpx.get(f"{url}/health", timeout=3600).raise_for_status()
            return
        except httpx.TransportError:
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(0.2)


def main() -> None:
    """Start a server, measure it, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=64, help="tokens of each answer")
    parser.add_argument("--prompt", type=int, default=4000, help="tokens of the long prompt")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--quant")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "qwen3cpu", "serve", "--model", args.model, "--port", str(port)]
    command += ["--threads", str(args.threads)] if args.threads else []
    command += ["--quant", args.quant] if args.quant else []
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(url, server)
        found = asyncio.run(measure(url, args))
    finally:
        server.terminate()
        server.wait()
    if args.json:
        print(json.dumps(found, indent=1))
        return
    for alone, together, ratio in zip(
        found["one_stream_tokens_per_second"], found["all_streams_tokens_per_second"], found["ratio"], strict=True
    ):
        print(f"1 stream {alone:7.2f} tok/s   {args.streams} streams {together:7.2f} tok/s   ratio {ratio:5.2f}")
    for gaps in found["beside_a_prompt"]:
        print(
            f"prompt of {args.prompt} tokens in {gaps['prompt_seconds']:.1f} s: longest gap of a running stream "
            f"{gaps['longest_gap_seconds']:.3f} s, {gaps['tokens_meanwhile']:.0f} tokens meanwhile"
        )


if __name__ == "__main__":
    main()
