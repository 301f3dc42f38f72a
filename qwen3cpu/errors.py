"""Every error that qwen3cpu raises on purpose. Each message names the thing, what was expected and what was found."""


class Qwen3CpuError(Exception):
    """Root of all errors of this package."""


def is_panic(error: BaseException) -> bool:
    """Whether an error is a panic of a Rust library (tokenizers, safetensors, llguidance), not an `Exception`."""
    return type(error).__module__ == "pyo3_runtime"


class Qwen3CpuWarning(UserWarning):
    """Category of all warnings of this package."""


class CheckpointError(Qwen3CpuError):
    """A model folder, a file in it or a packed file is missing, damaged or not what it should be."""


class AdapterError(CheckpointError):
    """An adapter is missing, damaged, of another model, or of a kind that cannot be used."""


class ConfigError(CheckpointError):
    """config.json describes a model that cannot be run: wrong architecture, impossible or huge numbers."""


class DownloadError(Qwen3CpuError):
    """A hub id could not be fetched; the message says how to continue offline."""


class SessionError(Qwen3CpuError):
    """A saved conversation cannot be written or read, is damaged, or was saved with another model."""


class DraftFileError(Qwen3CpuError):
    """A file of texts to draft from cannot be written or read, is damaged, or was made with another tokenizer."""


class SearchIndexError(Qwen3CpuError):
    """A search index cannot be read or written, is damaged, or was made with another model or by another version."""


class ArgumentError(Qwen3CpuError, ValueError):
    """An argument has a value that is not allowed."""


class ContextLengthError(ArgumentError):
    """Prompt (and answer) do not fit into the context; the message has both counts."""


class MessageError(ArgumentError):
    """A message list or a chat template input is malformed."""


class McpServerError(Qwen3CpuError):
    """An MCP server cannot be started or reached, has ended, or does not answer."""


class ClosedModelError(Qwen3CpuError):
    """A model was used after `Model.close`; the message names it."""


class EngineError(Qwen3CpuError):
    """The native engine refused a call, or the process forked while another thread used the model."""
