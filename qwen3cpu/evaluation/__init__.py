"""What a weight format costs (perplexity, KL divergence), and the class for the lm-evaluation-harness."""
