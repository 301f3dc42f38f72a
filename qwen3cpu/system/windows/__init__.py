"""Calls of the Windows API. The modules can be imported on every system, so that tests can replace the calls."""
