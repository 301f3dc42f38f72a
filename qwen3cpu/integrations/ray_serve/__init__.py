"""Ray Serve: the HTTP API on the nodes of a cluster, with replicas of one model.

serve run serve.yaml        # import_path: qwen3cpu.integrations.ray_serve:app
"""

try:
    import ray.serve  # noqa: F401
except ImportError as reason:
    from qwen3cpu.integrations.models import missing

    raise missing("ray.serve", "ray", reason) from reason

from qwen3cpu.integrations.ray_serve.application import app
from qwen3cpu.integrations.ray_serve.routing import BeginningRouter
from qwen3cpu.integrations.ray_serve.scaling import replicas_by_tokens

__all__ = ["BeginningRouter", "app", "replicas_by_tokens"]
