"""`qwen3cpu serve`: the OpenAI-compatible server."""

from __future__ import annotations

import argparse
import gc
import os
from typing import TYPE_CHECKING

from qwen3cpu.cli.commands import Commands
from qwen3cpu.cli.terminal import note
from qwen3cpu.errors import ArgumentError

if TYPE_CHECKING:
    from qwen3cpu.model import Model
    from qwen3cpu.server.settings import Settings


def add_command(commands: Commands) -> None:
    """Add the command to the command line."""
    from qwen3cpu.cli.options import add_model_flags, add_task_flag

    parser = commands.add_parser(
        "serve",
        help="serve a model to OpenAI's clients and on a chat page",
        allow_abbrev=False,
        description="Serve a model over HTTP as OpenAI's API does: a chat page at / and answers, or the vectors of an "
        "embedding model, or the scores of a reranker. Needs the extra [server].",
    )
    add_model_flags(parser)
    add_task_flag(parser)
    group = parser.add_argument_group("address")
    group.add_argument("--host", default="127.0.0.1", help="default: %(default)s, this machine only")
    group.add_argument("--port", type=int, default=8000, help="default: %(default)s; 0 for any free one")
    group.add_argument("--model-name", metavar="ID", help="the model's id for clients (default: from --model)")
    group.add_argument(
        "--api-key", metavar="KEY", help="what clients have to send (default: QWEN3CPU_API_KEY, else none is needed)"
    )
    group.add_argument(
        "--cors-origin", action="append", metavar="URL", help="let web pages of this origin use the server; * for all"
    )
    group.add_argument(
        "--allowed-host",
        action="append",
        metavar="NAME",
        help="answer requests for this host name too, on a server for this machine only",
    )
    group.add_argument("--access-log", action="store_true", help="print a line for each request")
    limits = parser.add_argument_group("limits")
    limits.add_argument("--parallel", type=int, default=16, metavar="N", help="answers side by side (default: 16)")
    limits.add_argument("--queue", type=int, default=64, metavar="N", help="requests that may wait (default: 64)")
    limits.add_argument(
        "--kv-memory", metavar="SIZE", help="memory of the KV cache, as 800M or 4G (default: half of what is free)"
    )
    limits.add_argument(
        "--timeout", type=float, default=1800.0, metavar="S", help="seconds of a request (default: 1800)"
    )
    limits.add_argument(
        "--grace", type=float, default=30.0, metavar="S", help="seconds to finish in when stopped (default: 30)"
    )
    parser.set_defaults(run=run_serve)


def run_serve(args: argparse.Namespace) -> int:
    """`qwen3cpu serve`."""
    try:
        from qwen3cpu.server.api.common import ENDPOINTS, IS_A
        from qwen3cpu.server.app import make_app
        from qwen3cpu.server.serve import HttpServer, listen
    except ImportError as missing:
        raise ArgumentError(f"serving needs more packages ({missing.name}): pip install 'qwen3cpu[server]'") from None
    from qwen3cpu.cli.options import DEFAULT_MODEL, open_model
    from qwen3cpu.system.allocator import return_large_blocks

    return_large_blocks()
    if not 0 <= args.port <= 65535:
        raise ArgumentError(f"--port: expected 0 to 65535, found {args.port}")
    listener = listen(args.host, args.port)  # before the model is loaded: a port that is taken shows at once
    with listener:
        model = open_model(args)
        # Python's search for cycles stops all answers: without what is there from the start it takes no 30 ms.
        gc.collect()
        gc.freeze()
        host, port = listener.getsockname()[:2]
        app = make_app(model, make_settings(args, model, args.model or DEFAULT_MODEL, address=host))
        name = app.state.service.settings.model_name
        made_for = "" if model.task == "generation" else f" ({IS_A[model.task]}: {ENDPOINTS[model.task]})"
        note(f"qwen3cpu: serving {name} on http://{_in_url(host)}:{port}{made_for}")
        server = HttpServer(
            app, grace=args.grace, access_log=args.access_log, tell=lambda line: note(f"qwen3cpu: {line}")
        )
        server.run(sockets=[listener])
    return 0


def make_settings(args: argparse.Namespace, model: Model, source: str, *, address: str) -> Settings:
    """The settings that the flags stand for.

    Args:
        args: the flags.
        model: that is served.
        source: where it was loaded from.
        address: on which the server listens.

    Raises:
        ArgumentError: a value that is not allowed.
    """
    from qwen3cpu.cli.options import memory_size, model_id
    from qwen3cpu.server.hosts import is_loopback
    from qwen3cpu.server.settings import Settings

    for name in ("parallel", "queue"):
        if getattr(args, name) < 1:
            raise ArgumentError(f"--{name}: expected at least 1, found {getattr(args, name)}")
    for name, least in (("timeout", 0.001), ("grace", 0.0)):
        if not least <= getattr(args, name) < 1e9:
            raise ArgumentError(f"--{name}: expected seconds, found {getattr(args, name)}")
    key = args.api_key if args.api_key is not None else os.environ.get("QWEN3CPU_API_KEY")
    if key is not None and not (key and key.isascii() and key.isprintable() and " " not in key):
        raise ArgumentError("--api-key: expected printable ASCII characters without spaces")
    local = is_loopback(address)
    hosts = ("localhost", *(args.allowed_host or ())) if local else ()
    if not local and key is None:
        note(f"qwen3cpu: anyone who can reach {args.host} may use this server; --api-key asks for a key")
    return Settings(
        model_name=args.model_name or model_id(source),
        api_key=key,
        cors_origins=tuple(args.cors_origin or ()),
        hosts=hosts,
        parallel=args.parallel,
        queue=args.queue,
        kv_bytes=None if args.kv_memory is None else memory_size("--kv-memory", args.kv_memory),
        timeout=args.timeout,
        grace=args.grace,
    )


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
