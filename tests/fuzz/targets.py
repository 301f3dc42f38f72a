"""What can be fuzzed, by name."""

JSON_FILES = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
FILE_TARGETS = ("safetensors", "gguf", "packed", "session", "template", "index", *JSON_FILES)
TARGETS = ("bodies", "schemas", "calls", *FILE_TARGETS)
GUIDED = ("bodies", "schemas", *FILE_TARGETS)
"""Those whose inputs are bytes, which atheris can make."""
MOST_CPU_SECONDS = 2.0
"""Of one case."""
