"""Hostile heads, bodies and streams, seeded: the proxy reads them as the engine does, or refuses.

The streams are judged by a parser of another house (llhttp), which stands for the engine.
"""

from __future__ import annotations

import asyncio
import json
import random
import re

import httptools
import pytest

from sidecar.docker.bodies import FramingError
from sidecar.docker.container_create import ContainerCreate
from sidecar.docker.heads import MalformedHead, end, request
from sidecar.docker.json_documents import UnreadableBody
from tests.support.loops import on_both, run
from tests.unit.docker.fakes import CREATED, answer, chunked, post, staged
from tests.unit.docker.test_container_create import SOCKETS, variables

SEED = 20_10
HEADS = 25_000
BODIES = 25_000
STREAMS = 1000

URI = b"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
GOOD_HEADS = (
    b"POST /v1.41/containers/create?name=a HTTP/1.1\r\nHost: docker\r\nContent-Length: 12\r\n\r\n",
    b"GET /_ping HTTP/1.1\r\nHost: docker\r\nUser-Agent: x\r\n\r\n",
    b"POST /build HTTP/1.1\r\nTransfer-Encoding: chunked\r\nX-Registry-Config: e30=\r\n\r\n",
    b"POST /exec/x/start HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n",
)
SPLINTERS = (
    b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b"\xff", b"%2f", b"%", b"/", b"..", b"?", b"#",
    b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"transfer-encoding:chunked\n",
    b"Content-Length:\t0\r\n", b"HTTP/1.0", b"HTTP/2.0", b"5\r\n", b"0\r\n\r\n", b"http://x",
    b"Expect: 100-continue\r\n", b"POST ", b"\r\n\r\n", b" folded\r\n",
)  # fmt: skip


def seeded() -> random.Random:
    """Return what makes the same choices in each run."""
    return random.Random(SEED)  # noqa: S311


def broken(chance: random.Random, good: bytes, most: int = 4) -> bytes:
    """Return it with a few things cut out, put in, or written twice."""
    text = bytearray(good)
    for _ in range(chance.randint(0, most)):
        at = chance.randrange(len(text) + 1)
        match chance.randrange(4):
            case 0:
                text[at:at] = chance.choice(SPLINTERS)
            case 1:
                del text[at : at + chance.randint(1, 4)]
            case 2:
                text[at : at + 1] = chance.randbytes(1)
            case 3:
                text[at:at] = text[max(0, at - chance.randint(1, 30)) : at]
    return bytes(text)


def test_a_head_is_read_or_refused():
    """What is read has one line for each field, and says where its body ends."""
    chance, read, statuses = seeded(), 0, set()
    for _ in range(HEADS):
        text = broken(chance, chance.choice(GOOD_HEADS))
        found = end(text)
        if found < 0:
            continue
        head = text[:found]
        try:
            one = request(head)
            one.body()
        except MalformedHead as refused:
            statuses.add(refused.status)
            continue
        read += 1
        assert one.raw == head
        again = request(one.with_body(b"xyz")[:-3])
        assert (again.method, again.path, again.query) == (one.method, one.path, one.query)
        assert again.values(b"content-length") == [b"3"]
        assert not again.values(b"transfer-encoding")
        others = [field for field in one.fields if field[0] not in FRAME]
        assert [field for field in again.fields if field[0] not in FRAME] == others
    assert read > HEADS // 10
    assert statuses == {400, 501, 505}


FRAME = (b"content-length", b"transfer-encoding", b"expect")


def document(chance: random.Random, depth: int = 0) -> object:
    """Return any JSON."""
    match chance.randrange(8 if depth < 3 else 5):
        case 0:
            return chance.choice(("", "a", "/run/docker.sock", "\u00e9\U0001f600", "\ud800", '"\\'))
        case 1:
            return chance.randint(-(1 << 70), 1 << 70)
        case 2:
            return chance.random()
        case 3:
            return chance.choice((None, True, False))
        case 4:
            return [document(chance, depth + 1) for _ in range(chance.randint(0, 3))]
        case _:
            names = (
                "Env",
                "env",
                "HostConfig",
                "Binds",
                "Mounts",
                "Source",
                "A",
                "Image",
                "\u00e9",
            )
            return {
                chance.choice(names): document(chance, depth + 1)
                for _ in range(chance.randint(0, 4))
            }


def asked(chance: random.Random) -> dict[str, object]:
    """Return what might be a create, with much that is none of our business."""
    body: dict[str, object] = {"Image": "base", "Labels": document(chance)}
    body[chance.choice(("Env", "env", "ENV"))] = chance.choice(
        ([], None, ["A=1", "B"], ["AWS_REGION=x", 1], document(chance))
    )
    binds = ["/run/docker.sock:/d", "v:/v", document(chance)]
    body["HostConfig"] = chance.choice(({"Binds": binds, "X": document(chance)}, document(chance)))
    return body


def test_a_body_is_read_or_refused():
    """What is read keeps all but its variables and its binds, in its order."""
    chance, read = seeded(), 0
    for _ in range(BODIES):
        text = json.dumps(asked(chance), ensure_ascii=chance.random() < 0.5)
        body = text.encode("utf-8", "surrogatepass")
        if chance.random() < 0.5:
            body = broken(chance, body)
        try:
            create = ContainerCreate(body)
            create.turn(SOCKETS.turned)
            create.give(variables())
        except UnreadableBody:
            continue
        read += 1
        before, after = (
            json.loads(text.decode("utf-8", "surrogateescape")) for text in (body, create.body)
        )
        named = [name for name in before if name.lower() == "env"]
        added = "Env" if not named else named[0]
        assert [name for name in after if name != added] == [n for n in before if n != added]
        for name in before:
            if name.lower() not in ("env", "hostconfig", "mounts"):
                assert json.dumps(after[name]) == json.dumps(before[name])
    assert read > BODIES // 2


class RequestPolicy:
    """The engine: llhttp, which was written without a thought of this proxy."""

    def __init__(self) -> None:
        self.creates: list[bytes] = []
        """The bodies of all creates that it understood."""
        self.understood = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer what can be understood; close at the first that cannot."""
        heard = _Heard(self, writer)
        parser = httptools.HttpRequestParser(heard)
        heard.parser = parser
        while data := await reader.read(1 << 16):
            try:
                parser.feed_data(data)
            except httptools.HttpParserUpgrade:
                return
            except httptools.HttpParserError:
                writer.write(answer(400))
                return


class _Heard:
    """What the parser tells of one request after the other."""

    parser: httptools.HttpRequestParser

    def __init__(self, policy: RequestPolicy, writer: asyncio.StreamWriter) -> None:
        self.policy = policy
        self.writer = writer
        self.url = self.body = b""

    def on_message_begin(self) -> None:
        self.url = self.body = b""

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.policy.understood += 1
        path = re.sub(rb"/v[\d.]+(?=/)", b"", self.url.partition(b"?")[0])
        if self.parser.get_method() == b"POST" and path == b"/containers/create":
            self.policy.creates.append(self.body)
            self.writer.write(answer(201, CREATED))
        else:
            self.writer.write(answer(200, b"{}"))


def stream(chance: random.Random) -> bytes:
    """Return a few requests in a row, of which the last ones are not what they seem."""
    create = b'{"Image":"base"}'
    kinds = (
        b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n",
        post("/v1.41/containers/create", create),
        b"POST /containers/create HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(create),
        post("/build", post("/containers/create", create)),
        b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        + chunked(post("/containers/create", create)),
    )
    good = b"".join(chance.choices(kinds, k=2))
    return good + broken(chance, b"".join(chance.choices(kinds, k=3)), most=6)


@on_both
def test_no_create_passes_by(loop, tmp_path):
    """Whatever precedes it on its connection: each that the engine understands was rewritten."""
    chance, policy = seeded(), RequestPolicy()

    async def play():
        async with staged(tmp_path, policy) as stage:
            for _ in range(STREAMS):
                text = stream(chance)
                cut = sorted(chance.choices(range(len(text) + 1), k=chance.randint(0, 3)))
                pieces = [text[a:b] for a, b in zip([0, *cut], [*cut, len(text)], strict=True)]
                back = await asyncio.wait_for(stage.say(*pieces), 10)
                assert back.startswith(b"HTTP/1.1 ")
            assert not stage.proxy.connections

    run(loop, play(), timeout=120)
    assert len(policy.creates) > STREAMS // 2
    assert all(URI in body for body in policy.creates)


PATHOLOGICAL = {
    "spaces": b"A: " + b" " * 900_000 + b"b\r\n",
    "fields": b"A: b\r\n" * 150_000,
    "target": b"X: " + b"a:/" * 300_000 + b"\r\n",
    "digits": b"Content-Length: " + b"0" * 900_000 + b"\r\n",
}


@pytest.mark.parametrize("field", PATHOLOGICAL)
def test_no_head_costs_more_than_its_length(field):
    """A megabyte of anything is read or refused, one as fast as the other: none is a square."""
    try:
        request(b"GET /x HTTP/1.1\r\n" + PATHOLOGICAL[field] + b"\r\n").body()
    except (MalformedHead, FramingError):
        assert field == "digits"


@pytest.mark.parametrize("target", [b"a" * 1_000_000, b"/.." * 300_000, b"/%2e" * 250_000])
def test_no_target_either(target):
    """The same of what is asked for."""
    assert request(b"GET /" + target + b" HTTP/1.1\r\n\r\n").path
