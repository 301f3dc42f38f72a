"""qwen3cpu: Qwen3 language models on ordinary CPUs, fast, exact and reproducible.

Example:
    import qwen3cpu
    model = qwen3cpu.load("Qwen/Qwen3-1.7B", quant="q4")
    print(model.generate("Why is the sky blue?").text)
"""

# First of all: it makes Ctrl-C end a command quietly during the imports.
from qwen3cpu.system import signals  # noqa: F401

# isort: split
# Before all others: it loads NumPy and the native module.
from qwen3cpu.system import import_native  # noqa: F401

# isort: split
from qwen3cpu.system import process_end  # noqa: F401

# isort: split
from qwen3cpu._version import VERSION
from qwen3cpu.engine.sampling import SamplingParams
from qwen3cpu.errors import (
    AdapterError,
    ArgumentError,
    CheckpointError,
    ClosedModelError,
    ConfigError,
    ContextLengthError,
    DownloadError,
    DraftFileError,
    EngineError,
    MessageError,
    Qwen3CpuError,
    Qwen3CpuWarning,
    SearchIndexError,
    SessionError,
)
from qwen3cpu.generation.conversation import Conversation
from qwen3cpu.generation.options import Options
from qwen3cpu.generation.results import Chunk, Result, Timings, TokenLogprob, TopLogprob, Usage
from qwen3cpu.loading.draft_texts import write_drafts
from qwen3cpu.loading.merge import merge
from qwen3cpu.loading.pack import pack
from qwen3cpu.model import Model, load
from qwen3cpu.quantization.recipe import Recipe
from qwen3cpu.retrieval.options import EmbedOptions, RerankOptions
from qwen3cpu.retrieval.ranking import Ranking
from qwen3cpu.text.tool_calls import MalformedCall, ToolCall

__version__ = VERSION

__all__ = [
    "AdapterError",
    "ArgumentError",
    "CheckpointError",
    "Chunk",
    "ClosedModelError",
    "ConfigError",
    "ContextLengthError",
    "Conversation",
    "DownloadError",
    "DraftFileError",
    "EmbedOptions",
    "EngineError",
    "MalformedCall",
    "MessageError",
    "Model",
    "Options",
    "Qwen3CpuError",
    "Qwen3CpuWarning",
    "Ranking",
    "Recipe",
    "RerankOptions",
    "Result",
    "SamplingParams",
    "SearchIndexError",
    "SessionError",
    "Timings",
    "TokenLogprob",
    "ToolCall",
    "TopLogprob",
    "Usage",
    "__version__",
    "load",
    "merge",
    "pack",
    "write_drafts",
]
