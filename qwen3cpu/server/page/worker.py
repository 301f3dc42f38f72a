"""A process that renders texts and reads files for the page, with limits of processor time and memory.

`workers.py` starts it, with `python -m qwen3cpu.server.page.worker`. Requests and replies are JSON on its standard
input and output, each after its length in four bytes. The limit of time counts only the processor time of this process.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import sys
from collections.abc import Callable
from typing import IO, Any

from qwen3cpu.errors import Qwen3CpuError
from qwen3cpu.system.process_limits import limit_own, step_back

NICENESS = 10
"""With this niceness, a thread that generates tokens gets nine times the processor time of a worker."""
MOST_TEXT = 4 << 20
"""The largest number of characters that are returned of a file's text."""


def _render(request: dict[str, Any]) -> dict[str, Any]:
    from qwen3cpu.server.page.markdown import render

    found = render(request["text"], request["definitions"])
    return {**found._asdict(), "blocks": [block._asdict() for block in found.blocks]}


def _extract(request: dict[str, Any]) -> dict[str, Any]:
    from qwen3cpu.search.files import parts

    found = parts(base64.b64decode(request["data"]))
    text = "\n\n".join(part.text.strip() for part in found)
    return {"text": text[:MOST_TEXT], "pages": len(found), "cut": len(text) > MOST_TEXT}


JOBS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {"render": _render, "extract": _extract}


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """The reply to a request. If it fails, the reply has only `error`, with the reason."""
    limit_own(request["seconds"], request["bytes"])
    try:
        return JOBS[request["job"]](request)
    except Qwen3CpuError as error:
        return {"error": str(error)}
    except (MemoryError, RecursionError):
        return {"error": "it needs too much memory"}
    finally:
        limit_own(0, None)


def receive(pipe: IO[bytes]) -> bytes | None:
    """Read the next message; None at the end."""
    head = pipe.read(4)
    if len(head) < 4:
        return None
    size = int.from_bytes(head, "little")
    data = pipe.read(size)
    return data if len(data) == size else None


def send(pipe: IO[bytes], data: bytes) -> None:
    """Send a message."""
    pipe.write(len(data).to_bytes(4, "little") + data)
    pipe.flush()


def main() -> None:
    """Answer requests until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is handled by the server, which ends this process
    step_back(NICENESS)
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # output of a library must not get between the replies
    while (data := receive(sys.stdin.buffer)) is not None:
        send(replies, json.dumps(answer(json.loads(data)), ensure_ascii=False).encode("utf-8", "replace"))


if __name__ == "__main__":
    main()
