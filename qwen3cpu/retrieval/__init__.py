"""Vectors of texts from an embedding model, and scores of documents for a query from a reranker."""
