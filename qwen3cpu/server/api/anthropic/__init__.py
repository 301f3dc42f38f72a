"""Anthropic's Messages API: converts its bodies to those of this server, and answers to its blocks and events."""
