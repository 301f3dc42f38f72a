"""The parts of tools/mutate.py: places, drawing, the patched tree, the map of tests, running, the table."""
