"""Runs the model: sequences, the prefix cache, the forward pass that threads share, sampling. Knows ids, no text."""
