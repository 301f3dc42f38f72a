"""Measures what a weight format costs (perplexity, KL divergence), and connects to the lm-evaluation-harness."""
