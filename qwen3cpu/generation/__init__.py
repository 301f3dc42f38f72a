"""One answer and many: options, thinking, grammars, batches, conversations, saved sessions, the loop of tools."""
