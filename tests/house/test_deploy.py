"""The files of deploy/: systemd and Kubernetes accept them, and the server accepts their flags."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from qwen3cpu.cli.main import make_parser

DEPLOY = Path(__file__).parents[2] / "deploy"
UNIT = DEPLOY / "qwen3cpu.service"
MANIFEST = DEPLOY / "kubernetes.yaml"
EXPOSURE = 1.6
"""Most exposure by `systemd-analyze security`, from 0 to 10. Below 2 is its best class of services with a network."""


def unit_fields() -> dict[str, str]:
    """Return the last value of each key of the unit."""
    return dict(re.findall(r"^(\w+)=(.*)$", UNIT.read_text(), re.M))


def documents() -> list[dict]:
    """Return the objects of the manifest."""
    yaml = pytest.importorskip("yaml")
    return list(yaml.safe_load_all(MANIFEST.read_text()))


def serve_grace(arguments: list[str]) -> float:
    """Return the seconds that the server with these flags waits for answers when it is stopped."""
    return make_parser().parse_args(["serve", *arguments]).grace


def test_the_unit_waits_longer_than_the_server():
    command = shlex.split(unit_fields()["ExecStart"])
    assert command[1] == "serve"
    assert int(unit_fields()["TimeoutStopSec"]) >= serve_grace(command[2:]) + 10


def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    program = tmp_path / "qwen3cpu"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/qwen3cpu/bin/qwen3cpu", str(program)))
    found = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, "")
    security = [
        "systemd-analyze",
        "security",
        "--offline=true",
        "--no-pager",
        f"--threshold={int(10 * EXPOSURE)}",
        unit,
    ]
    found = subprocess.run(security, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


def test_kubernetes_knows_every_field_of_the_manifest():
    kubernetes = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    kinds = []
    for document in documents():
        kubernetes.validate(document, kubernetes.latest_version(), strict=True)
        kinds.append(document["kind"])
    assert kinds == ["PersistentVolumeClaim", "Deployment", "Service", "PodDisruptionBudget"]


def test_the_pod_waits_longer_than_the_server_and_has_no_rights():
    pod = next(each for each in documents() if each["kind"] == "Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["terminationGracePeriodSeconds"] >= serve_grace(container["args"]) + 10
    assert container["resources"]["requests"] == container["resources"]["limits"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    dockerfile = (DEPLOY.parent / "docker" / "Dockerfile").read_text()
    assert f"USER {pod['securityContext']['runAsUser']}\n" in dockerfile
    volume = re.search(r"^VOLUME (.*)$", dockerfile, re.M)[1]
    assert volume in {each["mountPath"] for each in container["volumeMounts"]}
