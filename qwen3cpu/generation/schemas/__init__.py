"""Turns a JSON schema into a narrower one that the grammar's engine takes, and lists what cannot be enforced."""
