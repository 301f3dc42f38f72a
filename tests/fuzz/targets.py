"""What can be fuzzed, by name."""

JSON_FILES = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
FILE_TARGETS = ("safetensors", "gguf", "packed", "session", "template", "index", *JSON_FILES)
TARGETS = ("bodies", "schemas", "calls", *FILE_TARGETS)
