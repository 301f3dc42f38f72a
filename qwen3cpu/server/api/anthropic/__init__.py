"""Anthropic's Messages API: its bodies become those of this server, and answers its content blocks and events."""
