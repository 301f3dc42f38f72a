"""The parts of tools/mutate.py: places, drawing, the patched tree, which tests reach a file, running, the table."""
