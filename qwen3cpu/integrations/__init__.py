"""Embedding models and rerankers for other libraries: a module for each. None is imported unless a user does it."""
