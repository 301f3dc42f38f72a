"""Ollama's API: converts its bodies to those of this server, and answers to its JSON lines."""
