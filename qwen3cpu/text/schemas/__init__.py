"""JSON schemas: read from what callers give, brought to one dialect, and answers checked by them."""
