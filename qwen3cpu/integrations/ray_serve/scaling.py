"""Scales the number of replicas with the tokens that running requests still need."""

from __future__ import annotations

import math
from typing import Any

from ray.serve.config import AutoscalingContext

from qwen3cpu.arguments import whole_number
from qwen3cpu.integrations.ray_serve.engine import TOKENS


class replicas_by_tokens:  # noqa: N801  a policy is named like a function
    """A policy for Ray Serve, which applies its own delays and limits of the number of replicas.

    Args:
        tokens_per_replica: tokens of running requests for which one replica is enough.
    """

    def __init__(self, tokens_per_replica: int = 20_000) -> None:
        self._tokens = whole_number("tokens_per_replica", tokens_per_replica, 1)

    def __call__(self, context: AutoscalingContext) -> tuple[float, dict[str, Any]]:
        """(wanted number of replicas, the policy's state)."""
        metrics = (context.aggregated_metrics or {}).get(TOKENS, {})
        wanted = math.ceil(sum(metrics.values()) / self._tokens)
        if context.current_num_replicas == 0 and context.total_num_requests > 0:
            wanted = max(1, wanted)
        return wanted, context.policy_state
