"""Serve images to docker engines, as a registry that only answers pulls."""

from __future__ import annotations

import gzip
import hashlib
import json
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_DOCKER = "application/vnd.docker"
_MANIFEST = f"{_DOCKER}.distribution.manifest.v2+json"
_TIMEOUT = 60.0


class Images:
    """The images of a registry, and their parts by digest."""

    def __init__(self) -> None:
        self._manifests: dict[str, bytes] = {}
        self._blobs: dict[str, bytes] = {}

    def add(self, name: str, layer: bytes, **config: Any) -> None:
        """Add an image of one layer, a tar archive; `config` is that of its containers."""
        about = {
            "architecture": "amd64",
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
            "history": [{"created": "2026-01-01T00:00:00Z", "created_by": "tests"}],
        }
        image = f"{_DOCKER}.container.image.v1+json"
        archive = f"{_DOCKER}.image.rootfs.diff.tar.gzip"
        manifest = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": self._add_blob(image, json.dumps(about).encode()),
            "layers": [self._add_blob(archive, gzip.compress(layer, 1, mtime=0))],
        }
        self._manifests[name] = json.dumps(manifest).encode()

    def _add_blob(self, kind: str, data: bytes) -> dict[str, Any]:
        self._blobs[_digest(data)] = data
        return {"mediaType": kind, "size": len(data), "digest": _digest(data)}

    def find(self, path: str) -> tuple[str, bytes] | None:
        """Return the type and the body of the answer to a path; None if there is none."""
        parts = path.strip("/").split("/")
        if parts == ["v2"]:
            return "application/json", b"{}"
        if parts[-2:-1] == ["blobs"] and parts[-1] in self._blobs:
            return "application/octet-stream", self._blobs[parts[-1]]
        if parts[-2:-1] == ["manifests"]:
            manifest = self._manifests.get("/".join(parts[1:-2]))
            return None if manifest is None else (_MANIFEST, manifest)
        return None


@contextmanager
def serve(images: Images, port: int, enter: Callable[[], None]) -> Iterator[None]:
    """Serve the images at 127.0.0.1 within the block, in the namespace that `enter` enters."""
    started: Future[ThreadingHTTPServer] = Future()

    def run() -> None:
        try:
            enter()
            server = ThreadingHTTPServer(("127.0.0.1", port), _make_handler(images))
        except BaseException as error:
            started.set_exception(error)
            raise
        started.set_result(server)
        with server:
            server.serve_forever(poll_interval=0.05)

    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(run)
        server = started.result(_TIMEOUT)
        try:
            yield
        finally:
            server.shutdown()
        running.result(_TIMEOUT)


def _make_handler(images: Images) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = images.find(self.path)
            kind, body = found or ("application/json", b'{"errors": [{"code": "UNKNOWN"}]}')
            headers: Mapping[str, str] = {
                "Content-Type": kind,
                "Content-Length": str(len(body)),
                "Docker-Content-Digest": _digest(body),
                "Docker-Distribution-Api-Version": "registry/2.0",
            }
            self.send_response(200 if found else 404)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Keep the requests out of the tests' output."""

    return Handler


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
