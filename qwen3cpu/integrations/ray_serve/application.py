"""The application that `serve run` starts: a front, and replicas of the model behind it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ray import serve
from ray.serve import Application
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy, RequestRouterConfig

from qwen3cpu.arguments import unknown_name, whole_number
from qwen3cpu.errors import ArgumentError
from qwen3cpu.integrations.ray_serve.engine import Engine
from qwen3cpu.integrations.ray_serve.front import Front
from qwen3cpu.integrations.ray_serve.routing import BeginningRouter
from qwen3cpu.integrations.ray_serve.scaling import replicas_by_tokens
from qwen3cpu.server.settings import Settings

_ARGUMENTS: Final = ("model", "load", "server", "cpus", "memory", "replicas", "tokens_per_replica", "fronts")
_SERVER: Final = frozenset(field.name for field in dataclasses.fields(Settings)) - {"adapters_dir", "manage_models"}


def app(arguments: Mapping[str, Any]) -> Application:
    """Build the application of a YAML file; docs/cluster.md has an example.

    Args:
        arguments: `model`: the source for `qwen3cpu.load`. `load`: its options. `server`: fields of
            `qwen3cpu.server.settings.Settings`. `cpus`: CPUs and threads of a replica. `memory`: bytes that a replica
            reserves. `replicas`: a number, or [least, most]. `tokens_per_replica`: see `replicas_by_tokens`.
            `fronts`: the number of processes that take requests.

    Raises:
        ArgumentError: an argument is unknown or not allowed.
    """
    given = dict(arguments)
    _check_names("arguments", given, _ARGUMENTS)
    if not isinstance(given.get("model"), str):
        raise ArgumentError(f"model: expected a path, a hub id or a model's name, found {given.get('model')!r}")
    cpus = whole_number("cpus", given.get("cpus", 1), 1)
    server = dict(given.get("server") or {})
    _check_names("server", server, _SERVER)
    server.setdefault("model_name", Path(given["model"]).name)
    settings = Settings(**server)
    least, most = _replicas(given.get("replicas", 1))
    options: dict[str, Any] = {"num_replicas": least}
    if least != most:
        policy = AutoscalingPolicy(
            policy_function=replicas_by_tokens,
            policy_kwargs={"tokens_per_replica": given.get("tokens_per_replica", 20_000)},
        )
        options = {"autoscaling_config": AutoscalingConfig(min_replicas=least, max_replicas=most, policy=policy)}
    resources = {"num_cpus": cpus, **({"memory": given["memory"]} if "memory" in given else {})}
    engine = serve.deployment(
        Engine,
        name="engine",
        ray_actor_options=resources,
        max_ongoing_requests=settings.parallel + settings.queue,
        graceful_shutdown_timeout_s=settings.grace + 5,
        request_router_config=RequestRouterConfig(request_router_class=BeginningRouter),
        **options,
    ).bind(given["model"], {**(given.get("load") or {}), "threads": cpus}, settings)
    front = serve.deployment(
        serve.ingress()(Front),
        name="front",
        num_replicas=whole_number("fronts", given.get("fronts", 1), 1),
        ray_actor_options={"num_cpus": 0},
        max_ongoing_requests=settings.connections,
        graceful_shutdown_timeout_s=settings.grace + 5,
    )
    return front.bind(engine, settings.max_body)


def _check_names(name: str, given: Mapping[str, Any], known: Any) -> None:
    for each in given:
        if each not in known:
            raise ArgumentError(f"{name}: unknown {each!r}; {unknown_name(each, tuple(sorted(known)), {})}")


def _replicas(given: object) -> tuple[int, int]:
    least, most = given if isinstance(given, (list, tuple)) and len(given) == 2 else (given, given)
    least = whole_number("replicas", least, 0 if least != most else 1)
    return least, whole_number("replicas", most, max(1, least))
