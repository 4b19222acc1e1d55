"""Make odd and wrong requests to create a container.

Each request is a tuple of writes on one connection. The engine accepts some and refuses others. All
are made anew, the random ones from a fixed seed.
"""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

from tests.engines.engine import EMPTY

if TYPE_CHECKING:
    from collections.abc import Iterator

    Writes = tuple[bytes, ...]

SOCKET = "/var/run/docker.sock"
PLAIN: dict[str, Any] = {"Image": EMPTY, "Cmd": ["true"], "Labels": {"a": "b"}}
CREATE = "/containers/create"


def write_request(
    body: bytes,
    *,
    line: str = f"POST {CREATE} HTTP/1.1",
    headers: str = "Content-Type: application/json",
    length: str | None = "",
    end: str = "\r\n",
) -> bytes:
    """Return a request; `length` None omits the Content-Length, "" computes it."""
    lines = [line, "Host: docker", "Connection: close", *headers.split("\n")]
    if length is not None:
        lines.append(f"Content-Length: {length or len(body)}")
    return (end.join(line for line in lines if line) + end * 2).encode("latin-1") + body


def make_body(**more: Any) -> bytes:
    """Return a create request's body with more fields."""
    return json.dumps({**PLAIN, **more}).encode()


def make_requests() -> dict[str, Writes]:
    """Return every request by its name."""
    requests: dict[str, Writes] = {}
    for name, body in make_bodies():
        requests[f"body: {name}"] = (write_request(body),)
    for name, request in make_heads():
        requests[f"line: {name}"] = (request,)
    for name, parts in make_framings():
        requests[f"framing: {name}"] = parts
    for seed in range(100):
        requests[f"mutation {seed}"] = (write_request(mutate(seed)),)
    return requests


def make_bodies() -> Iterator[tuple[str, bytes]]:
    """Yield JSON bodies, and some that are almost JSON."""
    yield "plain", make_body()
    yield from _make_raw_bodies()
    for env in (
        None,
        [],
        ["A"],
        ["A="],
        ["=A"],
        [""],
        ["A=b", "A=c"],
        ["A=ü=\n"],
        "A=b",
        {"A": "b"},
    ):
        yield f"Env {env!r}", make_body(Env=env)
    for env in ([1], [None], [["A=b"]], 7, True, ["AWS_REGION=elsewhere"], ["AWS_REGION"]):
        yield f"Env {env!r}", make_body(Env=env)
    for name in ("AWS_ACCESS_KEY_ID=x", "AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1/"):
        yield f"Env {name}", make_body(Env=[name, "KEPT=1"])
    yield "many variables", make_body(Env=[f"N{n}={n}" for n in range(2000)])
    yield "a long variable", make_body(Env=["LONG=" + "ü" * 100_000])
    for binds in (
        [f"{SOCKET}:{SOCKET}"],
        [f"{SOCKET}:/sock:ro"],
        ["/var/run//docker.sock:/sock"],
        ["/var/run/../run/docker.sock:/sock"],
        ["/run/docker.sock:/sock"],
        ["/run/./docker.sock:/sock:rw,z"],
        ["data:/data", "/tmp:/x:ro"],  # noqa: S108  a folder in the engine's own view
        ["/tmp"],  # noqa: S108
        [":/x"],
        ["/a:/b:/c:/d"],
        [7],
        None,
        "x",
    ):
        yield f"Binds {binds!r}", make_body(HostConfig={"Binds": binds})
    for mount in (
        {"Type": "bind", "Source": SOCKET, "Target": "/sock"},
        {"Type": "bind", "Source": "/run/docker.sock", "Target": "/sock", "ReadOnly": True},
        {"Type": "Bind", "Source": SOCKET, "Target": "/sock"},
        {"Type": "volume", "Source": "data", "Target": "/data"},
        {"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 1 << 20}},
        {"Type": "bind", "Source": "/nowhere/at/all", "Target": "/x"},
        {"Type": "bind", "Target": "/x"},
        {"Source": SOCKET, "Target": "/sock"},
        7,
        None,
    ):
        yield f"Mount {mount!r}", make_body(HostConfig={"Mounts": [mount]})
    for host in (None, {}, [], "x", 7, {"Binds": [], "Mounts": []}, {"Memory": 9007199254740993}):
        yield f"HostConfig {host!r}", make_body(HostConfig=host)
    for more in (
        {"Memory": 1e3},
        {"NanoCpus": 10**30},
        {"Unknown": {"Kept": [1, 2.50, None]}},
        {"Tmpfs": {"/t": "size=1m"}},
        {"PortBindings": {"80/tcp": [{"HostPort": ""}]}},
    ):
        yield f"HostConfig {more!r}", make_body(HostConfig=more)


def _make_raw_bodies() -> Iterator[tuple[str, bytes]]:
    image = f'"Image":"{EMPTY}","Cmd":["true"]'.encode()
    bind = b'["%s:/sock"]' % SOCKET.encode()
    yield "nothing", b""
    for text in (
        b"null",
        b"[]",
        b'"x"',
        b"7",
        b"{}",
        b"{",
        b"}",
        b"nul",
        b"\0",
        b" \t\r\n",
        b"{}{}",
    ):
        yield repr(text), text
    yield "space around it", b" \r\n\t{%s}\n " % image
    yield "more after it", b"{%s} {}" % image
    yield "rubbish after it", b"{%s} rubbish" % image
    yield "a mark before it", b"\xef\xbb\xbf{%s}" % image
    yield "a comma too many", b"{%s,}" % image
    yield "a comment", b"{%s/**/}" % image
    yield "no quotes", b"{Image:base}"
    yield "single quotes", b"{'Image':'base'}"
    yield "not a number", b'{%s,"Extra":NaN}' % image
    yield "infinity", b'{%s,"HostConfig":{"Memory":Infinity}}' % image
    yield "a leading zero", b'{%s,"HostConfig":{"Memory":07}}' % image
    yield "a fraction of nothing", b'{%s,"HostConfig":{"Memory":6000000.0}}' % image
    yield "an exponent", b'{%s,"HostConfig":{"Memory":1e7}}' % image
    yield "minus nothing", b'{%s,"HostConfig":{"Memory":-0}}' % image
    yield "precision", b'{%s,"Extra":1.00000000000000000000000000000000001}' % image
    yield "a number of 5000 digits", b'{%s,"Extra":%s}' % (image, b"9" * 5000)
    yield "no UTF-8", b'{%s,"Labels":{"a":"\xff\xfe"}}' % image
    yield "no UTF-8 in a variable", b'{%s,"Env":["A=\xff"]}' % image
    yield "UTF-16", "{}".format({"Image": EMPTY}).encode("utf-16")
    yield "half a pair", b'{%s,"Labels":{"a":"\\ud800"}}' % image
    yield "a control character", b'{%s,"Labels":{"a":"\x01"}}' % image
    yield "an escaped nothing", b'{%s,"Env":["A=\\u0000"]}' % image
    yield "HTML", b'{%s,"Labels":{"a":"<&>\xe2\x80\xa8"}}' % image
    yield "deep", b'{%s,"Extra":%s%s}' % (image, b"[" * 5000, b"]" * 5000)
    yield "too deep", b'{%s,"Extra":%s%s}' % (image, b"[" * 20000, b"]" * 20000)
    yield "twice, the same", b'{%s,"Env":["A=1"],"Env":["B=2"]}' % image
    yield "twice, once null", b'{%s,"Env":["A=1"],"Env":null}' % image
    # Go finds a field by its name in any case, and the last one counts.
    for key in (b"env", b"ENV", b"\\u0045nv", b"eNv"):
        yield f"{key!r}", b'{%s,"%s":["A=1"]}' % (image, key)
        yield f"twice, Env and {key!r}", b'{%s,"Env":["A=1"],"%s":["B=2"]}' % (image, key)
        yield f"twice, {key!r} and Env", b'{%s,"%s":["B=2"],"Env":["A=1"]}' % (image, key)
    for host in ("HostConfig", "hostconfig", "HOSTCONFIG", "Ho\u017ftConfig", "\\u0048ostConfig"):
        for binds in ("Binds", "binds", "Bind\u017f", "b\\u0069nds"):
            text = f'"{host}":{{"{binds}":'.encode()
            yield f"{host}, {binds}", b"{%s,%s%s}}" % (image, text, bind)
    socket = SOCKET.encode()
    yield (
        "small mounts",
        (
            b'{%s,"hostConfig":{"mounts":[{"TYPE":"bind","SOURCE":"%s","target":"/s"}]}}'
            % (image, socket)
        ),
    )
    for both in (
        b'"HostConfig":{"Binds":%s},"hostconfig":{"Memory":6291456}' % bind,
        b'"hostconfig":{"Memory":6291456},"HostConfig":{"Binds":%s}' % bind,
        b'"HostConfig":{"Binds":["/tmp:/x"],"binds":%s}' % bind,
        b'"HostConfig":{"binds":%s,"Binds":["/tmp:/x"]}' % bind,
        b'"HostConfig":{"Binds":%s},"HostConfig":{}' % bind,
        b'"HostConfig":{"Binds":%s},"HostConfig":null' % bind,
        b'"HostConfig":{"Mounts":[{"Type":"bind","Source":"/tmp","source":"%s","Target":"/s"}]}'
        % socket,
    ):
        yield f"twice, {both[:60]!r}", b"{%s,%s}" % (image, both)


def make_heads() -> Iterator[tuple[str, bytes]]:
    """Yield requests with odd request lines and header fields."""
    body = make_body()
    for path in (
        "/v1.41/containers/create",
        "/v1.24/containers/create",
        "/v1.99/containers/create",
        "/v0.1/containers/create",
        "/v1/containers/create",
        "/v1.41.0/containers/create",
        "/V1.41/containers/create",
        "//containers/create",
        "/v1.41//containers/create",
        "/containers//create",
        "/containers/create/",
        "/./containers/create",
        "/x/../containers/create",
        "/containers/x/../create",
        "/containers/%63reate",
        "/%63ontainers/create",
        "/v1%2e41/containers/create",
        "/containers%2fcreate",
        "/containers/create%00",
        "/containers/create%",
        "/containers/Create",
        "/containers/create?name=odd%2dname",
        "/containers/create?name=a&name=b",
        "/containers/create?name=%zz",
        "/containers/create?",
        "/containers/create?platform=linux%2famd64",
        "/containers/create#part",
        "/containers/create;x",
        "http://docker/containers/create",
        "http://docker/v1.41/containers/create",
        "https://elsewhere/containers/create",
        "docker/containers/create",
        "*",
        "",
        "/libpod/containers/create",
        "/v4.0.0/libpod/containers/create",
    ):
        yield f"path {path!r}", write_request(body, line=f"POST {path} HTTP/1.1")
    for method in (
        "post",
        "PUT",
        "GET",
        "HEAD",
        "DELETE",
        "PATCH",
        "OPTIONS",
        "P OST",
        "POST\t",
        "",
    ):
        yield f"method {method!r}", write_request(body, line=f"{method} {CREATE} HTTP/1.1")
    for version in ("HTTP/1.0", "HTTP/0.9", "HTTP/1.2", "HTTP/2.0", "HTTP/1.1 ", "http/1.1", ""):
        yield f"version {version!r}", write_request(body, line=f"POST {CREATE} {version}")
    yield "two spaces", write_request(body, line=f"POST  {CREATE}  HTTP/1.1")
    yield "bare line feeds", write_request(body, end="\n")
    yield "an empty line before it", b"\r\n" + write_request(body)
    for headers in (
        "",
        "Content-Type: text/plain",
        "Content-Type: application/json; charset=utf-8",
        "content-type: APPLICATION/JSON",
        "Content-Type: application/json\nContent-Type: text/plain",
        "Content-Type:application/json",
        "Content-Type : application/json",
        "Content-Type: application/json\nno colon",
        "Content-Type: application/json\nExpect: 100-continue",
        "Content-Type: application/json\nExpect: something",
        "Content-Type: application/json\nContent-Encoding: gzip",
        "Content-Type: application/json\nUpgrade: tcp\nConnection: Upgrade",
        "Content-Type: application/json\nUpgrade: h2c\nConnection: Upgrade",
        "Content-Type: application/json\nHost: second",
        "Content-Type: application/json\nX-Large: " + "x" * 60_000,
        "Content-Type: application/json\n" + "\n".join(f"X-{n}: {n}" for n in range(500)),
        "Content-Type: application/json\nX: \xff\xfe",
        "Content-Type: application/json\nX: a\0b",
    ):
        yield f"headers {headers[:60]!r} {len(headers)}", write_request(body, headers=headers)
    json = "Content-Type: application/json"
    yield "a folded header", write_request(body, headers=f"{json}\nX: a\n\tfolded")
    yield "a header without a name", write_request(body, headers=f"{json}\n: no name")
    yield "no host", write_request(body).replace(b"Host: docker\r\n", b"")
    for length in ("0", "1", "-1", "+5", "5 5", "x", "0x10", "", "99999999999999999999", " 7 "):
        yield f"length {length!r}", write_request(body, length=length or " ")
    yield "two lengths, alike", write_request(body, headers=f"Content-Length: {len(body)}")
    yield "two lengths", write_request(body, headers="Content-Length: 3")
    yield "no length", write_request(body, length=None)
    yield "more than is said", write_request(body, length=str(len(body) + 10))


def make_framings() -> Iterator[tuple[str, Writes]]:
    """Yield requests with odd framing: bodies in pieces, and several requests in a row."""
    body = make_body()

    def chunked(*pieces: bytes, end: bytes = b"0\r\n\r\n", coding: str = "chunked") -> bytes:
        head = write_request(
            b"", headers=f"Content-Type: application/json\nTransfer-Encoding: {coding}", length=None
        )
        return head + b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + end

    yield "chunked", (chunked(body),)
    yield "a chunk per byte", (chunked(*(bytes([byte]) for byte in body)),)
    yield "a chunk's extension", (chunked(body).replace(b"\r\n{", b';a="b"\r\n{'),)
    yield "a trailer", (chunked(body, end=b"0\r\nX: y\r\n\r\n"),)
    yield "no last chunk", (chunked(body, end=b""),)
    yield "a chunk's size in capitals", (chunked(body + b" " * (0xAB - len(body) % 0xAB)),)
    yield "a chunk too short", (chunked(body).replace(b"\r\n{", b"0\r\n{", 1),)
    yield "no chunk's size", (chunked(body).replace(b"\r\n{", b"\r\nzz\r\n{", 1),)
    yield "nothing, chunked", (chunked(),)
    for coding in ("Chunked", "identity", "gzip", "gzip, chunked", "chunked, chunked", "x", ""):
        yield f"coding {coding!r}", (chunked(body, coding=coding),)
    both = "Content-Type: application/json\nTransfer-Encoding: chunked"
    yield (
        "chunked and a length",
        (write_request(chunked(body).partition(b"\r\n\r\n")[2], headers=both),),
    )
    whole = write_request(body)
    yield "a byte at a time", tuple(bytes([byte]) for byte in whole)
    yield "head and body apart", (whole[: -len(body)], body)
    yield "cut in the head", (whole[:30],)
    yield "cut in the body", (whole[:-5],)
    keep_alive = whole.replace(b"Connection: close\r\n", b"")
    yield "two at once", (keep_alive + whole,)
    yield "three, in pieces", (keep_alive + keep_alive[:40], keep_alive[40:] + whole)
    ping = b"GET /_ping HTTP/1.1\r\nHost: docker\r\n\r\n"
    yield "after another request", (ping + whole,)
    yield (
        "before another request",
        (keep_alive + ping.replace(b"Host", b"Connection: close\r\nHost"),),
    )
    outer = b"POST /volumes/create HTTP/1.1\r\nHost: docker\r\nContent-Length: 2\r\n\r\n{}"
    yield (
        "hidden in another's body",
        (outer.replace(b"Length: 2", b"Length: %d" % len(whole)).replace(b"{}", whole),),
    )


def mutate(seed: int) -> bytes:
    """Return a valid body in which a few bytes are changed."""
    rng = random.Random(seed)  # noqa: S311  chance, not secrecy
    host = {"Binds": [f"{SOCKET}:{SOCKET}", "/tmp:/x:ro"], "Memory": 6291456}  # noqa: S108
    body = bytearray(make_body(Env=["A=1", "B=ü"], HostConfig=host, Tty=False))
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(body))
        kind = rng.randrange(4)
        if kind == 0:
            del body[at : at + rng.randint(1, 5)]
        elif kind == 1:
            body[at] = rng.choice(b'{}[]",:\\ \x00\xff0eN')
        elif kind == 2:
            body[at:at] = rng.choice((b'"', b"{}", b"[]", b"null", b",", b"\\u00e9", b" "))
        else:
            body[at:at] = body[at : at + rng.randint(1, 20)]
    return bytes(body)
