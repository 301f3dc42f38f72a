"""Reads adapter files and checks them against the model that they are for."""
