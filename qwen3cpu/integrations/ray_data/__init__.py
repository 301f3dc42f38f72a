"""Ray Data: answers and vectors for the rows of a dataset, on the nodes of a cluster."""

try:
    import ray.data  # noqa: F401
except ImportError as reason:
    from qwen3cpu.integrations.models import missing

    raise missing("ray.data", "ray", reason) from reason

from qwen3cpu.integrations.ray_data.datasets import embed, embed_to, generate, generate_to
from qwen3cpu.integrations.ray_data.folder import Summary
from qwen3cpu.integrations.ray_data.keys import content_key

__all__ = ["Summary", "content_key", "embed", "embed_to", "generate", "generate_to"]
