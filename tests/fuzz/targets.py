"""The names of all fuzzing targets."""

JSON_FILES = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
ADAPTERS = ("adapter", "adapter_config.json", "adapter-gguf")
QUANTIZED = {
    "awq": "awq_autoawq",
    "gptq": "gptq_int4_desc_act",
    "auto-round": "autoround_gptq",
    "fp8": "fp8_block",
    "compressed": "ct_w4a16_asym",
    "bitsandbytes": "bnb_nf4_double",
    "mlx": "mlx_mixed",
    "mlx-experts": "mlx_experts",
}
"""Name -> files in tests/support/made. "NAME-config" damages config.json, "NAME-tensors" the quantised tensors."""
QUANTIZED_TARGETS = tuple(f"{name}-{part}" for name in QUANTIZED for part in ("config", "tensors"))
FILE_TARGETS = (
    *("safetensors", "gguf", "packed", "session", "template", "index", "torch"),
    *ADAPTERS,
    *JSON_FILES,
    *QUANTIZED_TARGETS,
)
TARGETS = ("bodies", "schemas", "calls", *FILE_TARGETS)
GUIDED = ("bodies", "schemas", *FILE_TARGETS)
"""Targets whose inputs are bytes, which atheris can make."""
MOST_CPU_SECONDS = 2.0
"""Limit for one case."""
