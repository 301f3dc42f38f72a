"""From a JSON schema to the narrower one that the grammar's engine takes, with a list of what it cannot enforce."""
