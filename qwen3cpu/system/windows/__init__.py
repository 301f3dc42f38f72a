"""What Windows is asked by its own calls. Importable everywhere, so that tests can answer in its place."""
