"""Turns a source (a folder, a file, a hub id, "tiny") into a loaded checkpoint; the memory plan; random weights."""
