"""A stand-in for the Hugging Face hub on this machine, with one repository, and the environment of its users."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cli_runs import environment

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NO_SERVER = "http://127.0.0.1:9"
"""An address without a server."""


class Hub(BaseHTTPRequestHandler):
    """Model info, file tree and files of one repository from the folder `files`."""

    id: str
    files: Path
    requests: list[tuple[str, str, str | None]]
    break_once: set[str]
    """Files whose next download ends in the middle."""
    fail_after_break: bool
    """Whether all later requests are refused."""
    flip: str | None
    """A file whose last byte is changed during the transfer."""
    refuse_with: int | None
    """A status that every request gets."""

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        path = self.path.partition("?")[0]
        self.requests.append((self.command, path, self.headers.get("Range")))
        if self.refuse_with is not None:
            self._refuse(self.refuse_with)
            return
        names = [str(p.relative_to(self.files)) for p in sorted(self.files.rglob("*")) if p.is_file()]
        if re.fullmatch(rf"/api/models/{self.id}(/revision/.*)?", path):
            siblings = [self._sibling(name) for name in names]
            self._send(json.dumps({"id": self.id, "sha": COMMIT, "siblings": siblings}).encode(), with_body)
        elif path.startswith(f"/api/models/{self.id}/tree/"):
            tree = [self._tree_entry(name) for name in names]
            self._send(json.dumps(tree).encode(), with_body)
        elif (found := re.fullmatch(rf"/{self.id}/resolve/[^/]+/(.*)", path)) and found[1] in names:
            self._send_file(found[1], with_body)
        else:
            self._refuse(404)

    def _refuse(self, status: int) -> None:
        self.send_response(status)
        if status == 404:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _sibling(self, name: str) -> dict[str, object]:
        data = (self.files / name).read_bytes()
        about: dict[str, object] = {"rfilename": name, "size": len(data), "blobId": git_digest(data)}
        if name.endswith(".safetensors"):
            about["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
        return about

    def _tree_entry(self, name: str) -> dict[str, object]:
        data = (self.files / name).read_bytes()
        return {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}

    def _send(self, body: bytes, with_body: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def _send_file(self, name: str, with_body: bool) -> None:
        data = (self.files / name).read_bytes()
        if name == self.flip:
            data = data[:-1] + bytes([data[-1] ^ 1])
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        first = int(asked[1]) if asked else 0
        self.send_response(206 if asked else 200)
        self.send_header("ETag", f'"{hashlib.sha1(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Accept-Ranges", "bytes")
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - first))
        self.end_headers()
        if with_body and name in self.break_once:
            self.break_once.discard(name)
            if self.fail_after_break:
                type(self).refuse_with = 500
            self.wfile.write(data[first : first + (len(data) - first) // 2])
            self.close_connection = True
        elif with_body:
            with suppress(ConnectionError):  # the client closed the connection
                self.wfile.write(data[first:])

    def log_message(self, *args: object) -> None:
        """Write nothing to stderr."""


def git_digest(data: bytes) -> str:
    """The id that Git gives the contents of a file."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@contextmanager
def running_hub(files: Path, id: str = "owner/name") -> Iterator[tuple[type[Hub], str]]:
    """(the handler with its folder of files, the address). id: of the repository."""
    own = {"id": id, "files": files, "requests": [], "break_once": set(), "fail_after_break": False}
    own |= {"flip": None, "refuse_with": None}
    handler = type("OwnHub", (Hub,), own)
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    yield handler, f"http://127.0.0.1:{httpd.server_address[1]}"
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def hub_environment(home: Path, endpoint: str, **more: str) -> dict[str, str]:
    """The environment of a process whose hub is `endpoint` and whose cache is `home`."""
    variables = {
        **environment(),
        "HF_HOME": str(home),
        "HF_ENDPOINT": endpoint,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_PROXY": "127.0.0.1",
        **more,
    }
    for inherited in ("HF_TOKEN", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HUGGINGFACE_HUB_CACHE"):
        if inherited not in more:
            variables.pop(inherited, None)
    return variables
