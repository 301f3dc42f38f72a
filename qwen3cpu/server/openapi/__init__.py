"""The description of the whole server as an OpenAPI document."""
