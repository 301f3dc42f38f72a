"""The HTTP API: one file for each endpoint, and what endpoints share."""
