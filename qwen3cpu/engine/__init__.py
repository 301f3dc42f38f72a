"""Runs the model: sequences, prefix cache, the forward pass that threads share, sampling. It handles ids, not text."""
