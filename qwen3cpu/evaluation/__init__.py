"""Measures what a weight format costs (perplexity, KL divergence); the class for the lm-evaluation-harness."""
