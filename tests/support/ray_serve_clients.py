"""The tests of a client, taken from their module to run with Ray Serve and two replicas."""

import inspect
from types import SimpleNamespace

import pytest
from ray_clusters import application, ray_cluster, serve_started


@pytest.fixture(scope="module")
def server():
    """The server with Ray Serve, which replaces that of the other tests."""
    with ray_cluster(num_cpus=4), serve_started() as url, application(replicas=2):
        yield SimpleNamespace(url=url)


def client_tests(module):
    """Name -> test or fixture of a module, without tests that start a server of their own."""
    return {"server": server} | {
        name: each
        for name, each in vars(module).items()
        if (name.startswith("test_") and "serve" not in inspect.signature(each).parameters)
        or name in ("client", "calling")
    }
