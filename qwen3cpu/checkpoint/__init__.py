"""What others wrote: config.json, safetensors and GGUF files, folders in Hugging Face layout, the hub."""
