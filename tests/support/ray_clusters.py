"""Clusters of Ray whose nodes are processes of this machine."""

import os
import socket
from contextlib import contextmanager, suppress

NODE = {"num_cpus": 2, "object_store_memory": 80 << 20}
QUIET = {"log_level": "ERROR", "enable_access_log": False}
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",
    "RAY_worker_niceness": "0",  # otherwise Ray's processes get no time on a busy machine
    # Processes may wait long on a busy machine without being dead.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "600",
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "600",
}
QUICK = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 4}
"""Settings with which the loss of a node is noticed within seconds."""


@contextmanager
def ray_cluster(nodes=1, **head):
    """A cluster with a head and other nodes, connected to this process. At the end everything is removed."""
    os.environ.update(SETTINGS)
    import ray
    from ray.cluster_utils import Cluster

    others = descendants()
    head = {**NODE, "include_dashboard": False, "_system_config": QUICK, **head}
    cluster = Cluster()
    try:
        add_node(cluster, **head)
        for _ in range(nodes - 1):
            add_node(cluster, **NODE)
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        ray.data.DataContext.get_current().enable_progress_bars = False
        yield cluster
    finally:
        processes = descendants() - others
        ray.shutdown()
        cluster.shutdown()
        end(processes)


def add_node(cluster, **options):
    """Start a node. If it does not start within Ray's 30 seconds, as on a busy machine, it is started once more."""
    while True:
        others = descendants()
        try:
            node = cluster.add_node(wait=False, **options)
            break
        except Exception as reason:
            if "timed out during startup" not in str(reason):
                raise
            end(descendants() - others)
    cluster.wait_for_nodes(timeout=float("inf"))
    return node


def kill(cluster, node):
    """Kill a node with all of its processes, like a machine that is switched off."""
    (raylet,) = node.all_processes["raylet"]
    processes = descendants(raylet.process.pid)
    cluster.remove_node(node, allow_graceful=False)
    end(processes)


def workers(cluster):
    """The nodes except the head."""
    return [node for node in cluster.list_all_nodes() if node is not cluster.head_node]


def descendants(process=None):
    """All descendants of a process, by default this one."""
    import psutil  # Ray brings it

    return set(psutil.Process(process).children(recursive=True))


def end(processes):
    """Kill the remaining processes. Workers of Ray end by themselves, but not at once."""
    import psutil

    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes)


@contextmanager
def serve_started():
    """The address of Ray Serve, without an application."""
    from ray import serve

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    serve.start(http_options={"host": "127.0.0.1", "port": port}, proxy_location="HeadOnly", logging_config=QUIET)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        serve.shutdown()


@contextmanager
def application(**arguments):
    """An application of the embedded model, at the address of Ray Serve."""
    from ray import serve

    from qwen3cpu.integrations.ray_serve import app

    serve.run(app({"model": "tiny", "server": {"kv_bytes": 1 << 28}, **arguments}))
    try:
        yield
    finally:
        serve.delete("default")
