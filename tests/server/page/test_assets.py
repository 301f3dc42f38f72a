"""The files of the page: all are served, with a policy that runs nothing else, and none uses other sites."""

import re

import pytest

from qwen3cpu.server.page.assets import FOLDER, POLICY, assets

SINKS = (
    "innerHTML",
    "outerHTML",
    "insertAdjacentHTML",
    "document.write",
    "eval(",
    "DOMParser",
    "srcdoc",
    "new Function",
)


def test_every_file_is_served():
    assert set(assets()) == {path.name for path in FOLDER.iterdir()}


@pytest.mark.parametrize("name", sorted(assets()))
def test_a_file(server, name):
    text = assets()[name].data.decode()
    assert not re.search(r"(?:https?:)?//(?!www\.w3\.org/)[a-z0-9-]+\.[a-z]", text), "an address of another site"
    assert [sink for sink in SINKS if sink in text] == []
    response = server.http.get(f"/assets/{name}")
    assert response.content == assets()[name].data
    assert response.headers["content-security-policy"] == POLICY
    kind = response.headers["content-type"].partition(";")[0]
    assert kind == assets()[name].media_type
    again = server.http.get(f"/assets/{name}", headers={"if-none-match": response.headers["etag"]})
    assert again.status_code == 304


def test_the_page(server):
    response = server.http.get("/")
    assert response.headers["content-type"].startswith("text/html")
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"<script(?![^>]* src=)|<style|\son\w+=|\sstyle=", response.text)
    named = set(re.findall(r'(?:href|src)="assets/([^"]+)"', response.text))
    imported = {each for asset in assets().values() for each in re.findall(r'from "\./([^"]+)"', asset.data.decode())}
    assert named | imported | {"index.html"} == set(assets()), "every file is used"


def test_another_name(server):
    for name in ("nothing.js", "..%2fassets.py", "index.htm"):
        assert server.http.get(f"/assets/{name}").status_code == 404
