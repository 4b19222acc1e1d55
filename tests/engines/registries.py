"""Serve registries with one tiny image, and ECR, on the far side of a task's network.

The registries answer by the host that they are asked for: each wants its own user and password.
ECR is moto's, behind the proxy of HTTPS_PROXY: so no name need be resolved, and no packet leaves
the namespace. Its certificate is of a test's own authority.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.server
import io
import json
import re
import ssl
import tarfile
import threading
import time
import urllib.request
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import trustme

from local import aws
from tests.engines.engine import Failed
from tests.engines.far import GATEWAY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.engines.engine import Engine
    from tests.engines.tasks import Task

OWN = f"{aws.ACCOUNT}.dkr.ecr.{aws.REGION}.amazonaws.com"
"""The registry of the task's account and region."""
IMAGE = "team/tool:1"
PROXY_PORT = 3128
FOUND = 30.0
"""Seconds within which an engine finds a name; it takes five."""
_SIGNED = re.compile(r"Credential=([^/,]+)/")
_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


@dataclass
class Registries:
    """The running registries and ECR."""

    passwords: Mapping[str, tuple[str, str]]
    """User and password of each host."""
    authority: Path
    """The file of the authority of ECR's certificate."""
    callers: list[str] = field(default_factory=list)
    """The access keys with which ECR was called."""
    targets: list[str] = field(default_factory=list)
    """The operations."""
    accepted: list[tuple[str, str]] = field(default_factory=list)
    """Host and user of each request for a manifest that had the right password."""

    @property
    def variables(self) -> dict[str, str]:
        """The variables with which a program reaches this ECR."""
        proxy = f"http://{GATEWAY}:{PROXY_PORT}"
        return {"HTTPS_PROXY": proxy, "SSL_CERT_FILE": str(self.authority)}


def resolve(engine: Engine, hosts: Mapping[str, object]) -> None:
    """Let the engine find the registries by their names."""
    lines = "".join(f"{GATEWAY} {host}\\n" for host in hosts)
    engine.run_command("sh", "-ec", f"printf '{lines}' >>/etc/hosts")
    # Go's programs read that file again only when they last read it five seconds ago.
    deadline = time.monotonic() + FOUND
    for host in hosts:
        while not _is_found(engine, host):
            assert time.monotonic() < deadline, f"the engine does not find {host}"


def _is_found(engine: Engine, host: str) -> bool:
    try:
        engine.docker("pull", f"{host}/{IMAGE}")
    except Failed as failed:
        return "lookup" not in str(failed)
    return True


def read_ecr_login(task: Task) -> tuple[str, str]:
    """Return the user and the password that ECR gives out."""
    signed = f"AWS4-HMAC-SHA256 Credential=AKIATEST/20260101/{aws.REGION}/ecr/aws4_request"
    headers = {
        "X-Amz-Target": "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken",
        "Content-Type": "application/x-amz-json-1.1",
        "Authorization": f"{signed}, SignedHeaders=host, Signature=0",
    }
    token = json.loads(_ask(task, b"{}", headers))["authorizationData"][0]["authorizationToken"]
    user, _, password = base64.b64decode(token).decode().partition(":")
    return user, password


def name_role(task: Task, key: str) -> str:
    """Return the role whose session has this access key, as STS says."""
    signed = f"AWS4-HMAC-SHA256 Credential={key}/20260101/{aws.REGION}/sts/aws4_request"
    headers = {"Authorization": f"{signed}, SignedHeaders=host, Signature=0"}
    body = b"Action=GetCallerIdentity&Version=2011-06-15"
    found = re.search(rb"assumed-role/([^/<]+)", _ask(task, body, headers))
    return found[1].decode() if found else "nobody"


def _ask(task: Task, body: bytes, headers: Mapping[str, str]) -> bytes:
    """Return the answer of moto, which is on the far side of the task's network."""
    request = urllib.request.Request(task.aws, body, dict(headers))

    def ask() -> bytes:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read()

    return task.far.call(ask)


@contextmanager
def serving(
    task: Task, passwords: Mapping[str, tuple[str, str]], folder: Path
) -> Iterator[Registries]:
    """Serve registries with these users and passwords, and ECR; `folder` gets the authority."""
    authority = trustme.CA()
    file = folder / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    file.chmod(0o644)
    registries = Registries(passwords, file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(f"api.ecr.{aws.REGION}.amazonaws.com").configure_cert(context)
    with (
        _serve(task, 80, _Registry, registries=registries, blobs=_make_image()),
        _serve(task, PROXY_PORT, _Ecr, registries=registries, context=context, at=task),
    ):
        yield registries


@contextmanager
def _serve(
    task: Task, port: int, kind: type[http.server.BaseHTTPRequestHandler], **values: Any
) -> Iterator[None]:
    handler = type(kind.__name__, (kind,), values)
    server = task.far.call(lambda: http.server.ThreadingHTTPServer((GATEWAY, port), handler))
    server.daemon_threads = True
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _make_image() -> dict[str, tuple[str, bytes]]:
    """Return the documents of an image of one empty file: kind and content, by digest."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("empty"))
    plain = archive.getvalue()
    layer = gzip.compress(plain, mtime=0)
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["/empty"]},
            "rootfs": {"type": "layers", "diff_ids": [_digest(plain)]},
        }
    ).encode()
    parts = [
        {"mediaType": kind, "size": len(content), "digest": _digest(content)}
        for kind, content in ((_CONFIG, config), (_LAYER, layer))
    ]
    manifest = json.dumps(
        {"schemaVersion": 2, "mediaType": _MANIFEST, "config": parts[0], "layers": parts[1:]}
    ).encode()
    documents = ((_MANIFEST, manifest), (_CONFIG, config), (_LAYER, layer))
    by_digest = {_digest(content): (kind, content) for kind, content in documents}
    return {**by_digest, IMAGE.partition(":")[2]: (_MANIFEST, manifest)}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    registries: Registries

    def log_message(self, *_: Any) -> None:
        """Print nothing."""

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class _Registry(_Handler):
    """A registry that gives out one image, for one user of each host."""

    blobs: Mapping[str, tuple[str, bytes]]

    def do_GET(self) -> None:
        host = (self.headers.get("Host") or "").partition(":")[0]
        user, password = self.registries.passwords[host]
        wanted = base64.b64encode(f"{user}:{password}".encode()).decode()
        if self.headers.get("Authorization") != f"Basic {wanted}":
            realm = f'Basic realm="http://{host}/",service="test"'
            self.answer(401, b'{"errors":[{"code":"UNAUTHORIZED"}]}', Www_Authenticate=realm)
            return
        if self.path.rstrip("/") == "/v2":
            self.answer(200, b"{}")
            return
        if "/manifests/" in self.path:
            self.registries.accepted.append((host, user))
        found = self.blobs.get(self.path.rpartition("/")[2])
        if found is None:
            self.answer(404)
            return
        kind, content = found
        self.answer(200, content, Content_Type=kind, Docker_Content_Digest=_digest(content))

    do_HEAD = do_GET  # noqa: N815  the library's names


class _Ecr(_Handler):
    """A proxy that ends TLS itself, and gives each call to moto."""

    context: ssl.SSLContext
    at: Task

    def do_CONNECT(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.flush()
        self.close_connection = True
        values = {"registries": self.registries, "at": self.at}
        with suppress(OSError), self.context.wrap_socket(self.connection, server_side=True) as tls:
            type("Call", (_Call,), values)(tls, self.client_address, self.server)


class _Call(_Handler):
    """A call of ECR, which moto answers."""

    at: Task

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        names = ("X-Amz-Target", "Content-Type", "Authorization")
        headers = {name: self.headers[name] for name in names}
        self.registries.targets.append(headers["X-Amz-Target"])
        self.registries.callers += _SIGNED.findall(headers["Authorization"])
        self.answer(200, _ask(self.at, body, headers), Content_Type=headers["Content-Type"])
