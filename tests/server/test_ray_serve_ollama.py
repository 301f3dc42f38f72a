"""The tests of Ollama's own client, through Ray Serve and two replicas."""

import pytest

pytest.importorskip("ray.serve", reason="pip install 'qwen3cpu[ray]'")

import test_ollama_client
from ray_serve_clients import client_tests

pytestmark = pytest.mark.filterwarnings("ignore")  # of the library and what it imports

globals().update(client_tests(test_ollama_client))
