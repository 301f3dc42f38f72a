"""Makes answers: options, thinking, grammars, batches, conversations, saved sessions, the tool loop."""
