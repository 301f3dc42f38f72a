"""Measure packing a released model with `--low-disk`: peak memory, peak disk space of its weight files, seconds.

    python bench/low_disk.py FOLDER [--size 30B-A3B] [--layers 48] [--shards 16] [--threads 2]

A stand-in for the hub in a process of its own serves the checkpoint in BF16, with random weights that are made while
they are sent. `qwen3cpu quantize` packs it into FOLDER, which holds all files. The packed file is removed at the end.
Linux only.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from qwen3cpu.bench.errors import BenchError
from qwen3cpu.checkpoint.config import ModelConfig
from qwen3cpu.checkpoint.known_models import SHAPES, shaped_values
from qwen3cpu.checkpoint.tensors import tensors_of
from qwen3cpu.loading.random_weights import synthetic_checkpoint

REPOSITORY = "random/weights"
COMMIT = "0" * 40
BLOCK = (64 << 20) + 2 * 4099
"""Bytes after which the weights repeat; no size of a matrix divides it."""


class Served:
    """A file of the repository. size in bytes; digest: SHA-256."""

    def __init__(self, start: bytes, length: int, block: memoryview, first: int) -> None:
        """start: its first bytes. `length` bytes of weights follow, from place `first` of the block on."""
        self._start, self._block, self._first = start, block, first
        self.size = len(start) + length
        digest = hashlib.sha256()
        for piece in self.pieces(0):
            digest.update(piece)
        self.digest = digest.hexdigest()

    def pieces(self, first: int) -> Iterator[memoryview]:
        """The contents from byte `first` on."""
        if first < len(self._start):
            yield memoryview(self._start)[first:]
        at = max(first, len(self._start))
        while at < self.size:
            place = (self._first + at - len(self._start)) % len(self._block)
            piece = self._block[place : place + self.size - at]
            yield piece
            at += len(piece)


def repository(size: str, layers: int, shards: int) -> dict[str, Served]:
    """The files of a checkpoint of a released shape."""
    values = shaped_values(SHAPES[size]._replace(layers=layers), 40960)
    sizes = {each.name: each.shape for each in tensors_of(ModelConfig.from_dict(values, size))}
    total = sum(2 * int(np.prod(shape)) for shape in sizes.values())
    files: list[dict[str, object]] = [{} for _ in range(shards)]
    ends, weight_map, before = [0] * shards, {}, 0
    for name, shape in sizes.items():
        number, length = before * shards // total, 2 * int(np.prod(shape))
        first = ends[number]
        files[number][name] = {"dtype": "BF16", "shape": shape, "data_offsets": [first, first + length]}
        weight_map[name] = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        ends[number], before = first + length, before + length
    random = np.random.default_rng(0).standard_normal(BLOCK // 2, np.float32) * np.float32(0.02)
    block = memoryview((random.view(np.uint32) >> np.uint32(16)).astype(np.uint16)).cast("B")
    texts = {
        "config.json": json.dumps(values).encode(),
        "tokenizer.json": synthetic_checkpoint("test", threads=1).tokenizer_json,
        "tokenizer_config.json": b"{}",
        "model.safetensors.index.json": json.dumps({"weight_map": weight_map}).encode(),
    }
    found = {name: Served(text, 0, block, 0) for name, text in texts.items()}
    for number, (entries, end) in enumerate(zip(files, ends, strict=True)):
        header = json.dumps(entries).encode()
        start = len(header).to_bytes(8, "little") + header
        found[f"model-{number + 1:05}-of-{shards:05}.safetensors"] = Served(start, end, block, 2 * 1_000_003 * number)
    return found


def serve(size: str, layers: int, shards: int, tell: Connection) -> None:
    """Be the hub for ever. Sends its port to `tell`."""
    files = repository(size, layers, shards)
    siblings = [
        {"rfilename": name, "size": file.size, "lfs": {"sha256": file.digest, "size": file.size, "pointerSize": 0}}
        for name, file in files.items()
    ]

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            name = path.removeprefix(f"/{REPOSITORY}/resolve/{COMMIT}/")
            if path == f"/api/models/{REPOSITORY}":
                about = {"id": REPOSITORY, "sha": COMMIT, "siblings": siblings}
                self._send(Served(json.dumps(about).encode(), 0, memoryview(b""), 0))
            elif name in files:
                self._send(files[name])
            else:
                self.send_error(404)

        def _send(self, file: Served) -> None:
            asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
            first = int(asked[1]) if asked else 0
            self.send_response(206 if asked else 200)
            if asked:
                self.send_header("Content-Range", f"bytes {first}-{file.size - 1}/{file.size}")
            self.send_header("Content-Length", str(file.size - first))
            self.end_headers()
            try:
                for piece in file.pieces(first):
                    self.wfile.write(piece)
            except ConnectionError:
                pass  # the client closed the connection

        def log_message(self, *args: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    tell.send((httpd.server_address[1], sum(file.size for file in files.values())))
    httpd.serve_forever()


def memory(process: int) -> dict[str, int]:
    """Bytes of a process: VmHWM, its largest resident memory, and RssAnon, the resident memory without a file."""
    text = Path(f"/proc/{process}/status").read_text()
    return {name: int(kilobytes) * 1024 for name, kilobytes in re.findall(r"(VmHWM|RssAnon):\s+(\d+)", text)}


def shard_bytes(folder: Path, process: int) -> int:
    """Bytes of the weight files below a folder, and of those that are deleted and still mapped."""
    present = sum(path.stat().st_size for path in folder.rglob("*.safetensors*"))
    deleted = re.findall(r"(\w+)-(\w+) \S+ \S+ \S+ \d+ +\S+\.safetensors \(deleted\)", maps_of(process))
    return present + sum(int(last, 16) - int(first, 16) for first, last in deleted)


def maps_of(process: int) -> str:
    """The text of a process's memory maps."""
    return Path(f"/proc/{process}/maps").read_text()


def measure(folder: Path, address: str, threads: int, checkpoint: int) -> None:
    """Pack, and print a row of a table. Raises BenchError."""
    out = folder / "packed.qwen3"
    hub = {"HF_ENDPOINT": address, "HF_HOME": str(folder / "hf"), "HF_HUB_DISABLE_TELEMETRY": "1"}
    variables = {**os.environ, **hub, "NO_PROXY": "127.0.0.1"}
    command = ["-m", "qwen3cpu", "quantize", REPOSITORY, str(out), "--low-disk", "--threads", str(threads)]
    start = time.monotonic()
    process = subprocess.Popen([sys.executable, *command], env=variables, stdout=subprocess.PIPE)
    most = {"VmHWM": 0, "RssAnon": 0, "shards": 0}
    while process.poll() is None:
        try:
            now = {**memory(process.pid), "shards": shard_bytes(folder, process.pid)}
        except OSError:
            continue  # a file was deleted, or the process ended, in between
        most = {name: max(each, now.get(name, 0)) for name, each in most.items()}
        time.sleep(0.25)
    seconds = time.monotonic() - start
    if process.returncode:
        raise BenchError(f"qwen3cpu quantize ended with {process.returncode}")
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    row = {
        "checkpoint": f"{checkpoint / 1e9:.1f} GB",
        "packed": f"{out.stat().st_size / 1e9:.2f} GB",
        "seconds": f"{seconds:.0f}",
        "of a processor": f"{spent.ru_utime + spent.ru_stime:.0f}",
        "most memory": f"{most['VmHWM'] / 1e6:.0f} MB",
        "of it no file's": f"{most['RssAnon'] / 1e6:.0f} MB",
        "most disk of weight files": f"{most['shards'] / 1e9:.2f} GB",
    }
    for cells in (row, ["---"] * len(row), row.values()):
        print(f"| {' | '.join(cells)} |")


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", choices=tuple(SHAPES), default="30B-A3B", help="shape (default: %(default)s)")
    parser.add_argument("--layers", type=int, help="fewer layers than the shape has")
    parser.add_argument("--shards", type=int, default=16, help="files of weights (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="(default: %(default)s)")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    mine, its = multiprocessing.Pipe()
    layers = args.layers or SHAPES[args.size].layers
    hub = multiprocessing.Process(target=serve, args=(args.size, layers, args.shards, its), daemon=True)
    hub.start()
    its.close()
    try:
        port, checkpoint = mine.recv()
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            measure(Path(folder), f"http://127.0.0.1:{port}", args.threads, checkpoint)
    except (BenchError, EOFError) as reason:
        print(f"low_disk: {reason}", file=sys.stderr)
        return 2
    finally:
        hub.terminate()
    return 0


if __name__ == "__main__":
    sys.exit(main())
