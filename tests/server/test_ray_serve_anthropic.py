"""The tests of Anthropic's own client, through Ray Serve and two replicas."""

from types import SimpleNamespace

import pytest

pytest.importorskip("ray.serve", reason="pip install 'qwen3cpu[ray]'")

import test_anthropic_client
from client_tests import client_tests
from ray_clusters import application, ray_cluster, serve_started

pytestmark = pytest.mark.filterwarnings("ignore")  # of the library and what it imports

globals().update(client_tests(test_anthropic_client))


@pytest.fixture(scope="module")
def server():
    """In place of the server of the other tests."""
    with ray_cluster(num_cpus=4), serve_started() as url, application(replicas=2):
        yield SimpleNamespace(url=url)
