"""Converts between text and token ids: tokenizer, chat template, messages, output splitter, tools, stop strings."""
