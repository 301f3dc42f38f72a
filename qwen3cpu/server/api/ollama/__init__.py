"""Ollama's API: its bodies become those of this server, and answers its JSON lines."""
