"""Local search: vectors of texts by an embedding model, and scores of documents for a query by a reranker."""
