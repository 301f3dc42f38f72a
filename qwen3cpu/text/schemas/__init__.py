"""JSON schemas: reads those of callers, converts them to one dialect, and checks answers against them."""
