"""The tests of a client, taken from their module to run against another server."""

import inspect


def client_tests(module):
    """Name -> test or fixture of a module. Tests that start a server of their own would say nothing of another one."""
    return {
        name: each
        for name, each in vars(module).items()
        if (name.startswith("test_") and "serve" not in inspect.signature(each).parameters)
        or name in ("client", "calling")
    }
