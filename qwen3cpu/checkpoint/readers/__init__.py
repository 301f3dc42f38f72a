"""Readers of other people's checkpoints, one a file; registry.py says which one opens what."""
