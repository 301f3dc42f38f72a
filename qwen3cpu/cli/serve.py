"""`qwen3cpu serve`: the server for clients of OpenAI, Ollama and Anthropic."""

from __future__ import annotations

import argparse
import gc
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from qwen3cpu.cli.commands import Commands
from qwen3cpu.cli.terminal import note
from qwen3cpu.errors import ArgumentError
from qwen3cpu.system.paths import checked_path

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from qwen3cpu.server.models.catalog import Catalog
    from qwen3cpu.server.models.offers import StoredModel
    from qwen3cpu.server.page.tools import PageTools
    from qwen3cpu.server.settings import Settings

MOST_NAMED = 5
"""The number of models that the line at the start names at most."""


def add_command(commands: Commands) -> None:
    """Add the command to the command line."""
    from qwen3cpu.cli.mcp import add_mcp_flags
    from qwen3cpu.cli.options import add_adapter_flag, add_model_flags, add_task_flag

    parser = commands.add_parser(
        "serve",
        help="serve models to OpenAI's clients and on a chat page",
        allow_abbrev=False,
        description="Serve models over HTTP with OpenAI's API: answers, the vectors of an embedding model, the scores "
        "of a reranker. A chat page is at /. Needs the extra [server].",
    )
    add_model_flags(parser, several=True)
    add_task_flag(parser)
    add_adapter_flag(parser, several=True)
    parser.add_argument(
        "--draft",
        action="append",
        metavar="[NAME=]MODEL",
        help="a smaller model with the same tokenizer, which drafts tokens for the served model NAME (default: the "
        "first one); may be repeated",
    )
    parser.add_argument(
        "--drafts-from",
        action="append",
        metavar="[NAME=]FILE",
        help="a file that `qwen3cpu drafts` wrote; tokens for NAME are drafted from its texts; may be repeated",
    )
    parser.add_argument(
        "--adapters-dir",
        metavar="DIR",
        help="let clients load adapters from this folder, and unload them (/v1/load_lora_adapter)",
    )
    several = parser.add_argument_group("several models")
    several.add_argument(
        "--models-dir", metavar="DIR", help="offer every model folder, GGUF and packed file directly below it"
    )
    several.add_argument(
        "--memory",
        metavar="SIZE",
        help="memory of the weights and KV caches of all loaded models, such as 12G (default: what is free at start)",
    )
    several.add_argument(
        "--keep-alive",
        type=float,
        metavar="S",
        help="seconds that an unused model stays in memory; -1: for ever (default: 300; a single model stays for ever)",
    )
    several.add_argument(
        "--manage-models",
        action="store_true",
        help="let clients fetch models into --models-dir (/api/pull) and delete them there (/api/delete)",
    )
    group = parser.add_argument_group("address")
    group.add_argument("--host", default="127.0.0.1", help="default: %(default)s, this machine only")
    group.add_argument("--port", type=int, default=8000, help="default: %(default)s; 0 for any free one")
    group.add_argument("--model-name", metavar="ID", help="the model's id for clients (default: from --model)")
    group.add_argument(
        "--api-key", metavar="KEY", help="the key that clients must send (default: QWEN3CPU_API_KEY, else none)"
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
    group.add_argument(
        "--otel",
        action="store_true",
        help="send a span of each request to an OpenTelemetry collector (OTEL_EXPORTER_OTLP_ENDPOINT, by default "
        "http://localhost:4318); needs the extra [otel]",
    )
    add_mcp_flags(parser, "the chat page asks before each")
    limits = parser.add_argument_group("limits")
    limits.add_argument("--parallel", type=int, default=16, metavar="N", help="answers at the same time (default: 16)")
    limits.add_argument("--queue", type=int, default=64, metavar="N", help="requests that may wait (default: 64)")
    limits.add_argument(
        "--kv-memory",
        metavar="SIZE",
        help="memory of a model's KV cache, such as 800M or 4G (default: half of what is free; with several models, "
        "what a full context needs)",
    )
    limits.add_argument(
        "--timeout", type=float, default=1800.0, metavar="S", help="seconds that a request may take (default: 1800)"
    )
    limits.add_argument(
        "--grace",
        type=float,
        default=30.0,
        metavar="S",
        help="seconds for running requests to finish after a stop signal (default: 30)",
    )
    parser.set_defaults(run=run_serve, handles_signals=True)


def run_serve(args: argparse.Namespace) -> int:
    """`qwen3cpu serve`."""
    try:
        from qwen3cpu.server.app import make_app  # noqa: F401
        from qwen3cpu.server.serve import HttpServer, listen
    except ImportError as missing:
        raise ArgumentError(f"serving needs more packages ({missing.name}): pip install 'qwen3cpu[server]'") from None
    from qwen3cpu.system.allocator import return_large_blocks

    return_large_blocks()
    if not 0 <= args.port <= 65535:
        raise ArgumentError(f"--port: expected 0 to 65535, found {args.port}")
    listener = listen(args.host, args.port)  # before a model is loaded, so that a port in use is reported at once
    with listener, ExitStack() as stack:
        host, port = listener.getsockname()[:2]
        app = _open_app(args, host, stack)
        # Python's garbage collector stops all answers while it runs. Without the objects that exist at the start, a
        # run takes less than 30 ms.
        gc.collect()
        gc.freeze()
        names, made_for = _served(app)
        note(f"qwen3cpu: serving {names} on http://{_in_url(host)}:{port}{made_for}")
        server = HttpServer(
            app, grace=args.grace, access_log=args.access_log, tell=lambda line: note(f"qwen3cpu: {line}")
        )
        server.run(sockets=[listener])
    return 0


def _open_app(args: argparse.Namespace, address: str, stack: ExitStack) -> Starlette:
    """Make the application, and load the first named model. stack: stops the MCP servers that are started here."""
    from qwen3cpu.server.app import make_app
    from qwen3cpu.server.models.memory import check_fits
    from qwen3cpu.system.progress_bar import Progress

    tracer_provider = None
    if args.otel:
        from qwen3cpu.server.tracing import otlp_provider

        tracer_provider = otlp_provider()
    catalog, named = _catalog(args)
    settings = make_settings(args, catalog, address=address)
    page_tools = _page_tools(args, stack)
    loaded = {}
    if settings.memory is not None:
        for offer in named:
            check_fits(offer, settings)  # downloads it if need be
    for offer in named[:1]:
        with Progress(f"loading {offer.source}", None) as progress:
            loaded[offer.name] = offer.load(progress)
    return make_app(catalog, settings, loaded, tracer_provider, page_tools)


def _page_tools(args: argparse.Namespace, stack: ExitStack) -> PageTools | None:
    """Start the MCP servers that the flags name, and return their tools; None without any."""
    from qwen3cpu.cli.mcp import make_servers

    servers = make_servers(args)
    if servers is None:
        return None
    from qwen3cpu.server.page.tools import PageTools

    stack.enter_context(servers)
    if not servers.tools:
        note("qwen3cpu: the MCP servers have no tools")
    return PageTools(servers, ask=not args.mcp_allow)


def _catalog(args: argparse.Namespace) -> tuple[Catalog, list[StoredModel]]:
    """All models, and those that are named by flags."""
    from dataclasses import replace

    from qwen3cpu.cli.options import DEFAULT_MODEL, REAL_MODELS, model_name, rope_scaling
    from qwen3cpu.server.models.catalog import Catalog
    from qwen3cpu.server.models.offers import LoadOptions, StoredModel

    options = LoadOptions(
        quant=args.quant,
        kv=args.kv,
        activations=args.activations,
        context=args.ctx_size,
        threads=args.threads,
        cache=not args.no_cache,
        rope_scaling=rope_scaling(args.rope_scaling),
        task=args.task,
    )
    folder = None if args.models_dir is None else checked_path("--models-dir", args.models_dir)
    if not args.model and folder is None and sys.stderr.isatty():
        note(f"using the small model inside the package; --model {REAL_MODELS[DEFAULT_MODEL]} runs a real one")
    sources = args.model or ([DEFAULT_MODEL] if folder is None else [])
    if folder is not None or len(sources) > 1:
        for flag, value in (("--model-name", args.model_name), ("--task", args.task)):
            if value is not None:
                raise ArgumentError(f"{flag}: expected none beside several models, found {value!r}")
    names = [model_name(args.model_name, source) for source in sources]
    drafts, texts = (
        _by_model(flag, given, names, folder is not None)
        for flag, given in (("--draft", args.draft), ("--drafts-from", args.drafts_from))
    )
    options = replace(options, drafts=drafts, drafts_from=texts)
    adapters = _adapters(args, names)
    named = [
        StoredModel(name, source, replace(options, adapters=adapters[name]))
        for name, source in zip(names, sources, strict=True)
    ]
    return Catalog(named, folder, replace(options, task=None)), named


def _by_model(flag: str, given: list[str] | None, names: list[str], others: bool) -> dict[str, str]:
    """Name of a model -> what a flag gives for it. others: whether models besides the named ones are served."""
    found: dict[str, str] = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not equals or Path(text).exists():
            name, value = next(iter(names), ""), text
        if not value or name in found or not (name in names or (others and name)):
            known = ", ".join(names) or "none, for --model names none"
            raise ArgumentError(
                f"{flag}: expected [NAME=]{'MODEL' if flag == '--draft' else 'FILE'} with one of the models ({known}), "
                f"once for each, found {text!r}"
            )
        found[name] = value
    return found


def _adapters(args: argparse.Namespace, models: list[str]) -> dict[str, dict[str, str]]:
    """The adapters of each named model; those without "MODEL:" in front are the first one's."""
    from qwen3cpu.cli.options import adapter_paths

    found: dict[str, dict[str, str]] = {model: {} for model in models}
    for name, path in adapter_paths(args.adapter).items():
        model, _, own = name.rpartition(":")
        model = model or next(iter(models), "")
        if model not in found or own in models:
            known = ", ".join(models) or "none, for --model names none"
            raise ArgumentError(
                f"--adapter: expected [MODEL:]NAME=PATH with one of the models ({known}) and a name that none of them "
                f"has, found {name!r}"
            )
        found[model][own] = path
    return found


def _served(app: Starlette) -> tuple[str, str]:
    """The names of the served models, and the purpose of a single model that does not generate."""
    from qwen3cpu.server.api.common import ENDPOINTS, IS_A
    from qwen3cpu.server.models.lender import Lender

    lender: Lender = app.state.lender
    offers = lender.catalog.offers()
    if lender.catalog.only_one:
        task = offers[0].describe().task
        return offers[0].name, "" if task == "generation" else f" ({IS_A[task]}: {ENDPOINTS[task]})"
    names = [offer.name for offer in offers]
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more if names else "no model yet", ""


def make_settings(args: argparse.Namespace, catalog: Catalog, *, address: str) -> Settings:
    """The settings that the flags stand for.

    Args:
        args: the flags.
        catalog: what is served.
        address: the address on which the server listens.

    Raises:
        ArgumentError: a value that is not allowed.
    """
    from qwen3cpu.cli.options import memory_size
    from qwen3cpu.server.hosts import is_loopback
    from qwen3cpu.server.settings import Settings

    for name in ("parallel", "queue"):
        if getattr(args, name) < 1:
            raise ArgumentError(f"--{name}: expected at least 1, found {getattr(args, name)}")
    for name, least in (("timeout", 0.001), ("grace", 0.0)):
        if not least <= getattr(args, name) < 1e9:
            raise ArgumentError(f"--{name}: expected seconds, found {getattr(args, name)}")
    if args.keep_alive is not None and not (0 <= args.keep_alive < 1e9 or args.keep_alive == -1):
        raise ArgumentError(f"--keep-alive: expected seconds, or -1 for ever, found {args.keep_alive}")
    key = args.api_key if args.api_key is not None else os.environ.get("QWEN3CPU_API_KEY")
    if key is not None and not (key and key.isascii() and key.isprintable() and " " not in key):
        raise ArgumentError("--api-key: expected printable ASCII characters without spaces")
    local = is_loopback(address)
    hosts = ("localhost", *(args.allowed_host or ())) if local else ()
    if not local and key is None and args.manage_models:
        raise ArgumentError(f"--manage-models: expected an --api-key, because others can reach {args.host}; found none")
    if not local and key is None and args.adapters_dir is not None:
        raise ArgumentError(f"--adapters-dir: expected an --api-key, because others can reach {args.host}; found none")
    if not local and key is None and args.mcp is not None:
        raise ArgumentError(f"--mcp: expected an --api-key, because others can reach {args.host}; found none")
    if not local and key is None:
        note(f"qwen3cpu: anyone who can reach {args.host} may use this server; --api-key asks for a key")
    return Settings(
        api_key=key,
        cors_origins=tuple(args.cors_origin or ()),
        hosts=hosts,
        parallel=args.parallel,
        queue=args.queue,
        kv_bytes=None if args.kv_memory is None else memory_size("--kv-memory", args.kv_memory),
        memory=_memory(args, catalog),
        model_keep_alive=args.keep_alive,
        manage_models=args.manage_models,
        adapters_dir=_existing_folder("--adapters-dir", args.adapters_dir),
        timeout=args.timeout,
        grace=args.grace,
    )


def _existing_folder(flag: str, given: str | None) -> Path | None:
    """The folder that a flag names. ArgumentError when there is none."""
    if given is None:
        return None
    folder = checked_path(flag, given)
    if not folder.is_dir():
        raise ArgumentError(f"{flag}: expected a folder, found {given}")
    return folder


def _memory(args: argparse.Namespace, catalog: Catalog) -> int | None:
    """The limit of all models together; None for a single model, unless one is asked for."""
    from qwen3cpu.cli.options import memory_size
    from qwen3cpu.system.free_memory import available_memory
    from qwen3cpu.system.memory import system_memory

    if args.memory is not None:
        return memory_size("--memory", args.memory)
    if catalog.only_one:
        return None
    free = available_memory()
    return system_memory() if free is None else free.bytes


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
